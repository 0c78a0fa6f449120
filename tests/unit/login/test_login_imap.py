"""IMAP before login as conversations: a session without sockets, between a client's lines and scripted answers of an auth process.

`C:` a client's line, `S:` the server's, `A:` what the session asks of its runner, `!` what the runner reports. `…` stands for anything.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.ipc.handover import Denied, Refused
from dovecotpy.login import policy as policies
from dovecotpy.login.imap import MAX_LINE, MAX_LITERALS, ImapLogin
from dovecotpy.login.policy import Offer
from dovecotpy.login.session import (
    MAX_BAD_COMMANDS,
    MAX_RESPONSE,
    MAX_RESPONSE_LINE,
    Action,
    Attempt,
    Cancel,
    Finish,
    HandOver,
    Note,
    Peer,
    Respond,
    StartTls,
)
from tests.unit.login.login_stage import LOGIN, PLAIN, SCRAM, settings

FAR = Peer("192.0.2.9", 143, "192.0.2.1", 40000)
NEAR = Peer("192.0.2.9", 143, "192.0.2.9", 40000)


def session(peer: Peer = FAR, *, tls: bool = False, verbose: bool = False, **changes: Any) -> ImapLogin:
    """A session of a server that offers STARTTLS, PLAIN and LOGIN, unless changed."""
    offer = Offer()
    offer.update([PLAIN, LOGIN])
    given = settings(**{"ssl": "yes", **changes})
    return ImapLogin(policies.from_settings(given, verbose=verbose), offer, peer, tls=tls)


def drain(talk: ImapLogin) -> list[Action]:
    """Every action that is due."""
    actions = []
    while (action := talk.act()) is not None:
        actions.append(action)
    return actions


def told(action: Action) -> str:
    """An action as a transcript writes it."""
    if isinstance(action, Attempt):
        return f"Attempt {action.mechanism} {action.initial!r}"
    if isinstance(action, Respond):
        return f"Respond {action.data!r}"
    if isinstance(action, HandOver):
        return f"HandOver {action.tag}"
    if isinstance(action, Note):
        return f"Note {action.text}"
    if isinstance(action, Finish):
        return f"Finish {action.message}"
    return type(action).__name__


def report(talk: ImapLogin, what: str) -> None:
    """What a runner reports: `ok USER [field=value …]`, `fail [field=value …]`, `challenge TEXT`, `tls`, `refused REASON`, `slow`, `gone`."""
    name, *words = what.split()
    fields: Mapping[str, str] = dict((word.split("=", 1) + [""])[:2] for word in words if word)  # type: ignore[misc]
    if name == "ok":
        user, *rest = words
        named = dict((word.replace("_", " ").split("=", 1) + [""])[:2] for word in rest)
        resp = named.pop("resp", None)
        talk.succeeded(user, named, None if resp is None else resp.encode())
    elif name == "fail":
        talk.failed("", {key: value.replace("_", " ") for key, value in fields.items()})
    elif name == "challenge":
        talk.challenged(" ".join(words).encode())
    elif name == "tls":
        talk.secured_by_tls()
    elif name == "refused":
        talk.refused(Denied(Refused(words[0]), "the cause"))
    elif name == "slow":
        talk.waiting()
    elif name == "gone":
        talk.disconnected()
    else:
        raise AssertionError(what)


def matches(line: str, pattern: str) -> bool:
    escaped = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in pattern)
    return fnmatch.fnmatchcase(line, escaped.replace("…", "*"))


def play(transcript: str, talk: ImapLogin) -> None:
    """Play a conversation; every line of the server's and every action must be there, and no other."""
    said: list[str] = []
    done: list[str] = []

    def collect() -> None:
        done.extend(told(action) for action in drain(talk))
        said.extend(talk.take_output().decode("utf-8", "replace").split("\r\n")[:-1])

    for number, line in enumerate(transcript.strip().splitlines()):
        mark, _, text = line.strip().partition(" ")
        if mark in ("C:", "!") and (said or done):
            raise AssertionError(f"before line {number} ({line.strip()}): not expected: {said} {done}")
        if mark == "C:":
            talk.feed(text.encode("utf-8") + b"\r\n")
            collect()
        elif mark == "!":
            report(talk, text)
            collect()
        else:
            heap = said if mark == "S:" else done
            assert heap, f"line {number}: nothing left for: {line.strip()}"
            found = heap.pop(0)
            assert matches(found, text), f"line {number}: {found!r} is not {text!r}"
    assert not said and not done, (said, done)


