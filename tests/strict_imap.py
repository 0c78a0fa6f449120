"""A strict, independent reader of IMAP response data, to judge what the server writes (RFC 3501 section 9).

Values: NIL is None, a number int, any other atom Atom, a quoted string or literal bytes, a list list.
Everything that the grammar does not allow raises Malformed with the place.
"""

from __future__ import annotations

import re
from typing import Any


class Malformed(Exception):
    """The octets are no valid response data."""


class Atom(str):
    """An atom or flag, as opposed to a string."""


_ATOM_END = b'(){ "'
_SPECIALS = b"%*\\]"
_WITH_SECTION = (b"BODY", b"BINARY", b"BINARY.SIZE")
_SECTION = re.compile(rb"\[[0-9A-Za-z.]*(?:\]| \()")
"""The beginning of a section; a keyword may be BODY[word too"""


class _Reader:
    def __init__(self, data: bytes, *, utf8: bool = False) -> None:
        self.data = data
        self.at = 0
        self.utf8 = utf8
        """quoted strings may be UTF-8 (RFC 6855 section 3)"""

    def fail(self, why: str) -> Malformed:
        return Malformed(f"{why} at {self.at}: …{self.data[max(0, self.at - 40) : self.at + 40]!r}")

    def value(self, depth: int = 0) -> Any:
        if self.at >= len(self.data):
            raise self.fail("value expected")
        if depth > 1000:
            raise self.fail("nested too deeply")
        first = self.data[self.at]
        if first == 0x28:
            return self.list(depth)
        if first == 0x22:
            return self.quoted()
        if first == 0x7B:
            return self.literal()
        if self.data[self.at : self.at + 2] == b"~{":
            self.at += 1
            return self.literal(binary=True)
        return self.atom()

    def list(self, depth: int) -> list[Any]:
        self.at += 1
        values: list[Any] = []
        if self.data[self.at : self.at + 1] == b")":
            self.at += 1
            return values
        while True:
            values.append(self.value(depth + 1))
            following = self.data[self.at : self.at + 1]
            if following == b")":
                self.at += 1
                return values
            if following == b" ":
                self.at += 1
                if self.data[self.at : self.at + 1] in (b" ", b")", b""):
                    raise self.fail("surplus space")
            elif not (following == b"(" and isinstance(values[-1], list)):
                raise self.fail("space or ) expected")

    def quoted(self) -> bytes:
        out = bytearray()
        self.at += 1
        while True:
            if self.at >= len(self.data):
                raise self.fail("unterminated quoted string")
            octet = self.data[self.at]
            self.at += 1
            if octet == 0x22:
                if self.utf8:
                    out.decode("utf-8")
                return bytes(out)
            if octet == 0x5C:
                octet = self.data[self.at] if self.at < len(self.data) else 0
                if octet not in b'"\\':
                    raise self.fail("bad escape")
                self.at += 1
            elif octet in (0, 10, 13) or (octet >= 0x80 and not self.utf8):
                raise self.fail("octet not allowed in a quoted string")
            out.append(octet)

    def literal(self, *, binary: bool = False) -> bytes:
        end = self.data.find(b"}\r\n", self.at)
        digits = self.data[self.at + 1 : end] if end > 0 else b""
        if not digits.isdigit() or (len(digits) > 1 and digits.startswith(b"0")):
            raise self.fail("bad literal")
        size = int(digits)
        start = end + 3
        value = self.data[start : start + size]
        if len(value) != size:
            raise self.fail("literal is cut short")
        if (b"\0" in value) is not binary:
            raise self.fail("NUL in a literal, or none in a literal8")
        self.at = start + size
        return value

    def atom(self) -> Any:
        start = self.at
        data = self.data
        if data[start] == 0x5C:
            self.at += 1
        while self.at < len(data):
            octet = data[self.at]
            if octet in _ATOM_END or octet <= 0x20 or octet >= 0x7F:
                break
            if octet == 0x5B and data[start : self.at] in _WITH_SECTION and _SECTION.match(data, self.at):
                self.section()
                continue
            if octet in _SPECIALS and not (octet == 0x2A and data[start] == 0x5C):
                raise self.fail("octet not allowed in an atom")
            self.at += 1
        text = data[start : self.at]
        if not text or text == b"\\":
            raise self.fail("atom expected")
        if text.isdigit():
            return int(text)
        if text.upper() == b"NIL":
            if text != b"NIL":
                raise self.fail("NIL in an odd case")
            return None
        return Atom(text.decode("ascii"))

    def section(self) -> None:
        """The bracketed part of BODY[…]<…>."""
        self.at += 1
        while True:
            octet = self.data[self.at : self.at + 1]
            if octet == b"]":
                self.at += 1
                return
            if octet in (b"\r", b"\n", b"\0", b""):
                raise self.fail("unterminated section")
            if octet == b'"':
                self.quoted()
            elif octet == b"{":
                self.literal()
            else:
                self.at += 1


