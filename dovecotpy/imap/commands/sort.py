"""SORT and UID SORT (RFC 5256 section 3, RFC 5957)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.commands.arranged import keep_answer, kept_answer, matching, tell
from dovecotpy.imap.commands.search import PIECE, words
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.searching import answer_of
from dovecotpy.imap.wire.tokens import Atom
from dovecotpy.search.sort import Criterion, Key, Program

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

_KEYS = {key.value: key for key in Key}


@command("SORT", state=State.SELECTED, expunges=False, capabilities=("SORT", "SORT=DISPLAY"))
@command("UID SORT", state=State.SELECTED, capabilities=("SORT", "SORT=DISPLAY"))
def sort(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the messages that match all keys, in the order of the criteria."""
    started = clock.monotonic()
    program = _program(arguments)
    uids, numbers, modseq, expunges = yield from matching(session, arguments)
    view = session.selected
    key = ("SORT", arguments.by_uid, program, modseq)
    rendered = kept_answer(view, key, uids, numbers)
    if rendered is not None:
        yield rendered
    else:
        ordered = (yield from answer_of(session, view.mailbox.sort(program, uids))).uids
        told = ordered if arguments.by_uid else _renumbered(uids, numbers, ordered)
        rendered = yield from tell(session, _response(told, modseq))
        if rendered is not None and all(criterion.key is not Key.SIZE for criterion in program):
            keep_answer(view, key, uids, numbers, rendered)
    taken = clock.monotonic() - started
    yield from session.complete(f"Sort completed ({taken:.3f} secs).", expunges=expunges)


def _program(arguments: Arguments) -> Program:
    """The parenthesised criteria; one that stands there twice counts once."""
    program: dict[Key, Criterion] = {}
    reverse = False
    for token in arguments.list():
        name = bytes(token.upper()) if isinstance(token, Atom) else b""
        if name == b"REVERSE" and not reverse:
            reverse = True
            continue
        if name not in _KEYS:
            raise arguments.wrong("Unknown sort criterion." if name else "Invalid arguments.")
        program.setdefault(_KEYS[name], Criterion(_KEYS[name], reverse))
        reverse = False
    if reverse or not program:
        raise arguments.wrong("Missing sort criterion.")
    return tuple(program.values())


def _renumbered(uids: "array[int]", numbers: Sequence[int], ordered: "array[int]") -> Sequence[int]:
    """Message numbers of sorted UIDs."""
    if uids and uids[-1] - uids[0] + 1 == len(uids) and isinstance(numbers, range):
        shift = numbers[0] - uids[0]
        return [uid + shift for uid in ordered] if shift else ordered
    number_of = dict(zip(uids, numbers, strict=True))
    return [number_of[uid] for uid in ordered]


def _response(numbers: Sequence[int], modseq: int | None) -> Iterator[bytes]:
    yield b"* SORT"
    for start in range(0, len(numbers), PIECE):
        yield words(numbers[start : start + PIECE])
    yield b"\r\n" if modseq is None else b" (MODSEQ %d)\r\n" % modseq
