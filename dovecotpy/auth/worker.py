"""The workers of the auth process: `python -I -m dovecotpy.auth.worker` is their fork server.

It reads the files of the databases as root, becomes the auth user, and forks a worker for each connection that the master
passes on. A worker asks databases and compares passwords, one job after the other; it may block.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping

from dovecotpy.auth import schemes, settings
from dovecotpy.auth.__main__ import FATAL, TITLE, give_up, require_version
from dovecotpy.auth.blocking import Databases
from dovecotpy.auth.passdb.base import match
from dovecotpy.auth.report import Report
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result, failed
from dovecotpy.auth.setup import SetupError
from dovecotpy.auth.sql.binding import Query
from dovecotpy.child import bootstrap
from dovecotpy.child.forkserver import Birth, ForkServer
from dovecotpy.child.title import set_title
from dovecotpy.ipc import authworker, control
from dovecotpy.ipc.authworker import Answer, Job, Verb
from dovecotpy.log import client as log_client
from dovecotpy.log.client import Log
from dovecotpy.sandbox import privileges

READ_SIZE = 65536


class Worker:
    """Serves one connection until it ends."""

    def __init__(self, databases: Databases, log: Log, report: Report) -> None:
        self._databases = databases
        self._log = log
        self._report = report

    def serve(self, sock: socket.socket) -> None:
        """Answer jobs until EOF. Raises nothing but for faults of ours."""
        reader = authworker.WorkerReader()
        self._databases.inform(self._log.info)
        try:
            sock.sendall(authworker.encode_version())
            while data := sock.recv(READ_SIZE):
                for job in reader.jobs(data):
                    sock.sendall(_encoded(job.id, self.answer(job)))
        except OSError:
            return
        except authworker.WorkerProtocolError as error:
            self._log.error(str(error))

    def answer(self, job: Job) -> Found:
        """Do one job; a fault of ours fails that job alone."""
        request = Request.decode(job.request)
        try:
            return self._actions()[job.verb](job, request)
        except Exception as error:  # noqa: BLE001 - the worker serves many users
            log_client.traceback(self._log, error, user=request.user, address=request.remote_address)
            return failed("")

    def _actions(self) -> Mapping[Verb, Callable[[Job, Request], Found]]:
        return {
            Verb.PASSV: self._verify,
            Verb.PASSL: self._look_up,
            Verb.USER: self._user,
            Verb.HASH: _compare,
        }

    def _look_up(self, job: Job, request: Request) -> Found:
        self._say_query(self._databases.password_queries, job, request)
        return self._databases.passdbs[job.number].lookup(request)

    def _verify(self, job: Job, request: Request) -> Found:
        found = self._look_up(job, request)
        answer = match(found, request)
        if self._report.passwords and answer.result is Result.MISMATCH and found.password:
            text = schemes.explain(request.password, found.password, found.default_scheme)
            self._report.debug(request, "sql", text)
        return answer

    def _user(self, job: Job, request: Request) -> Found:
        self._say_query(self._databases.user_queries, job, request)
        return self._databases.userdbs[job.number].lookup(request)

    def _say_query(self, queries: Mapping[int, Query], job: Job, request: Request) -> None:
        if self._report.debugging:
            hidden = {} if self._report.passwords else {"w": "<hidden>"}
            query = queries[job.number].shown({**request.variables(), **hidden})
            self._report.debug(request, "sql", f"query: {query}")


def _compare(job: Job, request: Request) -> Found:
    return match(Found(Result.OK, job.stored, default_scheme=job.default_scheme), request)


def _encoded(id: int, found: Found) -> bytes:
    answer = Answer(
        id,
        int(found.result),
        found.fields,
        found.default_scheme,
        found.password or "",
        found.error,
        found.text,
    )
    try:
        return authworker.encode_answer(answer)
    except authworker.WorkerProtocolError as error:
        return authworker.encode_answer(Answer(id, int(Result.INTERNAL), {}, error=True, text=str(error)))


def warm_up() -> None:
    """Do once, before rights go, what imports at first use: codecs, dialects, schemes."""
    for name in ("SSHA512", "PBKDF2", "SHA512-CRYPT"):
        schemes.verify("x", schemes.generate("x", name), "PLAIN", "x")
    for codec in ("idna", "utf-16-le", "utf-16-be", "latin-1"):
        "x".encode(codec)


def main() -> int:
    """Returns the exit status."""
    start = bootstrap.receive()
    channel = socket.socket(fileno=start.descriptors["control"])
    log = Log(socket.socket(fileno=start.descriptors["log"]) if "log" in start.descriptors else None)
    log_client.stderr(log)
    set_title(f"{TITLE} -w")
    try:
        require_version(start)
        known = settings.load(start.settings)
        databases = Databases(known.passdbs, known.userdbs)
        warm_up()
        give_up(known)
    except (SetupError, privileges.PrivilegeError, OSError) as error:
        control.send(channel, control.Verb.FAILED, str(error))
        return FATAL
    report = Report(log, verbose=known.verbose, debug=known.debug, passwords=known.debug_passwords)
    worker = Worker(databases, log, report)

    def run(birth: Birth) -> int:
        worker.serve(socket.socket(fileno=birth.descriptors[0]))
        birth.control.close()
        return 0

    ForkServer(channel, run, keep=(log.fileno(),)).serve()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
