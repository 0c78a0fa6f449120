"""The listen settings and the set of listeners."""

from __future__ import annotations

import socket

import pytest

from dovecotpy.master import listen
from dovecotpy.master.listen import Address, ListenError, Wanted
from dovecotpy.master.listeners import TRIES, Listeners

V4, V6 = socket.AF_INET, socket.AF_INET6


def find(host: str) -> list[tuple[int, str]]:
    known = {
        "127.0.0.1": [(V4, "127.0.0.1")],
        "::": [(V6, "::")],
        "::1": [(V6, "::1")],
        "both.example": [(V4, "192.0.2.1"), (V6, "2001:db8::1")],
    }
    if host not in known:
        raise ListenError(f"Can't resolve address {host}: unknown")
    return known[host]


@pytest.mark.parametrize(
    ("word", "addresses"),
    [
        ("*", [Address(V4, "0.0.0.0", 143)]),
        ("*:10143", [Address(V4, "0.0.0.0", 10143)]),
        ("[::]", [Address(V6, "::", 143)]),
        ("[::1]:10143", [Address(V6, "::1", 10143)]),
        ("::1", [Address(V6, "::1", 143)]),
        ("127.0.0.1", [Address(V4, "127.0.0.1", 143)]),
        ("127.0.0.1:1", [Address(V4, "127.0.0.1", 1)]),
        ("both.example:9", [Address(V4, "192.0.2.1", 9), Address(V6, "2001:db8::1", 9)]),
    ],
)
def test_words(word: str, addresses: list[Address]) -> None:
    assert listen.parse(word, "listen", 143, find) == addresses


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("[::1", "listen: Missing ']' in address [::1"),
        ("[::1]x", "listen: Invalid data after ']' in address [::1]x"),
        ("*:", "listen: Invalid port in address *:"),
        ("*:0", "listen: Invalid port in address *:0"),
        ("*:65536", "listen: Invalid port in address *:65536"),
        ("*:imap", "listen: Invalid port in address *:imap"),
        ("*:-1", "listen: Invalid port in address *:-1"),
        ("nowhere", "Can't resolve address nowhere: unknown"),
    ],
)
def test_broken_words(word: str, text: str) -> None:
    with pytest.raises(ListenError) as caught:
        listen.parse(word, "listen", 143, find)
    assert str(caught.value) == text


def test_protocols_have_their_ports_and_may_not_collide() -> None:
    places = listen.wanted("imap", ["*", "*"], "listen", find) + listen.wanted("imaps", ["*"], "listen", find)
    assert [(place.protocol, place.address.port, place.tls) for place in places] == [
        ("imap", 143, False),
        ("imaps", 993, True),
    ]
    listen.refuse_collisions(places)
    with pytest.raises(ListenError, match="Protocols imap and imaps are listening in same ip/port"):
        listen.refuse_collisions([Wanted("imap", places[0].address), Wanted("imaps", places[0].address)])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def place(port: int, protocol: str = "imap") -> Wanted:
    return Wanted(protocol, Address(V4, "127.0.0.1", port))


def test_a_busy_port_is_an_error_with_its_place() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            Listeners().open_all([place(port)])
    assert str(caught.value) == f"listen(127.0.0.1, {port}) failed: Address already in use"


def test_ipv6_wildcard_leaves_ipv4_alone() -> None:
    try:
        six = listen.open_socket(Address(V6, "::", 0))
    except ListenError as error:
        pytest.skip(f"no IPv6 here: {error}")
    port = six.getsockname()[1]
    four = listen.open_socket(Address(V4, "0.0.0.0", port))
    four.close()
    six.close()


def test_a_reload_keeps_opens_and_closes() -> None:
    kept, gone, new = free_port(), free_port(), free_port()
    listeners = Listeners()
    listeners.open_all([place(kept), place(gone)])
    before = {entry.place.address.port: entry.sock.fileno() for entry in listeners.of("imap")}
    assert listeners.stage([place(kept), place(new, "imaps")]) == []
    assert [entry.place.address.port for entry in listeners.of("imap")] == [kept, new]
    socket.create_connection(("127.0.0.1", gone)).close()
    listeners.commit()
    assert [entry.place.address.port for entry in listeners.of("imap")] == [kept, new]
    assert listeners.of("imap")[0].sock.fileno() == before[kept]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gone))
    listeners.close()


def test_a_reload_that_comes_to_nothing_changes_nothing() -> None:
    kept, new = free_port(), free_port()
    listeners = Listeners()
    listeners.open_all([place(kept)])
    listeners.stage([place(new)])
    listeners.rollback()
    socket.create_connection(("127.0.0.1", kept)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", new))
    listeners.close()


def test_a_port_that_is_busy_at_a_reload_is_tried_ten_times() -> None:
    listeners = Listeners()
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    port = other.getsockname()[1]
    assert listeners.stage([place(port)]) == []
    listeners.commit()
    for _ in range(TRIES - 1):
        assert listeners.retry() == (False, [])
    opened, errors = listeners.retry()
    assert not opened
    assert errors == [f"listen(127.0.0.1, {port}) failed: Address already in use"]
    assert listeners.retry() == (False, [])
    listeners.stage([place(port)])
    listeners.commit()
    other.close()
    assert listeners.retry() == (True, [])
    assert [entry.place.address.port for entry in listeners.of("imap")] == [port]
    listeners.close()


def test_a_listener_that_a_child_shut_down_is_opened_again() -> None:
    port = free_port()
    listeners = Listeners()
    listeners.open_all([place(port)])
    assert listeners.reopen_lost() == ([], [])
    inherited = listeners.of("imap")[0].sock.dup()
    inherited.shutdown(socket.SHUT_RDWR)
    inherited.close()
    assert listeners.reopen_lost() == ([place(port).address], [])
    socket.create_connection(("127.0.0.1", port)).close()
    listeners.close()
