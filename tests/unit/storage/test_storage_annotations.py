"""Metadata of mailboxes and of the account in a real store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dovecotpy.storage.annotations import Annotations
from dovecotpy.storage.errors import CannotDo, LimitReached, MailboxNotFound
from dovecotpy.storage.state import State
from dovecotpy.storage.store import Store
from tests.protocol import imap_maildir

MOST = 100


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    with imap_maildir.stores(tmp_path) as make:
        yield make


def test_another_session_sees_what_was_set(make: Callable[[], Store]) -> None:
    make().annotations.set(b"INBOX", {b"/private/a": b"\0\xff", b"/shared/b": b""}, MOST)
    assert make().annotations.get(b"INBOX") == {b"/private/a": b"\0\xff", b"/shared/b": b""}


def test_a_mailbox_that_is_gone_has_nothing(make: Callable[[], Store]) -> None:
    with pytest.raises(MailboxNotFound):
        make().annotations.get(b"none")
    with pytest.raises(MailboxNotFound):
        make().annotations.set(b"none", {b"/private/a": b""}, MOST)


def test_too_many_change_nothing(make: Callable[[], Store]) -> None:
    annotations = make().annotations
    annotations.set(b"", {b"/private/a": b"1"}, 1)
    with pytest.raises(LimitReached):
        annotations.set(b"", {b"/private/a": b"2", b"/private/b": b"2"}, 1)
    assert annotations.get(b"") == {b"/private/a": b"1"}


def test_a_mailbox_that_takes_the_messages_of_inbox_gets_its_metadata_too(make: Callable[[], Store]) -> None:
    store = make()
    store.annotations.set(b"INBOX", {b"/private/a": b"1"}, MOST)
    store.rename(b"INBOX", b"old")
    assert store.annotations.get(b"old") == {b"/private/a": b"1"}
    assert store.annotations.get(b"INBOX") == {b"/private/a": b"1"}


def test_a_use_follows_a_rename_by_another_session(make: Callable[[], Store]) -> None:
    store, other = make(), make()
    store.create(b"mine")
    store.annotations.set(b"mine", {b"/private/specialuse": b"\\sent"}, MOST)
    assert uses(store) == uses(other) == {b"mine": {b"\\Sent"}}
    other.rename(b"mine", b"yours")
    assert uses(store) == uses(other) == uses(make()) == {b"yours": {b"\\Sent"}}
    other.delete(b"yours")
    assert uses(store) == uses(make()) == {}


def test_a_use_that_cannot_be_given(make: Callable[[], Store]) -> None:
    store = make()
    with pytest.raises(CannotDo, match="not supported"):
        store.annotations.set(b"INBOX", {b"/private/specialuse": b"\\All", b"/private/a": b""}, MOST)
    assert store.annotations.get(b"INBOX") == {}


def test_a_listing_opens_no_state_where_no_use_was_given(make: Callable[[], Store], tmp_path: Path) -> None:
    store = make()
    store.create(b"box")
    list(store.mailboxes())
    assert not (tmp_path / "Maildir" / "dovecotpy-specialuse").exists()


def uses(store: Store) -> dict[bytes, set[bytes]]:
    found = {box.name: set(box.attributes & {b"\\Sent", b"\\Drafts"}) for box in store.mailboxes()}
    return {name: each for name, each in found.items() if each}


class TwoStates:
    """A namespace with a State of its own."""

    def __init__(self, shared: State) -> None:
        self.shared = shared

    def mailbox_guid(self, name: bytes, *, writable: bool) -> str:
        return "guid"

    def shared_state(self, name: bytes) -> State:
        return self.shared

    def uses_by_name(self, name: bytes) -> frozenset[bytes]:
        return frozenset()

    def touch(self, name: bytes) -> None:
        pass


def test_entries_that_two_states_keep_are_not_set_together(tmp_path: Path) -> None:
    states = []
    for each in ("own", "shared"):
        (tmp_path / each).mkdir()
        directory = os.open(tmp_path / each, os.O_RDONLY)
        states.append(State(directory, str(tmp_path / each), sync=False))
    own, shared = states
    annotations = Annotations(TwoStates(shared), own)
    with pytest.raises(CannotDo, match="cannot be set by one command"):
        annotations.set(b"box", {b"/private/specialuse": b"\\Sent", b"/shared/a": b"1"}, MOST)
    assert not own.exists()
    assert not shared.exists()
    assert not own.knows_uses
    annotations.set(b"box", {b"/private/a": b"1"}, MOST)
    annotations.set(b"box", {b"/shared/a": b"2"}, MOST)
    assert annotations.get(b"box") == {b"/private/a": b"1", b"/shared/a": b"2"}
    assert (own.entries("guid"), shared.entries("guid")) == ({b"/private/a": b"1"}, {b"/shared/a": b"2"})
    own.close()
    shared.close()