def started(talk: ImapLogin) -> ImapLogin:
    talk.start()
    talk.take_output()
    return talk


SIMPLE = """
C: a1 CAPABILITY
S: * CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID LANGUAGE STARTTLS LOGINDISABLED
S: a1 OK Capability completed.
C: a2 noop
S: a2 OK NOOP completed.
C: l1 LANGUAGE
S: * LANGUAGE (EN i-default)
S: l1 OK Languages listed.
C: l2 LANGUAGE de en-GB
S: * LANGUAGE (EN)
S: l2 OK Now speaking English.
C: l3 LANGUAGE mul
S: l3 NO Unsupported language.
C: a3 ID NIL
S: * ID NIL
S: a3 OK ID completed.
C: a4 ID ("name" "Thunderbird" "version" NIL)
S: * ID NIL
S: a4 OK ID completed.
C: a5 SELECT INBOX
S: a5 BAD Error in IMAP command received by server.
C: a6 NOOP now
S: a6 BAD Error in IMAP command received by server.
C: a7 ID (name)
S: a7 BAD Error in IMAP command received by server.
C: a8 ID
S: a8 BAD Error in IMAP command received by server.
C: *
S: * BAD Error in IMAP command received by server.
C: a9 AUTHENTICATE
S: a9 BAD Error in IMAP command received by server.
C: a10 LOGIN user
S: a10 BAD Error in IMAP command received by server.
C: a11 LOGIN (user) password
S: a11 BAD Error in IMAP command received by server.
C: a12 LOGOUT
S: * BYE Logging out
S: a12 OK Logout completed.
A: Finish Aborted login (no auth attempts)
"""

DISABLED = """
C: a1 LOGIN user password
S: * BAD [ALERT] Plaintext authentication is disabled, but your client sent password in plaintext anyway. If anyone was listening, the password was exposed.
S: a1 NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure connections.
A: Note Login attempt failed (plaintext authentication disabled)
C: a2 AUTHENTICATE PLAIN
S: a2 NO [PRIVACYREQUIRED] Plaintext authentication disabled.
A: Note Login attempt failed (plaintext authentication disabled)
C: a3 AUTHENTICATE CRAM-MD5
S: a3 NO Unsupported authentication mechanism.
A: Note Login attempt failed (unsupported mechanism)
C: a4 LOGOUT
S: * BYE Logging out
S: a4 OK Logout completed.
A: Finish Aborted login (tried to use disabled plaintext authentication) (no auth attempts)
"""

STARTTLS = """
C: a1 STARTTLS please
S: a1 BAD Error in IMAP command received by server.
C: a2 STARTTLS
S: a2 OK Begin TLS negotiation now.
A: StartTls
! tls
C: a3 CAPABILITY
S: * CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID LANGUAGE AUTH=PLAIN AUTH=LOGIN
S: a3 OK Capability completed.
C: a4 STARTTLS
S: a4 BAD TLS is already active.
C: a5 LOGIN demo "a \\"b\\" c"
A: Attempt PLAIN b'\\x00demo\\x00a "b" c'
! ok demo
A: HandOver a5
"""

