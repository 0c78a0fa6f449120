"""The framing of commands: events, budgets, and that it does not matter how the input is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.imap.wire import command as wire
from dovecotpy.imap.wire import tokens
from dovecotpy.imap.wire.command import Bad, Command, CommandParser, LineTooLong, LiteralData, LiteralTooLarge
from dovecotpy.imap.wire.tokens import Atom, String


def events(data: bytes, **limits: object) -> list[wire.Event]:
    """All events of some input; literals are accepted."""
    return feed(CommandParser(**limits), [data])  # type: ignore[arg-type]


def feed(parser: CommandParser, pieces: list[bytes]) -> list[wire.Event]:
    found = []
    for piece in pieces:
        parser.feed(piece)
        while (event := parser.next()) is not None:
            found.append(event)
            if isinstance(event, wire.LiteralStart):
                parser.accept()
    return found


def only(data: bytes, **limits: object) -> wire.Event:
    found = [event for event in events(data, **limits) if not isinstance(event, wire.NeedLiteral)]
    assert len(found) == 1, found
    return found[0]


def test_a_plain_command() -> None:
    assert only(b"a1 login Fred Secret\r\n") == Command(b"a1", b"LOGIN", [Atom(b"Fred"), Atom(b"Secret")])


def test_a_bare_line_feed_ends_a_command() -> None:
    assert only(b"a1 NOOP\n") == Command(b"a1", b"NOOP", [])


def test_kinds_of_arguments() -> None:
    event = only(b'a X atom "a \\"quoted\\\\ one" (1 (NIL "") ()) \\Seen {3+}\r\na\rb {0+}\r\n\r\n')
    assert isinstance(event, Command)
    assert event.arguments == [
        b"atom",
        b'a "quoted\\ one',
        [b"1", [b"NIL", b""], []],
        b"\\Seen",
        b"a\rb",
        b"",
    ]
    kinds = [type(argument) for argument in event.arguments]
    assert kinds == [Atom, String, list, Atom, String, String]


def test_a_section_with_fields_comes_in_pieces() -> None:
    event = only(b'a FETCH 1 (BODY[1.HEADER.FIELDS (Date "To" {2+}\r\nCc)]<0.9> UID)\r\n')
    assert isinstance(event, Command)
    assert event.arguments[1] == [b"BODY[1.HEADER.FIELDS", [b"Date", b"To", b"Cc"], b"]<0.9>", b"UID"]


def test_literals_are_announced_and_asked_for() -> None:
    found = events(b"a LOGIN {3}\r\nabc {2+}\r\nde\r\n")
    assert found[:2] == [wire.NeedLiteral(3, True), wire.NeedLiteral(2, False)]
    assert found[2] == Command(b"a", b"LOGIN", [String(b"abc"), String(b"de")])


@pytest.mark.parametrize(
    ("line", "tag", "text"),
    [
        (b"", b"*", "Error in IMAP command received by server."),
        (b"a", b"a", "Error in IMAP command received by server."),
        (b"a (", b"a", "Error in IMAP command received by server."),
        (b"* NOOP", b"*", "Error in IMAP tag: Invalid characters in atom"),
        (b"a+ NOOP", b"*", "Error in IMAP tag: Invalid characters in atom"),
        (b"\xe4 NOOP", b"*", "Error in IMAP tag: Invalid characters in atom"),
        (b"a" * 257 + b" NOOP", b"*", "Error in IMAP tag: Too long argument."),
        (b'a X "open', b"a", "Error in IMAP command X: Missing '\"'"),
        (b'a X "open\\', b"a", "Error in IMAP command X: Missing '\"'"),
        (b'a X "open\\"', b"a", "Error in IMAP command X: Missing '\"'"),
        (b'a X "a"b', b"a", "Error in IMAP command X: Invalid arguments."),
        (b"a X (a)b", b"a", "Error in IMAP command X: Invalid arguments."),
        (b"a X (a)(b)", b"a", "Error in IMAP command X: Invalid arguments."),
        (b"a X (a", b"a", "Error in IMAP command X: Missing ')'"),
        (b"a X a)", b"a", "Error in IMAP command X: Unexpected ')'"),
        (b"a X a(b)", b"a", "Error in IMAP command X: Invalid characters in atom"),
        (b"a X a\\b", b"a", "Error in IMAP command X: Invalid characters in atom"),
        (b"a X a\x01b", b"a", "Error in IMAP command X: Invalid characters in atom"),
        (b"a X \xc3\xa4", b"a", "Error in IMAP command X: 8bit data in atom"),
        (b"a X {x}", b"a", "Error in IMAP command X: Invalid literal size"),
        (b"a X {-1}", b"a", "Error in IMAP command X: Invalid literal size"),
        (b"a X {" + b"9" * 21 + b"}", b"a", "Error in IMAP command X: Invalid literal size"),
        (b"a X a{1}", b"a", "Error in IMAP command X: Invalid literal size"),
        (b'a X "a\0"', b"a", "Error in IMAP command X: Invalid characters in string"),
    ],
)
def test_what_is_no_command(line: bytes, tag: bytes, text: str) -> None:
    assert events(line + b"\r\nb NOOP\r\n") == [Bad(tag, text), Command(b"b", b"NOOP", [])]


def test_a_literal_behind_an_error_is_skipped() -> None:
    """RFC 7888 section 4: what a client sends without being asked is never taken for a command."""
    found = events(b"a X ) {8+}\r\nb NOOP\r\n more {5+}\r\nc X\r\n end\r\nd NOOP\r\n")
    assert found == [Bad(b"a", "Error in IMAP command X: Unexpected ')'"), Command(b"d", b"NOOP", [])]


def test_a_synchronizing_literal_behind_an_error_never_comes() -> None:
    found = events(b"a X ) {8}\r\nb NOOP\r\n")
    assert found == [Bad(b"a", "Error in IMAP command X: Unexpected ')'"), Command(b"b", b"NOOP", [])]


def test_line_budget() -> None:
    fits = b"a X " + b"y" * 96
    assert isinstance(only(fits + b"\r\n", max_line=100), Command)
    assert events(fits + b"y\r\nb NOOP\r\n", max_line=100) == [LineTooLong(b"a"), Command(b"b", b"NOOP", [])]


def test_line_budget_without_an_end_of_line() -> None:
    parser = CommandParser(max_line=100)
    assert feed(parser, [b"a1 X " + b"y" * 100]) == [LineTooLong(b"a1")]
    assert feed(parser, [b"y" * 100_000]) == []
    assert parser.buffered == 0
    assert feed(parser, [b"y\r\nb NOOP\r\n"]) == [Command(b"b", b"NOOP", [])]


def test_line_budget_is_for_all_lines_of_a_command() -> None:
    data = b"a X {1+}\r\nb " + b"y" * 96 + b"\r\nb NOOP\r\n"
    assert events(data, max_line=100)[1:] == [LineTooLong(b"a"), Command(b"b", b"NOOP", [])]


def test_a_literal_behind_a_line_that_is_too_long_is_skipped() -> None:
    data = b"a X " + b"y" * 100 + b" {9+}\r\nb NOOP\r\n.\r\nc NOOP\r\n"
    for size in (1, 7, len(data)):
        parser = CommandParser(max_line=100)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert feed(parser, pieces) == [LineTooLong(b"a"), Command(b"c", b"NOOP", [])]


def test_longer_lines_for_one_command() -> None:
    longer = {b"AUTHENTICATE": 500}
    line = b"a authenticate PLAIN " + b"A" * 400 + b"\r\n"
    assert isinstance(only(line, max_line=100, longer=longer), Command)
    assert only(line.replace(b"authenticate", b"other"), max_line=100, longer=longer) == LineTooLong(b"a")
    assert events(b"a AUTHENTICATE PLAIN " + b"A" * 600, max_line=100, longer=longer) == [LineTooLong(b"a")]


@pytest.mark.parametrize("announcement", [b"{11}", b"{4294967296}"])
def test_literal_budget_when_asked_for(announcement: bytes) -> None:
    found = events(b"a X " + announcement + b"\r\nb NOOP\r\n", max_literal=10)
    size = int(announcement[1:-1])
    assert found == [LiteralTooLarge(b"a", size, True), Command(b"b", b"NOOP", [])]


def test_literal_budget_when_not_asked_for() -> None:
    found = events(b"a X {11+}\r\nb NOOP\r\n.. {2+}\r\n..\r\nc NOOP\r\n", max_literal=10)
    assert found == [LiteralTooLarge(b"a", 11, False), Command(b"c", b"NOOP", [])]


def test_an_endless_literal_takes_no_memory() -> None:
    parser = CommandParser(max_literal=10)
    assert feed(parser, [b"a X {4294967296+}\r\n"]) == [LiteralTooLarge(b"a", 4294967296, False)]
    assert feed(parser, [b"x" * 65536] * 100) == []
    assert parser.buffered == 0


def test_budget_of_all_literals() -> None:
    found = events(b"a X {6+}\r\n123456 {5+}\r\n12345\r\nb NOOP\r\n", max_literal=10, max_literals=10)
    assert found[1:] == [LiteralTooLarge(b"a", 5, False), Command(b"b", b"NOOP", [])]


def test_nesting_budget() -> None:
    deepest = tokens.MAX_NESTING
    assert isinstance(only(b"a X " + b"(" * deepest + b")" * deepest + b"\r\n"), Command)
    too_deep = only(b"a X " + b"(" * (deepest + 1) + b")" * (deepest + 1) + b"\r\n")
    assert too_deep == Bad(b"a", "Error in IMAP command X: Too many nested lists.")


@pytest.mark.parametrize("separator", [b" x", b" (x)", b' "x"'])
def test_argument_budget(separator: bytes) -> None:
    tokens_each = 2 if b"(" in separator else 1
    most = tokens.MAX_ARGUMENTS // tokens_each
    assert isinstance(only(b"a X" + separator * most + b"\r\n", max_line=1 << 20), Command)
    event = only(b"a X" + separator * (most + 1) + b"\r\n", max_line=1 << 20)
    assert event == Bad(b"a", "Error in IMAP command X: Too many arguments.")


def test_streamed_literals() -> None:
    parser = CommandParser(max_line=200, max_literal=5, streams={b"APPEND": 1})
    parser.feed(b"a APPEND {5+}\r\nINBOX (\\Seen) {10}\r\n")
    assert parser.next() == wire.NeedLiteral(5, False)
    start = parser.next()
    assert isinstance(start, wire.LiteralStart)
    assert (start.tag, start.name, start.size, start.synchronizing) == (b"a", b"APPEND", 10, True)
    assert start.arguments == [b"INBOX", [b"\\Seen"]]
    parser.accept()
    assert parser.next() is None
    assert parser.within_command
    parser.feed(b"01234")
    assert parser.next() == LiteralData(b"01234")
    parser.feed(b"56789\r\nb NOOP\r\n")
    assert parser.next() == LiteralData(b"56789")
    event = parser.next()
    assert isinstance(event, Command)
    assert isinstance(event.arguments[2], tokens.Streamed)
    assert event.arguments[2].size == 10
    assert parser.next() == Command(b"b", b"NOOP", [])


def test_streamed_literals_come_in_bounded_pieces() -> None:
    found = events(b"a APPEND INBOX {200000+}\r\n" + b"x" * 200000 + b"\r\n", streams={b"APPEND": 1})
    pieces = [event.data for event in found if isinstance(event, LiteralData)]
    assert sum(map(len, pieces)) == 200000
    assert max(map(len, pieces)) <= wire.CHUNK


@pytest.mark.parametrize("plus", [b"", b"+"])
def test_a_refused_stream(plus: bytes) -> None:
    parser = CommandParser(streams={b"APPEND": 1})
    parser.feed(b"a APPEND INBOX {10" + plus + b"}\r\n")
    assert isinstance(parser.next(), wire.LiteralStart)
    parser.refuse()
    if plus:
        parser.feed(b"b NOOP\r\n..\r\n")
    parser.feed(b"c NOOP\r\n")
    assert parser.next() == Command(b"c", b"NOOP", [])


def test_a_stream_must_be_answered() -> None:
    parser = CommandParser(streams={b"APPEND": 1})
    with pytest.raises(ValueError, match="no literal"):
        parser.accept()
    with pytest.raises(ValueError, match="no literal"):
        parser.refuse()
    parser.feed(b"a APPEND INBOX {10}\r\n")
    parser.next()
    with pytest.raises(ValueError, match="not answered"):
        parser.next()


def test_remaining_takes_the_input_out() -> None:
    parser = CommandParser()
    parser.feed(b"a STARTTLS\r\nb NOOP\r\nc X {5")
    assert parser.next() == Command(b"a", b"STARTTLS", [])
    assert parser.remaining() == b"b NOOP\r\nc X {5"
    assert parser.next() is None
    assert not parser.within_command
    parser.feed(b"d NOOP\r\n")
    assert parser.next() == Command(b"d", b"NOOP", [])


def test_raw_lines() -> None:
    parser = CommandParser(max_line=10)
    parser.feed(b"DONE\r\nnext")
    assert parser.read_line() == b"DONE"
    assert parser.read_line() is None
    parser.feed(b" line is long\r\nlast\n")
    assert parser.read_line() == LineTooLong(b"*")
    assert parser.read_line(4) == b"last"
    parser.feed(b"x" * 30)
    assert parser.read_line(20) == LineTooLong(b"*")
    parser.feed(b"x" * 30)
    assert parser.read_line(20) is None
    parser.feed(b"\r\na NOOP\r\n")
    assert parser.next() == Command(b"a", b"NOOP", [])


FRAGMENTS = st.sampled_from(
    [
        b"a",
        b" ",
        b" NOOP",
        b" FETCH",
        b"(",
        b")",
        b'"',
        b"\\",
        b"{3}",
        b"{2+}",
        b"{0+}",
        b"{99+}",
        b"\r\n",
        b"\n",
        b"\r",
    ]
    + [b"*", b"x" * 30, b"\0", b"\xff", b"]", b"[", b"1:*", b" APPEND x", b"{5}\r\n", b"{7+}\r\n"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(FRAGMENTS, max_size=30), st.data())
def test_cuts_do_not_matter(fragments: list[bytes], data: st.DataObject) -> None:
    """The events of an input are the same however it arrives, but for the pieces of streamed literals."""
    whole = b"".join(fragments)
    limits = {"max_line": 80, "max_literal": 50, "max_literals": 60, "streams": {b"APPEND": 1}}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    at_once, in_pieces = events(whole, **limits), feed(CommandParser(**limits), pieces)  # type: ignore[arg-type]
    assert _comparable(at_once) == _comparable(in_pieces)


def _comparable(found: list[wire.Event]) -> list[object]:
    """Events with streamed pieces joined and Streamed tokens shown by their size."""
    out: list[object] = []
    for event in found:
        if isinstance(event, LiteralData):
            if out and isinstance(out[-1], bytes):
                out[-1] += event.data
            else:
                out.append(event.data)
        elif isinstance(event, Command | wire.LiteralStart):
            out.append((type(event), event.tag, event.name, _shown(event.arguments)))
        else:
            out.append(event)
    return out


def _shown(arguments: list[tokens.Token]) -> list[object]:
    return [each.size if isinstance(each, tokens.Streamed) else each for each in arguments]


def test_parsing_is_linear() -> None:
    """A line of 64 KiB that arrives octet by octet, and the worst lines, take no time to speak of."""
    import time

    for line in (b'a X "' + b"\\\\" * 32000, b"a X " + b"(" * 32 + b"a " * 32000, b"a X " + b'"" ' * 9000):
        started = time.perf_counter()
        parser = CommandParser(max_line=65536)
        for octet in line:
            parser.feed(bytes((octet,)))
            parser.next()
        parser.feed(b"\r\n")
        assert parser.next() is not None
        assert time.perf_counter() - started < 5
