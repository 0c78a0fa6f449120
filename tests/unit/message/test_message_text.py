"""Charsets, encoded words, transfer encodings, collation, and the text that SEARCH sees."""

from __future__ import annotations

import base64
import quopri
import subprocess
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.message import charset, lines, text
from dovecotpy.message.collation import FEW, collation_key
from dovecotpy.message.encoded_word import decode_words
from dovecotpy.message.header import parse_header
from dovecotpy.message.lines import Octets
from dovecotpy.message.structure import parse
from dovecotpy.message.transfer import decode, decoder


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (b"utf-8", b"caf\xc3\xa9", "café"),
        (b"UTF8", b"x", "x"),
        (b"US-ASCII", b"x", "x"),
        (b"iso_8859-1", b"\xe9", "é"),
        (b'"ISO-8859-15"', b"\xa4", "€"),
        (b"Windows-1251", b"\xcf\xf0\xe8", "При"),
        (b"koi8-r", b"\xf0\xd2\xc9", "При"),
        (b"gb2312", b"\xc4\xe3\x81\x30\x81\x30", "你\x80"),
        (b"shift_jis", b"\x87\x40", "①"),
        (b"ks_c_5601-1987", b"\xc0\xcc\xba\xbc", "이볼"),
        (b"iso-2022-jp", b'\x1b$B$"\x1b(B', "あ"),
        (b"big5", b"\xa7\x41", "你"),
        (b"utf-7", b"+AOk-", "é"),
        (b"UTF-16", b"\xff\xfea\0", "a"),
        (b"utf-16be", b"\0a", "a"),
    ],
)
def test_charsets(name: bytes, data: bytes, expected: str) -> None:
    assert charset.known(name)
    assert charset.decode(name, data) == expected
    assert charset.decode_text(data, name) == expected


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"nonsense",
        b"hex",
        b"zlib",
        b"rot13",
        b"unicode_escape",
        b"punycode",
        b"idna",
        b"base64",
        b"x" * 1000,
        b"\xff",
        b"../utf-8",
    ],
)
def test_unknown_charsets(name: bytes) -> None:
    assert not charset.known(name)
    with pytest.raises(charset.UnknownCharset):
        charset.decode(name, b"x")
    assert charset.decode_text(b"caf\xc3\xa9", name) == "café"
    assert charset.decode_text(b"caf\xe9", name) == "café"


def test_wrong_octets() -> None:
    with pytest.raises(UnicodeDecodeError):
        charset.decode(b"utf-8", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        charset.decode(b"us-ascii", b"\xff")
    assert charset.decode_text(b"a\xffb", b"utf-8") == "a\ufffdb"
    assert charset.decode_text(b"a\xe9b", b"us-ascii") == "aéb"


def test_charsets_of_the_c_library() -> None:
    if not charset.known(b"VISCII"):
        pytest.skip("the C library's iconv has no VISCII")
    assert charset.decode(b"viscii", b"Vi\xaet") == "Việt"
    assert charset.decode(b"viscii", b"") == ""
    long = b"Vi\xaet " * 20_000
    assert charset.decode(b"viscii", long) == "Việt " * 20_000
    assert charset.decode(b"tcvn", b"Vi\xd6t") == "Việt"
    with pytest.raises(UnicodeDecodeError):
        charset.decode(b"iso646-de", b"a\xff")
    assert charset.decode_text(b"a\xffb", b"iso646-de") == "a\ufffdb"


@pytest.mark.parametrize("name", [b"iso-2022-cn", b"iso-2022-cn-ext", b"euc-tw"])
def test_no_octet_of_a_stranger_reaches_the_c_librarys_converters(name: bytes) -> None:
    """glibc 2.36 crashes on single octets of ISO-2022-CN-EXT."""
    assert not charset.known(name)
    for octet in range(256):
        charset.decode_text(bytes((octet,)), name)


PRELOADED = """
import builtins, sys
sys.path[:0] = [{root!r}]
from dovecotpy.message import charset
charset.preload()
def refuse(name, *rest, **more):
    raise AssertionError("import of " + name)
builtins.__import__ = refuse
before = set(sys.modules)
for aliases in (*charset._PYTHON.values(), *charset._SINGLE.values(), *charset._ICONV.values()):
    for alias in aliases.split():
        charset.decode_text(b"a\\xff\\x80b", alias.encode())
        charset.decode_text(b"+AOk-\\x1b$B", alias.encode())
assert set(sys.modules) == before, set(sys.modules) - before
"""


def test_nothing_is_imported_after_preload(pytestconfig: pytest.Config) -> None:
    code = PRELOADED.format(root=str(pytestconfig.rootpath))
    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=60)


