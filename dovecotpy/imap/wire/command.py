"""Client octets in, command events out: the framing of IMAP (RFC 3501 section 2.2, literals also as RFC
7888).

    parser = CommandParser(max_line=8192, max_literal=8192, max_literals=8192)
    parser.feed(octets)
    while (event := parser.next()) is not None:
        ...

Events, in the order of the input:

* `NeedLiteral(size, synchronizing)`: a literal is accepted and its octets are awaited. Answer `+ OK` CRLF
  where `synchronizing`; nothing otherwise. Then go on with `next()`.
* `Command(tag, name, arguments)`: a whole command. `name` is in capitals; `arguments` are tokens
  (`tokens.py`: `Atom`, `String` (both are bytes), lists of them). The first word behind UID is the first
  argument.
* `Bad(tag, text)`: a command that cannot be parsed, skipped to its end. Answer `tag BAD text`. The tag is `*`
  if it has none.
* `LineTooLong(tag)`: the lines of a command (without its literals) exceed `max_line`; reported once, as soon
  as it is known; the rest is skipped.
* `LiteralTooLarge(tag, size, synchronizing, larger)`: a literal over `max_literal`, or over `max_literals` with those
  before it in the command. The command is over: a synchronizing one is never asked for, the octets of the
  other kind are skipped.
* `LiteralStart(tag, name, arguments, size, synchronizing)`: only for the commands named in `streams`. Answer
  by `accept()` (write `+ OK` where `synchronizing`; the octets come as `LiteralData` events, together exactly
  `size`; then the command goes on, and has a `Streamed` token in the literal's place) or by `refuse()` (the
  command is over, as with LiteralTooLarge). `LiteralData(data)` is never empty.

`None`: more input is needed. Every tagged command gives exactly one of Command, Bad, LineTooLong,
LiteralTooLarge, or a refused LiteralStart. Input is held up to what the caller feeds at once plus one
command's budget. `remaining()` takes out all input that was not yet consumed: to throw away at STARTTLS, to
pass on at a hand-over. `read_line()` takes one raw line: the responses of AUTHENTICATE, the DONE of IDLE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from dovecotpy.imap.wire.tokens import (
    MAX_ARGUMENTS,
    Atom,
    Binary,
    ParseError,
    Streamed,
    String,
    Token,
    Tokenizer,
    is_atom,
)

MAX_TAG = 256
"""Octets of a tag; longer ones are answered with BAD."""
MAX_LITERAL_DIGITS = 20
MAX_UNASKED = 4096
"""Octets of a literal that is not synchronizing under LITERAL- (RFC 7888 section 5)."""
CHUNK = 65536
"""Largest piece of a streamed literal, in octets."""
_TAG_FORBIDDEN = b"*%+"
_NEVER: Mapping[bytes, int] = {}
_SPECIAL = b'()"{\\'


class NeedLiteral(NamedTuple):
    """A literal is awaited; `+ OK` is due where it is synchronizing."""

    size: int
    synchronizing: bool


class Command(NamedTuple):
    """A whole command; the name in capitals."""

    tag: bytes
    name: bytes
    arguments: list[Token]


class Bad(NamedTuple):
    """A command that is no IMAP; `text` follows BAD."""

    tag: bytes
    text: str


class LineTooLong(NamedTuple):
    """A command's lines exceed the budget; the tag is `*` if it has none."""

    tag: bytes


class LiteralTooLarge(NamedTuple):
    """A literal exceeds the budget; the command is over."""

    tag: bytes
    size: int
    synchronizing: bool
    larger: bytes = b""
    """the command, if it has a bound of its own that this exceeds"""


class LiteralStart(NamedTuple):
    """A literal that will come in pieces, once `accept()` was called."""

    tag: bytes
    name: bytes
    arguments: list[Token]
    """those before it; the last is a list that is still open, if the literal stands in that"""
    size: int
    synchronizing: bool
    inside: bool = False
    """it stands in a list"""
    binary: bool = False
    """it is a literal8"""


class LiteralData(NamedTuple):
    """The next piece of an accepted literal."""

    data: bytes


Event: TypeAlias = NeedLiteral | Command | Bad | LineTooLong | LiteralTooLarge | LiteralStart | LiteralData


class _Announced(NamedTuple):
    """`{size}` or `{size+}` at the end of a line, of a literal8 with `~` in front; `start` is where it begins."""

    start: int
    size: int
    synchronizing: bool
    binary: bool


