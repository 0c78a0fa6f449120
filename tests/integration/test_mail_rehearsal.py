"""What the fork server does before it forks: sessions of its own that leave nothing but memory behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from dovecotpy import config
from dovecotpy.config.values import Settings
from dovecotpy.mail.imap import IMAP
from dovecotpy.mail.rehearsal import TIMES, rehearse
from dovecotpy.mail.service import Opened, Visit
from dovecotpy.mail.session import Session
from tests.descriptors import open_descriptors
from tests.integration.mail_world import SETTINGS, World


class Listening(World):
    """A world whose sessions are IMAP's, and remembered."""

    def __init__(self) -> None:
        super().__init__(IMAP._replace(open=self._open, summary=self._summary))
        plain = config.load(os.devnull).servers[0]
        own = {**SETTINGS, "base_dir": self.base, "mail_location": "maildir:~/Maildir"}
        self.settings = config.for_process(plain, "mail", "imap").changed(own)
        self.visits: list[Visit] = []
        self.ends: list[tuple[str, int]] = []

    def _open(self, visit: Visit) -> Opened:
        self.visits.append(visit)
        return IMAP.open(visit)

    def _summary(self, settings: Settings, session: Session, received: int, sent: int) -> str:
        self.ends.append((session.ended.text if session.ended else "", sent))
        return ""


@pytest.fixture
def world() -> Iterator[Listening]:
    listening = Listening()
    try:
        yield listening
    finally:
        listening.close()


def test_sessions_run_to_their_logout_and_leave_nothing(world: Listening) -> None:
    gc.collect()  # what other tests left open goes now, not meanwhile
    before = sorted(os.listdir(world.base)), os.getcwd()
    descriptors = open_descriptors()
    rehearse(world.prepared())
    assert [end for end, _ in world.ends] == ["Disconnected: Logged out"] * TIMES
    assert min(sent for _, sent in world.ends) > 600, "some command gave no answer"
    assert {visit.who.mail for visit in world.visits} == {f"maildir:{world.base}/rehearsal.{os.getpid()}"}
    assert (sorted(os.listdir(world.base)), os.getcwd()) == before
    assert open_descriptors() <= descriptors
    world.log.setblocking(False)
    with pytest.raises(BlockingIOError):
        world.log.recv(1)


def test_without_a_directory_there_is_none(world: Listening) -> None:
    world.set(base_dir=world.base + "/nowhere")
    rehearse(world.prepared())
    assert world.visits == []


def test_input_that_is_not_understood_ends_it_all_the_same(world: Listening) -> None:
    world.set(imap_max_line_length=1)
    rehearse(world.prepared())
    assert len(world.ends) == TIMES


def test_a_program_of_the_administrators_is_not_rehearsed(world: Listening) -> None:
    world.set(mail_executable="/usr/local/bin/wrapper imap")
    rehearse(world.prepared())
    assert world.visits == []
