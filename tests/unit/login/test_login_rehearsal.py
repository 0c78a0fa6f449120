"""The rehearsal of the login fork server: it plays whole logins and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dovecotpy.ipc import handover
from dovecotpy.ipc.handover import HandOver
from dovecotpy.login import policy, rehearsal
from dovecotpy.login.imap import ImapLogin
from dovecotpy.login.logline import LogFormat
from dovecotpy.login.worker import Service
from tests.descriptors import open_descriptors
from tests.unit.login.login_stage import settings


def service(**changes: Any) -> Service:
    given = settings(**changes)
    rules = policy.from_settings(given, verbose=False)
    return Service(rules, None, LogFormat("user=<%u>", "%$: %s"), ("default",), 10, True, True, "", ImapLogin)


@pytest.mark.parametrize("changes", [{}, {"ssl": "required", "disable_plaintext_auth": True}])
def test_whole_logins_are_played_and_nothing_is_left(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[HandOver] = []

    def encode(message: HandOver) -> bytes:
        handed.append(message)
        return original(message)

    original = handover.encode
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(handover, "encode", encode)
    descriptors = open_descriptors()
    login_dir = tmp_path / "login"
    login_dir.mkdir()
    rehearsal.rehearse(service(**changes), str(login_dir))
    assert [message.tag for message in handed] == ["a"] * rehearsal.TIMES
    assert os.listdir(login_dir) == []
    assert Path.cwd() == tmp_path
    assert open_descriptors() <= descriptors


def test_without_a_place_there_is_no_rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    rehearsal.rehearse(service(), str(tmp_path / "file"))
    assert os.listdir(tmp_path) == ["file"]
    assert Path.cwd() == tmp_path
