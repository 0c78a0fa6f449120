"""`dovecotpy-mkcert`: a self-signed certificate and its key, both readable by their owner alone."""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dovecotpy import clock

SSL_DIRECTORY = "/etc/ssl"
DAYS = 365


class CertificateError(Exception):
    """Nothing was written; str() says why to the administrator."""


def create(certificate_path: str, key_path: str, names: Sequence[str], days: int = DAYS) -> str:
    """Write a P-256 key and a certificate for `names` (host names, addresses), mode 0600, never over an existing file.

    Returns the subject and SHA-256 fingerprint, one line each. Raises CertificateError.
    """
    for path in (certificate_path, key_path):
        if os.path.lexists(path):
            raise CertificateError(f"{path} already exists, won't overwrite")
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise CertificateError(f"{os.path.dirname(path)} directory doesn't exist")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(key, names, days)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key_path, private)
    _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return f"subject={certificate.subject.rfc4514_string()}\nSHA256 Fingerprint={fingerprint}"


def _sign(key: ec.EllipticCurvePrivateKey, names: Sequence[str], days: int) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "IMAP server"),
            x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64]),
        ]
    )
    begin = datetime.datetime.fromtimestamp(clock.now(), datetime.UTC) - datetime.timedelta(minutes=5)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 when nothing was made."""
    ssl_directory = os.environ.get("SSLDIR", SSL_DIRECTORY)
    parser = argparse.ArgumentParser(
        prog="dovecotpy-mkcert", description="Make a self-signed certificate and key for the server."
    )
    parser.add_argument(
        "--cert", default=f"{ssl_directory}/certs/dovecot.pem", help="certificate file (%(default)s)"
    )
    parser.add_argument(
        "--key", default=f"{ssl_directory}/private/dovecot.pem", help="key file (%(default)s)"
    )
    parser.add_argument("--days", type=int, default=DAYS, help="how long it is valid (%(default)s)")
    parser.add_argument("name", nargs="*", help="host names and addresses that it is for (this host's name)")
    options = parser.parse_args(arguments)
    try:
        print(create(options.cert, options.key, options.name or [socket.getfqdn()], options.days))
    except (CertificateError, OSError) as error:
        print(f"dovecotpy-mkcert: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
