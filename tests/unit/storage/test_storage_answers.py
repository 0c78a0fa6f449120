"""What FETCH is answered from the cache is what the message says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from dovecotpy.message import fields
from dovecotpy.message.envelope import envelope
from dovecotpy.message.header import Header
from dovecotpy.message.lines import Octets, crlf
from dovecotpy.message.preview import preview
from dovecotpy.message.string import string
from dovecotpy.message.structure import bodystructure, parse
from dovecotpy.storage import maintenance
from dovecotpy.storage.driver import Body
from dovecotpy.storage.index import cachefile
from dovecotpy.storage.index.rendered import CHUNK_LEAST
from dovecotpy.storage.items import PREVIEW, PREVIEW_LAZY, fields_item
from dovecotpy.storage.mailbox import Mailbox
from dovecotpy.storage.source import FEW_PARTS, FIRST_READ, ORDINARY
from tests.corpus import corpus_messages, requires_corpus
from tests.unit.storage.storage_kit import Home

USUAL = fields_item([b"From", b"TO", b"subject", b"Date"])
ALL_FIELDS = fields_item(fields.KEPT)
ITEMS = (b"ENVELOPE", b"BODY", b"BODYSTRUCTURE", b"RFC822.SIZE", PREVIEW, USUAL, ALL_FIELDS)
TWO_PARTS = (
    b"From: A <a@example.org>\nTo: b@example.org,\n c@example.org\nSubject: two\nDate: Tue, 14 Nov 2023 08:09:10 +0100\n"
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>two</p>\n--b--\n"
)


def fresh(message: bytes) -> dict[bytes, bytes]:
    """Every item, made from the message."""
    octets = Octets.of(message)
    part = parse(octets)
    found = {
        b"ENVELOPE": envelope(part.header),
        b"BODY": bodystructure(part, False),
        b"BODYSTRUCTURE": bodystructure(part, True),
        b"RFC822.SIZE": b"%d" % octets.size,
        PREVIEW: string(preview(octets, part).encode()),
    }
    for item in (USUAL, ALL_FIELDS):
        assert item is not None
        found[item] = part.header.fields(item.split(b" ")[1:])
    return found


def answers(mailbox: Mailbox, items: Sequence[bytes | None]) -> dict[int, dict[bytes, bytes | None]]:
    mailbox.refresh()
    wanted = frozenset(item for item in items if item is not None)
    found: dict[int, dict[bytes, bytes | None]] = {}
    for batch in mailbox.fetch(mailbox.columns().uids, wanted):
        for at, uid in enumerate(batch.uids):
            found[uid] = {item: batch.values[item][at] for item in wanted}
    return found


class Counted:
    """Counts what is opened of a mailbox's messages."""

    def __init__(self, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        driver = mailbox._driver
        opened, begun = driver.body, driver.beginnings

        def body(uid: int) -> Body:
            self.count += 1
            return opened(uid)

        def beginnings(uids: Sequence[int], most: int, *, whole: bool) -> Iterator[bytes]:
            self.count += len(uids)
            return begun(uids, most, whole=whole)

        monkeypatch.setattr(driver, "body", body)
        monkeypatch.setattr(driver, "beginnings", beginnings)


def inbox(home: Home, **changes: object) -> Mailbox:
    mailbox = home.inbox(**changes)
    mailbox.refresh()
    return mailbox


@requires_corpus
def test_a_new_connection_gets_from_the_cache_what_the_messages_say(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [data for _, data in corpus_messages()]
    for number, data in enumerate(messages):
        home.deliver(f"{number}.m.h:2,", data, folder="cur")
    first = inbox(home)
    made = answers(first, ITEMS)
    first.close()
    second = inbox(home)
    opened = Counted(second, monkeypatch)
    kept = answers(second, ITEMS)
    second.close()
    assert opened.count < len(messages) // 50
    assert made == kept
    by_size = sorted((fresh(message) for message in messages), key=lambda each: sorted(each.items()))
    assert sorted(kept.values(), key=lambda each: sorted(each.items())) == by_size  # type: ignore[type-var]


@pytest.mark.parametrize(
    "items", [(b"ENVELOPE",), (USUAL,), (b"BODYSTRUCTURE",), (b"BODY", b"RFC822.SIZE"), (PREVIEW,), ITEMS]
)
def test_asked_for_in_any_order(
    home: Home, items: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
    expected = fresh(TWO_PARTS)
    one = inbox(home)
    assert answers(one, items) == {1: {item: expected[item] for item in items}}
    assert answers(one, ITEMS) == {1: expected}
    one.close()
    two = inbox(home)
    opened = Counted(two, monkeypatch)
    assert answers(two, ITEMS) == {1: expected}
    assert opened.count == 0


@pytest.mark.parametrize("items", [(b"ENVELOPE",), (b"BODYSTRUCTURE",)])
def test_what_a_long_fetch_learnt_another_session_has_at_once(
    home: Home, items: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(CHUNK_LEAST):
        home.deliver(f"{number}.a.h:2,", TWO_PARTS, folder="cur")
    one = inbox(home)
    first = answers(one, items)
    two = inbox(home)
    opened = Counted(two, monkeypatch)
    assert answers(two, items) == first
    assert opened.count == 0
    one.close()
    two.close()


def test_the_structure_first_and_the_envelope_with_it_later(home: Home) -> None:
    home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
    mailbox = inbox(home)
    answers(mailbox, (b"BODYSTRUCTURE",))
    expected = fresh(TWO_PARTS)
    both = (b"ENVELOPE", b"BODYSTRUCTURE")
    assert answers(mailbox, both) == {1: {item: expected[item] for item in both}}
    mailbox.close()


UNUSUAL = {
    "long": TWO_PARTS + b"x\n" * ORDINARY,
    "in many parts": TWO_PARTS + b"--b\n\npart\n" * (FEW_PARTS + 1),
    "many lines like delimiters": b"Subject: one part\n\n" + b"--b\n" * (FEW_PARTS + 1),
    "a long header": b"X-Filler: x\n" * FIRST_READ + TWO_PARTS,
    "nothing but a long header": b"Subject: a\n" + b"X-Filler: x\n" * FIRST_READ,
    "stored with CRLF": TWO_PARTS.replace(b"\n", b"\r\n"),
    "no header": b"\nbody\n",
    "empty": b"",
}


@pytest.mark.parametrize("message", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("items", [(b"ENVELOPE", b"RFC822.SIZE"), (b"RFC822.SIZE",), ITEMS[:4], (USUAL,)])
def test_messages_that_are_read_in_steps_are_answered_as_ordinary_ones(
    home: Home, items: tuple[bytes, ...], message: bytes
) -> None:
    home.deliver("1.a.h:2,", message, folder="cur")
    home.deliver("2.a.h:2,", TWO_PARTS, folder="cur")
    mailbox = inbox(home)
    for expected, found in zip(
        (fresh(message), fresh(TWO_PARTS)), answers(mailbox, items).values(), strict=True
    ):
        assert found == {item: expected[item] for item in items}
    for size, each in zip(mailbox.columns().sizes, (message, TWO_PARTS), strict=True):
        assert size in ((-1, len(crlf(each))) if items == (USUAL,) else (len(crlf(each)),))


def test_a_lazy_preview_is_nil_until_somebody_had_the_time(home: Home) -> None:
    home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
    mailbox = inbox(home)
    assert answers(mailbox, (PREVIEW_LAZY,)) == {1: {PREVIEW_LAZY: b"NIL"}}
    answers(mailbox, (PREVIEW,))
    assert answers(mailbox, (PREVIEW_LAZY,)) == {1: {PREVIEW_LAZY: b'"one"'}}


def test_one_reading_of_the_header_serves_envelope_fields_and_keys(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
    mailbox = inbox(home)
    opened = Counted(mailbox, monkeypatch)
    answers(mailbox, (b"ENVELOPE",))
    answers(mailbox, (USUAL, ALL_FIELDS))
    [header] = mailbox._messages.headers([1])
    assert header is not None
    assert header.get(b"subject") == b"two"
    assert opened.count == 1


def test_headers_of_messages_that_are_gone_are_none(home: Home) -> None:
    home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
    mailbox = inbox(home)
    found = mailbox._messages.headers([1, 9, 1])
    assert [None if each is None else each.get(b"subject") for each in found] == [b"two", None, b"two"]


class TestSettings:
    def test_what_is_never_kept_is_made_each_time(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
        never = {"mail_never_cache_fields": ("imap.envelope", "imap.bodystructure")}
        answers(inbox(home, **never), ITEMS)
        home.close()
        mailbox = inbox(home, **never)
        opened = Counted(mailbox, monkeypatch)
        assert answers(mailbox, (b"ENVELOPE", b"BODY")) == {
            1: {item: fresh(TWO_PARTS)[item] for item in (b"ENVELOPE", b"BODY")}
        }
        assert opened.count == 0
        answers(mailbox, (b"BODYSTRUCTURE",))
        assert opened.count == 1

    def test_no_field_is_kept_where_one_may_not_be(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
        mailbox = inbox(home, mail_never_cache_fields=("hdr.subject",))
        answers(mailbox, (USUAL,))
        opened = Counted(mailbox, monkeypatch)
        answers(mailbox, (USUAL,))
        assert opened.count == 1

    def test_structure_is_kept_at_first_sight_where_it_is_asked_for(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
        mailbox = inbox(home, mail_cache_fields=("imap.bodystructure",))
        answers(mailbox, (b"ENVELOPE",))
        opened = Counted(mailbox, monkeypatch)
        answers(mailbox, (b"BODYSTRUCTURE",))
        assert opened.count == 0

    def test_small_mailboxes_have_no_cache(self, home: Home) -> None:
        home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
        answers(inbox(home, mail_cache_min_mail_count=2), ITEMS)
        home.close()
        assert not (home.root / cachefile.HEAD).exists()


def test_index_in_memory_writes_nothing(home: Home) -> None:
    home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
    mailbox = inbox(home, mail_location="maildir:~/Maildir:INDEX=MEMORY")
    answers(mailbox, ITEMS)
    assert answers(mailbox, ITEMS) == {1: fresh(TWO_PARTS)}
    mailbox.close()
    assert [name for name in os.listdir(home.root) if name.startswith("dovecotpy.cache")] == []


def test_a_copied_cache_of_another_mailbox_is_not_believed(home: Home) -> None:
    home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
    store = home.store()
    store.create(b"Other")
    answers(inbox(home), ITEMS)
    other_message = TWO_PARTS.replace(b"two", b"three")
    (home.root / ".Other" / "cur" / "1.b.h:2,").write_bytes(other_message)
    home.close()
    for path in home.root.glob("dovecotpy.cache*"):
        (home.root / ".Other" / path.name).write_bytes(path.read_bytes())
    other = home.store().open(b"Other", writable=True)
    assert answers(other, ITEMS) == {1: fresh(other_message)}


def test_a_record_speaks_of_its_fields_as_the_header_does() -> None:
    header = Header(b" odd: 1\r\nSubject : a\r\nSubject: b\r\n c\r\nX-Other: d\r\nTo:e\0f\r\n\r\n")
    record = fields.pack(header)
    if record is not None:
        names = [b"subject", b"to"]
        assert fields.Selection(names).answer(record) == header.fields(names)


def test_answers_that_are_wrong_on_disk_are_found_by_verify_and_made_anew(home: Home) -> None:
    home.deliver("1.a.h:2,", TWO_PARTS, folder="cur")
    mailbox = inbox(home)
    box = mailbox._messages._rendered
    answers(mailbox, (b"BODYSTRUCTURE",))
    kinds = mailbox._messages._kept.of_header
    for waiting in box._waiting.values():
        waiting.clear()
    box.keep(kinds, 1, [b"(wrong)"] * len(kinds))
    mailbox.close()
    assert answers(inbox(home), (b"ENVELOPE",)) == {1: {b"ENVELOPE": b"(wrong)"}}
    home.close()
    found = maintenance.verify(
        lambda: home.inbox(), lambda: home.store().open(b"INBOX", writable=False, index=False), print
    )
    assert any("ENVELOPE" in line for line in found), found
    assert answers(inbox(home), (b"ENVELOPE",)) == {1: {b"ENVELOPE": fresh(TWO_PARTS)[b"ENVELOPE"]}}
