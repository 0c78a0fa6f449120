"""What we answer otherwise than Debian's Dovecot about real messages: each message and item stands in peer_differences.tsv."""

from __future__ import annotations

from pathlib import Path

from tests.integration.peer import Peer, differences, lay_out
from tests.server import Server

TABLE = Path(__file__).with_name("peer_differences.tsv")

REASONS = {
    "white space": "white space around dates, Message-IDs and other values is cut off; Dovecot keeps what folding leaves",
    "line before a boundary": "the line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1), also behind a closed inner"
    " multipart, where Dovecot counts it to the part",
    "empty message": "the header of a part that encloses a message ends with its empty line, also where the message is empty and a boundary"
    " follows; Dovecot counts that line to the boundary",
    "last boundary": 'a boundary without quotation marks is read to the end of its word; Dovecot reads it up to its "=", takes the closing'
    " delimiter for one more boundary and shows an empty part",
    "type": "an unreadable Content-Type is text/plain, text alone too (RFC 2045 section 5.2); Dovecot shows empty strings",
    "no boundary": "a multipart without a boundary is text/plain (RFC 2045 section 5.2); Dovecot shows a multipart of one empty part",
    "boundary": "boundaries that RFC 2046 forbids: white space at the end is cut off, over 200 octets the whole is one leaf, and one of"
    " escaped quotation marks is no boundary of parts without text",
    "depth": "100 multiparts inside each other are taken apart before the rest is one leaf without parameters; Dovecot stops one earlier",
    "address": "addresses that follow no grammar: what stands in angle brackets is the address and all before it the name, empty names are"
    " NIL, <> alone is nobody, and what cannot be read keeps its text; Dovecot reads up to the first octet that does not fit",
    "broken field": "parameters, encodings and dispositions that follow no grammar: parameters stand in the sender's order, a value may hold"
    " a slash, an empty disposition is NIL, what follows an encoding's first word is ignored; Dovecot drops or cuts them",
    "NUL": "NUL is sent as 0x80 and does not end or double a field",
    "encoding alone": "an encoding counts without MIME-Version and Content-Type too, as mail is read by it; Dovecot takes no notice of it",
}


def table() -> dict[tuple[str, str], str]:
    """The reason for each message and item. Raises AssertionError where one stands there that REASONS does not explain."""
    found = {}
    for line in TABLE.read_text().splitlines():
        name, reason, items = line.split("\t")
        assert reason in REASONS, line
        found.update({(name, item): reason for item in items.split("; ")})
    return found


def compare(directory: Path, mail: list[tuple[str, bytes]]) -> None:
    """Both servers are asked all about these messages; what differs is what the table says. Raises AssertionError."""
    messages = [message for _, message in mail]
    names = [name for name, _ in mail]
    with Server(directory) as server:
        lay_out(server.home("joe") / "Maildir", messages)
        lay_out(directory / "peer" / "Maildir", messages)
        server.give(directory / "peer")
        # Without an index, for what Dovecot answers from its cache depends on what it chose to keep.
        there = directory / "peer" / "Maildir"
        with server.logged_in() as ours, Peer(there, mail_location=f"maildir:{there}:INDEX=MEMORY") as theirs:
            ours.sock.settimeout(100)
            found = {(each.message, each.item): each for each in differences(ours, theirs, names)}
        assert "Traceback" not in server.log()
    expected = {key for key in table() if key[0] in set(names)}
    new = [str(found[key])[:2000] for key in sorted(found.keys() - expected)]
    assert not new, f"{len(new)} differences that the table does not have:\n" + "\n".join(new[:20])
    gone = sorted(expected - found.keys())
    assert not gone, f"in the table, but alike by now, remove them: {gone}"
