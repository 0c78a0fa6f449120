"""The printed table: ours | Dovecot | ratio, and beside them processor time and memory."""

from __future__ import annotations

import statistics

from benchmarks.measure import Sample

FEW_OCTETS = 4000
TOLERANCE = 0.05
"""Answers of more than FEW_OCTETS may differ in length by this part: fewer say that one server did less work."""


class Table:
    """Prints one line at a time. A ratio over 1 means that we are the faster (or smaller)."""

    def __init__(self) -> None:
        self.below: list[str] = []
        """Lines whose ratio is below their aim."""
        self._section = ""

    def heading(self, text: str) -> None:
        self._section = text
        print(f"\n== {text}")
        print(
            f"{'':44} {'unit':>4} {'ours':>10} {'Dovecot':>10} {'ratio':>7} {'aim':>5}   {'spread of ours':>17}"
            f"   {'CPU ms':>17}   {'peak MiB':>13}",
            flush=True,
        )

    def line(
        self,
        name: str,
        unit: str,
        ours: list[Sample],
        theirs: list[Sample],
        *,
        more_is_better: bool,
        aim: float,
    ) -> None:
        """A line with everything; no samples of a server: it refused."""
        beside = ""
        if any(sample.processor for sample in ours + theirs):
            processor = [_middle([sample.processor for sample in side], "8.1f") for side in (ours, theirs)]
            peaks = [f"{max((s.peak for s in side), default=0) / 1024:6.1f}" for side in (ours, theirs)]
            beside = f"   {processor[0]}|{processor[1]}   {peaks[0]}|{peaks[1]}"
        octets = [
            round(statistics.median([s.octets for s in side])) if side else 0 for side in (ours, theirs)
        ]
        if min(octets) and max(octets) > FEW_OCTETS and min(octets) < max(octets) * (1 - TOLERANCE):
            beside += f"   ANSWERS DIFFER: {octets[0]} and {octets[1]} octets"
        values = [[sample.value for sample in side] for side in (ours, theirs)]
        self.values(name, unit, values[0], values[1], more_is_better=more_is_better, aim=aim, beside=beside)

    def values(
        self,
        name: str,
        unit: str,
        ours: list[float],
        theirs: list[float],
        *,
        more_is_better: bool,
        aim: float = 1.0,
        beside: str = "",
    ) -> None:
        """A line of numbers, medians taken; `aim` 0: none."""
        ratio = ""
        if ours and theirs:
            a, b = statistics.median(ours), statistics.median(theirs)
            number = (a / max(b, 1e-9)) if more_is_better else (b / max(a, 1e-9))
            ratio = f"{number:6.2f}x"
            if aim and number < aim:
                self.below.append(f"{self._section}: {name} {number:.2f}x, aim {aim:g}")
        spread = f"{_short(min(ours))}-{_short(max(ours))}" if ours else ""
        print(
            f"{name:44} {unit:>4} {_middle(ours, '10.2f')} {_middle(theirs, '10.2f')} {ratio:>7} {aim or '':>5}"
            f"   {spread:>17}{beside}",
            flush=True,
        )

    def end(self) -> None:
        """What is below its aim, once more."""
        if self.below:
            print("\nbelow the aim:")
            print("\n".join(f"  {text}" for text in self.below))


def _middle(values: list[float], form: str) -> str:
    return format(statistics.median(values), form) if values else "–".rjust(int(form.partition(".")[0]))


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"
