"""IMAP before login: CAPABILITY, NOOP, LOGOUT, ID, STARTTLS, LOGIN, AUTHENTICATE (RFC 3501 sections 6.1, 6.2; RFC 2971, 4959, 7888)."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping

from dovecotpy.imap.wire.command import (
    Bad,
    Command,
    CommandParser,
    LineTooLong,
    LiteralTooLarge,
    NeedLiteral,
    unasked,
)
from dovecotpy.imap.wire.language import LISTED, chosen
from dovecotpy.imap.wire.tokens import Token
from dovecotpy.login.policy import Offer, Policy, packed
from dovecotpy.login.session import (
    INTERNAL_FAILURE,
    MAX_RESPONSE,
    MAX_RESPONSE_LINE,
    HandOver,
    LoginSession,
    Note,
    Peer,
    StartTls,
    visible,
)

MAX_LINE = 8192
"""Octets of a command's lines before login, without its literals; beyond: BYE. AUTHENTICATE may have MAX_RESPONSE_LINE."""
MAX_LITERALS = 8192
"""Octets of all literals of a command before login; beyond: BYE."""
MAX_LOGGED_ID = 1024
"""Characters of a client's ID in the log."""

_LONGER = {b"AUTHENTICATE": MAX_RESPONSE_LINE}
_PLAINTEXT_ALERT = (
    b"* BAD [ALERT] Plaintext authentication is disabled, but your client sent password in plaintext anyway. "
    b"If anyone was listening, the password was exposed.\r\n"
)
_SLOW = b"* OK Waiting for authentication process to respond..\r\n"


