"""imapflow (npm) reads, searches, flags, moves, uploads and waits in a mailbox of real mail."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.integration.client_world import fill, plain, run, sample
from tests.server import Server, program

INSTALLED = Path(sys.prefix) / "npm"
"""Where the installer of the tests' prerequisites puts packages of npm."""

pytestmark = pytest.mark.skipif(
    not program("node") or not (INSTALLED / "node_modules" / "imapflow").is_dir(),
    reason=f"node, or imapflow in {INSTALLED}, is not installed",
)


def test_a_day_of_work(tmp_path: Path) -> None:
    mail = sample()
    needles = [b"Subject: needle %d\nMessage-ID: <needle%d@example.org>\n\nhay\n" % (n, n) for n in range(3)]
    with Server(tmp_path) as server:
        fill(server, "joe", "", mail + needles)
        script = Path(__file__).with_name("imapflow_task.js")
        result = json.loads(run(["node", str(script), str(INSTALLED), str(server.port)], tmp_path))
        assert "Traceback" not in server.log()
    assert result["exists"] == len(mail) + 3
    sources = [message["source"].encode("latin1") for message in result["messages"]]
    assert [plain(source) for source in sources] == [plain(message) for message in mail + needles]
    assert [message["size"] for message in result["messages"]] == [len(source) for source in sources]
    assert result["messages"][-1]["subject"] == "needle 2"
    last = [message["uid"] for message in result["messages"]][-3:]
    assert result["found"] == result["flagged"] == last
    assert not result["left"]
    assert result["moved"] == [4, 3]
    before, after, milliseconds = result["told"]
    assert after == before + 1 and milliseconds < 5000
    assert {"INBOX", "Moved"} <= set(result["folders"])
    assert result["downloaded"] > 0
