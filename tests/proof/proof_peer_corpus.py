"""Every real message served by Debian's Dovecot and by us side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus import corpus_messages, requires_corpus
from tests.integration.peer_table import compare
from tests.integration.storage_processes import requires_dovecot

pytestmark = [requires_corpus, requires_dovecot, pytest.mark.timeout(1200)]


def test_every_message(tmp_path: Path) -> None:
    compare(tmp_path, list(corpus_messages()))
