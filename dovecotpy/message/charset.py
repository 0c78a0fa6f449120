"""Character sets of mail, decoded to Unicode.

Only names of the table below are known: no name from a message reaches Python's codec registry, which would
import modules and holds transformations that are no character sets. Names that promise less than senders use
(GB 2312, Shift_JIS, KS C 5601) mean their usual supersets. What Python lacks and is written in single octets
comes from the C library, as a table: what a stranger sends is never converted by it.
"""

from __future__ import annotations

import codecs
import encodings
import importlib
import sys
from collections.abc import Callable

from dovecotpy.message import iconv

MAX_NAME = 80
"""Octets of a charset name; a longer one is unknown."""

Decode = Callable[[bytes, str], tuple[str, int]]

_PYTHON = {
    "ascii": "us-ascii ascii ansi-x3.4-1968 ansi-x3.4-1986 iso-ir-6 iso646-us us 646 ibm367 cp367 csascii",
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 unicode20utf8 x-unicode20utf8 csutf8 utf-8-mac x-utf-8",
    "utf-7": "utf-7 utf7 unicode-1-1-utf-7 x-unicode-2-0-utf-7 csutf7",
    "utf-16": "utf-16 utf16 ucs-2 iso-10646-ucs-2 unicode csunicode csutf16",
    "utf-16-be": "utf-16be utf-16-be unicodefffe unicodebig csutf16be",
    "utf-16-le": "utf-16le utf-16-le unicodefeff unicodelittle csutf16le",
    "utf-32": "utf-32 utf32 ucs-4 iso-10646-ucs-4 csutf32",
    "utf-32-be": "utf-32be utf-32-be csutf32be",
    "utf-32-le": "utf-32le utf-32-le csutf32le",
    "gb18030": "gb18030 gb18030-2000 gb2312 gb-2312 gb2312-80 gb-2312-80 csgb2312 iso-ir-58 chinese euc-cn euccn gbk x-gbk"
    " cp936 ms936 windows-936 x-euc-cn",
    "hz": "hz-gb-2312 hz-gb hz",
    "big5": "cn-big5",
    "cp950": "big5 big-5 big5-eten csbig5 cp950 ms950 x-x-big5 x-windows-950",
    "big5hkscs": "big5-hkscs big5hkscs hkscs",
    "cp932": "shift-jis shiftjis sjis s-jis x-sjis x-shift-jis ms-kanji csshiftjis cp932 ms932 windows-31j cswindows31j"
    " windows-932",
    "euc_jp": "euc-jp eucjp x-euc-jp x-euc ujis cseucpkdfmtjapanese",
    "iso2022_jp_ext": "iso-2022-jp iso2022-jp csiso2022jp iso-2022-jp-1 iso-2022-jp-ms cp50220 cp50221",
    "iso2022_jp_2": "iso-2022-jp-2 csiso2022jp2",
    "iso2022_jp_3": "iso-2022-jp-3",
    "iso2022_jp_2004": "iso-2022-jp-2004",
    "cp949": "euc-kr euckr ks-c-5601-1987 ks-c-5601 ks-c-5601-1989 ksc5601 ksc-5601 korean cp949 ms949 uhc x-windows-949"
    " windows-949 cseuckr csksc56011987 iso-ir-149 ks-x-1001",
    "iso2022_kr": "iso-2022-kr csiso2022kr",
    "johab": "johab cp1361 ms1361",
}

