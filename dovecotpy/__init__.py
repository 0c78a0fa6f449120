"""dovecotpy: an IMAP server in a pre-fork architecture of small processes."""

__version__ = "0.1.0"
