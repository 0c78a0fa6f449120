"""TLS contexts, made from certificate and key while the process is still root."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from dovecotpy.config.values import Settings
from dovecotpy.login.policy import PolicyError
from dovecotpy.login.tlsstream import TlsStream, reason

PROTOCOLS = {
    "TLSv1": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}
"""What ssl_min_protocol may say."""

USER_FIELDS = {
    "commonName": NameOID.COMMON_NAME,
    "x500UniqueIdentifier": NameOID.X500_UNIQUE_IDENTIFIER,
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "userId": NameOID.USER_ID,
    "UID": NameOID.USER_ID,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "givenName": NameOID.GIVEN_NAME,
    "surname": NameOID.SURNAME,
}
"""What ssl_cert_username_field may say."""

_ALERT = 0x4000
_EXIT = 0x02
_SESSION_CONTEXT = b"dovecotpy-login"

Notice = Callable[[SSL.Connection, str, bool], None]
"""Called with a connection, a line for the log and whether it is a warning, where verbose_ssl is set."""


class TlsError(PolicyError):
    """Certificate, key or another setting of TLS cannot be used. Log: its text; the process ends with it, the generation before stays."""


class Contexts:
    """The contexts of a process: a default one, and others by the name that a client asks for (RFC 6066 section 3)."""

    __slots__ = ("default", "_names")

    def __init__(self, default: SSL.Context, names: Mapping[str, SSL.Context] | None = None) -> None:
        self.default = default
        self._names = dict(names or {})
        if self._names:
            default.set_tlsext_servername_callback(self._choose)

    def find(self, name: str) -> SSL.Context:
        """The context for a server's name; the default one where it has none of its own."""
        return self._names.get(name.lower(), self.default)

    def stream(self, sock: socket.socket, address: str) -> TlsStream:
        """A connection on which TLS begins now. address: the client's."""
        made = TlsStream(self.default, sock)
        made.tls.set_app_data(Marks(address))
        return made

    def certificate(self, stream: TlsStream, field: str) -> tuple[bool, str]:
        """Whether the client's certificate is valid, and whom it names by `field` (empty: nobody)."""
        if not is_valid_certificate(stream.tls):
            return False, ""
        return True, certificate_user(stream.tls, field) if field else ""

    def _choose(self, connection: SSL.Connection) -> None:
        name = connection.get_servername()
        if name:
            connection.set_context(self.find(name.decode("ascii", "replace")))


def contexts(settings: Settings, notice: Notice | None) -> Contexts | None:
    """The contexts that the settings describe; None without TLS. Raises TlsError."""
    if settings.text("ssl") == "no":
        return None
    return Contexts(context(settings, notice))


def context(settings: Settings, notice: Notice | None) -> SSL.Context:
    """One context, with certificate, key and what the settings want of clients. Raises TlsError."""
    if settings.text("ssl_cert_username_field") not in USER_FIELDS:
        raise TlsError(f"Invalid ssl_cert_username_field: {settings.text('ssl_cert_username_field')}")
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.set_mode(SSL.MODE_RELEASE_BUFFERS)
    made.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # who closes without a TLS goodbye, as many do, is still told what was on its way to him
    made.set_options(SSL.OP_IGNORE_UNEXPECTED_EOF)
    made.set_session_id(_SESSION_CONTEXT)
    _limit_versions(made, settings.text("ssl_min_protocol"))
    _choose_ciphers(made, settings.text("ssl_cipher_list"))
    _load_certificate(made, settings.text("ssl_cert_file"))
    _load_key(made, settings.text("ssl_key_file"), settings.text("ssl_key_password"))
    if settings.text("ssl_ca_file"):
        _load_authorities(made, settings.text("ssl_ca_file"))
    if settings.flag("ssl_verify_client_cert"):
        _ask_for_certificates(made, notice)
    if notice is not None:
        made.set_info_callback(_announcer(notice))
    return made


def is_valid_certificate(connection: SSL.Connection) -> bool:
    """Whether the client showed a certificate and every check of it was passed."""
    return connection.get_peer_certificate(as_cryptography=True) is not None and not _rejected(connection)


