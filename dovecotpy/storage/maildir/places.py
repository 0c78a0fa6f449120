"""Where each message of a Maildir is, as far as is known: read whole from the index only when a listing must be compared with it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dovecotpy.storage.columns import places_of
from dovecotpy.storage.driver import Lost, Remembered
from dovecotpy.storage.maildir.listing import Marks

_FOLDER = 4
"""Letters of `cur/` and `new/`."""
_MANY = 16
"""Messages from which on their names are looked up together."""
LARGE = 100_000
"""Messages from which on all names at once are too much for a process's memory, as long as an index has them."""
MOST_GHOSTS = 10_000
"""Messages without names that are looked for one by one."""
_UNSURE = ":\x7f"
"""Ends the name of a message whose flags changed since it was remembered, so that no listing shows it as it was."""


class Places:
    """UIDs and names. Until `load_names`, single names come from what an index remembers, with what changed since on top."""

    def __init__(self) -> None:
        self.new: dict[str, int] = {}
        """names in new/ to UIDs"""
        self.cur: dict[str, int] = {}
        """names in cur/ to UIDs"""
        self.names: dict[int, str] = {}
        """UIDs to names, in whichever directory"""
        self.ghosts: dict[int, str] = {}
        """told UIDs that no listing has shown yet: base names, empty where not known"""
        self.known: Marks | None = None
        """what the names are true of; None: a listing is due"""
        self._source: Remembered | None = None
        self._adopted: Sequence[int] = ()
        self._since: dict[int, str] = {}
        """changes to what the source says: paths, empty where a message is gone"""
        self._moved: dict[int, str] | None = None
        """the same since an index wrote names down; None: it never did"""
        self._behind: frozenset[int] = frozenset()

    @property
    def behind(self) -> frozenset[int]:
        """UIDs whose names are remembered from before their last change; their base names are right."""
        return self._behind

    def start_from(
        self,
        source: Remembered,
        uids: Sequence[int],
        behind: frozenset[int] = frozenset(),
        *,
        first: bool = False,
    ) -> None:
        """Take what an index remembers of these UIDs. first: none does yet."""
        self._source, self._adopted, self._behind = source, uids, behind
        self._since, self._moved = {}, None if first else {}

    def rest_on(self, source: Remembered) -> None:
        """What an index wrote down just now of everything takes the place of what it was written from."""
        if self._source is None or self._since or self.ghosts:
            source.close()
            return
        self._source.close()
        self._source = source

    @property
    def loaded(self) -> bool:
        """`names`, `new` and `cur` say everything that is known."""
        return self._source is None

    @property
    def count(self) -> int:
        """Messages that have a name, or had one when an index last saw it."""
        return len(self.names) if self._source is None else len(self._adopted)

    @property
    def is_large(self) -> bool:
        """Only `stream` should say where everything is."""
        return self._source is not None and len(self._adopted) >= LARGE

    def stream(self) -> Iterator[tuple[int, str]]:
        """UIDs and paths of everything that is known, never all of it in memory. Messages that no name is known of become ghosts.

        What is `behind` has a name that no listing shows. Before `load_names`. Raises Lost.
        """
        source, since, adopted, behind = self._source, self._since, self._adopted, self._behind
        if source is None:
            raise Lost("everything is in memory")
        at, count = 0, len(adopted)
        for uid, path in source.all():
            while at < count and adopted[at] < uid:
                yield from self._unsourced(adopted[at])
                at += 1
            if at == count:
                break
            if adopted[at] != uid:
                continue
            at += 1
            if uid in since:
                path = since[uid]
                if not path:
                    continue
            elif uid in behind:
                path = path.partition(":")[0] + _UNSURE
            yield uid, path
        for place in range(at, count):
            yield from self._unsourced(adopted[place])
        for uid in sorted(since):
            place = bisect_left(adopted, uid)
            if since[uid] and (place == count or adopted[place] != uid):
                yield uid, since[uid]

    def _unsourced(self, uid: int) -> Iterator[tuple[int, str]]:
        """A message that the source lacks."""
        path = self._since.get(uid)
        if path is None and uid not in self.ghosts:
            if len(self.ghosts) >= MOST_GHOSTS:
                raise Lost("many messages have no names")
            self.ghosts[uid] = ""
            self.known = None
        if path:
            yield uid, path

    def load_names(self) -> None:
        """Make sure that names are there, from the index or as ghosts that the next listing finds."""
        source, since = self._source, self._since
        if source is None:
            return
        try:
            adopted = frozenset(self._adopted)
            pairs = [(uid, path[:_FOLDER], path[_FOLDER:]) for uid, path in source.all() if uid in adopted]
        except Lost:
            pairs = []
            self._moved = None
        self._drop_source()
        if self._behind:
            pairs = [
                (uid, folder, name.partition(":")[0] + _UNSURE if uid in self._behind else name)
                for uid, folder, name in pairs
            ]
        self.names = {uid: name for uid, _, name in pairs}
        self.cur = {name: uid for uid, folder, name in pairs if folder == "cur/"}
        self.new = {name: uid for uid, folder, name in pairs if folder != "cur/"}
        if len(pairs) != len(self._adopted) or self.ghosts:
            lost = [uid for uid in self._adopted if uid not in self.names and uid not in since]
            others = {
                uid: base for uid, base in self.ghosts.items() if uid not in adopted and uid not in since
            }
            self.ghosts = {**dict.fromkeys(lost, ""), **others}
            if lost:
                self.known = None
        if self._behind:
            self.known = None
        for uid, path in since.items():
            self._take_out(uid)
            if path:
                self._enter(uid, path[_FOLDER:], is_new=path.startswith("new/"))

    def _drop_source(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source, self._since = None, {}

    def forget_places(self) -> None:
        """Nothing is known."""
        self._drop_source()
        self._adopted, self._moved, self.known, self._behind = (), None, None, frozenset()
        self.new, self.cur, self.names, self.ghosts = {}, {}, {}, {}

    def where(self, uid: int) -> tuple[bool, str] | None:
        """Whether a message is in new/, and its name; None: not known."""
        source = self._source
        if source is None:
            name = self.names.get(uid)
            return None if name is None else (name in self.new, name)
        path = self._since.get(uid)
        if path is None:
            path = self._look_up(source, uid)
        return (path.startswith("new/"), path[_FOLDER:]) if path else None

    def whereabouts(self, uids: Sequence[int]) -> list[tuple[bool, str] | None]:
        """As `where`, of many messages."""
        source = self._source
        if source is not None and len(uids) >= _MANY:
            since = self._since
            unseen = sorted([uid for uid in uids if uid not in since])
            try:
                paths = source.several(unseen)
            except Lost:
                self.load_names()
                return self.whereabouts(uids)
            there = -1 not in places_of(array("I", self._adopted), unseen)
            if there and len(paths) == len(unseen):
                paths.update((uid, since[uid]) for uid in uids if uid in since)
                found = [paths[uid] for uid in uids]
                return [(path[0] == "n", path[_FOLDER:]) if path else None for path in found]
        if source is not None:
            return [self.where(uid) for uid in uids]
        new = self.new
        known = [self.names.get(uid) for uid in uids]
        return [None if name is None else (name in new, name) for name in known]

    def _look_up(self, source: Remembered, uid: int) -> str:
        """A path of the source; what it lacks is a ghost that a listing will find."""
        at = bisect_left(self._adopted, uid)
        if at == len(self._adopted) or self._adopted[at] != uid:
            return ""
        try:
            path = source.find(uid)
        except Lost:
            self.load_names()
            return ""
        if path is None:
            self.ghosts[uid] = ""
            self.known = None
        return path or ""

    def name_of(self, uid: int) -> str | None:
        """The name of a message, in whichever directory."""
        found = self.where(uid)
        return None if found is None else found[1]

    def put(self, uid: int, name: str, *, is_new: bool) -> None:
        """A message is at this name and no longer at another one."""
        if self._source is None:
            self._take_out(uid)
        self.place(uid, name, is_new=is_new)

    def place(self, uid: int, name: str, *, is_new: bool) -> None:
        """A message that had no name is at this one."""
        if self._source is None:
            self._enter(uid, name, is_new=is_new)
        self._note(uid, ("new/" if is_new else "cur/") + name)

    def place_in_cur(self, named: dict[int, str]) -> None:
        """Many messages that had no names are in cur/."""
        if self._source is None and self._moved is None:
            self.names.update(named)
            self.cur.update(zip(named.values(), named, strict=True))
            return
        for uid, name in named.items():
            self.place(uid, name, is_new=False)

    def place_all(self, placed: Sequence[tuple[int, bool, str]]) -> None:
        """As `place`, of many messages: UID, whether it is in new/, name."""
        if self._source is None:
            self.names.update((uid, name) for uid, _, name in placed)
            self.new.update((name, uid) for uid, is_new, name in placed if is_new)
            self.cur.update((name, uid) for uid, is_new, name in placed if not is_new)
        paths = {uid: ("new/" if is_new else "cur/") + name for uid, is_new, name in placed}
        if self._source is not None:
            self._since.update(paths)
        if self._moved is not None:
            self._moved.update(paths)

    def renamed(self, uid: int, name: str, target: str, *, was_new: bool) -> None:
        """A message went from one name to another one in cur/."""
        if self._source is None:
            self.names[uid] = target
            (self.new if was_new else self.cur).pop(name, None)
            self.cur[target] = uid
        self._note(uid, "cur/" + target)

    def renamed_all(self, steps: Sequence[tuple[int, bool, str, str]]) -> None:
        """As `renamed`, of many messages: UID, whether it was in new/, the name that it had and the one that it has."""
        named = {uid: target for uid, _, _, target in steps}
        if self._source is None:
            self.names.update(named)
            new, cur = self.new, self.cur
            for _, was_new, name, _ in steps:
                (new if was_new else cur).pop(name, None)
            cur.update(zip(named.values(), named, strict=True))
        paths = {uid: "cur/" + name for uid, name in named.items()}
        if self._source is not None:
            self._since.update(paths)
        if self._moved is not None:
            self._moved.update(paths)

    def forget(self, uid: int) -> None:
        """A message is not at its name any more."""
        if self._source is None:
            self._take_out(uid)
        self._note(uid, "")

    def _note(self, uid: int, path: str) -> None:
        if self._source is not None:
            self._since[uid] = path
        if self._moved is not None:
            self._moved[uid] = path

    def _enter(self, uid: int, name: str, *, is_new: bool) -> None:
        self.names[uid] = name
        (self.new if is_new else self.cur)[name] = uid

    def _take_out(self, uid: int) -> None:
        name = self.names.pop(uid, None)
        if name is not None and self.new.pop(name, None) is None:
            self.cur.pop(name, None)

    def caught_up(self) -> None:
        """All names are as a listing showed them."""
        self._behind = frozenset()

    def found_behind(self, uid: int, name: str) -> None:
        """One of `behind` is at this name in cur/."""
        self._behind -= {uid}
        self.put(uid, name, is_new=False)

    # For an index

    def remembered(self) -> Iterable[tuple[int, str]]:
        """UIDs and paths (`cur/name`), by rising UID."""
        if self._source is not None and not self._since and not self._behind:
            return self._source.all()
        self.load_names()
        new = self.new
        return [(uid, ("new/" if name in new else "cur/") + name) for uid, name in sorted(self.names.items())]

    def moved(self) -> Mapping[int, str] | None:
        """What changed since an index had it: paths, empty where a message is gone; None: it is all new."""
        return self._moved

    def kept(self) -> None:
        """An index wrote it down."""
        self._moved = {}
