"""`dovecot-uidlist`: which UID each base name has.

Version 3: `3 V<uidvalidity> N<next uid> [K<value> …]`, then `<uid> [K<value> …] :<name>` with rising UIDs; lines may be appended. Version
1 (Dovecot 1.0, Courier): `1 <uidvalidity> <next uid>`, then `<uid> <name>`. Keys that we do not know are kept. The next UID is
max(N, last + 1). Everything that writes runs under `dovecot-uidlist.lock`; reading needs no lock, because a line without its LF is
not looked at.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

from dovecotpy.storage import files
from dovecotpy.storage.files import NOWHERE, Identity, Shared

NAME = "dovecot-uidlist"
MAX_NUMBER = 0xFFFFFFFF
MAX_UID = MAX_NUMBER - 1
"""The highest UID that can be given, because the next one must be told too (RFC 3501 section 9, nz-number)."""
SAVED = "D"
"""Record key: when the message was saved in this mailbox, in Unix seconds (RFC 8514)."""
IDENTITY = "G"
"""Record key: the identity of the message that this one is a copy of, where its name is not it."""
STALE_SHARE = 4
"""The file is written anew when a quarter of its lines is stale."""
STALE_LEAST = 16
LARGE = 1 << 17
"""Octets from which on a list is not read whole where its end will do, as for a message that is put in."""
_HEAD_OCTETS = 1 << 12
_END_OCTETS = 1 << 16


class Broken(Exception):
    """The file cannot be used: line number and what is wrong there."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class Duplicate(tuple[int, str, int, int]):
    """A name that stands twice: line, name, the UID it had, the UID it has now."""


