"""What a mode means, as data for the planner (no mode has a branch in the engine)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tandem_orchestrator.model.modes import ExecutionMode


@dataclass(frozen=True, slots=True)
class RouteQuestion:
    """What a router is asked for one step."""

    agent: str
    action: str
    bytes: int
    """Size of the payload as the wire would carry it; an estimate where it holds references."""
    load: Mapping[str, float]
    """Layer name to share of its workers in use, 0.0 to 1.0 and above when work waits."""
    costs: Mapping[str, float]
    """Implementation name to expected seconds, where something was measured."""
    allowed: tuple[str, ...]
    """Names that the promotion ladder allows, best rung first."""
    layers: Mapping[str, str] = field(default_factory=dict)
    """Implementation name to layer name."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a mode chooses implementations and what it does with several results."""

    implementations: Literal["router", "pair"] | tuple[str, ...] = "router"
    """``router``: one, by judgement; ``pair``: the twins; names: just these."""
    verdict: Literal["none", "compare", "must_agree"] = "none"
    """``compare``: conflicts are resolved; ``must_agree``: a conflict that stays is a failure."""
    if_away: Literal["python", "refuse"] = "python"
    """When the C layer is needed and away: plan a fallback to Python, or refuse."""
    route: Callable[[RouteQuestion], str] | None = field(default=None, compare=False)
    """A router of one's own: gives one of ``question.allowed``. It is asked for every run."""
    learn: Callable[[RouteQuestion, str, float | None], None] | None = field(
        default=None, compare=False
    )
    """Told, when such a step has ended, what was asked, what was chosen, and the seconds that its
    caller waited; None in place of them where it did not succeed."""
    durability: Literal["sync", "group", "async", "none"] = "group"
    """The default for runs in this mode."""


def built_in_policies() -> dict[str, Policy]:
    """Give the policies of SPEC's five modes, by value."""
    # Any: a Policy's own keyword arguments.
    table: dict[ExecutionMode | str, dict[str, Any]] = {
        ExecutionMode.INTELLIGENT: {},
        ExecutionMode.REDUNDANT: {
            "implementations": "pair", "verdict": "compare", "if_away": "refuse",
        },
        ExecutionMode.CONSENSUS: {
            "implementations": "pair", "verdict": "must_agree", "if_away": "refuse",
        },
        ExecutionMode.SPEED_CRITICAL: {
            "implementations": ("c",), "if_away": "refuse", "durability": "async",
        },
        ExecutionMode.PYTHON_ONLY: {"implementations": ("python",)},
    }  # fmt: skip
    return {str(mode): Policy(**arguments) for mode, arguments in table.items()}
