"""The protocol between an auth process and one of its workers, version 1.

A stream pair for each worker, lines ended by LF, fields separated by TAB and escaped as `fields` says. The worker speaks first and
answers one job after the other, in order. EOF from the auth process ends the worker.

| from | line |
|---|---|
| worker | `VERSION 1`, once |
| auth | `PASSV id number field…`: ask passdb `number` and compare the password of the request |
| auth | `PASSL id number field…`: ask passdb `number`, compare nothing |
| auth | `USER id number field…`: ask userdb `number` |
| auth | `HASH id default-scheme stored field…`: compare the request's password with a stored one |
| worker | `OK id default-scheme password field…`; the password is given to PASSL only |
| worker | `FAIL id code error text field…`: code as `auth.results.Result`; error 1: always logged |

A field is `name=value`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dovecotpy.ipc import fields as line_fields
from dovecotpy.ipc.authclient import decode_fields
from dovecotpy.ipc.lines import CutLine, LineBuffer

VERSION = 1
MAX_LINE = 262144
"""Octets of one line in either direction: a password of a SASL response, or a user's fields."""


class Verb(enum.StrEnum):
    """What a worker is asked for."""

    PASSV = "PASSV"
    PASSL = "PASSL"
    USER = "USER"
    HASH = "HASH"


class Job(NamedTuple):
    """One job. `number` is the database's (0 for HASH); `default_scheme` and `stored` are HASH's."""

    id: int
    verb: Verb
    number: int
    request: Mapping[str, str]
    default_scheme: str = ""
    stored: str = ""


class Answer(NamedTuple):
    """One answer. `code` 1 is OK."""

    id: int
    code: int
    fields: Mapping[str, str]
    default_scheme: str = ""
    password: str = ""
    error: bool = False
    text: str = ""


class WorkerProtocolError(Exception):
    """The other side broke the protocol. Log: one line; the connection is closed."""


def encode_job(job: Job, request: Iterable[str]) -> bytes:
    """A job's line; `request`: `name=value` parts in place of the mapping. Raises WorkerProtocolError when too long."""
    where: tuple[str | int, ...] = (job.number,)
    if job.verb is Verb.HASH:
        where = (job.default_scheme, job.stored)
    return _bounded(line_fields.pack(job.verb.value, job.id, *where, *request))


def encode_answer(answer: Answer) -> bytes:
    """An answer's line. Raises WorkerProtocolError when too long."""
    parts = [f"{name}={value}" for name, value in answer.fields.items()]
    if answer.code == 1:
        return _bounded(line_fields.pack("OK", answer.id, answer.default_scheme, answer.password, *parts))
    error = int(answer.error)
    return _bounded(line_fields.pack("FAIL", answer.id, answer.code, error, answer.text, *parts))


def encode_version() -> bytes:
    """What a worker says first."""
    return b"VERSION\t%d\n" % VERSION


class WorkerReader:
    """Lines of either side; each end asks for what it expects."""

    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_LINE)
        self.greeted = False
        """whether the worker's VERSION has come"""

    def jobs(self, data: bytes) -> list[Job]:
        """Jobs, at the worker's end. Raises WorkerProtocolError."""
        return [_job(parts) for parts in self._parts(data)]

    def answers(self, data: bytes) -> list[Answer]:
        """Answers, at the auth process's end. Raises WorkerProtocolError."""
        answers: list[Answer] = []
        for parts in self._parts(data):
            if self.greeted:
                answers.append(_answer(parts))
            elif parts == ["VERSION", str(VERSION)]:
                self.greeted = True
            else:
                raise WorkerProtocolError("Auth worker not compatible with this server")
        return answers

    def _parts(self, data: bytes) -> list[list[str]]:
        lines = self._lines.feed(data)
        if any(isinstance(line, CutLine) for line in lines):
            raise WorkerProtocolError("Auth worker line is too long")
        return [line_fields.texts(line) for line in lines]


def _job(parts: list[str]) -> Job:
    try:
        verb, id = Verb(parts[0]), int(parts[1])
        if verb is Verb.HASH:
            return Job(id, verb, 0, decode_fields(parts[4:]), parts[2], parts[3])
        return Job(id, verb, int(parts[2]), decode_fields(parts[3:]))
    except (ValueError, IndexError) as error:
        raise WorkerProtocolError("broken job for an auth worker") from error


def _answer(parts: list[str]) -> Answer:
    try:
        id = int(parts[1])
        if parts[0] == "OK":
            return Answer(id, 1, decode_fields(parts[4:]), parts[2], parts[3])
        if parts[0] == "FAIL" and int(parts[2]) != 1:
            return Answer(id, int(parts[2]), decode_fields(parts[5:]), error=parts[3] == "1", text=parts[4])
    except (ValueError, IndexError) as error:
        raise WorkerProtocolError("broken answer of an auth worker") from error
    raise WorkerProtocolError("broken answer of an auth worker")


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_LINE:
        raise WorkerProtocolError(f"a line for or of an auth worker is longer than {MAX_LINE} bytes")
    return line + b"\n"
