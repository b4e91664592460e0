"""One measured figure with its spread, and the report that holds several."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import Machine


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, how often, what it has to reach, and what it is held against."""

    name: str
    """What a reader calls it."""
    unit: str
    """Unit of every value below."""
    bar: float | None
    """What the median must not exceed, or not fall below; None: there is no bar."""
    values: tuple[float, ...]
    """One value a run, in the order taken; never empty."""
    more_is_better: bool = False
    """Whether the bar is to be reached from below, as by a rate."""
    peers: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """Others of the same unit, measured in the same runs: (name, values)."""

    @property
    def median(self) -> float:
        """The middle value, which one noisy run does not move."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        """Whether the median keeps to the bar."""
        if self.bar is None:
            return True
        return self.median >= self.bar if self.more_is_better else self.median <= self.bar

    def as_dict(self) -> dict[str, object]:
        """Return the figure and its spread, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "bar": self.bar,
            "more_is_better": self.more_is_better,
            "holds": self.holds,
            **spread(self.values),
            "peers": [
                {
                    "name": name,
                    "ratio": round(self.median / statistics.median(values), 3),
                    **spread(values),
                }
                for name, values in self.peers
            ],
        }


def spread(values: Sequence[float]) -> dict[str, object]:
    """Say how several values lie."""
    return {
        "runs": len(values),
        "min": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "max": round(max(values), 3),
        "values": [round(value, 3) for value in values],
    }


def table(figures: Sequence[Figure]) -> str:
    """Lay the figures out as text, one a line, with their peers and the ratio to each below."""
    rows = [("figure", "bar", "min", "median", "max", "runs", "")]
    for figure in figures:
        sign = ">=" if figure.more_is_better else "<="
        bar = figure.unit if figure.bar is None else f"{sign} {figure.bar:,g} {figure.unit}"
        verdict = "" if figure.bar is None else "holds" if figure.holds else "MISSED"
        rows.append((figure.name, bar, *_numbers(figure.values), verdict))
        for name, values in figure.peers:
            ratio = figure.median / statistics.median(values)
            rows.append((f"    {name}", "", *_numbers(values), f"ratio {ratio:.2f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for name, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest[:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, rest[-1]]).rstrip())
    return "\n".join(lines)


def _numbers(values: Sequence[float]) -> tuple[str, str, str, str]:
    low, middle, high = min(values), statistics.median(values), max(values)
    digits = 0 if high >= 10_000 else 1 if high >= 10 else 3
    low_text, middle_text, high_text = (f"{value:,.{digits}f}" for value in (low, middle, high))
    return low_text, middle_text, high_text, str(len(values))


def report(figures: Sequence[Figure], *, command: str, machine: Machine, output: Path) -> int:
    """Print the table, write the JSON, and return the exit code: 1 when a median misses its bar."""
    write_report(output, command=command, machine=machine, figures=figures)
    print(table(figures))
    print(
        f"\n{command}\n{machine.cpu}, {machine.cores} cores, {machine.memory_mib} MiB, "
        f"{machine.kernel}, {machine.python}, load {machine.load_1min}\nwritten: {output}"
    )
    return 0 if all(figure.holds for figure in figures) else 1


def write_report(path: Path, *, command: str, machine: Machine, figures: Sequence[Figure]) -> None:
    """Write the figures with the command and the machine as JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "command": command,
        "machine": machine.as_dict(),
        "figures": [figure.as_dict() for figure in figures],
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
