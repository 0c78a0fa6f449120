"""IMAP's part of the mail process."""

from __future__ import annotations

from dovecotpy.config import variables
from dovecotpy.config.values import Settings
from dovecotpy.imap.session import ImapSession
from dovecotpy.mail.service import Opened, Service, Visit
from dovecotpy.mail.session import Session
from dovecotpy.storage.store import Store


def _open(visit: Visit) -> Opened:
    store = Store(visit.who, visit.settings, visit.namespaces, visit.log)
    try:
        session = ImapSession(
            store, visit.settings, visit.tag, visit.client_input, visit.log, user=visit.who.user
        )
    except BaseException:
        store.close()
        raise
    return Opened(session, store.close)


def _internal_error(time: str) -> bytes:
    return f"* BYE Internal error occurred. Refer to server log for more information. [{time}]\r\n".encode()


def _summary(settings: Settings, session: Session, received: int, sent: int) -> str:
    return variables.expand(settings.text("imap_logout_format"), {"i": str(received), "o": str(sent)})


IMAP = Service(
    name="imap",
    open=_open,
    internal_error=_internal_error,
    refusal=b"* BYE Internal login failure. Refer to server log for more information.\r\n",
    summary=_summary,
    inetd=b"* BAD [ALERT] imap binary must not be started from inetd, use imap-login instead.\r\n",
)
