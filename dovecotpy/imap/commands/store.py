"""STORE and UID STORE (RFC 3501 section 6.4.6), with the condition of RFC 7162 section 3.1.3."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import CONDSTORE
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.flags import Flags, parse_flags
from dovecotpy.imap.registry import State, Table, command
from dovecotpy.imap.view import View
from dovecotpy.imap.wire.sequence import render_numbers
from dovecotpy.storage.columns import places_of
from dovecotpy.storage.driver import Columns
from dovecotpy.storage.mailbox import Operation

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

GROUP = 1_000
"""Messages changed between two looks at the client; the store lets go of its lock as often."""

_OPERATIONS = {b"FLAGS": Operation.REPLACE, b"+FLAGS": Operation.ADD, b"-FLAGS": Operation.REMOVE}


MODIFIERS: Table[Callable[[Arguments], int]] = Table()
"""What may stand in parentheses before the item (RFC 4466 section 2.5), with what parses its value."""
MODIFIERS.add(b"UNCHANGEDSINCE", Arguments.modseq, CONDSTORE)


@command("STORE", state=State.SELECTED, expunges=False)
@command("UID STORE", state=State.SELECTED)
def store(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Change flags. Without .SILENT the new flags of every message named are told."""
    ranges = arguments.sequence_set()
    modifiers = _modifiers(arguments, session)
    operation, silent = _operation(arguments)
    flags = _flags(session, arguments)
    view = session.selected
    if b"UNCHANGEDSINCE" in modifiers:
        view.need_modseqs()
    uids = view.uids_of(view.spans(ranges, by_uid=arguments.by_uid))
    if b"UNCHANGEDSINCE" in modifiers:
        yield from session.enable(CONDSTORE)
    if not view.writable:
        yield from session.complete("Store ignored with read-only mailbox.")
        return
    job = _Store(view, operation, flags, modifiers.get(b"UNCHANGEDSINCE"), by_uid=arguments.by_uid)
    view.look()
    for start in range(0, len(uids), GROUP):
        session.note_progress(start, len(uids))
        yield job.change(uids[start : start + GROUP], silent=silent)
    code = job.code()
    if job.gone:
        text = "Some of the requested messages no longer exist."
        yield from session.complete(text, code or "EXPUNGEISSUED", condition=b"NO")
    else:
        yield from session.complete("Conditional store failed." if code else "Store completed.", code)


class _Store:
    """One STORE at work. unchanged_since: None for one without a condition."""

    def __init__(
        self, view: View, operation: Operation, flags: Flags, unchanged_since: int | None, *, by_uid: bool
    ) -> None:
        self.view = view
        self.operation = operation
        self.flags = flags
        self.unchanged_since = unchanged_since
        self.by_uid = by_uid
        self.gone = False
        self.modified = array("I")
        """UIDs that failed the condition"""

    def change(self, group: "array[int]", *, silent: bool) -> bytes:
        """Change some messages; what is told of them at once."""
        view = self.view
        before, untold = view.columns, view.untold(group)
        stored = view.mailbox.store(
            group, self.operation, self.flags.system, self.flags.keywords, self.unchanged_since
        )
        self.gone = self.gone or bool(stored.gone)
        self.modified.extend(stored.modified)
        view.look()
        if not silent:
            view.told(group)
            return view.new_keywords() + view.flags_lines(group, by_uid=self.by_uid)
        modified = frozenset(stored.modified)
        expected = [
            uid
            for uid in _as_expected(view, before, group, self.operation, self.flags)
            if uid not in untold and uid not in modified
        ]
        view.told(expected)
        said = b""
        if modified:
            view.told(stored.modified)
            said = view.new_keywords() + view.flags_lines(stored.modified, by_uid=self.by_uid)
        if view.tells_modseqs:
            changed = expected if self.unchanged_since is not None else set(stored.changed)
            said += view.modseq_lines([uid for uid in expected if uid in changed])
        return said

    def code(self) -> str | None:
        """MODIFIED, if messages failed the condition (RFC 7162 section 3.1.3)."""
        if not self.modified:
            return None
        numbers = self.modified if self.by_uid else [self.view.index(uid) + 1 for uid in self.modified]
        return "MODIFIED " + render_numbers(numbers).decode("ascii")


def _modifiers(arguments: Arguments, session: "ImapSession") -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    if not isinstance(arguments.peek(), list):
        return found
    inner = Arguments(arguments.name, arguments.list())
    while inner.more() or not found:
        name = inner.atom()
        parse = MODIFIERS.find(name, session.dialect.disabled)
        if parse is None or name in found:
            raise arguments.wrong(f"Unknown modifier {name.decode('ascii', 'replace')}")
        found[name] = parse(inner)
    return found


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
    old_flags, old_words, new_flags, new_words = before.flags, before.keywords, after.flags, after.keywords
    kept: dict[tuple[int, int, int, int], bool] = {}
    expected = []
    for uid, old, new in zip(uids, places_of(before.uids, uids), places_of(after.uids, uids), strict=True):
        if old < 0 or new < 0:
            continue
        step = old_flags[old], old_words[old], new_flags[new], new_words[new]
        is_expected = kept.get(step)
        if is_expected is None:
            want = _applied(step[0], before.keyword_sets[step[1]], operation, flags)
            is_expected = kept[step] = want == (step[2], after.keyword_sets[step[3]])
        if is_expected:
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
