"""`mail_location`: `[driver:]path[:KEY=value…]`, and finding the mail when it is empty."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from dovecotpy.storage.errors import Internal

DRIVERS = ("maildir", "mbox", "dbox", "sdbox", "mdbox", "cydir", "raw")
KEYS = {
    "INBOX": "inbox",
    "INDEX": "index_root",
    "CONTROL": "control",
    "LAYOUT": "layout",
    "SUBSCRIPTIONS": "subscriptions",
    "DIRNAME": "dirname",
    "ALT": "alternative",
}
LAYOUTS = ("maildir++", "fs", "imapdir")


class Location(NamedTuple):
    """Where mail is. Empty: as the driver has it by default. `index_root` may be `MEMORY`."""

    driver: str
    root: str
    inbox: str = ""
    index_root: str = ""
    control: str = ""
    layout: str = ""
    subscriptions: str = ""
    dirname: str = ""
    alternative: str = ""


def wrong(text: str, prefix: str = "mail_location") -> Internal:
    """A location that cannot be used; `prefix`: `mail_location` or `Namespace '…'`."""
    return Internal.because(f"{prefix}: {text}")


def parse(text: str, home: str, prefix: str = "mail_location") -> Location:
    """Read a location whose %-variables are expanded. Raises Internal with the administrator's line."""
    driver, rest = _split_driver(text, prefix)
    path, *options = rest.split(":")
    if not path:
        raise wrong("Root mail directory not given", prefix)
    values = {}
    for option in options:
        key, found, value = option.partition("=")
        if not found or key not in KEYS:
            raise wrong(f"Unknown setting: {key}", prefix)
        values[KEYS[key]] = value if key in ("LAYOUT", "SUBSCRIPTIONS", "DIRNAME") else _path(value, home)
    if values.get("layout", "maildir++") not in LAYOUTS:
        raise wrong(f"Unknown layout format: {values['layout']}", prefix)
    if "/" in values.get("subscriptions", "") or values.get("subscriptions", "s") in ("", ".", ".."):
        raise wrong(f"SUBSCRIPTIONS is not a file name: {values['subscriptions']}", prefix)
    root = _path(path, home)
    return Location(driver or _driver_of(root, prefix), root, **values)


def _split_driver(text: str, prefix: str) -> tuple[str, str]:
    driver, colon, rest = text.partition(":")
    if colon and driver and "/" not in driver and "~" not in driver and "=" not in rest.split("/")[0]:
        if driver not in DRIVERS:
            raise wrong(f"Unknown mail storage driver {driver}", prefix)
        return driver, rest
    return "", text


def _path(value: str, home: str) -> str:
    if value in ("", "MEMORY"):
        return value
    if value == "~" or value.startswith("~/"):
        value = home + value[1:]
    elif not value.startswith("/"):
        value = f"{home}/{value}"
    return value.rstrip("/") or "/"


def _driver_of(root: str, prefix: str) -> str:
    if os.path.isdir(os.path.join(root, "cur")):
        return "maildir"
    if os.path.isfile(root) or any(
        os.path.exists(os.path.join(root, name)) for name in (".imap", "inbox", "mbox")
    ):
        return "mbox"
    raise wrong(
        f"Ambiguous mail location setting, don't know what to do with it: {root} (try prefixing it with mbox: or maildir:)",
        prefix,
    )


def autodetect(home: str, exists: Callable[[str], bool] = os.path.isdir) -> Location:
    """The location when none is set. Raises Internal with the administrator's line."""
    if home and os.access(home + "/Maildir", os.R_OK | os.W_OK | os.X_OK):
        return Location("maildir", home.rstrip("/") + "/Maildir")
    if os.access("/cur", os.R_OK | os.W_OK | os.X_OK):
        return Location("maildir", "/")
    for name in ("mail", "Mail"):
        if home and exists(f"{home}/{name}"):
            return Location("mbox", f"{home}/{name}")
    raise Internal.because(
        f"mail_location not set and autodetection failed: Mail storage autodetection failed with home={home}"
    )
