"""`make run`: a whole server below one directory, with a user `demo` (password `demo`) and some mail, in the foreground.

As root: login processes are nobody's, the mail belongs to a numeric uid without a name and mail processes are chrooted. As an
ordinary user: everything runs as that user.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import pwd
import shutil
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from dovecotpy.cli import mkcert

USER = "demo"
PASSWORD = "demo"
MAIL_ID = 61234
"""uid and gid of the demo's mail when root runs it: no user of the system has it"""
ADDRESS = "127.0.0.1"
IMAP_PORT = 10143
IMAPS_PORT = 10993

_MESSAGES = Path(__file__).resolve().parents[2] / "etc" / "demo" / "messages"


def main(arguments: Sequence[str] | None = None) -> int:  # noqa: RET503 (ends in exec)
    """Prepare what is not there yet, then become the server. Returns only when it cannot: exit status 1."""
    parser = argparse.ArgumentParser(prog="make run", description="Run a demo server in the foreground.")
    parser.add_argument("--directory", default="var", help="where everything goes (%(default)s)")
    parser.add_argument("--imap-port", type=int, default=IMAP_PORT)
    parser.add_argument("--imaps-port", type=int, default=IMAPS_PORT)
    options = parser.parse_args(arguments)
    directory = Path(options.directory).resolve()
    for port in (options.imap_port, options.imaps_port):
        if _in_use(port):
            print(f"Something listens on {ADDRESS}:{port} already (another make run?)", file=sys.stderr)
            return 1
    configuration = prepare(directory, options.imap_port, options.imaps_port)
    print(_how_to_try(directory, options.imap_port, options.imaps_port), flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "dovecotpy.cli.main", "-F", "-c", str(configuration)])


def prepare(directory: Path, imap_port: int, imaps_port: int) -> Path:
    """Make configuration, certificate, user database and mailbox where they are missing; the configuration's path."""
    as_root = os.geteuid() == 0
    for name in ("run", "mail", "log"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    if not certificate.exists():
        key.unlink(missing_ok=True)
        mkcert.create(str(certificate), str(key), ["localhost", ADDRESS])
    _make_users(directory / "users.sqlite", as_root)
    _make_mailbox(directory / "mail" / USER, as_root)
    sql = directory / "dovecot-sql.conf"
    _write_private(sql, _sql_configuration(directory))
    configuration = directory / "dovecot.conf"
    _write_private(configuration, _configuration(directory, imap_port, imaps_port, as_root))
    return configuration


def _configuration(directory: Path, imap_port: int, imaps_port: int, as_root: bool) -> str:
    me = pwd.getpwuid(os.geteuid()).pw_name
    login_user = "nobody" if as_root else me
    rights = f"mail_chroot = {directory}/mail" if as_root else "login_chroot = no"
    smallest = min(MAIL_ID, os.geteuid()) if not as_root else MAIL_ID
    return f"""# The demo's configuration, written anew by each `make run`.
base_dir = {directory}/run
protocols = imap imaps
log_path = /dev/stderr
ssl_cert_file = {certificate_of(directory)}
ssl_key_file = {directory}/key.pem
login_user = {login_user}
login_process_per_connection = no
{rights}
first_valid_uid = {smallest}
mail_location = maildir:~/Maildir
verbose_proctitle = yes
auth_verbose = yes

protocol imap {{
  listen = {ADDRESS}:{imap_port}
  ssl_listen = {ADDRESS}:{imaps_port}
}}

auth default {{
  mechanisms = plain login
  user = {"root" if as_root else me}
  passdb sql {{
    args = {directory}/dovecot-sql.conf
  }}
  userdb sql {{
    args = {directory}/dovecot-sql.conf
  }}
}}
"""


def certificate_of(directory: Path) -> Path:
    """Where the demo's certificate is."""
    return directory / "certificate.pem"


def _sql_configuration(directory: Path) -> str:
    return f"""# The demo's user database: SQLite, one table.
driver = sqlite
connect = {directory}/users.sqlite
default_pass_scheme = SSHA256
password_query = SELECT password FROM users WHERE name = '%n'
user_query = SELECT home, uid, gid FROM users WHERE name = '%n'
"""


def _make_users(path: Path, as_root: bool) -> None:
    path.touch(mode=0o600)
    owner = (MAIL_ID, MAIL_ID) if as_root else (os.geteuid(), os.getegid())
    home = f"/{USER}" if as_root else str(path.parent / "mail" / USER)
    salt = os.urandom(8)
    stored = base64.b64encode(hashlib.sha256(PASSWORD.encode() + salt).digest() + salt).decode()
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, password TEXT NOT NULL, home TEXT, uid INT, gid INT)"
        )
        database.execute(
            "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?, ?)", (USER, "{SSHA256}" + stored, home, *owner)
        )
    database.close()


def _make_mailbox(home: Path, as_root: bool) -> None:
    if (home / "Maildir").exists():
        return
    for name in ("cur", "new", "tmp"):
        (home / "Maildir" / name).mkdir(parents=True, mode=0o700)
    for number, message in enumerate(sorted(_MESSAGES.glob("*.eml"))):
        shutil.copyfile(message, home / "Maildir" / "new" / f"1793606400.M{number}P1.demo")
    if as_root:
        for entry in (home, *home.rglob("*")):
            os.chown(entry, MAIL_ID, MAIL_ID)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((ADDRESS, port)) == 0


def _how_to_try(directory: Path, imap_port: int, imaps_port: int) -> str:
    return f"""
dovecotpy serves IMAP on {ADDRESS}:{imap_port} and IMAPS on {ADDRESS}:{imaps_port}. User {USER}, password {PASSWORD}. Try it:

  curl --insecure --user {USER}:{PASSWORD} imaps://{ADDRESS}:{imaps_port}/INBOX --request 'FETCH 1:* (FLAGS ENVELOPE)'
  curl --insecure --user {USER}:{PASSWORD} 'imaps://{ADDRESS}:{imaps_port}/INBOX;MAILINDEX=1'
  python3 -c "import imaplib; i = imaplib.IMAP4('{ADDRESS}', {imap_port}); i.login('{USER}', '{PASSWORD}'); print(i.select())"

New mail: copy a message into {directory}/mail/{USER}/Maildir/new/. Processes: ps axf | grep -E 'dovecot|imap'. End: Ctrl-C.
"""


if __name__ == "__main__":
    sys.exit(main())