def test_every_alias_is_known_and_unique() -> None:
    aliases = [
        alias
        for names in (*charset._PYTHON.values(), *charset._SINGLE.values(), *charset._ICONV.values())
        for alias in names.split()
    ]
    assert len(aliases) == len(set(aliases))
    for names in (*charset._PYTHON.values(), *charset._SINGLE.values()):
        assert all(charset.known(alias.encode()) for alias in names.split())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
        (b"=?iso-8859-1*de?Q?a_b?=", "a b"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        (b"=?utf-8?q?a?=\t =?iso-8859-1?q?=E9?= c", "aé c"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        (b"x =?utf-8?q?a?= y", "x a y"),
        (b"=?utf-8?q?a b?=", "a b"),
        (b"=?utf-8?q?unterminated", "=?utf-8?q?unterminated"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=??q?a?=", "=??q?a?="),
        (b"=?nonsense?q?=41?=", "A"),
        (b"=?utf-8?b?R3LD?=", "Gr\ufffd"),
        (b"=?utf-8?b?!!!?=", ""),
        (b"=?utf-8?q?=ZZ?=", "=ZZ"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "café"),
        (b"=?utf-8?q?=?utf-8?q?b?=", "=?utf-8?q?b"),
        (b"", ""),
    ],
)
def test_encoded_words(value: bytes, expected: str) -> None:
    assert decode_words(value) == expected


@given(
    st.lists(
        st.sampled_from(
            [b"=?", b"?=", b"?", b"utf-8", b"q", b"b", b"=", b"_", b" ", b"A", b"\xc3\xa9", b"\0"]
        )
    ).map(b"".join)
)
def test_encoded_words_never_raise(value: bytes) -> None:
    assert isinstance(decode_words(value), str)


@pytest.mark.parametrize("unit", [b"=?", b"=?a", b"=?a?q?", b"=?a?q?b", b"?=", b"=?a?q?b?=", b"=?a?b?A?= "])
@pytest.mark.parametrize("end", [b"", b"?="])
def test_encoded_words_take_linear_time(unit: bytes, end: bytes) -> None:
    start = time.process_time()
    decode_words(unit * (65536 // len(unit)) + end)
    assert time.process_time() - start < 2


@given(st.binary(max_size=300), st.integers(1, 80))
def test_base64_in_any_pieces(data: bytes, chunk: int) -> None:
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    undo = decoder(b"base64")
    pieces = [undo.feed(encoded[at : at + chunk]) for at in range(0, len(encoded), chunk)]
    assert b"".join(pieces) + undo.finish() == data
    assert decode(encoded, b"base64") == data
    assert decode(encoded.rstrip(b"=\r\n"), b"base64") == data


@given(st.binary(max_size=300), st.integers(1, 80))
def test_quoted_printable_in_any_pieces(data: bytes, chunk: int) -> None:
    data = data.replace(b"\r", b"")  # the encoder makes mixed line ends alike
    encoded = quopri.encodestring(data)
    undo = decoder(b"quoted-printable")
    pieces = [undo.feed(encoded[at : at + chunk]) for at in range(0, len(encoded), chunk)]
    assert b"".join(pieces) + undo.finish() == decode(encoded, b"quoted-printable") == data


@pytest.mark.parametrize(
    ("data", "encoding", "expected"),
    [
        (b"QUJD=QUJD", b"base64", b"ABCABC"),
        (b"QUI=QUI=", b"base64", b"ABAB"),
        (b"Q U-J*D\xff", b"base64", b"ABC"),
        (b"QUJDR", b"base64", b"ABC"),
        (b"====", b"base64", b""),
        (b"a=ZZb=", b"quoted-printable", b"a=ZZb"),
        (b"a=\r\nb=3D\r\n", b"quoted-printable", b"ab=\r\n"),
        (b"as is=", b"8bit", b"as is="),
        (b"as is=", b"x-unknown", b"as is="),
    ],
)
def test_broken_transfer_encodings(data: bytes, encoding: bytes, expected: bytes) -> None:
    assert decode(data, encoding) == expected


@given(st.binary(max_size=200), st.sampled_from([b"base64", b"quoted-printable"]))
def test_transfer_decoding_never_raises(data: bytes, encoding: bytes) -> None:
    assert isinstance(decode(data, encoding), bytes)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "CAFÉ"),
        ("cafe\u0301", "CAFÉ"),
        ("ｆｕｌｌ", "FULL"),
        ("①", "1"),
        ("ǆ", "ǅ"),
        ("Ж", "ж"),
        ("ſ", "S"),
        ("abc", "ABC"),
    ],
)
def test_same_letters_same_key(one: str, other: str) -> None:
    assert collation_key(one) == collation_key(other)


def test_the_example_of_rfc_5051() -> None:
    assert collation_key("\u01c4") == "\u0044\u007a\u030c".encode()


