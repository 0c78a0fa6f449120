"""The header fields that clients ask for in lists, as one record a message: HEADER.FIELDS of any of them without the message.

A record: the number of fields, the number of each one's name, where each one ends (32 bits, the machine's order), and the
original octets one behind another, in the order of the message.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from dovecotpy.message.header import USUAL, Header

KEPT = (
    *sorted(USUAL),
    b"content-class",
    b"delivered-to",
    b"disposition-notification-to",
    b"errors-to",
    b"importance",
    b"keywords",
    b"list-help",
    b"list-id",
    b"list-owner",
    b"list-post",
    b"list-subscribe",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"mail-followup-to",
    b"mail-reply-to",
    b"mime-version",
    b"newsgroups",
    b"organization",
    b"precedence",
    b"priority",
    b"resent-cc",
    b"resent-date",
    b"resent-from",
    b"resent-message-id",
    b"resent-sender",
    b"resent-to",
    b"return-path",
    b"sensitivity",
    b"status",
    b"user-agent",
    b"x-draft-info",
    b"x-forwarded-message-id",
    b"x-identity-key",
    b"x-k9mail-identity",
    b"x-label",
    b"x-mailer",
    b"x-msmail-priority",
    b"x-mozilla-keys",
    b"x-mozilla-status",
    b"x-priority",
    b"x-spam-flag",
    b"x-spam-status",
    b"x-status",
    b"x-uniform-type-identifier",
    b"x-universally-unique-identifier",
)
"""Names in lower case; a record speaks of each by its place. The order is part of the form of the cache."""

NUMBERS = {name: number for number, name in enumerate(KEPT)}
MAX_FIELDS = 255
"""Fields of one record; a message with more has none."""
MAX_PLANS = 1000
"""Orders of fields that a selection remembers; then its memory starts anew."""


def pack(header: Header) -> bytes | None:
    """The record of a header; None if there are too many fields, or they do not mean the same by themselves."""
    numbers = []
    ends = array("I")
    pieces = []
    end = 0
    for number, piece in header.kept(NUMBERS):
        numbers.append(number)
        end += len(piece)
        ends.append(end)
        pieces.append(piece)
    if len(numbers) > MAX_FIELDS:
        return None
    return b"".join((bytes((len(numbers),)), bytes(numbers), ends.tobytes(), *pieces))


def unpack(record: bytes) -> Header:
    """A header of the kept fields alone."""
    return Header(record[1 + 5 * record[0] :] + b"\r\n")


class Selection:
    """HEADER.FIELDS for some of the kept names."""

    __slots__ = ("_numbers", "_plans")

    def __init__(self, names: Iterable[bytes]) -> None:
        """names: in lower case, all of KEPT."""
        self._numbers = frozenset(NUMBERS[name] for name in names)
        self._plans: dict[bytes, list[tuple[int, int]]] = {}

    def answer(self, record: bytes) -> bytes:
        """What FETCH tells of a record's message (RFC 3501 section 6.4.5), the empty line included."""
        count = record[0]
        numbers = record[1 : count + 1]
        plan = self._plans.get(numbers)
        if plan is None:
            plan = self._remember(numbers)
        at = 5 * count + 1
        ends = memoryview(record)[count + 1 : at].cast("I")
        pieces = [record[at + ends[first] if first >= 0 else at : at + ends[last]] for first, last in plan]
        if pieces and pieces[-1][-1:] != b"\n":
            pieces.append(b"\r\n")
        pieces.append(b"\r\n")
        return b"".join(pieces)

    def _remember(self, numbers: bytes) -> list[tuple[int, int]]:
        """Runs of wanted fields: the one before the first (-1: none) and the last."""
        plan: list[tuple[int, int]] = []
        for place, number in enumerate(numbers):
            if number not in self._numbers:
                continue
            if plan and plan[-1][1] == place - 1:
                plan[-1] = (plan[-1][0], place)
            else:
                plan.append((place - 1, place))
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[numbers] = plan
        return plan