def parse_response_data(data: bytes, *, utf8: bool = False) -> list[Any]:
    """The values in data, separated by exactly one space each; nothing may be left over. utf8: the client takes it."""
    reader = _Reader(data, utf8=utf8)
    values: list[Any] = []
    while True:
        values.append(reader.value())
        if reader.at == len(data):
            return values
        if data[reader.at : reader.at + 1] != b" ":
            raise reader.fail("space expected")
        reader.at += 1


def _nstring(value: Any, what: str) -> None:
    if value is not None and not isinstance(value, bytes):
        raise Malformed(f"{what}: string or NIL expected, not {value!r}")


def _string(value: Any, what: str) -> None:
    if not isinstance(value, bytes):
        raise Malformed(f"{what}: string expected, not {value!r}")


def _number(value: Any, what: str) -> None:
    if not isinstance(value, int) or value >= 1 << 63:
        raise Malformed(f"{what}: number expected, not {value!r}")


def check_envelope(value: Any) -> None:
    """Raise Malformed unless value is an ENVELOPE (RFC 3501: env-date … env-message-id)."""
    if not isinstance(value, list) or len(value) != 10:
        raise Malformed(f"envelope of ten items expected, not {value!r}")
    for index in (0, 1, 8, 9):
        _nstring(value[index], "envelope")
    for addresses in value[2:8]:
        if addresses is None:
            continue
        if not isinstance(addresses, list) or not addresses:
            raise Malformed("address list expected")
        in_group = False
        for address in addresses:
            if not isinstance(address, list) or len(address) != 4:
                raise Malformed(f"address expected, not {address!r}")
            for item in address:
                _nstring(item, "address")
            if address[3] is None:
                if (address[2] is None) is not in_group:
                    raise Malformed("group start and end do not pair")
                in_group = not in_group
        if in_group:
            raise Malformed("group without end")


def _parameters(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, list) or not value or len(value) % 2:
        raise Malformed(f"parameter list expected, not {value!r}")
    for item in value:
        _string(item, "parameter")


def _language(value: Any) -> None:
    if isinstance(value, list):
        if not value:
            raise Malformed("empty language list")
        for item in value:
            _string(item, "language")
    else:
        _nstring(value, "language")


def _extension(rest: list[Any], with_digest: bool) -> None:
    if with_digest:
        _nstring(rest.pop(0), "md5")
    disposition = rest.pop(0)
    if disposition is not None:
        if not isinstance(disposition, list) or len(disposition) != 2:
            raise Malformed(f"disposition expected, not {disposition!r}")
        _string(disposition[0], "disposition")
        _parameters(disposition[1])
    _language(rest.pop(0))
    _nstring(rest.pop(0), "location")
    if rest:
        raise Malformed("surplus extension data")


def check_body(value: Any, extended: bool) -> None:
    """Raise Malformed unless value is a BODY (extended false) or BODYSTRUCTURE (true)."""
    if not isinstance(value, list) or len(value) < 2:
        raise Malformed(f"body expected, not {value!r}")
    if isinstance(value[0], list):
        _check_multipart(value, extended)
    else:
        _check_single(value, extended)


def _check_multipart(value: list[Any], extended: bool) -> None:
    count = 0
    while count < len(value) and isinstance(value[count], list):
        check_body(value[count], extended)
        count += 1
    _string(value[count], "media subtype")
    rest = value[count + 1 :]
    if not extended:
        if rest:
            raise Malformed("extension data in BODY")
        return
    if len(rest) != 4:
        raise Malformed("four extension items expected")
    _parameters(rest.pop(0))
    _extension(rest, with_digest=False)


def _check_single(value: list[Any], extended: bool) -> None:
    if len(value) < 7:
        raise Malformed("body fields expected")
    _string(value[0], "media type")
    _string(value[1], "media subtype")
    _parameters(value[2])
    _nstring(value[3], "id")
    _nstring(value[4], "description")
    _string(value[5], "encoding")
    _number(value[6], "octets")
    used = 7
    if value[0].lower() == b"text":
        _number(value[7], "lines")
        used = 8
    elif (value[0].lower(), value[1].lower()) == (b"message", b"rfc822"):
        check_envelope(value[7])
        check_body(value[8], extended)
        _number(value[9], "lines")
        used = 10
    rest = value[used:]
    if not extended:
        if rest:
            raise Malformed("extension data in BODY")
        return
    if len(rest) != 4:
        raise Malformed("four extension items expected")
    _extension(rest, with_digest=True)


