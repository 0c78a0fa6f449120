"""The chains of passdbs and userdbs: in which order they are asked, and what their answers do.

Both are generators of jobs (`jobs.Work`): a database that may block is asked by yielding a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dovecotpy.auth import fields, schemes
from dovecotpy.auth.jobs import HashVerify, PassLookup, PassVerify, UserLookup, Work
from dovecotpy.auth.passdb.base import PassDatabase, accepted, match, mismatch
from dovecotpy.auth.report import Report
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result
from dovecotpy.auth.userdb.base import UserDatabase
from dovecotpy.auth.userdb.static import StaticUserdb

ILLEGAL = frozenset("\x01\t\r\n\0")
"""Characters that no password has: they mean something in the protocols that carry it."""


@dataclass(frozen=True, slots=True)
class PassStep:
    """One passdb of the chain."""

    number: int
    driver: str
    database: PassDatabase | None
    """None: a worker asks it"""
    deny: bool = False
    pass_: bool = False
    master: bool = False


@dataclass(frozen=True, slots=True)
class UserStep:
    """One userdb of the chain."""

    number: int
    driver: str
    database: UserDatabase | None
    """None: a worker asks it"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a passdb chain ended."""

    result: Result
    reason: str = ""
    """for the client"""

    @property
    def ok(self) -> bool:
        """Whether the user is let in."""
        return self.result is Result.OK

    @property
    def temporary(self) -> bool:
        """Whether nobody knows."""
        return self.result is Result.INTERNAL


@dataclass(frozen=True, slots=True)
class UserFound:
    """How a userdb chain ended."""

    result: Result
    user: str = ""
    fields: dict[str, str] = field(default_factory=dict)


class PassChain:
    """Who lets a user in."""

    def __init__(self, steps: Sequence[PassStep], report: Report) -> None:
        self._normal = tuple(step for step in steps if not step.master)
        self._masters = tuple(step for step in steps if step.master)
        self._report = report

    def authenticate(self, request: Request) -> Work[Verdict]:
        """Compare the request's password; `request.login_user` is set for a master login. Fields go into the request."""
        if not ILLEGAL.isdisjoint(request.password):
            self._report.info(request, "auth", "Attempted login with password having illegal chars")
            return Verdict(Result.MISMATCH)
        if request.login_user:
            return (yield from self._master(request))
        return (yield from self._run(self._normal, request, verify=True))

    def exists(self, request: Request) -> Work[Verdict]:
        """Whether a passdb knows the user; no password is compared and no field is kept."""
        verdict = yield from self._run(self._normal, request, verify=False, anywhere=True)
        request.forget_fields()
        return verdict

    def _master(self, request: Request) -> Work[Verdict]:
        if not self._masters:
            self._report.info(request, "auth", "Attempted master login with no master passdbs")
            return Verdict(Result.UNKNOWN)
        for step in self._masters:
            found = yield from self._ask(step, request, verify=True)
            if found.result is Result.OK:
                return (yield from self._become(step, request))
            self._say(step, request, found)
            if found.result in (Result.INTERNAL, Result.DISABLED, Result.EXPIRED):
                return Verdict(found.result)
        return Verdict(Result.MISMATCH)

    def _become(self, step: PassStep, request: Request) -> Work[Verdict]:
        self._report.info(request, step.driver, f"Master user logging in as {request.login_user}")
        request.master_user, request.user, request.login_user = request.user, request.login_user, ""
        request.forget_fields()
        if step.pass_:
            return (yield from self._run(self._normal, request, verify=False))
        return Verdict(Result.OK)

    def _run(
        self, steps: Sequence[PassStep], request: Request, *, verify: bool, anywhere: bool = False
    ) -> Work[Verdict]:
        """The steps in order. A step with deny refuses whom it knows; one with pass=yes lets the next decide too."""
        internal = False
        user, kept = request.user, dict(request.fields)
        for step in steps:
            found = yield from self._ask(step, request, verify=verify and not step.deny)
            if step.deny:
                if found.result is Result.UNKNOWN:
                    continue
                return self._denied(step, request, found)
            found = self._taken(request, found, anywhere=anywhere)
            if found.result is Result.OK:
                if not step.pass_:
                    return Verdict(Result.OK)
                user, kept = request.user, dict(request.fields)
                continue
            self._say(step, request, found)
            if found.result in (Result.DISABLED, Result.EXPIRED):
                return Verdict(found.result, "Password expired" if found.result is Result.EXPIRED else "")
            internal = internal or found.result is Result.INTERNAL
            nodelay = {"nodelay": ""} if "nodelay" in request.fields else {}
            request.forget_fields()
            request.user, request.fields = user, {**kept, **nodelay}
        return Verdict(Result.INTERNAL if internal else Result.MISMATCH)

    def _denied(self, step: PassStep, request: Request, found: Found) -> Verdict:
        if found.result is Result.INTERNAL:
            self._say(step, request, found)
            return Verdict(Result.INTERNAL)
        self._report.info(request, step.driver, "User found from deny passdb")
        return Verdict(Result.DISABLED)

    def _taken(self, request: Request, found: Found, *, anywhere: bool) -> Found:
        """The answer once its fields were sorted into the request and `allow_nets` was looked at, unless nobody logs in."""
        nets = "" if anywhere else found.fields.get("allow_nets")
        if found.result is Result.OK and nets and not fields.is_allowed(request.remote_address, nets):
            return Found(Result.MISMATCH, text="allow_nets check failed: IP not in allowed networks")
        before = request.user
        fields.take_passdb_fields(
            request, {name: found.fields[name] for name in found.fields if name != "allow_nets"}
        )
        if request.user != before:
            self._report.debug(request, "auth", f"username changed {before} -> {request.user}")
        return found

    def _ask(self, step: PassStep, request: Request, *, verify: bool) -> Work[Found]:
        if step.database is None:
            return (yield PassVerify(step.number, request) if verify else PassLookup(step.number, request))
        found = step.database.lookup(request)
        if not verify or found.result is not Result.OK:
            return found
        if not found.password or not schemes.is_dear(found.password, found.default_scheme):
            return self._explained(request, step, found, match(found, request))
        compared = yield HashVerify(found.password, found.default_scheme, request)
        if compared.result is Result.OK:
            return accepted(found)
        return (
            mismatch(found, compared.text, error=compared.error)
            if compared.result is Result.MISMATCH
            else compared
        )

    def _explained(self, request: Request, step: PassStep, found: Found, answer: Found) -> Found:
        if self._report.passwords and answer.result is Result.MISMATCH and found.password:
            self._report.debug(
                request, step.driver, schemes.explain(request.password, found.password, found.default_scheme)
            )
        return answer

    def _say(self, step: PassStep, request: Request, found: Found) -> None:
        self._report.found(request, step.driver, found)


