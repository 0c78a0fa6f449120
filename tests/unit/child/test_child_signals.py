"""Handlers set without the standard module's enumerations do the same."""

from __future__ import annotations

import os
import signal

from dovecotpy.child import signals


def test_a_function_is_called_then_ignored_then_the_default_is_back() -> None:
    heard: list[int] = []
    before = signal.getsignal(signal.SIGUSR2)
    try:
        signals.on(signal.SIGUSR2, lambda number, frame: heard.append(number))
        os.kill(os.getpid(), signal.SIGUSR2)
        assert heard == [signal.SIGUSR2]
        signals.on(signal.SIGUSR2, signals.IGNORE)
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGUSR2)
        signals.on(signal.SIGUSR2, signals.DEFAULT)
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
        assert heard == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)
