"""What the planner needs to know beside the command set and the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.routing import Standing
from tandem_orchestrator.plan.place import Machine


def _everything_is_installed(library: str) -> bool:
    """Assume a library is there; the orchestrator passes a real look-up."""
    return True


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Settings and readings, passed in so that planning stays pure."""

    default_mode: str = str(ExecutionMode.INTELLIGENT)
    default_priority: str = "medium"
    conflict_resolution: str = "python_preferred"
    vote: str = "majority"
    vote_weights: Mapping[str, float] = field(default_factory=dict)
    agreement_threshold: float = 0.95
    consensus_retries: int = 3
    is_installed: Callable[[str], bool] = field(default=_everything_is_installed, compare=False)
    """Says whether a library can be imported, by its import name."""
    installed: Callable[[], Iterable[str]] = field(default=tuple, compare=False)
    """Gives import names that are there; asked only when one is missing."""
    costs: Mapping[tuple[str, str, int], Standing] = field(default_factory=dict, compare=False)
    """(agent, action, bucket of the payload's size) to what was measured, where anything was."""
    resting: frozenset[tuple[str, str, str]] = frozenset()
    """(agent, action, implementation) whose breaker is open at this moment."""
    explore_share: float = 0.0
    """Bound of calls, and of their time, for trying what is not the fastest; 0.0: never."""
    trial_shares: Mapping[str, float] = field(default_factory=dict)
    """Rung to the share of runs in which a twin on it takes part; empty: none ever does."""
    roll: float = 1.0
    """Where among all runs this one falls, from 0.0 up to 1.0; 1.0: no twin on trial takes part."""
    load: Mapping[str, float] = field(default_factory=dict)
    """Layer to the share of its workers in use; above 1.0 where work waits."""
    machine: Machine | None = None
    """Where steps can be placed; None: they are not."""
