"""What a server says, cut into responses and judged by the grammar (RFC 3501 section 9), and a client that
believes only that.
"""

from __future__ import annotations

import re
from typing import Any

from tests.strict_imap import (
    Malformed,
    check_body,
    check_envelope,
    check_list,
    check_status,
    parse_response_data,
)

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
_STATUS = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH) (\[[A-Z][A-Z0-9-]*( [^\]\r\n]+)?\] )?[\x20-\x7e]+\Z")
_TAG = re.compile(rb"[\x21-\x7e]+\Z")
_FLAG = re.compile(r"\\?[^\x00-\x20(){%*\"\\\]\x7f-\xff]+\Z")


def responses(data: bytes) -> list[bytes]:
    """Whole responses, without their last CRLF. Raises Malformed if the data ends inside one."""
    found = []
    at = 0
    while at < len(data):
        start = at
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                raise Malformed(f"the data ends inside a response: {data[start:][-200:]!r}")
            at = end + 2
            literal = _LITERAL.search(data, max(start, end - 24), at)
            if literal is None:
                break
            at += int(literal[1])
            if at > len(data):
                raise Malformed("the data ends inside a literal")
        found.append(data[start : at - 2])
    return found


def check(response: bytes, *, utf8: bool = False) -> tuple[bytes, Any]:
    """Kind and values of one response: (b"*", …) untagged, (b"+", …), or (tag, …). Raises Malformed."""
    tag, space, rest = response.partition(b" ")
    if not space or not _TAG.match(tag):
        raise Malformed(f"no response: {response[:200]!r}")
    if tag == b"+":
        return tag, rest
    if _STATUS.match(rest):
        return tag, rest
    if tag != b"*":
        raise Malformed(f"tagged, but no status: {response[:200]!r}")
    values = parse_response_data(rest, utf8=utf8)
    _untagged(values)
    return tag, values


def _untagged(values: list[Any]) -> None:
    first = values[0]
    if isinstance(first, int):
        if values[1] in ("EXISTS", "RECENT", "EXPUNGE") and len(values) == 2:
            if values[1] == "EXPUNGE" and not first:
                raise Malformed("EXPUNGE 0")
            return
        if values[1] not in ("FETCH", "UIDFETCH") or len(values) != 3 or not first:
            raise Malformed(f"unknown numbered response {values!r}")
        _fetch(values[2])
    elif first == "FLAGS":
        _flags(values[1])
    elif first in ("LIST", "LSUB"):
        check_list(values)
    elif first == "STATUS":
        check_status(values)
    elif first == "SEARCH":
        numbers = values[1:]
        if len(numbers) > 1 and isinstance(numbers[-1], list):
            _modseq(numbers.pop())
        if not all(isinstance(number, int) and number for number in numbers):
            raise Malformed(f"bad SEARCH {values!r}")
    elif first == "VANISHED":
        if values[1] == ["EARLIER"]:
            values = [first, *values[2:]]
        if len(values) != 2 or not uids_of(values[1]):
            raise Malformed(f"bad VANISHED {values!r}")
    elif first == "ESEARCH":
        _esearch(values)
    elif first == "METADATA":
        if len(values) != 3 or not isinstance(values[2], list) or len(values[2]) % 2 or not values[2]:
            raise Malformed(f"bad METADATA {values!r}")
        for entry, value in zip(values[2][::2], values[2][1::2], strict=True):
            name = entry.decode() if isinstance(entry, bytes) else str(entry)
            if not name.startswith(("/private/", "/shared/")) or not isinstance(value, bytes | None):
                raise Malformed(f"bad METADATA {values!r}")
    elif first == "LANGUAGE":
        if len(values) != 2 or not isinstance(values[1], list) or not values[1]:
            raise Malformed(f"bad LANGUAGE {values!r}")
    elif first == "UIDBATCHES":
        if len(values) not in (2, 3) or values[1][0] != "TAG":
            raise Malformed(f"bad UIDBATCHES {values!r}")
    elif first not in ("CAPABILITY", "NAMESPACE", "ID", "ENABLED"):
        raise Malformed(f"unknown response {values!r}")


def uids_of(text: Any) -> list[int]:
    """The numbers of a set without `*`, ascending. Raises Malformed."""
    found = []
    for piece in str(text).split(","):
        low, _, high = piece.partition(":")
        if not low.isdigit() or not (high or low).isdigit() or not 0 < int(low) <= int(high or low):
            raise Malformed(f"bad set {text!r}")
        found += range(int(low), int(high or low) + 1)
    return found


def _modseq(values: Any) -> None:
    if values[0] != "MODSEQ" or len(values) != 2 or not isinstance(values[1], int):
        raise Malformed(f"bad MODSEQ {values!r}")


