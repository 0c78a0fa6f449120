"""What is read out of messages: ENVELOPE, body structures, true sizes, and the text that SEARCH looks into."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from dovecotpy.message.envelope import envelope
from dovecotpy.message.header import Header, header_end, parse_header
from dovecotpy.message.lines import WHOLE, BytesBody, Octets
from dovecotpy.message.structure import bodystructure, parse
from dovecotpy.message.text import BodyText, HeaderText, body_text, header_key, message_keys, stored_keys
from dovecotpy.storage.driver import Body
from dovecotpy.storage.errors import MessageGone

ENVELOPE = b"ENVELOPE"
BODY = b"BODY"
BODYSTRUCTURE = b"BODYSTRUCTURE"
SIZE = b"RFC822.SIZE"
FIRST_READ = 16384
"""Octets in which most header blocks end."""
SHORT_READ = 4096
"""Octets in which many do, where the size of the message is not wanted."""
MAX_HEADER = 1 << 20
CACHE_OCTETS = 32 << 20
"""Rendered answers kept for one mailbox; past it all are forgotten and rendered again when asked for."""


class Messages:
    """The messages of one mailbox, read at most once for what can be kept. open_body raises MessageGone."""

    def __init__(self, open_body: Callable[[int], Body], learn_size: Callable[[int, int], None]) -> None:
        self._open_body = open_body
        self._learn_size = learn_size
        self._cache: dict[bytes, dict[int, bytes]] = {ENVELOPE: {}, BODY: {}, BODYSTRUCTURE: {}}
        self._kept = 0

    def cached(self, item: bytes, uid: int) -> bytes | None:
        """A rendering that is at hand."""
        found = self._cache.get(item)
        return None if found is None else found.get(uid)

    def forget(self, uid: int) -> None:
        """The message is gone."""
        for kept in self._cache.values():
            rendered = kept.pop(uid, None)
            if rendered is not None:
                self._kept -= len(rendered)

    def render(self, uid: int, items: frozenset[bytes]) -> dict[bytes, bytes] | None:
        """Renderings of one message, ready to send; None if it is gone. Raises StoreError."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            if items == {ENVELOPE}:
                return {ENVELOPE: self._keep(ENVELOPE, uid, envelope(self._header(uid, body)))}
            return self._render_all(uid, body, items)
        finally:
            body.close()

    def _render_all(self, uid: int, body: Body, items: frozenset[bytes]) -> dict[bytes, bytes]:
        octets = Octets(body)
        self._learn_size(uid, octets.size)
        rendered = {SIZE: b"%d" % octets.size}
        if items - {SIZE}:
            part = parse(octets)
            rendered[ENVELOPE] = self._keep(ENVELOPE, uid, envelope(part.header))
            if BODY in items:
                rendered[BODY] = self._keep(BODY, uid, bodystructure(part, False))
            if BODYSTRUCTURE in items:
                rendered[BODYSTRUCTURE] = self._keep(BODYSTRUCTURE, uid, bodystructure(part, True))
        return rendered

    def _keep(self, item: bytes, uid: int, value: bytes) -> bytes:
        self._kept += len(value)
        if self._kept > CACHE_OCTETS:
            for kept in self._cache.values():
                kept.clear()
            self._kept = len(value)
        self._cache[item][uid] = value
        return value

    def _header(self, uid: int, body: Body) -> Header:
        data = body.read(0, FIRST_READ)
        if len(data) == body.size:
            self._learn_size(uid, Octets.of(data).size)
        end = header_end(data)
        if end >= len(data) and body.size > len(data):
            data = body.read(0, MAX_HEADER)
            end = header_end(data)
        return parse_header(data[:end])

    # What search asks

    def header(self, uid: int) -> Header | None:
        """The parsed header; None if the message is gone."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            return self._header(uid, body)
        finally:
            body.close()

    def headers(self, uids: Sequence[int]) -> list[Header | None]:
        """What SORT and THREAD take their keys from; None where the message is gone. Raises StoreError."""
        return [self._short_header(uid) for uid in uids]

    def _short_header(self, uid: int) -> Header | None:
        """The parsed header, read where the size of the message is not wanted."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            size = SHORT_READ
            while True:
                data = body.read(0, size)
                end = header_end(data)
                if end < len(data) or len(data) >= min(body.size, MAX_HEADER):
                    return parse_header(data[:end])
                size = FIRST_READ if size < FIRST_READ else MAX_HEADER
        finally:
            body.close()

    def decoded_text(self, uid: int) -> Iterator[str] | None:
        """The text of a message, decoded, in pieces; None if it is gone."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        return self._text(body)

    def _text(self, body: Body) -> Iterator[str]:
        try:
            octets = Octets(body)
            yield from body_text(octets, parse(octets))
        finally:
            body.close()

    def header_key(self, uid: int) -> HeaderText | None:
        """The text of a header as a collation key; None if the message is gone. Raises StoreError."""
        header = self._short_header(uid)
        return None if header is None else header_key(header)

    def text_keys(
        self, uid: int, most: int
    ) -> Generator[None, None, tuple[HeaderText, BodyText | None] | None]:
        """As message_keys; None if the message is gone. Raises StoreError."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            if body.size <= min(most, WHOLE):
                data = body.read(0, body.size)
                keys = stored_keys(data)
                if keys is not None:
                    return keys
                return (yield from message_keys(Octets(BytesBody(data, body.crlf)), most))
            return (yield from message_keys(Octets(body), most))
        finally:
            body.close()

    def size(self, uid: int) -> int | None:
        """RFC822.SIZE by reading; None if the message is gone."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            size = Octets(body).size
        finally:
            body.close()
        self._learn_size(uid, size)
        return size