SASL = """
C: a1 AUTHENTICATE LOGIN
A: Attempt LOGIN None
! challenge Username:
S: + VXNlcm5hbWU6
C: ZGVtbw==
A: Respond b'demo'
! challenge Password:
S: + UGFzc3dvcmQ6
C: *
S: a1 BAD Authentication aborted
A: Cancel
A: Note Login attempt failed (aborted by the client)
C: a2 AUTHENTICATE plain AGRlbW8AZGVtbw==
A: Attempt PLAIN b'\\x00demo\\x00demo'
! fail
S: a2 NO [AUTHENTICATIONFAILED] Authentication failed.
A: Note Login attempt failed (authentication failed)
C: a3 AUTHENTICATE PLAIN =
A: Attempt PLAIN b''
! fail temp
S: a3 NO [UNAVAILABLE] Temporary authentication failure.
A: Note Login attempt failed (temporary failure)
C: a4 AUTHENTICATE PLAIN !!!
S: a4 BAD Invalid base64 data in initial response
C: a5 AUTHENTICATE PLAIN
A: Attempt PLAIN None
! challenge
S: + …
C: AGRl bW8A
S: a5 BAD Invalid base64 data in continued response
A: Cancel
A: Note Login attempt failed (aborted by the client)
C: a6 AUTHENTICATE PLAIN
A: Attempt PLAIN None
! challenge
S: + …
C: AGRlbW8AZGVtbw==
A: Respond b'\\x00demo\\x00demo'
! slow
S: * OK Waiting for authentication process to respond..
! ok demo resp=v=signature
S: + dj1zaWduYXR1cmU=
C:
A: HandOver a6
"""

FAILURES = """
C: a1 LOGIN user password
A: Attempt PLAIN …
! fail reason=Password_expired
S: a1 NO [EXPIRED] Password expired
A: Note Login attempt failed (password expired)
C: a2 LOGIN user password
A: Attempt PLAIN …
! fail user_disabled
S: a2 NO [AUTHENTICATIONFAILED] Authentication failed.
A: Note Login attempt failed (user disabled)
C: a3 LOGIN user password
A: Attempt PLAIN …
! fail reason=Go_away
S: a3 NO [AUTHENTICATIONFAILED] Go away
A: Note Login attempt failed (Go away)
C: a4 LOGIN user password
A: Attempt PLAIN …
! ok user nologin
S: a4 NO [AUTHENTICATIONFAILED] Authentication failed.
A: Note Login attempt failed (login not allowed)
C: a5 LOGIN user password
A: Attempt PLAIN …
! ok user nologin host=192.0.2.77 port=1143
S: a5 NO [REFERRAL imap://user;AUTH=PLAIN@192.0.2.77:1143/] Try this server instead.
A: Note Login attempt failed (referred to another server)
C: a6 LOGIN user password
A: Attempt PLAIN …
! ok us%er@d host=192.0.2.77
S: a6 OK [REFERRAL imap://us%25er%40d;AUTH=PLAIN@192.0.2.77/] Logged in, but you should use this server instead.
A: Finish Login with referral
"""

REFUSED = """
C: a1 LOGIN user password
A: Attempt PLAIN …
! fail
S: a1 NO [AUTHENTICATIONFAILED] Authentication failed.
A: Note Login attempt failed (authentication failed)
C: a2 LOGIN user password
A: Attempt PLAIN …
! ok user
A: HandOver a2
! refused internal
S: a2 NO [UNAVAILABLE] Internal login failure. Refer to server log for more information.
S: * BYE Internal login failure. Refer to server log for more information.
A: Finish Internal login failure: the cause (auth failed, 1 attempts)
"""


@pytest.mark.parametrize(
    ("transcript", "peer"),
    [
        (SIMPLE, FAR),
        (DISABLED, FAR),
        (STARTTLS, FAR),
        (SASL, NEAR),
        (FAILURES, NEAR),
        (REFUSED, NEAR),
    ],
)
def test_conversation(transcript: str, peer: Peer) -> None:
    play(transcript, started(session(peer)))


def test_greetings() -> None:
    talk = session()
    talk.start()
    words = b"IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID LANGUAGE STARTTLS LOGINDISABLED"
    assert talk.take_output() == b"* OK [CAPABILITY " + words + b"] Dovecot ready.\r\n"
    bare = session(login_greeting_capability=False, login_greeting="Hello \N{SNOWMAN}")
    bare.start()
    assert bare.take_output().decode() == "* OK Hello \N{SNOWMAN}\r\n"


def test_imap_capability_replaces_the_list() -> None:
    talk = session(NEAR, imap_capability="IMAP4rev1 IDLE", ssl="no")
    talk.start()
    assert b"[CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN AUTH=LOGIN]" in talk.take_output()


