"""`dovecot-uidlist` line by line, for mailboxes whose list is too large to be kept in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from typing import TYPE_CHECKING

from dovecotpy.storage import files
from dovecotpy.storage.driver import Lost
from dovecotpy.storage.maildir import filename, uidlist
from dovecotpy.storage.maildir.uidlist import Broken

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox

READ_OCTETS = 1 << 18
_FOLDER = 4
_END = (1 << 32, "")


def each_line(control: int) -> Iterator[tuple[int, str]]:
    """UIDs, rising, and base names of a list of version 3. control: the directory it is in. Raises Broken, OSError."""
    descriptor = os.open(uidlist.NAME, files.READ, dir_fd=control)
    try:
        rest = os.read(descriptor, READ_OCTETS)
        head, newline, rest = rest.partition(b"\n")
        if not head.startswith(b"3 ") or not newline:
            raise Broken(1, "Unsupported version")
        number, last = 1, 0
        while True:
            whole, newline, rest = rest.rpartition(b"\n")
            for line in os.fsdecode(whole).split("\n") if newline else ():
                number += 1
                head_words, _, name = line.partition(" :")
                digits = head_words.partition(" ")[0]
                uid = int(digits) if digits.isdecimal() and len(digits) <= 10 else 0
                if not name or not last < uid <= uidlist.MAX_UID:
                    raise Broken(number, f"Invalid record: {line[:100]}")
                last = uid
                yield uid, filename.base_of(name)
            data = os.read(descriptor, READ_OCTETS)
            if not data:
                return
            rest += data
    finally:
        os.close(descriptor)


def fits(box: MaildirBox) -> bool:
    """The list has a line with its UID and base name for every message that is known. Raises OSError."""
    listed = each_line(box.control)
    number, name = 0, ""
    try:
        for uid, path in box.stream():
            while number < uid:
                number, name = next(listed, _END)
            if number != uid or name != filename.base_of(path[_FOLDER:]):
                return False
    except (Broken, Lost):
        return False
    return True


class Found:
    """What one reading of the list says of some base names."""

    def __init__(self) -> None:
        self.uids: dict[str, int] = {}
        """of the base names that were asked for"""
        self.late: dict[str, int] = {}
        """base names of UIDs that were not told, or that no name is known of"""


def find(box: MaildirBox, bases: Set[str]) -> Found:
    """Look for the lines of these base names, the last of each, and for all that nobody knows the files of. Raises Broken, OSError."""
    found = Found()
    told, ghosts = box.told, box.ghosts
    for uid, base in each_line(box.control):
        if base in bases:
            found.uids[base] = uid
        if uid >= told or uid in ghosts:
            found.late[base] = uid
    return found
