"""SASL mechanisms: a module each, found by the name that clients use."""

from __future__ import annotations

from dovecotpy.auth.mechanisms import login, plain
from dovecotpy.auth.mechanisms.base import Mechanism

MECHANISMS: dict[str, type[Mechanism]] = {each.NAME: each for each in (plain.Plain, login.Login)}
"""Every mechanism by its name in capitals; a new one is a module and its place here."""
