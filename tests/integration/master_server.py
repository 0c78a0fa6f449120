"""Starts a real master with the children of `master_child.py`: `master_server.py CONFIG [-F]`; the log process is the real one."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from dovecotpy.master import plan, start  # noqa: E402

KINDS = ("auth", "auth-worker", "login", "mail")

if __name__ == "__main__":
    fake = {kind: (sys.executable, "-I", str(HERE / "master_child.py"), kind) for kind in KINDS}
    options = start.Options(sys.argv[1], foreground="-F" in sys.argv)
    sys.exit(start.start(options, {**plan.commands(), **fake}))
