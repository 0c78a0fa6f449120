"""A client before login, whatever its protocol: bytes in, bytes and actions out, no socket.

The runner (`client.py`) feeds what the client sends, asks `act()` until it answers None, and writes `take_output()`. What it does for
an action it reports back by the methods below:

| action | what the runner does | and reports |
|---|---|---|
| `Attempt` | asks an auth process | `challenged`, `failed`, `succeeded` |
| `Respond` | passes the client's answer on | the same |
| `Cancel` | forgets the request | nothing |
| `StartTls` | writes what is due, shakes hands | `secured_by_tls` |
| `HandOver` | passes the client to a mail process | `refused`, or ends the session |
| `Note` | one line in the log, with the usual tail | nothing |
| `Finish` | writes what is due, closes, logs `message` | nothing |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from dovecotpy.ipc.handover import Denied, Refused
from dovecotpy.login.policy import Offer, Policy

MAX_RESPONSE = 16384
"""Octets of one SASL response, decoded; a longer one ends the attempt with BAD."""
MAX_RESPONSE_LINE = 24576
"""Octets of a line that carries a SASL response in base64."""
MAX_BAD_COMMANDS = 10
"""Bad commands in a row; the tenth is answered with BYE."""
MAX_REASON = 512
"""Characters of a reason that a database gives for the client."""

MAX_OUTPUT = 16384
"""Octets of answers that wait for a client before it is asked to read: its commands rest until they are gone."""

INTERNAL_FAILURE = "Internal login failure. Refer to server log for more information."


class Peer(NamedTuple):
    """Both ends of the client's connection, as numbers."""

    local_address: str
    local_port: int
    remote_address: str
    remote_port: int


class Attempt(NamedTuple):
    """A client wants to log in. `initial` is None without an initial response."""

    mechanism: str
    initial: bytes | None


class Respond(NamedTuple):
    """The client's answer to a challenge."""

    data: bytes


class Cancel(NamedTuple):
    """The client gave up its attempt."""


class StartTls(NamedTuple):
    """TLS begins behind the output that is due now."""


class HandOver(NamedTuple):
    """The auth process knows the client: a mail process takes it. `tag` is what it answers to."""

    tag: str


class Note(NamedTuple):
    """A line of the log."""

    text: str


class Finish(NamedTuple):
    """The connection ends once the output is written. `message`: the event for the log."""

    message: str


Action = Attempt | Respond | Cancel | StartTls | HandOver | Note | Finish


