"""IMAP on the wire: pure functions and sans-IO parsers; all of IMAP that a login process may import."""
