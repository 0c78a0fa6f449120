"""Settings of mail storage: where mail is, how it is locked, cached and written."""

from __future__ import annotations

from dovecotpy.config.setting import Kind, Setting

COMMON = (
    Setting(
        "mail_location",
        Kind.TEXT,
        "",
        "PD",
        "Where mail is, `format:path[:KEY=value…]`, with variables. Empty: look in the usual places.",
        acted_on=True,
    ),
    Setting(
        "mail_max_message_size",
        Kind.SIZE,
        "0",
        "PD",
        "Largest message that is taken, told to clients as APPENDLIMIT (RFC 7889). `K`, `M`, `G` may follow. 0: no limit.",
        unit="octets",
        ours=True,
        acted_on=True,
    ),
    Setting(
        "mail_text_index",
        Kind.FLAG,
        "yes",
        "PD",
        "Keep the text of messages beside the index once somebody searched it, so that SEARCH reads no message. It is about as "
        "large as the text itself, attachments left out; it may be deleted at any time.",
        ours=True,
        acted_on=True,
    ),
    Setting(
        "mail_text_index_max_size",
        Kind.SIZE,
        "1G",
        "PD",
        "Most octets of that text of one mailbox; what is beyond is read from the messages at each search. `K`, `M`, `G` may "
        "follow. 0: no limit.",
        unit="octets",
        ours=True,
        acted_on=True,
    ),
    Setting(
        "mail_cache_fields",
        Kind.WORDS,
        "",
        "P",
        "What is always kept in the cache: flags, date.sent, date.received, size.virtual, size.physical, imap.body, "
        "imap.bodystructure, imap.envelope, mime.parts, hdr.NAME. What a header says is kept with or without; a name of the body's "
        "structure or size has it kept as soon as a message's header is read.",
        acted_on=True,
    ),
    Setting(
        "mail_never_cache_fields",
        Kind.WORDS,
        "",
        "P",
        "What is never kept in the cache; without imap.envelope an ENVELOPE is made of kept header fields each time.",
        acted_on=True,
    ),
    Setting(
        "mail_cache_min_mail_count",
        Kind.NUMBER,
        "0",
        "P",
        "Messages that a mailbox needs before its cache is written.",
        acted_on=True,
    ),
    Setting(
        "mailbox_idle_check_interval",
        Kind.NUMBER,
        "30",
        "I",
        "How often IDLE looks at the mailbox where the kernel does not tell, or to gather what it told.",
        unit="seconds",
        acted_on=True,
    ),
    Setting(
        "mail_full_filesystem_access",
        Kind.FLAG,
        "no",
        "P",
        "Let clients name mailboxes by path: `/absolute`, `~user/`, `../`.",
    ),
    Setting(
        "mail_max_keyword_length",
        Kind.NUMBER,
        "50",
        "P",
        "Longest keyword that a client may make.",
        unit="octets",
        acted_on=True,
    ),
    Setting(
        "mail_special_use",
        Kind.WORDS,
        "Archive=\\Archive, Drafts=\\Drafts, Junk=\\Junk, Sent=\\Sent, Trash=\\Trash",
        "P",
        "What mailboxes are for, by their names in private namespaces (without the prefix, as on disk), separated by commas: `\\All`, "
        "`\\Archive`, `\\Drafts`, `\\Flagged`, `\\Junk`, `\\Sent`, `\\Trash`. Clients put mail there without asking (RFC 6154). Nothing is created.",
        separators=",",
        ours=True,
        acted_on=True,
    ),
    Setting(
        "mail_save_crlf",
        Kind.FLAG,
        "no",
        "PD",
        "Write messages with CRLF line ends.",
        acted_on=True,
    ),
    Setting(
        "mmap_disable",
        Kind.FLAG,
        "no",
        "PD",
        "Do not map files into memory, as needed on NFS.",
        acted_on=True,
    ),
    Setting(
        "dotlock_use_excl",
        Kind.FLAG,
        "yes",
        "PD",
        "Make lock files by O_EXCL, which all but ancient NFS servers keep; `no` makes them by link().",
        acted_on=True,
    ),
    Setting(
        "fsync_disable",
        Kind.FLAG,
        "no",
        "PD",
        "Do not wait for the disk. Faster; after a power loss, acknowledged mail may be gone.",
        acted_on=True,
    ),
    Setting(
        "mail_nfs_storage",
        Kind.FLAG,
        "no",
        "PD",
        "Mail lies on NFS and several machines use it.",
        since="1.1",
        acted_on=True,
    ),
    Setting(
        "mail_nfs_index",
        Kind.FLAG,
        "no",
        "MPD",
        "Indexes lie on NFS and several machines use them. Needs mmap_disable, and fsync_disable off.",
        since="1.1",
    ),
    Setting(
        "mailbox_list_index_disable",
        Kind.FLAG,
        "yes",
        "PD",
        "Keep no index of the list of mailboxes.",
        since="1.1",
    ),
    Setting(
        "lock_method",
        Kind.CHOICE,
        "fcntl",
        "PD",
        "How index files are locked: fcntl, flock or dotlock.",
        choices=("fcntl", "flock", "dotlock"),
        acted_on=True,
    ),
)

