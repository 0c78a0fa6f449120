"""HTML without tags, as a fuzzy search looks through it."""

from __future__ import annotations

import time

import pytest

from dovecotpy.message.preview import untagged


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("won<b>der</b>ful", "wonderful"),
        ("a < b, c > d", "a < b, c > d"),
        ("<!-- x --><P\nclass='a'>y", "y"),
        ("caf&eacute; &#228;", "caf\xe9 \xe4"),
        ("<a \0 b>", "<a \0 b>"),
        ("<<b>x", "<x"),
    ],
)
def test_tags_are_removed(html: str, shown: str) -> None:
    assert untagged(html) == shown


@pytest.mark.parametrize("text", ["<", "<a", "<a ", "<!--"])
def test_what_is_no_tag_takes_linear_time(text: str) -> None:
    began = time.process_time()
    untagged(text * 300_000)
    untagged("<a" + "x" * 1_000_000)
    assert time.process_time() - began < 5
