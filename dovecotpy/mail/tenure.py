"""What a mail process does once it is the user's: one session, or with mail_process_reuse several of the same credentials.

Nothing is imported from here on, and root never comes back.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable

from dovecotpy import clock
from dovecotpy.ipc import control, fdpass, handover, reuse
from dovecotpy.ipc.control import Verb
from dovecotpy.ipc.handover import Refused
from dovecotpy.mail import identity
from dovecotpy.mail.account import Account
from dovecotpy.mail.prepared import Prepared
from dovecotpy.mail.rules import Rules
from dovecotpy.mail.serving import Guest, Host
from dovecotpy.sandbox.privileges import PrivilegeError

REUSE_SECONDS = 300.0
"""An idle process ends after so long without a session."""
REUSE_SESSIONS = 1000
"""A process ends after so many sessions: what leaks, leaks no further."""
EXIT_FATAL = 89
"""The line was logged; the master says nothing more."""

Become = Callable[[Account, Rules], None]

_NOW = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class Tenure:
    """A process that becomes one identity for good. lifeline: its control socket; become: how, see `identity.descend`."""

    def __init__(
        self, prepared: Prepared, lifeline: socket.socket, become: Become = identity.descend
    ) -> None:
        self._become = become
        self._prepared = prepared
        self._lifeline = lifeline
        self._reuse = prepared.settings.flag("mail_process_reuse")
        self._buffer = bytearray()

    def serve(self, guest: Guest) -> int:
        """Become the guest's user and serve him, then those that are passed on; returns the exit status."""
        account = guest.account
        try:
            self._become(account, self._prepared.rules)
        except (PrivilegeError, OSError) as error:
            self._fatal(guest, f"{error} (user {account.user})")
            return EXIT_FATAL
        prepared = self._prepared
        host = Host(prepared.service, prepared.settings, prepared.namespaces, prepared.log, self._lifeline)
        key = account.key(self._prepared.service.name, self._prepared.generation) if self._reuse else ""
        if not host.serve(guest) or not key:
            return 0
        del guest
        self._buffer = bytearray(reuse.MAX_PACKET)
        for _ in range(1, REUSE_SESSIONS):
            follower = self._await(account, key)
            if follower is None or not host.serve(follower):
                break
        return 0

    def _fatal(self, guest: Guest, text: str) -> None:
        message = guest.message
        self._prepared.log.fatal(
            text, user=guest.account.user, session=message.session, address=message.remote_address
        )
        if guest.reply is not None:
            with contextlib.suppress(OSError):
                guest.reply.send(handover.encode_answer(handover.Denied(Refused.INTERNAL, text)), _NOW)

    def _await(self, account: Account, key: str) -> Guest | None:
        """Wait for another guest of the same credentials; None when this process shall end."""
        inbox, sending = fdpass.pair()
        inbox.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with inbox:
            try:
                control.send(self._lifeline, Verb.IDLE, key, descriptors=(sending.fileno(),))
            except OSError:
                return None
            finally:
                sending.close()
            if not self._knock(inbox):
                return None
            return self._welcome(inbox, account)

    def _knock(self, inbox: socket.socket) -> bool:
        """Whether somebody passes a client on, before the time is up or the master wants the end."""
        poll = select.poll()
        poll.register(inbox, select.POLLIN)
        poll.register(self._lifeline, select.POLLIN)
        deadline = clock.monotonic() + REUSE_SECONDS
        while (left := deadline - clock.monotonic()) > 0:
            ready = [number for number, _ in poll.poll(left * 1000)]
            if inbox.fileno() in ready:
                return True
            if ready and not self._stays():
                return False
        return False

    def _stays(self) -> bool:
        """Read the lifeline; False when the master has gone or retires this process."""
        try:
            message = control.receive(self._lifeline)
        except (OSError, control.ControlError):
            return False
        if message is None:
            return False
        for descriptor in message.descriptors:
            os.close(descriptor)
        return message.verb is not Verb.RETIRE

    def _welcome(self, inbox: socket.socket, account: Account) -> Guest | None:
        """The guest that a spare passes on; None when it cannot be this process's."""
        try:
            packet = fdpass.receive_into(inbox, self._buffer)
        except OSError:
            return None
        try:
            passed = reuse.decode(packet.data)
            self._check(packet, passed, account)
            inbox.send(reuse.TAKEN, _NOW)
        except (OSError, reuse.ReuseError) as error:
            packet.close()
            if packet.data:
                self._prepared.log.error(f"Refused a client that was passed on: {error}")
            return None
        client, reply = socket.socket(fileno=packet.descriptors[0]), fdpass.taken_over(packet.descriptors[1])
        same = account._replace(
            user=passed.user, home=passed.home, mail=passed.mail, system_user="", fields=passed.fields
        )
        return Guest(same, passed.message, client, reply)

    def _check(self, packet: fdpass.Packet, passed: reuse.Passed, account: Account) -> None:
        """Only a root spare (in an ordinary user's server: the user) passes clients on. Raises ReuseError."""
        sender = packet.credentials
        if sender is None or sender.uid != self._prepared.rules.server_uid:
            raise reuse.ReuseError(f"passed on by pid {sender.pid if sender else 0}, which is no spare")
        if packet.truncated or len(packet.descriptors) != reuse.DESCRIPTORS:
            raise reuse.ReuseError(f"packet with {len(packet.descriptors)} descriptors")
        if passed.uid != account.uid:
            raise reuse.ReuseError("a client that is not this process's")
