"""docs/extensions.md says what CAPABILITY says."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovecotpy.imap.document import EXTENSIONS, document
from tests.protocol.imap_model import ModelStore
from tests.protocol.imap_transcript import Client, settings

ROOT = Path(__file__).parents[3]


def test_the_table_has_what_is_announced_and_nothing_else() -> None:
    client = Client(ModelStore(), settings(mail_max_message_size=1, imap_save_limit=1))
    told = client.session.capability().decode().replace("LIMIT=1", "LIMIT").split()
    assert "LITERAL-" not in told
    assert sorted([*told, "LITERAL-"]) == sorted(EXTENSIONS)


def test_what_it_points_to_is_there() -> None:
    for each in EXTENSIONS.values():
        assert each.code
        assert each.tests
        for path in (
            *(ROOT / "dovecotpy" / path for path in each.code),
            *(ROOT / "tests" / path for path in each.tests),
        ):
            assert path.exists(), path


def test_the_page_is_not_stale() -> None:
    page = (ROOT / "docs" / "extensions.md").read_text()
    assert page == document(), "run: make docs"


@pytest.mark.parametrize("name", sorted(EXTENSIONS))
def test_each_can_be_switched_off(name: str) -> None:
    if name in ("CHILDREN", "IMAP4rev1"):
        return
    client = Client(
        ModelStore(),
        settings(mail_max_message_size=1, imap_save_limit=1, imap_disabled_extensions=(name.lower(),)),
    )
    told = client.session.capability().decode().split()
    assert name not in [word.partition("=")[0] if "LIMIT=" in word else word for word in told]
