"""Base subjects (RFC 5256 section 2.1): a subject without what replying and forwarding adds. Linear in its length."""

from __future__ import annotations

import re
from typing import NamedTuple

_LEADER = re.compile(r"(?:re|fwd?) ?(?:\[[^\[\]]*\] ?)?:", re.IGNORECASE | re.ASCII)
"""subj-refwd; blanks are single by then."""
_BLOBS = re.compile(r"(?:\[[^\[\]]*\] ?)+")
_BLANKS = re.compile(r"[ \t\r\n]+")
_TRAILER = "(fwd)"
_FORWARD = "[fwd:"


class BaseSubject(NamedTuple):
    """What is left of a subject."""

    text: str
    reply: bool
    """whether a mark of a reply or of forwarding was taken away (RFC 5256 section 3, REFERENCES)"""


def base_subject(subject: str) -> BaseSubject:
    """The base subject of a decoded subject. Never raises."""
    text = subject
    if "  " in text or "\t" in text or "\n" in text or "\r" in text:
        text = _BLANKS.sub(" ", text)
    start, end = 0, len(text)
    reply = False
    while True:
        end, trailed = _without_trailers(text, start, end)
        start, led = _without_leaders(text, start, end)
        reply = reply or trailed or led
        if end - start <= len(_FORWARD) or text[end - 1] != "]":
            break
        if text[start : start + len(_FORWARD)].lower() != _FORWARD:
            break
        reply = True
        start += len(_FORWARD)
        end -= 1
    return BaseSubject(text[start:end], reply)


def _without_trailers(text: str, start: int, end: int) -> tuple[int, bool]:
    """Step 2: the end without subj-trailers, and whether one was more than a blank."""
    found = False
    while end > start:
        if text[end - 1] == " ":
            end -= 1
        elif text[end - 1] == ")" and text[max(end - 5, start) : end].lower() == _TRAILER:
            end -= len(_TRAILER)
            found = True
        else:
            break
    return end, found


def _without_leaders(text: str, start: int, end: int) -> tuple[int, bool]:
    """Steps 3 to 5: the start without subj-leaders and subj-blobs, and whether one was a subj-refwd.

    Blobs without a subj-refwd behind them have none however many of them are gone, so that no blob is looked at twice.
    """
    found = False
    while start < end:
        first = text[start]
        if first == " ":
            start += 1
            continue
        behind = start
        if first == "[":
            blobs = _BLOBS.match(text, start, end)
            if blobs:
                behind = blobs.end()
        leader = _LEADER.match(text, behind, end)
        if leader:
            start = leader.end()
            found = True
        elif behind == start:
            break
        elif behind < end:
            start = behind
        else:
            return text.rindex("[", start, end), found  # the last blob is the subject where nothing else is
    return start, found
