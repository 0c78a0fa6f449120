"""`make install DESTDIR=` puts files where a distribution expects them and never over an administrator's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

EXPECTED = {
    "etc/dovecot/dovecot.conf": 0o600,
    "etc/dovecot/dovecot-mysql.conf": 0o600,
    "etc/logrotate.d/dovecotpy": 0o644,
    "etc/sysctl.d/dovecotpy.conf": 0o644,
    "etc/init.d/dovecotpy": 0o755,
    "etc/conf.d/dovecotpy": 0o644,
    "usr/libexec/dovecot/imap": 0o755,
    "usr/share/man/man8/dovecotpy.8": 0o644,
    "usr/share/man/man8/dovecotpy-adm.8": 0o644,
    "usr/share/man/man8/dovecotpy-mkcert.8": 0o644,
    "usr/share/man/man1/dovecotpy-pw.1": 0o644,
}


def install(destination: Path) -> None:
    subprocess.run(
        ["make", "-s", "install", f"DESTDIR={destination}", "PREFIX=/usr"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_every_file_has_its_place_and_mode(tmp_path: Path) -> None:
    install(tmp_path)
    found = {
        str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert found == EXPECTED


def test_a_second_install_keeps_what_the_administrator_wrote(tmp_path: Path) -> None:
    install(tmp_path)
    own = tmp_path / "etc/dovecot/dovecot.conf"
    own.write_text("protocols = imap\n")
    install(tmp_path)
    assert own.read_text() == "protocols = imap\n"


@pytest.mark.skipif(not shutil.which("man"), reason="man is not installed")
@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "man").iterdir()), ids=lambda page: page.name)
def test_manual_pages_are_well_formed(page: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", str(page)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    assert "NAME" in done.stdout