def test_sharp_s_has_no_simple_titlecase() -> None:
    assert collation_key("ß") == "ß".encode() != collation_key("ss")


@given(st.text(max_size=40), st.text(max_size=10), st.text(max_size=10))
def test_a_substring_has_a_substring_key(middle: str, before: str, after: str) -> None:
    assert collation_key(middle) in collation_key(before + middle + after)
    assert collation_key(before) + collation_key(middle) == collation_key(before + middle)


@given(st.characters())
def test_the_key_of_a_character_is_its_definition(character: str) -> None:
    title = character.title()
    expected = unicodedata.normalize("NFKD", title if len(title) == 1 else character)
    assert collation_key(character) == expected.encode("utf-8", "surrogatepass")


@given(
    st.text(alphabet=st.sampled_from("aZ \n\r:éßÄǆﬁ\u0345\u1e9eй\ud800日本") | st.characters(), max_size=60)
)
def test_a_text_has_the_keys_of_its_characters_one_by_one(mixed: str) -> None:
    for written in (mixed, mixed + "plain " * 40):
        assert collation_key(written) == b"".join(map(collation_key, written))


@pytest.mark.parametrize("count", [FEW, FEW + 1, 300])
def test_many_different_letters_have_their_keys_too(count: int) -> None:
    letters = [chr(0x100 + number) for number in range(count)]
    written = "".join(letter + "ab" * 3 for letter in letters)
    assert collation_key(written) == b"".join(map(collation_key, written))


MESSAGE = b"""\
Subject: =?utf-8?q?caf=C3=A9?=
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

gr=FC=DF=
e
--b
Content-Type: application/octet-stream

hidden
--b
Content-Type: message/rfc822

Subject: enclosed
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

w6TDtsO8
--b--
"""


def test_what_search_sees() -> None:
    octets = Octets.of(MESSAGE)
    message = parse(octets)
    pieces = list(text.body_text(octets, message))
    body = "".join(piece for piece in pieces if not isinstance(piece, text.PartHeader))
    assert body.split(text.END) == [
        "grüße",
        "Subject: enclosed\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n",
        "äöü",
        "",
    ]
    headers = "".join(piece for piece in pieces if isinstance(piece, text.PartHeader))
    assert headers.split(text.END) == [
        "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n",
        "Content-Type: application/octet-stream\n",
        "Content-Type: message/rfc822\n",
        "",
    ]
    assert text.header_text(message.header) == "Subject: café\nContent-Type: multipart/mixed; boundary=b\n"


def test_a_delivery_report_is_text() -> None:
    octets = Octets.of(b"Content-Type: message/delivery-status\n\nStatus: 5.1.1\n")
    assert "".join(text.body_text(octets, parse(octets))) == "Status: 5.1.1\r\n" + text.END


@pytest.mark.parametrize("encoding", [b"8bit", b"base64", b"quoted-printable"])
@pytest.mark.parametrize(
    "name", ["utf-8", "iso-2022-jp", "utf-16", "utf-16-le", "utf-32-be", "gb18030", "shift_jis"]
)
def test_long_text_comes_in_pieces_without_damage(
    name: str, encoding: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "CHUNK", 1000)
    monkeypatch.setattr(lines, "WHOLE", 1)
    expected = "あいうえお 漢字 and more\r\n" * 500
    encoded = expected.encode(name)
    if encoding == b"base64":
        encoded = base64.encodebytes(encoded)
    elif encoding == b"quoted-printable":
        encoded = b"=\n".join(
            b"".join(b"=%02X" % octet for octet in encoded[at : at + 24]) for at in range(0, len(encoded), 24)
        )
    elif b"\r\n" not in encoded:
        encoded, expected = b"ascii\r\n" * 1000, "ascii\r\n" * 1000
        name = "us-ascii"
    octets = Octets.of(
        b"Content-Type: text/plain; charset=%b\nContent-Transfer-Encoding: %b\n\n%b"
        % (name.encode(), encoding, encoded)
    )
    pieces = list(text.body_text(octets, parse(octets)))
    assert len(pieces) > 5
    assert "".join(pieces).replace("\ufeff", "") == expected + text.END


def test_a_line_without_end_is_cut() -> None:
    octets = Octets.of(b"Content-Type: text/plain\n\n" + b"x" * 5_000_000)
    pieces = list(text.body_text(octets, parse(octets)))
    assert max(map(len, pieces)) <= text.MAX_LINE + text.CHUNK
    assert sum(map(len, pieces)) == 5_000_001


def test_header_text_keeps_every_field() -> None:
    header = parse_header(b"A: 1\r\nno field\r\nB: =?utf-8?q?=C3=BC?=\r\n 2\r\nA: 3\r\n\r\n")
    assert text.header_text(header) == "A: 1\nno field\nB: ü 2\nA: 3\n"
