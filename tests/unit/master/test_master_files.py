"""Directories, bound sockets, certificates on disk, and how an end reads."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from dovecotpy.ipc import fdpass
from dovecotpy.master import directories, reasons
from dovecotpy.master.certificates import SETTLED, Certificates
from dovecotpy.master.directories import Owner
from dovecotpy.master.pidfile import AlreadyRunning

OWNER = Owner(None)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_are_made_with_their_modes(tmp_path: Path) -> None:
    base = tmp_path / "run" / "dovecot"
    assert directories.prepare_base(str(base)) == []
    assert directories.prepare_login(str(base / "login"), OWNER) == []
    assert [mode(path) for path in (base, base / "login", base / "login" / "mail")] == [0o755, 0o750, 0o750]


def test_an_unusable_base_dir_and_a_wrong_login_dir_are_corrected_and_said(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir(mode=0o700)
    assert directories.prepare_base(str(base)) == [f"Fixing permissions of {base} to be world-readable"]
    assert mode(base) == 0o755
    login = base / "login"
    login.mkdir(mode=0o777)
    login.chmod(0o777)
    assert directories.prepare_login(str(login), OWNER) == [
        f"Corrected permissions for login directory {login}"
    ]
    assert mode(login) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_login_group_owns_the_login_directory(tmp_path: Path) -> None:
    login = tmp_path / "login"
    directories.prepare_login(str(login), Owner(65534))
    assert (login.stat().st_uid, login.stat().st_gid) == (0, 65534)
    sock = directories.bind_auth(str(login / "default"), Owner(65534))
    found = (login / "default").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 65534, 0o660)
    sock.close()


def test_stale_sockets_go_and_other_files_stay(tmp_path: Path) -> None:
    login = tmp_path / "login"
    directories.prepare_login(str(login), OWNER)
    directories.bind_auth(str(login / "default"), OWNER).close()
    directories.bind_queue(str(login / "mail" / "imap"), OWNER).close()
    (login / "ssl-parameters.dat").write_text("x")
    directories.prepare_login(str(login), OWNER)
    assert sorted(os.listdir(login)) == ["mail", "ssl-parameters.dat"]
    assert os.listdir(login / "mail") == []


def test_a_socket_in_use_means_that_a_server_runs(tmp_path: Path) -> None:
    login = tmp_path / "login"
    directories.prepare_login(str(login), OWNER)
    sock = directories.bind_auth(str(login / "default"), OWNER)
    with pytest.raises(AlreadyRunning) as caught:
        directories.prepare_login(str(login), OWNER)
    assert str(caught.value) == f"Dovecot is already running? Socket already exists: {login}/default"
    sock.close()


def test_only_sockets_of_auth_processes_are_removed_from_base_dir(tmp_path: Path) -> None:
    for name in ("auth-master.77", "auth-worker.77", "dict-server"):
        directories.bind_auth(str(tmp_path / name), OWNER).close()
    directories.remove_stale(str(tmp_path))
    assert os.listdir(tmp_path) == ["dict-server"]


def test_the_mail_queue_tells_who_sends(tmp_path: Path) -> None:
    queue = directories.bind_queue(str(tmp_path / "imap"), OWNER)
    assert mode(tmp_path / "imap") == 0o660
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(tmp_path / "imap"))
        sender.send(b"x")
    packet = fdpass.receive(queue)
    assert packet.credentials is not None
    assert packet.credentials.pid == os.getpid()
    directories.unlink_bound(queue)
    assert not (tmp_path / "imap").exists()


def test_a_path_that_is_too_long_names_itself(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 120))
    with pytest.raises(OSError, match=r"bind\(.*x\) failed"):
        directories.bind_auth(path, OWNER)


def test_a_certificate_is_new_when_it_has_settled(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert", tmp_path / "key"
    certificate.write_text("1")
    watch = Certificates([str(certificate), "", str(key)])
    assert not watch.changed(0.0)
    certificate.write_text("12")
    assert not watch.changed(1.0)
    key.write_text("k")
    assert not watch.changed(2.0)
    assert not watch.changed(2.0 + SETTLED - 0.1)
    assert watch.changed(2.0 + SETTLED)
    assert not watch.changed(3.0 + SETTLED)
    replacement = tmp_path / "new"
    replacement.write_text("12")
    os.replace(replacement, certificate)
    assert not watch.changed(10.0)
    assert watch.changed(10.0 + SETTLED)


@pytest.mark.parametrize(
    ("status", "kind", "said_why", "text"),
    [
        (0, "imap", False, ""),
        (0, "unknown", False, "unknown child 7 exited successfully"),
        (11, "imap", False, "child 7 (imap) killed with signal 11"),
        (9 | 0x80, "login", False, "child 7 (login) killed with signal 9"),
        (89 << 8, "login", False, "child 7 (login) returned error 89 (Fatal failure)"),
        (89 << 8, "auth", True, ""),
        (80 << 8, "log", False, "child 7 (log) returned error 80 (Can't open log file)"),
        (81 << 8, "imap", False, "child 7 (imap) returned error 81 (Can't write to log file)"),
        (82 << 8, "imap", False, "child 7 (imap) returned error 82 (Internal logging error)"),
        (83 << 8, "imap", False, "child 7 (imap) returned error 83 (Out of memory)"),
        (84 << 8, "imap", False, "child 7 (imap) returned error 84 (exec() failed)"),
        (1 << 8, "auth-worker", True, "child 7 (auth-worker) returned error 1"),
    ],
)
def test_how_an_end_reads(status: int, kind: str, said_why: bool, text: str) -> None:
    assert reasons.describe(7, kind, status, said_why) == text
    assert reasons.abnormal(status) is (status != 0)