class UserChain:
    """Where a user's mail is."""

    def __init__(self, steps: Sequence[UserStep], passdbs: PassChain, report: Report) -> None:
        self._steps = steps
        self._passdbs = passdbs
        self._report = report

    def find(self, request: Request, *, logged_in: bool) -> Work[UserFound]:
        """The fields of the first userdb that knows the user. logged_in: a passdb let him in, so he exists."""
        internal = False
        for step in self._steps:
            found = yield from self._ask(step, request, logged_in)
            if found.result is Result.OK:
                return self._answer(step, request, found)
            self._report.found(request, step.driver, found)
            internal = internal or found.result is Result.INTERNAL
        if internal:
            return UserFound(Result.INTERNAL)
        if logged_in:
            self._report.error(request, "userdb", "user not found from userdb")
        return UserFound(Result.UNKNOWN)

    def _ask(self, step: UserStep, request: Request, logged_in: bool) -> Work[Found]:
        if step.database is None:
            return (yield UserLookup(step.number, request))
        if isinstance(step.database, StaticUserdb) and not (logged_in or step.database.allow_all_users):
            verdict = yield from self._passdbs.exists(request)
            if not verdict.ok:
                return Found(Result.INTERNAL if verdict.temporary else Result.UNKNOWN, text="unknown user")
        return step.database.lookup(request)

    def _answer(self, step: UserStep, request: Request, found: Found) -> UserFound:
        try:
            known = fields.resolved(found.fields)
        except fields.FieldError as error:
            self._report.error(request, step.driver, str(error))
            return UserFound(Result.INTERNAL)
        user = known.pop("user", "") or request.user
        if request.master_user:
            known = {"master_user": request.master_user, **known}
        return UserFound(Result.OK, user, known)
