"""What may be deleted at any time: the snapshot of a mailbox's columns and names."""
