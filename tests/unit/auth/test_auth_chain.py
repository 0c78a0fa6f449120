"""Chains of passdbs and userdbs: the table of results, fields, master users, existence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from dovecotpy.auth import fields, schemes
from dovecotpy.auth.chain import PassChain, PassStep, UserChain, UserFound, UserStep, Verdict
from dovecotpy.auth.jobs import HashVerify, Job, PassLookup, PassVerify, UserLookup, Work
from dovecotpy.auth.report import Report
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result, failed, unknown
from dovecotpy.auth.userdb.prefetch import PrefetchUserdb
from dovecotpy.auth.userdb.static import StaticUserdb
from dovecotpy.log.client import Log

Answer = TypeVar("Answer")


class Lines(Log):
    """What would be logged."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def say(self, level: object, text: str, user: str = "", session: str = "", address: str = "") -> None:
        self.lines.append(f"{level} {text}")


class Table:
    """A database of a dictionary."""

    def __init__(self, users: dict[str, Found]) -> None:
        self.users = users

    def lookup(self, request: Request) -> Found:
        return self.users.get(request.user, unknown())


def known(password: str | None = "secret", **extra: str) -> Found:
    return Found(Result.OK, password, extra)


def no_job(job: Job) -> Found:
    raise AssertionError(f"unexpected {job}")


def drive(work: Work[Answer], serve: Callable[[Job], Found] = no_job) -> Answer:
    try:
        job = next(work)
        while True:
            job = work.send(serve(job))
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer


def step(users: dict[str, Found], number: int = 0, **flags: bool) -> PassStep:
    return PassStep(number, f"db{number}", Table(users), **flags)


def request(password: str = "secret", user: str = "joe", **more: str) -> Request:
    return Request("imap", user, remote_address="192.0.2.1", password=password, **more)  # type: ignore[arg-type]


def run(
    steps: Sequence[PassStep], asked: Request, serve: Callable[[Job], Found] = no_job
) -> tuple[Verdict, list[str]]:
    log = Lines()
    verdict = drive(PassChain(steps, Report(log, verbose=True)).authenticate(asked), serve)
    return verdict, log.lines


OK, MISMATCH = {"joe": known()}, {"joe": known("other")}
UNKNOWN: dict[str, Found] = {}
INTERNAL = {"joe": failed("down")}
DISABLED, EXPIRED = {"joe": Found(Result.DISABLED)}, {"joe": Found(Result.EXPIRED)}


@pytest.mark.parametrize(
    ("steps", "result"),
    [
        ([OK], Result.OK),
        ([MISMATCH], Result.MISMATCH),
        ([UNKNOWN], Result.MISMATCH),
        ([INTERNAL], Result.INTERNAL),
        ([UNKNOWN, OK], Result.OK),
        ([MISMATCH, OK], Result.OK),
        ([INTERNAL, OK], Result.OK),
        ([INTERNAL, MISMATCH], Result.INTERNAL),
        ([MISMATCH, INTERNAL], Result.INTERNAL),
        ([DISABLED, OK], Result.DISABLED),
        ([EXPIRED, OK], Result.EXPIRED),
        ([], Result.MISMATCH),
    ],
)
def test_results(steps: list[dict[str, Found]], result: Result) -> None:
    verdict, _ = run([step(users, number) for number, users in enumerate(steps)], request())
    assert verdict.result is result
    assert verdict.reason == ("Password expired" if result is Result.EXPIRED else "")
    assert verdict.temporary is (result is Result.INTERNAL)


@pytest.mark.parametrize(
    ("denied", "result"),
    [(UNKNOWN, Result.OK), (OK, Result.DISABLED), (MISMATCH, Result.DISABLED), (INTERNAL, Result.INTERNAL)],
)
def test_deny(denied: dict[str, Found], result: Result) -> None:
    verdict, lines = run([step(denied, 0, deny=True), step(OK, 1)], request())
    assert verdict.result is result
    assert (result is Result.DISABLED) == ("i db0(joe,192.0.2.1): User found from deny passdb" in lines)


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (OK, OK, Result.OK),
        (OK, MISMATCH, Result.MISMATCH),
        (MISMATCH, OK, Result.OK),
        (OK, UNKNOWN, Result.MISMATCH),
        (OK, INTERNAL, Result.INTERNAL),
    ],
)
def test_pass(first: dict[str, Found], second: dict[str, Found], result: Result) -> None:
    verdict, _ = run([step(first, 0, pass_=True), step(second, 1)], request())
    assert verdict.result is result


