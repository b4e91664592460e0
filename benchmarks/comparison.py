"""One figure beside what it is held against: an absolute bar, and peers measured in the same run."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from machine import Machine


@dataclass(slots=True)
class Comparison:
    """One figure: the values of every run, its bar, and its peers."""

    name: str
    """What a reader calls it."""
    unit: str
    """Of every value below, peers included."""
    bar: float | None
    """What the median must reach, or stay below; None: held against its peers alone."""
    more_is_better: bool = True
    ratios: dict[str, float] = field(default_factory=dict)
    """By peer: what this median divided by the peer's must reach, or stay below."""
    values: list[float] = field(default_factory=list)
    """One a run, in the order taken."""
    peers: dict[str, list[float]] = field(default_factory=dict)
    """By peer: one value a run, taken right before or after ours."""

    @property
    def median(self) -> float:
        """The middle value, which one noisy run does not move."""
        return statistics.median(self.values)

    def ratio(self, peer: str) -> float:
        """Our median divided by the peer's."""
        return self.median / statistics.median(self.peers[peer])

    @property
    def holds(self) -> bool:
        """Whether the bar and every ratio hold."""
        return self._reaches(self.median, self.bar) and all(
            self._reaches(self.ratio(peer), ratio) for peer, ratio in self.ratios.items()
        )

    def _reaches(self, value: float, bar: float | None) -> bool:
        if bar is None:
            return True
        return value >= bar if self.more_is_better else value <= bar

    def lines(self) -> list[str]:
        """Lay it out as text: itself, then each peer."""
        sign = ">=" if self.more_is_better else "<="
        bar = "" if self.bar is None else f"{sign} {self.bar:,.0f}"
        verdict = "holds" if self.holds else "MISSED"
        lines = [f"{self.name:44} {_spread(self.values)} {self.unit:4} {bar:12} {verdict}".rstrip()]
        for peer, values in self.peers.items():
            wanted = f"{sign} {self.ratios[peer]:g}" if peer in self.ratios else ""
            lines.append(
                f"  {peer:42} {_spread(values)} {self.unit:4} ratio {self.ratio(peer):.2f} {wanted}".rstrip()
            )
        return lines

    def as_dict(self) -> dict[str, object]:
        """Return it and its spread, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "bar": self.bar,
            "more_is_better": self.more_is_better,
            "holds": self.holds,
            "median": round(self.median, 3),
            "values": [round(value, 3) for value in self.values],
            "peers": {
                peer: {
                    "ratio": round(self.ratio(peer), 3),
                    "ratio_bar": self.ratios.get(peer),
                    "values": [round(value, 3) for value in values],
                }
                for peer, values in self.peers.items()
            },
        }


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):11,.1f} [{min(values):,.1f} .. {max(values):,.1f}]".ljust(
        42
    )


def write_comparisons(
    path: Path, *, command: str, machine: Machine, rows: Iterable[Comparison]
) -> None:
    """Write the figures with the command and the machine as JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "command": command,
        "machine": machine.as_dict(),
        "figures": [row.as_dict() for row in rows],
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
