"""The two servers, each in the three shapes: what is configured alike stands side by side here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.mailboxes import OWNER

SHAPES = {
    1: "login and mail process per connection",
    2: "shared login, mail process per connection",
    3: "shared login, reused mail processes",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def private_kib(pid: int) -> int:
    """Private memory of one process; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
    except OSError:
        return 0


class Server:
    """A running server: `port`, and the memory of the processes below it."""

    name = ""

    def __init__(self, directory: Path, shape: int, users: int, homes: Path) -> None:
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        self.directory = directory
        self.port = free_port()
        passwd = directory / "passwd"
        passwd.write_text(
            "".join(f"user{i}:{{PLAIN}}secret:{OWNER}:{OWNER}::{homes}/user{i}::\n" for i in range(users))
        )
        configuration = directory / "dovecot.conf"
        configuration.write_text(self.configuration(shape, passwd))
        self._process = subprocess.Popen(
            self.command(configuration),
            stdin=subprocess.DEVNULL,
            stdout=open(directory / "out", "wb"),  # noqa: SIM115 (the server's for as long as it runs)
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait()

    def configuration(self, shape: int, passwd: Path) -> str:
        """The text of the configuration file."""
        raise TypeError("a server says how it is configured")

    def command(self, configuration: Path) -> list[str]:
        """What starts it in the foreground."""
        raise TypeError("a server says how it is started")

    def _wait(self) -> None:
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.settimeout(2)
                    if probe.recv(10):
                        return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not start: {(self.directory / 'out').read_text()}")

    def processes(self) -> list[int]:
        """All its processes: the members of its session."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        fields = file.read().rpartition(b")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == self._process.pid:
                    found.append(int(name))
        return found

    def private_kib(self) -> int:
        """Private memory of all its processes."""
        return sum(private_kib(pid) for pid in self.processes())

    def processor_seconds(self) -> dict[int, float]:
        """Of each of its processes, to the nanosecond (what ended meanwhile is not there)."""
        taken = {}
        for pid in self.processes():
            try:
                with open(f"/proc/{pid}/schedstat", "rb") as file:
                    taken[pid] = int(file.read().split()[0]) / 1e9
            except (OSError, IndexError):
                continue
        return taken

    def serving(self, client_port: int) -> int:
        """The process that holds the connection of a client, the youngest if several do; 0 if none is found."""
        ends = f":{self.port:04X} 0100007F:{client_port:04X} "
        with open("/proc/net/tcp") as file:
            inodes = [line.split()[9] for line in file if ends in line]
        holders = []
        for pid in self.processes() if inodes else []:
            try:
                for entry in os.scandir(f"/proc/{pid}/fd"):
                    if os.readlink(entry.path) == f"socket:[{inodes[0]}]":
                        holders.append(pid)
            except OSError:
                continue
        return max(holders, default=0)

    def last_words(self) -> str:
        """The last line of its log that is a warning or worse, or empty."""
        try:
            lines = (self.directory / "log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if re.search("Warning|Error|Fatal|Panic", line)), "")

    def stop(self) -> None:
        """End it and whatever it left."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        subprocess.run(["pkill", "-KILL", "-s", str(self._process.pid)], check=False)


class Ours(Server):
    """This server."""

    name = "dovecotpy"

    def configuration(self, shape: int, passwd: Path) -> str:
        return f"""
base_dir = {self.directory}/run
protocols = imap
listen = 127.0.0.1:{self.port}
ssl_disable = yes
disable_plaintext_auth = no
log_path = {self.directory}/log
login_user = nobody
login_process_per_connection = {"yes" if shape == 1 else "no"}
login_processes_count = {16 if shape == 1 else 2}
login_max_processes_count = 1024
max_mail_processes = 2048
mail_max_userip_connections = 0
mail_process_reuse = {"yes" if shape == 3 else "no"}
mail_spare_processes = 8
mail_log_max_lines_per_sec = 0
first_valid_uid = 1
mail_location = maildir:~/Maildir
auth default {{
  mechanisms = plain
  user = root
  passdb passwd-file {{
    args = {passwd}
  }}
  userdb passwd-file {{
    args = {passwd}
  }}
}}
"""

    def command(self, configuration: Path) -> list[str]:
        return [sys.executable, "-m", "dovecotpy.cli.main", "-F", "-c", str(configuration)]


class Dovecot(Server):
    """Debian's Dovecot 2.3."""

    name = "Dovecot"

    def configuration(self, shape: int, passwd: Path) -> str:
        login = "service_count = 1\n  process_min_avail = 16\n  process_limit = 1024"
        if shape > 1:
            login = "service_count = 0\n  process_min_avail = 2\n  process_limit = 2\n  client_limit = 4096"
        return f"""
base_dir = {self.directory}/run
protocols = imap
ssl = no
disable_plaintext_auth = no
log_path = {self.directory}/log
default_vsz_limit = 1G
mail_max_userip_connections = 100000
first_valid_uid = 1
mail_location = maildir:~/Maildir
auth_mechanisms = plain
passdb {{
  driver = passwd-file
  args = {passwd}
}}
userdb {{
  driver = passwd-file
  args = {passwd}
}}
service imap-login {{
  {login}
  inet_listener imap {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
service imap {{
  service_count = {100000 if shape == 3 else 1}
  process_min_avail = 8
  process_limit = 2048
}}
service auth {{
  client_limit = 8192
}}
service anvil {{
  client_limit = 8192
}}
"""

    def command(self, configuration: Path) -> list[str]:
        return [dovecot(), "-F", "-c", str(configuration)]


def dovecot() -> str:
    """The peer's program, or empty where it is not installed."""
    return shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin") or ""
