"""Which process is given which settings: what it needs, and no secret that is another's."""

from __future__ import annotations

from dovecotpy.config.setting import Setting
from dovecotpy.config.table import LDA_SETTINGS, ROOT_SETTINGS
from dovecotpy.config.values import Server, Settings

LETTERS = {
    "master": "M",
    "log": "J",
    "login": "L",
    "auth": "A",
    "auth-worker": "W",
    "mail": "P",
    "deliver": "D",
    "dict": "K",
}
"""The letter of `Setting.used_by` for each kind of process."""

_MAIL_OF = {"imap": "PI", "pop3": "PO"}

AUTH_FLAGS_OF_LOGIN = ("verbose", "ssl_require_client_cert", "ssl_username_from_cert")
"""Settings of auth blocks that login processes look at too, named there with `auth_`: yes when any block says so."""


def for_process(server: Server, kind: str, protocol: str) -> Settings:
    """The settings of one kind of process: master, log, login, auth, auth-worker, mail, deliver or dict.

    protocol: imap, pop3 or lda; deliver's is always lda. What `auth` blocks set, auth processes get besides, as `Auth.settings`. Raises
    KeyError for an unknown kind or protocol.
    """
    letters = _MAIL_OF.get(protocol, "P") if kind == "mail" else LETTERS[kind]
    settings = server.protocol("lda" if kind == "deliver" else protocol).settings
    mine = settings.only(
        name for name in settings if _uses(letters, ROOT_SETTINGS.get(name) or LDA_SETTINGS.get(name))
    )
    if kind != "login":
        return mine
    flags = {
        f"auth_{name}": any(auth.settings.flag(name) for auth in server.auths) for name in AUTH_FLAGS_OF_LOGIN
    }
    return mine.changed(flags)


def _uses(letters: str, setting: Setting | None) -> bool:
    """What nobody here knows can only stand in `protocol lda`, where deliver may."""
    if setting is None:
        return "D" in letters
    return any(letter in setting.used_by for letter in letters)
