"""What mailboxes are for, by their names (RFC 6154): the setting mail_special_use."""

from __future__ import annotations

from collections.abc import Sequence

USES = ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash")
"""RFC 6154 section 2."""


class Wrong(Exception):
    """An item of the setting is no NAME=\\Use. str(error): the item."""


def uses(items: Sequence[str]) -> dict[str, frozenset[str]]:
    """The uses of each name. Raises Wrong."""
    known = {use.lower(): use for use in USES}
    found: dict[str, frozenset[str]] = {}
    for item in items:
        name, equals, use = (part.strip() for part in item.rpartition("="))
        if not name or not equals or use.lower() not in known:
            raise Wrong(item.strip())
        found[name] = found.get(name, frozenset()) | {known[use.lower()]}
    return found
