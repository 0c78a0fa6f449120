"""Base subjects (RFC 5256 section 2.1) against the procedure as it is written, rule by rule."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dovecotpy.search.subject import base_subject


@pytest.mark.parametrize(
    ("subject", "base", "reply"),
    [
        ("", "", False),
        ("plain", "plain", False),
        ("  two   words\t", "two words", False),
        ("Re: a", "a", True),
        ("RE : a", "a", True),
        ("re[2]: a", "a", True),
        ("Fw: a", "a", True),
        ("fwd: a", "a", True),
        ("forward: a", "forward: a", False),
        ("Re: re: Fwd: a", "a", True),
        ("[list] a", "a", False),
        ("[list] Re: a", "a", True),
        ("Re: [list] a", "a", True),
        ("[one] [two] re [three]: a", "a", True),
        ("[list]", "[list]", False),
        ("[one] [two]", "[two]", False),
        ("Re: [list]", "[list]", True),
        ("Re:", "", True),
        ("a (fwd)", "a", True),
        ("a (FWD) (fwd) ", "a", True),
        ("a(fwd)", "a", True),
        ("[fwd: a]", "a", True),
        ("[Fwd: Re: [list] a (fwd)]", "a", True),
        ("[fwd: [fwd: a]]", "a", True),
        ("[fwd:]", "", True),
        ("[fwd: a] b", "b", False),
        ("[a [b] c", "[a [b] c", False),
        ("a]", "a]", False),
        ("Re: \u0130\u0131 a", "\u0130\u0131 a", True),
        ("Re:\r\n\ta", "a", True),
        ("(fwd)", "", True),
        ("Antwort: a", "Antwort: a", False),
    ],
)
def test_what_is_left(subject: str, base: str, reply: bool) -> None:
    assert base_subject(subject) == (base, reply)


def by_the_letter(subject: str) -> tuple[str, bool]:
    """The procedure of section 2.1 with the ABNF of section 5, one removal at a time."""
    text = re.sub(r"[ \t\r\n]+", " ", subject)
    blob = r"\[[^\[\]]*\] ?"
    reply = False
    while True:
        while True:  # (2)
            if text.endswith(" "):
                text = text[:-1]
            elif text[-5:].lower() == "(fwd)":
                text = text[:-5]
                reply = True
            else:
                break
        while True:
            led = re.match(rf"(?:{blob})*(?:re|fwd?) ?(?:{blob})?:", text, re.IGNORECASE | re.ASCII)  # (3)
            if led:
                text = text[led.end() :]
                reply = True
                continue
            if text.startswith(" "):
                text = text[1:]
                continue
            bracketed = re.match(blob, text)  # (4)
            if bracketed and text[bracketed.end() :]:
                text = text[bracketed.end() :]
                continue
            break  # (5)
        if text[:5].lower() == "[fwd:" and text.endswith("]") and len(text) > 5:  # (6)
            text = text[5:-1]
            reply = True
            continue
        return text, reply


PIECES = st.sampled_from(
    ["re", "Re:", "fw", "fwd:", "[fwd:", "(fwd)", "[", "]", "[a]", ":", " ", "  ", "\t", "a", "\u00e9"]
)


@given(st.lists(PIECES, max_size=14).map("".join))
@example("[fwd:]")
@example("[fwd: ]")
def test_as_the_procedure_says(subject: str) -> None:
    assert base_subject(subject) == by_the_letter(subject)


@pytest.mark.parametrize(
    "subject",
    [
        "re:" * 20000,
        "[a]" * 20000,
        "[fwd:" * 12000 + "]" * 12000,
        "(fwd)" * 12000,
        "[" * 60000,
        "re" + " [a" * 20000,
        "re[" * 20000,
    ],
)
def test_enormous_subjects_take_no_time(subject: str) -> None:
    started = time.process_time()
    base_subject(subject)
    assert time.process_time() - started < 1
