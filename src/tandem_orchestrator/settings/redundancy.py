"""The section ``redundancy``: what a conflict between twins leads to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tandem_orchestrator.settings.keys import key
from tandem_orchestrator.settings.section import Section

_WEIGHT = re.compile(r"[A-Za-z0-9_.-]{1,64}=[0-9]{1,6}(\.[0-9]{1,6})?\Z")


def weights_of(vote_weights: Iterable[str]) -> dict[str, float]:
    """Give ``vote_weights`` as a table of implementation to weight."""
    return {name: float(weight) for name, _, weight in map(_parted, vote_weights)}


def _parted(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _check_weight(text: str) -> str | None:
    return None if _WEIGHT.match(text) else "an implementation and its weight, as python=2 or c=0.5"


@dataclass(frozen=True)
class Redundancy(Section, title="redundancy"):
    """What comparing twins leads to."""

    conflict_resolution: str = key(
        "python_preferred",
        "What settles a conflict in REDUNDANT mode.",
        choices=("python_preferred", "c_preferred", "retry_both", "vote", "hold", "fail"),
    )
    vote: str = key(
        "majority",
        "What vote counts: heads, the middle of numbers, or vote_weights.",
        choices=("majority", "median", "weighted"),
    )
    vote_weights: tuple[str, ...] = key(
        (),
        "Weights of a weighted vote, as python=2; an implementation not named has 1.",
        check=_check_weight,
    )
    consensus_retries: int = key(
        3, "Further tries in CONSENSUS mode, and with retry_both.", low=0, high=100
    )
    agreement_threshold: float = key(
        0.95, "Share of compared steps that must agree for consensus_achieved.", low=0, high=1
    )  # fmt: skip

    def _disagreements(self) -> list[str]:
        names = [_parted(each)[0] for each in self.vote_weights]
        if len(set(names)) < len(names):
            return [f"redundancy.vote_weights names an implementation twice: {', '.join(names)}"]
        if self.vote_weights and not any(weights_of(self.vote_weights).values()):
            return ["redundancy.vote_weights: expected a weight above 0"]
        return []