MAILDIR = (
    Setting(
        "maildir_stat_dirs",
        Kind.FLAG,
        "no",
        "P",
        "Look at each entry that begins with a dot, so that plain files are not listed as mailboxes.",
        acted_on=True,
    ),
    Setting(
        "maildir_copy_with_hardlinks",
        Kind.FLAG,
        "yes",
        "P",
        "Copy messages by linking their files.",
        acted_on=True,
    ),
    Setting(
        "maildir_copy_preserve_filename",
        Kind.FLAG,
        "no",
        "P",
        "Keep the base name of a file that is copied.",
        acted_on=True,
    ),
    Setting(
        "maildir_very_dirty_syncs",
        Kind.FLAG,
        "no",
        "P",
        "Do not read cur/ again when only new/ has changed. Faster; what other programs did in cur/ is seen later.",
        since="1.2",
        acted_on=True,
    ),
)

LOCKS = "dotlock, dotlock_try, fcntl, flock, lockf"

MBOX = (
    Setting(
        "mbox_read_locks",
        Kind.WORDS,
        "fcntl",
        "PD",
        f"Locks for reading, taken in this order: {LOCKS}.",
    ),
    Setting(
        "mbox_write_locks",
        Kind.WORDS,
        "dotlock fcntl",
        "PD",
        "Locks for writing. All locks for reading must be among them, in the same order.",
    ),
    Setting(
        "mbox_lock_timeout",
        Kind.NUMBER,
        "300",
        "PD",
        "How long to wait for a lock.",
        unit="seconds",
    ),
    Setting(
        "mbox_dotlock_change_timeout",
        Kind.NUMBER,
        "120",
        "PD",
        "A lock file is broken when its mbox has not changed for so long.",
        unit="seconds",
    ),
    Setting(
        "mbox_min_index_size",
        Kind.NUMBER,
        "0",
        "P",
        "No index is written for a smaller mbox.",
        unit="KB",
    ),
    Setting(
        "mbox_dirty_syncs",
        Kind.FLAG,
        "yes",
        "P",
        "When an mbox has changed, read only what was added, if that explains it.",
    ),
    Setting(
        "mbox_very_dirty_syncs",
        Kind.FLAG,
        "no",
        "P",
        "The same for SELECT, EXAMINE and STATUS too.",
    ),
    Setting(
        "mbox_lazy_writes",
        Kind.FLAG,
        "yes",
        "P",
        "Write changed flags at EXPUNGE, CLOSE and CHECK alone.",
    ),
)

DBOX = (
    Setting(
        "dbox_rotate_size",
        Kind.NUMBER,
        "2048",
        "PD",
        "Size at which a dbox file of many messages is full.",
        unit="KB",
    ),
    Setting(
        "dbox_rotate_min_size",
        Kind.NUMBER,
        "16",
        "PD",
        "Size up to which its age does not end a dbox file.",
        unit="KB",
    ),
    Setting(
        "dbox_rotate_days",
        Kind.NUMBER,
        "1",
        "PD",
        "Age at which a dbox file is ended. 0: never.",
        unit="days",
    ),
)

STORAGE = COMMON + MAILDIR + MBOX + DBOX
