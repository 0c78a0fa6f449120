"""The command line of `dovecotpy`."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

import dovecotpy
from dovecotpy.cli import main
from dovecotpy.cli.main import Arguments, UsageError, parse


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dovecotpy.cli.main", *words]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "dovecot.conf"
    user = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else "nobody"
    (tmp_path / "users").write_text("joe:{PLAIN}x\n")
    path.write_text(
        f"""base_dir = {tmp_path}/run
protocols = imap
log_path = {tmp_path}/log
info_log_path = {tmp_path}/info
log_timestamp = ""
login_user = {user}
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{tmp_path}/Maildir
first_valid_uid = 1
auth default {{
  mechanisms = plain
  user = {user if os.geteuid() else "root"}
  passdb passwd-file {{
    args = {tmp_path}/users
  }}
  userdb passwd-file {{
    args = {tmp_path}/users
  }}
}}
"""
    )
    return path


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ([], Arguments()),
        (["-F", "-c", "x", "-p"], Arguments(path="x", foreground=True, ask_password=True)),
        (["-n"], Arguments("changed")),
        (["-c", "x", "-a"], Arguments("all", "x")),
        (["--version"], Arguments("version")),
        (["--build-options"], Arguments("build-options")),
        (["--log-error"], Arguments("log-error")),
        (["--exec-mail", "imap"], Arguments("exec-mail", rest=("imap",))),
        (["--exec-mail", "ext", "/bin/x", "-F"], Arguments("exec-mail", rest=("ext", "/bin/x", "-F"))),
    ],
)
def test_options(words: list[str], arguments: Arguments) -> None:
    assert parse(words) == arguments


@pytest.mark.parametrize("words", [["-x"], ["--help"], ["word"], ["-c"], ["--exec-mail"], ["-F", "-n", "-z"]])
def test_what_makes_no_sense(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(words)


def test_an_unknown_option_prints_the_usage_and_ends_with_89() -> None:
    result = run("--nonsense")
    assert result.returncode == 89
    assert result.stderr.startswith("Usage: dovecotpy ")
    assert result.stderr.endswith("Fatal: Unknown argument: --nonsense\n")


def test_the_version_alone() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{dovecotpy.__version__}\n", "")


def test_build_options_have_their_lines() -> None:
    lines = run("--build-options").stdout.splitlines()
    names = [line.split(":")[0] for line in lines]
    assert names == ["Build options", "Mail storages", "SQL drivers", "Passdb", "Userdb"]


def test_a_broken_file_is_named_with_its_line_and_nothing_is_started(config: Path) -> None:
    config.write_text(config.read_text() + "first_vaild_uid = 97\n")
    for options in ((), ("-n",), ("-a",), ("-F",)):
        result = run("-c", str(config), *options)
        assert result.returncode == 89
        lines = result.stderr.splitlines()
        number = len(config.read_text().splitlines())
        assert lines[0].startswith(
            f"Error: Error in configuration file {config} line {number}: Unknown setting: first_vaild_uid"
        )
        assert lines[-1] == f"Fatal: Invalid configuration in {config}"
    assert not (config.parent / "run").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    result = run("-c", str(tmp_path / "none"))
    assert result.returncode == 89
    assert "Can't open configuration file" in result.stderr


def test_what_differs_from_the_defaults(config: Path) -> None:
    result = run("-c", str(config), "-n")
    assert result.returncode == 0
    assert result.stdout.startswith(f"# {dovecotpy.__version__}: {config}\n")
    assert "disable_plaintext_auth: no\n" in result.stdout
    assert len(run("-c", str(config), "-a").stdout.splitlines()) > 80


def test_one_line_of_each_level_goes_to_each_log(config: Path) -> None:
    result = run("-c", str(config), "--log-error")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "Writing to error logs and killing myself..\n"
    assert (config.parent / "info").read_text() == "dovecot: Info: This is Dovecot's info log\n"
    assert (config.parent / "log").read_text() == (
        "dovecot: Warning: This is Dovecot's warning log\n"
        "dovecot: Error: This is Dovecot's error log\n"
        "dovecot: Fatal: This is Dovecot's fatal log\n"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("smtp",), "Fatal: Unknown protocol: 'smtp'\n"),
        (("imap", "elsewhere"), "Fatal: Section not found: 'elsewhere'\n"),
        (("ext",), "Fatal: External binary parameter not given\n"),
        (("ext", "/nonexistent"), "Fatal: execve(/nonexistent) failed: No such file or directory\n"),
    ],
)
def test_mail_sessions_that_cannot_be(config: Path, words: tuple[str, ...], text: str) -> None:
    result = run("-c", str(config), "--exec-mail", *words, USER="joe", HOME=str(config.parent))
    assert (result.returncode, result.stderr) == (89, text)


def test_an_external_program_has_the_settings_in_its_environment(config: Path) -> None:
    result = run(
        "-c",
        str(config),
        "--exec-mail",
        "ext",
        "/usr/bin/env",
        USER="joe",
        HOME="/h",
        TCPREMOTEIP="192.0.2.1",
    )
    given = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert given["USER"] == "joe"
    assert given["IP"] == "192.0.2.1"
    assert given["LOGFILE"] == str(config.parent / "log")
    assert given["INFOLOGFILE"] == str(config.parent / "info")
    assert given["MAIL_LOCATION"] == f"maildir:{config.parent}/Maildir"
    assert "SSL_KEY_PASSWORD" not in given
    assert "PATH" not in given


def test_a_session_without_a_server(config: Path) -> None:
    (config.parent / "Maildir").mkdir()
    command = [sys.executable, "-m", "dovecotpy.cli.main", "-c", str(config), "--exec-mail", "imap"]
    result = subprocess.run(
        command,
        input=b"a select inbox\r\nb logout\r\n",
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "USER": "joe", "HOME": str(config.parent)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(b"* PREAUTH [CAPABILITY IMAP4rev1")
    assert b"a OK [READ-WRITE] Select completed." in result.stdout
    assert b"b OK Logout completed." in result.stdout
    assert "IMAP(joe): Disconnected: Logged out" in (config.parent / "info").read_text()


def test_main_returns_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{dovecotpy.__version__}\n"
