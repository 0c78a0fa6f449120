"""LANGUAGE, before login and after (RFC 5255 section 3): texts are English, whether a client asks for that or not."""

from __future__ import annotations

from collections.abc import Sequence

LANGUAGES = (b"EN", b"i-default")
"""What may be chosen; until then the second one counts (section 3.1)."""
LISTED = b"* LANGUAGE (" + b" ".join(LANGUAGES) + b")\r\n"
MAX_RANGES = 100
"""Language ranges of one command that are looked at."""


def chosen(ranges: Sequence[bytes]) -> bytes | None:
    """The LANGUAGE response for the first range that is served, by look-up (RFC 4647 section 3.4); None for none."""
    for each in ranges[:MAX_RANGES]:
        if each.lower() in (b"default", b"*"):
            return _response(LANGUAGES[0])
        words = each.lower().split(b"-")[:MAX_RANGES]
        while words:
            for language in LANGUAGES:
                if b"-".join(words) == language.lower():
                    return _response(language)
            words.pop()
    return None


def _response(language: bytes) -> bytes:
    return b"* LANGUAGE (" + language + b")\r\n"
