"""The cache of rendered answers: it may know nothing, and is never wrong."""

from __future__ import annotations

import fcntl
import os
import shutil
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from dovecotpy.storage.index import cachefile, rendered
from dovecotpy.storage.index.cachefile import MAX_COUNT, MAX_VALUE, OVERSIZE
from dovecotpy.storage.index.rendered import Owner, Rendered
from tests.integration.storage_kills import run_until

FIRST = (1, 2, 3)
SECOND = (20, 21)
GUID = b"g" * 32


def value(kind: int, uid: int, validity: int = 7) -> bytes:
    """What is always kept under a kind and UID of a mailbox."""
    return b"%d:%d:%d;" % (validity, kind, uid) * (1 + uid % 5)


class Box:
    """A mailbox's INDEX directory and what its messages are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.uids: list[int] = list(range(1, 2000))
        self.validity = 7
        self.lines: list[str] = []
        self.descriptor = os.open(path, os.O_RDONLY)

    def cache(self, *, least: int = 0, memory: bool = False) -> Rendered:
        owner = Owner(
            lambda: None if memory else self.descriptor,
            lambda: (GUID, self.validity),
            lambda: self.uids,
            self.lines.append,
        )
        cache = Rendered(owner, sync=True, least=least)
        cache.look()
        return cache

    def files(self) -> list[str]:
        return sorted(name for name in os.listdir(self.path) if cachefile.is_file_name(name))

    def keep(self, cache: Rendered, kinds: tuple[int, ...], uids: list[int]) -> None:
        for uid in uids:
            cache.keep(kinds, uid, [value(kind, uid, self.validity) for kind in kinds])

    def close(self) -> None:
        os.close(self.descriptor)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "index")
    yield made
    made.close()


def find(cache: Rendered, kind: int, uids: list[int]) -> list[bytes | None]:
    cache.look()
    return cache.find(kind, array("I", uids))


def known(cache: Rendered, kind: int, uids: list[int]) -> list[int]:
    """Those of the UIDs whose value is known; it must be the right one."""
    found = find(cache, kind, uids)
    for uid, each in zip(uids, found, strict=True):
        assert each is None or each == value(kind, uid), (kind, uid, each)
    return [uid for uid, each in zip(uids, found, strict=True) if each is not None]


def test_what_one_session_kept_another_finds(box: Box) -> None:
    first = box.cache()
    box.keep(first, FIRST, [5, 3, 9])
    first.close()
    second = box.cache()
    assert known(second, 2, [1, 3, 5, 7, 9]) == [3, 5, 9]
    assert known(second, 20, [3, 5, 9]) == []
    second.close()


def test_an_open_session_sees_what_others_add(box: Box) -> None:
    reader, writer = box.cache(), box.cache()
    for uid in range(1, 40):
        box.keep(writer, FIRST, [uid])
        writer.flush()
        assert known(reader, 1, list(range(1, 60))) == list(range(1, uid + 1))
    reader.close()
    writer.close()


def test_many_messages_are_several_chunks_and_any_choice_of_them_is_found(box: Box) -> None:
    cache = box.cache()
    box.keep(cache, FIRST, box.uids)
    cache.close()
    again = box.cache()
    assert known(again, 3, box.uids) == box.uids
    assert known(again, 3, box.uids[100:1700:7]) == box.uids[100:1700:7]
    again.close()


def test_two_sessions_that_read_the_same_keep_it_once(box: Box) -> None:
    one, other = box.cache(), box.cache()
    box.keep(one, FIRST, [1, 2, 3])
    box.keep(other, FIRST, [2, 3, 4])
    one.close()
    size = (box.path / box.files()[0]).stat().st_size
    other.close()
    assert known(box.cache(), 1, [1, 2, 3, 4, 5]) == [1, 2, 3, 4]
    assert (box.path / box.files()[0]).stat().st_size < 2 * size


def test_who_does_not_get_the_lock_writes_another_time(box: Box) -> None:
    cache = box.cache()
    box.keep(cache, FIRST, [1])
    held = os.open(box.path / cachefile.LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    cache.flush()
    assert box.files() == []
    assert known(cache, 1, [1]) == [1]
    os.close(held)
    cache.close()
    assert known(box.cache(), 1, [1]) == [1]


def test_small_mailboxes_are_not_kept_where_the_settings_say_so(box: Box) -> None:
    box.uids = [1, 2, 3]
    cache = box.cache(least=4)
    box.keep(cache, FIRST, [1])
    cache.flush()
    assert (known(cache, 1, [1]), box.files()) == ([1], [])
    box.uids = [1, 2, 3, 4]
    cache.close()
    assert len(box.files()) == 1


def test_an_overlong_value_is_noted_and_not_kept(box: Box) -> None:
    cache = box.cache()
    cache.keep(FIRST, 1, [b"(" * (MAX_VALUE + 1), b"x", b"y"])
    cache.close()
    assert find(box.cache(), 1, [1]) == [OVERSIZE]


def test_without_a_directory_the_memory_has_a_bound(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "MAX_WAITING", 100_000)
    monkeypatch.setattr(rendered, "FLUSH_OCTETS", 10_000)
    cache = box.cache(memory=True)
    for uid in range(1, 3000):
        cache.keep(FIRST, uid, [b"x" * 100] * 3)
        assert len(find(cache, 1, [uid])) == 1
        assert cache.holds(1) <= 400
    assert os.listdir(box.path) == []


def test_another_uidvalidity_is_another_mailbox(box: Box) -> None:
    cache = box.cache()
    box.keep(cache, FIRST, [1, 2])
    cache.flush()
    box.keep(cache, FIRST, [3])
    box.validity = 8
    assert find(cache, 1, [1, 2, 3]) == [None, None, None]
    cache.close()
    fresh = box.cache()
    assert find(fresh, 1, [1, 2, 3]) == [None, None, None]
    box.keep(fresh, FIRST, [1])
    fresh.close()
    assert find(box.cache(), 1, [1]) == [value(1, 1, 8)]


class TestAnotherBoot:
    @pytest.fixture
    def boot(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        def begin(name: str) -> None:
            monkeypatch.setattr(rendered, "BOOT", name)

        begin("first")
        return begin

    def test_what_was_not_synced_does_not_count(self, box: Box, boot: Callable[[str], None]) -> None:
        cache = box.cache()
        box.keep(cache, FIRST, [1])
        cache.close()
        boot("second")
        assert known(box.cache(), 1, [1]) == []
        again = box.cache()
        box.keep(again, FIRST, [2])
        again.close()
        assert known(box.cache(), 1, [1, 2]) == [2]

    def test_what_was_synced_counts(
        self, box: Box, boot: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rendered, "SYNC_FROM", 1)
        cache = box.cache()
        box.keep(cache, FIRST, [1])
        cache.close()
        boot("second")
        assert known(box.cache(), 1, [1]) == [1]

    def test_without_a_boot_id_only_what_was_synced_counts(
        self, box: Box, boot: Callable[[str], None]
    ) -> None:
        boot("")
        cache = box.cache()
        box.keep(cache, FIRST, [1])
        cache.close()
        assert known(box.cache(), 1, [1]) == []


class TestWritingAnew:
    def test_the_expunged_make_room(self, box: Box) -> None:
        cache = box.cache()
        box.keep(cache, FIRST, box.uids)
        box.keep(cache, SECOND, box.uids)
        cache.close()
        [before] = box.files()
        size = (box.path / before).stat().st_size
        reader = box.cache()
        assert known(reader, 1, box.uids) == box.uids
        live = box.uids[::2]
        box.uids = live
        box.cache().close()
        [after] = box.files()
        assert after != before
        assert (box.path / after).stat().st_size < 0.6 * size
        assert known(reader, 1, list(range(1, 2000))) == live
        assert known(reader, 21, list(range(1, 2000))) == live

    def test_many_small_chunks_become_few(self, box: Box) -> None:
        box.uids = list(range(1, 200))
        for uid in box.uids:
            cache = box.cache()
            box.keep(cache, FIRST, [uid])
            cache.close()
        cache = box.cache()
        assert known(cache, 1, box.uids) == box.uids
        assert cache._file is not None
        assert cache._file.count < 100

    def test_a_chunk_of_which_nothing_can_be_read_is_left_out(self, box: Box) -> None:
        cache = box.cache()
        cache.keep_all(box.uids, {1: [value(1, uid, box.validity) for uid in box.uids]})
        cache.close()
        [name] = box.files()
        data = bytearray((box.path / name).read_bytes())
        data[-1] ^= 1
        (box.path / name).write_bytes(data)
        cache = box.cache()
        left = known(cache, 1, box.uids)
        assert 0 < len(left) < len(box.uids)
        box.uids = left[: len(left) // 2]
        cache.close()
        assert box.files() != [name]
        assert known(box.cache(), 1, list(range(1, 2000))) == box.uids

    def test_what_dead_writers_left_is_swept(self, box: Box) -> None:
        (box.path / "dovecotpy.cache.0123456789abcdef").write_bytes(b"orphan")
        (box.path / "dovecotpy.cache.notes").write_bytes(b"not ours")
        cache = box.cache()
        box.keep(cache, FIRST, [1])
        cache.close()
        assert len(box.files()) == 1
        assert (box.path / "dovecotpy.cache.notes").exists()


class TestDeleted:
    def test_under_an_open_session(self, box: Box) -> None:
        reader, writer = box.cache(), box.cache()
        box.keep(writer, FIRST, [1, 2])
        writer.flush()
        assert known(reader, 1, [1, 2]) == [1, 2]
        for name in os.listdir(box.path):
            (box.path / name).unlink()
        assert known(reader, 1, [1, 2]) == [1, 2]
        box.keep(writer, FIRST, [3])
        writer.close()
        assert known(box.cache(), 1, [1, 2, 3]) == [3]
        assert known(reader, 1, [3]) == [3]

    def test_with_its_directory(self, box: Box) -> None:
        cache = box.cache()
        box.keep(cache, FIRST, [1])
        cache.flush()
        shutil.rmtree(box.path)
        box.keep(cache, FIRST, [2])
        cache.flush()
        assert known(cache, 1, [1, 2]) == [1, 2]
        cache.close()
        assert box.lines == []

    @pytest.mark.parametrize("name", ["head", "chunks", "lock"])
    def test_one_file_of_it(self, box: Box, name: str) -> None:
        cache = box.cache()
        box.keep(cache, FIRST, [1, 2])
        cache.flush()
        chosen = {"head": cachefile.HEAD, "chunks": box.files()[0], "lock": cachefile.LOCK}[name]
        (box.path / chosen).unlink()
        box.keep(cache, FIRST, [3])
        cache.close()
        assert 3 in known(box.cache(), 1, [1, 2, 3])


@pytest.mark.parametrize("step", range(3))
def test_a_flipped_bit_anywhere_costs_an_answer_at_most(box: Box, step: int) -> None:
    cache = box.cache()
    box.keep(cache, FIRST, [1, 2, 3])
    cache.flush()
    box.keep(cache, SECOND, [1, 2])
    cache.close()
    for name in (cachefile.HEAD, box.files()[0]):
        path = box.path / name
        good = path.read_bytes()
        for place in range(step, len(good), 3):
            bad = bytearray(good)
            bad[place] ^= 1 << (place * 5 % 8)
            path.write_bytes(bad)
            damaged = box.cache()
            for kind in (*FIRST, *SECOND):
                known(damaged, kind, [1, 2, 3])
            damaged._drop_file()
        path.write_bytes(good)


def test_after_damage_everything_can_be_kept_again(box: Box) -> None:
    cache = box.cache()
    box.keep(cache, FIRST, box.uids)
    cache.close()
    path = box.path / box.files()[0]
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    damaged = box.cache()
    lost = sorted(set(box.uids) - set(known(damaged, 1, box.uids)))
    assert lost
    box.keep(damaged, FIRST, lost)
    damaged.close()
    assert known(box.cache(), 1, box.uids) == box.uids


@pytest.mark.parametrize("worn", [False, True], ids=["append", "rewrite"])
def test_killed_before_each_call(tmp_path: Path, worn: bool) -> None:
    for calls in range(60):
        box = Box(tmp_path / f"{worn}{calls}")
        cache = box.cache()
        box.keep(cache, FIRST, box.uids[: 2 * MAX_COUNT])
        cache.close()
        if worn:
            box.uids = box.uids[:MAX_COUNT]

        def work(acknowledge: Callable[[], None], box: Box = box) -> None:
            writer = box.cache()
            box.keep(writer, SECOND, [1, 2, 3])
            writer.close()

        killed, _ = run_until(work, calls)
        after = box.cache()
        assert known(after, 1, box.uids[:MAX_COUNT]) == box.uids[:MAX_COUNT]
        known(after, 20, [1, 2, 3])
        box.keep(after, SECOND, [1, 2, 3])
        after.close()
        assert known(box.cache(), 20, [1, 2, 3]) == [1, 2, 3]
        assert len(box.files()) == 1 or killed
        box.close()
        if not killed:
            assert calls >= 8
            return
    raise AssertionError("never came to its end")


class CacheMachine(RuleBasedStateMachine):
    """Several sessions over one cache whose files are deleted and damaged at will."""

    directory: Path

    def __init__(self) -> None:
        super().__init__()
        CacheMachine.directory.mkdir(exist_ok=True)
        self.box = Box(CacheMachine.directory / os.urandom(6).hex())
        self.handles = [self.box.cache() for _ in range(3)]
        self.damaged = False

    handles_ = st.integers(0, 2)
    kinds_ = st.sampled_from([FIRST, SECOND])
    uids_ = st.lists(st.integers(1, 60), min_size=1, max_size=12, unique=True)

    @rule(handle=handles_, kinds=kinds_, uids=uids_)
    def keep(self, handle: int, kinds: tuple[int, ...], uids: list[int]) -> None:
        self.box.keep(self.handles[handle], kinds, uids)

    @rule(handle=handles_, kinds=kinds_, uids=uids_)
    def keep_and_flush(self, handle: int, kinds: tuple[int, ...], uids: list[int]) -> None:
        cache = self.handles[handle]
        self.box.keep(cache, kinds, uids)
        cache.flush()
        fresh = self.box.cache()
        if not self.damaged:
            assert known(fresh, kinds[0], sorted(uids)) == sorted(uids)
        fresh.close()

    @rule(handle=handles_)
    def reopen(self, handle: int) -> None:
        self.handles[handle].close()
        self.handles[handle] = self.box.cache()

    @rule(uids=uids_)
    def expunge(self, uids: list[int]) -> None:
        self.box.uids = sorted(set(self.box.uids) - set(uids))

    @rule(chance=st.randoms(use_true_random=False))
    def delete(self, chance: object) -> None:
        names = sorted(os.listdir(self.box.path))
        self.damaged = self.damaged or bool(names)
        if names:
            (self.box.path / chance.choice(names)).unlink()  # type: ignore[attr-defined]

    @rule(at=st.floats(0, 0.999), bit=st.integers(0, 7), data=st.booleans())
    def flip(self, at: float, bit: int, data: bool) -> None:
        names = self.box.files() if data else [cachefile.HEAD]
        self.damaged = True
        for name in names[:1]:
            path = self.box.path / name
            if path.exists() and path.stat().st_size:
                octets = bytearray(path.read_bytes())
                octets[int(at * len(octets))] ^= 1 << bit
                with path.open("r+b") as file:
                    file.write(octets)

    @rule(tail=st.binary(min_size=1, max_size=50))
    def leave_garbage_behind(self, tail: bytes) -> None:
        for name in self.box.files():
            with (self.box.path / name).open("ab") as file:
                file.write(tail)

    @invariant()
    def nothing_is_wrong(self) -> None:
        for cache in self.handles:
            for kind in (1, 3, 20):
                known(cache, kind, list(range(1, 61)))

    def teardown(self) -> None:
        for cache in self.handles:
            cache.close()
        self.box.close()


def test_against_a_model(tmp_path: Path) -> None:
    CacheMachine.directory = tmp_path / "boxes"
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        CacheMachine,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=300))
def test_any_octets_are_parsed_or_unusable(data: bytes) -> None:
    for parse in (
        lambda: cachefile.parse_head(data),
        lambda: cachefile.index_size(data),
        lambda: cachefile.parse_chunk(data, 0, len(data)),
        lambda: cachefile.parse_section(data, cachefile.Section(0, len(data), 0), 3),
    ):
        try:
            parse()  # type: ignore[no-untyped-call]
        except cachefile.Unusable:
            continue


@given(
    rows=st.dictionaries(
        st.integers(1, 2**32 - 1), st.tuples(st.binary(), st.binary()), min_size=1, max_size=20
    )
)
def test_a_chunk_gives_back_what_was_put_in(rows: dict[int, tuple[bytes, bytes]]) -> None:
    uids = sorted(rows)
    chunk = cachefile.pack_chunk(
        uids, [(4, [rows[uid][0] for uid in uids]), (9, [rows[uid][1] for uid in uids])]
    )
    parsed = cachefile.parse_chunk(chunk, 0, len(chunk))
    assert list(parsed.uids) == uids
    for place, kind in enumerate((4, 9)):
        section = parsed.sections[kind]
        values = cachefile.parse_section(chunk[section.at : section.at + section.length], section, len(uids))
        assert values.slices(0, len(uids)) == [rows[uid][place] for uid in uids]


def test_processes_side_by_side(box: Box) -> None:
    """Each writes what it read first, two wear the file out meanwhile; nobody sees a wrong value, and nothing is left behind."""
    children = []
    for number in range(4):
        pid = os.fork()
        if not pid:
            try:
                _work(box, number)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0, 0]
    last = box.cache()
    assert len(known(last, 1, box.uids)) > 0
    box.keep(last, FIRST, box.uids)
    last.close()
    assert known(box.cache(), 1, box.uids) == box.uids
    assert len(box.files()) == 1


def _work(box: Box, number: int) -> None:
    descriptor = box.descriptor
    box.descriptor = os.open(".", os.O_RDONLY, dir_fd=descriptor)
    for turn in range(40):
        cache = box.cache()
        first = (number * 379 + turn * 97) % 1900 + 1
        missing = sorted(set(range(first, first + 60)) - set(known(cache, 1, list(range(first, first + 60)))))
        box.keep(cache, FIRST, [uid for uid in missing if uid in box.uids])
        known(cache, 2, box.uids)
        if number < 2 and turn % 10 == 9 and cache._file is not None:
            cache._file.broken = True
        cache.close()
