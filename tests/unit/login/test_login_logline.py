"""The lines of the log: their format, and what a stranger cannot write into them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.login.logline import MAX_USER, LogFormat, sanitised

DEFAULT = LogFormat("user=<%u> method=%m rip=%r lip=%l %c", "%$: %s")
FILTER = Path("/etc/fail2ban/filter.d/dovecot.conf")


def line(message: str, **values: str) -> str:
    return DEFAULT.line(message, {"u": "", "m": "", "r": "192.0.2.1", "l": "192.0.2.9", "c": "", **values})


def test_elements_without_a_value_are_left_out() -> None:
    assert (
        line("Disconnected (no auth attempts)")
        == "Disconnected (no auth attempts): rip=192.0.2.1, lip=192.0.2.9"
    )
    full = line("Login", u="joe", m="PLAIN", c="TLS")
    assert full == "Login: user=<joe>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.9, TLS"


def test_the_first_variable_decides_and_text_alone_stays() -> None:
    made = LogFormat("imap %% [%u:%m] %Lm=%u", "%s <- %$")
    assert made.line("Login", {"u": "", "m": "PLAIN"}) == "imap, %, plain= <- Login"


def test_modifiers_and_long_names() -> None:
    made = LogFormat("%Lu %{user} %1.2u", "%$ %s")
    assert made.line("x", {"u": "ABCD"}) == "x abcd, ABCD, BC"
    assert made.uses("u") and not made.uses("k")


@given(st.text(max_size=200))
def test_a_name_cannot_leave_its_place(name: str) -> None:
    told = sanitised(name, MAX_USER)
    assert len(told) <= MAX_USER
    assert told.isprintable() and not set("<>") & set(told)
    found = line("Aborted login (auth failed, 1 attempts)", u=told, m="PLAIN")
    assert found.count(", rip=192.0.2.1, lip=192.0.2.9") == 1
    assert re.match(r"^[^<]*(: user=<[^<>]*>, method=PLAIN|: method=PLAIN), rip=192\.0\.2\.1, lip", found)


LINES = {
    "Aborted login (auth failed, 2 attempts)": True,
    "Disconnected (auth failed, 1 attempts)": True,
    "Disconnected: Inactivity (auth failed, 3 attempts)": True,
    "Disconnected: Too many invalid commands (auth failed, 3 attempts)": True,
    "Login": False,
    "Aborted login (no auth attempts)": False,
    "Disconnected (no auth attempts)": False,
    "Disconnected: Inactivity (no auth attempts)": False,
    "Disconnected (auth service reported temporary failure)": False,
    "Disconnected (aborted authentication)": False,
    "Login attempt failed (authentication failed)": False,
    "Login attempt failed (plaintext authentication disabled)": False,
    "Internal login failure: the cause (internal failure, 1 successful auths)": False,
}
"""What fail2ban's stock filter counts: the end of a session with failed attempts, once, and nothing else."""


@pytest.mark.skipif(not FILTER.exists() or shutil.which("fail2ban-regex") is None, reason="needs fail2ban")
def test_fail2ban_counts_each_session_once(tmp_path: Path) -> None:
    prefix = "Nov 23 12:00:00 host dovecot: imap-login: "
    log = tmp_path / "mail.log"
    hostile = "x>, method=PLAIN, rip=198.51.100.66, lip=1"
    lines = [prefix + line(message, u="joe", m="PLAIN") for message in LINES]
    lines.append(
        prefix + line("Disconnected (auth failed, 1 attempts)", u=sanitised(hostile, MAX_USER), m="PLAIN")
    )
    log.write_text("\n".join(lines) + "\n")
    assert hosts(log) == ["192.0.2.1"] * 5
    matched = subprocess.run(
        ["fail2ban-regex", "--print-all-matched", str(log), str(FILTER)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout.split("Matched line(s):")[1]
    found = {each[1] for each in re.finditer(r"^\|  (Nov .*)$", matched.split("Missed line(s):")[0], re.M)}
    assert found == {text for text, wanted in zip(lines, [*LINES.values(), True], strict=True) if wanted}


def hosts(log: Path) -> list[str]:
    """The addresses that the filter would ban, once for each line."""
    done = subprocess.run(
        ["fail2ban-regex", "-o", "ip", str(log), str(FILTER)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.split()
