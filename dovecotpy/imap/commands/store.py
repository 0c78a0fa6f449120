"""STORE and UID STORE (RFC 3501 section 6.4.6)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.flags import Flags, parse_flags
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.view import View, place_in
from dovecotpy.storage.driver import Columns
from dovecotpy.storage.mailbox import Operation

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

GROUP = 1_000
"""Messages changed between two looks at the client; the store lets go of its lock as often."""

_OPERATIONS = {b"FLAGS": Operation.REPLACE, b"+FLAGS": Operation.ADD, b"-FLAGS": Operation.REMOVE}


@command("STORE", state=State.SELECTED, expunges=False)
@command("UID STORE", state=State.SELECTED)
def store(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Change flags. Without .SILENT the new flags of every message named are told."""
    ranges = arguments.sequence_set()
    operation, silent = _operation(arguments)
    flags = _flags(session, arguments)
    view = session.selected
    uids = view.uids_of(view.spans(ranges, by_uid=arguments.by_uid))
    if not view.writable:
        yield from session.complete("Store ignored with read-only mailbox.")
        return
    gone = False
    view.look()
    for start in range(0, len(uids), GROUP):
        group = uids[start : start + GROUP]
        before, untold = view.columns, view.untold(group)
        stored = view.mailbox.store(group, operation, flags.system, flags.keywords)
        gone = gone or bool(stored.gone)
        view.look()
        if silent:
            expected = _as_expected(view, before, group, operation, flags)
            view.told([uid for uid in expected if uid not in untold])
            yield b""
        else:
            view.told(group)
            yield view.new_keywords()
            yield view.flags_lines(group, by_uid=arguments.by_uid)
    if gone:
        yield from session.complete(
            "Some of the requested messages no longer exist.", "EXPUNGEISSUED", condition=b"NO"
        )
    else:
        yield from session.complete("Store completed.")


def _operation(arguments: Arguments) -> tuple[Operation, bool]:
    item = arguments.atom()
    name, dot, silent = item.partition(b".")
    if name not in _OPERATIONS or (dot and silent != b"SILENT"):
        raise Refused(f"Invalid item {item.decode('ascii', 'replace')}")
    return _OPERATIONS[name], bool(dot)


def _flags(session: "ImapSession", arguments: Arguments) -> Flags:
    """A list of flags, or flags without parentheses."""
    tokens = arguments.rest()
    if isinstance(tokens[0], list):
        if len(tokens) > 1:
            raise arguments.wrong()
        tokens = tokens[0]
    return parse_flags(tokens, session.max_keyword, session.selected.keywords)


def _as_expected(
    view: View, before: Columns, uids: "array[int]", operation: Operation, flags: Flags
) -> Sequence[int]:
    """The messages whose flags are what the client takes them for now.

    Others were changed by somebody else at the same time, which .SILENT does not hide (RFC 3501 section
    6.4.6).
    """
    after = view.columns
    expected = []
    for uid in uids:
        old, new = place_in(before, uid), place_in(after, uid)
        if old < 0 or new < 0:
            continue
        want = _applied(before.flags[old], before.keyword_sets[before.keywords[old]], operation, flags)
        if want == (after.flags[new], after.keyword_sets[after.keywords[new]]):
            expected.append(uid)
    return expected


def _applied(
    system: int, keywords: frozenset[str], operation: Operation, flags: Flags
) -> tuple[int, frozenset[str]]:
    if operation == Operation.ADD:
        return system | flags.system, keywords | flags.keywords
    if operation == Operation.REMOVE:
        return system & ~flags.system, keywords - flags.keywords
    return flags.system, flags.keywords
