"""The start of an exec'ed child: what the master leaves in its environment, and how the child takes it.

The environment is clean but for DOVECOTPY_VERSION, DOVECOTPY_FDS (`name=number` separated by blanks), TZ, what the administrator lets
through, and DOVECOTPY_PADDING: without a few hundred octets of environment setproctitle has no room and cuts titles or does nothing.
The settings come by a pipe: blocks headed by `[name]`, each a `Settings.dump()`, up to EOF.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import dovecotpy
from dovecotpy.config.values import Settings

PADDING = "x" * 256


class Start(NamedTuple):
    """What an exec'ed child was given."""

    version: str
    """the master's; a child of another version says FAILED and ends"""
    descriptors: Mapping[str, int]
    """by name: control, log, and those of its kind"""
    settings: Mapping[str, Settings]
    """by block"""

    def matching(self, prefix: str) -> list[int]:
        """Descriptors whose name begins so, in the order of their names' numbers."""
        found = [(name, number) for name, number in self.descriptors.items() if name.startswith(prefix)]
        return [number for _, number in sorted(found, key=lambda item: (len(item[0]), item[0]))]

    def blocks(self, prefix: str) -> list[Settings]:
        """Blocks whose name begins so, in the order in which they came."""
        return [settings for name, settings in self.settings.items() if name.startswith(prefix)]


def environment(descriptors: Mapping[str, int], keep: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that the master execs; `keep` goes in as it is."""
    named = " ".join(f"{name}={number}" for name, number in descriptors.items())
    return {
        **keep,
        "DOVECOTPY_VERSION": dovecotpy.__version__,
        "DOVECOTPY_FDS": named,
        "DOVECOTPY_PADDING": PADDING,
    }


def encode_settings(blocks: Mapping[str, Settings]) -> bytes:
    """What the master writes into the settings pipe."""
    return b"".join(b"[" + name.encode() + b"]\n" + settings.dump() for name, settings in blocks.items())


def decode_settings(data: bytes) -> dict[str, Settings]:
    """The blocks in what came by the settings pipe."""
    blocks: dict[str, list[bytes]] = {}
    current: list[bytes] = []
    for line in data.splitlines(keepends=True):
        if line.startswith(b"["):
            current = blocks.setdefault(line.strip()[1:-1].decode(), [])
        else:
            current.append(line)
    return {name: Settings.load(b"".join(lines)) for name, lines in blocks.items()}


def receive() -> Start:
    """Take what the master left. Every named descriptor becomes close-on-exec; the settings pipe is read and closed."""
    named = dict(pair.split("=", 1) for pair in os.environ["DOVECOTPY_FDS"].split())
    descriptors = {name: int(number) for name, number in named.items()}
    for number in descriptors.values():
        os.set_inheritable(number, False)
    settings = decode_settings(_read_all(descriptors.pop("settings")))
    return Start(os.environ["DOVECOTPY_VERSION"], descriptors, settings)


def _read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb", buffering=0) as pipe:
        return pipe.readall()
