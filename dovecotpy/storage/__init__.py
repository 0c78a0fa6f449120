"""The store: mailboxes, their messages and what stands beside them. Nothing above this folder knows of files."""