class CommandParser:
    """See the module's text.

    max_line: octets of a command's lines, without CRLF and literals. max_literal, max_literals: octets of one
    literal, of all literals of a command. longer: for commands by name, another max_line (AUTHENTICATE with
    an initial response). larger: for commands by name, another max_literal for those in a list, and at least as
    much for all of them. streams: for commands by name, after how many arguments a literal outside lists
    comes in pieces, and one in a list behind the word CATENATE or UTF8 (RFC 4469, RFC 6855). max_unasked: octets of a literal
    that is not synchronizing, -1 for none at all; None: as many as of the others. binary: commands that may
    have a literal8. Commands by UID are named with that word in front.
    """

    def __init__(
        self,
        max_line: int = 8192,
        max_literal: int = 8192,
        max_literals: int = 8192,
        *,
        longer: Mapping[bytes, int] = _NEVER,
        larger: Mapping[bytes, int] = _NEVER,
        streams: Mapping[bytes, int] = _NEVER,
        max_unasked: int | None = None,
        binary: frozenset[bytes] = frozenset(),
    ) -> None:
        self.max_line = max_line
        self.max_literal = max_literal
        self.max_literals = max_literals
        self._longer = longer
        self._larger = larger
        self._shortest = min([max_line, *longer.values()])
        """no line is too long below this, whatever its command"""
        self._streams = streams
        self._max_unasked = max_unasked
        self.utf8 = False
        """from the next command on, quoted strings must be UTF-8"""
        self._may_be_binary = binary
        self._is_binary = False
        self._buffer = bytearray()
        self._scanned = 0
        self._step: Step = CommandParser._next_line
        self._awaited = 0
        self._stream_size = 0
        self._tail = b""
        self._announced: _Announced | None = None
        self._reset()

    def _reset(self) -> None:
        self._tag = b""
        self._name = b""
        self._tokenizer: Tokenizer | None = None
        self._line_octets = 0
        self._literal_octets = 0

    def feed(self, data: bytes) -> None:
        """Take octets from the client."""
        self._buffer += data

    def next(self) -> Event | None:
        """The next event, or None if more input is needed. A LiteralStart must be answered before."""
        while True:
            progress = self._step(self)
            if not isinstance(progress, bool):
                return progress

    @property
    def buffered(self) -> int:
        """Octets of input that wait."""
        return len(self._buffer)

    @property
    def within_command(self) -> bool:
        """Whether the input so far ends inside a command."""
        return bool(self._buffer) or self._tokenizer is not None or self._step is not CommandParser._next_line

    def remaining(self) -> bytes:
        """Take out the input that was not consumed."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return data

    def read_line(self, limit: int | None = None) -> bytes | LineTooLong | None:
        """Take one raw line, without its CRLF or LF, between two commands.

        limit: octets it may have (default: max_line). Returns None while it is not complete, LineTooLong (tag
        `*`) once it is too long; its rest is then skipped.
        """
        if self._step is not CommandParser._next_line and not self._drain():
            return None
        limit = self.max_line if limit is None else limit
        line = self._take_line()
        if line is None and len(self._buffer) > limit + 1:
            self._skip_line()
            return LineTooLong(b"*")
        if line is not None and len(line) > limit:
            return LineTooLong(b"*")
        return line

    def _drain(self) -> bool:
        """Finish skipping what an earlier event left; whether a new line may begin."""
        while self._step is not CommandParser._next_line:
            if self._step(self) is not True:
                return False
        return True

    def accept(self) -> None:
        """Have the literal of the last LiteralStart in pieces."""
        if self._announced is None:
            raise ValueError("no literal was announced")
        self._awaited = self._stream_size = self._announced.size
        self._step = CommandParser._stream
        self._announced = None

    def refuse(self) -> None:
        """Do without the literal of the last LiteralStart: the command is over."""
        if self._announced is None:
            raise ValueError("no literal was announced")
        self._abandon(self._announced)
        self._announced = None

    # Each step returns an event, None for want of input, or True when the following step can be tried at
    # once.

    def _next_line(self) -> Event | bool | None:
        line = self._take_line()
        if line is None:
            if len(self._buffer) > self._shortest + 1 and len(self._buffer) > self._line_limit() + 1:
                return self._line_too_long()
            return None
        self._line_octets += len(line)
        announced = _announcement(line) if line[-1:] == b"}" else None
        if self._line_octets > self._shortest and self._line_octets > self._line_limit(line):
            tag = self._tag or _tag_of(line)
            self._abandon(announced)
            return LineTooLong(tag)
        try:
            return self._parse_line(line, announced)
        except ParseError as error:
            text = str(error)
            if self._name:
                text = f"Error in IMAP command {self._name.decode('ascii', 'replace')}: {text}"
            event = Bad(self._tag or b"*", text)
            self._abandon(announced)
            return event

    def _line_limit(self, line: bytes = b"") -> int:
        """How many octets the lines of this command may have."""
        if not self._longer:
            return self.max_line
        name = self._name
        if not name:
            words = (line or bytes(self._buffer[: MAX_TAG + 64])).split(b" ", 2)
            name = words[1].upper() if len(words) > 2 else b""
        return self._longer.get(name, self.max_line)

    def _take_line(self) -> bytes | None:
        """Take a line out of the buffer, without its end; None if it has not ended yet."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(buffer)
            return None
        line = bytes(buffer[: end - 1 if end and buffer[end - 1] == 0x0D else end])
        del buffer[: end + 1]
        self._scanned = 0
        return line

    def _parse_line(self, line: bytes, announced: _Announced | None) -> Event | bool:
        if self._tokenizer is None:
            rest = self._begin(line if announced is None else line[: announced.start])
            if announced is None and not rest.translate(None, _PLAIN):
                return self._plain(rest)
            self._tokenizer = Tokenizer(utf8=self.utf8)
        else:
            rest = line if announced is None else line[: announced.start]
        if announced is None and line[-1:] == b"}" and line.rpartition(b" ")[2][:1] == b"{":
            raise ParseError("Invalid literal size")
        tokenizer = self._tokenizer
        tokenizer.line(rest)
        if announced is not None:
            return self._literal(announced)
        event = Command(self._tag, self._name, tokenizer.finish())
        self._reset()
        return event

    def _begin(self, line: bytes) -> bytes:
        """Take tag and name from a command's first line; returns what follows."""
        tag, _, rest = line.lstrip(b" ").partition(b" ")
        if (
            not tag
            or len(tag) > MAX_TAG
            or not is_atom(tag)
            or tag.translate(None, _TAG_FORBIDDEN + b"\\") != tag
        ):
            raise ParseError(_tag_error(tag))
        self._tag = tag
        name, _, rest = rest.lstrip(b" ").partition(b" ")
        if not name or not is_atom(name):
            raise ParseError("Error in IMAP command received by server.")
        self._name = name.upper()
        return rest

    def _plain(self, rest: bytes) -> Command:
        """A command of atoms alone: by far the most."""
        words = rest.split()
        if len(words) > MAX_ARGUMENTS:
            raise ParseError("Too many arguments.")
        event = Command(self._tag, self._name, list(map(Atom, words)))
        self._reset()
        return event

    def _literal(self, announced: _Announced) -> Event:
        tokenizer = self._tokenizer
        assert tokenizer is not None
        if tokenizer.adjacent:
            raise ParseError("Invalid literal size")
        limit = self._max_unasked
        if limit is not None and not announced.synchronizing and announced.size > limit:
            return self._too_large(announced)
        arguments = tokenizer.outermost
        name = self._name
        if name == b"UID" and arguments and isinstance(arguments[0], Atom):
            name = b"UID " + arguments[0].upper()
        if announced.binary and name not in self._may_be_binary:
            raise ParseError("Invalid literal size")
        after = self._streams.get(name)
        inside = tokenizer.depth > 0
        if after is not None and len(arguments) >= after and (not inside or _is_catenated(tokenizer)):
            self._announced = announced
            self._step = CommandParser._unanswered
            return LiteralStart(
                self._tag, name, arguments, announced.size, announced.synchronizing, inside, announced.binary
            )
        self._literal_octets += announced.size
        own = self._larger.get(name) if inside else None
        most = self.max_literal if own is None else own
        if announced.size > most or self._literal_octets > max(most, self.max_literals):
            return self._too_large(announced, b"" if own is None else name)
        self._awaited = announced.size
        self._is_binary = announced.binary
        self._step = CommandParser._collect
        return NeedLiteral(announced.size, announced.synchronizing)

    def _too_large(self, announced: _Announced, larger: bytes = b"") -> LiteralTooLarge:
        event = LiteralTooLarge(self._tag, announced.size, announced.synchronizing, larger)
        self._abandon(announced)
        return event

    def _unanswered(self) -> Event | bool | None:
        raise ValueError("a LiteralStart was not answered")

    def _collect(self) -> Event | bool | None:
        """Wait for a small literal as a whole."""
        if len(self._buffer) < self._awaited:
            return None
        value = bytes(self._buffer[: self._awaited])
        del self._buffer[: self._awaited]
        self._scanned = 0
        self._step = CommandParser._next_line
        assert self._tokenizer is not None
        try:
            if b"\0" in value and not self._is_binary:
                raise ParseError("Invalid characters in string")
            self._tokenizer.literal(Binary(value) if self._is_binary else String(value))
        except ParseError as error:
            return self._bad_after_literal(error)
        return True

    def _stream(self) -> Event | bool | None:
        """Give a large literal in pieces."""
        assert self._tokenizer is not None
        if not self._awaited:
            self._step = CommandParser._next_line
            return self._streamed()
        if not self._buffer:
            return None
        if len(self._buffer) <= min(self._awaited, CHUNK):
            piece = bytes(self._buffer)
            self._buffer.clear()
        else:
            piece = bytes(memoryview(self._buffer)[: min(self._awaited, CHUNK)])
            del self._buffer[: len(piece)]
        self._awaited -= len(piece)
        return LiteralData(piece)

    def _streamed(self) -> Event | bool:
        try:
            assert self._tokenizer is not None
            self._tokenizer.literal(Streamed(self._stream_size))
        except ParseError as error:
            return self._bad_after_literal(error)
        return True

    def _bad_after_literal(self, error: ParseError) -> Bad:
        event = Bad(self._tag, f"Error in IMAP command {self._name.decode('ascii')}: {error}")
        self._abandon_line()
        return event

    def _line_too_long(self) -> LineTooLong:
        """The line being received has outgrown its budget: report it, skip it to its end."""
        tag = self._tag or _tag_of(bytes(self._buffer[: MAX_TAG + 1]))
        self._abandon_line()
        return LineTooLong(tag)

    def _abandon(self, announced: _Announced | None) -> None:
        """Give up the command after a line that was read; a literal that comes anyway is skipped with all
        that follows.
        """
        self._reset()
        if announced is None or announced.synchronizing:
            self._step = CommandParser._next_line
            return
        self._awaited = announced.size
        self._step = CommandParser._skip_literal

    def _abandon_line(self) -> None:
        """Give up the command in the middle of a line."""
        self._reset()
        self._skip_line()

    def _skip_line(self) -> None:
        self._tail = b""
        self._step = CommandParser._skip_rest

    def _skip_literal(self) -> bool | None:
        gone = min(self._awaited, len(self._buffer))
        del self._buffer[:gone]
        self._scanned = 0
        self._awaited -= gone
        if self._awaited:
            return None
        self._skip_line()
        return True

    def _skip_rest(self) -> bool | None:
        """Skip to the line's end; a literal that the client sends without being asked is skipped as well."""
        end = self._buffer.find(b"\n")
        if end < 0:
            self._tail = (self._tail + bytes(self._buffer[-_TAIL:]))[-_TAIL:]
            self._buffer.clear()
            self._scanned = 0
            return None
        tail = (self._tail + bytes(self._buffer[max(0, end - _TAIL) : end]))[-_TAIL:].rstrip(b"\r")
        del self._buffer[: end + 1]
        self._scanned = 0
        announced = _announcement(tail) if tail[-1:] == b"}" else None
        self._abandon(announced)
        return True


