"""One client's questions to the auth processes: who is asked, who is asked next, and which request is claimed at the end."""

from __future__ import annotations

from dovecotpy.login.authlink import Asker, AuthLinks, Question, Request


class Asking:
    """At most one request at a time. asker: whom the answers are for."""

    __slots__ = ("_asker", "_auths", "_question", "request")

    def __init__(self, asker: Asker, auths: AuthLinks) -> None:
        self._asker = asker
        self._auths = auths
        self._question: Question | None = None
        self.request: Request | None = None
        """what waits for an answer, or was answered with success"""

    def ask(self, question: Question) -> bool:
        """Ask the first auth section that can be asked; False when there is none."""
        self.request = self._auths.ask(self._asker, question)
        plain = question.mechanism == "PLAIN" and question.initial is not None
        again = self.request is not None and plain and self._auths.several
        self._question = question if again else None
        return self.request is not None

    def ask_next(self) -> bool:
        """After a failure: whether a plaintext password is tried with the next auth section."""
        request, question = self.request, self._question
        self.forget()
        if request is not None and question is not None:
            self.request = self._auths.ask(self._asker, question, after=request.link)
            self._question = question if self.request is not None else None
        return self.request is not None

    def respond(self, data: bytes) -> None:
        """The client's answer to a challenge."""
        if self.request is not None:
            self.request.link.answer(self.request.id, data)

    def succeeded(self) -> None:
        """The request is kept: it is what the mail process claims."""
        self._question = None

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        if self.request is not None:
            self.request.link.cancel(self.request.id)
        self.forget()

    def forget(self) -> None:
        """The request is over."""
        self.request = self._question = None
