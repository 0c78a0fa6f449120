"""One client's IMAP session after login: octets in, octets out, no socket.

The runner feeds what the client sends and pulls what is due, at most about 64 KiB at a time. A command is a
generator (`registry.Run`) that is run in slices of at most SLICE seconds; the next one starts when it has
ended, so pipelined commands are answered in order (RFC 3501 section 5.5). Between two commands input is
parsed; in IDLE it is read by the line.

| state | input is | left by |
|---|---|---|
| command | parsed into events | a Command starts `working`; IDLE |
| working | not looked at | the generator's end |
| idling | one line, DONE | that line, or BAD |
| ended | ignored | – |
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple

import dovecotpy.imap.commands  # noqa: F401 - fills the table of commands
from dovecotpy import clock
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.conversation import Conversation
from dovecotpy.imap.errors import Broken, CommandFailed, Mistaken, Refused
from dovecotpy.imap.registry import BINARY, LARGE, TAKES_BINARY, UPLOADS, State, Upload, find, needs_numbers
from dovecotpy.imap.wire import command as wire
from dovecotpy.imap.wire.response import continuation, status, untagged
from dovecotpy.imap.wire.tokens import Token
from dovecotpy.ipc.record import Level
from dovecotpy.storage.driver import Wait
from dovecotpy.storage.errors import MailboxReplaced, StoreError

if TYPE_CHECKING:
    from dovecotpy.config.values import Settings
    from dovecotpy.storage.store import Store
CHUNK = 524_288
"""Octets that one pull gives at most, but for a single response of more."""
ENOUGH = 32768
"""Octets after which a pull is satisfied."""
SLICE = 0.1
"""Seconds that a command may work between two looks at the client."""
MAX_LITERAL = 65536
"""Octets of one literal outside APPEND and `registry.LARGE`; beyond: BAD [TOOBIG]."""
MAX_LITERALS = 262144
"""Octets of a command's literals in sum; beyond: BAD [TOOBIG]."""
MAX_BAD_COMMANDS = 20
"""Bad commands in a row; with the last of them: BYE."""
INACTIVITY = 1800.0
"""Seconds without input (RFC 3501 section 5.4); then: BYE. A client in IDLE is not timed out, as in the
reference.
"""
QUIET = 1.0
"""Seconds without input after which a selected mailbox may do what nobody waits for."""
PAUSE = 0.02
"""Seconds between two slices of that."""
STILL_HERE = 120.0
"""Seconds between two signs of life in IDLE."""
PATIENCE = 15.0
"""Seconds without output after which a command at work shows a sign of life."""


class End(NamedTuple):
    """Why a session ended, for the log line."""

    text: str


