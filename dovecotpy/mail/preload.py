"""Everything that would be loaded at first use: after a chroot it could not be, or would be the user's own file."""

from __future__ import annotations

import os
import time

from dovecotpy.message import charset

ZONE = ":/etc/localtime"
"""Without TZ the C library looks for its zone again at every call, in a chroot for the user's."""
_CODECS = ("ascii", "latin-1", "utf-8", "utf-7", "utf-16", "utf-32", "unicode_escape")


def preload() -> None:
    """Load codecs, converters and the time zone. What asks for groups does so outside of any chroot."""
    charset.preload()
    for name in _CODECS:
        "a".encode(name)
    os.environ.setdefault("TZ", ZONE)
    time.tzset()
