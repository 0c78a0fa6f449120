"""imap_logout_format: what the log says of a session when it ends."""

from __future__ import annotations

from typing import cast

import pytest

from dovecotpy.config.values import Settings
from dovecotpy.mail.imap import IMAP
from dovecotpy.mail.service import Session


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("bytes=%i/%o", "bytes=12/345"),
        ("%o octets went out, %i came in", "345 octets went out, 12 came in"),
        ("", ""),
        ("100%% of %i", "100% of 12"),
    ],
)
def test_octets_as_the_setting_says(form: str, said: str) -> None:
    settings = Settings({"imap_logout_format": form})
    assert IMAP.summary(settings, cast(Session, None), 12, 345) == said