_SINGLE = {
    "iso8859_1": "iso-8859-1 iso8859-1 iso88591 latin1 latin-1 l1 iso-ir-100 ibm819 cp819 csisolatin1 8859-1",
    "iso8859_2": "iso-8859-2 iso8859-2 iso88592 latin2 latin-2 l2 iso-ir-101 csisolatin2 8859-2",
    "iso8859_3": "iso-8859-3 iso8859-3 latin3 l3 iso-ir-109 csisolatin3",
    "iso8859_4": "iso-8859-4 iso8859-4 latin4 l4 iso-ir-110 csisolatin4",
    "iso8859_5": "iso-8859-5 iso8859-5 cyrillic iso-ir-144 csisolatincyrillic",
    "iso8859_6": "iso-8859-6 iso8859-6 arabic ecma-114 asmo-708 iso-ir-127 csisolatinarabic iso-8859-6-i iso-8859-6-e",
    "iso8859_7": "iso-8859-7 iso8859-7 greek greek8 ecma-118 elot-928 sun-eu-greek iso-ir-126 csisolatingreek",
    "iso8859_8": "iso-8859-8 iso8859-8 hebrew visual logical iso-ir-138 csisolatinhebrew iso-8859-8-i iso-8859-8-e",
    "iso8859_9": "iso-8859-9 iso8859-9 latin5 l5 iso-ir-148 csisolatin5",
    "iso8859_10": "iso-8859-10 iso8859-10 latin6 l6 iso-ir-157 csisolatin6",
    "iso8859_13": "iso-8859-13 iso8859-13 latin7 l7",
    "iso8859_14": "iso-8859-14 iso8859-14 latin8 l8 iso-celtic iso-ir-199",
    "iso8859_15": "iso-8859-15 iso8859-15 iso885915 latin9 latin-9 l9 csisolatin9",
    "iso8859_16": "iso-8859-16 iso8859-16 latin10 l10 iso-ir-226",
    "cp1250": "windows-1250 cp1250 cp-1250 x-cp1250 win-1250 ms-ee",
    "cp1251": "windows-1251 cp1251 cp-1251 x-cp1251 win-1251 ms-cyrl",
    "cp1252": "windows-1252 cp1252 cp-1252 x-cp1252 win-1252 ms-ansi ansi x-ansi x-user-defined",
    "cp1253": "windows-1253 cp1253 cp-1253 x-cp1253 ms-greek",
    "cp1254": "windows-1254 cp1254 cp-1254 x-cp1254 ms-turk",
    "cp1255": "windows-1255 cp1255 cp-1255 x-cp1255 ms-hebr",
    "cp1256": "windows-1256 cp1256 cp-1256 x-cp1256 ms-arab",
    "cp1257": "windows-1257 cp1257 cp-1257 x-cp1257 winbaltrim",
    "cp1258": "windows-1258 cp1258 cp-1258 x-cp1258",
    "cp874": "windows-874 cp874 dos-874 ibm874 tis-620 tis620 iso-8859-11 iso8859-11 iso-ir-166",
    "cp437": "cp437 ibm437 437 cspc8codepage437",
    "cp737": "cp737 ibm737",
    "cp775": "cp775 ibm775",
    "cp850": "cp850 ibm850 850",
    "cp852": "cp852 ibm852 852",
    "cp855": "cp855 ibm855",
    "cp857": "cp857 ibm857",
    "cp858": "cp858 ibm00858 ibm858",
    "cp860": "cp860 ibm860",
    "cp861": "cp861 ibm861",
    "cp862": "cp862 ibm862 dos-862",
    "cp863": "cp863 ibm863",
    "cp864": "cp864 ibm864",
    "cp865": "cp865 ibm865",
    "cp866": "cp866 ibm866 866 csibm866",
    "cp869": "cp869 ibm869",
    "cp1125": "cp1125 ibm1125 cp866u ruscii",
    "koi8_r": "koi8-r koi8r koi8 koi cskoi8r",
    "koi8_u": "koi8-u koi8u koi8-ru",
    "koi8_t": "koi8-t",
    "kz1048": "kz-1048 kz1048 rk1048 strk1048-2002",
    "ptcp154": "ptcp154 pt154 cp154 cyrillic-asian",
    "hp_roman8": "hp-roman8 roman8 r8",
    "mac_roman": "macintosh mac macroman x-mac-roman csmacintosh",
    "mac_cyrillic": "x-mac-cyrillic maccyrillic x-mac-ukrainian",
    "mac_greek": "x-mac-greek macgreek",
    "mac_latin2": "x-mac-ce x-mac-centraleurroman maccentraleurope",
    "mac_turkish": "x-mac-turkish macturkish",
    "mac_iceland": "x-mac-icelandic maciceland",
}

_ICONV = {
    "VISCII": "viscii csviscii",
    "TCVN5712-1": "tcvn tcvn-5712 tcvn5712-1 tcvn5712-1:1993 x-viet-tcvn5712",
    "ARMSCII-8": "armscii-8 armscii8",
    "GEORGIAN-PS": "georgian-ps",
    "GEORGIAN-ACADEMY": "georgian-academy geostd8",
    "ISO-IR-111": "iso-ir-111 ecma-cyrillic koi8-e",
    "ISO646-DE": "din-66003 iso646-de iso-ir-21 x-ia5-german",
    "ISO646-SE": "sen-850200-b iso646-se x-ia5-swedish",
    "ISO646-NO": "ns-4551-1 iso646-no x-ia5-norwegian",
}

