"""The URLs of CATENATE."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.imap.url import InvalidUrl, MessageUrl, parse_url

VALID = {
    b"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER": MessageUrl(
        b"Drafts", 385759045, 20, b"HEADER", None
    ),
    b"/Drafts/;UID=3002": MessageUrl(b"Drafts", 0, 3002, b"", None),
    b"/a/b%20c/;UID=1/;SECTION=1.2.MIME/;PARTIAL=5.10": MessageUrl(b"a/b c", 0, 1, b"1.2.MIME", (5, 10)),
    b"/a/;uid=1/;PARTIAL=5": MessageUrl(b"a", 0, 1, b"", (5, None)),
    b"/%C3%A9/;UID=1": MessageUrl(b"&AOk-", 0, 1, b"", None),
    b";UID=7": MessageUrl(None, 0, 7, b"", None),
    b"/;UID=7/;SECTION=TEXT": MessageUrl(None, 0, 7, b"TEXT", None),
}
INVALID = [
    b"",
    b"/",
    b"/INBOX",
    b"/INBOX/;UID=0",
    b"/INBOX/;UID=4294967296",
    b"/INBOX/;UID=x",
    b"/INBOX/;UID=1/;SECTION=",
    b"/INBOX/;UID=1/;PARTIAL=1.0",
    b"/INBOX/;UID=1/;EXPIRE=2030-01-01",
    b"/INBOX/;UID=1;URLAUTH=anonymous",
    b"/INBOX;UIDVALIDITY=0/;UID=1",
    b"/%FF/;UID=1",
    b"/%0A/;UID=1",
    b"/%4/;UID=1",
    b"//server/INBOX/;UID=1",
    b"/;UIDVALIDITY=4/;UID=1",
    b"/\xe9/;UID=1",
]


@pytest.mark.parametrize("text", VALID)
def test_urls_of_messages(text: bytes) -> None:
    assert parse_url(text) == VALID[text]


@pytest.mark.parametrize("text", INVALID)
def test_what_is_none(text: bytes) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(text)


@given(st.binary(max_size=60) | st.text(";/=UIDSECTON1%20.", max_size=40).map(str.encode))
def test_anything_is_a_url_or_is_not(text: bytes) -> None:
    try:
        url = parse_url(text)
    except InvalidUrl:
        return
    assert 0 < url.uid < 1 << 32
