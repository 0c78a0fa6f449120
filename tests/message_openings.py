"""What is read fast of a message's beginning is what is read of its header with care."""

from __future__ import annotations

from dovecotpy.message import fields
from dovecotpy.message.envelope import envelope, kept_envelope
from dovecotpy.message.fields import KEPT, Fields, Selection, opening, scan
from dovecotpy.message.header import USUAL, header_end, parse_header
from dovecotpy.message.text import header_key, opening_key
from dovecotpy.search.keys import links
from dovecotpy.storage.objectid import thread_id

SELECTIONS = {
    names: Selection(names)
    for names in ((b"from", b"to", b"subject", b"date"), (b"subject",), (b"list-id", b"x-mailer"), KEPT)
}


def check_opening(data: bytes) -> Fields | None:
    """What `scan` found of a message, compared with what is found without it; None if it declined."""
    found = opening(data)
    if found is None:
        return None
    header = parse_header(data[: header_end(data)])
    assert header.raw == found.replace(b"\n", b"\r\n") + b"\r\n\r\n", data
    assert opening_key(found) == header_key(header), data
    scanned = scan(found)
    if scanned is None:
        return None
    record = scanned.record
    for each in (scanned, fields.unpack(record)):
        assert each.record == record, data
        assert each.usual == header.usual, data
        for name in USUAL:
            assert (each.get(name), each.all(name)) == (header.get(name), header.all(name)), data
        assert kept_envelope(each) == envelope(header), data
        assert links(each) == links(header), data
        assert thread_id(each) == thread_id(header), data
    for names, selection in SELECTIONS.items():
        assert selection.answer(record) == header.fields(names), data
    assert fields._pack_slowly(header) == record, data
    return scanned
