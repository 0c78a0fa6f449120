"""The auth process's requests as conversations, on both sockets, with a clock of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dovecotpy import clock
from dovecotpy.auth import service as service_module
from dovecotpy.auth.chain import PassChain, PassStep, UserChain, UserStep
from dovecotpy.auth.client import ClientSession
from dovecotpy.auth.jobs import Job
from dovecotpy.auth.loop import Loop, Timer
from dovecotpy.auth.master import MAX_UNANSWERED, MasterSession
from dovecotpy.auth.names import NameRules
from dovecotpy.auth.report import Report
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result, failed, unknown
from dovecotpy.auth.service import (
    CLAIM_SECONDS,
    JITTER_SECONDS,
    MAX_OF_ADDRESS,
    MAX_OF_CONNECTION,
    AuthService,
    Policy,
)
from dovecotpy.ipc.authclient import AuthProtocolError, encode_base64
from dovecotpy.log.client import Log


class Lines(Log):
    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def say(self, level: object, text: str, user: str = "", session: str = "", address: str = "") -> None:
        self.lines.append(f"{level} {text}")


class Clock(Loop):
    """A loop without sockets whose time the test moves."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waiting: list[tuple[float, Timer]] = []

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        timer = Timer(action)
        self.waiting.append((self.time + seconds, timer))
        return timer

    def pass_by(self, seconds: float) -> None:
        end = self.time + seconds
        while True:
            due = [entry for entry in self.waiting if entry[0] <= end]
            if not due:
                break
            entry = min(due, key=lambda found: found[0])
            self.waiting.remove(entry)
            self.time = max(self.time, entry[0])
            if entry[1].action is not None:
                entry[1].action()
        self.time = end


class Database:
    def __init__(self, users: dict[str, Found]) -> None:
        self.users = users

    def lookup(self, request: Request) -> Found:
        if request.user == "crash":
            raise RuntimeError("fault of ours")
        return self.users.get(request.user, unknown())


USERS = {
    "joe": Found(Result.OK, "secret", {"userdb_home": "/h"}),
    "ref": Found(Result.OK, "secret", {"nologin": "", "host": "192.0.2.7", "reason": "moved\taway"}),
    "prox": Found(Result.OK, "secret", {"proxy": "", "host": "192.0.2.7"}),
    "down": failed("down"),
    "quick": Found(Result.OK, "other", {"nodelay": ""}),
    "off": Found(Result.DISABLED),
    "old": Found(Result.EXPIRED),
    "alias": Found(Result.OK, "secret", {"user": "joe"}),
}
HOMES = {
    "joe": Found(Result.OK, fields={"uid": "97", "home": "/home/joe"}),
    "broken": failed("userdb down"),
}


class House:
    """One service with its clock and its log."""

    def __init__(self, *, blocking: bool = False, **policy: Any) -> None:
        self.log = Lines()
        self.clock = Clock()
        self.jobs: list[tuple[Job, str, Callable[[Found], None]]] = []
        report = Report(self.log, verbose=True)
        passdbs = PassChain([PassStep(0, "sql", None if blocking else Database(USERS))], report)
        userdbs = UserChain([UserStep(0, "sql", Database(HOMES))], passdbs, report)
        rules = Policy(**{"mechanisms": ("PLAIN", "LOGIN"), **policy})
        self.service = AuthService(
            rules,
            passdbs,
            userdbs,
            lambda job, address, done: self.jobs.append((job, address, done)),
            self.clock,
            report,
        )
        self.pid = 100

    def client(self, pid: int | None = None, **more: Any) -> Talk:
        self.pid += 1
        talk = Talk()
        said = self.pid if pid is None else pid
        options = {"must_prove_pid": True, **more}
        peer = options.pop("peer", self.pid)
        talk.session = ClientSession(self.service, talk.said.append, peer, **options)
        talk.session.feed(b"VERSION\t1\t1\nCPID\t%d\n" % said)
        talk.greeting = talk.take()
        talk.pid = said
        return talk

    def master(self) -> Talk:
        talk = Talk()
        talk.session = MasterSession(self.service, talk.said.append)
        talk.session.feed(b"VERSION\t1\t0\n")
        talk.greeting = talk.take()
        return talk


