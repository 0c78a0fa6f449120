"""The one place that finds the corpus of real messages; tests that need it are skipped where it is absent.

It lies in the directory named by DOVECOTPY_CORPUS, or else in ../shared/corpus beside the checkout.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CORPUS = Path(os.environ.get("DOVECOTPY_CORPUS") or Path(__file__).parents[2] / "shared" / "corpus")

requires_corpus = pytest.mark.skipif(
    not (CORPUS / "eml").is_dir(),
    reason=f"no corpus of real messages at {CORPUS} (DOVECOTPY_CORPUS names it)",
)

_SEPARATOR = re.compile(rb"\n\r?\n(?=From [^\n]*[0-9]{4})")


def corpus_messages() -> Iterator[tuple[str, bytes]]:
    """Name and octets of every message: each file of eml/, each message of the mailboxes without its From_ line."""
    for path in sorted((CORPUS / "eml").glob("*/*")):
        if path.is_file():
            yield str(path.relative_to(CORPUS)), path.read_bytes()
    for path in sorted((CORPUS / "mbox").glob("*.mbox")):
        for number, message in enumerate(split_mbox(path.read_bytes())):
            yield f"{path.relative_to(CORPUS)}#{number}", message


def split_mbox(data: bytes) -> list[bytes]:
    """The messages of an mbox: separated by From_ lines with a year, each after an empty line."""
    if not data.startswith(b"From "):
        return [data]
    starts = [0] + [found.end() for found in _SEPARATOR.finditer(data)]
    ends = starts[1:] + [len(data)]
    return [data[start:end].partition(b"\n")[2] for start, end in zip(starts, ends, strict=True)]