def test_what_is_switched_off_is_not_there() -> None:
    off = ("literal+", "language", "binary")
    transcript = """
    C: a1 CAPABILITY
    S: * CAPABILITY IMAP4rev1 SASL-IR ID LITERAL- AUTH=PLAIN AUTH=LOGIN
    S: a1 OK Capability completed.
    C: a2 LANGUAGE EN
    S: a2 BAD Error in IMAP command received by server.
    """
    play(transcript, started(session(NEAR, imap_disabled_extensions=off, ssl="no")))


def test_a_literal_that_was_not_asked_for_is_short_under_literal_minus() -> None:
    talk = started(session(NEAR, imap_disabled_extensions=("literal+",), ssl="no"))
    talk.feed(b"a LOGIN {5000+}\r\n")
    drain(talk)
    assert b"BYE Literal size too large" in talk.take_output()


def test_without_tls_there_is_no_starttls() -> None:
    play("C: a STARTTLS\nS: a BAD TLS support isn't enabled.", started(session(ssl="no")))


def test_required_tls_refuses_everybody_before_it() -> None:
    transcript = """
    C: a1 CAPABILITY
    S: * CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID LANGUAGE STARTTLS LOGINDISABLED
    S: a1 OK Capability completed.
    C: a2 LOGIN user password
    S: a2 NO [PRIVACYREQUIRED] Authentication not allowed until TLS is active.
    A: Note Login attempt failed (TLS required)
    C: a3 STARTTLS
    S: a3 OK Begin TLS negotiation now.
    A: StartTls
    ! tls
    C: a4 LOGIN user password
    A: Attempt PLAIN …
    """
    play(transcript, started(session(NEAR, ssl="required")))


def test_private_mechanisms_are_not_announced() -> None:
    talk = session(NEAR)
    talk.offer.update([PLAIN._replace(flags=PLAIN.flags | {"private"}), SCRAM])
    talk.start()
    assert talk.take_output().split(b"]")[0].endswith(b"STARTTLS AUTH=SCRAM-SHA-256")


def test_a_mechanism_that_is_no_plaintext_needs_no_tls() -> None:
    talk = session(FAR)
    talk.offer.update([PLAIN, SCRAM])
    talk.start()
    assert talk.take_output().split(b"]")[0].endswith(b"STARTTLS LOGINDISABLED AUTH=SCRAM-SHA-256")
    play("C: a AUTHENTICATE SCRAM-SHA-256\nA: Attempt SCRAM-SHA-256 None", talk)


def test_verbose_auth_says_why() -> None:
    transcript = """
    C: a1 LOGIN user password
    S: * BAD [ALERT] …
    S: a1 NO [PRIVACYREQUIRED] …
    A: Note Login failed: Plaintext authentication disabled
    A: Note Login attempt failed (plaintext authentication disabled)
    C: a2 AUTHENTICATE GSSAPI
    S: a2 NO Unsupported authentication mechanism.
    A: Note Authenticate GSSAPI failed: Unsupported authentication mechanism.
    A: Note Login attempt failed (unsupported mechanism)
    """
    play(transcript, started(session(verbose=True)))


def test_literals() -> None:
    talk = started(session(NEAR))
    talk.feed(b"a1 LOGIN {4}\r\n")
    assert drain(talk) == [] and talk.take_output() == b"+ OK\r\n"
    talk.feed(b"demo {6+}\r\nse\r\nt!\r\n")
    assert drain(talk) == [Attempt("PLAIN", b"\0demo\0se\r\nt!")]
    assert talk.take_output() == b""


def test_what_follows_starttls_in_plaintext_is_forgotten() -> None:
    talk = started(session())
    talk.feed(b"a1 STARTTLS\r\na2 LOGIN evil evil\r\na3 NO")
    assert drain(talk) == [StartTls()]
    talk.secured_by_tls()
    talk.feed(b"b1 NOOP\r\n")
    assert drain(talk) == []
    assert talk.take_output() == b"a1 OK Begin TLS negotiation now.\r\nb1 OK NOOP completed.\r\n"


def test_commands_wait_behind_a_login() -> None:
    talk = started(session(NEAR))
    talk.feed(b"a1 LOGIN demo demo\r\na2 NOOP\r\na3 LOGOUT\r\n")
    assert drain(talk) == [Attempt("PLAIN", b"\0demo\0demo")]
    assert talk.take_output() == b""
    talk.failed("demo", {})
    assert [told(action) for action in drain(talk)] == [
        "Note Login attempt failed (authentication failed)",
        "Finish Aborted login (auth failed, 1 attempts)",
    ]
    assert talk.take_output().split(b"\r\n")[1:4] == [
        b"a2 OK NOOP completed.",
        b"* BYE Logging out",
        b"a3 OK Logout completed.",
    ]


