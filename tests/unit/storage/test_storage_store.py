"""Namespaces, names, listing, making and removing mailboxes, subscriptions, status."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dovecotpy import clock
from dovecotpy.config.values import Namespace
from dovecotpy.ipc.record import Level
from dovecotpy.storage import flags
from dovecotpy.storage.errors import (
    CannotDo,
    InvalidMailboxName,
    MailboxExists,
    MailboxNotFound,
    StoreError,
)
from dovecotpy.storage.mailbox import Mailbox, Operation
from tests.unit.storage.storage_kit import Home, add, state, uids

LAYOUTS = [
    "maildir:~/Maildir",
    "maildir:~/Maildir:LAYOUT=fs",
    "maildir:~/Maildir:LAYOUT=imapdir",
    "maildir:~/Maildir:LAYOUT=imapdir:INDEX=~/i:CONTROL=~/c",
    "maildir:~/Maildir:INDEX=~/i:CONTROL=~/c",
]


def space(prefix: str = "", **changes: Any) -> Namespace:
    values: dict[str, Any] = {
        "type": "private",
        "separator": "",
        "prefix": prefix,
        "location": "",
        "inbox": False,
        "hidden": False,
        "list": "yes",
        "subscriptions": True,
        "alias_for": None,
    }
    return Namespace(**{**values, **changes})


def names(store: Any) -> list[bytes]:
    return [box.name for box in store.mailboxes()]


def attributes(store: Any) -> dict[bytes, set[bytes]]:
    return {box.name: set(box.attributes) for box in store.mailboxes()}


def refused(error: type[StoreError], text: str, call: Any, *arguments: Any) -> None:
    with pytest.raises(error) as raised:
        call(*arguments)
    assert str(raised.value) == text


@pytest.mark.parametrize("where", LAYOUTS)
class TestMailboxes:
    def name(self, where: str, *levels: bytes) -> bytes:
        return (b"/" if "LAYOUT=fs" in where else b".").join(levels)

    def test_create_list_delete(self, home: Home, where: str) -> None:
        store = home.store(where)
        child = self.name(where, b"A", b"B")
        store.create(child)
        store.create(b"Z" + store.separator)
        assert attributes(store) == {
            b"A": {b"\\HasChildren", b"\\Noselect" if where.endswith("=fs") else b"\\NonExistent"},
            child: {b"\\HasNoChildren"},
            b"INBOX": {b"\\HasNoChildren"},
            b"Z": {b"\\HasNoChildren"},
        }
        refused(MailboxExists, "Mailbox exists.", store.create, child)
        refused(MailboxExists, "Mailbox exists.", store.create, b"inbox")
        store.create(b"A")
        assert attributes(store)[b"A"] == {b"\\HasChildren"}
        assert store.exists(b"A")
        add(store.open(b"A", writable=True))
        store.delete(b"A")
        assert attributes(store)[b"A"] == {
            b"\\HasChildren",
            b"\\Noselect" if where.endswith("=fs") else b"\\NonExistent",
        }
        assert not store.exists(b"A")
        refused(MailboxNotFound, "Mailbox doesn't exist: A", lambda: store.open(b"A", writable=True))
        store.delete(child)
        assert names(store) == [b"INBOX", b"Z"]
        refused(MailboxNotFound, "Mailbox doesn't exist: " + child.decode(), store.delete, child)
        refused(CannotDo, "INBOX can't be deleted.", store.delete, b"Inbox")
        store.create(b"A")
        assert uids(store.open(b"A", writable=True)) == []
        assert not [name for name in os.listdir(home.root) if name.startswith("..")]

    def test_a_mailbox_made_again_is_another_one(self, home: Home, where: str) -> None:
        store = home.store(where)
        seen = set()
        for _ in range(3):
            store.create(b"A")
            box = store.open(b"A", writable=True)
            add(box)
            seen.add((box.uidvalidity, box.guid))
            box.close()
            store.delete(b"A")
        assert len({validity for validity, _ in seen}) == 3
        assert len({guid for _, guid in seen}) == 3

    def test_rename_takes_children_along(self, home: Home, where: str) -> None:
        store = home.store(where)
        for name in (b"A", self.name(where, b"A", b"B"), b"AB"):
            store.create(name)
        box = store.open(b"A", writable=True)
        add(box, flags=flags.SEEN)
        before = (box.uidvalidity, box.guid, state(box))
        box.close()
        target = self.name(where, b"X", b"Y")
        store.rename(b"A", target)
        assert set(names(store)) >= {b"INBOX", b"AB", target, self.name(where, target, b"B")}
        assert b"A" not in names(store)
        moved = store.open(target, writable=True)
        assert (moved.uidvalidity, moved.guid, state(moved)) == before
        refused(MailboxExists, "Target mailbox already exists", store.rename, target, b"AB")
        refused(MailboxNotFound, "Mailbox doesn't exist: A", store.rename, b"A", b"C")
        refused(
            CannotDo,
            "Can't rename mailbox under its own child.",
            store.rename,
            target,
            self.name(where, target, b"q"),
        )

    def test_rename_inbox_moves_its_messages(self, home: Home, where: str) -> None:
        store = home.store(where)
        inbox = store.open(b"INBOX", writable=True)
        add(inbox, flags=flags.SEEN, keywords=["k"], count=3)
        uids(inbox)
        guid = inbox.guid
        store.rename(b"INBOX", b"Old")
        assert uids(inbox) == []
        assert inbox.guid == guid
        assert inbox.columns().uidnext == 4
        old = store.open(b"Old", writable=True)
        assert list(state(old).values()) == [(flags.SEEN, frozenset({"k"}))] * 3

    def test_subscriptions(self, home: Home, where: str) -> None:
        store = home.store(where)
        store.subscribe(self.name(where, b"No", b"Where"), True)
        store.subscribe(b"inbox", True)
        assert store.subscriptions() == [self.name(where, b"No", b"Where"), b"INBOX"]
        store.subscribe(b"INBOX", False)
        assert home.store(where).subscriptions() == [self.name(where, b"No", b"Where")]

    def test_status(self, home: Home, where: str) -> None:
        store = home.store(where)
        inbox = store.open(b"INBOX", writable=True)
        add(inbox, b"x\r\n", count=3)
        add(inbox, b"y\r\n", flags=flags.SEEN | flags.DELETED)
        found = store.status(b"INBOX")
        assert found == (4, 4, 3, 5, inbox.uidvalidity, inbox.refresh(), 12, 1, inbox.mailbox_id)
        uids(inbox)
        inbox.claim_recent()
        inbox.store([1], Operation.ADD, flags.SEEN, frozenset())
        assert store.status(b"INBOX")[:3] == (4, 0, 2)


class TestNames:
    def test_texts(self, home: Home) -> None:
        store = home.store()
        refused(InvalidMailboxName, "Empty mailbox name.", store.create, b"")
        refused(InvalidMailboxName, "Mailbox name too long.", store.create, b"x" * 600)
        refused(InvalidMailboxName, "Mailbox name too long.", store.create, b"x" * 201)
        refused(InvalidMailboxName, "Mailbox name too long.", store.create, b".".join([b"x"] * 21))
        for name in (b"a..b", b".a", b"~root", b"a/b", b"../x"):
            refused(InvalidMailboxName, "Invalid mailbox name.", store.create, name)
        assert names(store) == [b"INBOX"]

    def test_eight_bit_and_utf7_names_are_bytes(self, home: Home) -> None:
        store = home.store()
        for name in (b"Entw&APw-rfe", b"caf\xc3\xa9", b"\xff\xfe"):
            store.create(name)
            store.subscribe(name, True)
            add(store.open(name, writable=True))
        assert names(store)[1:] == [b"INBOX", b"caf\xc3\xa9", b"\xff\xfe"] or len(names(store)) == 4
        assert store.subscriptions() == [b"Entw&APw-rfe", b"caf\xc3\xa9", b"\xff\xfe"]

    def test_links_are_not_followed(self, home: Home) -> None:
        store = home.store()
        store.create(b"Real")
        os.symlink(home.root / ".Real", home.root / ".Link")
        os.mkdir(home.path / "outside")
        os.symlink(home.path / "outside", home.root / ".Out")
        with pytest.raises(StoreError):
            store.open(b"Out", writable=True)
        store.delete(b"Out")
        assert (home.path / "outside").is_dir()
        store.delete(b"Link")
        assert store.exists(b"Real")

    def test_plain_dot_files_are_no_mailboxes(self, home: Home) -> None:
        store = home.store(maildir_stat_dirs=True)
        names(store)
        (home.root / ".procmail").write_text("")
        assert names(store) == [b"INBOX"]


def test_imapdir_on_disk(home: Home) -> None:
    """Directories named as mailboxes; INBOX is one of them, and what is no Maildir is no mailbox."""
    store = home.store("maildir:~/Maildir:LAYOUT=imapdir")
    add(store.open(b"INBOX", writable=True))
    store.create(b"a.b")
    store.create(b"INBOX.c")
    (home.root / "stuff").mkdir()
    assert sorted(path.name for path in home.root.iterdir() if path.is_dir()) == [
        "INBOX",
        "INBOX.c",
        "a.b",
        "stuff",
    ]
    assert attributes(store) == {
        b"INBOX": {b"\\HasChildren"},
        b"INBOX.c": {b"\\HasNoChildren"},
        b"a": {b"\\HasChildren", b"\\NonExistent"},
        b"a.b": {b"\\HasNoChildren"},
        b"stuff": {b"\\HasNoChildren", b"\\Noselect"},
    }
    for name in (b"cur", b".a", b"~a", b"a/b", b"a..b"):
        refused(InvalidMailboxName, "Invalid mailbox name.", store.create, name)
    refused(CannotDo, "INBOX can't be deleted.", store.delete, b"INBOX")


class TestNamespaces:
    def test_prefix_and_separator(self, home: Home) -> None:
        store = home.store(namespaces=[space("INBOX/", separator="/", inbox=True)])
        assert store.separator == b"/"
        store.create(b"INBOX/a/b")
        assert set(names(store)) == {b"INBOX", b"INBOX/a", b"INBOX/a/b"}
        assert (home.root / ".a.b").is_dir()
        store.subscribe(b"inbox/a/b", True)
        assert (home.root / "subscriptions").read_bytes() == b"a.b\n"
        assert store.subscriptions() == [b"INBOX/a/b"]
        refused(InvalidMailboxName, "Character not allowed in mailbox name: '.'", store.create, b"INBOX/a.b")
        refused(MailboxNotFound, "Unknown namespace.", store.create, b"elsewhere")

    def test_two_locations(self, home: Home) -> None:
        spaces = [
            space(inbox=True, separator="/"),
            space("Public/", type="public", separator="/", location="maildir:~/public", subscriptions=False),
        ]
        store = home.store(namespaces=spaces)
        store.create(b"Public/News")
        store.create(b"Mine")
        assert (home.path / "public" / ".News").is_dir()
        assert set(names(store)) == {b"INBOX", b"Mine", b"Public", b"Public/News"}
        store.subscribe(b"Public/News", True)
        assert (home.root / "subscriptions").read_bytes() == b"Public.News\n"
        assert store.subscriptions() == [b"Public/News"]
        refused(
            CannotDo, "Can't rename mailbox to another storage type.", store.rename, b"Mine", b"Public/Mine"
        )
        add(store.open(b"Mine", writable=True))
        mine, news = store.open(b"Mine", writable=True), store.open(b"Public/News", writable=True)
        uids(mine)
        mine.copy([1], news, move=False)
        assert uids(news) == [1]

    def test_what_mailboxes_are_for(self, home: Home) -> None:
        """By their names behind the prefix, in private namespaces, if they are there and can be selected."""
        spaces = [
            space("INBOX/", inbox=True, separator="/"),
            space("Public/", type="public", separator="/", location="maildir:~/public", subscriptions=False),
        ]
        wanted = ("Sent=\\Sent", " Old/Mail = \\archive", "Old/Mail=\\All", "Drafts=\\Drafts", "Old=\\Junk")
        store = home.store(namespaces=spaces, mail_special_use=wanted)
        for name in (b"INBOX/Sent", b"INBOX/Old/Mail", b"INBOX/sent", b"Public/Sent"):
            store.create(name)
        found = attributes(store)
        assert found[b"INBOX/Sent"] == {b"\\HasNoChildren", b"\\Sent"}
        assert found[b"INBOX/Old/Mail"] == {b"\\HasNoChildren", b"\\Archive", b"\\All"}
        assert found[b"INBOX/sent"] == found[b"Public/Sent"] == {b"\\HasNoChildren"}
        assert found[b"INBOX/Old"] == {b"\\HasChildren", b"\\NonExistent"}
        assert b"INBOX/Drafts" not in found

    def test_an_alias_shows_the_same_mailboxes(self, home: Home) -> None:
        store = home.store(
            namespaces=[space(inbox=True), space("INBOX.", hidden=True, list="no", alias_for="")]
        )
        store.create(b"INBOX.x")
        assert store.exists(b"x")
        assert names(store) == [b"INBOX", b"x"]

    @pytest.mark.parametrize(
        ("spaces", "text"),
        [
            ([space(inbox=True), space("x.", inbox=True)], "There can be only one namespace with inbox=yes"),
            ([space(inbox=True), space("x")], "list=yes requires prefix=x to end with separator"),
            (
                [space(inbox=True, separator="/"), space("x.", separator=".")],
                "All list=yes namespaces must use the same separator",
            ),
            ([space(inbox=True, list="no")], "Empty prefix requires list=yes"),
            ([space(), space("x.")], "inbox=yes namespace missing"),
            ([space("x.", inbox=True, list="no")], "no list=yes namespaces"),
            ([space(inbox=True, subscriptions=False)], "no subscriptions=yes namespaces"),
        ],
    )
    def test_errors(self, home: Home, spaces: list[Namespace], text: str) -> None:
        with pytest.raises(StoreError) as raised:
            home.store(namespaces=spaces)
        assert raised.value.log == "namespace configuration error: " + text

    def test_a_single_private_one_has_inbox(self, home: Home) -> None:
        assert home.store(namespaces=[space()]).exists(b"INBOX")

    @pytest.mark.parametrize("driver", ["mbox", "dbox"])
    def test_other_formats_say_not_yet(self, home: Home, driver: str) -> None:
        with pytest.raises(StoreError) as raised:
            home.store(f"{driver}:~/mail")
        assert "is not supported yet" in (raised.value.log or "")
        assert str(raised.value).startswith(
            "Internal error occurred. Refer to server log for more information. ["
        )


def test_variables_and_the_users_own_location(home: Home) -> None:
    store = home.store("maildir:%h/%d/%n")
    store.create(b"A")
    assert (home.path / "example.org" / "joe" / ".A").is_dir()
    home.store(mail="maildir:~/other").create(b"B")
    assert (home.path / "other" / ".B").is_dir()


def test_a_root_that_cannot_be_used_says_so(home: Home) -> None:
    if os.geteuid() == 0:
        (home.path / "Maildir").write_text("a file")
    else:
        home.path.chmod(0o500)
    with pytest.raises(StoreError) as raised:
        home.store()
    assert str(home.root) in (raised.value.log or "")
    assert not [line for level, line in home.lines if level is Level.PANIC]


class TestSeenOfASharedMailbox:
    """`dovecot-shared`: what one user has seen says nothing to another."""

    @pytest.fixture
    def users(self, tmp_path: Path) -> Iterator[tuple[Home, Home]]:
        homes = (Home(tmp_path / "joe"), Home(tmp_path / "ann"))
        for each in homes:
            each.path.mkdir()
        for name in ("cur", "new", "tmp"):
            (tmp_path / "team" / ".All" / name).mkdir(parents=True)
        (tmp_path / "team" / ".All" / "dovecot-shared").write_text("")
        (tmp_path / "team" / ".All" / "cur" / "1.a.h:2,S").write_bytes(b"A: b\n\n")
        (tmp_path / "team" / ".All" / "cur" / "2.b.h:2,F").write_bytes(b"A: b\n\n")
        yield homes
        for each in homes:
            each.close()

    def team(self, home: Home, name: bytes = b"Team/All") -> Mailbox:
        where = f"maildir:{home.path.parent}/team"
        public = space("Team/", type="public", separator="/", location=where, subscriptions=False)
        store = home.store(namespaces=[space(separator="/", inbox=True), public])
        return store.open(name, writable=True)

    def seen(self, mailbox: Mailbox) -> set[int]:
        return {uid for uid, (bits, _) in state(mailbox).items() if bits & flags.SEEN}

    def names(self, home: Home) -> list[str]:
        return sorted(os.listdir(home.path.parent / "team" / ".All" / "cur"))

    def test_each_has_his_own(self, users: tuple[Home, Home]) -> None:
        joe, ann = (self.team(each) for each in users)
        assert (self.seen(joe), self.seen(ann)) == (set(), set())
        before = self.names(users[0])
        assert list(joe.store([1, 2], Operation.ADD, flags.SEEN, frozenset()).changed) == [1, 2]
        assert self.names(users[0]) == before
        assert (self.seen(joe), self.seen(ann)) == ({1, 2}, set())
        ann.store([2], Operation.REPLACE, flags.SEEN | flags.ANSWERED, frozenset())
        joe.store([1], Operation.REMOVE, flags.SEEN, frozenset())
        assert (self.seen(joe), self.seen(ann)) == ({2}, {2})
        assert self.names(users[0]) == ["1.a.h:2,S", "2.b.h:2,R"]
        assert state(joe)[2][0] == flags.SEEN | flags.ANSWERED
        joe.close()
        ann.close()
        assert (self.seen(self.team(users[0])), self.seen(self.team(users[1]))) == ({2}, {2})

    def test_an_index_that_both_use_says_nothing_of_it(self, users: tuple[Home, Home]) -> None:
        for each in users:
            uids(self.team(each))
        time.sleep(0.1)
        joe = self.team(users[0])
        uids(joe)
        joe.store([1], Operation.ADD, flags.SEEN, frozenset())
        time.sleep(0.1)
        uids(joe)
        joe.close()
        ann = self.team(users[1])
        assert self.seen(ann) == set()
        ann.store([2], Operation.ADD, flags.SEEN, frozenset())
        time.sleep(0.1)
        uids(ann)
        ann.close()
        assert (self.seen(self.team(users[0])), self.seen(self.team(users[1]))) == ({1}, {2})

    def test_his_other_connection_sees_it(self, users: tuple[Home, Home]) -> None:
        one, other = self.team(users[0]), self.team(users[0])
        uids(one)
        uids(other)
        modseq = other.columns().modseq
        one.store([1], Operation.ADD, flags.SEEN, frozenset())
        assert self.seen(other) == {1}
        assert list(other.changes(modseq).changed) == [1]

    def test_saving_and_copying(self, users: tuple[Home, Home]) -> None:
        joe, ann = (self.team(each) for each in users)
        uids(joe)
        add(joe, flags=flags.SEEN)
        joe.copy([3], joe, move=False)
        own = users[0].inbox()
        joe.copy([1, 3], own, move=False)
        assert (self.seen(joe), self.seen(ann)) == ({3, 4}, set())
        assert self.seen(own) == {2}
        assert not [name for name in self.names(users[0])[2:] if "S" in name.partition(":2,")[2]]

    def test_marks_of_what_is_gone_go(self, users: tuple[Home, Home]) -> None:
        joe = self.team(users[0])
        uids(joe)
        joe.store([1], Operation.ADD, flags.SEEN, frozenset())
        joe.expunge([1])
        joe.store([2], Operation.ADD, flags.SEEN, frozenset())
        with contextlib.closing(sqlite3.connect(users[0].root / "dovecotpy-state")) as connection:
            assert connection.execute("SELECT uid FROM seen").fetchall() == [(2,)]


@pytest.mark.parametrize("where", ["maildir:~/Maildir", "maildir:~/Maildir:LAYOUT=fs"])
def test_leftovers_of_the_dead_are_swept(home: Home, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = home.store(where)
    store.open(b"INBOX", writable=True).close()
    left = ("dovecot-uidlist.tmp.77.abcd", "dovecot-keywords.tmp.77.abcd")
    for name in left:
        (home.root / name).write_text("x")
    (home.root / "mine.tmp.txt").write_text("x")
    (home.root / "..dovecotpy-77-abcd" / "cur").mkdir(parents=True)
    (home.root / "..dovecotpy-77-abcd" / "cur" / "1.a.h").write_text("x")
    store.open(b"INBOX", writable=True).close()
    list(store.mailboxes())
    assert {*left, "..dovecotpy-77-abcd"} <= set(os.listdir(home.root)), "too fresh to be swept"
    real = clock.file_time
    monkeypatch.setattr(clock, "file_time", lambda: real() + 37 * 3600)
    store.open(b"INBOX", writable=True).close()
    assert [box.name for box in store.mailboxes()] == [b"INBOX"]
    names = set(os.listdir(home.root))
    assert not {*left, "..dovecotpy-77-abcd"} & names
    assert "mine.tmp.txt" in names