def test_fields_of_a_database_that_lets_nobody_in_do_not_count() -> None:
    asked = request()
    first = {"joe": known("other", user="ann", host="192.0.2.7", userdb_uid="0", nologin="")}
    verdict, _ = run([step(first), step({"joe": known(home="x")}, 1)], asked)
    assert verdict.ok and asked.user == "joe"
    assert asked.fields == {"home": "x"} and asked.userdb_fields is None


def test_fields_of_pass_yes_are_kept() -> None:
    asked = request()
    verdict, _ = run(
        [step({"joe": known(host="192.0.2.7", user="joe@x")}, pass_=True), step({"joe@x": known()}, 1)], asked
    )
    assert verdict.ok and asked.user == "joe@x" and asked.fields == {"host": "192.0.2.7"}


@pytest.mark.parametrize(
    ("extra", "user"),
    [
        ({"user": "ann"}, "ann"),
        ({"username": "ann"}, "ann@a.b"),
        ({"username": "ann@c.d"}, "ann@c.d"),
        ({"domain": "c.d"}, "joe@c.d"),
        ({"user": ""}, "joe@a.b"),
    ],
)
def test_the_name_can_change(extra: dict[str, str], user: str) -> None:
    asked = request(user="joe@a.b")
    verdict, _ = run([step({"joe@a.b": known("secret", **extra)})], asked)
    assert verdict.ok and asked.user == user


def test_userdb_fields_are_sorted_out() -> None:
    asked = request()
    verdict, _ = run(
        [step({"joe": known(userdb_home="/h", userdb_quota="", nologin="y")})],
        asked,
    )
    assert asked.userdb_fields == {"home": "/h", "quota": "1"}
    assert asked.fields == {"nologin": "y"}
    assert verdict.ok


@pytest.mark.parametrize(
    ("found", "result", "line"),
    [
        (known(None), Result.MISMATCH, "i db0(joe,192.0.2.1): No password"),
        (known(""), Result.MISMATCH, "i db0(joe,192.0.2.1): Empty password returned without no_password"),
        (
            known("x", nopassword=""),
            Result.INTERNAL,
            "e db0(joe,192.0.2.1): nopassword set but password is non-empty",
        ),
        (known("", nopassword=""), Result.OK, ""),
        (known(None, nopassword=""), Result.OK, ""),
        (known("{NOPE}x"), Result.MISMATCH, "e db0(joe,192.0.2.1): Unknown scheme NOPE"),
        (known("{SSHA}x"), Result.MISMATCH, "e db0(joe,192.0.2.1): Invalid password format for scheme SSHA"),
        (known("other"), Result.MISMATCH, "i db0(joe,192.0.2.1): Password mismatch"),
        (unknown(), Result.MISMATCH, "i db0(joe,192.0.2.1): unknown user"),
    ],
)
def test_what_is_compared_and_said(found: Found, result: Result, line: str) -> None:
    verdict, lines = run([step({"joe": found})], request())
    assert verdict.result is result
    assert lines == ([line] if line else [])


@pytest.mark.parametrize("password", ["a\tb", "a\nb\r", "a\x01", "a\0b"])
def test_passwords_with_illegal_characters(password: str) -> None:
    if password == "a\nb\r":
        password = "a\r"
    verdict, lines = run([step({"joe": known(password)})], request(password))
    assert verdict.result is Result.MISMATCH
    assert lines == ["i auth(joe,192.0.2.1): Attempted login with password having illegal chars"]


@pytest.mark.parametrize(
    ("nets", "ok"),
    [
        ("192.0.2.0/24", True),
        ("198.51.100.0/24, 192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::/32", False),
        ("nonsense", False),
        ("nonsense,192.0.2.1", True),
        ("0.0.0.0/0", True),
    ],
)
def test_allow_nets(nets: str, ok: bool) -> None:
    asked = request()
    verdict, lines = run([step({"joe": known(allow_nets=nets)})], asked)
    assert verdict.ok is ok and "allow_nets" not in asked.fields
    assert ok or lines == ["i db0(joe,192.0.2.1): allow_nets check failed: IP not in allowed networks"]


def test_allow_nets_do_not_bind_those_who_only_ask() -> None:
    static = UserStep(0, "static", StaticUserdb("uid=97", print))
    passdbs = [step({"joe": known(allow_nets="198.51.100.0/24")})]
    assert find([static], Request("deliver", "joe"), passdbs=passdbs, logged_in=False)[0].result is Result.OK


def test_allow_nets_and_mapped_addresses() -> None:
    assert fields.is_allowed("::ffff:192.0.2.1", "192.0.2.0/24")
    assert fields.is_allowed("2001:db8::5", "2001:db8::/32")
    assert not fields.is_allowed("", "0.0.0.0/0")