def test_input_behind_a_login_travels_along() -> None:
    talk = started(session(NEAR))
    talk.feed(b"a1 LOGIN demo demo\r\na2 SELECT INBOX\r\na3 FETCH 1:")
    drain(talk)
    talk.succeeded("demo", {})
    assert drain(talk) == [HandOver("a1")]
    assert talk.take_input() == b"a2 SELECT INBOX\r\na3 FETCH 1:"
    assert talk.take_output() == b""


def test_a_passdb_that_wants_a_proxy_gets_a_clear_refusal() -> None:
    transcript = """
    C: a1 LOGIN user password
    A: Attempt PLAIN …
    ! ok user proxy host=192.0.2.7
    S: a1 NO [UNAVAILABLE] Internal login failure. Refer to server log for more information.
    S: * BYE Internal login failure. Refer to server log for more information.
    A: Finish Internal login failure: the passdb asks for a proxy, which is not available (internal failure, 1 successful auths)
    """
    play(transcript, started(session(NEAR)))


def test_trusted_clients_speak_for_others() -> None:
    talk = started(session(FAR, login_trusted_networks=("192.0.2.0/28",)))
    assert talk.secured
    talk.feed(
        b'a1 ID ("x-originating-ip" "2001:db8::5" "X-Originating-Port" "77" "x-connected-ip" "bogus")\r\n'
    )
    drain(talk)
    assert talk.peer == Peer("192.0.2.9", 143, "2001:db8::5", 77)
    other = started(session(FAR, login_trusted_networks=("198.51.100.0/24", "2001:db8::/32")))
    other.feed(b'a1 ID ("x-originating-ip" "2001:db8::5")\r\n')
    drain(other)
    assert other.peer == FAR and not other.secured


def test_identification() -> None:
    talk = started(
        session(imap_id_send=("name", "*", "support-url", 'https://example.org/"x"'), imap_id_log=("name",))
    )
    talk.feed(b'a1 ID ("name" "Evil\x01\r" "version" "3")\r\n'.replace(b"\x01\r", b"Client"))
    assert [told(action) for action in drain(talk)] == ["Note ID sent: name=EvilClient"]
    assert talk.take_output().startswith(
        b'* ID ("name" "Dovecotpy" "support-url" "https://example.org/\\"x\\"")\r\n'
    )


# Budgets: each bound, passed.


def end_of(data: bytes) -> tuple[str, bytes]:
    """The message of the log and the last words for a client that sends this."""
    talk = started(session(NEAR))
    talk.feed(data)
    actions = drain(talk)
    assert isinstance(actions[-1], Finish), actions
    return actions[-1].message, talk.take_output()


def test_a_line_over_the_bound_ends_the_connection() -> None:
    message, said = end_of(b"a1 NOOP " + b"x" * MAX_LINE)
    assert message == "Disconnected: IMAP command line too large (no auth attempts)"
    assert said == b"* BYE IMAP command line too large\r\n"
    talk = started(session(NEAR))
    talk.feed(b"a1 LOGIN u " + b"x" * (MAX_LINE - 11) + b"\r\n")
    assert isinstance(drain(talk)[0], Attempt)


def test_literals_over_the_bound_end_the_connection() -> None:
    for data in (
        b"a1 LOGIN {%d}\r\n" % (MAX_LITERALS + 1),
        b"a1 LOGIN {4294967295}\r\n",
        b"a1 LOGIN {99999999999999999999+}\r\n",
        b"a1 LOGIN {4096+}\r\n" + b"x" * 4096 + b" {4097}\r\n",
    ):
        message, said = end_of(data)
        assert message == "Disconnected: Literal size too large (no auth attempts)"
        assert said.endswith(b"* BYE Literal size too large\r\n")


