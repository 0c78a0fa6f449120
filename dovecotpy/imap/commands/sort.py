"""SORT and UID SORT (RFC 5256 section 3, RFC 5957), with RETURN (RFC 5267 section 3)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.commands.arranged import keep_answer, kept_answer, matching, tell
from dovecotpy.imap.commands.search import PIECE, words
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.fuzzy import FUZZY
from dovecotpy.imap.registry import State, command, extension
from dovecotpy.imap.relevancy import relevancy
from dovecotpy.imap.returns import ESORT, Result, Returns, parse_returns
from dovecotpy.imap.searching import answer_of
from dovecotpy.imap.wire.tokens import Atom
from dovecotpy.search.sort import Criterion, Key, Program
from dovecotpy.storage.errors import StoreError

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

I18N = extension("I18NLEVEL=1")
_KEYS = {key.value: key for key in Key}


@command("SORT", state=State.SELECTED, expunges=False, capabilities=("SORT", "SORT=DISPLAY"))
@command("UID SORT", state=State.SELECTED, capabilities=("SORT", "SORT=DISPLAY"))
def sort(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the messages that match all keys, in the order of the criteria."""
    started = clock.monotonic()
    returns = parse_returns(arguments, session.dialect.disabled, ESORT)
    program = _program(arguments, session.dialect.disabled)
    try:
        uids, numbers, modseq, query, expunges = yield from matching(session, arguments)
        scores = None
        if (returns is not None and returns.relevancy) or _by_relevancy(program):
            scores = yield from relevancy(session, arguments, query, uids)
        if returns is not None:
            steps = session.selected.mailbox.sort(program, uids, scores)
            ordered = (yield from answer_of(session, steps)).uids
            told = ordered if arguments.by_uid else _renumbered(uids, numbers, ordered)
            result = Result(ordered, told, is_sorted=False, scores=scores)
            yield from _tell_returns(session, returns, result, modseq, by_uid=arguments.by_uid)
            taken = clock.monotonic() - started
            yield from session.complete(f"Sort completed ({taken:.3f} secs).", expunges=expunges)
            return
    except (Refused, StoreError):
        if returns is not None and returns.save:
            session.selected.saved = array("I")
        raise
    view = session.selected
    key = ("SORT", arguments.by_uid, program, modseq)
    rendered = kept_answer(view, key, uids, numbers) if scores is None else None
    if rendered is not None:
        yield rendered
    else:
        ordered = (yield from answer_of(session, view.mailbox.sort(program, uids, scores))).uids
        told = ordered if arguments.by_uid else _renumbered(uids, numbers, ordered)
        rendered = yield from tell(session, _response(told, modseq))
        if (
            rendered is not None
            and scores is None
            and all(criterion.key is not Key.SIZE for criterion in program)
        ):
            keep_answer(view, key, uids, numbers, rendered)
    taken = clock.monotonic() - started
    yield from session.complete(f"Sort completed ({taken:.3f} secs).", expunges=expunges)


def _by_relevancy(program: Program) -> bool:
    return any(criterion.key is Key.RELEVANCY for criterion in program)


def _tell_returns(
    session: "ImapSession",
    returns: Returns,
    result: Result,
    modseq: int | None,
    *,
    by_uid: bool,
) -> Iterator[bytes]:
    """The ESEARCH response to a SORT with return options."""
    view = session.selected
    if modseq is not None:
        returned = returns.returned(result)
        modseq = view.highest_of(returned) if returned else None
    if returns.save:
        view.saved = returns.returned(result)
    pieces = returns.response(session.tag, result, by_uid=by_uid, modseq=modseq)
    yield from session.in_one_response(pieces)


def _program(arguments: Arguments, disabled: frozenset[bytes]) -> Program:
    """The parenthesised criteria; one that stands there twice counts once."""
    program: dict[Key, Criterion] = {}
    reverse = False
    for token in arguments.list():
        name = bytes(token.upper()) if isinstance(token, Atom) else b""
        if name == b"REVERSE" and not reverse:
            reverse = True
            continue
        if name not in _KEYS or (name == b"RELEVANCY" and FUZZY in disabled):
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
