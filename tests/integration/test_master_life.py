"""A real master with tiny children: start, supervision, reload, end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from master_rig import Client, Rig, alive, environment_of, processes_of, rig, until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def test_the_tree_the_files_and_what_children_are_given(server: Rig) -> None:
    server.started()
    kinds = ("log", "auth-worker", "auth", "mail", "login")
    assert len(server.children()) == len(kinds)
    until(lambda: len(server.workers("login")) == 2 and len(server.workers("mail")) == 2)
    assert (server.base / "master.pid").stat().st_mode & 0o777 == 0o644
    for name in ("login/default", "login/mail/imap"):
        assert (server.base / name).stat().st_mode & 0o777 == 0o660
    for pid in (server.pid, *server.children()):
        given = environment_of(pid)
        if pid != server.pid:
            assert "SECRET" not in given
            assert "TZ" not in given or given["TZ"] == "UTC0"
            assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
            assert os.getpgid(pid) != os.getpgid(server.pid)
        pid_file = str(server.base / "master.pid")
        holds = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        assert (pid_file in holds) is (pid == server.pid)
    assert "starting up" in server.lines()
    server.wait_for(f"auth(default): worker says b'{os.geteuid()}'")


def test_in_the_foreground_it_stays_and_ends_silently_at_an_interrupt(server: Rig) -> None:
    process = subprocess.Popen(
        server.command("-F"), env=server.environment(), cwd=server.directory, start_new_session=True
    )
    try:
        until(lambda: server.said("starting up") and (server.base / "master.pid").exists())
        until(lambda: (server.base / "master.pid").read_text() == f"{process.pid}\n")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert "Killed" not in server.lines()
    assert "signal" not in server.lines()
    assert not (server.base / "master.pid").exists()
    until(lambda: not processes_of(str(server.base)))


def test_the_end_is_complete(server: Rig) -> None:
    server.started()
    pid = server.pid
    client = server.client()
    client.ask("mail joe")
    os.kill(pid, signal.SIGTERM)
    assert client.line() == "bye"
    until(lambda: not alive(pid), 8)
    server.wait_for("Warning: Killed with signal 15")
    assert not (server.base / "master.pid").exists()
    assert os.listdir(server.base / "login") == ["mail"]
    until(lambda: not processes_of(str(server.base)))
    assert "child" not in server.lines()
    with pytest.raises(ConnectionRefusedError):
        server.client()


def test_sessions_outlive_the_server_without_shutdown_clients(server: Rig) -> None:
    server.configure("shutdown_clients = no\n")
    server.started()
    pid = server.pid
    client = server.client()
    session = int(client.ask("mail joe").split()[1])
    os.kill(pid, signal.SIGTERM)
    until(lambda: not alive(pid), 8)
    assert alive(session)
    assert any(
        "log" in os.readlink(f"/proc/{left}/fd/2") or left != session
        for left in processes_of(str(server.base))
    )
    client.close()
    until(lambda: not processes_of(str(server.base)))


def test_a_second_start_says_who_runs(server: Rig) -> None:
    server.started()
    second = server.start()
    assert second.returncode == 89
    path = server.base / "master.pid"
    assert second.stderr == f"Fatal: Dovecot is already running with PID {server.pid} (read from {path})\n"
    server.client().close()


def test_a_stale_pid_file_and_stale_sockets_are_no_obstacle(server: Rig) -> None:
    server.started()
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not processes_of(str(server.base)))
    assert (server.base / "master.pid").exists()
    assert (server.base / "login" / "default").exists()
    server.started()
    assert server.pid != pid
    server.client().close()


def test_nobody_is_left_when_the_master_is_killed(server: Rig) -> None:
    server.started()
    client = server.client()
    client.ask("mail joe")
    os.kill(server.pid, signal.SIGKILL)
    assert client.line() == "bye"
    until(lambda: not processes_of(str(server.base)))


def test_a_busy_port_is_told_to_who_starts_it(server: Rig) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        result = server.start()
    assert result.returncode == 89
    assert result.stderr == f"Fatal: listen(127.0.0.1, {server.port}) failed: Address already in use\n"
    assert not processes_of(str(server.base))


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ("login fail Can't read the key", "Fatal: Can't read the key\n"),
        ("mail version 9.9", "Fatal: Dovecot version mismatch: Master is v"),
        ("auth die", "returned error 1, see the log\n"),
    ],
)
def test_children_that_refuse_end_the_start_with_their_reason(server: Rig, order: str, text: str) -> None:
    server.orders.write_text(order)
    result = server.start()
    assert result.returncode == 89
    assert text in result.stderr
    assert not (server.base / "master.pid").exists()
    until(lambda: not processes_of(str(server.base)))
    assert "Fatal: " in server.lines()


def test_a_log_that_cannot_be_opened_ends_the_start(server: Rig) -> None:
    server.log.mkdir()
    result = server.start()
    assert result.returncode == 89
    assert f"Can't open log file {server.log}: Is a directory" in result.stderr


@pytest.mark.parametrize("kind", ["login", "mail", "auth-worker", "auth"])
def test_a_killed_child_is_reported_and_replaced(server: Rig, kind: str) -> None:
    server.started()
    until(lambda: len(server.workers("login")) == 2)
    victim = server.fork_server(kind)
    os.kill(victim, signal.SIGKILL)
    server.wait_for(f"Error: child {victim} (")
    assert re.search(rf"child {victim} \([a-z -]+\) killed with signal 9", server.lines())
    until(lambda: server.fork_server(kind) != victim if server.children(f"master_child.py {kind}") else False)
    time.sleep(0.3)
    client = server.client()
    assert client.ask("mail joe").startswith("yes ")
    client.close()


@pytest.mark.parametrize("kind", ["login", "mail"])
def test_a_killed_worker_is_reported_and_replaced(server: Rig, kind: str) -> None:
    server.started()
    until(lambda: len(server.workers(kind)) == 2)
    victim = server.workers(kind)[0]
    os.kill(victim, signal.SIGKILL)
    name = {"login": "login", "mail": "imap"}[kind]
    server.wait_for(f"Error: child {victim} ({name}) killed with signal 9")
    until(lambda: len(server.workers(kind)) == 2 and victim not in server.workers(kind))


def test_a_session_survives_its_fork_server_and_its_end_is_seen(server: Rig) -> None:
    server.started()
    client = server.client()
    session = int(client.ask("mail joe").split()[1])
    old = server.fork_server("mail")
    os.kill(old, signal.SIGKILL)
    until(lambda: session in server.children())
    os.kill(session, signal.SIGKILL)
    server.wait_for(f"Error: child {session} (imap) killed with signal 9")
    assert f"unknown child {session}" not in server.lines()
    other = server.client()
    assert other.ask("mail joe").startswith("yes ")


def test_a_killed_log_process_loses_no_later_line(server: Rig) -> None:
    server.started()
    os.kill(server.children("log")[0], signal.SIGKILL)
    for number in range(20):
        client = server.client()
        client.say(f"log line {number}.")
        client.close()
    for number in range(20):
        server.wait_for(f"imap-login: line {number}.")
    assert server.said("(log) killed with signal 9")


def test_crashing_login_processes_are_slowed_down_and_said_once(server: Rig) -> None:
    server.orders.write_text("login crash")
    server.started()
    server.wait_for("Temporary failure in creating login processes, slowing down for now")
    time.sleep(2.5)
    assert server.lines().count("Temporary failure") == 1
    assert server.lines().count("(login) killed with signal 11") < 12
    server.orders.write_text("")
    server.wait_for("Created login processes successfully, unstalling")
    assert server.client().greeting.startswith("hello")


def test_reload_starts_a_new_generation_and_sessions_go_on(server: Rig) -> None:
    server.started()
    client = server.client()
    session = int(client.ask("mail joe").split()[1])
    old = [server.fork_server(kind) for kind in ("login", "mail", "auth", "auth-worker")]
    other_port = server.port
    server.port = new = server_port()
    server.configure()
    server.signal(signal.SIGHUP)
    server.wait_for("Warning: SIGHUP received - reloading configuration")
    until(lambda: not any(map(alive, old)))
    until(lambda: can_connect(new))
    assert not can_connect(other_port)
    assert alive(session)
    second = server.client()
    assert second.ask("mail joe").startswith("yes ")
    assert server.client().ask("mail joe") == "no mail_max_userip_connections"
    client.close()
    until(lambda: not alive(session))
    assert "Error" not in server.lines()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("nonsense = 1\n", "Error: Error in configuration file "),
        ("protocol imap {\n", "Error: "),
        ("login_dir = elsewhere\n", "Error: login_dir can't be changed without a restart"),
        ("listen = 127.0.0.1:99999\n", "Error: listen: Invalid port in address 127.0.0.1:99999"),
    ],
)
def test_a_broken_configuration_leaves_everything_as_it_is(server: Rig, more: str, text: str) -> None:
    server.started()
    before = server.children()
    server.configure(more)
    server.signal(signal.SIGHUP)
    server.wait_for("Warning: Invalid configuration, keeping old one")
    assert text in server.lines()
    assert server.children() == before
    server.client().close()


def test_a_generation_that_cannot_start_leaves_the_old_one(server: Rig) -> None:
    server.started()
    before = server.children()
    server.orders.write_text("login fail Can't read the certificate")
    old_port, server.port = server.port, server_port()
    server.configure(second_auth(server))
    server.signal(signal.SIGHUP)
    server.wait_for("could not be started, keeping the old ones: Can't read the certificate")
    until(lambda: set(server.children()) - set(before) <= set(server.children("log")))
    assert not can_connect(server.port)
    server.port = old_port
    assert server.client().ask("mail joe").startswith("yes ")
    until(lambda: not (server.base / "login" / "second").exists())


def test_a_listener_shut_down_by_a_child_is_opened_again(server: Rig) -> None:
    server.started()
    old = server.fork_server("login")
    server.client().say("shutdown")
    server.wait_for(f"Error: Listener 127.0.0.1, {server.port} was shut down by a child, opened again")
    until(lambda: not alive(old))
    until(lambda: can_connect(server.port))
    assert server.client().ask("mail joe").startswith("yes ")


def test_a_log_socket_shut_down_by_a_child_is_replaced(server: Rig) -> None:
    server.started()
    server.client().say("mutelog")
    server.wait_for("Error: Log socket of imap-login was shut down by a child, replaced")
    until(lambda: can_connect(server.port))

    def heard() -> bool:
        client = server.client()
        client.say("log can you hear me")
        client.close()
        return server.said("imap-login: can you hear me")

    until(heard)


def test_a_changed_certificate_means_new_login_processes(server: Rig) -> None:
    for name in ("cert", "key"):
        (server.directory / name).write_text("x")
        (server.directory / name).chmod(0o600)
    files = f"ssl_cert_file = {server.directory}/cert\nssl_key_file = {server.directory}/key\n"
    server.configure(f"ssl = yes\n{files}")
    server.started()
    login, mail = server.fork_server("login"), server.fork_server("mail")
    (server.directory / "cert").write_text("xx")
    server.wait_for("Certificate or key changed, starting new login processes")
    until(lambda: not alive(login))
    assert server.fork_server("mail") == mail
    server.client().close()


def test_login_processes_follow_the_demand_up_to_their_limit(server: Rig) -> None:
    server.configure("protocol imap {\n}\n")
    server.started()
    clients = []
    for _ in range(4):
        clients.append(server.client())
        time.sleep(0.2)  # the master sees their processes fill in this order, however busy the machine is
    pids = {client.login_pid for client in clients}
    assert len(pids) == 4
    for client in clients:
        client.say("stay")
    fifth = server.client()
    assert fifth.login_pid not in pids
    gone = [client for client in clients if closed(client)]
    assert gone == clients[:1]
    server.wait_for("login_max_processes_count=4")


def closed(client: Client) -> bool:
    client.sock.settimeout(0.05)
    try:
        return client.sock.recv(1) == b""
    except TimeoutError:
        return False


def test_slots_are_limited_counted_and_given_back(server: Rig) -> None:
    server.started()
    joe = [server.client() for _ in range(2)]
    assert all(client.ask("mail joe").startswith("yes ") for client in joe)
    assert server.client().ask("mail joe") == "no mail_max_userip_connections"
    jane = server.client()
    assert jane.ask("mail jane").startswith("yes ")
    assert server.client().ask("mail jim") == "no max_mail_processes"
    assert server.client().ask("mail jim") == "no max_mail_processes"
    assert server.lines().count("max_mail_processes=3") == 1
    joe[0].close()

    def again() -> bool:
        client = server.client()
        answer = client.ask("mail jim")
        return answer.startswith("yes ")

    until(again)


def test_the_slot_of_a_killed_session_is_free(server: Rig) -> None:
    server.started()
    clients = [server.client() for _ in range(2)]
    pids = [int(client.ask("mail joe").split()[1]) for client in clients]
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: server.client().ask("mail joe").startswith("yes "))


def test_an_idle_worker_serves_the_same_user_again_and_no_other(server: Rig) -> None:
    server.configure("mail_process_reuse = yes\n")
    server.started()
    seen: list[int] = []

    def served_again() -> bool:
        seen.append(int(ask_once(server, "mail joe").split()[1]))
        return seen[-1] in seen[:-1]

    until(served_again)
    pid = seen[-1]
    second = server.client()
    assert int(second.ask("mail jane").split()[1]) != pid
    third, fourth = server.client(), server.client()
    answers = {int(client.ask("mail joe").split()[1]) for client in (third, fourth)}
    assert pid in answers
    assert len(answers) == 2


def ask_once(server: Rig, text: str) -> str:
    client = server.client()
    answer = client.ask(text)
    client.close()
    time.sleep(0.1)
    return answer


def test_idle_workers_give_way_at_the_limit(server: Rig) -> None:
    server.configure("mail_process_reuse = yes\n")
    server.started()
    pids = []
    for user in ("a", "b", "c"):
        pids.append(int(ask_once(server, f"mail {user}").split()[1]))
    kept = [server.client() for _ in range(3)]
    assert all(
        client.ask(f"mail {user}").startswith("yes ") for client, user in zip(kept, "def", strict=True)
    )
    until(lambda: not any(map(alive, pids)))


def test_a_forged_hand_over_ends_the_login_process(server: Rig) -> None:
    server.started()
    client = server.client()
    client.say("forge")
    server.wait_for(f"child {client.login_pid} (login) killed with signal 9")
    assert server.client().ask("mail joe").startswith("yes ")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("claims-another", "said SLOT although it is a user's"),
        ("accuses", "said FORGED although it is a user's"),
        ("poses", "said IDLE with credentials that are not its own"),
    ],
)
def test_a_users_process_is_believed_nothing_about_others(server: Rig, user: str, said: str) -> None:
    server.configure("mail_process_reuse = yes\n")
    server.started()
    ask_once(server, "mail joe")
    client = server.client()
    client.say(f"mail {user}")
    server.wait_for(said)
    assert ask_once(server, "mail jane").startswith("yes ")


def test_a_login_process_that_says_what_is_not_its_to_say_is_dropped(server: Rig) -> None:
    server.started()
    client = server.client()
    client.say("babble")
    server.wait_for(f"Error: login process {client.login_pid} said SLOT, which is not its to say")
    server.client().close()


def test_logs_are_rotated_by_logrotate(server: Rig) -> None:
    if shutil.which("logrotate") is None:
        pytest.skip("no logrotate here")
    server.started()
    shipped = Path(__file__).resolve().parents[2] / "etc" / "logrotate.d" / "dovecotpy"
    text = shipped.read_text()
    text = text.replace("/var/log/dovecot.log", str(server.log))
    text = text.replace("/var/log/dovecot-info.log", str(server.directory / "info-log"))
    text = re.sub(r"(/var)?/run/\S*?master\.pid", str(server.base / "master.pid"), text)
    mine = server.directory / "logrotate.conf"
    mine.write_text(text.replace("{", "{\n\tsu root root", 1) if os.geteuid() == 0 else text)
    mine.chmod(0o644)
    state = server.directory / "state"
    subprocess.run(["logrotate", "-f", "-s", str(state), str(mine)], check=True, timeout=30)
    rotated = server.directory / "log.1"
    assert "starting up" in rotated.read_text()

    def heard() -> bool:
        client = server.client()
        client.say("log after the rotation")
        client.close()
        return server.said("imap-login: after the rotation")

    until(heard)
    assert "starting up" not in server.lines()


SECOND_AUTH = """
auth second {{
  mechanisms = plain
  user = {user}
  count = 2
  passdb passwd-file {{
    args = {users}
  }}
  userdb passwd-file {{
    args = {users}
  }}
}}
"""


def second_auth(server: Rig) -> str:
    user = "root" if os.geteuid() == 0 else os.environ["USER"]
    return SECOND_AUTH.format(user=user, users=server.users)


def test_several_auth_sections_with_several_processes(server: Rig) -> None:
    server.configure(second_auth(server))
    server.started()
    server.wait_for("auth(second): worker says", 2)
    server.wait_for("auth(default): worker says", 1)
    assert len(server.children("master_child.py auth")) == 3 + 2
    assert stat.S_ISSOCK((server.base / "login" / "second").stat().st_mode)


def test_a_reload_may_add_and_remove_auth_sections_and_move_the_log(server: Rig) -> None:
    server.started()
    elsewhere = server.directory / "elsewhere"
    server.configure(f"log_path = {elsewhere}\n{second_auth(server)}")
    server.signal(signal.SIGHUP)
    until(lambda: elsewhere.exists() and elsewhere.read_text().count("auth(second): worker says") == 2)
    until(lambda: len(server.children("master_child.py auth")) == 5)
    assert "SIGHUP" in server.lines()
    server.configure(f"log_path = {elsewhere}\n")
    server.signal(signal.SIGHUP)
    until(lambda: len(server.children("master_child.py auth")) == 2)
    assert not (server.base / "login" / "second").exists()
    assert server.client().ask("mail joe").startswith("yes ")
    assert "Error" not in elsewhere.read_text() + server.lines()


def test_no_protocol_means_auth_alone(server: Rig) -> None:
    server.configure("protocols = none\n")
    server.started()
    assert len(server.children()) == 3
    assert not server.children("login") and not server.children("mail")
    server.signal(signal.SIGTERM)
    until(lambda: not processes_of(str(server.base)))


def test_pop3_is_one_warning_and_no_listener(server: Rig) -> None:
    server.configure(f"protocols = imap pop3\nprotocol pop3 {{\nlisten = 127.0.0.1:{server_port()}\n}}\n")
    server.started()
    server.wait_for("Warning: protocols: pop3 not served by this version, no listener is opened")
    assert server.lines().count("pop3") == 1


def test_many_reloads_at_once_are_two(server: Rig) -> None:
    server.started()
    for _ in range(20):
        server.signal(signal.SIGHUP)
        time.sleep(0.01)
    server.wait_for("SIGHUP received")
    before = server.children("master_child.py mail")
    until(lambda: len(server.children()) == 5 and server.children("master_child.py mail") != before)
    time.sleep(1)
    assert 1 <= server.lines().count("SIGHUP received") <= 3
    assert server.client().ask("mail joe").startswith("yes ")


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@pytest.mark.skipif(not os.path.exists(FAKETIME), reason="libfaketime is not installed")
def test_a_clock_that_jumps_an_hour_either_way_is_one_line_each(server: Rig) -> None:
    now = server.directory / "now"
    now.write_text("+0")
    names = {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME_TIMESTAMP_FILE": str(now),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    server.more_environment = {**names, "DOVECOTPY_IMPORT_ENVIRONMENT": " ".join(["FAKE_ORDERS", *names])}
    server.started()
    client = server.client()
    session = int(client.ask("mail joe").split()[1])
    children = server.children()
    now.write_text("-3600")
    server.wait_for("Warning: Time just moved backwards by 3600 seconds.")
    now.write_text("+0")
    server.wait_for("Warning: Time just moved forwards by 3600 seconds.")
    now.write_text("+3600")
    server.wait_for("Warning: Time just moved forwards by 3600 seconds.", 2)
    assert server.client().ask("mail joe").startswith("yes ")
    assert alive(session)
    assert server.children() == children
    lines = [line for line in server.lines().splitlines() if "Error" in line or "Time just" in line]
    assert len(lines) == 3


def server_port() -> int:
    from master_rig import free_port

    return free_port()


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
