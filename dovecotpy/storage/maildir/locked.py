"""A Maildir while `dovecot-uidlist.lock` is held: everything that writes."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from dovecotpy.storage import files
from dovecotpy.storage.driver import UNKNOWN_DATE, Changed, Columns, Delta, Draft, Gone, Moved, Row
from dovecotpy.storage.errors import Internal, LimitReached
from dovecotpy.storage.flags import SEEN
from dovecotpy.storage.maildir import filename
from dovecotpy.storage.maildir.body import FileDraft
from dovecotpy.storage.maildir.filename import Info
from dovecotpy.storage.maildir.locating import locate
from dovecotpy.storage.maildir.lockedlist import LockedList
from dovecotpy.storage.maildir.placing import NO_LINK, PLACES, Placing

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox
LINKS = 1000
"""Messages linked between two looks at the client."""


class LockedMaildir(LockedList):
    """The right to write. A context manager; entering it again while the lock is held costs nothing."""

    __slots__ = ()

    # Messages

    def sync(self, known: Columns, since: bytes) -> Delta:
        """As `MaildirBox.sync`, under the lock."""
        self.read_list()
        return self._box.sync(known, since)

    def save(self, drafts: Sequence[Draft]) -> list[Row]:
        """Place messages: all or none, durable as an OK promises. Raises NoSpace, LimitReached, StoreError."""
        box = self._box
        bodies = [_file_draft(draft) for draft in drafts]
        for draft, body in zip(drafts, bodies, strict=True):
            body.finish(draft.internaldate)
        infos = self._infos([(draft.flags, draft.keywords) for draft in drafts])
        bases = [f"{body.name},S={body.stored},W={body.size}" for body in bodies]
        for base, draft in zip(bases, drafts, strict=True):
            self._carry(base, draft.identity)

        sources = [(box.tmp_directory, body.name) for body in bodies]
        self.read_list()
        placing = Placing(self, box)
        try:
            rows = box.rows(placing.add(sources, bases, infos))
            placing.finish()
        except OSError as error:
            placing.undo()
            raise files.translated(error, f"link({box.shown})") from error
        except BaseException:
            placing.undo()
            raise
        for body in bodies:
            body.placed()
        rows = self._with_surplus(rows, [draft.keywords for draft in drafts])
        return self._with_seen(rows, [draft.flags for draft in drafts])

    def link(self, source: object, rows: Iterable[Row]) -> Generator[int, None, list[Row] | None]:
        """Hard links under new names with the flags of `rows`; None where the file system or a setting does not let us.

        Raises Moved when a message is not where it was: sync the source, then again.
        """
        from_box = source if isinstance(source, type(self._box)) else None
        box = self._box
        options = box.context.options
        if from_box is None or not options.maildir_copy_with_hardlinks or box.shared is not None:
            return None
        self.read_list()
        placing = Placing(self, box)
        placed: list[Row] = []
        waiting = iter(rows)
        try:
            while part := list(islice(waiting, LINKS)):
                if placed:
                    yield len(placed)
                placed += self._link_some(placing, from_box, part)
            placing.finish()
        except OSError as error:
            placing.undo()
            if error.errno in NO_LINK:
                return None
            raise files.translated(error, f"link({box.shown})") from error
        except BaseException:
            placing.undo()
            raise
        return placed

    def _link_some(self, placing: Placing, source: MaildirBox, rows: Sequence[Row]) -> list[Row]:
        uids = [row.uid for row in rows]
        folders = (source.cur_directory, source.new_directory)
        known = [(folders[place[0]], place[1]) for place in source.whereabouts(uids) if place is not None]
        if len(known) < len(rows):
            raise Moved
        infos = self._infos([(row.flags, row.keywords) for row in rows])
        bases = self._copy_names([name for _, name in known])
        for base, identity in zip(bases, source.identities(uids), strict=True):
            self._carry(base, identity)
        try:
            placed = placing.add(known, bases, infos)
        except FileNotFoundError:
            source.doubt()
            raise Moved from None
        copies = [
            Row(uid, row.ref, row.flags, row.keywords, UNKNOWN_DATE, None, b"", filename.crlf_size(name))
            for row, (uid, name) in zip(rows, placed, strict=True)
        ]
        self._set_surplus(copies)
        return copies

    def _copy_names(self, names: Sequence[str]) -> list[str]:
        box = self._box
        bases = [filename.base_of(name) for name in names]
        fresh = box.context.names.make_many(len(bases))
        if box.context.options.maildir_copy_preserve_filename:
            box.uidlist.make_whole()
            taken = box.uidlist.uids
            return [
                made + filename.sizes_of(base) if base in taken else base
                for made, base in zip(fresh, bases, strict=True)
            ]
        return [made + filename.sizes_of(base) for made, base in zip(fresh, bases, strict=True)]

    def flags(self, want: Sequence[Row]) -> list[Row | Gone | Changed]:
        """Rename each message to what its row says. A message that somebody else renamed meanwhile is Changed."""
        box = self._box
        infos = self._infos([(row.flags, row.keywords) for row in want])
        if box.known is not None:
            box.watch()
        outdated = self._outdated_surplus()
        steps = self._steps(want, infos, outdated)
        try:
            astray = self._rename(want, steps)
        except OSError as error:
            box.settle(own=False)
            raise files.translated(error, f"rename({box.shown})") from error
        if len(astray) < len(want):
            box.settle(own=True)
        answers: list[Row | Gone | Changed] = list(want)
        for at, answer in astray.items():
            answers[at] = answer
        done = [row for at, row in enumerate(want) if at not in astray] if astray else want
        self._set_surplus(done)
        self._set_seen(done)
        return answers

    def _outdated_surplus(self) -> set[int]:
        """UIDs whose keywords beyond the letters are not what the rows were made from."""
        box = self._box
        before, box.surplus = box.surplus, None
        box.load_surplus()
        if before is None or box.surplus is None:
            return set()
        now = box.surplus
        return {uid for uid in before.keys() | now.keys() if before.get(uid) != now.get(uid)}

    def _steps(
        self, want: Sequence[Row], infos: Sequence[Info], outdated: set[int]
    ) -> list[tuple[bool, str, str] | None]:
        """For each row: whether its file is in new/, its name, and the one that says what the row does. None: its file must be looked for."""
        endings: dict[tuple[str, int, str], str] = {}
        steps: list[tuple[bool, str, str] | None] = []
        for row, info, where in zip(
            want, infos, self._box.whereabouts([row.uid for row in want]), strict=True
        ):
            if where is None or row.uid in outdated:
                steps.append(None)
                continue
            is_new, name = where
            base, _, old = name.partition(":")
            key = (old, info.flags, info.keywords)
            ending = endings.get(key)
            if ending is None:
                ending = endings[key] = self._ending(old, info)
            steps.append((is_new, name, base + ending))
        return steps

    def _rename(
        self, want: Sequence[Row], steps: Sequence[tuple[bool, str, str] | None]
    ) -> dict[int, Gone | Changed]:
        """Take the steps that change something; by place in `want`, what became of messages that were not where they were thought to be.

        Raises OSError; what was renamed before is noted.
        """
        box = self._box
        due = [step for step in steps if step is not None and (step[0] or step[1] != step[2])]
        box.expect_renames(due)
        astray: dict[int, Gone | Changed] = {}
        done: list[tuple[int, bool, str, str]] = []
        rename, folders, to = os.rename, (box.cur_directory, box.new_directory), box.cur_directory
        try:
            for at, step in enumerate(steps):
                try:
                    if step is None:
                        raise FileNotFoundError
                    is_new, name, target = step
                    if is_new or name != target:
                        rename(name, target, src_dir_fd=folders[is_new], dst_dir_fd=to)
                        done.append((want[at].uid, is_new, name, target))
                except FileNotFoundError:
                    box.renamed_all(done)
                    done.clear()
                    astray[at] = self._look_again(want[at].uid)
        finally:
            box.renamed_all(done)
        return astray

    def _ending(self, old: str, info: Info) -> str:
        """What stands behind a base name: new flags, and of the old ending what is not ours to change."""
        before = filename.parse_info(old)
        kept = before.flags & SEEN if self._box.shared is not None else 0
        unnamed = "".join(letter for letter in before.keywords if letter not in self._box.keywords.names)
        return filename.with_info(
            "", Info(info.flags | kept, info.keywords + unnamed, before.unknown, before.rest)
        )

    def _look_again(self, uid: int) -> Gone | Changed:
        """The message is not at its name: somebody renamed it, or it is gone."""
        box = self._box
        box.doubt()
        name = locate(box, uid)
        if name is None:
            return Gone(uid)
        box.refresh_keywords()
        return Changed(box.row(uid, name))

    def remove(self, rows: Sequence[Row]) -> list[int]:
        """Unlink; the UIDs that are gone now. Writes nothing, so that it works on a full disk."""
        box = self._box
        if box.known is not None:
            box.watch()
        gone = []
        try:
            for row in rows:
                if self._remove_one(row.uid):
                    gone.append(row.uid)
        except OSError as error:
            raise files.translated(error, f"unlink({box.shown})") from error
        finally:
            box.settle(own=True)
        self.tidy()
        return gone

    def _remove_one(self, uid: int) -> bool:
        box = self._box
        for _ in range(PLACES):
            where = box.path(uid)
            if where is None:
                return True
            directory, name = where
            box.expect(directory == box.new_directory, False, name)
            try:
                os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                box.doubt()
                if locate(box, uid) is not None:
                    continue
            box.dead.add((filename.base_of(name), uid))
            box.forget(uid)
            return True
        return False

    # Keywords

    def _infos(self, wanted: Sequence[tuple[int, frozenset[str]]]) -> list[Info]:
        """What names will say; letters are given to keywords that have none yet. Raises LimitReached, StoreError."""
        box = self._box
        distinct = set(wanted)
        try:
            box.refresh_keywords()
            missing = sorted(
                {word for _, words in distinct for word in words if word not in box.keywords.letters}
            )
            if missing and not box.keywords.full and not self._bare:
                box.keywords.define(missing, sync=box.context.sync, shared=box.shared)
                box.forget_meanings()
        except OSError as error:
            raise files.translated(error, f"write({box.shown}/dovecot-keywords)") from error
        if len(missing) + len(box.keywords.letters) > 2000:
            raise LimitReached("Too many keywords in this mailbox")
        letters = box.keywords.letters
        shown = ~SEEN if box.shared is not None else ~0
        made = {
            (flags, words): Info(
                flags & shown, "".join(letters[word] for word in words if word in letters), "", ""
            )
            for flags, words in distinct
        }
        return [made[each] for each in wanted]

    def _set_surplus(self, want: Sequence[Row]) -> None:
        box = self._box
        letters = box.keywords.letters
        if not box.keywords.full and all(words.issubset(letters) for words in {row.keywords for row in want}):
            return
        beyond = {row.uid: frozenset(word for word in row.keywords if word not in letters) for row in want}
        box.load_surplus()
        before = box.surplus or {}
        changed = {uid: words for uid, words in beyond.items() if words != before.get(uid, frozenset())}
        if not changed:
            return
        self._settle_clash()
        box.context.state.set_keywords(box.guid.decode(), changed)
        box.surplus = {**before, **changed}
        os.utime(box.cur_directory)
        box.known = None

    def _set_seen(self, rows: Sequence[Row]) -> None:
        """In a shared mailbox \\Seen is the user's own; the directory is touched for his other connections."""
        box = self._box
        if box.shared is not None and box.note_seen(rows):
            os.utime(box.cur_directory)
            box.known = None

    def _with_surplus(self, rows: list[Row], keywords: Sequence[frozenset[str]]) -> list[Row]:
        wanted = [row._replace(keywords=words) for row, words in zip(rows, keywords, strict=True)]
        self._set_surplus(wanted)
        return wanted

    def _with_seen(self, rows: list[Row], flags: Sequence[int]) -> list[Row]:
        """New messages that the user saved as seen into a shared mailbox."""
        if self._box.shared is None:
            return rows
        wanted = [
            row._replace(flags=row.flags & ~SEEN | given & SEEN)
            for row, given in zip(rows, flags, strict=True)
        ]
        self._set_seen(wanted)
        return wanted


def _file_draft(draft: Draft) -> FileDraft:
    if not isinstance(draft.body, FileDraft):
        raise Internal.because(f"a draft of {type(draft.body).__name__} came to a Maildir")
    return draft.body