_NAMES: dict[str, str] = {
    alias: name
    for names in (_PYTHON, _SINGLE, _ICONV)
    for name, aliases in names.items()
    for alias in aliases.split()
}
_decoders: dict[str, Decode | None] = {}
_WIDE = ("utf-16", "utf-32", "ucs", "iso-10646", "unicode")


class UnknownCharset(ValueError):
    """A charset name that is not known here. SEARCH answers NO [BADCHARSET]."""


def preload() -> None:
    """Load every charset now; nothing is loaded later, as after a chroot nothing can be."""
    for name in (*_PYTHON, *_SINGLE, *_ICONV):
        _load(name)


def known(name: bytes) -> bool:
    """Whether text in this charset can be decoded."""
    return _decoder(name) is not None


def decode(name: bytes, data: bytes) -> str:
    """The text of data in the named charset.

    Raises UnknownCharset for the name, UnicodeDecodeError (a ValueError too) for data that is not of that charset.
    """
    decoder = _decoder(name)
    if decoder is None:
        raise UnknownCharset(name.decode("ascii", "replace"))
    return decoder(data, "strict")[0]


def decode_text(data: bytes, name: bytes = b"") -> str:
    """The text of data, whatever it takes: in the named charset, else UTF-8, else ISO 8859-1. Never raises."""
    if data.isascii() and (not name or ascii_compatible(name)):
        return data.decode("ascii")
    decoder = _decoder(name) if name else None
    if decoder is None or name.lower() in (b"us-ascii", b"ascii"):
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("iso8859-1")
    try:
        return decoder(data, "strict")[0]
    except UnicodeError:
        return decoder(data, "replace")[0]


def is_wide(name: bytes) -> bool:
    """Whether the charset uses several octets for every character, so that an octet 10 need not be a line end."""
    return _normalized(name).startswith(_WIDE)


def settled(name: bytes, data: bytes) -> bytes:
    """The charset of a text that starts with data: UTF-16 and UTF-32 get the octet order of their mark (RFC 2781).

    Without a mark it is big-endian. What follows can then be decoded in pieces.
    """
    python = _NAMES.get(_normalized(name))
    if python == "utf-16":
        return b"utf-16le" if data.startswith(codecs.BOM_UTF16_LE) else b"utf-16be"
    if python == "utf-32":
        return b"utf-32le" if data.startswith(codecs.BOM_UTF32_LE) else b"utf-32be"
    return name


def ascii_compatible(name: bytes) -> bool:
    """Whether octets below 128 always stand for themselves."""
    normalized = _normalized(name)
    return not normalized.startswith(
        (*_WIDE, "iso-2022", "iso2022", "hz", "utf-7", "utf7", "csiso2022", "cp5022")
    )


def _normalized(name: bytes) -> str:
    return name[:MAX_NAME].decode("ascii", "replace").strip(" \t'\"").lower().replace("_", "-")


def _decoder(name: bytes) -> Decode | None:
    if len(name) > MAX_NAME:
        return None
    known_as = _NAMES.get(_normalized(name))
    return _load(known_as) if known_as is not None else None


def _load(name: str) -> Decode | None:
    """The decoder of a charset by our own name for it, the same one each time; None where this machine has none."""
    if name not in _decoders:
        if name in _PYTHON:
            _decoders[name] = codecs.lookup(name).decode
        else:
            table = _table_of(name) if name in _SINGLE else iconv.table(name)
            _decoders[name] = _single(table) if table is not None else None
    return _decoders[name]


def _single(table: str) -> Decode:
    """The decoder of a charset of single octets: a table of 256 characters is all there is to it."""

    def decode(data: bytes, errors: str) -> tuple[str, int]:
        return codecs.charmap_decode(data, errors, table)

    return decode


def _table_of(name: str) -> str:
    """The table of one of Python's codecs. The rest of its module is let go: sixty of them are two megabytes for each fork to copy."""
    module = importlib.import_module(f"encodings.{name}")
    table: str = module.decoding_table
    sys.modules.pop(module.__name__, None)
    delattr(encodings, name)
    return table
