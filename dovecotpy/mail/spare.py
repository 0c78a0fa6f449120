"""A mail worker while it is root: it waits for a client, finds out who he is, and becomes that user's process or says no.

It never reads from the client and never writes to him: until `ok` the login process speaks, and what it says is chosen by the answer
on the reply pair.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket

from dovecotpy import clock
from dovecotpy.child.forkserver import Birth
from dovecotpy.ipc import authmaster, control, fdpass, handover, reuse
from dovecotpy.ipc.control import Refusal, Verb
from dovecotpy.ipc.handover import Refused
from dovecotpy.log import client as log_client
from dovecotpy.mail import execute, intake
from dovecotpy.mail.account import Account, AccountError, resolve
from dovecotpy.mail.asking import REQUEST_SECONDS, Asker, AskError
from dovecotpy.mail.identity import descend
from dovecotpy.mail.intake import Offer
from dovecotpy.mail.prepared import Prepared
from dovecotpy.mail.serving import Guest
from dovecotpy.mail.tenure import Become, Tenure

PATIENCE = 0.02
"""Seconds for the auth process to answer before the next spare is asked for, where an idle process may serve the client anyway."""
SLOT_SECONDS = 30.0
"""For the master's yes or no."""
PASS_ON_SECONDS = 5.0
"""For an idle worker to take what it was chosen for."""

_NOW = int(socket.MSG_DONTWAIT)
_NOSIGNAL = int(socket.MSG_NOSIGNAL)
_WORDS = {
    Refusal.TOO_MANY_PROCESSES: (Refused.TOO_MANY_PROCESSES, "Maximum number of mail processes exceeded"),
    Refusal.TOO_MANY_CONNECTIONS: (
        Refused.TOO_MANY_CONNECTIONS,
        "Maximum number of connections from user+IP exceeded",
    ),
    Refusal.SHUTTING_DOWN: (Refused.SHUTTING_DOWN, "Server shutting down"),
}


class Refuse(Exception):
    """The client gets no session. str(error): the cause; `logged`: whether it is a line of this process too."""

    def __init__(self, reason: Refused, text: str, user: str = "", *, logged: bool = True) -> None:
        super().__init__(text)
        self.reason = reason
        self.user = user
        self.logged = logged


class Retired(Exception):
    """The master has gone or wants this process to end."""


def work(prepared: Prepared, birth: Birth) -> int:
    """The life of a worker; returns its exit status."""
    return Spare(prepared, birth.control).live()


