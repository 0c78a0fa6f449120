"""Fuzz auth/: both sockets of the auth process, the worker protocol, stored passwords, passwd-files and SQL templates.

    python tests/fuzz/fuzz_auth.py [seconds]      mutates the seeds for so long
    python tests/fuzz/fuzz_auth.py -max_total_time=600      the same under atheris, where it is installed
    pytest tests/fuzz/fuzz_auth.py      a few thousand random inputs

A finding is written to crash-auth-<number> in the current directory and ends the run with status 1.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from dovecotpy.auth import passwd_file, schemes  # noqa: E402
from dovecotpy.auth.chain import PassChain, PassStep, UserChain, UserStep  # noqa: E402
from dovecotpy.auth.client import ClientSession  # noqa: E402
from dovecotpy.auth.loop import Loop  # noqa: E402
from dovecotpy.auth.master import MasterSession  # noqa: E402
from dovecotpy.auth.report import Report  # noqa: E402
from dovecotpy.auth.request import Request  # noqa: E402
from dovecotpy.auth.results import Found, Result, unknown  # noqa: E402
from dovecotpy.auth.service import AuthService, Policy  # noqa: E402
from dovecotpy.auth.setup import SetupError  # noqa: E402
from dovecotpy.auth.sql import mysql, settings  # noqa: E402
from dovecotpy.ipc.authclient import MAX_LINE, AuthClient, AuthProtocolError  # noqa: E402
from dovecotpy.ipc.authmaster import MasterClient  # noqa: E402
from dovecotpy.ipc.authworker import WorkerProtocolError, WorkerReader  # noqa: E402
from dovecotpy.log.client import Log  # noqa: E402

SLOW = 2.0
"""Seconds that one input of up to 200 KiB may take."""
MAX_INPUT = 200_000
HELLO = b"VERSION\t1\t1\nCPID\t77\n"
SEEDS = [
    HELLO + b"AUTH\t1\tPLAIN\tservice=imap\trip=192.0.2.1\tlip=192.0.2.9\tresp=AGpvZQBzZWNyZXQ=\n",
    HELLO + b"AUTH\t1\tLOGIN\tservice=smtp\tnologin\nCONT\t1\tam9l\nCONT\t1\tc2VjcmV0\n",
    HELLO + b"AUTH\t1\tPLAIN\tservice=imap\nCONT\t1\tQQ==\nCANCEL\t1\nAUTH\t2\tPLAIN\tservice=imap\tresp=*\n",
    b"VERSION\t1\t0\nREQUEST\t1\t77\t1\nUSER\t2\tjoe\tservice=deliver\tlip=::1\n",
    b"VERSION\t1\nOK\t1\tPLAIN\t\tuser=x\nFAIL\t2\t0\t1\ttext\tnodelay=\n",
    b"PASSV\t1\t0\tuser=joe\tpass=x\nHASH\t2\tPLAIN\t{SSHA}QUJDREVGR0hJSktMTU5PUFFSU1RVVg==\tpass=x\n",
    b"joe:{PLAIN}secret:1000:1000::/home/joe::userdb_mail=maildir:~/M 'a b'\nann:x[34]\n",
    b"{SSHA}QUJDREVGR0hJSktMTU5PUFFSU1RVVg==",
    b"{PBKDF2}$1$salt$10$aabb",
    b"{SCRAM-SHA-1}10,QQ==,QQ==,QQ==",
    b"{OTP}sha1 5 seed 0011223344556677",
    b"driver = mysql\nconnect = host=a user=b password='c d' dbname=e\nuser_query = SELECT a FROM t WHERE u = '%n@%d' -- x\n",
    b'host=localhost host=/x port=1 dbname=d password="x',
]
PIECES = [
    b"\n", b"\t", b"\x01", b"\0", b"\r", b"=", b"%", b"'", b'"', b"\\", b"`", b"$", b"{", b"}", b",", b":", b"\xff", b"\xc3",
    b"AUTH\t", b"CONT\t", b"CANCEL\t", b"REQUEST\t", b"USER\t", b"VERSION\t1\t1\n", b"CPID\t77\n", b"4294967296", b"-1", b"0",
    b"resp=", b"service=", b"service=imap\t", b"QQ==", b"x" * 9000, b"y" * (MAX_LINE + 9), b"%{user}", b"%9.99HXu", b"/*", b"--",
]  # fmt: skip


class _Table:
    def lookup(self, request: Request) -> Found:
        return Found(Result.OK, "secret", {"uid": "97"}) if request.user == "joe" else unknown()


def _quiet(text: str) -> None:
    assert isinstance(text, str)


class _Silent(Log):
    """Takes every line; a fault of ours among them is a finding."""

    def __init__(self) -> None:
        super().__init__(None)

    def say(self, level: object, text: str, user: str = "", session: str = "", address: str = "") -> None:
        assert "Internal error" not in text, text


def sockets(data: bytes) -> bool:
    """A client and a master on one service; whether one was content."""
    report = Report(_Silent(), verbose=True)
    passdbs = PassChain([PassStep(0, "t", _Table())], report)
    userdbs = UserChain([UserStep(0, "t", _Table())], passdbs, report)
    service = AuthService(
        Policy(("PLAIN", "LOGIN"), failure_delay=0),
        passdbs,
        userdbs,
        lambda job, address, done: None,
        Loop(),
        report,
    )
    said: list[bytes] = []
    client = ClientSession(service, said.append, 77, must_prove_pid=True)
    master = MasterSession(service, said.append)
    content = _content(lambda: client.feed(data)) | _content(lambda: master.feed(data))
    asking = AuthClient()
    asking.feed(said[0])
    for line in said[2:]:
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        if line.split(b"\t")[0] in (b"OK", b"CONT") or (line.startswith(b"FAIL") and b"Master" not in line):
            asking.feed(line)
    client.closed()
    master.closed()
    assert not service._unanswered and not client.pending
    return content


def _content(feed: Callable[[], object]) -> bool:
    try:
        feed()
    except AuthProtocolError as error:
        assert str(error)
        return False
    return True


def answers(data: bytes) -> None:
    """The asking ends, and both ends of the worker protocol."""
    _content(lambda: AuthClient().feed(data))
    _content(lambda: MasterClient().feed(data))
    for read in (WorkerReader().jobs, WorkerReader().answers):
        try:
            read(data)
        except WorkerProtocolError as error:
            assert str(error)


def files(data: bytes) -> None:
    """passwd-files, SQL files, connect strings, stored passwords."""
    text = data[:20_000].decode("utf-8", "surrogateescape")
    passwd_file.parse(text, _quiet, "x")
    for read in (settings.parse, lambda path, source: mysql.parse(source, path)):
        try:
            assert "c d" not in repr(read("x", text))
        except SetupError as error:
            assert str(error)
    if not schemes.is_dear(text, "PLAIN") or "$argon" not in text:
        try:
            schemes.verify("password", text[:200], "PLAIN", "joe")
        except schemes.SchemeError as error:
            assert str(error)


def one_input(data: bytes) -> bool:
    """Every reader of a stranger's or an administrator's octets; whether a socket was content. Raises AssertionError, or whatever else is wrong."""
    begun = time.perf_counter()
    content = sockets(data)
    answers(data)
    files(data)
    assert time.perf_counter() - begun < SLOW, "slow"
    return content


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Octets like the seed, but not quite."""
    for _ in range(chance.randrange(1, 8)):
        begin = chance.randrange(len(data) + 1)
        end = min(len(data), begin + chance.choice((0, 1, 1, 5, 40)))
        middle = chance.choice(
            (chance.choice(PIECES), data[begin:end] * 2, b"", bytes([chance.randrange(256)]))
        )
        data = data[:begin] + middle + data[end:]
    return data[:MAX_INPUT]