def test_a_blocking_database_is_asked_by_a_job() -> None:
    jobs: list[Job] = []

    def serve(job: Job) -> Found:
        jobs.append(job)
        return Found(Result.OK, "", {"user": "ann"})

    asked = request()
    verdict, _ = run([PassStep(3, "sql", None)], asked, serve)
    assert verdict.ok and asked.user == "ann"
    assert [(type(job), job.number) for job in jobs if isinstance(job, PassVerify)] == [(PassVerify, 3)]


def test_a_dear_hash_is_compared_by_a_job() -> None:
    stored = schemes.generate("secret", "SHA512-CRYPT")
    jobs: list[Job] = []

    def serve(job: Job) -> Found:
        jobs.append(job)
        assert isinstance(job, HashVerify) and job.stored == stored
        return Found(Result.MISMATCH, text="Password mismatch")

    verdict, lines = run([step({"joe": known(stored, host="x")})], request(), serve)
    assert (
        len(jobs) == 1
        and verdict.result is Result.MISMATCH
        and lines == ["i db0(joe,192.0.2.1): Password mismatch"]
    )
    asked = request()
    verdict, _ = run([step({"joe": known(stored, host="x")})], asked, lambda job: Found(Result.OK, ""))
    assert verdict.ok and asked.fields == {"host": "x"}


MASTER = {"admin": known("boss")}


def master_request(password: str = "boss") -> Request:
    return request(password, user="admin", login_user="joe")


def test_master_login() -> None:
    asked = master_request()
    verdict, lines = run([step(OK), step(MASTER, 1, master=True)], asked)
    assert verdict.ok and (asked.user, asked.master_user, asked.login_user) == ("joe", "admin", "")
    assert lines == ["i db1(admin,192.0.2.1,master): Master user logging in as joe"]


def test_a_master_login_asks_only_master_databases() -> None:
    asked = master_request("secret")
    verdict, _ = run([step({"admin": known("secret")}), step(MASTER, 1, master=True)], asked)
    assert verdict.result is Result.MISMATCH and asked.master_user == ""


def test_a_normal_login_asks_no_master_database() -> None:
    verdict, _ = run([step(OK), step({"ann": known()}, 1, master=True)], request(user="ann"))
    assert verdict.result is Result.MISMATCH


def test_no_master_databases() -> None:
    verdict, lines = run([step(OK)], master_request())
    assert not verdict.ok
    assert lines == ["i auth(admin,192.0.2.1,master): Attempted master login with no master passdbs"]


def test_master_with_pass_looks_the_user_up() -> None:
    asked = master_request()
    verdict, _ = run(
        [step({"joe": known("whatever", host="h")}), step(MASTER, 1, master=True, pass_=True)], asked
    )
    assert verdict.ok and asked.fields == {"host": "h"}
    verdict, _ = run([step(UNKNOWN), step(MASTER, 1, master=True, pass_=True)], master_request())
    assert not verdict.ok


def find(
    steps: Sequence[UserStep],
    asked: Request,
    *,
    passdbs: Sequence[PassStep] = (),
    logged_in: bool = True,
    serve: Callable[[Job], Found] = no_job,
) -> tuple[UserFound, list[str]]:
    log = Lines()
    report = Report(log, verbose=True)
    chain = UserChain(steps, PassChain(passdbs, report), report)
    return drive(chain.find(asked, logged_in=logged_in), serve), log.lines


def users(entries: dict[str, Found], number: int = 0) -> UserStep:
    return UserStep(number, f"udb{number}", Table(entries))


def test_the_first_userdb_that_knows() -> None:
    found, _ = find([users({}), users({"joe": known(None, uid="1000", gid="1000", home="/h")}, 1)], request())
    assert found == UserFound(Result.OK, "joe", {"uid": "1000", "gid": "1000", "home": "/h"})


def test_a_userdb_can_change_the_name() -> None:
    found, _ = find([users({"joe": known(None, user="ann")})], request())
    assert found == UserFound(Result.OK, "ann", {})


def test_not_found() -> None:
    found, lines = find([users({})], request())
    assert found.result is Result.UNKNOWN
    assert "e userdb(joe,192.0.2.1): user not found from userdb" in lines
    found, lines = find([users({})], request(), logged_in=False)
    assert found.result is Result.UNKNOWN and not any(line.startswith("e") for line in lines)


