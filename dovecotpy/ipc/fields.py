"""TAB-separated fields: the form of every line and packet between processes.

Values escape 0x01, TAB, LF, CR and NUL as 0x01 followed by `1`, `t`, `n`, `r`, `0` (the auth protocol's escapes).
"""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = ((b"\x01", b"\x011"), (b"\t", b"\x01t"), (b"\n", b"\x01n"), (b"\r", b"\x01r"), (b"\0", b"\x010"))
_SPECIAL = b"\x01\t\n\r\0"
_UNESCAPES = {0x31: b"\x01", 0x74: b"\t", 0x6E: b"\n", 0x72: b"\r", 0x30: b"\0"}


def escape(value: bytes) -> bytes:
    """One value, safe to stand between TABs in a line."""
    for plain, escaped in _ESCAPES:
        if plain in value:
            value = value.replace(plain, escaped)
    return value


def unescape(value: bytes) -> bytes:
    """What `escape` was given. An unknown escape stands for the byte that follows it."""
    if b"\x01" not in value:
        return value
    head, *parts = value.split(b"\x01")
    out = [head]
    literal_next = False
    for part in parts:
        if literal_next or not part:
            out.append(part)
            literal_next = False
            continue
        out.append(_UNESCAPES.get(part[0], part[:1]))
        out.append(part[1:])
    return b"".join(out)


def join(values: Iterable[bytes]) -> bytes:
    """Fields to one packet or line (without its LF)."""
    return _joined(list(values))


def split(line: bytes) -> list[bytes]:
    """One packet or line (without its LF) to its fields."""
    if b"\x01" not in line:
        return line.split(b"\t")
    return [unescape(value) for value in line.split(b"\t")]


def pack(*values: str | int | bytes) -> bytes:
    """Fields of any plain type to one packet; text as UTF-8 (undecodable bytes survive), numbers in decimal."""
    return _joined(
        [
            value.encode("utf-8", "surrogateescape")
            if isinstance(value, str)
            else value
            if isinstance(value, bytes)
            else b"%d" % value
            for value in values
        ]
    )


def texts(line: bytes) -> list[str]:
    """One packet to its fields as text."""
    if b"\x01" not in line:
        return line.decode("utf-8", "surrogateescape").split("\t")
    return [value.decode("utf-8", "surrogateescape") for value in split(line)]


def _joined(parts: list[bytes]) -> bytes:
    line = b"\t".join(parts)
    if len(line) - len(line.translate(None, _SPECIAL)) < len(parts):
        return line  # the only special octets are the TABs between the fields: the common case, in two calls
    return b"\t".join(map(escape, parts))
