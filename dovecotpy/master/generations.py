"""Which services serve now, which are being started to take over from them, and which finish what they hold."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from dovecotpy.master.service import Host, Service

START_SECONDS = 60.0
"""How long the services of a new generation may take until they are ready."""


class Outcome(enum.Enum):
    """What became of a change."""

    PENDING = 0
    DONE = 1
    FAILED = 2


class Change:
    """Services that take over from others when all of them are ready.

    done, failed: what else is to be done then; `failed` gets the reason.
    """

    def __init__(
        self,
        fresh: Sequence[Service],
        replaced: Sequence[Service],
        done: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self.fresh = tuple(fresh)
        self.replaced = tuple(replaced)
        self.done = done
        self.failed = failed
        self.deadline = 0.0

    def trouble(self, now: float) -> str:
        """Why it comes to nothing; empty as long as it may succeed."""
        for service in self.fresh:
            if service.trouble:
                return service.trouble
        late = [service.name for service in self.fresh if not service.ready]
        if late and now > self.deadline:
            return f"{', '.join(late)} not ready after {START_SECONDS:.0f} seconds"
        return ""


class Generations:
    """The services of all generations but the log process, which has none."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.current: list[Service] = []
        self.retired: list[Service] = []
        self._change: Change | None = None

    @property
    def changing(self) -> bool:
        """Whether a new generation is being started."""
        return self._change is not None

    def everything(self) -> list[Service]:
        """Every service that has a process or may have."""
        fresh = self._change.fresh if self._change else ()
        return [*self.current, *fresh, *self.retired]

    def start(self, change: Change) -> None:
        """Start the fresh services; one that was being started is given up for it."""
        superseded, self._change = self._change, None
        if superseded is not None:
            self._abandon(superseded)
            superseded.failed("another change came in between")
        change.deadline = self._host.now() + START_SECONDS
        self._change = change
        for service in change.fresh:
            try:
                service.start()
            except OSError as error:
                service.fail(f"Can't start {service.name}: {error.strerror or error}")
                break

    def look(self) -> Outcome:
        """Whether the fresh services are ready, and if so the change."""
        change = self._change
        if change is None:
            return Outcome.PENDING
        trouble = change.trouble(self._host.now())
        if trouble:
            self._change = None
            self._abandon(change)
            change.failed(trouble)
            return Outcome.FAILED
        if not all(service.ready for service in change.fresh):
            return Outcome.PENDING
        self._change = None
        self._switch(change)
        return Outcome.DONE

    def tick(self) -> None:
        """A second has passed."""
        for service in self.everything():
            service.tick()
        self.retired = [service for service in self.retired if not service.over]

    def settle(self) -> None:
        """After a round of events."""
        for service in self.current:
            service.settle()

    def _switch(self, change: Change) -> None:
        change.done()
        for service in change.fresh:
            service.begin()
        self.current = [service for service in self.current if service not in change.replaced]
        self.current += change.fresh
        for service in change.replaced:
            service.retire()
        self.retired += change.replaced

    def _abandon(self, change: Change) -> None:
        for service in change.fresh:
            service.retire()
        self.retired += change.fresh