class ImapLogin(LoginSession):
    """One IMAP client before login."""

    __slots__ = ("_parser", "_tag", "_awaiting_response")

    def __init__(self, policy: Policy, offer: Offer, peer: Peer, *, tls: bool = False) -> None:
        super().__init__(policy, offer, peer, tls=tls)
        self._parser = self._new_parser()
        self._tag = b"*"
        self._awaiting_response = False

    def _new_parser(self) -> CommandParser:
        limit = unasked(self.policy.disabled)
        return CommandParser(MAX_LINE, MAX_LITERALS, MAX_LITERALS, longer=_LONGER, max_unasked=limit)

    def start(self) -> None:
        """Greet the client (RFC 3501 section 7.1)."""
        if self.policy.greeting_capability:
            self.out += b"* OK [CAPABILITY %s] " % self._capability()
        else:
            self.out += b"* OK "
        self.out += self.policy.greeting.encode("utf-8", "surrogateescape") + b"\r\n"

    def feed(self, data: bytes) -> None:
        """Take octets from the client."""
        self._parser.feed(data)

    def take_input(self) -> bytes:
        """Take out what the client sent behind its last command."""
        return self._parser.remaining()

    def buffered(self) -> int:
        """Octets that wait behind the last command."""
        return self._parser.buffered

    def waiting(self) -> None:
        """Tell the client that the auth process is slow."""
        self.out += _SLOW

    def secured_by_tls(self) -> None:
        """TLS is up: what came in plaintext is forgotten with the parser's state (RFC 3501 section 6.2.1)."""
        self._parser = self._new_parser()
        super().secured_by_tls()

    def _capability(self) -> bytes:
        return self.offer.capability(self.policy, tls=self.tls, secured=self.secured)

    def _advance(self) -> bool:
        if self._awaiting_response:
            return self._read_response()
        event = self._parser.next()
        if event is None:
            return False
        if isinstance(event, Command):
            self._command(event)
        elif isinstance(event, NeedLiteral):
            if event.synchronizing:
                self.out += b"+ OK\r\n"
        elif isinstance(event, Bad):
            self._bad_command(event.tag)
        elif isinstance(event, LineTooLong):
            self._end("IMAP command line too large", "IMAP command line too large")
        elif isinstance(event, LiteralTooLarge):
            self._end("Literal size too large", "Literal size too large")
        return True

    def _command(self, command: Command) -> None:
        self._tag = command.tag
        handler = _COMMANDS.get(command.name)
        if handler is None or not handler(self, command.arguments):
            self._bad_command(command.tag)

    def _bad_command(self, tag: bytes, text: bytes = b"Error in IMAP command received by server.") -> None:
        if self._bad():
            self._end("Too many invalid commands", "Too many invalid IMAP commands.")
            return
        self.out += b"%s BAD %s\r\n" % (tag, text)

    def _ok(self, text: bytes) -> bool:
        self.bad = 0
        self.out += b"%s OK %s\r\n" % (self._tag, text)
        return True

    # Commands: each answers False when its arguments are wrong.

    def _do_capability(self, arguments: list[Token]) -> bool:
        if arguments:
            return False
        self.out += b"* CAPABILITY %s\r\n" % self._capability()
        return self._ok(b"Capability completed.")

    def _do_noop(self, arguments: list[Token]) -> bool:
        return not arguments and self._ok(b"NOOP completed.")

    def _do_logout(self, arguments: list[Token]) -> bool:
        if arguments:
            return False
        self.out += b"* BYE Logging out\r\n"
        self._ok(b"Logout completed.")
        refused = " (tried to use disabled plaintext authentication)" if self.plaintext_refused else ""
        self._finish("Aborted login" + refused + self.suffix())
        return True

    def _do_id(self, arguments: list[Token]) -> bool:
        """RFC 2971 section 3.1; who is trusted may say for whom it speaks."""
        if len(arguments) != 1:
            return False
        pairs = _pairs(arguments[0])
        if pairs is None:
            return False
        if self.trusted:
            self._speak_for(pairs)
        self._log_identification(pairs)
        self.out += b"* ID %s\r\n" % self.policy.identification
        return self._ok(b"ID completed.")

    def _do_language(self, arguments: list[Token]) -> bool:
        """RFC 5255 section 3.2."""
        if b"LANGUAGE" in self.policy.disabled:
            return False
        ranges = [bytes(each) for each in arguments if isinstance(each, bytes)]
        if len(ranges) < len(arguments):
            return False
        if not ranges:
            self.out += LISTED
            return self._ok(b"Languages listed.")
        response = chosen(ranges)
        if response is None:
            self.bad = 0
            self.out += b"%s NO Unsupported language.\r\n" % self._tag
            return True
        self.out += response
        return self._ok(b"Now speaking English.")

    def _do_starttls(self, arguments: list[Token]) -> bool:
        if arguments:
            return False
        if self.tls:
            self.out += b"%s BAD TLS is already active.\r\n" % self._tag
        elif not self.policy.tls_available:
            self.out += b"%s BAD TLS support isn't enabled.\r\n" % self._tag
        else:
            self._ok(b"Begin TLS negotiation now.")
            self._parser.remaining()
            self.busy = True
            self._act(StartTls())
        return True

    def _do_login(self, arguments: list[Token]) -> bool:
        """RFC 3501 section 6.2.3, as the mechanism PLAIN (RFC 4616)."""
        if len(arguments) != 2:
            return False
        user, password = arguments
        if not isinstance(user, bytes) or not isinstance(password, bytes):
            return False
        self.bad = 0
        if self.policy.plaintext_disabled and not self.secured:
            self.plaintext_refused = True
            self._refuse_login(user)
            return True
        self._attempt("PLAIN", b"\0%s\0%s" % (user, password), _text(user))
        return True

    def _refuse_login(self, user: bytes) -> None:
        self.user = _text(user)
        self.mechanism = "PLAIN"
        self.out += _PLAINTEXT_ALERT
        if self.policy.verbose:
            self._act(Note("Login failed: Plaintext authentication disabled"))
        self._fail(
            "PRIVACYREQUIRED",
            "Plaintext authentication disallowed on non-secure connections.",
            "plaintext authentication disabled",
        )

    def _do_authenticate(self, arguments: list[Token]) -> bool:
        """RFC 3501 section 6.2.2, with an initial response by RFC 4959."""
        if not 1 <= len(arguments) <= 2:
            return False
        mechanism = arguments[0]
        if not isinstance(mechanism, bytes) or not mechanism.isascii():
            return False
        initial = None
        if len(arguments) == 2:
            given = arguments[1]
            if not isinstance(given, bytes):
                return False
            initial = b"" if given == b"=" else _decoded(given)
            if initial is None:
                self._bad_command(self._tag, b"Invalid base64 data in initial response")
                return True
        self.bad = 0
        self._begin(mechanism.decode("ascii").upper(), initial)
        return True

    def _begin(self, mechanism: str, initial: bytes | None) -> None:
        if initial is not None and len(initial) > MAX_RESPONSE:
            self._bad_command(self._tag, b"Authentication response too long")
            return
        user = ""
        if mechanism == "PLAIN" and initial is not None and initial.count(b"\0") == 2:
            user = _text(initial.split(b"\0")[1])
        self._attempt(mechanism, initial, user)

    def _read_response(self) -> bool:
        """The client's answer to a challenge (RFC 3501 section 6.2.2): one line of base64, or `*`."""
        line = self._parser.read_line(MAX_RESPONSE_LINE)
        if line is None:
            return False
        self._awaiting_response = False
        if isinstance(line, LineTooLong):
            self._abort()
            self._end("IMAP command line too large", "IMAP command line too large")
            return True
        if line == b"*":
            self._abort()
            self.out += b"%s BAD Authentication aborted\r\n" % self._tag
            return True
        data = _decoded(line)
        if data is None:
            self._abort()
            self._bad_command(self._tag, b"Invalid base64 data in continued response")
        elif len(data) > MAX_RESPONSE:
            self._abort()
            self._bad_command(self._tag, b"Authentication response too long")
        else:
            self._respond(data)
        return True

    # Answers.

    def _reply_challenge(self, data: bytes) -> None:
        self._awaiting_response = True
        self.out += b"+ " + binascii.b2a_base64(data, newline=False) + b"\r\n"

    def _reply_failure(self, code: str, text: str) -> None:
        words = f"[{code}] {text}" if code else text
        self.out += b"%s NO %s\r\n" % (self._tag, words.encode("utf-8", "surrogateescape"))

    def _reply_internal_failure(self) -> None:
        self._reply_failure("UNAVAILABLE", INTERNAL_FAILURE)
        self._farewell(INTERNAL_FAILURE)

    def _reply_referral(self, fields: Mapping[str, str], *, refused: bool) -> None:
        """RFC 2221 section 4.1."""
        port = fields.get("port", "")
        place = visible(fields["host"]) + (":" + port if port.isdigit() else "")
        user = visible(fields.get("destuser", "") or self.user)
        url = f"imap://{_url_encoded(user)};AUTH={_url_encoded(self.mechanism)}@{place}/"
        default = (
            "Try this server instead." if refused else "Logged in, but you should use this server instead."
        )
        text = visible(fields.get("reason", "")) or default
        line = f"{'NO' if refused else 'OK'} [REFERRAL {url}] {text}"
        self.out += b"%s %s\r\n" % (self._tag, line.encode("utf-8", "surrogateescape"))

    def _farewell(self, text: str) -> None:
        self.out += b"* BYE %s\r\n" % text.encode("ascii")

    def _hand_over(self) -> HandOver:
        return HandOver(self._tag.decode("ascii"))

    # What ID brings.

    def _speak_for(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """Take the addresses of the client that a trusted one, such as a webmail, speaks for."""
        named = {name.lower(): value.decode("ascii", "replace") for name, value in pairs}
        peer = self.peer
        remote = named.get(b"x-originating-ip", "")
        local = named.get(b"x-connected-ip", "")
        self.peer = Peer(
            local if packed(local) else peer.local_address,
            _port(named.get(b"x-connected-port", ""), peer.local_port),
            remote if packed(remote) else peer.remote_address,
            _port(named.get(b"x-originating-port", ""), peer.remote_port),
        )

    def _log_identification(self, pairs: list[tuple[bytes, bytes]]) -> None:
        wanted = self.policy.identification_logged
        if not wanted:
            return
        told = [
            f"{_text(name)}={_text(value)}"
            for name, value in pairs
            if b"*" in wanted or name.lower() in wanted
        ]
        if told:
            self._act(Note("ID sent: " + visible(", ".join(told)[:MAX_LOGGED_ID])))


_COMMANDS: dict[bytes, Callable[[ImapLogin, list[Token]], bool]] = {
    b"CAPABILITY": ImapLogin._do_capability,
    b"NOOP": ImapLogin._do_noop,
    b"LOGOUT": ImapLogin._do_logout,
    b"ID": ImapLogin._do_id,
    b"LANGUAGE": ImapLogin._do_language,
    b"STARTTLS": ImapLogin._do_starttls,
    b"LOGIN": ImapLogin._do_login,
    b"AUTHENTICATE": ImapLogin._do_authenticate,
}
"""Every command that may come before login."""

_URL_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _decoded(text: bytes) -> bytes | None:
    """Strict base64 (RFC 4648 section 4); None when it is not."""
    if not text:
        return b""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None


def _pairs(argument: Token) -> list[tuple[bytes, bytes]] | None:
    """The parameters of ID: NIL or a list of names and values (NIL values left out); None when it is neither."""
    if isinstance(argument, bytes):
        return [] if argument.upper() == b"NIL" else None
    if not isinstance(argument, list) or len(argument) % 2:
        return None
    words = [word for word in argument if isinstance(word, bytes)]
    if len(words) != len(argument):
        return None
    pairs = zip(words[::2], words[1::2], strict=False)
    return [(bytes(name), bytes(value)) for name, value in pairs if value.upper() != b"NIL"]


def _port(text: str, default: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    return number if 0 < number < 65536 else default


def _url_encoded(text: str) -> str:
    """Text for a part of an IMAP URL (RFC 3986 section 2.1)."""
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if chr(octet) in _URL_PLAIN else f"%{octet:02X}" for octet in octets)
