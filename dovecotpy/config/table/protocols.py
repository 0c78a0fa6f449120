"""Settings of IMAP alone and of POP3 alone."""

from __future__ import annotations

from dovecotpy.config.setting import Kind, Setting

IMAP = (
    Setting(
        "imap_max_line_length",
        Kind.NUMBER,
        "65536",
        "I",
        "Longest command line after login, literals not counted.",
        unit="octets",
        acted_on=True,
    ),
    Setting(
        "imap_capability",
        Kind.TEXT,
        "",
        "LI",
        "The CAPABILITY reply, word for word. Empty: what there is.",
        acted_on=True,
    ),
    Setting(
        "imap_client_workarounds",
        Kind.WORDS,
        "",
        "I",
        "Do things for faulty clients: delay-newmail, tb-extra-mailbox-sep, netscape-eoh (taken: header fields always "
        "end with an empty line), outlook-idle (taken: does nothing).",
        acted_on=True,
    ),
    Setting(
        "imap_logout_format",
        Kind.TEXT,
        "bytes=%i/%o",
        "I",
        "End of the line that logs a session's end: `%i` octets from the client, `%o` to it, as they travel (compressed, where the client "
        "asked for that).",
        since="1.1",
        acted_on=True,
    ),
    Setting(
        "imap_id_send",
        Kind.WORDS,
        "",
        "LI",
        "Fields and values of the ID reply. `*` as a value: the server's own; fields are name, version, support-url, "
        "support-email, os, os-version.",
        since="1.2",
        acted_on=True,
    ),
    Setting(
        "imap_id_log",
        Kind.WORDS,
        "",
        "LI",
        "Fields of a client's ID command that are logged; `*`: all.",
        since="1.2",
        acted_on=True,
    ),
    Setting(
        "imap_disabled_extensions",
        Kind.WORDS,
        "",
        "LI",
        "Extensions, by the names of their capabilities, that are neither announced nor served.",
        ours=True,
        acted_on=True,
    ),
    Setting(
        "imap_append_8bit_headers",
        Kind.CHOICE,
        "accept",
        "I",
        "Messages with 8-bit headers that a client appends without having enabled UTF-8: `accept` them, as they are real mail "
        "that clients move between servers, or `reject` them, as RFC 6855 section 4 has it.",
        choices=("accept", "reject"),
        ours=True,
        acted_on=True,
    ),
    Setting(
        "imap_save_limit",
        Kind.NUMBER,
        "0",
        "I",
        "Messages that one COPY or APPEND should have at most, told to clients as SAVELIMIT (RFC 9738); ten times as many are refused. 0: no limit.",
        ours=True,
        acted_on=True,
    ),
    Setting(
        "imap_metadata_max_size",
        Kind.SIZE,
        "32K",
        "I",
        "Largest value of a METADATA entry (RFC 5464); values beyond 1M are refused anyway, and those in quotes are bound by imap_max_line_length.",
        unit="octets",
        ours=True,
        acted_on=True,
    ),
    Setting(
        "imap_metadata_max_entries",
        Kind.NUMBER,
        "200",
        "I",
        "METADATA entries of one mailbox, and of the account.",
        ours=True,
        acted_on=True,
    ),
)

POP3 = (
    Setting(
        "pop3_no_flag_updates",
        Kind.FLAG,
        "no",
        "O",
        "Do not mark fetched messages as seen.",
    ),
    Setting(
        "pop3_enable_last",
        Kind.FLAG,
        "no",
        "O",
        "Serve the LAST command of RFC 1081.",
    ),
    Setting(
        "pop3_reuse_xuidl",
        Kind.FLAG,
        "no",
        "O",
        "Take a message's X-UIDL header for its UIDL.",
    ),
    Setting(
        "pop3_lock_session",
        Kind.FLAG,
        "no",
        "O",
        "Keep the mailbox locked for the whole session.",
    ),
    Setting(
        "pop3_uidl_format",
        Kind.TEXT,
        "%08Xu%08Xv",
        "OPD",
        "UIDL of a message: `%v` UIDVALIDITY, `%u` UID, `%m` MD5 of the header (mbox), `%f` base name of the file (Maildir).",
    ),
    Setting(
        "pop3_client_workarounds",
        Kind.WORDS,
        "",
        "O",
        "Do things for faulty clients: outlook-no-nuls, oe-ns-eoh.",
    ),
    Setting(
        "pop3_logout_format",
        Kind.TEXT,
        "top=%t/%p, retr=%r/%b, del=%d/%m, size=%s",
        "O",
        "End of the line that logs a session's end: `%t`, `%r` TOP and RETR commands, `%p`, `%b` their octets, `%d` deleted, `%m` "
        "messages, `%s` their size, `%i` octets from the client, `%o` to it.",
    ),
)

PROTOCOLS = IMAP + POP3
