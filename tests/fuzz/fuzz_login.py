"""Fuzz login/: hostile bytes for a client's session before login.

    python tests/fuzz/fuzz_login.py [seconds]      random conversations for so long
    python tests/fuzz/fuzz_login.py -max_total_time=600      the same under atheris, where it is installed
    pytest tests/fuzz/fuzz_login.py      a few thousand random conversations

A finding is written to crash-login-<number> in the current directory and ends the run with status 1.
"""

from __future__ import annotations

import random
import sys

from dovecotpy.login import policy
from dovecotpy.login.imap import MAX_LINE, MAX_LITERALS, ImapLogin
from dovecotpy.login.policy import Offer
from dovecotpy.login.session import MAX_RESPONSE_LINE, Attempt, Finish, HandOver, Peer, Respond, StartTls
from dovecotpy.login.stream import CHUNK
from tests.fuzz import campaign
from tests.unit.login.login_stage import LOGIN, PLAIN, settings

ROUNDS = 3000
WORDS = (
    b"a", b"*", b"+", b"LOGIN", b"AUTHENTICATE", b"PLAIN", b"=", b"AGEAYg==", b"{3}\r\n", b"{3+}\r\n", b"{9999999999}\r\n", b'"', b"\\", b"(", b")",
    b"NIL", b"ID", b"NOOP", b"LOGOUT", b"STARTTLS", b"CAPABILITY", b" ", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"x" * 9000, b"demo",
)  # fmt: skip

_POLICY = policy.from_settings(settings(ssl="yes"), verbose=True)
_PEER = Peer("192.0.2.9", 143, "192.0.2.9", 40000)


def one(data: bytes) -> None:
    """Feed one input in pieces that it chooses itself; check what must hold whatever it is."""
    offer = Offer()
    offer.update([PLAIN, LOGIN])
    session = ImapLogin(_POLICY, offer, _PEER)
    session.start()
    step = 1 + (data[0] if data else 0) * 7
    answer = data[1] % 4 if len(data) > 1 else 0
    for start in range(0, len(data), step):
        session.feed(data[start : start + step])
        while (action := session.act()) is not None:
            if isinstance(action, Finish):
                assert session.act() is None
                _check(session)
                return
            if isinstance(action, (Attempt, Respond)):
                _answer(session, answer)
            elif isinstance(action, StartTls):
                session.secured_by_tls()
            elif isinstance(action, HandOver):
                assert len(session.take_input()) <= step
                return
        _check(session)
        assert session.buffered() <= max(MAX_LINE, MAX_LITERALS, MAX_RESPONSE_LINE) + CHUNK


def _answer(session: ImapLogin, which: int) -> None:
    if which == 0:
        session.failed("", {})
    elif which == 1:
        session.challenged(b"more")
    elif which == 2:
        session.failed("user", {"temp": ""})
    else:
        session.succeeded("user", {})


def _check(session: ImapLogin) -> None:
    said = session.take_output()
    assert not said or said.endswith(b"\r\n")
    for line in said.split(b"\r\n"):
        assert b"\n" not in line and b"\0" not in line


def test_random_conversations() -> None:
    source = random.Random(20261123)
    for _ in range(ROUNDS):
        one(
            bytes([source.randrange(256), source.randrange(4)])
            + b"".join(source.choices(WORDS, k=source.randrange(40)))
        )


def test_random_octets() -> None:
    source = random.Random(7)
    for _ in range(ROUNDS):
        one(source.randbytes(source.randrange(300)))


def conversation(source: random.Random) -> bytes:
    return source.randbytes(2) + b"".join(source.choices(WORDS, k=source.randrange(60)))


if __name__ == "__main__":
    sys.exit(campaign.main("login", one, conversation, sys.argv[1:]))