class Uidlist:
    """The list as read so far. control: descriptor of the directory it is in. afresh: that is on a network file system."""

    __slots__ = (
        "_afresh",
        "_control",
        "_held",
        "_lines",
        "_offset",
        "complete",
        "duplicates",
        "extra",
        "header",
        "identity",
        "partial",
        "uidnext",
        "uids",
        "uidvalidity",
        "version",
    )

    def __init__(self, control: int, *, afresh: bool = False) -> None:
        self._control = control
        self._afresh = afresh
        self._held = -1
        self._forget()
        self.identity = NOWHERE

    def _forget(self) -> None:
        self.version = 3
        self.uidvalidity = 0
        self.uidnext = 1
        self.header: list[str] = []
        self.uids: dict[str, int] = {}
        self.extra: dict[int, str] = {}
        self.duplicates: list[Duplicate] = []
        self.complete = True
        """The last line ends with LF, so that lines can be appended."""
        self.partial = False
        """only the last lines were read"""
        self._offset = 0
        self._lines = 0

    @property
    def guid(self) -> str:
        """The 128-bit id of the mailbox in hex (header key G), empty when there is none."""
        for word in self.header:
            if word[:1] == "G" and len(word) == 33 and _is_hex(word[1:]):
                return word[1:].lower()
        return ""

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def _hold(self) -> None:
        """Keep the file that was read or written open, so that no other one can get its inode and pass for it.

        Where another one took its place meanwhile, the next `refresh` reads that from its start.
        """
        self.close()
        try:
            self._held = os.open(NAME, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._control)
        except FileNotFoundError:
            self.identity = self.identity._replace(inode=0)
            return
        if os.fstat(self._held).st_ino != self.identity.inode:
            self.identity = self.identity._replace(inode=0)

    def refresh(self, *, whole: bool = True) -> bool:
        """Read what is new in the file; True if it is another file than before, or none, so that it was read anew.

        whole: False where the last lines of a large one will do. Raises Broken, OSError.
        """
        found = self._identify()
        same_file = found.inode == self.identity.inode and found.device == self.identity.device
        if whole and same_file:
            self.make_whole()
        if found == NOWHERE:
            again = self.identity != NOWHERE
            self.close()
            self._forget()
            self.identity = NOWHERE
            return again
        if same_file and found.size == self._offset and self.complete:
            self.identity = found
            return False
        try:
            if same_file and self._offset and found.size > self._offset:
                self._read_tail()
                return False
            if whole or found.size < LARGE or not self._read_ends():
                self._read_all()
        except Broken:
            self._forget()
            self.identity = NOWHERE
            raise
        return True

    def make_whole(self) -> None:
        """Where only the last lines were read: read all. Raises Broken, OSError."""
        if self.partial:
            uidnext = self.uidnext
            self._read_all()
            self.uidnext = max(self.uidnext, uidnext)

    def _identify(self) -> Identity:
        if not self._afresh:
            return files.identify(self._control, NAME)
        try:
            return files.identity(files.stat_afresh(self._control, NAME))
        except FileNotFoundError:
            return NOWHERE

    def _read_all(self) -> None:
        data, found = files.read(self._control, NAME)
        self._forget()
        self.identity = found
        head, newline, body = data.partition(b"\n")
        if not newline:
            raise Broken(1, "Header is not complete")
        self._parse_header(os.fsdecode(head))
        self._offset = len(head) + 1
        self._lines = 1
        self._parse(body)
        self._hold()

    def _read_ends(self) -> bool:
        """The head and the last lines; False where that does not tell enough."""
        descriptor = os.open(NAME, files.READ, dir_fd=self._control)
        try:
            found = files.identity(os.fstat(descriptor))
            head, newline, _ = os.pread(descriptor, _HEAD_OCTETS, 0).partition(b"\n")
            start = max(found.size - _END_OCTETS, 0)
            data = os.pread(descriptor, _END_OCTETS, start)
        finally:
            os.close(descriptor)
        skipped = data.find(b"\n") + 1
        if not newline or not skipped or len(head) >= start:
            return False
        self._forget()
        try:
            self._parse_header(os.fsdecode(head))
            if self.version != 3 or not self.guid:
                return False
            self._offset, self._lines = start + skipped, 1
            self._parse(data[skipped:])
        except Broken:
            return False
        if not self.uids or self.duplicates or not self.complete:
            return False
        self.identity, self.partial = found, True
        self._hold()
        return True

    def _read_tail(self) -> None:
        data, found = files.read(self._control, NAME, self._offset)
        self.identity = found
        self._parse(data)

    def _parse_header(self, line: str) -> None:
        words = line.split(" ")
        if words[0] == "1" and len(words) == 3:
            self.version = 1
            self.uidvalidity = _number(words[1], 1, "UIDVALIDITY")
            self.uidnext = _number(words[2], 1, "next UID")
            return
        if words[0] != "3":
            raise Broken(1, f"Unsupported version {words[0][:20]}")
        for word in words[1:]:
            if word[:1] == "V":
                self.uidvalidity = _number(word[1:], 1, "UIDVALIDITY")
            elif word[:1] == "N":
                self.uidnext = _number(word[1:], 1, "next UID")
            elif word:
                self.header.append(word)
        if self.uidvalidity == 0:
            raise Broken(1, "UIDVALIDITY is missing")

    def _parse(self, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        self.complete = end == len(data)
        separator = " :" if self.version == 3 else " "
        uids = self.uids
        last = next(reversed(uids.values()), 0)
        number = self._lines
        for line in os.fsdecode(data[:end]).split("\n")[:-1]:
            number += 1
            head, _, name = line.partition(separator)
            try:
                uid = int(head)
            except ValueError:
                uid = self._with_keys(head, line, number)
            if not name:
                raise Broken(number, "File name is missing")
            if uid <= last or uid > MAX_UID:
                raise Broken(number, f"UIDs are not in order: {uid} after {last}")
            base = name.partition(":")[0] if ":" in name else name
            if base in uids:
                self.duplicates.append(Duplicate((number, base, uids.pop(base), uid)))
            uids[base] = uid
            last = uid
        self._offset += end
        self._lines = number
        if last >= self.uidnext:
            self.uidnext = last + 1

    def _with_keys(self, head: str, line: str, number: int) -> int:
        """A record with keys, which are kept."""
        digits, _, extra = head.partition(" ")
        if not digits.isdecimal() or len(digits) > 10 or not extra:
            raise Broken(number, f"Invalid record: {line[:100]}")
        self.extra[int(digits)] = extra
        return int(digits)

    def saved(self, uid: int) -> int | None:
        """When a message was saved here (record key D), in seconds since the epoch; None where the line does not say."""
        for word in self.extra.get(uid, "").split(" "):
            if word[:1] == SAVED and word[1:].isascii() and word[1:].isdigit() and len(word) < 12:
                return int(word[1:])
        return None

    def original(self, uid: int) -> str:
        """The identity that a copy shares with its original (record key G), empty where the line has none."""
        for word in self.extra.get(uid, "").split(" "):
            if word[:1] == IDENTITY and len(word) > 1:
                return word[1:]
        return ""

    def append(self, first: int, bases: Sequence[str], keys: Sequence[str], *, sync: bool) -> None:
        """Add lines with UIDs from `first` on at the end. Under the lock, after `refresh`. Raises OSError.

        keys: for each, `K<value>` words joined by blanks, or empty. What could be written only in part is taken back.
        """
        entries = dict(zip(bases, range(first, first + len(bases)), strict=True))
        data = self._rendered(entries, keys)
        descriptor = os.open(
            NAME, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._control
        )
        try:
            try:
                files.write_all(descriptor, data)
                if sync:
                    os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, self._offset)
                raise
            self.identity = files.identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        self.uids.update(entries)
        if any(keys):
            self.extra.update(
                (uid, words) for uid, words in zip(entries.values(), keys, strict=True) if words
            )
        self.uidnext = first + len(bases)
        self._offset += len(data)
        self._lines += len(bases)

    def append_many(
        self, first: int, parts: Iterable[Sequence[str]], count: int, *, sync: bool, keep: bool
    ) -> None:
        """As `append`, of very many without keys, in parts. keep: know them afterwards, which takes much memory."""
        descriptor = os.open(
            NAME, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._control
        )
        uid, written = first, 0
        try:
            try:
                for bases in parts:
                    entries = dict(zip(bases, range(uid, uid + len(bases)), strict=True))
                    data = self._rendered(entries, ())
                    files.write_all(descriptor, data)
                    uid, written = uid + len(bases), written + len(data)
                    if keep:
                        self.uids.update(entries)
                if sync:
                    os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, self._offset)
                raise
            self.identity = files.identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        self.uidnext = first + count
        self._offset += written
        self._lines += count

    def _rendered(self, entries: dict[str, int], keys: Sequence[str]) -> bytes:
        if self.version == 1:
            return os.fsencode("".join([f"{uid} {base}\n" for base, uid in entries.items()]))
        if not any(keys):
            pairs = zip(map(str, entries.values()), entries, strict=True)
            return os.fsencode("\n".join(map(" :".join, pairs)) + "\n" * bool(entries))
        lines = [
            f"{uid} {words} :{base}\n" if words else f"{uid} :{base}\n"
            for (base, uid), words in zip(entries.items(), keys, strict=True)
        ]
        return os.fsencode("".join(lines))

    def _line(self, uid: int, keys: str, base: str) -> bytes:
        if self.version == 1:
            return b"%d %s\n" % (uid, os.fsencode(base))
        return os.fsencode(f"{uid} {keys} :{base}\n" if keys else f"{uid} :{base}\n")

    def rewrite(self, *, without: Collection[str] = (), sync: bool, shared: Shared | None = None) -> None:
        """Write the whole file anew as version 3, without the lines of some base names. Under the lock. Raises OSError."""
        self.make_whole()
        for base in without:
            uid = self.uids.pop(base, 0)
            self.extra.pop(uid, None)
        self.version = 3
        words = ["3", f"V{self.uidvalidity}", f"N{self.uidnext}", *self.header]
        lines = [os.fsencode(" ".join(words)) + b"\n"]
        extra = self.extra
        if extra:
            lines += [self._line(uid, extra.get(uid, ""), base) for base, uid in self.uids.items()]
        else:
            lines.append(os.fsencode("".join([f"{uid} :{base}\n" for base, uid in self.uids.items()])))
        data = b"".join(lines)
        self.identity = files.replace(self._control, NAME, data, sync=sync, shared=shared)
        self._hold()
        self._offset = len(data)
        self._lines = len(self.uids) + 1
        self.complete = True
        self.duplicates = []

    def start(self, uidvalidity: int, uidnext: int, guid: str) -> None:
        """Begin a new list in memory; `rewrite` puts it on disk."""
        self._forget()
        self.uidvalidity = uidvalidity
        self.uidnext = uidnext
        self.header = ["G" + guid]

    def set_guid(self, guid: str) -> None:
        """Another id for the mailbox; `rewrite` puts it on disk."""
        self.make_whole()
        self.header = [word for word in self.header if word[:1] != "G"]
        self.header.append("G" + guid)

    def take_over(self, names: Iterable[tuple[str, int]]) -> None:
        """Fill a started list from another one, UIDs rising."""
        for base, uid in names:
            self.uids[base] = uid
            self.uidnext = max(self.uidnext, uid + 1)


