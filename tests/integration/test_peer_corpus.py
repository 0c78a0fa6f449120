"""Real messages served by Debian's Dovecot and by us side by side: what differs stands in a table with its reason."""

from __future__ import annotations

from pathlib import Path

from tests.corpus import corpus_messages, requires_corpus
from tests.integration.peer_table import compare, table
from tests.integration.storage_processes import requires_dovecot

pytestmark = [requires_corpus, requires_dovecot]
STEP = 12


def test_a_sample_and_all_messages_that_differ(tmp_path: Path) -> None:
    different = {name for name, _ in table()}
    mail = [
        each for number, each in enumerate(corpus_messages()) if number % STEP == 0 or each[0] in different
    ]
    compare(tmp_path, mail)
