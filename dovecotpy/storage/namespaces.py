"""Namespaces: what `namespace {}` sections mean together, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dovecotpy.config.values import Namespace
from dovecotpy.storage.errors import Internal
from dovecotpy.storage.maildir.tree import MaildirTree


class Space(NamedTuple):
    """One namespace over its tree."""

    type: str
    prefix: bytes
    separator: bytes
    inbox: bool
    hidden: bool
    list: bool
    subscriptions: bool
    is_alias: bool
    tree: MaildirTree


def _wrong(text: str) -> Internal:
    return Internal.because(f"namespace configuration error: {text}")


def with_inbox(namespaces: Sequence[Namespace]) -> tuple[Namespace, ...]:
    """A single private namespace has INBOX, whether it says so or not."""
    private = [each for each in namespaces if each.type == "private"]
    if len(private) != 1 or any(each.inbox for each in namespaces):
        return tuple(namespaces)
    return tuple(each._replace(inbox=True) if each is private[0] else each for each in namespaces)


def spaces_of(namespaces: Sequence[Namespace], trees: Mapping[str, MaildirTree]) -> tuple[Space, ...]:
    """Namespaces with the trees of their prefixes. Raises Internal."""
    spaces = []
    for each in namespaces:
        tree = trees.get(each.prefix if each.alias_for is None else each.alias_for)
        if tree is None:
            raise _wrong(f"alias_for points to unknown namespace: {each.alias_for}")
        spaces.append(
            Space(
                type=each.type,
                prefix=each.prefix.encode(),
                separator=each.separator.encode() or tree.separator,
                inbox=each.inbox,
                hidden=each.hidden,
                list=each.list != "no",
                subscriptions=each.subscriptions and each.alias_for is None,
                is_alias=each.alias_for is not None,
                tree=tree,
            )
        )
    return tuple(spaces)


def check(spaces: Sequence[Space]) -> None:
    """Raises Internal with the reference's text for the first thing that is wrong."""
    listed = [space for space in spaces if space.list]
    if sum(space.inbox for space in spaces) > 1:
        raise _wrong("There can be only one namespace with inbox=yes")
    for space in listed:
        if space.prefix and not space.prefix.endswith(space.separator):
            raise _wrong(f"list=yes requires prefix={space.prefix.decode()} to end with separator")
        if space.separator != listed[0].separator:
            raise _wrong("All list=yes namespaces must use the same separator")
    if any(not space.prefix and not space.list for space in spaces):
        raise _wrong("Empty prefix requires list=yes")
    if not any(space.inbox for space in spaces):
        raise _wrong("inbox=yes namespace missing")
    if not listed:
        raise _wrong("no list=yes namespaces")
    if not any(space.subscriptions for space in spaces):
        raise _wrong("no subscriptions=yes namespaces")
