"""Settings of TLS."""

from __future__ import annotations

from dovecotpy.config.setting import Kind, Setting, Where

TLS = (
    Setting(
        "ssl",
        Kind.CHOICE,
        "yes",
        "ML",
        "`no`: no STARTTLS and no TLS ports. `yes`: both. `required`: nobody logs in without TLS, by whatever mechanism.",
        choices=("no", "yes", "required"),
        since="1.2",
        acted_on=True,
    ),
    Setting(
        "ssl_cert_file",
        Kind.PATH,
        "/etc/ssl/certs/dovecot.pem",
        "ML",
        "Certificate and its chain, PEM. Read as root before rights are dropped; a file replaced on disk serves new connections.",
        acted_on=True,
    ),
    Setting(
        "ssl_key_file",
        Kind.PATH,
        "/etc/ssl/private/dovecot.pem",
        "ML",
        "Private key, PEM. May be the same file as the certificate.",
        acted_on=True,
    ),
    Setting(
        "ssl_key_password",
        Kind.TEXT,
        "",
        "L",
        "Password of the key. `dovecotpy -p` asks for it instead.",
        secret=True,
        acted_on=True,
    ),
    Setting(
        "ssl_ca_file",
        Kind.PATH,
        "",
        "ML",
        "Certificates and revocation lists against which client certificates are verified.",
        acted_on=True,
    ),
    Setting(
        "ssl_verify_client_cert",
        Kind.FLAG,
        "no",
        "L",
        "Ask clients for a certificate. On by itself where an `auth` block has ssl_require_client_cert or ssl_username_from_cert.",
        acted_on=True,
    ),
    Setting(
        "ssl_cert_username_field",
        Kind.TEXT,
        "commonName",
        "L",
        "Field of the client certificate's subject that holds the user's name for ssl_username_from_cert.",
        since="1.1",
        acted_on=True,
    ),
    Setting(
        "ssl_parameters_regenerate",
        Kind.NUMBER,
        "168",
        "M",
        "Age at which Diffie-Hellman parameters were made anew. Today's OpenSSL has fixed groups: there is nothing to make.",
        unit="hours",
        where=Where.GENERAL,
    ),
    Setting(
        "ssl_cipher_list",
        Kind.TEXT,
        "",
        "L",
        "Ciphers up to TLS 1.2 in OpenSSL's notation. Empty: what today's OpenSSL thinks safe.",
        acted_on=True,
    ),
    Setting(
        "ssl_min_protocol",
        Kind.CHOICE,
        "TLSv1.2",
        "L",
        "Oldest version of TLS that clients may speak: `TLSv1`, `TLSv1.1`, `TLSv1.2` or `TLSv1.3`. Older ones than 1.2 are for "
        "clients that know nothing better.",
        choices=("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
        ours=True,
        acted_on=True,
    ),
)
