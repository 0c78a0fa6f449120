"""The commands, a module for each or for a small family; importing this package fills `registry.COMMANDS`."""

from dovecotpy.imap.commands import (  # noqa: F401
    append,
    cancel,
    capability,
    close,
    copy,
    enable,
    expunge,
    fetch,
    hierarchy,
    identify,
    idle,
    list_mailboxes,
    logout,
    namespace,
    noop,
    search,
    select,
    status,
    store,
    subscriptions,
)
