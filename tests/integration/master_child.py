"""Tiny children for tests of the master: `master_child.py auth|auth-worker|login|mail`, started as the real ones are.

A client of the fake login worker steers them with lines: `crash`, `exit N`, `log TEXT`, `shutdown` (the listener), `mutelog` (shuts its
log socket down), `stay`, and those that go on to a spare: `mail USER`, `forge`. A spare answers `yes PID` or `no REASON` and holds the
session until the client goes. The environment variable FAKE_<KIND> may say `fail TEXT`, `die` or `version X`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dovecotpy  # noqa: E402
from dovecotpy.child import bootstrap, forkserver  # noqa: E402
from dovecotpy.ipc import control, fdpass  # noqa: E402
from dovecotpy.ipc.control import Verb  # noqa: E402
from dovecotpy.log import client as log_client  # noqa: E402
from dovecotpy.log.client import Log  # noqa: E402

KIND = sys.argv[1]
START = bootstrap.receive()
CHANNEL = socket.socket(fileno=START.descriptors["control"])
LOG = Log(socket.socket(fileno=START.descriptors["log"]))


def wait_for(sock: socket.socket, verb: Verb) -> control.Message:
    while True:
        message = control.receive(sock)
        if message is None or message.verb in (Verb.RETIRE, Verb.DROP):
            os._exit(0)
        if message.verb is verb:
            return message


def order_for_start() -> str:
    """The order for this kind."""
    path = os.environ.get("FAKE_ORDERS", "")
    if not path or not os.path.exists(path):
        return ""
    words = [line.split(" ", 1) for line in Path(path).read_text().splitlines()]
    return dict(words).get(KIND, "")


def login(birth: forkserver.Birth) -> int:
    own = birth.control
    wait_for(own, Verb.GO)
    if order_for_start() == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    tell(own, 0, 0)
    listener = socket.socket(fileno=START.descriptors["listen.plain.0"])
    while True:
        client = accept(own, listener)
        tell(own, 1, 1)
        if serve(own, listener, client):
            return 0


def tell(own: socket.socket, state: int, clients: int) -> None:
    try:
        control.send(own, Verb.STATE, state, clients, 0)
    except OSError:
        os._exit(0)


def accept(own: socket.socket, listener: socket.socket) -> socket.socket:
    poll = select.poll()
    poll.register(own, select.POLLIN)
    poll.register(listener, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if own.fileno() in ready:
            message = control.receive(own)
            if message is None or message.verb in (Verb.RETIRE, Verb.DROP):
                os._exit(0)
        if listener.fileno() in ready:
            try:
                return listener.accept()[0]
            except BlockingIOError:
                continue
            except OSError:
                poll.unregister(listener)


def serve(own: socket.socket, listener: socket.socket, client: socket.socket) -> bool:
    client.setblocking(True)
    try:
        client.sendall(b"hello %d\n" % os.getpid())
        words = client.makefile("rb").readline().decode().split(" ", 1)
    except ConnectionError:
        return True
    rest = words[1].strip() if len(words) > 1 else ""
    order = words[0].strip()
    if order == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif order == "exit":
        os._exit(int(rest))
    elif order == "log":
        LOG.info(rest)
    elif order == "shutdown":
        listener.shutdown(socket.SHUT_RDWR)
    elif order == "mutelog":
        socket.socket(fileno=os.dup(LOG.fileno())).shutdown(socket.SHUT_RDWR)
    elif order == "babble":
        control.send(own, Verb.SLOT, "imap", "root", "::1", "", 0)
    elif order in ("mail", "forge"):
        hand_over(f"{order} {rest}", client)
        if order == "forge":
            wait_for(own, Verb.DROP)
        return True
    elif order == "stay":
        wait_for(own, Verb.DROP)
    return True


def hand_over(text: str, client: socket.socket) -> None:
    path = START.settings["settings"].text("login_dir") + "/mail/imap"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as queue:
        queue.connect(path)
        fdpass.send(queue, text.encode(), (client.fileno(),))


def mail(birth: forkserver.Birth) -> int:
    own = birth.control
    wait_for(own, Verb.GO)
    queue = socket.socket(fileno=START.descriptors["queue"])
    while True:
        status = spare(own, queue)
        if status is not None:
            return status


def spare(own: socket.socket, queue: socket.socket) -> int | None:
    poll = select.poll()
    poll.register(own, select.POLLIN)
    poll.register(queue, select.POLLIN)
    ready = {number for number, _ in poll.poll()}
    if own.fileno() in ready:
        wait_for(own, Verb.GO)
    try:
        packet = fdpass.receive(queue, 4096, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    client = socket.socket(fileno=packet.descriptors[0])
    order, _, user = packet.data.decode().partition(" ")
    assert packet.credentials is not None
    if order == "forge":
        control.send(own, Verb.FORGED, packet.credentials.pid)
        return None
    reuse = START.settings["settings"].flag("mail_process_reuse")
    if not reuse:
        control.send(own, Verb.TAKEN)
    control.send(own, Verb.SLOT, "imap", user, "192.0.2.1", f"key-{user}", int(reuse))
    answer = control.receive(own)
    if answer is None:
        return 0
    if answer.verb is Verb.NO:
        client.sendall(f"no {answer.text(0)}\n".encode())
        return None if reuse else 0
    if answer.descriptors:
        with socket.socket(fileno=answer.descriptors[0]) as inbox:
            fdpass.send(inbox, user.encode(), (client.fileno(),))
        client.close()
        return None
    if reuse:
        control.send(own, Verb.TAKEN)
    misbehave(own, user)
    session(own, client, user)
    return rest(own, user) if reuse else 0


def misbehave(own: socket.socket, user: str) -> None:
    """What a user who has taken over his own session may try with the master."""
    if user == "claims-another":
        control.send(own, Verb.SLOT, "imap", "joe", "192.0.2.1", "key-joe", 1)
    elif user == "accuses":
        control.send(own, Verb.FORGED, os.getppid())
    elif user == "poses":
        theirs, _ = fdpass.pair()
        control.send(own, Verb.IDLE, "key-joe", descriptors=(theirs.fileno(),))
        theirs.close()


def session(own: socket.socket, client: socket.socket, user: str) -> None:
    client.setblocking(True)
    client.sendall(b"yes %d\n" % os.getpid())
    LOG.info("session", user=user, address="192.0.2.1")
    poll = select.poll()
    poll.register(own, select.POLLIN)
    poll.register(client, select.POLLIN)
    shutdown = START.settings["settings"].flag("shutdown_clients")
    while True:
        for number, _ in poll.poll():
            if number == client.fileno() and not client.recv(100):
                return
            if number == own.fileno() and control.receive(own) is None:
                if shutdown:
                    client.sendall(b"bye\n")
                    os._exit(0)
                poll.unregister(own)


def rest(own: socket.socket, user: str) -> int:
    while True:
        theirs, ours = fdpass.pair()
        control.send(own, Verb.IDLE, f"key-{user}", descriptors=(theirs.fileno(),))
        theirs.close()
        poll = select.poll()
        poll.register(own, select.POLLIN)
        poll.register(ours, select.POLLIN)
        ready = {number for number, _ in poll.poll()}
        if own.fileno() in ready:
            return 0
        packet = fdpass.receive(ours)
        session(own, socket.socket(fileno=packet.descriptors[0]), user)


def auth() -> int:
    control.send(CHANNEL, Verb.READY, dovecotpy.__version__)
    ends = fdpass.pair(socket.SOCK_STREAM)
    control.send(CHANNEL, Verb.WORKER, descriptors=(ends[1].fileno(),))
    ends[1].close()
    LOG.info(f"worker says {ends[0].recv(100)!r}")
    while (message := control.receive(CHANNEL)) is not None:
        if message.verb is Verb.RETIRE:
            break
    return 0


def auth_worker(birth: forkserver.Birth) -> int:
    connection = socket.socket(fileno=birth.descriptors[0])
    connection.sendall(b"%d" % os.getuid())
    connection.recv(1)
    return 0


def main() -> int:
    log_client.stderr(LOG)
    order = order_for_start()
    if order.startswith("fail "):
        control.send(CHANNEL, Verb.FAILED, order.removeprefix("fail "))
        return 89
    if order == "die":
        return 1
    if order.startswith("version "):
        control.send(CHANNEL, Verb.READY, order.removeprefix("version "))
        control.receive(CHANNEL)
        return 0
    if KIND == "auth":
        return auth()
    keep = [LOG.fileno(), *START.matching("listen."), *START.matching("queue")]
    run = {"login": login, "mail": mail, "auth-worker": auth_worker}[KIND]
    forkserver.ForkServer(CHANNEL, run, tuple(keep)).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
