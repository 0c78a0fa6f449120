from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.storage import flags
from dovecotpy.storage.maildir import filename
from dovecotpy.storage.maildir.filename import Info, Names, parse_info, with_info


def test_system_flags_and_keywords() -> None:
    assert parse_info("2,DFRSTab") == Info(flags.ALL, "ab", "", "")
    assert parse_info("2,") == filename.NOTHING


def test_other_info_means_no_flags() -> None:
    assert parse_info("1,S") == filename.NOTHING
    assert parse_info("") == filename.NOTHING


def test_letters_are_written_in_ascii_order_and_unknown_ones_kept() -> None:
    info = parse_info("2,XSa,extra:2,F")
    assert info == Info(flags.SEEN, "a", "X", ",extra:2,F")
    assert with_info("1.a", info._replace(flags=flags.SEEN | flags.DRAFT)) == "1.a:2,DSXa,extra:2,F"


@given(st.integers(0, flags.ALL), st.sets(st.sampled_from(filename.KEYWORD_LETTERS)))
def test_round_trip(bits: int, letters: set[str]) -> None:
    info = Info(bits, "".join(sorted(letters)), "", "")
    name = with_info("base,S=1", info)
    assert parse_info(name.partition(":")[2]) == info
    assert filename.base_of(name) == "base,S=1"


@given(st.text())
def test_any_info_is_understood(text: str) -> None:
    info = parse_info(text)
    assert parse_info(with_info("b", info).partition(":")[2]).flags == info.flags


def test_order_is_seconds_then_microseconds_then_name() -> None:
    names = ["2.M1P1.h", "1.M20P1.h", "1.M3P9.h", "junk", "1.x", "1.M3P10.h"]
    assert sorted(names, key=filename.order) == [
        "junk",
        "1.x",
        "1.M3P10.h",
        "1.M3P9.h",
        "1.M20P1.h",
        "2.M1P1.h",
    ]


def test_sizes() -> None:
    assert filename.crlf_size("1.a,S=3,W=45") == 45
    assert filename.crlf_size("1.a,S=3") is None
    assert filename.crlf_size("1.a,W=-3") is None
    assert filename.crlf_size("1.a,W=99999999999999999999999") is None
    assert filename.sizes_of("1.a,S=3,W=45") == ",S=3,W=45"
    assert filename.sizes_of("1.a,x=3") == ""


def test_names_never_repeat() -> None:
    names = Names()
    made = [names.make() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(":" not in name and "/" not in name for name in made)


@given(
    st.lists(
        st.from_regex(
            r"(170410000[0-3]|99|17041000001)?\.?(M[0-9]{1,3}(P|Q))?[a-c\u00b2\u0663.]{0,2}", fullmatch=True
        ),
        max_size=12,
    )
)
def test_many_names_come_in_the_order_of_their_keys(names: list[str]) -> None:
    assert filename.in_order(names) == sorted(names, key=filename.order)


def test_digits_of_other_alphabets_are_no_fault() -> None:
    assert filename.order("\u00b2.M\u00b2P") == (0, 0, "\u00b2.M\u00b2P")