class Spare:
    """One worker, until it becomes a user's. become: how it does."""

    def __init__(self, prepared: Prepared, lifeline: socket.socket, become: Become = descend) -> None:
        self._prepared = prepared
        self._lifeline = lifeline
        self._become = become
        self._settings = prepared.settings
        self._log = prepared.log
        self._asker = Asker(self._settings.text("base_dir"), prepared.auth_uids)
        self._reuse = self._settings.flag("mail_process_reuse") and not prepared.executable
        self._taken = False
        self._retired = False

    def live(self) -> int:
        """Wait for `GO`, then take clients until one is ours."""
        try:
            while not self._retired and self._control(None).verb is not Verb.GO:
                pass
            return 0 if self._retired else self._wait()
        except Retired:
            return 0

    def _wait(self) -> int:
        """Take clients. A retired spare looks once more: the kernel may have woken it alone for a client that waits."""
        queue = self._prepared.queue
        epoll = select.epoll()
        epoll.register(queue.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        epoll.register(self._lifeline.fileno(), select.EPOLLIN)
        while True:
            if not self._retired and self._lifeline.fileno() in [number for number, _ in epoll.poll(-1, 2)]:
                self._control(None)
                continue
            packet = intake.take(queue)
            if packet is None and self._retired:
                return 0
            offer = self._examine(packet) if packet is not None else None
            status = self._serve(offer, epoll) if offer is not None else None
            if status is not None:
                return status

    def _examine(self, packet: fdpass.Packet) -> Offer | None:
        try:
            return intake.examine(packet, self._prepared.rules.login_uid, self._prepared.service.name)
        except intake.Forged as error:
            self._log.error(f"Refused a forged hand-over: {error}")
            if error.pid:
                self._tell(Verb.FORGED, error.pid)
            return None

    def _serve(self, offer: Offer, epoll: select.epoll) -> int | None:
        """The exit status when this process is spent, None when it stays a spare."""
        self._taken = False
        try:
            account = self._admit(offer)
            if account is None:
                return self._still()
        except Refuse as refusal:
            self._refuse(offer, refusal)
            return self._still()
        except Retired:
            offer.close()
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours here is this client's alone, and says where it is
            log_client.traceback(self._log, error, address=offer.message.remote_address)
            self._refuse(offer, Refuse(Refused.INTERNAL, "fault in the mail process", logged=False))
            return 1
        guest = Guest(account, offer.message, offer.client, offer.reply)
        epoll.close()
        self._asker.close()
        self._prepared.queue.close()
        if self._prepared.executable:
            return execute.execute(self._prepared, guest, self._lifeline)
        return Tenure(self._prepared, self._lifeline, self._become).serve(guest)

    def _still(self) -> int | None:
        """What `_serve` returns when the client is gone: who said `TAKEN` was replaced already and ends."""
        return 0 if self._taken else None

    def _admit(self, offer: Offer) -> Account | None:
        """Whose client it is, with a slot; None when an idle process has him. Raises Refuse, Retired."""
        message = offer.message
        try:
            user = self._ask(offer)
            account: Account | None = resolve(user.user, user.fields, self._prepared.rules)
            problem = ""
        except AskError as error:
            raise Refuse(Refused.INTERNAL, self._unknown(message, str(error))) from error
        except AccountError as error:
            account, problem = None, str(error)
        if account is not None and self._reuse and self._share(account, offer):
            return None
        if account is None or not self._reuse:
            self._slot(user.user, message.remote_address)
        self._take()
        if account is None:
            raise Refuse(Refused.INTERNAL, problem, user.user)
        return account

    def _unknown(self, message: handover.HandOver, cause: str) -> str:
        """The line for a client whom we could not identify."""
        return f"Internal login failure: {cause} (auth {message.auth_pid}, id={message.auth_id}): rip={message.remote_address}"

    def _ask(self, offer: Offer) -> authmaster.User:
        """Who he is, by the auth process's word. Raises AskError."""
        if not self._reuse:
            self._take()
        message = offer.message
        began = clock.monotonic()
        patience = PATIENCE if self._reuse else REQUEST_SECONDS
        user = self._asker.ask(message.auth_pid, offer.sender, message.auth_id, patience)
        if user is None and self._reuse:
            self._take()
            user = self._asker.answer(began + REQUEST_SECONDS - clock.monotonic())
        if user is None:
            self._asker.close()
            raise AskError(f"no answer within {REQUEST_SECONDS:.0f} s")
        return user

    def _share(self, account: Account, offer: Offer) -> bool:
        """Ask for a slot; True when an idle process of the same credentials has the client, False when the slot is ours."""
        message = offer.message
        key = account.key(self._prepared.service.name, self._prepared.generation)
        inbox = self._slot(account.user, message.remote_address, key, shared=True)
        if inbox is None:
            return False
        passed = reuse.Passed(message, account.user, account.uid, account.home, account.mail, account.fields)
        with inbox:
            if self._theirs(inbox, account) and _pass_on(
                inbox, passed, (offer.client.fileno(), offer.reply.fileno())
            ):
                offer.close()
                return True
        self._slot(account.user, message.remote_address, key)
        return False

    def _theirs(self, inbox: socket.socket, account: Account) -> bool:
        """Whether a process of these credentials made the inbox, by the kernel's word.

        Its key came from a process that is a user's already: one that was taken over might name another user's.
        """
        maker = fdpass.peer(inbox)
        if (maker.uid, maker.gid) == (account.uid, account.gid):
            return True
        text = (
            f"Refused an inbox of pid {maker.pid} (uid {maker.uid}, gid {maker.gid}) for user {account.user}"
        )
        self._log.error(text, user=account.user)
        return False

    def _slot(self, user: str, address: str, key: str = "", *, shared: bool = False) -> socket.socket | None:
        """May this session be? The inbox of an idle worker where `shared` and the master chose one. Raises Refuse, Retired."""
        self._tell(Verb.SLOT, self._prepared.service.name, user, address, key, int(shared and bool(key)))
        deadline = clock.monotonic() + SLOT_SECONDS
        while True:
            answer = self._control(deadline, user)
            if answer.verb is Verb.YES:
                return fdpass.taken_over(answer.descriptors[0]) if answer.descriptors else None
            if answer.verb is Verb.NO:
                reason, text = _WORDS.get(
                    Refusal(answer.text(0)), (Refused.INTERNAL, "the master refused the session")
                )
                full = reason is Refused.TOO_MANY_PROCESSES
                raise Refuse(reason, text, user, logged=full or reason is Refused.INTERNAL)

    def _take(self) -> None:
        """Tell the master that this process is a spare no more, so that it forks the next."""
        if not self._taken:
            self._taken = True
            self._tell(Verb.TAKEN)

    def _control(self, deadline: float | None, user: str = "") -> control.Message:
        """The next packet from the master. Raises Retired at its end, Refuse when the deadline passes."""
        if deadline is not None:
            poll = select.poll()
            poll.register(self._lifeline, select.POLLIN)
            if not poll.poll(max(0.0, deadline - clock.monotonic()) * 1000):
                raise Refuse(
                    Refused.INTERNAL, f"Internal login failure: no answer from the master (user {user})", user
                )
        try:
            message = control.receive(self._lifeline)
        except (OSError, control.ControlError):
            message = None
        if message is None:
            raise Retired
        if message.verb is not Verb.YES:
            for descriptor in message.descriptors:
                os.close(descriptor)
        if message.verb is Verb.RETIRE:
            self._retired = True
        return message

    def _tell(self, verb: Verb, *values: str | int) -> None:
        try:
            control.send(self._lifeline, verb, *values)
        except OSError:
            raise Retired from None

    def _refuse(self, offer: Offer, refusal: Refuse) -> None:
        """One line for the administrator, one answer for the login process."""
        message = offer.message
        text = str(refusal)
        if refusal.logged:
            self._log.error(text, user=refusal.user, session=message.session, address=message.remote_address)
        answer = handover.encode_answer(handover.Denied(refusal.reason, text))
        with contextlib.suppress(OSError):
            offer.reply.send(answer, _NOW | _NOSIGNAL)
        offer.close()


def _pass_on(inbox: socket.socket, passed: reuse.Passed, descriptors: tuple[int, int]) -> bool:
    """Whether the worker behind the inbox has taken the client.

    A worker that does not answer in time finds its inbox shut: what it said before counts, what it says later cannot be said.
    """
    try:
        fdpass.send(inbox, reuse.encode(passed), descriptors, _NOW)
        poll = select.poll()
        poll.register(inbox.fileno(), select.POLLIN)
        if poll.poll(PASS_ON_SECONDS * 1000):
            return inbox.recv(64, _NOW) == reuse.TAKEN
    except BlockingIOError:
        pass  # no room in an inbox that nobody used before, or somebody else read our answer: no worker of ours is like that
    except (OSError, reuse.ReuseError):
        return False
    return _last_word(inbox) == reuse.TAKEN


def _last_word(inbox: socket.socket) -> bytes:
    try:
        inbox.shutdown(socket.SHUT_RDWR)
        return inbox.recv(64, _NOW)
    except OSError:
        return b""