Step: TypeAlias = Callable[["CommandParser"], Event | bool | None]
_TAIL = MAX_LITERAL_DIGITS + 8
_PLAIN = bytes(octet for octet in range(0x20, 0x7F) if octet not in _SPECIAL)


def unasked(disabled: frozenset[bytes]) -> int | None:
    """The `max_unasked` of a server with these extensions switched off: LITERAL+, else LITERAL-, else neither."""
    if b"LITERAL+" not in disabled:
        return None
    return -1 if b"LITERAL-" in disabled else MAX_UNASKED


def _announcement(line: bytes) -> _Announced | None:
    """The literal that a line ends in. Raises nothing; a brace with no number in it is not one."""
    start = line.rfind(b"{")
    if start < 0:
        return None
    digits = line[start + 1 : -1]
    synchronizing = digits[-1:] != b"+"
    if not synchronizing:
        digits = digits[:-1]
    if not digits.isdigit() or len(digits) > MAX_LITERAL_DIGITS:
        return None
    binary = line[start - 1 : start] == b"~" and line[start - 2 : start - 1] in (b"", b" ", b"(")
    return _Announced(start - binary, int(digits), synchronizing, binary)


def _is_catenated(tokenizer: Tokenizer) -> bool:
    """Whether the open list stands behind the word CATENATE, or UTF8, also in such a list."""
    word = _word_before(tokenizer.outermost)
    if tokenizer.depth == 1:
        return word in (b"CATENATE", b"UTF8")
    return tokenizer.depth == 2 and word == b"CATENATE" and _word_before(tokenizer.enclosing) == b"UTF8"


def _word_before(arguments: list[Token]) -> bytes:
    """The word in front of the last argument, in capitals."""
    word = arguments[-2] if len(arguments) > 1 else None
    return word.upper() if isinstance(word, Atom) else b""


def _tag_of(line: bytes) -> bytes:
    """The tag of a line that is otherwise unusable, or `*`."""
    tag = line.lstrip(b" ").partition(b" ")[0]
    if (
        not tag
        or len(tag) > MAX_TAG
        or not is_atom(tag)
        or tag.translate(None, _TAG_FORBIDDEN + b"\\") != tag
    ):
        return b"*"
    return tag


def _tag_error(tag: bytes) -> str:
    if not tag:
        return "Error in IMAP command received by server."
    if len(tag) > MAX_TAG:
        return "Error in IMAP tag: Too long argument."
    return "Error in IMAP tag: Invalid characters in atom"
