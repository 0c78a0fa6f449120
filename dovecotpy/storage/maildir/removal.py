"""Directories that go, and what somebody who died was making or removing."""

from __future__ import annotations

import os
import stat

from dovecotpy import clock
from dovecotpy.storage import files

TEMPORARY = "..dovecotpy-"
"""How directories begin that are being made or removed."""
TRASH_SECONDS = 3600
MAX_REMOVED_DEPTH = 8


def clean_trash(parent: int, name: str) -> None:
    """Remove what somebody who died was making or removing."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return
    if clock.file_time() - found.st_ctime > TRASH_SECONDS:
        remove(parent, name)


def remove(parent: int, name: str, depth: int = 0) -> None:
    """Remove a directory and what is in it, never through a link. What cannot go stays."""
    try:
        directory = os.open(name, files.DIRECTORY, dir_fd=parent)
    except OSError:
        return
    try:
        for entry in os.listdir(directory):
            try:
                found = os.stat(entry, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode) and depth < MAX_REMOVED_DEPTH:
                    remove(directory, entry, depth + 1)
                else:
                    os.unlink(entry, dir_fd=directory)
            except OSError:
                continue
    finally:
        os.close(directory)
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError:
        return