def _esearch(values: list[Any]) -> None:
    """RFC 4466 section 6: the tag, UID, then names with values."""
    rest = values[1:]
    if rest and isinstance(rest[0], list):
        if rest[0][0] != "TAG" or not isinstance(rest[0][1], bytes):
            raise Malformed(f"bad ESEARCH {values!r}")
        rest = rest[1:]
    if rest[:1] == ["UID"]:
        rest = rest[1:]
    names = {"MIN", "MAX", "ALL", "COUNT", "MODSEQ", "PARTIAL", "RELEVANCY"}
    if len(rest) % 2 or not set(rest[::2]) <= names:
        raise Malformed(f"bad ESEARCH {values!r}")


def _flags(values: Any) -> None:
    """A keyword may be any atom, also one that looks like a number or NIL."""
    if not isinstance(values, list):
        raise Malformed(f"flags expected, not {values!r}")
    for name in values:
        if not isinstance(name, int | None) and not (isinstance(name, str) and _FLAG.match(name)):
            raise Malformed(f"flags expected, not {values!r}")


def _fetch(items: Any) -> None:
    if not isinstance(items, list) or not items or len(items) % 2:
        raise Malformed(f"FETCH items expected, not {items!r}")
    names = items[::2]
    if len(set(names)) != len(names):
        raise Malformed(f"an item twice: {names!r}")
    for name, value in zip(names, items[1::2], strict=True):
        _item(name, value)


def _item(name: str, value: Any) -> None:
    if name == "FLAGS":
        _flags(value)
    elif name in ("UID", "RFC822.SIZE"):
        if not isinstance(value, int) or (name == "UID" and not value):
            raise Malformed(f"{name} {value!r}")
    elif name in ("EMAILID", "THREADID"):
        listed = (
            isinstance(value, list) and len(value) == 1 and re.fullmatch(r"[MT][0-9a-f]{40}", str(value[0]))
        )
        if not listed and (name == "EMAILID" or value is not None):
            raise Malformed(f"{name} {value!r}")
    elif name in ("INTERNALDATE", "SAVEDATE"):
        if not re.fullmatch(rb"[ \d]\d-[A-Z][a-z][a-z]-\d{4} \d\d:\d\d:\d\d [+-]\d{4}", value):
            raise Malformed(f"{name} {value!r}")
    elif name == "MODSEQ":
        if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], int) or not value[0]:
            raise Malformed(f"{name} {value!r}")
    elif name == "PREVIEW":
        if value is not None and not (isinstance(value, bytes) and len(value.decode("utf-8")) <= 256):
            raise Malformed(f"{name} {value!r}")
    elif name == "ENVELOPE":
        check_envelope(value)
    elif name in ("BODY", "BODYSTRUCTURE"):
        check_body(value, name == "BODYSTRUCTURE")
    elif name.startswith("BINARY.SIZE["):
        if not isinstance(value, int):
            raise Malformed(f"{name} {value!r}")
    elif name.startswith(("BODY[", "BINARY[", "RFC822")):
        if value is not None and not isinstance(value, bytes):
            raise Malformed(f"{name} {value!r}")
    else:
        raise Malformed(f"unknown item {name}")


class Mirror:
    """A client's picture of its selected mailbox, made of untagged responses alone."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.recent = 0

    def hear(self, data: bytes, *, expunges: bool = True) -> dict[bytes, bytes]:
        """Take note of responses; the tagged ones, by tag. Raises Malformed where they make no sense.

        expunges: whether the command at work allows EXPUNGE (RFC 3501 section 7.4.1).
        """
        tagged = {}
        for response in responses(data):
            tag, values = check(response)
            if tag not in (b"*", b"+"):
                tagged[tag] = values
            elif isinstance(values, list) and isinstance(values[0], int):
                self._numbered(values, expunges)
        return tagged

    def _numbered(self, values: list[Any], expunges: bool) -> None:
        number, kind = values[0], values[1]
        if kind == "EXISTS":
            if number < len(self.messages):
                raise Malformed("EXISTS takes messages away")
            self.messages += [{} for _ in range(number - len(self.messages))]
        elif kind == "RECENT":
            self.recent = number
        elif number > len(self.messages):
            raise Malformed(f"{kind} of message {number} of {len(self.messages)}")
        elif kind == "EXPUNGE":
            if not expunges:
                raise Malformed("EXPUNGE where it is forbidden")
            del self.messages[number - 1]
        else:
            items = values[2]
            told = dict(zip(items[::2], items[1::2], strict=True))
            known = self.messages[number - 1]
            if "UID" in known and told.get("UID", known["UID"]) != known["UID"]:
                raise Malformed(f"message {number} changed its UID")
            known.update(told)
