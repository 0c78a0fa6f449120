"""The administrator's configuration: its grammar, the table of settings, %-variables, checks and dumps.

Long-lived children import `values` and `variables` alone. Everything else is for the master, the command line and deliver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dovecotpy.config.checks import Finding, check
    from dovecotpy.config.dumping import dump
    from dovecotpy.config.errors import ConfigurationError
    from dovecotpy.config.loading import load
    from dovecotpy.config.process import for_process
    from dovecotpy.config.values import Configuration, Server, Settings

__all__ = [
    "Configuration",
    "ConfigurationError",
    "Finding",
    "Server",
    "Settings",
    "check",
    "dump",
    "for_process",
    "load",
]

_HOME = {
    "Configuration": "values",
    "ConfigurationError": "errors",
    "Finding": "checks",
    "Server": "values",
    "Settings": "values",
    "check": "checks",
    "dump": "dumping",
    "for_process": "process",
    "load": "loading",
}


def __getattr__(name: str) -> object:
    """Names of the heavy modules, imported by who asks: a mail process that imports `values` must not pay for the table."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