_ATTRIBUTES = {"\\NoInferiors", "\\Noselect", "\\Marked", "\\Unmarked", "\\HasChildren", "\\HasNoChildren"}
_ATTRIBUTES |= {"\\NonExistent", "\\Subscribed", "\\Remote"}
_ATTRIBUTES |= {"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"}


def check_list(values: list[Any]) -> None:
    """Raise Malformed unless values are those of a LIST response, word included (RFC 5258: mailbox-list)."""
    if len(values) not in (4, 5) or not isinstance(values[1], list):
        raise Malformed(f"bad LIST {values!r}")
    attributes, separator, name = values[1:4]
    if set(attributes) - _ATTRIBUTES or len(set(attributes)) != len(attributes):
        raise Malformed(f"attributes {attributes!r}")
    for pair in (
        ("\\HasChildren", "\\HasNoChildren"),
        ("\\Marked", "\\Unmarked"),
        ("\\NonExistent", "\\Noselect"),
    ):
        if set(pair) <= set(attributes):
            raise Malformed(f"attributes that exclude or imply each other: {attributes!r}")
    if separator is not None and not (isinstance(separator, bytes) and len(separator) == 1):
        raise Malformed(f"separator {separator!r}")
    _string(name, "mailbox")
    if len(values) == 5:
        _check_list_extended(values[4])


def _check_list_extended(items: Any) -> None:
    if not isinstance(items, list) or len(items) % 2:
        raise Malformed(f"pairs expected, not {items!r}")
    for tag, value in zip(items[::2], items[1::2], strict=True):
        if tag == b"OLDNAME":
            if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], bytes):
                raise Malformed(f"OLDNAME {value!r}")
            continue
        if tag not in (b"CHILDINFO", "CHILDINFO"):
            raise Malformed(f"extended item {tag!r}")
        if not isinstance(value, list) or not value or set(value) - {b"SUBSCRIBED", b"SPECIAL-USE"}:
            raise Malformed(f"CHILDINFO {value!r}")


_STATUS_NUMBERS = {
    "MESSAGES",
    "RECENT",
    "UIDNEXT",
    "UIDVALIDITY",
    "UNSEEN",
    "HIGHESTMODSEQ",
    "SIZE",
    "DELETED",
}


def check_status(values: list[Any]) -> None:
    """Raise Malformed unless values are those of a STATUS response, word included (RFC 4466: mailbox-data)."""
    if len(values) != 3 or not isinstance(values[2], list) or len(values[2]) % 2:
        raise Malformed(f"bad STATUS {values!r}")
    _string(values[1], "mailbox")
    names = values[2][::2]
    if len(set(names)) != len(names):
        raise Malformed(f"an item twice: {names!r}")
    for name, value in zip(names, values[2][1::2], strict=True):
        if name == "MAILBOXID":
            continue
        if name != "APPENDLIMIT" and name not in _STATUS_NUMBERS:
            raise Malformed(f"unknown item {name!r}")
        if name != "APPENDLIMIT" or value is not None:
            _number(value, str(name))


def fetch_items(response: bytes) -> dict[bytes, Any]:
    """The items of one untagged FETCH response, by name; envelopes and body structures are checked on the way."""
    if response.endswith(b"\r\n"):
        response = response[:-2]
    star, number, word, items = (response.split(b" ", 3) + [b"", b"", b""])[:4]
    if star != b"*" or not number.isdigit() or word != b"FETCH":
        raise Malformed(f"no FETCH response: {response[:80]!r}")
    values = parse_response_data(items)
    if len(values) != 1 or not isinstance(values[0], list) or len(values[0]) % 2:
        raise Malformed(f"one list of pairs expected: {response[:80]!r}")
    found: dict[bytes, Any] = {}
    for name, value in zip(values[0][::2], values[0][1::2], strict=True):
        if not isinstance(name, Atom) or name.encode() in found:
            raise Malformed(f"item name expected once, not {name!r}")
        found[name.encode()] = value
    if b"ENVELOPE" in found:
        check_envelope(found[b"ENVELOPE"])
    if b"BODY" in found:
        check_body(found[b"BODY"], extended=False)
    if b"BODYSTRUCTURE" in found:
        check_body(found[b"BODYSTRUCTURE"], extended=True)
    return found
