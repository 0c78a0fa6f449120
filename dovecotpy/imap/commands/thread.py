"""THREAD and UID THREAD (RFC 5256 section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.commands.arranged import keep_answer, kept_answer, matching, tell
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.searching import answer_of
from dovecotpy.search.arrange import Threads
from dovecotpy.search.orders import renumbered
from dovecotpy.search.thread import Algorithm

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

_ALGORITHMS = {algorithm.value: algorithm for algorithm in Algorithm}
_CAPABILITIES = tuple(f"THREAD={algorithm.value.decode('ascii')}" for algorithm in Algorithm)


@command("THREAD", state=State.SELECTED, expunges=False, capabilities=_CAPABILITIES)
@command("UID THREAD", state=State.SELECTED, capabilities=_CAPABILITIES)
def thread(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the messages that match all keys as threads."""
    started = clock.monotonic()
    name = bytes(arguments.atom())
    algorithm = _ALGORITHMS.get(name)
    if algorithm is None or b"THREAD=" + name in session.dialect.disabled:
        raise arguments.wrong("Unknown thread algorithm.")
    uids, numbers, _, _, expunges = yield from matching(session, arguments)
    view = session.selected
    key = ("THREAD", arguments.by_uid, algorithm)
    rendered = kept_answer(view, key, uids, numbers)
    if rendered is not None:
        yield rendered
    else:
        threads = yield from answer_of(session, view.mailbox.thread(algorithm, uids))
        told = numbers
        if len(threads.uids) != len(uids):
            number_of = dict(zip(uids, numbers, strict=True))
            told = [number_of[uid] for uid in threads.uids]
        rendered = yield from tell(session, _response(threads, told))
        if rendered is not None:
            keep_answer(view, key, uids, numbers, rendered)
    taken = clock.monotonic() - started
    yield from session.complete(f"Thread completed ({taken:.3f} secs).", expunges=expunges)


def _response(threads: Threads, numbers: Sequence[int]) -> Iterator[bytes]:
    yield b"* THREAD " if threads.rendered else b"* THREAD"
    if not numbers or (numbers[0] == 1 and numbers[-1] == len(numbers)):
        yield threads.rendered
    else:
        yield from renumbered(threads.rendered, numbers)
    yield b"\r\n"