class LoginSession(ABC):
    """What POP3 and IMAP have in common before login. A protocol says how things are worded.

    policy, offer: shared by all sessions of a process. secured: the client's address is trusted as TLS would be.
    """

    __slots__ = (
        "policy",
        "offer",
        "peer",
        "trusted",
        "local",
        "tls",
        "user",
        "mechanism",
        "attempts",
        "successes",
        "temporary",
        "aborted",
        "plaintext_refused",
        "busy",
        "bad",
        "out",
        "_actions",
        "_finished",
        "_final",
    )

    def __init__(self, policy: Policy, offer: Offer, peer: Peer, *, tls: bool = False) -> None:
        self.policy = policy
        self.offer = offer
        self.peer = peer
        self.trusted = policy.trusts(peer.remote_address)
        """the client may say for whom it speaks (login_trusted_networks)"""
        self.local = self.trusted or peer.remote_address == peer.local_address
        self.tls = tls
        self.user = ""
        self.mechanism = ""
        self.attempts = 0
        """attempts that failed for what the client sent"""
        self.successes = 0
        self.temporary = False
        """the last attempt failed for a fault of ours"""
        self.aborted = False
        """the last attempt was given up by the client"""
        self.plaintext_refused = False
        self.busy = False
        """an answer from outside is awaited; nothing the client sends is looked at before"""
        self.bad = 0
        self.out = bytearray()
        self._actions: list[Action] = []
        self._finished = False
        self._final: Mapping[str, str] | None = None

    # What a protocol provides.

    @abstractmethod
    def start(self) -> None:
        """Greet the client."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take octets from the client."""

    @abstractmethod
    def take_input(self) -> bytes:
        """Take out what the client sent and nobody looked at yet."""

    @abstractmethod
    def buffered(self) -> int:
        """Octets that the client sent and nobody looked at yet."""

    @abstractmethod
    def waiting(self) -> None:
        """Tell the client that the auth process is slow."""

    @abstractmethod
    def _advance(self) -> bool:
        """Look at the input; whether something came of it."""

    @abstractmethod
    def _reply_challenge(self, data: bytes) -> None:
        """Pass a challenge on."""

    @abstractmethod
    def _reply_failure(self, code: str, text: str) -> None:
        """Say that the attempt failed; `code` is the response code, empty for none."""

    @abstractmethod
    def _reply_internal_failure(self) -> None:
        """Say that the password was right and the server is at fault."""

    @abstractmethod
    def _reply_referral(self, fields: Mapping[str, str], *, refused: bool) -> None:
        """Send the client to another server, as the passdb wants."""

    @abstractmethod
    def _farewell(self, text: str) -> None:
        """Say why the connection ends."""

    # What the runner calls.

    @property
    def secured(self) -> bool:
        """Whether a plaintext password may come this way."""
        return self.tls or self.local

    @property
    def finished(self) -> bool:
        """A Finish was or will be the last action."""
        return self._finished

    @property
    def full(self) -> bool:
        """No command is looked at before the output has been taken."""
        return len(self.out) > MAX_OUTPUT

    def act(self) -> Action | None:
        """The next thing to do; None when input or an answer is needed, or when what is to be sent must go first (`full`)."""
        while not self._actions:
            if self.busy or self._finished or self.full or not self._advance():
                return None
        return self._actions.pop(0)

    def take_output(self) -> bytes:
        """What the client is to be sent now."""
        data = bytes(self.out)
        self.out.clear()
        return data

    def secured_by_tls(self) -> None:
        """The handshake that StartTls asked for is done."""
        self.tls = True
        self.busy = False

    def challenged(self, data: bytes) -> None:
        """The auth process wants to know more."""
        self.busy = False
        self._reply_challenge(data)

    def failed(self, user: str, fields: Mapping[str, str]) -> None:
        """The auth process said no, or (field `temp`) could not say."""
        self.busy = False
        if user:
            self.user = user
        self.temporary = "temp" in fields
        self.aborted = False
        if self.temporary:
            self._fail("UNAVAILABLE", "Temporary authentication failure.", "temporary failure")
            return
        self.attempts += 1
        self._actions_of_failure(fields)

    def succeeded(self, user: str, fields: Mapping[str, str], resp: bytes | None = None) -> None:
        """The auth process knows the client. resp: what it still has to be told (mutual authentication)."""
        self.user = user
        self.temporary = self.aborted = False
        if resp is None:
            self._conclude(fields)
            return
        self.busy = False
        self._final = fields
        self._reply_challenge(resp)

    def refused(self, denied: Denied) -> None:
        """No mail process has the client."""
        if denied.reason is Refused.TOO_MANY_CONNECTIONS:
            text = "Maximum number of connections from user+IP exceeded"
            self._reply_failure("UNAVAILABLE", text)
            self._finish(text)
        elif denied.reason is Refused.SHUTTING_DOWN:
            self._reply_failure("UNAVAILABLE", "Server shutting down.")
            self._end("Shutting down", "Server shutting down.")
        else:
            self._internal_failure(denied.text)

    def disconnected(self) -> None:
        """The client has gone, or closed its side and nothing that it sent waits."""
        self._finish("Disconnected" + self.suffix())

    def end(self, reason: str, farewell: str = "") -> None:
        """End the session. reason: for the log; farewell: for the client, none if empty."""
        self._end(reason, farewell)

    def suffix(self) -> str:
        """What the last line of a session without login says of its attempts."""
        if self.attempts:
            return f" (auth failed, {self.attempts} attempts)"
        if self.successes:
            return f" (internal failure, {self.successes} successful auths)"
        if self.temporary:
            return " (auth service reported temporary failure)"
        if self.aborted:
            return " (aborted authentication)"
        return " (no auth attempts)"

    # What protocols build on.

    def _attempt(self, mechanism: str, initial: bytes | None, user: str = "") -> None:
        """Begin an attempt, or refuse it."""
        self.mechanism = mechanism
        self.user = user
        offered = self.offer.find(mechanism)
        if offered is None:
            self._refuse("", "Unsupported authentication mechanism.", "unsupported mechanism")
        elif self.policy.tls_required and not self.tls:
            self._refuse("PRIVACYREQUIRED", "Authentication not allowed until TLS is active.", "TLS required")
        elif "plaintext" in offered.flags and self.policy.plaintext_disabled and not self.secured:
            self.plaintext_refused = True
            self._refuse(
                "PRIVACYREQUIRED", "Plaintext authentication disabled.", "plaintext authentication disabled"
            )
        else:
            self._act(Attempt(mechanism, initial))
            self.busy = True

    def _respond(self, data: bytes) -> None:
        """The client answered a challenge."""
        self.busy = True
        if self._final is None:
            self._act(Respond(data))
            return
        fields, self._final = self._final, None
        self._conclude(fields)

    def _abort(self) -> None:
        """The client gave up its attempt."""
        self.aborted = True
        self._final = None
        self._act(Cancel())
        self._act(Note("Login attempt failed (aborted by the client)"))

    def _refuse(self, code: str, text: str, reason: str) -> None:
        if self.policy.verbose:
            self._act(Note(f"Authenticate {self.mechanism} failed: {text}"))
        self._fail(code, text, reason)

    def _fail(self, code: str, text: str, reason: str) -> None:
        self._act(Note(f"Login attempt failed ({reason})"))
        self._reply_failure(code, text)

    def _actions_of_failure(self, fields: Mapping[str, str]) -> None:
        reason = visible(fields.get("reason", ""))
        if "user_disabled" in fields:
            self._fail("AUTHENTICATIONFAILED", reason or "Authentication failed.", "user disabled")
        elif "pass_expired" in fields or reason == "Password expired":
            self._fail("EXPIRED", reason or "Password expired", "password expired")
        elif reason:
            self._fail("AUTHENTICATIONFAILED", reason, reason)
        else:
            self._fail("AUTHENTICATIONFAILED", "Authentication failed.", "authentication failed")

    def _conclude(self, fields: Mapping[str, str]) -> None:
        """A correct password: what the passdb wants done with it."""
        self.busy = True
        if "proxy" in fields:
            self.successes += 1
            self._internal_failure("the passdb asks for a proxy, which is not available")
        elif "host" in fields:
            self._refer(fields)
        elif "nologin" in fields:
            self.busy = False
            self.attempts += 1
            reason = visible(fields.get("reason", ""))
            self._fail(
                "AUTHENTICATIONFAILED", reason or "Authentication failed.", reason or "login not allowed"
            )
        else:
            self.successes += 1
            self._act(self._hand_over())

    def _refer(self, fields: Mapping[str, str]) -> None:
        refused = "nologin" in fields
        self._reply_referral(fields, refused=refused)
        if refused:
            self.busy = False
            self.attempts += 1
            self._act(Note("Login attempt failed (referred to another server)"))
        else:
            self._finish("Login with referral")

    def _hand_over(self) -> HandOver:
        return HandOver("")

    def _internal_failure(self, cause: str) -> None:
        self._reply_internal_failure()
        self._finish(f"Internal login failure: {cause}" + self.suffix())

    def _end(self, reason: str, farewell: str) -> None:
        if self._finished:
            return
        if farewell:
            self._farewell(farewell)
        self._finish(f"Disconnected: {reason}" + self.suffix())

    def _bad(self) -> bool:
        """One more bad command; whether it was one too many."""
        self.bad += 1
        return self.bad >= MAX_BAD_COMMANDS

    def _act(self, action: Action) -> None:
        self._actions.append(action)

    def _finish(self, message: str) -> None:
        if not self._finished:
            self._finished = True
            self._actions.append(Finish(message))


def visible(text: str) -> str:
    """Text from a database for a client's line: no control characters, bounded."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_REASON])
