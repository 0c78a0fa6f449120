"""What ps shows of this process.

The C module of setproctitle is loaded by itself: its package brings logging, whose hooks run at every fork, and two megabytes that each
fork would copy.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from types import ModuleType


def _module() -> ModuleType | None:
    package = PathFinder.find_spec("setproctitle")
    places = package.submodule_search_locations if package is not None else None
    spec = PathFinder.find_spec("_setproctitle", list(places)) if places else None
    if spec is None or spec.loader is None:
        return None
    module = spec.loader.create_module(spec)
    if module is not None:
        spec.loader.exec_module(module)
    return module


def _silent(title: str) -> None:
    """Where there is no such module, no title is shown."""


_found = _module()
set_title: Callable[[str], None] = _silent if _found is None else _found.setproctitle
"""Show this text. The first call finds out how much room there is, so it belongs into the fork server."""
