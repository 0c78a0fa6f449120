"""Header fields of a message or part (RFC 5322 section 2.2), read tolerantly and at the speed of bytes methods.

A line without a colon, a field name with blanks in it, a From_ line in front, a continuation without a field:
none ends the header; only an empty line does. What is fetched is always the original octets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dovecotpy.message.lines import Octets, crlf

MAX_HEADER = 1 << 20
"""Octets of one header block that are looked at for fields; what follows is still part of the block as text."""

MAX_FIELD = 65536
"""Octets of one unfolded field value; the rest of a longer one is not looked at."""


class Entry(NamedTuple):
    """One field of a header block: where it stands in Header.raw."""

    name: bytes
    """Without surrounding blanks, in the sender's case; empty for a line that is no field."""
    start: int
    value: int
    """Where the value starts, after the colon."""
    end: int
    """After the line end of the last continuation line."""


USUAL = frozenset(
    (
        b"date",
        b"subject",
        b"from",
        b"sender",
        b"reply-to",
        b"to",
        b"cc",
        b"bcc",
        b"in-reply-to",
        b"message-id",
        b"references",
        b"content-type",
        b"content-transfer-encoding",
        b"content-id",
        b"content-description",
        b"content-md5",
        b"content-disposition",
        b"content-language",
        b"content-location",
    )
)
"""Fields that the server itself reads; picking them out costs half of keeping every field."""


