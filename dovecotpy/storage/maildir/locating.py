"""Finding a message that somebody renamed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dovecotpy.storage.errors import InUse
from dovecotpy.storage.maildir import filename
from dovecotpy.storage.maildir.comparing import PAUSE
from dovecotpy.storage.maildir.listing import look

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox


SEARCHES = 30
"""Listings in search of one message before giving up."""


def locate(box: MaildirBox, uid: int) -> str | None:
    """Find a message that is not at its name; None if it is proven gone. Updates what the mailbox knows of its name.

    Raises InUse when the mailbox does not hold still long enough to tell.
    """
    old = box.name_of(uid)
    if old is None:
        return None
    base = filename.base_of(old)
    for _ in range(SEARCHES):
        listing = look(box)
        box.known = None
        for is_new, names in ((True, listing.new), (False, listing.cur)):
            for name in names:
                if name.partition(":")[0] == base:
                    box.put(uid, name, is_new=is_new)
                    return name
        if listing.proves_gone(base):
            return None
        time.sleep(PAUSE)
    raise InUse("Timeout while waiting for lock")
