"""The section of the router: how one of several trusted implementations is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_orchestrator.settings.keys import key
from tandem_orchestrator.settings.section import Section


@dataclass(frozen=True)
class Router(Section, title="router"):
    """How one of several trusted implementations is chosen."""

    frozen: bool = key(
        False,
        "Nothing is tried, learned or written: equal questions get equal answers, as in a test.",
        counts="session",
    )
    explore_share: float = key(
        0.05,
        "Bound of the calls, and of the time, spent on trying what is not the fastest.",
        low=0,
        high=0.5,
        counts="session",
    )
    entries_max: int = key(
        4096,
        "Pairs of action and size whose costs are kept; the one used longest ago goes first.",
        low=16,
        high=1_000_000,
        counts="session",
    )
    lost_max: int = key(
        5,
        "Attempts lost in a row after which nothing is routed to an implementation for a while.",
        low=1,
        high=1000,
        counts="session",
    )
    rest_s: float = key(
        30.0,
        "Seconds of that while; then one call tries it.",
        low=0.1,
        high=86_400,
        counts="session",
    )
    save_interval_s: float = key(
        30.0,
        "Seconds between writes of what was learned to the file beside the journal.",
        low=0.1,
        high=86_400,
        counts="session",
    )
