"""The comparator i;unicode-casemap (RFC 5051): octet strings that are equal where people see the same letters.

Each character becomes its titlecase form, then its full compatibility decomposition, then UTF-8. Substring
search and ordering are those of the octets.
"""

from __future__ import annotations

from unicodedata import normalize, unidata_version

VERSION = f"casemap-1 unicode-{unidata_version}"
"""Changes whenever stored keys would differ from new ones."""

MAX_KNOWN = 20000
"""Characters whose key is remembered; then the memory starts anew."""


class _Keys(dict[int, str]):
    """Code point to key, worked out when it is first met."""

    def __missing__(self, point: int) -> str:
        if len(self) >= MAX_KNOWN:
            self.clear()
        character = chr(point)
        title = character.title()
        key = normalize("NFKD", title if len(title) == 1 else character)
        self[point] = key
        return key


_keys = _Keys()


def collation_key(text: str) -> bytes:
    """The key of a text. Never raises; a lone surrogate stays one."""
    if text.isascii():
        return text.encode("ascii").upper()
    return text.translate(_keys).encode("utf-8", "surrogatepass")
