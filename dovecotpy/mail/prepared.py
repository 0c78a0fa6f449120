"""What the fork server found out once, as root and outside of any chroot, for all its workers."""

from __future__ import annotations

import socket
from typing import NamedTuple

from dovecotpy.config.values import Namespace, Settings
from dovecotpy.log.client import Log
from dovecotpy.mail.rules import Rules
from dovecotpy.mail.service import Service

NEEDED = (
    "base_dir",
    "mail_debug",
    "mail_executable",
    "mail_location",
    "mail_process_reuse",
    "shutdown_clients",
    "verbose_proctitle",
)
"""Settings that a worker asks for when it is too late to say that one was not passed; those of `rules` are asked for at the start."""


class Prepared(NamedTuple):
    """The same for every worker of one generation."""

    service: Service
    settings: Settings
    namespaces: tuple[Namespace, ...]
    plugin: Settings
    """`plugin {}`, as text"""
    rules: Rules
    log: Log
    queue: socket.socket
    """the receiving end of the mail queue"""
    generation: str
    """differs between two generations that live at the same time"""
    auth_uids: frozenset[int]
    """whom an auth process may have been when it began to listen"""

    @property
    def executable(self) -> tuple[str, ...]:
        """mail_executable where it is a program of the administrator's, in words; empty for the built-in one."""
        words = self.settings.text("mail_executable").split()
        if not words or (len(words) == 1 and words[0].endswith(f"dovecot/{self.service.name}")):
            return ()
        return tuple(words)
