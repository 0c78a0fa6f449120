"""Files of Courier-IMAP, read where ours are missing: UIDs, subscriptions, keywords."""

from __future__ import annotations

import os

from dovecotpy.storage import files
from dovecotpy.storage.maildir.filename import base_of

UIDS = "courierimapuiddb"
SUBSCRIBED = "courierimapsubscribed"
KEYWORDS = "courierimapkeywords"
MAX_UID = 0xFFFFFFFF


def uids(directory: int) -> tuple[int, int, list[tuple[str, int]]] | None:
    """UIDVALIDITY, next UID, base names with rising UIDs; None where there is no usable file."""
    try:
        data, _ = files.read(directory, UIDS)
    except OSError:
        return None
    head, *lines = os.fsdecode(data).split("\n")
    words = head.split(" ")
    if (
        len(words) != 3
        or words[0] != "1"
        or not all(word.isdigit() and 0 < int(word) <= MAX_UID for word in words)
    ):
        return None
    found = []
    last = 0
    for line in lines:
        number, _, name = line.partition(" ")
        if number.isdigit() and name and last < int(number) <= MAX_UID:
            last = int(number)
            found.append((base_of(name), last))
    return int(words[1]), max(int(words[2]), last + 1), found


def subscriptions(directory: int, separator: str) -> list[bytes] | None:
    """Names without `INBOX.`, with our separator; None where there is no such file."""
    try:
        data, _ = files.read(directory, SUBSCRIBED)
    except OSError:
        return None
    names = []
    for line in data.split(b"\n"):
        name = line[6:] if line.upper().startswith(b"INBOX.") else line
        if name:
            names.append(name.replace(b".", separator.encode()))
    return names


def keywords(directory: int) -> dict[str, list[str]]:
    """Keywords by base name, from `courierimapkeywords/:list`; empty where there is none.

    The file: one keyword a line, an empty line, then `<name>:<number> <number> …` with places in that list.
    """
    try:
        folder = os.open(KEYWORDS, files.DIRECTORY, dir_fd=directory)
    except OSError:
        return {}
    try:
        data, _ = files.read(folder, ":list")
    except OSError:
        return {}
    finally:
        os.close(folder)
    head, _, body = os.fsdecode(data).partition("\n\n")
    names = head.split("\n")
    found: dict[str, list[str]] = {}
    for line in body.split("\n"):
        name, colon, numbers = line.rpartition(":")
        places = [int(word) for word in numbers.split() if word.isdigit() and int(word) < len(names)]
        if colon and name and places:
            found[base_of(name)] = [names[place] for place in places if names[place]]
    return found
