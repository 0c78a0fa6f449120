"""Modules that no mail process may carry: each costs every fork (docs/decisions/0005)."""

HEAVY = frozenset(
    "asyncio dataclasses email hashlib inspect json logging pathlib random subprocess tempfile".split()  # noqa: SIM905
)
