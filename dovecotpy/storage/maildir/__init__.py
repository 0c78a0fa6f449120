"""Maildir and Maildir++: one file a message, with `dovecot-uidlist` and `dovecot-keywords` beside them."""
