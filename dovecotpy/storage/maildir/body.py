"""Messages as files: one being read, one being written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator

from dovecotpy.storage import files
from dovecotpy.storage.driver import Moved
from dovecotpy.storage.files import Shared


class FileBody:
    """A message's file, open. It stays readable when it is renamed or unlinked meanwhile."""

    __slots__ = ("_descriptor", "crlf", "size")

    def __init__(self, directory: int, name: str, what: str) -> None:
        self._descriptor = -1
        try:
            self._descriptor = os.open(name, files.READ, dir_fd=directory)
        except FileNotFoundError:
            raise Moved from None
        except OSError as error:
            if error.errno == errno.ESTALE:
                raise Moved from None
            raise files.translated(error, f"open({what}/{name})") from error
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise Moved
        self.size = found.st_size
        self.crlf = False

    def read(self, at: int, n: int) -> bytes:
        """Up to n octets from a place, as stored; fewer only at the end. Raises StoreError."""
        try:
            data = os.pread(self._descriptor, n, at)
            if len(data) == n or at + len(data) >= self.size:
                return data
            pieces = [data]
            at += len(data)
            n -= len(data)
            while n > 0:
                data = os.pread(self._descriptor, n, at)
                if not data:
                    break
                pieces.append(data)
                at += len(data)
                n -= len(data)
            return b"".join(pieces)
        except OSError as error:
            raise files.translated(error, "read(message)") from error

    def fd(self) -> tuple[int, int] | None:
        """Descriptor and offset of the stored octets."""
        return self._descriptor, 0

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def beginnings(places: Iterable[tuple[int, str] | None], most: int, *, whole: bool) -> Iterator[bytes]:
    """The first octets of files, by directory and name; empty where one is not to be read, or (whole) has `most` octets or more.

    The end of a file is where reading says so; its size is not asked for.
    """
    for place in places:
        data = b""
        if place is not None:
            try:
                descriptor = os.open(place[1], files.READ, dir_fd=place[0])
            except OSError:
                yield data
                continue
            try:
                data = os.read(descriptor, most)
                if whole and (len(data) >= most or os.read(descriptor, 1)):
                    data = b""
            except OSError:
                data = b""
            finally:
                os.close(descriptor)
        yield data


class FileDraft:
    """A message in tmp/ on its way in. Stored with LF line ends, or as CRLF with mail_save_crlf.

    size: octets in CRLF form. Nothing of it is visible before it is placed.
    """

    __slots__ = ("_crlf", "_descriptor", "_directory", "_last", "_sync", "name", "size", "stored")

    def __init__(self, directory: int, name: str, *, crlf: bool, sync: bool, shared: Shared | None) -> None:
        self._directory = directory
        self.name = name
        self._crlf = crlf
        self._sync = sync
        self._last = b""
        self.size = 0
        self.stored = 0
        try:
            self._descriptor = os.open(name, files.CREATE, 0o666, dir_fd=directory)
            files.adopt(self._descriptor, shared)
        except OSError as error:
            raise files.translated(error, f"open(tmp/{name})") from error

    def write(self, data: bytes) -> None:
        """Append octets as the client sent them. Raises NoSpace, StoreError; then the draft is abandoned."""
        if self._last:
            data = self._last + data
            self._last = b""
        if data[-1:] == b"\r":
            data, self._last = data[:-1], b"\r"
        self._put(data)

    def _put(self, data: bytes) -> None:
        sent = data
        data = sent.replace(b"\r", b"")
        doubled = data.replace(b"\n", b"\r\n")
        if doubled != sent:  # single octets are found much faster than pairs, which only odd messages need
            data = sent.replace(b"\r\n", b"\n")
            doubled = data.replace(b"\n", b"\r\n")
        self.size += len(doubled)
        if self._crlf:
            data = doubled
        try:
            files.write_all(self._descriptor, data)
        except OSError as error:
            self.abandon()
            raise files.translated(error, f"write(tmp/{self.name})") from error
        self.stored += len(data)

    def finish(self, internaldate: int | None) -> None:
        """Everything is written: set the received date, make the octets durable, close. Idempotent. Raises NoSpace, StoreError."""
        if self._descriptor < 0:
            return
        if self._last:
            last, self._last = self._last, b""
            self._put(last)
        try:
            if internaldate is not None:
                os.utime(self._descriptor, ns=(internaldate * 10**9, internaldate * 10**9))
            if self._sync:
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        except OSError as error:
            self.abandon()
            raise files.translated(error, f"fsync(tmp/{self.name})") from error

    def placed(self) -> None:
        """The file was linked where it belongs: the name in tmp/ goes."""
        os.unlink(self.name, dir_fd=self._directory)
        self.name = ""

    def abandon(self) -> None:
        """Throw the message away. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self.name:
            try:
                os.unlink(self.name, dir_fd=self._directory)
            except OSError:
                return
            finally:
                self.name = ""
