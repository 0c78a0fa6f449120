"""IMAP4rev1: the wire (pure), a session's state, and the commands. No module here owns a socket."""
