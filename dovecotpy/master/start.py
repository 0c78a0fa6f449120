"""The order of the start: configuration, directories, pid file, sockets, detach, processes.

Whatever goes wrong before the server serves is told to who started it, on standard error, with exit status 89.
"""

from __future__ import annotations

import getpass
import os
import resource
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dovecotpy import config
from dovecotpy.child import title
from dovecotpy.config.values import Configuration, Server
from dovecotpy.log.client import describe
from dovecotpy.master import daemon, directories, pidfile
from dovecotpy.master.directories import Owner
from dovecotpy.master.listen import ListenError
from dovecotpy.master.pidfile import AlreadyRunning, PidFile
from dovecotpy.master.plan import IMPORT_ENVIRONMENT, Commands, Plan
from dovecotpy.master.server import Master, Means, ReloadError, StartError, fatal_path, starting_up
from dovecotpy.master.signals import Signals
from dovecotpy.master.sockets import Sockets
from dovecotpy.sandbox import kernel

FATAL = 89
CAPABILITIES = frozenset(
    (
        "chown", "dac_override", "dac_read_search", "fowner", "kill", "setgid", "setuid", "setpcap",
        "net_bind_service", "sys_chroot", "sys_nice", "sys_resource", "audit_write",
    )
)  # fmt: skip
"""What the master and its children may ever need; each child keeps less."""
INOTIFY_LIMIT = "/proc/sys/fs/inotify/max_user_instances"


class Options(NamedTuple):
    """What the command line says."""

    path: str
    """of the configuration"""
    foreground: bool = False
    ask_password: bool = False
    """ask for the key's password on the terminal"""