class Talk:
    """One connection: what was said to it."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.session: Any = None
        self.greeting: list[str] = []
        self.pid = 0

    def take(self) -> list[str]:
        lines = b"".join(self.said).decode().splitlines()
        self.said.clear()
        return lines

    def __call__(self, line: str) -> list[str]:
        self.session.feed(line.replace(" ", "\t").encode() + b"\n")
        return self.take()

    def auth(self, number: int, user: str, password: str = "secret", more: str = "") -> list[str]:
        resp = encode_base64(b"\0" + user.encode() + b"\0" + password.encode()).decode()
        return self(f"AUTH {number} PLAIN service=imap{more} resp={resp}")


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(clock, "monotonic", lambda: _now[0].time if _now else 1000.0)
    yield
    _now.clear()


_now: list[Clock] = []


def house(**options: Any) -> House:
    made = House(**options)
    _now[:] = [made.clock]
    return made


def test_greeting() -> None:
    here = house()
    assert here.client().greeting == [
        "VERSION\t1\t1",
        "MECH\tPLAIN\tplaintext",
        "MECH\tLOGIN\tplaintext",
        f"SPID\t{os.getpid()}",
        "CUID\t1",
        f"COOKIE\t{here.service.cookie}",
        "DONE",
    ]
    assert here.client().greeting[4] == "CUID\t2"
    assert here.master().greeting == ["VERSION\t1\t1", f"SPID\t{os.getpid()}"]


def test_plain_with_an_initial_response() -> None:
    assert house().client().auth(1, "joe") == ["OK\t1\tuser=joe"]


def test_plain_without_an_initial_response() -> None:
    client = house().client()
    assert client("AUTH 1 plain service=imap") == ["CONT\t1\t"]
    assert client("CONT 1 AGpvZQBzZWNyZXQ=") == ["OK\t1\tuser=joe"]
    assert client("AUTH 2 PLAIN service=smtp nologin resp=") == ["CONT\t2\t"]


def test_login() -> None:
    client = house().client()
    assert client("AUTH 1 LOGIN service=smtp nologin") == ["CONT\t1\tVXNlcm5hbWU6"]
    assert client("CONT 1 am9l") == ["CONT\t1\tUGFzc3dvcmQ6"]
    assert client("CONT 1 c2VjcmV0") == ["OK\t1\tuser=joe"]


def test_the_name_that_the_passdb_says() -> None:
    assert house().client().auth(1, "alias") == ["OK\t1\tuser=joe"]


def test_fields_for_the_client() -> None:
    client = house().client()
    assert client.auth(1, "ref") == ["OK\t1\tuser=ref\tnologin\thost=192.0.2.7\treason=moved\x01taway"]
    assert client.auth(2, "prox") == ["OK\t2\tuser=prox\tproxy\thost=192.0.2.7\tpass=secret"]


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ("joe", "FAIL\t1\tuser=joe"),
        ("nobody", "FAIL\t1\tuser=nobody"),
        ("down", "FAIL\t1\tuser=down\ttemp"),
        ("off", "FAIL\t1\tuser=off\tuser_disabled"),
        ("old", "FAIL\t1\tuser=old\tpass_expired\treason=Password expired"),
        ("crash", "FAIL\t1\tuser=crash\ttemp"),
        ("j%e", "FAIL\t1\tuser=j%e"),
    ],
)
def test_failures_come_late(user: str, answer: str) -> None:
    here = house(names=NameRules(characters="abcdefghijklmnopqrstuvwxyz"))
    client = here.client()
    assert client.auth(1, user, "wrong") == []
    here.clock.pass_by(1.99)
    assert client.take() == []
    here.clock.pass_by(JITTER_SECONDS + 0.02)
    assert client.take() == [answer]


def test_the_delay_has_jitter() -> None:
    here = house()
    delays = {round(here.service.delay(Request("imap"), here.clock.time), 3) for _ in range(200)}
    assert len(delays) > 50 and min(delays) >= 2.0 and max(delays) <= 2.0 + JITTER_SECONDS


def test_the_delay_hides_what_the_decision_cost() -> None:
    here = house(blocking=True)
    client = here.client()
    client.auth(1, "joe", "wrong")
    here.clock.pass_by(1.5)
    here.jobs[0][2](Found(Result.MISMATCH))
    here.clock.pass_by(0.4)
    assert client.take() == []
    here.clock.pass_by(0.7)
    assert client.take() == ["FAIL\t1\tuser=joe"]
    client.auth(2, "joe", "wrong")
    here.clock.pass_by(10)
    here.jobs[1][2](failed("down"))
    assert client.take() == ["FAIL\t2\tuser=joe\ttemp"]


def test_no_delay() -> None:
    assert house().client().auth(1, "quick", "wrong") == ["FAIL\t1\tuser=quick"]
    here = house(failure_delay=0)
    assert here.client().auth(1, "joe", "wrong") == ["FAIL\t1\tuser=joe"]


def test_what_is_logged() -> None:
    here = house(names=NameRules(characters="abcdefghijklmnopqrstuvwxyz"))
    client = here.client()
    client.auth(1, "joe", "wrong", " rip=192.0.2.1")
    client.auth(2, "j%e", "wrong")
    client("AUTH 3 PLAIN service=imap resp=QQ==")
    client.auth(4, "crash")
    assert here.log.lines[:3] == [
        "i sql(joe,192.0.2.1): Password mismatch",
        "i plain(j%e): Username contains disallowed character: 0x25",
        "i plain(?): invalid input",
    ]
    assert "fault of ours" in here.log.lines[3] and here.log.lines[3].startswith("e ")


@pytest.mark.parametrize(
    ("lines", "answers"),
    [
        (["AUTH 1 PLAIN service=imap resp=*"], ["FAIL\t1\treason=Invalid base64 data in initial response"]),
        (
            ["AUTH 1 PLAIN service=imap", "CONT 1 *"],
            ["CONT\t1\t", "FAIL\t1\treason=Invalid base64 data in continued response"],
        ),
        (["CONT 9 QQ=="], ["FAIL\t9\treason=Timeouted"]),
        (
            ["AUTH 1 PLAIN service=imap resp=" + "A" * 65536],
            ["FAIL\t1\treason=Authentication request is too long"],
        ),
        (
            ["AUTH 1 PLAIN service=imap", "CONT 1 " + "A" * 65536],
            ["CONT\t1\t", "FAIL\t1\treason=Authentication request is too long"],
        ),
    ],
)
def test_what_fails_one_request_leaves_the_connection(lines: list[str], answers: list[str]) -> None:
    client = house().client()
    assert [answer for line in lines for answer in client(line)] == answers
    assert client.auth(1, "joe") == ["OK\t1\tuser=joe"]


def test_a_continuation_while_databases_are_asked() -> None:
    here = house(blocking=True)
    client = here.client()
    assert client.auth(1, "joe") == []
    assert client("CONT 1 QQ==") == ["FAIL\t1\treason=Unexpected continuation"]
    here.jobs[0][2](Found(Result.OK, ""))
    assert client.take() == []
    assert here.service._unanswered == {}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "AUTH 1 NTLM service=imap",
            "BUG: Authentication client 101 requested unsupported authentication mechanism NTLM",
        ),
        ("AUTH 1 PLAIN", "BUG: Authentication client 101 didn't specify service in request"),
        ("NONSENSE", "BUG: Authentication client sent unknown command: NONSENSE"),
    ],
)
def test_what_ends_the_connection(line: str, text: str) -> None:
    client = house().client()
    with pytest.raises(AuthProtocolError) as error:
        client(line)
    assert str(error.value) == text


def test_an_id_in_use() -> None:
    client = house().client()
    client("AUTH 1 PLAIN service=imap")
    with pytest.raises(AuthProtocolError, match="sent a duplicate ID 1"):
        client("AUTH 1 PLAIN service=imap")
    accepted = house().client()
    accepted.auth(1, "joe")
    with pytest.raises(AuthProtocolError, match="sent a duplicate ID 1"):
        accepted.auth(1, "joe")


def test_a_login_process_must_say_its_own_pid() -> None:
    here = house()
    with pytest.raises(AuthProtocolError, match="Authentication client of PID 101 said it's PID 4242"):
        here.client(4242)
    postfix = here.client(4242, must_prove_pid=False)
    assert postfix.auth(1, "joe") == ["OK\t1\tuser=joe"]
    assert here.master()("REQUEST 1 4242 1") == ["NOTFOUND\t1"]
    assert postfix.session.pending == {}


def test_one_connection_a_pid() -> None:
    here = house()
    gone = [False]
    first = here.client(peer=500, pid=500, has_gone=lambda: gone[0])
    with pytest.raises(
        AuthProtocolError, match="BUG: Authentication client gave a PID 500 of existing connection"
    ):
        here.client(peer=500, pid=500)
    gone[0] = True
    second = here.client(peer=500, pid=500)
    first.session.closed()
    second.auth(1, "joe")
    assert here.master()("REQUEST 1 500 1")[0].startswith("USER\t1\tjoe")


def test_claim() -> None:
    here = house()
    client, master = here.client(), here.master()
    client.auth(7, "joe")
    assert master(f"REQUEST 3 {client.pid} 7") == ["USER\t3\tjoe\tuid=97\thome=/home/joe"]
    assert master(f"REQUEST 4 {client.pid} 7") == ["NOTFOUND\t4"]
    assert here.log.lines == [f"e Master request {client.pid}.7 not found"]


def test_claims_of_what_is_not_there() -> None:
    here = house(blocking=True)
    client, master = here.client(), here.master()
    assert master("REQUEST 1 9999 1") == ["NOTFOUND\t1"]
    client.auth(1, "joe")
    assert master(f"REQUEST 2 {client.pid} 1") == ["NOTFOUND\t2"]
    assert here.log.lines == [
        "e Master requested auth for nonexisting client 9999",
        f"e Master requested unfinished authentication request {client.pid}.1",
    ]
    here.jobs[0][2](Found(Result.OK, ""))
    assert client.take() == ["OK\t1\tuser=joe"]


def test_a_failed_request_cannot_be_claimed() -> None:
    here = house()
    client, master = here.client(), here.master()
    client.auth(1, "joe", "wrong")
    assert master(f"REQUEST 1 {client.pid} 1") == ["NOTFOUND\t1"]
    here.clock.pass_by(5)
    assert master(f"REQUEST 2 {client.pid} 1") == ["NOTFOUND\t2"]


def test_another_clients_request_cannot_be_claimed_for_it() -> None:
    here = house()
    first, second = here.client(), here.client()
    first.auth(1, "joe")
    assert here.master()(f"REQUEST 1 {second.pid} 1") == ["NOTFOUND\t1"]


def test_nologin_is_not_kept() -> None:
    here = house()
    client = here.client()
    client.auth(1, "joe", more=" nologin")
    assert here.master()(f"REQUEST 1 {client.pid} 1") == ["NOTFOUND\t1"]
    assert client.auth(1, "joe", more=" nologin") == ["OK\t1\tuser=joe"]


def test_unclaimed_requests_are_forgotten() -> None:
    here = house()
    client, master = here.client(), here.master()
    client.auth(1, "joe")
    client.auth(2, "joe")
    here.clock.pass_by(CLAIM_SECONDS - 10)
    assert master(f"REQUEST 1 {client.pid} 1")[0].startswith("USER")
    here.clock.pass_by(20)
    assert master(f"REQUEST 2 {client.pid} 2") == ["NOTFOUND\t2"]


def test_unanswered_challenges_are_forgotten() -> None:
    here = house()
    client = here.client(4242, must_prove_pid=False)
    client("AUTH 1 PLAIN service=smtp rip=192.0.2.1")
    here.clock.pass_by(CLAIM_SECONDS + 10)
    assert client.session.pending == {} and here.service._unanswered == {}
    assert client("CONT 1 QQ==") == ["FAIL\t1\treason=Timeouted"]
    client.session.closed()
    assert here.service._sessions == set()


def test_nothing_can_be_claimed_from_a_client_that_has_gone() -> None:
    here = house()
    client = here.client()
    client.auth(1, "joe")
    client.session.closed()
    assert here.master()(f"REQUEST 1 {client.pid} 1") == ["NOTFOUND\t1"]


def test_userdb_failures_at_a_claim() -> None:
    here = house()
    here.service._passdbs._normal[0].database.users = {  # type: ignore[union-attr]
        "broken": Found(Result.OK, "secret"),
        "homeless": Found(Result.OK, "secret"),
    }
    client, master = here.client(), here.master()
    client.auth(1, "broken")
    client.auth(2, "homeless")
    assert master(f"REQUEST 1 {client.pid} 1")[0].startswith("FAIL\t1\tInternal error")
    assert master(f"REQUEST 2 {client.pid} 2") == ["NOTFOUND\t2"]
    assert here.log.lines == [
        "e sql(broken): userdb down",
        "i sql(homeless): unknown user",
        "e userdb(homeless): user not found from userdb",
    ]


def test_user() -> None:
    master = house(
        names=NameRules(format="%Lu", characters="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    ).master()
    assert master("USER 1 JOE service=deliver") == ["USER\t1\tjoe\tuid=97\thome=/home/joe"]
    assert master("USER 2 nobody service=deliver") == ["NOTFOUND\t2"]
    assert master("USER 3 joe! service=deliver") == ["NOTFOUND\t3"]
    assert master("USER 4 broken service=deliver")[0].startswith("FAIL\t4\t")
    assert master("USER 5 " + "x" * 9000) == ["FAIL\t5\tMaster request is too long"]


@pytest.mark.parametrize("line", ["CPID 1", "NONSENSE", "REQUEST 1", "USER 1 joe"])
def test_master_errors(line: str) -> None:
    with pytest.raises(AuthProtocolError):
        house().master()(line)


def test_master_requests_are_bounded() -> None:
    here = house()
    here.service._userdbs._steps = (UserStep(0, "sql", None),)
    master = here.master()
    for number in range(1, MAX_UNANSWERED + 1):
        assert master(f"USER {number} joe service=deliver") == []
    assert master("USER 99 joe service=deliver") == ["FAIL\t99\tToo many requests"]
    here.jobs[0][2](Found(Result.OK, fields={"uid": "1"}))
    assert master.take() == ["USER\t1\tjoe\tuid=1"]
    assert master("USER 99 joe service=deliver") == []


def test_answers_to_a_client_that_has_gone_are_dropped() -> None:
    here = house(blocking=True)
    client = here.client()
    client.auth(1, "joe", more=" rip=192.0.2.1")
    client.session.closed()
    here.jobs[0][2](Found(Result.OK, ""))
    assert client.take() == [] and here.service._unanswered == {}
    late = here.client()
    late.auth(1, "joe")
    late.session.closed()
    here.jobs[1][2](Found(Result.MISMATCH))
    here.clock.pass_by(10)
    assert late.take() == []


def test_cancel() -> None:
    here = house(blocking=True)
    client = here.client()
    client.auth(1, "joe", more=" rip=192.0.2.1")
    assert client("CANCEL 1") == []
    here.jobs[0][2](Found(Result.OK, ""))
    assert client.take() == [] and here.service._unanswered == {}
    assert client("CANCEL 77") == []
    assert client("AUTH 1 PLAIN service=imap") == ["CONT\t1\t"]


def test_unanswered_requests_of_an_address_are_bounded() -> None:
    here = house(trusted=lambda address: address == "198.51.100.1")
    clients = [here.client(), here.client()]
    for number in range(MAX_OF_ADDRESS):
        assert clients[number % 2](f"AUTH {number + 1} PLAIN service=imap rip=192.0.2.1 lip=192.0.2.9") == [
            f"CONT\t{number + 1}\t"
        ]
    assert clients[0]("AUTH 900 PLAIN service=imap rip=192.0.2.1 lip=192.0.2.9") == ["FAIL\t900\ttemp"]
    assert clients[0]("AUTH 901 PLAIN service=imap rip=192.0.2.2 lip=192.0.2.9") == ["CONT\t901\t"]
    for number in range(910, 910 + MAX_OF_ADDRESS + 5):
        assert clients[0](f"AUTH {number} PLAIN service=imap rip=192.0.2.9 lip=192.0.2.9") == [
            f"CONT\t{number}\t"
        ]
        assert clients[1](f"AUTH {number} PLAIN service=imap rip=198.51.100.1 lip=192.0.2.9") == [
            f"CONT\t{number}\t"
        ]
    assert any("192.0.2.1 (limit 64)" in line for line in here.log.lines)
    clients[1].session.closed()
    assert clients[0]("AUTH 990 PLAIN service=imap rip=192.0.2.1 lip=192.0.2.9") == ["CONT\t990\t"]


def test_unanswered_requests_of_a_connection_are_bounded() -> None:
    client = house().client()
    for number in range(1, MAX_OF_CONNECTION + 1):
        assert client(f"AUTH {number} PLAIN service=imap") == [f"CONT\t{number}\t"]
    assert client("AUTH 5000 PLAIN service=imap") == ["FAIL\t5000\ttemp"]
    client("CANCEL 1")
    assert client("AUTH 5000 PLAIN service=imap") == ["CONT\t5000\t"]


def test_certificates() -> None:
    here = house(require_certificate=True, user_from_certificate=True)
    client = here.client()
    assert client.auth(1, "joe") == ["FAIL\t1\treason=Client didn't present valid SSL certificate"]
    assert client.auth(2, "nobody", more=" valid-client-cert cert_username=joe") == ["OK\t2\tuser=joe"]


def test_blocking_databases_are_asked_with_the_address() -> None:
    here = house(blocking=True)
    client = here.client()
    client.auth(1, "joe", more=" rip=192.0.2.1")
    client.auth(2, "ann", more=" rip=192.0.2.2")
    assert [address for _, address, _ in here.jobs] == ["192.0.2.1", "192.0.2.2"]
    here.jobs[1][2](Found(Result.OK, "", {"user": "ann@x"}))
    assert client.take() == ["OK\t2\tuser=ann@x"]


def test_passwords_are_not_kept() -> None:
    here = house()
    client = here.client()
    client.auth(1, "joe", "secret")
    client.auth(2, "joe", "wrong")
    assert [pending.request.password for pending in client.session.pending.values()] == ["", ""]


def test_debug_lines_hide_passwords() -> None:
    here = house(failure_delay=0)
    here.service.report = service_module.Report(here.log, debug=True)
    client = here.client()
    client.auth(1, "prox")
    assert here.log.lines and not any("secret" in line or "c2VjcmV0" in line for line in here.log.lines)