def inputs(seed: int) -> Iterator[bytes]:
    """Octets without end: mutated seeds, and heaps of pieces."""
    chance = random.Random(seed)
    while True:
        if chance.randrange(5) == 0:
            yield HELLO * chance.randrange(2) + b"".join(chance.choices(PIECES, k=chance.randrange(20)))
        else:
            yield mutated(chance, chance.choice(SEEDS))


def run(count: int, seed: int = 1) -> tuple[int, int]:
    """So many inputs; how many contented a socket, and how many none."""
    results = [one_input(data) for data, _ in zip(inputs(seed), range(count), strict=False)]
    return results.count(True), results.count(False)


def test_random_octets() -> None:
    good, bad = run(1500)
    assert good > 50
    assert bad > 50


def test_seeds_are_taken() -> None:
    assert [one_input(data) for data in SEEDS[:4]] == [True] * 4


def main(words: list[str]) -> int:
    """Fuzz for so many seconds, or hand over to atheris."""
    if any(word.startswith("-") for word in words):
        return _atheris()
    end = time.monotonic() + float(words[0] if words else 60)
    seed = random.randrange(1 << 30)
    for number, data in enumerate(inputs(seed)):
        if time.monotonic() > end:
            print(f"{number} inputs, no finding")
            return 0
        try:
            one_input(data)
        except Exception:
            Path(f"crash-auth-{random.randrange(1_000_000)}").write_bytes(data)
            raise
    return 0


def _atheris() -> int:
    import atheris

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
