"""Each bound on what a client may send, passed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dovecotpy.imap import flags, items, keys, session
from dovecotpy.imap.commands import append, identify, list_mailboxes, metadata
from dovecotpy.imap.wire import pattern, sequence, tokens
from tests.descriptors import open_descriptors
from tests.protocol import imap_maildir, imap_scenarios
from tests.protocol.imap_answers import Mirror
from tests.protocol.imap_model import ModelStore
from tests.protocol.imap_transcript import Client, settings


def client(scenario: str = "three", **changes: object) -> Client:
    """A session with INBOX selected."""
    store = imap_scenarios.fill(ModelStore(), scenario)
    made = Client(store, settings(**changes))  # type: ignore[arg-type]
    assert b"a OK [READ-WRITE]" in made.send(b"a SELECT INBOX\r\n")
    return made


def last(answer: bytes) -> bytes:
    """The last line of an answer, which is sound as a whole."""
    Mirror().hear(answer) if b"FETCH" not in answer else None
    return answer.rstrip(b"\r\n").rpartition(b"\r\n")[2]


def test_line() -> None:
    made = client(imap_max_line_length=1000)
    assert last(made.send(b"b SEARCH " + b"ALL " * 247 + b"\r\n")).startswith(b"b OK")
    assert made.send(b"c SEARCH " + b"ALL " * 250 + b"\r\n") == b"c BAD IMAP command line too large\r\n"
    assert last(made.send(b"d NOOP\r\n")) == b"d OK NOOP completed."


def test_line_of_64_kib_without_an_end() -> None:
    made = client()
    assert made.send(b"x" * 70_000) == b"* BAD IMAP command line too large\r\n"
    assert made.send(b"x" * 1_000_000) == b""
    assert last(made.send(b"\r\nd NOOP\r\n")) == b"d OK NOOP completed."


@pytest.mark.parametrize("plus", [b"", b"+"])
def test_literal(plus: bytes) -> None:
    made = client()
    size = session.MAX_LITERAL
    fits = made.send(b"b SEARCH SUBJECT {%d%b}\r\n" % (size, plus) + b"x" * size + b"\r\n")
    assert last(fits).startswith(b"b OK Search completed")
    answer = made.send(b"c SEARCH SUBJECT {%d%b}\r\n" % (size + 1, plus))
    assert answer == b"c BAD [TOOBIG] Literal size too large\r\n"
    if plus:
        assert made.send(b"x" * (size + 1) + b"\r\n") == b""
    assert last(made.send(b"d NOOP\r\n")) == b"d OK NOOP completed."


def test_literals_in_sum() -> None:
    made = client()
    piece = b" BODY {%d+}\r\n" % session.MAX_LITERAL + b"x" * session.MAX_LITERAL
    count = session.MAX_LITERALS // session.MAX_LITERAL
    assert last(made.send(b"b SEARCH" + piece * count + b"\r\n")).startswith(b"b OK")
    answer = made.send(b"c SEARCH" + piece * count + b" BODY {1+}\r\nx\r\nd NOOP\r\n")
    assert answer == b"c BAD [TOOBIG] Literal size too large\r\nd OK NOOP completed.\r\n"


def test_a_literal_of_4_gib() -> None:
    made = client()
    assert made.send(b"b SELECT {4294967295}\r\n") == b"b BAD [TOOBIG] Literal size too large\r\n"
    assert last(made.send(b"c NOOP\r\n")) == b"c OK NOOP completed."


def test_message() -> None:
    made = client(mail_max_message_size=100)
    assert made.send(b"b APPEND INBOX {101}\r\n") == b"b NO [TOOBIG] Message size is too large.\r\n"
    answer = made.send(b"c APPEND INBOX {101+}\r\n" + b"x" * 101 + b"\r\nd NOOP\r\n")
    assert answer == b"c NO [TOOBIG] Message size is too large.\r\nd OK NOOP completed.\r\n"
    assert b"e OK [APPENDUID" in made.send(b"e APPEND INBOX {100+}\r\n" + b"x" * 100 + b"\r\n")


def test_bad_commands() -> None:
    made = client()
    answer = made.send(b"b FLY\r\n" * session.MAX_BAD_COMMANDS + b"c NOOP\r\n")
    assert answer.count(b"b BAD ") == session.MAX_BAD_COMMANDS
    assert last(answer) == b"* BYE Too many invalid IMAP commands."
    assert made.session.ended is not None


def test_refusals_are_no_bad_commands() -> None:
    made = client()
    made.send(b"b SELECT nowhere\r\n" * 100)
    assert made.session.ended is None


@pytest.mark.parametrize("command", [b"b SEARCH %b\r\n", b"b STATUS INBOX %b\r\n"])
def test_nesting_of_lists(command: bytes) -> None:
    depth = tokens.MAX_NESTING + 1
    answer = client().send(command % (b"(" * depth + b"ALL" + b")" * depth))
    assert answer.startswith(b"b BAD Error in IMAP command ")
    assert b"Too many nested" in answer


@pytest.mark.parametrize("key", [b"NOT ", b"OR ALL "])
def test_nesting_of_keys(key: bytes) -> None:
    made = client()
    assert last(made.send(b"b SEARCH " + key * keys.MAX_NESTING + b"ALL\r\n")).startswith(b"b OK")
    answer = made.send(b"c SEARCH " + key * (keys.MAX_NESTING + 1) + b"ALL\r\n")
    assert answer == b"c BAD Error in IMAP command SEARCH: Too many nested keys.\r\n"


def test_nesting_of_both_alternatives() -> None:
    """OR OR OR …: as many keys as an exponential reader would not survive."""
    made = client()
    answer = made.send(b"b SEARCH " + b"OR " * 31 + b"ALL " * 32 + b"\r\n")
    assert last(answer).startswith(b"b OK")


def test_arguments() -> None:
    made = client()
    assert last(made.send(b"b SEARCH" + b" 1" * tokens.MAX_ARGUMENTS + b"\r\n")).startswith(b"b OK")
    answer = made.send(b"c SEARCH" + b" 1" * (tokens.MAX_ARGUMENTS + 1) + b"\r\n")
    assert answer == b"c BAD Error in IMAP command SEARCH: Too many arguments.\r\n"


def test_ranges() -> None:
    made = client()
    most = b",".join([b"1:*"] * sequence.MAX_RANGES)
    assert last(made.send(b"b UID SEARCH UID " + most + b"\r\n")).startswith(b"b OK")
    assert made.send(b"c UID FETCH " + most + b",1 UID\r\n") == b"c BAD Too many ranges in a messageset\r\n"


def test_keywords_in_a_command() -> None:
    made = client()
    names = b" ".join(b"k%d" % number for number in range(flags.MAX_KEYWORDS + 1))
    assert made.send(b"b STORE 1 FLAGS (" + names + b")\r\n") == b"b NO [LIMIT] Too many keywords\r\n"


def test_length_of_a_new_keyword() -> None:
    made = client()
    made.session.store.boxes[b"INBOX"].add(b"\r\n", 0, ["k" * 51])
    made.send(b"a NOOP\r\n")
    for number, (letter, fits) in enumerate(((b"x" * 50, True), (b"x" * 51, False), (b"K" * 51, True))):
        answer = last(made.send(b"b%d STORE 1 +FLAGS (%b)\r\n" % (number, letter)))
        assert (
            answer
            == (b"b%d OK Store completed." if fits else b"b%d NO [LIMIT] Keyword length too long") % number
        )
    answer = made.send(b"c APPEND INBOX (" + b"x" * 51 + b") {3}\r\n")
    assert answer == b"c NO [LIMIT] Keyword length too long\r\n"


def test_patterns() -> None:
    made = client()
    most = b" ".join([b"x%"] * list_mailboxes.MAX_PATTERNS)
    assert made.send(b'a LIST "" (' + most + b")\r\n") == b"a OK List completed.\r\n"
    assert made.send(b'b LIST "" (' + most + b" y)\r\n") == b"b NO [LIMIT] Too many mailbox patterns\r\n"
    long = b"x" * (pattern.MAX_PATTERN + 1)
    assert made.send(b'c LIST "" (a ' + long + b")\r\n") == b"c NO [LIMIT] Mailbox pattern too long\r\n"


def test_messages_of_one_append() -> None:
    made = client()
    most = b"a APPEND INBOX" + b" {1+}\r\nx" * append.MAX_MESSAGES
    assert made.send(most + b" {1}\r\n") == b"a NO [LIMIT] Too many messages in one APPEND.\r\n"
    assert last(made.send(most + b"\r\n")) == b"a OK [APPENDUID 1000 4:1003] Append completed."


def test_many_messages_of_one_append_hold_few_descriptors(tmp_path: Path) -> None:
    with imap_maildir.stores(tmp_path) as make:
        made = Client(make(), settings())
        made.pull()
        open_before = open_descriptors()
        made.send(b"a APPEND INBOX" + b" {1+}\r\nx" * 100)
        assert len(open_descriptors() - open_before) < 20
        assert b"a OK [APPENDUID " in made.send(b"\r\n")


def test_an_append_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    with imap_maildir.stores(tmp_path) as make:
        made = Client(make(), settings())
        made.send(b"a APPEND INBOX {1+}\r\nx {1+}\r\nx {5+}\r\nxx")
        assert len(os.listdir(tmp_path / "Maildir" / "tmp")) == 3
        made.session.disconnected()
        assert not os.listdir(tmp_path / "Maildir" / "tmp")
        assert not os.listdir(tmp_path / "Maildir" / "new")


def test_section_path() -> None:
    made = client()
    path = b".".join([b"1"] * items.MAX_PATH)
    assert last(made.send(b"b FETCH 1 BODY.PEEK[" + path + b"]\r\n")) == b"b OK Fetch completed."
    answer = made.send(b"c FETCH 1 BODY.PEEK[" + path + b".1]\r\n")
    assert answer == b"c BAD Error in IMAP command FETCH: Invalid BODY[..] parameter\r\n"


def test_names_of_fields() -> None:
    made = client()
    for name in (b'"' + b"x" * (items.MAX_FIELD_NAME + 1) + b'"', b'"\xe4"', b"{1+}\r\n\n"):
        answer = made.send(b"b FETCH 1 BODY.PEEK[HEADER.FIELDS (" + name + b")]\r\n")
        assert answer == b"b BAD Error in IMAP command FETCH: Invalid BODY[..] parameter\r\n"
    answer = made.send(b'c FETCH 1 BODY.PEEK[HEADER.FIELDS ("" "a b" "q\\"" ])]\r\n')
    assert answer.startswith(b'* 1 FETCH (BODY[HEADER.FIELDS ("" "a b" "q\\"" "]")] {2}\r\n\r\n)\r\n')


def test_list_pattern() -> None:
    made = client()
    assert last(made.send(b'b LIST "" ' + b"%" * pattern.MAX_PATTERN + b"\r\n")) == b"b OK List completed."
    answer = made.send(b'c LIST "" ' + b"%" * (pattern.MAX_PATTERN + 1) + b"\r\n")
    assert answer == b"c NO [LIMIT] Mailbox pattern too long\r\n"


def test_identification() -> None:
    made = client()
    pairs = b'"k%d" "v" ' * (identify.MAX_PAIRS + 1) % tuple(range(identify.MAX_PAIRS + 1))
    assert (
        last(made.send(b"b ID (" + pairs + b")\r\n")) == b"b BAD Error in IMAP command ID: Too many fields."
    )
    answer = made.send(b'c ID ("' + b"k" * 31 + b'" "v")\r\n')
    assert answer == b"c BAD Error in IMAP command ID: Too long argument.\r\n"
    answer = made.send(b'd ID ("k" "' + b"v" * 1025 + b'")\r\n')
    assert answer == b"d BAD Error in IMAP command ID: Too long argument.\r\n"


def test_numbers() -> None:
    made = client()
    for command in (b"FETCH 1 BODY.PEEK[]<%b.1>", b"FETCH 1 BODY.PEEK[]<0.%b>", b"FETCH 1 BODY.PEEK[%b]"):
        answer = made.send(b"b " + command % (b"9" * 40) + b"\r\n")
        assert answer == b"b BAD Error in IMAP command FETCH: Invalid BODY[..] parameter\r\n"
    assert last(made.send(b"c SEARCH LARGER " + b"9" * 40 + b"\r\n")).startswith(b"c BAD")
    answer = made.send(b"d FETCH 1 BODY.PEEK[]<9999999999999999999.9999999999999999999>\r\n")
    assert answer == b"d * 1" or last(answer) == b"d OK Fetch completed."


def test_output_is_pulled_in_pieces() -> None:
    """An answer of many megabytes is never whole in memory, and no piece is over 512 KiB."""
    made = client("large")
    made.session.feed(
        b"b FETCH 1 (" + b" ".join(b"BODY.PEEK[]<%d.300000>" % part for part in range(30)) + b")\r\n"
    )
    total = 0
    while made.session.working or not total:
        piece = made.session.pull()
        assert len(piece) <= session.CHUNK
        total += len(piece)
        if not piece and not made.session.working:
            break
    assert total > 8_000_000


def test_a_client_that_does_not_read_is_not_read() -> None:
    """While a command is at work or its answer waits, no input is wanted."""
    made = client("large")
    assert made.session.wants_input()
    made.session.feed(b"b FETCH 1 BODY.PEEK[]\r\n")
    assert not made.session.wants_input()
    made.session.pull()
    assert made.session.working
    assert not made.session.wants_input()
    made.pull()
    assert made.session.wants_input()


def test_a_thousand_pipelined_commands() -> None:
    made = client()
    commands = b"".join(b"t%d FETCH 1:3 (UID FLAGS)\r\n" % number for number in range(1000))
    started = time.perf_counter()
    tagged = Mirror()
    tagged.hear(b"* 3 EXISTS\r\n")
    answers = tagged.hear(made.send(commands + b"last LOGOUT\r\n"))
    assert list(answers) == [*(b"t%d" % number for number in range(1000)), b"last"]
    assert all(answer.startswith(b"OK") for answer in answers.values())
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("plus", [b"", b"+"])
def test_value_of_metadata(plus: bytes) -> None:
    made = client(imap_metadata_max_size=70_000)
    assert made.send(b"b SETMETADATA INBOX (/private/a {70000%b}\r\n" % plus) == (
        b"" if plus else b"+ OK\r\n"
    )
    assert last(made.send(b"x" * 70_000 + b")\r\n")) == b"b OK Setmetadata completed."
    answer = made.send(b"c SETMETADATA INBOX (/private/a {70001%b}\r\n" % plus)
    assert answer == b"c NO [METADATA MAXSIZE 70000] The value is too large.\r\n"
    if plus:
        assert made.send(b"x" * 70_001 + b")\r\n") == b""
    assert b"{70000}\r\n" in made.send(b"d GETMETADATA INBOX /private/a\r\n")
    assert made.send(b"e SETMETADATA {70000}\r\n") == b"e BAD [TOOBIG] Literal size too large\r\n"


def test_values_of_metadata_in_sum() -> None:
    made = client(imap_metadata_max_size=100_000_000)
    most = metadata.MAX_VALUE
    answer = made.send(b"b SETMETADATA INBOX (/private/a {%d}\r\n" % (most + 1))
    assert answer == b"b NO [METADATA MAXSIZE %d] The value is too large.\r\n" % most
    value = b"{%d+}\r\n" % (most - 5) + b"x" * (most - 5)
    answer = made.send(b"c SETMETADATA INBOX (/private/a " + value + b" /private/b {6}\r\n")
    assert answer == b"c NO [LIMIT] Too many octets in one command.\r\n"
    assert b"/private/a NIL" in made.send(b"d GETMETADATA INBOX /private/a\r\n")


def test_what_is_switched_off_has_no_large_values() -> None:
    made = client(imap_disabled_extensions=("METADATA",))
    answer = made.send(b"b SETMETADATA INBOX (/private/a {70000}\r\n")
    assert answer == b"b BAD [TOOBIG] Literal size too large\r\n"