def originals(data: bytes) -> dict[int, str]:
    """The copies in a list's file, by UID, with what they share with their originals. What is no line of a copy is passed over."""
    head, _, body = data[: data.rfind(b"\n") + 1].partition(b"\n")
    mark = b" " + IDENTITY.encode()
    if not head.startswith(b"3 ") or mark not in body:
        return {}
    found: dict[int, str] = {}
    for line in body.split(b"\n"):
        if mark not in line:
            continue
        digits, *words = line.partition(b" :")[0].split(b" ")
        if digits.isdigit() and len(digits) <= 10:
            shared = [word[1:] for word in words if word[:1] == mark[1:] and len(word) > 1]
            if shared:
                found[int(digits)] = os.fsdecode(shared[0])
    return found


def identity_of(base: str) -> str:
    """The identity of a message that is no copy: its base name, as far as a record can hold it."""
    if base.isascii() and base.isprintable() and " " not in base:
        return base
    return "x" + os.fsencode(base).hex()


def _number(text: str, line: int, what: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:12]) <= MAX_NUMBER or len(text) > 10:
        raise Broken(line, f"Invalid {what}: {text[:20]}")
    return int(text)


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in text)


def file_identity(control: int) -> Identity:
    """The identity of the list's file in a control directory."""
    return files.identify(control, NAME)
