"""How a command ends otherwise than with OK."""

from __future__ import annotations


class CommandFailed(Exception):
    """The command's tagged answer is `condition` (NO or BAD) with `code` and str(error). Log: nothing."""

    def __init__(self, condition: bytes, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.condition = condition
        self.code = code


class Refused(CommandFailed):
    """NO: a proper command that cannot be done."""

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(b"NO", text, code)


class Mistaken(CommandFailed):
    """BAD: what the client sent is no such command; counts towards the limit of bad commands."""

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(b"BAD", text, code)


class Broken(Exception):
    """The session cannot go on: BYE with str(error) where the output allows it, and the end. Log: the end
    line.
    """
