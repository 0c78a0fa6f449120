"""Runs conversations written as text against sessions, on the model store and on real Maildir.

A transcript is lines:

    with: SCENARIO            the mailboxes at the start (imap_scenarios.py); setting=value pairs may follow
    C: text                   the client sends text and CRLF; `C2:` is a second session's client, and so on
    C: text\\                 without CRLF: what follows a literal goes on in the next `C:`
    S: text                   the server's next line is exactly this, with … for anything (also nothing)
    S: [any order] a | b      the next lines in any order
    «name»                    in `S:`, where it first stands: a word to remember; later, and in `C:`: that word,
                              «name-1» and «name+1» being the numbers beside it
    less: «a» «b»             the number that was heard first is the lower one
    clock: +1800              the monotonic clock goes on by so many seconds, sessions get their tick
    tick:                     every session gets its tick
    end: text                 the session ended, with this for the log

Everything that the server says must be expected: a transcript fails on a surplus line. Octets in `C:` and
`S:` that are not printable stand as \\xNN. Literals of the server are lines as any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dovecotpy import clock
from dovecotpy.config.values import Settings, Value
from dovecotpy.imap.session import ImapSession
from dovecotpy.ipc.record import Level

DEFAULTS: dict[str, Value] = {
    "imap_max_line_length": 65536,
    "imap_capability": "",
    "imap_client_workarounds": (),
    "imap_id_send": (),
    "imap_id_log": (),
    "imap_disabled_extensions": (),
    "mail_max_message_size": 0,
    "mail_max_keyword_length": 50,
    "imap_append_8bit_headers": "accept",
    "imap_save_limit": 0,
    "imap_metadata_max_size": 32768,
    "imap_metadata_max_entries": 200,
}


def settings(**changes: Value) -> Settings:
    """The settings of a session, with some changed."""
    return Settings({**DEFAULTS, **changes})


class Client:
    """One session and what it said that was not looked at."""

    def __init__(self, store: object, configuration: Settings, tag: str = "login") -> None:
        self.lines: list[tuple[Level, str]] = []
        self.session = ImapSession(
            store, configuration, tag, b"", lambda level, text: self.lines.append((level, text))
        )
        self.heard = b""

    def send(self, data: bytes) -> bytes:
        """Everything that the session answers to these octets."""
        self.session.feed(data)
        return self.pull()

    def pull(self) -> bytes:
        """Everything that the session has to say."""
        pieces = []
        for _ in range(1_000_000):
            piece = self.session.pull()
            pieces.append(piece)
            assert len(piece) <= 1 << 20, "one pull gave too much"
            compressed = self.session.compressed_from_here()
            if compressed is not None:
                self.session.feed(compressed)
            if not piece and not self.session.working:
                return b"".join(pieces)
        raise AssertionError("the session never rests")

    def tick(self) -> None:
        """Let time have passed."""
        self.session.tick()
        self.heard += self.pull()


def parse_settings(words: list[str]) -> Settings:
    """Settings from `name=value` words, typed as the defaults are."""
    changes: dict[str, Value] = {}
    for word in words:
        name, _, value = word.partition("=")
        default = DEFAULTS[name]
        if isinstance(default, tuple):
            changes[name] = tuple(value.split(","))
        else:
            changes[name] = int(value) if isinstance(default, int) else value.replace("_", " ")
    return settings(**changes)


def octets(text: str) -> bytes:
    """Text of a transcript as octets."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text).encode("latin-1")


_WORD = re.compile("«([a-z]+)([+-][0-9]+)?»")


def filled(text: str, words: dict[str, str]) -> str:
    """A line with the words that are known put in."""

    def word(found: re.Match[str]) -> str:
        known = words.get(found[1])
        if known is None:
            return found[0]
        return str(int(known) + int(found[2])) if found[2] else known

    return _WORD.sub(word, text)


