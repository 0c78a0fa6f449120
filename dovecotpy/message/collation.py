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
FEW = 24
"""Different characters beyond ASCII up to which replacing each one in a long text is faster than looking up every character of it."""
_ASCII = bytes(range(128))


class _Octets(dict[str, tuple[bytes, bytes] | None]):
    """Character to its own octets and those of its key; None if the key's characters have other keys in their turn."""

    def __missing__(self, character: str) -> tuple[bytes, bytes] | None:
        if len(self) >= MAX_KNOWN:
            self.clear()
        key = _keys[ord(character)]
        settled = all(each.isascii() or _keys[ord(each)] == each for each in key)
        found = (_utf8(character), _utf8(key)) if settled else None
        self[character] = found
        return found


_octets = _Octets()


def collation_key(text: str) -> bytes:
    """The key of a text. Never raises; a lone surrogate stays one."""
    if text.isascii():
        return text.encode("ascii").upper()
    return _key(text, _utf8(text))


def collation_key_of(octets: bytes) -> bytes:
    """The key of a text in UTF-8. Raises UnicodeDecodeError for what is none."""
    if octets.isascii():
        return octets.upper()
    return _key(octets.decode("utf-8"), octets)


def _key(text: str, octets: bytes) -> bytes:
    beyond = octets.translate(None, _ASCII)
    if len(beyond) * 2 <= len(octets):
        characters = set(beyond.decode("utf-8", "surrogatepass"))
        if len(characters) <= FEW:
            pairs = [_octets[character] for character in characters]
            if None not in pairs:
                return _replaced(octets.upper(), pairs)
    return _utf8(text.translate(_keys))


def _replaced(octets: bytes, pairs: list[tuple[bytes, bytes] | None]) -> bytes:
    for pair in pairs:
        if pair is not None and pair[0] != pair[1]:
            octets = octets.replace(*pair)
    return octets


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
