"""One measured figure with its spread, and the report that holds several."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import Machine


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, how often, and how much it may be."""

    name: str
    """What a reader calls it."""
    unit: str
    """Unit of every value below."""
    bar: float
    """The median must stay below this."""
    values: tuple[float, ...]
    """One value a run, in the order taken; never empty."""

    @property
    def median(self) -> float:
        """The middle value, which one noisy run does not move."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        """Whether the median is below the bar."""
        return self.median < self.bar

    def as_dict(self) -> dict[str, object]:
        """Return the figure and its spread, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "bar": self.bar,
            "holds": self.holds,
            "runs": len(self.values),
            "min": round(min(self.values), 3),
            "median": round(self.median, 3),
            "max": round(max(self.values), 3),
            "values": [round(value, 3) for value in self.values],
        }


def table(figures: Sequence[Figure]) -> str:
    """Lay the figures out as text, one a line."""
    rows = [("figure", "bar", "min", "median", "max", "runs", "")]
    rows += [
        (
            figure.name,
            f"< {figure.bar:g} {figure.unit}",
            f"{min(figure.values):.1f}",
            f"{figure.median:.1f}",
            f"{max(figure.values):.1f}",
            str(len(figure.values)),
            "holds" if figure.holds else "MISSED",
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for name, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest[:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, rest[-1]]).rstrip())
    return "\n".join(lines)


def write_report(path: Path, *, command: str, machine: Machine, figures: Sequence[Figure]) -> None:
    """Write the figures with the command and the machine as JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "command": command,
        "machine": machine.as_dict(),
        "figures": [figure.as_dict() for figure in figures],
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