def matches(expected: str, line: bytes, words: dict[str, str] | None = None) -> bool:
    """Whether a line is what is expected, with … for anything. words: those that are known; new ones are added."""
    words = {} if words is None else words
    pieces = []
    for piece in re.split("(…|«[a-z]+»)", filled(expected, words)):
        if piece == "…":
            pieces.append(b".*?")
        elif piece[:1] == "«":
            pieces.append(f"(?P<{piece[1:-1]}>[^ ()\\]]+)".encode())
        else:
            pieces.append(re.escape(octets(piece)))
    found = re.fullmatch(b"".join(pieces), line, re.DOTALL)
    if found is not None:
        words.update((name, value.decode()) for name, value in found.groupdict().items())
    return found is not None


class Conversation:
    """A transcript at work."""

    def __init__(
        self,
        make_store: Callable[[str], object],
        monkeypatch: object,
        again: Callable[[], object] | None = None,
    ) -> None:
        self.make_store = make_store
        self.again = again
        """opens the same store once more for another session; None: sessions share it"""
        self.clients: dict[str, Client] = {}
        self.words: dict[str, str] = {}
        self.elapsed = 0.0
        base = clock.monotonic
        monkeypatch.setattr(clock, "monotonic", lambda: base() + self.elapsed)  # type: ignore[attr-defined]

    def run(self, path: Path) -> None:
        """Run a file. Fails with its line where the server says anything else."""
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            place = f"{path.name}:{number}: {line}"
            word, _, text = line.partition(":")
            self.step(word, text.removeprefix(" "), place)
        for name, client in self.clients.items():
            client.session.disconnected()
            assert not client.heard, f"{path.name}: client {name or 1} was told more: {client.heard!r}"

    def step(self, word: str, text: str, place: str) -> None:
        if word == "with":
            scenario, *words = text.split()
            self.store = self.make_store(scenario)
            self.settings = parse_settings(words)
        elif word[0] == "C":
            self.client(word[1:]).heard += self.client(word[1:]).send(self.sent(filled(text, self.words)))
        elif word[0] == "S":
            self.expect(self.client(word[1:]), text, place)
        elif word == "less":
            low, high = map(int, filled(text, self.words).split())
            assert low < high, place
        elif word == "clock":
            self.elapsed += float(text)
            self.ticks()
        elif word == "tick":
            self.ticks()
        elif word[:3] == "end":
            ended = self.client(word[3:]).session.ended
            assert ended is not None and matches(text, ended.text.encode()), f"{place}\n{ended}"
        elif word[:3] == "log":
            line = self.client(word[3:]).lines.pop(0)
            assert matches(text, line[1].encode()), f"{place}\n{line}"
        elif word[:4] == "gone":
            self.client(word[4:]).session.disconnected()
        elif word[:4] == "stop":
            client = self.client(word[4:])
            client.session.shut_down()
            client.heard += client.pull()
        else:
            raise AssertionError(f"{place}\nunknown word")

    def sent(self, text: str) -> bytes:
        return octets(text[:-1]) if text.endswith("\\") else octets(text) + b"\r\n"

    def client(self, name: str) -> Client:
        """A client by its name; its session begins when it is first named."""
        if name not in self.clients:
            store = self.again() if self.again is not None else self.store
            client = self.clients[name] = Client(store, self.settings)
            greeting = client.pull()
            assert greeting.startswith(b"login OK [CAPABILITY "), greeting
        return self.clients[name]

    def ticks(self) -> None:
        for client in self.clients.values():
            client.tick()

    def expect(self, client: Client, text: str, place: str) -> None:
        if text.startswith("[any order] "):
            wanted = text.removeprefix("[any order] ").split(" | ")
            heard = [self.line(client, place) for _ in wanted]
            for each in wanted:
                found = [line for line in heard if matches(each, line, self.words)]
                assert found, f"{place}\nnot among {heard!r}"
                heard.remove(found[0])
            return
        line = self.line(client, place)
        assert matches(text, line, self.words), (
            f"{place}\nbut the server said {line!r}\nthen {client.heard[:500]!r}"
        )

    def line(self, client: Client, place: str) -> bytes:
        line, end, rest = client.heard.partition(b"\r\n")
        assert end, f"{place}\nbut the server said nothing more ({line!r})"
        client.heard = rest
        return line