def certificate_user(connection: SSL.Connection, field: str) -> str:
    """The user named in the client's certificate by a field of its subject (see USER_FIELDS); empty if there is none."""
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if not isinstance(certificate, x509.Certificate):
        return ""
    try:
        found = certificate.subject.get_attributes_for_oid(USER_FIELDS[field])
    except ValueError:  # a subject that is no text
        return ""
    value = found[0].value if found else ""
    return value if isinstance(value, str) and value.isprintable() else ""


def _limit_versions(made: SSL.Context, lowest: str) -> None:
    version = PROTOCOLS.get(lowest)
    if version is None:
        raise TlsError(f"ssl_min_protocol: Invalid value: {lowest}")
    made.set_min_proto_version(version)


def _choose_ciphers(made: SSL.Context, ciphers: str) -> None:
    if not ciphers:
        return
    try:
        made.set_cipher_list(ciphers.encode())
    except SSL.Error as error:
        raise TlsError(f"Can't set cipher list to '{ciphers}': {reason(error)}") from error


def _load_certificate(made: SSL.Context, path: str) -> None:
    try:
        made.use_certificate_chain_file(path)
    except (SSL.Error, OSError) as error:
        raise TlsError(f"Can't load certificate file {path}: {reason(error)}") from error


def _load_key(made: SSL.Context, path: str, password: str) -> None:
    try:
        with open(path, "rb") as file:
            key = _private_key(file.read(), password)
        made.use_privatekey(key)
        made.check_privatekey()
    except (SSL.Error, OSError) as error:
        raise TlsError(f"Can't load private key file {path}: {reason(error)}") from error
    except (ValueError, TypeError) as error:
        raise TlsError(f"Can't load private key file {path}: {error}") from error


def _private_key(data: bytes, password: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """A key in PEM. Raises ValueError, TypeError."""
    try:
        key = load_pem_private_key(data, password.encode() or None)
    except TypeError:
        if not password:
            raise
        key = load_pem_private_key(data, None)  # a password that the key does not need is no error
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ValueError("neither an RSA nor an elliptic curve key")
    return key


def _load_authorities(made: SSL.Context, path: str) -> None:
    """Certificates of authorities, and where the file holds some, their revocation lists."""
    try:
        made.load_verify_locations(path)
        made.load_client_ca(path.encode())
        with open(path, "rb") as file:
            if b"-----BEGIN X509 CRL-----" in file.read():
                store = made.get_cert_store()
                if store is not None:
                    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
    except (SSL.Error, OSError) as error:
        raise TlsError(f"Can't load CA file {path}: {reason(error)}") from error


def _ask_for_certificates(made: SSL.Context, notice: Notice | None) -> None:
    def verified(
        connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, passed: int
    ) -> bool:
        if not passed:
            _reject(connection)
        if notice is not None and (depth == 0 or not passed):
            name = _subject(certificate)
            words = f"Valid certificate: {name}" if passed else f"Invalid certificate: error {error}: {name}"
            notice(connection, words, False)
        return True  # who has none, or a bad one, may still log in by password

    made.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE, verified)


def _subject(certificate: crypto.X509) -> str:
    try:
        return certificate.to_cryptography().subject.rfc4514_string()
    except ValueError:
        return "(unreadable subject)"


def _announcer(notice: Notice) -> Callable[[SSL.Connection, int, int], None]:
    def announce(connection: SSL.Connection, where: int, result: int) -> None:
        if where & _ALERT:
            state = connection.get_state_string().decode("ascii", "replace")
            notice(connection, f"SSL alert: where=0x{where:x}, ret={result}: {state}", True)
        elif where & _EXIT and result == 0:
            notice(connection, f"SSL BIO failed: where=0x{where:x}, ret={result}", True)

    return announce


class Marks:
    """What is noted of a connection in OpenSSL's callbacks, kept as its app data."""

    __slots__ = ("address", "rejected")

    def __init__(self, address: str) -> None:
        self.address = address
        self.rejected = False


def _reject(connection: SSL.Connection) -> None:
    marks = connection.get_app_data()
    if isinstance(marks, Marks):
        marks.rejected = True


def _rejected(connection: SSL.Connection) -> bool:
    marks = connection.get_app_data()
    return not isinstance(marks, Marks) or marks.rejected
