"""One client of a process that is the user's already: open the store, answer login, run the session, write its line."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from dovecotpy import clock
from dovecotpy.child.title import set_title
from dovecotpy.config.values import Namespace, Settings
from dovecotpy.ipc import handover
from dovecotpy.ipc.handover import HandOver, Refused
from dovecotpy.ipc.record import Level
from dovecotpy.log import client as log_client
from dovecotpy.log.client import Log
from dovecotpy.mail import identity
from dovecotpy.mail.account import Account
from dovecotpy.mail.runner import Channel, Outcome, Runner, Signals
from dovecotpy.mail.service import Opened, Service, Visit
from dovecotpy.mail.session import Session
from dovecotpy.storage.errors import StoreError
from dovecotpy.storage.store import StoreUser

_NOW = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class Client(Channel, Protocol):
    """A client's socket, or what stands in for it."""

    def close(self) -> None:
        """As socket.close."""


class Guest(NamedTuple):
    """A client whose user is known and allowed."""

    account: Account
    message: HandOver
    client: Client
    reply: socket.socket | None
    """where the login process waits for its answer; None: there is none, and the client hears of a failure from us"""

    def close(self) -> None:
        """Give both sockets up."""
        self.client.close()
        if self.reply is not None:
            self.reply.close()


class Host:
    """Serves guests. lifeline: the process's control socket. output: where to write, if not to the client's own socket."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        namespaces: Sequence[Namespace],
        log: Log,
        lifeline: socket.socket,
        *,
        output: Channel | None = None,
    ) -> None:
        self._service = service
        self._settings = settings
        self._namespaces = namespaces
        self._log = log
        self._lifeline = lifeline
        self._output = output
        self._verbose = self._settings.flag("verbose_proctitle")

    def serve(self, guest: Guest) -> bool:
        """From the hand-over to the end of the session; whether this process is fit for another one."""
        try:
            opened = self._open(guest)
        except (StoreError, identity.HomeError, OSError) as error:
            self._refuse(guest, getattr(error, "log", None) or str(error))
            return True
        except Exception as error:  # noqa: BLE001 - a fault of ours while opening is this client's alone
            self._traceback(guest, error)
            self._answer(guest, handover.Denied(Refused.INTERNAL, "fault in the mail process"))
            guest.close()
            return False
        try:
            return self._run(guest, opened)
        finally:
            opened.close()
            guest.close()
            self._title("")

    def _open(self, guest: Guest) -> Opened:
        """The session with its store. Raises StoreError, HomeError, OSError."""
        account, message = guest.account, guest.message
        warning = identity.go_home(account)
        if warning:
            self._say(guest, Level.WARNING, warning)
        if self._settings.flag("mail_debug"):
            text = f"Effective uid={account.uid}, gid={account.gid}, home={account.home}"
            self._say(guest, Level.DEBUG, text)
        self._title(f" [{account.user} {message.remote_address or '??'}]")
        who = StoreUser(
            user=account.user,
            home=account.home,
            mail=account.mail,
            uid=account.uid,
            service=self._service.name,
            local_address=message.local_address,
            remote_address=message.remote_address,
            fields=account.fields,
        )
        return self._service.open(
            Visit(
                who,
                self._settings,
                self._namespaces,
                message.tag,
                message.client_input,
                lambda level, text: self._say(guest, level, text),
            )
        )

    def _run(self, guest: Guest, opened: Opened) -> bool:
        if not self._answer(guest, handover.Accepted(os.getpid())):
            self._say(guest, Level.ERROR, "The login process has gone before its client could be served")
            return True
        if guest.reply is not None:
            guest.reply.close()
        runner = Runner(
            opened.session,
            guest.client,
            self._lifeline,
            shutdown_clients=self._settings.flag("shutdown_clients"),
            received=len(guest.message.client_input),
            output=self._output,
        )
        with Signals(runner) as signals:
            try:
                outcome = runner.run()
            except Exception as error:  # noqa: BLE001 - whatever broke, it ends this session and no other
                self._broken(guest, opened.session, runner, error)
                outcome = Outcome("Internal error occurred", runner.received, runner.sent, True)
        if signals.received == signals.TERMINATE:
            self._say(guest, Level.WARNING, f"Killed with signal {signals.received}")
        summary = self._service.summary(self._settings, opened.session, outcome.received, outcome.sent)
        self._say(guest, Level.INFO, f"{outcome.text} {summary}".rstrip())
        return not outcome.server_ends

    def _broken(self, guest: Guest, session: Session, runner: Runner, error: Exception) -> None:
        """One line with the traceback for the administrator, one for the client (unless it would end up inside of a message)."""
        self._traceback(guest, error)
        if session.within_literal:
            return
        stamp = clock.local(clock.now())
        text = f"{stamp.tm_year:04}-{stamp.tm_mon:02}-{stamp.tm_mday:02} {stamp.tm_hour:02}:{stamp.tm_min:02}:{stamp.tm_sec:02}"
        runner.last_word(self._service.internal_error(text))

    def _refuse(self, guest: Guest, text: str) -> None:
        self._say(guest, Level.ERROR, text)
        self._answer(guest, handover.Denied(Refused.INTERNAL, text))
        guest.close()

    def _answer(self, guest: Guest, answer: handover.Accepted | handover.Denied) -> bool:
        """Tell the login process; False when it has gone."""
        if guest.reply is None:
            if isinstance(answer, handover.Denied):
                with contextlib.suppress(OSError):
                    (self._output or guest.client).send(self._service.refusal, _NOW)
            return True
        try:
            guest.reply.send(handover.encode_answer(answer), _NOW)
        except OSError:
            return False
        return True

    def _say(self, guest: Guest, level: Level, text: str) -> None:
        message = guest.message
        self._log.say(level, text, guest.account.user, message.session, message.remote_address)

    def _traceback(self, guest: Guest, error: Exception) -> None:
        message = guest.message
        log_client.traceback(
            self._log,
            error,
            user=guest.account.user,
            session=message.session,
            address=message.remote_address,
        )

    def _title(self, who: str) -> None:
        """What ps shows (verbose_proctitle)."""
        if self._verbose:
            name = self._service.name
            set_title(name + "".join(letter if letter.isprintable() else "?" for letter in who))