class Refused(Exception):
    """The server does not start. `lines` are what the administrator reads."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class Checked(NamedTuple):
    """A configuration that can be run, with what is to be said about it."""

    configuration: Configuration
    warnings: tuple[str, ...]


def read(path: str) -> Checked:
    """Read and check a configuration. Raises Refused."""
    try:
        configuration = config.load(path)
    except config.ConfigurationError as error:
        raise Refused([*_errors(error.lines), f"Fatal: Invalid configuration in {path}"]) from error
    findings = config.check(configuration, os.geteuid() == 0)
    errors = [finding.text for finding in findings if finding.fatal]
    if errors:
        raise Refused([*_errors(errors), f"Fatal: Invalid configuration in {path}"])
    return Checked(configuration, (*configuration.warnings, *(finding.text for finding in findings)))


def _errors(lines: Sequence[str]) -> list[str]:
    return [f"Error: {line}" for line in lines]


def start(options: Options, programs: Commands) -> int:
    """Run a server; returns its exit status, in the server itself. `programs`: how each kind of child is executed."""
    try:
        checked = read(options.path)
        prepared = _prepare(options, checked, programs)
    except Refused as refused:
        for line in refused.lines:
            print(line, file=sys.stderr)
        return FATAL
    for line in prepared.warnings:
        print(f"Warning: {line}", file=sys.stderr)
    standard_error = os.dup(2) if prepared.plan.logs_to_stderr else os.open(os.devnull, os.O_WRONLY)
    keep = [*prepared.sockets.descriptors(), prepared.pid_file.descriptor, standard_error]
    become = daemon.foreground if options.foreground else daemon.detach
    readiness = become(prepared.plan.base_dir, keep)
    return _serve(prepared, readiness, standard_error)


class _Prepared(NamedTuple):
    plan: Plan
    sockets: Sockets
    pid_file: PidFile
    warnings: tuple[str, ...]
    load: Callable[[], Plan]


def _prepare(options: Options, checked: Checked, programs: Commands) -> _Prepared:
    """Everything that must be done before the detach. Raises Refused."""
    server = checked.configuration.servers[0]
    plan = Plan(server, programs, _ask(server) if options.ask_password else "")
    warnings = [*checked.warnings, *plan.warnings(), *_more_servers(checked.configuration)]
    try:
        owner = Owner(plan.login_group())
        warnings += directories.prepare_base(plan.base_dir)
        pid_file = pidfile.take(os.path.join(plan.base_dir, pidfile.NAME))
        warnings += [pid_file.warning] if pid_file.warning else []
        directories.remove_stale(plan.base_dir)
        warnings += directories.prepare_login(plan.login_dir, owner)
        sockets = Sockets(owner)
        sockets.open(plan)
    except (AlreadyRunning, ListenError) as error:
        raise Refused([f"Fatal: {error}"]) from error
    except OSError as error:
        raise Refused([f"Fatal: {_explain(error)}"]) from error
    load = _reloader(options, programs, plan)
    return _Prepared(plan, sockets, pid_file, tuple(warnings), load)


def _ask(server: Server) -> str:
    """The password of the TLS key, from the terminal. Raises Refused."""
    path = server.general.text("ssl_key_file")
    try:
        return getpass.getpass(f"Give the password for SSL key file {path}: ")
    except (EOFError, KeyboardInterrupt) as error:
        raise Refused(["Fatal: No password was given"]) from error


def _more_servers(configuration: Configuration) -> list[str]:
    others = [server.name for server in configuration.servers[1:]]
    return [f"server {' '.join(others)}: only the first server of a file is run"] if others else []


def _explain(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename and str(error.filename) not in str(error.strerror) else ""
    return f"{where}{error.strerror or error}"


def _reloader(options: Options, programs: Commands, running: Plan) -> Callable[[], Plan]:
    def load() -> Plan:
        try:
            checked = read(options.path)
        except Refused as refused:
            raise ReloadError([line.partition(": ")[2] for line in refused.lines]) from refused
        plan = Plan(checked.configuration.servers[0], programs, running.key_password)
        now, before = plan.fixed(), running.fixed()
        changed = [name for name in now if now[name] != before[name]]
        if changed:
            raise ReloadError([f"{', '.join(changed)} can't be changed without a restart"])
        return plan

    return load


def _serve(prepared: _Prepared, readiness: daemon.Readiness, standard_error: int) -> int:
    """What the server itself does, from its first breath to its last."""
    environment = _take_environment()
    base_dir = prepared.plan.base_dir
    master: Master | None = None
    try:
        _confine()
        means = Means(prepared.sockets, Signals(), environment, standard_error, prepared.load)
        master = Master(prepared.plan, means)
        _announce(master, prepared)
        try:
            master.start()
        except StartError as error:
            master.log.fatal(str(error))
            master.abort()
            prepared.pid_file.remove()
            readiness.failed([f"Fatal: {error}"])
            return FATAL
        prepared.pid_file.write()
        readiness.ready()
        status = master.run()
    except Exception as error:  # noqa: BLE001 - the last chance to say why the server ends
        if master is not None:
            master.log.fatal(f"Internal error: {describe(error)}")
        _remember(base_dir, describe(error))
        readiness.failed([f"Fatal: Internal error: {describe(error)}"])
        raise
    prepared.pid_file.remove()
    return status


def _take_environment() -> dict[str, str]:
    """Empty the environment but for TZ and what the administrator names; returns what children keep."""
    title.set_title("dovecotpy")
    names = ["TZ", IMPORT_ENVIRONMENT, *os.environ.get(IMPORT_ENVIRONMENT, "").split()]
    kept = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.clear()
    os.environ.update(kept)
    return kept


def _confine() -> None:
    """Descriptors for all children, no capability that none of them needs, orphans come to us."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not kernel.supported():
        return
    kernel.subreaper()
    if os.geteuid() == 0:
        kernel.limit_capabilities(CAPABILITIES)


def _announce(master: Master, prepared: _Prepared) -> None:
    """The first lines of the log: they wait in its socket until it runs."""
    last = _last_words(prepared.plan.base_dir)
    if last:
        master.log.warning(f"Last died with error (see error log for more information): {last}")
    master.log.info(starting_up())
    if os.geteuid() != 0:
        master.log.warning("Not running as root: all processes run as this user, without chroot")
    for line in prepared.warnings:
        master.log.warning(line)
    limit = _inotify_instances()
    sessions = prepared.plan.general.number("max_mail_processes")
    if limit is not None and limit < sessions:
        wanted = f"max_mail_processes={sessions}"
        text = f"fs.inotify.max_user_instances={limit} is lower than {wanted}"
        master.log.warning(f"{text}: sessions of one user beyond it look for new mail less often")


def _inotify_instances() -> int | None:
    try:
        with open(INOTIFY_LIMIT, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _last_words(base_dir: str) -> str:
    path = fatal_path(base_dir)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1024).strip()
        os.unlink(path)
    except OSError:
        return ""
    return text


def _remember(base_dir: str, text: str) -> None:
    descriptor = os.open(fatal_path(base_dir), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
