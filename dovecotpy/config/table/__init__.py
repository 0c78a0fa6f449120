"""The table of settings: each is declared once, in the module of its section."""

from __future__ import annotations

from dovecotpy.config.setting import Setting, by_name
from dovecotpy.config.table.auth import AUTH, PASSDB, SOCKET, USERDB
from dovecotpy.config.table.general import GENERAL
from dovecotpy.config.table.login import LOGIN
from dovecotpy.config.table.mail import MAIL
from dovecotpy.config.table.protocols import IMAP, POP3
from dovecotpy.config.table.sections import LDA, NAMESPACE
from dovecotpy.config.table.storage import STORAGE
from dovecotpy.config.table.tls import TLS

ROOT_SETTINGS = by_name(GENERAL + TLS + LOGIN + MAIL + STORAGE + IMAP + POP3)
LDA_SETTINGS = by_name(LDA)
AUTH_SETTINGS = by_name(AUTH)
PASSDB_SETTINGS = by_name(PASSDB)
USERDB_SETTINGS = by_name(USERDB)
SOCKET_SETTINGS = by_name(SOCKET)
NAMESPACE_SETTINGS = by_name(NAMESPACE)

GROUPS: tuple[tuple[str, tuple[Setting, ...]], ...] = (
    ("General, listening, logging", GENERAL),
    ("TLS", TLS),
    ("Login processes", LOGIN),
    ("Mail processes", MAIL),
    ("Mail storage", STORAGE),
    ("IMAP", IMAP),
    ("POP3", POP3),
    ("`auth` blocks", AUTH),
    ("`passdb` blocks", PASSDB),
    ("`userdb` blocks", USERDB),
    ("`socket` blocks: `master` and `client`", SOCKET),
    ("`namespace` blocks", NAMESPACE),
    ("`protocol lda`", LDA),
)
"""Every setting, in the order in which people read them."""