class Header:
    """A header block in its CRLF form: its octets, and its fields when somebody asks."""

    __slots__ = ("_entries", "_usual", "_values", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._usual: dict[bytes, list[bytes]] | None = None
        self._values: dict[bytes, list[bytes]] | None = None
        self._entries: list[Entry] | None = None

    @property
    def usual(self) -> dict[bytes, list[bytes]]:
        """As `values`, but only of the fields in USUAL."""
        if self._usual is None:
            self._usual = _usual(self.raw)
        return self._usual

    @property
    def values(self) -> dict[bytes, list[bytes]]:
        """Unfolded, trimmed values by name in lower case, each list in the order of the message."""
        if self._values is None:
            self._values = _values(self.raw)
        return self._values

    def get(self, name: bytes) -> bytes | None:
        """The first unfolded value of the field, or None. name: in lower case."""
        values = (self.usual if name in USUAL else self.values).get(name)
        return values[0] if values else None

    def all(self, name: bytes) -> list[bytes]:
        """Every unfolded value of the field, in order. name: in lower case."""
        return (self.usual if name in USUAL else self.values).get(name, [])

    @property
    def entries(self) -> list[Entry]:
        """Every field and every line that is none, in order."""
        if self._entries is None:
            self._entries = _entries(self.raw)
        return self._entries

    @property
    def _ends(self) -> bool:
        """Whether there is an empty line, as behind what is more than MAX_HEADER."""
        raw = self.raw
        return raw.endswith(b"\r\n\r\n") or raw.startswith(b"\r\n") or len(raw) >= MAX_HEADER

    def adopt(self, usual: dict[bytes, list[bytes]]) -> None:
        """Take `usual` from one who walked over the header anyway."""
        self._usual = usual

    def kept(self, numbers: Mapping[bytes, int]) -> list[tuple[int, bytes]]:
        """The fields whose names have a number, with their original octets, in the order of the message.

        numbers: by names in lower case.
        """
        raw = self.raw
        found = []
        for entry in self.entries:
            number = numbers.get(entry.name.lower())
            if number is not None:
                found.append((number, raw[entry.start : entry.end]))
        return found

    def raw_value(self, entry: Entry) -> bytes:
        """The value as the sender wrote it, still folded."""
        return self.raw[entry.value : entry.end]

    def fields(self, names: Iterable[bytes], exclude: bool = False) -> bytes:
        """The original octets of the named fields, or of all but them, and an empty line (RFC 3501 section 6.4.5).

        All but the named of a header without an empty line have none either; named ones have, for they may be
        kept without the rest. names: in any case.
        """
        wanted = {name.lower() for name in names}
        raw = self.raw
        if b"\0" in raw or b"" in wanted:
            pieces = [
                raw[entry.start : entry.end]
                for entry in self.entries
                if (entry.name.lower() in wanted) is not exclude
            ]
            if exclude and not self._ends:
                return b"".join(pieces)
            if pieces and not pieces[-1].endswith(b"\n"):
                pieces.append(b"\r\n")
            pieces.append(b"\r\n")
            return b"".join(pieces)
        lines = []
        for line in raw.replace(b"\r\n\t", FOLD + b"\t").replace(b"\r\n ", FOLD + b" ").split(b"\r\n"):
            if not line or line.startswith(FOLD):
                break
            name, colon, _ = line.partition(b":")
            if (bool(colon) and name.rstrip().lower() in wanted) is not exclude:
                lines.append(line)
        if not exclude or self._ends:
            lines += _EMPTY_LINE
        elif lines and (raw.endswith(b"\r\n") or line is not lines[-1]):
            lines.append(b"")
        return b"\r\n".join(lines).replace(FOLD, b"\r\n")


_EMPTY_LINE = (b"", b"")
FOLD = b"\0\0"
"""Stands for a line end inside a field while a header without NUL is taken apart; of the same length."""


def parse_header(raw: bytes) -> Header:
    """The header block raw, with or without the empty line that ends it, in any form of line ends.

    Never raises. Fields are looked for on first use.
    """
    raw = crlf(raw[:MAX_HEADER])
    return Header(raw if len(raw) <= MAX_HEADER else raw[:MAX_HEADER])


def read_header(octets: Octets) -> Header:
    """The header of a message, of which no more than the header is read. Raises what reading raises."""
    text = octets.text()
    if text is not None:
        return Header(text[: min(header_end(text), MAX_HEADER)])
    raw = bytearray()
    for chunk in octets.chunks(0, MAX_HEADER):
        start = max(len(raw) - 3, 0)
        raw += chunk
        if raw.startswith(b"\r\n"):
            return Header(b"\r\n")
        end = raw.find(b"\r\n\r\n", start)
        if end >= 0:
            return Header(bytes(raw[: end + 4]))
    return Header(bytes(raw))


def header_end(data: bytes) -> int:
    """Where the body starts in data: after the first empty line, or its end. Lines may end with LF or CRLF."""
    if data.startswith((b"\n", b"\r\n")):
        return data.index(b"\n") + 1
    first, second = b"\n\n", b"\n\r\n"
    if data.startswith(b"\r\n", data.find(b"\n") - 1):
        first, second = second, first
    at = data.find(first)
    end = len(data) if at < 0 else at + len(first)
    at = data.find(second, 0, end)
    return end if at < 0 else at + len(second)


def unfolded(raw: bytes) -> bytes:
    """A header block in CRLF form with each field on one line (RFC 5322 section 2.2.3)."""
    return raw.replace(b"\r\n\t", b"\t").replace(b"\r\n ", b" ")


def _usual(raw: bytes) -> dict[bytes, list[bytes]]:
    text = unfolded(raw)
    if b" :" in text or b"\t:" in text:
        values = _values(raw)
        return {name: values[name] for name in values if name in USUAL}
    usual: dict[bytes, list[bytes]] = {}
    for line in text.split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in USUAL:
            value = value[:MAX_FIELD].strip()
            if name in usual:
                usual[name].append(value)
            else:
                usual[name] = [value]
    return usual


def _values(raw: bytes) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {}
    for line in unfolded(raw).split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            name = name.rstrip().lower()
            value = value[:MAX_FIELD].strip()
            if name in values:
                values[name].append(value)
            else:
                values[name] = [value]
    return values


def _entries(raw: bytes) -> list[Entry]:
    entries = []
    start = 0
    size = len(raw)
    while start < size:
        end = raw.find(b"\n", start) + 1 or size
        first_end = end
        while end < size and raw[end] in b" \t":
            end = raw.find(b"\n", end) + 1 or size
        if first_end - start <= 2 and raw[start:first_end] in (b"\r\n", b"\n"):
            break
        colon = raw.find(b":", start, first_end)
        if colon < 0:
            entries.append(Entry(b"", start, start, end))
        else:
            entries.append(Entry(raw[start:colon].rstrip(), start, colon + 1, end))
        start = end
    return entries
