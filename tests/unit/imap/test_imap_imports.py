"""What a session brings into a mail process, and the wire into a login process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dovecotpy.config import specialuse
from dovecotpy.imap import list_options
from tests.lean import HEAVY

ROOT = Path(__file__).resolve().parents[3]
WIRE = ("command", "name", "pattern", "response", "sequence", "tokens")


def imported(statement: str) -> set[str]:
    """Modules that a fresh interpreter without site packages has after a statement."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_session_is_lean() -> None:
    modules = imported("import dovecotpy.imap.session")
    assert not HEAVY & modules
    assert not {
        name
        for name in modules
        if name.startswith(("dovecotpy.login", "dovecotpy.auth", "dovecotpy.mail", "dovecotpy.config"))
    }


def test_uses_are_those_of_the_setting() -> None:
    """Sessions have no configuration, so what a mailbox can be for stands twice."""
    assert {use.encode() for use in specialuse.USES} == list_options.USES


def test_the_wire_is_pure() -> None:
    modules = imported("import " + ", ".join(f"dovecotpy.imap.wire.{name}" for name in WIRE))
    own = {name for name in modules if name.startswith("dovecotpy")}
    assert own == {
        "dovecotpy",
        "dovecotpy.imap",
        "dovecotpy.imap.wire",
        *(f"dovecotpy.imap.wire.{name}" for name in WIRE),
    }
    assert not {"socket", "select", "os.socket"} & modules
