"""TLS on a client's connection (pyOpenSSL), in the form of `stream.Stream`. Only processes with TLS import it: it is most of their size."""

from __future__ import annotations

import errno
import os
import socket

from OpenSSL import SSL

from dovecotpy.login.stream import CHUNK, StreamLost


class TlsStream:
    """TLS on a connected socket, the server's side. The socket is made non-blocking."""

    __slots__ = ("socket", "tls", "wants_write", "wants_read", "established", "_broken")

    def __init__(self, context: SSL.Context, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.tls = SSL.Connection(context, sock)
        self.tls.set_accept_state()
        self.wants_write = False
        self.wants_read = True
        self.established = False
        self._broken = False

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done. Raises StreamLost, whose text is empty when the client just went."""
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            self._waits(read=True)
            return False
        except SSL.WantWriteError:
            self._waits(read=False)
            return False
        except SSL.ZeroReturnError as error:
            self._broken = True
            raise StreamLost("") from error
        except (SSL.Error, OSError) as error:
            self._broken = True
            raise StreamLost(reason(error)) from error
        self._waits(read=True)
        self.established = True
        return True

    def receive(self) -> bytes | None:
        """See Stream."""
        try:
            data = self.tls.recv(CHUNK)
        except SSL.ZeroReturnError:
            return b""
        except SSL.WantReadError:
            self._waits(read=True)
            return None
        except SSL.WantWriteError:
            self._waits(read=False)
            return None
        except SSL.SysCallError as error:
            self._broken = True
            if error.args[:1] == (-1,):  # the client closed without a TLS goodbye, as many do
                return b""
            raise StreamLost(reason(error)) from error
        except (SSL.Error, OSError) as error:
            self._broken = True
            if _is_unexpected_end(error):
                return b""
            raise StreamLost(reason(error)) from error
        return data

    def send(self, data: bytes | memoryview) -> int:
        """See Stream."""
        try:
            sent = self.tls.send(data[:CHUNK])
        except SSL.WantReadError:
            self._waits(read=True)
            return 0
        except SSL.WantWriteError:
            self._waits(read=False)
            return 0
        except (SSL.Error, OSError) as error:
            self._broken = True
            raise StreamLost(reason(error)) from error
        self.wants_write = sent < len(data)
        return sent

    def close(self) -> None:
        """See Stream. The client's own goodbye is not waited for."""
        if self.established and not self._broken:
            try:
                self.tls.shutdown()
            except (SSL.Error, OSError):
                self._broken = True
        self.socket.close()

    def cipher(self) -> str:
        """Version and cipher in words, once established."""
        if not self.established:
            return ""
        return f"{self.tls.get_protocol_version_name()} with cipher {self.tls.get_cipher_name()}"

    def _waits(self, *, read: bool) -> None:
        self.wants_read = read
        self.wants_write = not read


def reason(error: SSL.Error | OSError) -> str:
    """An error of OpenSSL or of the system in words; empty when the peer closed the connection and no more."""
    if isinstance(error, SSL.SysCallError):
        number = error.args[0] if error.args else -1
        return os.strerror(number) if number and number != -1 else ""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if _is_unexpected_end(error):
        return ""
    records = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(record[-1]) for record in records) or type(error).__name__


def _is_unexpected_end(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ECONNRESET, errno.EPIPE)
    records = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return any("unexpected eof" in str(record[-1]) for record in records)