def test_internal_is_not_unknown() -> None:
    found, _ = find([users(INTERNAL), users({}, 1)], request())
    assert found.result is Result.INTERNAL
    found, _ = find([users(INTERNAL), users({"joe": known(None)}, 1)], request())
    assert found.result is Result.OK


def test_names_of_users_and_groups_become_numbers() -> None:
    found, _ = find([users({"joe": known(None, uid="root", gid="root")})], request())
    assert found.fields == {"uid": "0", "gid": "0"}
    found, lines = find([users({"joe": known(None, uid="no such user")})], request())
    assert found.result is Result.INTERNAL and lines == [
        "e udb0(joe,192.0.2.1): Invalid UID value 'no such user'"
    ]
    found, _ = find([users({"joe": known(None, uidgid_file="/")})], request())
    assert found.fields == {"uid": "0", "gid": "0"}
    found, _ = find([users({"joe": known(None, uidgid_file="/nonexistent")})], request())
    assert found.result is Result.INTERNAL


def test_prefetch() -> None:
    asked = request()
    asked.userdb_fields = {"home": "/h"}
    prefetch = UserStep(0, "prefetch", PrefetchUserdb("", print))
    assert find([prefetch], asked)[0] == UserFound(Result.OK, "joe", {"home": "/h"})
    found, lines = find([prefetch, users({"joe": known(None)}, 1)], request(), logged_in=False)
    assert (
        found.result is Result.OK
        and "i prefetch(joe,192.0.2.1): passdb didn't return userdb entries" in lines
    )


def test_static_asks_the_passdb_without_a_login() -> None:
    static = UserStep(0, "static", StaticUserdb("uid=97 gid=97 home=/m/%d/%n quota", print))
    expected = UserFound(Result.OK, "joe@a.b", {"uid": "97", "gid": "97", "home": "/m/a.b/joe", "quota": "1"})
    asked = request(user="joe@a.b")
    assert find([static], asked)[0] == expected
    passdbs = [step({"joe@a.b": known(host="x")})]
    assert find([static], asked, passdbs=passdbs, logged_in=False)[0] == expected
    assert (
        find([static], request(user="ann@a.b"), passdbs=passdbs, logged_in=False)[0].result is Result.UNKNOWN
    )
    assert find([static], request(), passdbs=[step(INTERNAL)], logged_in=False)[0].result is Result.INTERNAL
    generous = UserStep(0, "static", StaticUserdb("uid=97 allow_all_users=yes", print))
    assert find([generous], request(), logged_in=False)[0] == UserFound(Result.OK, "joe", {"uid": "97"})


def test_static_asks_a_blocking_passdb_by_a_job() -> None:
    static = UserStep(0, "static", StaticUserdb("uid=97", print))
    asked: list[Job] = []

    def serve(job: Job) -> Found:
        asked.append(job)
        return known()

    assert (
        find([static], request(), passdbs=[PassStep(0, "sql", None)], logged_in=False, serve=serve)[0].result
        is Result.OK
    )
    assert isinstance(asked[0], PassLookup)


def test_blocking_userdb() -> None:
    found, _ = find(
        [UserStep(5, "sql", None)],
        request(),
        serve=lambda job: known(None, uid=str(isinstance(job, UserLookup) and job.number)),
    )
    assert found.fields == {"uid": "5"}


def test_master_user_is_told() -> None:
    asked = request()
    asked.master_user = "admin"
    assert find([users({"joe": known(None, uid="1")})], asked)[0].fields == {
        "master_user": "admin",
        "uid": "1",
    }


def test_a_database_that_is_down_is_said_once() -> None:
    log = Lines()
    report = Report(log)
    text = "mysql: Connect failed to h (d): no - waiting for {} seconds before retry"
    for seconds in (1, 2, 4):
        report.found(request(), "sql", failed(text.format(seconds)))
    report.found(request(), "sql", failed("Password query failed: syntax"))
    report.found(request(), "sql", failed("Password query failed: syntax"))
    assert log.lines == ["e " + text.format(1), *["e sql(joe,192.0.2.1): Password query failed: syntax"] * 2]


def test_not_verbose() -> None:
    log = Lines()
    report = Report(log)
    report.found(request(), "sql", unknown())
    report.debug(request(), "sql", "x")
    report.trace("y")
    assert log.lines == [] and not report.debugging


def test_requests_travel_to_workers() -> None:
    asked = Request(
        "imap",
        "jö",
        "PLAIN",
        "::1",
        "192.0.2.1",
        143,
        4000,
        True,
        True,
        session="s",
        password="p\tq",
        login_user="x",
    )
    named = dict(part.partition("=")[::2] for part in asked.encode())
    assert Request.decode(named) == asked
