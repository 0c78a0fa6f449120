"""What is said when the auth section cannot be used."""

from __future__ import annotations


class SetupError(Exception):
    """A driver's args or file cannot be used. Log: this text, fatal; the process does not start."""