class ImapSession(Conversation):
    """A session of the protocol described in `docs/decisions/0004-sessions-without-sockets.md`.

    store: the user's, open; closed by its owner after the session. settings: imap_max_line_length,
    imap_capability, imap_client_workarounds, imap_id_send, imap_id_log, imap_disabled_extensions,
    imap_append_8bit_headers, mail_max_message_size, mail_max_keyword_length. tag: of the login command that is still to be answered; empty: the session was
    started without one, and greets with PREAUTH. client_input: what the client sent behind its login. log:
    takes a level and a line; the user stands in its prefix. user: the name shown in the PREAUTH greeting.

    `pull` and `tick` let through whatever is no StoreError: a fault of ours, that the runner logs and ends
    the session for.
    """

    def __init__(
        self,
        store: "Store",
        settings: "Settings",
        tag: str,
        client_input: bytes,
        log: Callable[[Level, str], None],
        *,
        user: str = "",
    ) -> None:
        super().__init__(store, settings, log)
        self.ended: End | None = None
        self.upload: Upload | None = None
        self._parser = wire.CommandParser(
            max_line=settings.number("imap_max_line_length"),
            max_literal=MAX_LITERAL,
            max_literals=MAX_LITERALS,
            larger={
                name: large.most(settings)
                for name, large in LARGE.items()
                if find(name, self.dialect.disabled)
            },
            streams={name: after for name, (after, _) in UPLOADS.items()},
            max_unasked=wire.unasked(self.dialect.disabled),
            binary=frozenset(TAKES_BINARY) if self.dialect.offers(BINARY) else frozenset(),
        )
        self._parser.feed(client_input)
        self.compressed = False
        """both directions are compressed, or will be behind what was said"""
        self._compression_due = False
        self._starved = False
        self._output = [self._greeting(tag, user)]
        self._running: Generator[bytes, None, None] | None = None
        self._idle_tag = b""
        self._bad_in_a_row = 0
        self._last_input = self._last_output = clock.monotonic()
        self._chores_at = self._last_input + QUIET

    # The runner's side

    @property
    def working(self) -> bool:
        """Whether a command is at work or input waits that was not looked at: `pull` should be called again soon even if it gave nothing."""
        return self.ended is None and (self._running is not None or not self._starved)

    def feed(self, data: bytes) -> None:
        """Octets from the client."""
        self._parser.feed(data)
        self._starved = False
        self._last_input = clock.monotonic()
        self._chores_at = self._last_input + QUIET

    def wants_input(self) -> bool:
        """False while a command is at work or input waits that was not looked at."""
        return self.ended is None and self._running is None and self._starved and not self._output

    def pull(self) -> bytes:
        """The next octets for the client; b"" when there is nothing to say now (or yet, if `working`)."""
        pieces: list[bytes] = []
        size = 0
        limit = clock.monotonic() + SLICE
        while size < ENOUGH:
            piece = self._next_piece()
            if piece is None:
                break
            if piece:
                if size + len(piece) > CHUNK and size:
                    self._output.insert(0, piece)
                    break
                pieces.append(piece)
                size += len(piece)
            elif clock.monotonic() > limit:
                break
        return self._account(b"".join(pieces))

    def _account(self, data: bytes) -> bytes:
        """Remember when there was output; a command that is silent for long says that it is alive."""
        if self._running is None:
            if data:
                self._last_output = clock.monotonic()
            return data
        now = clock.monotonic()
        if data:
            self._last_output = now
        elif now - self._last_output > PATIENCE and not self.within_literal:
            self._last_output = now
            return self._sign_of_life()
        return data

    def compressed_from_here(self) -> bytes | None:
        """Not None once, when all octets from here on are compressed: then, what came behind the command."""
        if not self._compression_due or self._running is not None or self._output:
            return None
        self._compression_due = False
        self._starved = True
        return self._parser.remaining()

    def wait(self) -> Wait:
        """What to watch besides the client, and in how many seconds `tick` is wanted."""
        wait = self._wait()
        if self.view is not None and self.view.mailbox.has_chores:
            due = max(0.0, self._chores_at - clock.monotonic())
            return wait._replace(interval=min(wait.interval, due))
        return wait

    def _chore(self) -> bool:
        """While the client is quiet, do a slice of what the mailbox has to do; True if `tick` was for nothing else."""
        if self.view is None or not self.view.mailbox.has_chores or clock.monotonic() < self._chores_at:
            return False
        self.view.mailbox.work()
        self._chores_at = clock.monotonic() + PAUSE
        return self._wait().interval > 0 and not (self._idle_tag and self.view.mailbox.drain())

    def _wait(self) -> Wait:
        now = clock.monotonic()
        if self.working or self._output:
            return Wait(None, 0.0)
        if not self._idle_tag:
            return Wait(None, max(0.0, self._last_input + INACTIVITY - now))
        interval = max(0.0, self._last_output + STILL_HERE - now)
        if self.view is None:
            return Wait(None, interval)
        watched = self.view.mailbox.wait()
        if watched.interval > 0:
            interval = min(interval, watched.interval)
        return Wait(watched.fileno, interval)

    def tick(self) -> None:
        """Time passed, or the descriptor of `wait` is readable."""
        if self.ended is not None or self._running is not None or self._chore():
            return
        now = clock.monotonic()
        if not self._idle_tag:
            if now - self._last_input >= INACTIVITY:
                self.bye("Disconnected for inactivity.", "Disconnected for inactivity")
            return
        self._last_input = now
        if self.view is not None:
            self.view.mailbox.drain()
            self._running = self._guarded(self.updates())
        if now - self._last_output >= STILL_HERE:
            self._last_output = now
            self._output.append(untagged(b"OK", "Still here"))

    def disconnected(self) -> None:
        """The client has gone."""
        if self.ended is not None:
            return
        if self.upload is not None:
            self._end("Disconnected in APPEND")
        elif self._idle_tag:
            self._end("Disconnected in IDLE")
        else:
            self._end("Connection closed")
        self._stop()

    def shut_down(self) -> None:
        """The server ends."""
        if self.ended is None:
            self.bye("Server shutting down.", "Server shutting down")
            self._stop()

    def _stop(self) -> None:
        """Let go of the command at work: what it has done stays done."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def begin_idle(self) -> None:
        """From the end of this command on, wait for DONE; its tagged answer comes then.

        The mailbox is watched from here on, before it is looked at once more: what comes in between is not missed.
        """
        self._idle_tag = self._tag
        self._last_output = clock.monotonic()
        if self.view is not None:
            self.view.mailbox.wait()

    def begin_compression(self) -> None:
        """What was said up to the end of this command is the last that is not compressed."""
        self.compressed = self._compression_due = True

    def bye(self, text: str, log_text: str) -> None:
        """Say BYE where that is possible, and end with `log_text` in the log."""
        if not self.within_literal:
            self._output.append(untagged(b"BYE", text))
        else:
            self._output.clear()
        self._end(log_text)

    def finish(self, log_text: str) -> None:
        """End after what was said already."""
        self._end(log_text)

    # Input

    def _greeting(self, tag: str, user: str) -> bytes:
        code = "CAPABILITY " + self.capability().decode("ascii", "replace")
        if tag:
            return status(tag.encode("ascii", "replace"), b"OK", "Logged in.", code)
        return untagged(b"PREAUTH", f"Logged in as {user}", code)

    def _next_piece(self) -> bytes | None:
        """Some output, b"" where there is more work, None where input is wanted."""
        if self._output:
            return self._output.pop(0)
        if self.ended is not None:
            return None
        if self._running is not None:
            return self._run()
        if self._idle_tag:
            return self._end_of_idle()
        if self._compression_due:
            return None
        self._parser.utf8 = self.dialect.utf8
        event = self._parser.next()
        if event is None:
            self._starved = True
            return None
        return self._take(event)

    def _run(self) -> bytes:
        assert self._running is not None
        piece = next(self._running, None)
        if piece is None:
            self._running = None
            return b""
        return piece

    def _take(self, event: wire.Event) -> bytes:
        if isinstance(event, wire.Command):
            self._running = self._guarded(self._execute(event))
            return b""
        if isinstance(event, wire.NeedLiteral):
            return continuation() if event.synchronizing else b""
        if isinstance(event, wire.LiteralData):
            assert self.upload is not None
            self.upload.write(event.data)
            return b""
        if isinstance(event, wire.LiteralStart):
            return self._begin_upload(event)
        self._drop_upload()
        if isinstance(event, wire.Bad):
            return self._bad(event.tag, event.text)
        if isinstance(event, wire.LineTooLong):
            return self._bad(event.tag, "IMAP command line too large")
        if event.larger:
            self._tag, self._entry = event.tag, None
            refusal = LARGE[event.larger].refusal(self.settings, event.size)
            self._running = self._guarded(self._failure(refusal))
            return b""
        return self._bad(event.tag, "Literal size too large", "TOOBIG")

    def _bad(self, tag: bytes, text: str, code: str | None = None) -> bytes:
        self._bad_in_a_row += 1
        answer = status(tag, b"BAD", text, code)
        if self._bad_in_a_row >= MAX_BAD_COMMANDS:
            self._output.append(answer)
            text = "Too many invalid IMAP commands."
            self.bye(text, f"Disconnected: {text}")
            return b""
        return answer

    def _begin_upload(self, event: wire.LiteralStart) -> bytes:
        self._tag, self._entry = event.tag, None
        try:
            if find(event.name, self.dialect.disabled) is None:
                raise self._unknown(event.name, event.name.startswith(b"UID "))
            if self.upload is None:
                self.upload = UPLOADS[event.name][1]()
            self.upload.begin(self, event)
        except (CommandFailed, StoreError) as error:
            self._drop_upload()
            self._parser.refuse()
            self._running = self._guarded(self._failure(error))
            return b""
        self._parser.accept()
        return continuation() if event.synchronizing else b""

    def _drop_upload(self) -> None:
        if self.upload is not None:
            self.upload.abandon()
            self.upload = None

    def _end_of_idle(self) -> bytes | None:
        line = self._parser.read_line()
        if line is None:
            self._starved = True
            return None
        self._tag, self._idle_tag = self._idle_tag, b""
        self._entry = None
        if isinstance(line, bytes) and line.strip().upper() == b"DONE":
            self._running = self._guarded(self.complete("Idle completed.", arrivals=True))
            return b""
        return self._bad(self._tag, "Expected DONE.")

    # Commands

    def _execute(self, event: wire.Command) -> Iterator[bytes]:
        """Run one command to its tagged answer."""
        self._tag, self._entry, self._progress = event.tag, None, None
        name, tokens = event.name, event.arguments
        by_uid = name == b"UID"
        try:
            if by_uid:
                name, tokens = self._uid_command(tokens)
            entry = find(name, self.dialect.disabled)
            if entry is None:
                raise self._unknown(name, by_uid)
            if entry.state == State.SELECTED and self.view is None:
                raise Mistaken("No mailbox selected.")
            self._entry = entry
            if not by_uid and needs_numbers(name):
                self.dialect.need_numbers()
            yield from entry.run(self, Arguments(name, tokens, by_uid=by_uid))
            self._bad_in_a_row = 0
        except (CommandFailed, StoreError) as error:
            yield from self._failure(error)
        finally:
            self._drop_upload()

    def _uid_command(self, tokens: list[Token]) -> tuple[bytes, list[Token]]:
        word = tokens[0] if tokens else None
        if not isinstance(word, bytes):
            raise Mistaken("Error in IMAP command UID: Missing arguments")
        return b"UID " + word.upper(), tokens[1:]

    def _unknown(self, name: bytes, by_uid: bool) -> Mistaken:
        word = name.decode("ascii", "replace")
        if by_uid:
            return Mistaken(f"Unknown UID command {word[4:]}")
        return Mistaken(f"Error in IMAP command {word}: Unknown command.")

    def _failure(self, error: CommandFailed | StoreError) -> Iterator[bytes]:
        """The tagged answer of a command that failed."""
        if isinstance(error, MailboxReplaced) and self._selected_is_replaced():
            raise error
        if isinstance(error, StoreError):
            self._bad_in_a_row = 0
            if error.log is not None:
                self.log(Level.ERROR, error.log)
            yield from self.complete(str(error), error.code, condition=b"NO")
        elif isinstance(error, Refused):
            self._bad_in_a_row = 0
            yield from self.complete(str(error), error.code, condition=error.condition)
        else:
            yield self._bad(self._tag, str(error), error.code)

    def _selected_is_replaced(self) -> bool:
        """Whether it is the selected mailbox that went, and not another one that the command named."""
        try:
            if self.view is not None:
                self.view.mailbox.refresh()
        except MailboxReplaced:
            return True
        except StoreError:
            return False
        return False

    def _guarded(self, work: Iterator[bytes]) -> Generator[bytes, None, None]:
        """Work that ends the session when the mailbox is not what it was."""
        try:
            yield from work
        except (MailboxReplaced, Broken) as error:
            text = str(error)
            self.bye(text, f"Disconnected: {text}")

    def _end(self, text: str) -> None:
        if self.ended is None:
            self.ended = End(text)
        self._idle_tag = b""
        self._drop_upload()
        self.leave_mailbox()