def test_bad_commands_in_a_row_end_the_connection() -> None:
    talk = started(session())
    talk.feed(b"a BAD\r\n" * (MAX_BAD_COMMANDS - 1) + b"b NOOP\r\n" + b"c BAD\r\n" * (MAX_BAD_COMMANDS - 1))
    assert drain(talk) == []
    assert talk.take_output().count(b" BAD ") == 2 * (MAX_BAD_COMMANDS - 1)
    talk.feed(b"d BAD\r\n" * 5)
    assert drain(talk) == [Finish("Disconnected: Too many invalid commands (no auth attempts)")]
    assert talk.take_output() == b"* BYE Too many invalid IMAP commands.\r\n"


def test_a_response_over_the_bound_is_bad() -> None:
    import base64

    long = base64.b64encode(b"x" * (MAX_RESPONSE + 1))
    most = base64.b64encode(b"x" * MAX_RESPONSE)
    talk = started(session(NEAR))
    talk.feed(b"a1 AUTHENTICATE PLAIN " + long + b"\r\n")
    assert drain(talk) == []
    assert talk.take_output() == b"a1 BAD Authentication response too long\r\n"
    talk.feed(b"a2 AUTHENTICATE PLAIN " + most + b"\r\n")
    assert drain(talk) == [Attempt("PLAIN", b"x" * MAX_RESPONSE)]
    talk.challenged(b"")
    talk.feed(long + b"\r\n")
    assert [told(action) for action in drain(talk)][0] == "Cancel"
    assert talk.take_output() == b"+ \r\na2 BAD Authentication response too long\r\n"


def test_a_line_of_a_response_over_the_bound_ends_the_connection() -> None:
    message, said = end_of(b"a1 AUTHENTICATE PLAIN " + b"x" * MAX_RESPONSE_LINE)
    assert message.startswith("Disconnected: IMAP command line too large")
    talk = started(session(NEAR))
    talk.feed(b"a1 AUTHENTICATE PLAIN\r\n")
    drain(talk)
    talk.challenged(b"")
    talk.feed(b"x" * (MAX_RESPONSE_LINE + 100))
    assert [told(action) for action in drain(talk)][-1] == (
        "Finish Disconnected: IMAP command line too large (aborted authentication)"
    )


def test_names_in_answers_cannot_break_a_line() -> None:
    talk = started(session(NEAR))
    talk.feed(b"a1 LOGIN user password\r\n")
    drain(talk)
    talk.failed("", {"reason": "one\r\na1 OK two\0" + "x" * 2000})
    drain(talk)
    said = talk.take_output()
    assert said.count(b"\r\n") == 1 and b"\0" not in said and len(said) < 600


@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(0, 3))
def test_whatever_comes_is_answered_or_ends(pieces: list[bytes], answer: int) -> None:
    talk = started(session(NEAR))
    for piece in pieces:
        talk.feed(piece)
        while (action := talk.act()) is not None:
            if isinstance(action, (Attempt, Respond)):
                (
                    talk.failed("", {}),
                    talk.challenged(b"?"),
                    talk.failed("x", {"temp": ""}),
                    talk.succeeded("u", {}),
                )[answer]
            elif isinstance(action, Cancel):
                assert not talk.busy
            elif isinstance(action, Finish):
                assert talk.act() is None
        said = talk.take_output()
        assert not said or said.endswith(b"\r\n")


LINES = (
    b"a LOGIN {4+}\r\ndemo pass\r\n",
    b"b NOOP\r\n",
    b"c AUTHENTICATE LOGIN\r\n",
    b"eA==\r\n",
    b"*\r\n",
    b"d ID NIL\r\n",
)


def test_pieces_of_any_size_give_the_same_conversation() -> None:
    whole = b"".join(LINES)

    def answers(size: int) -> bytes:
        talk = started(session(NEAR))
        said = b""
        for start in range(0, len(whole), size):
            talk.feed(whole[start : start + size])
            while (action := talk.act()) is not None:
                if isinstance(action, Attempt) and action.mechanism == "PLAIN":
                    talk.failed("", {})
                elif isinstance(action, (Attempt, Respond)):
                    talk.challenged(b"more")
            said += talk.take_output()
        return said

    expected = answers(len(whole))
    assert expected.count(b"\r\n") >= 6
    for size in (1, 2, 3, 5, 7, 11):
        assert answers(size) == expected
