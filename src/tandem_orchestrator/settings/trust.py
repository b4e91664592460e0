"""The sections that say how far implementations are trusted: the router, and the ladder of twins."""

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


@dataclass(frozen=True)
class Twins(Section, title="twins"):
    """How a user's twin climbs from shadow to native, and what brings it down."""

    min_agreements: int = key(
        3000,
        "Agreements that promotion to the next rung asks for; 3,000 without a conflict mean a "
        "rate below 0.1 % at 95 %.",
        low=1,
        high=100_000_000,
        counts="session",
    )
    max_conflicts: int = key(
        0,
        "Conflicts among them that are put up with; one more demotes and starts the count anew.",
        low=0,
        high=1_000_000,
        counts="session",
    )
    min_speedup: float = key(
        1.1,
        "Times that a twin must be faster than the implementation it would replace.",
        low=0,
        high=1_000_000,
        counts="session",
    )
    min_distinct_inputs: int = key(
        100,
        "Different inputs that the agreements must come from.",
        low=1,
        high=1024,
        counts="session",
    )
    shadow_share: float = key(
        0.05,
        "Share of runs that a twin on the rung shadow runs beside.",
        low=0,
        high=1,
        counts="session",
    )
    verify_share: float = key(
        1.0,
        "Share of runs in which one on the rung verify runs on the path.",
        low=0,
        high=1,
        counts="session",
    )
    canary_share: float = key(
        0.05,
        "Share of runs that one on the rung canary answers, compared.",
        low=0,
        high=1,
        counts="session",
    )
    audit_share: float = key(
        0.01,
        "Share of runs in which one that climbed to native is compared.",
        low=0,
        high=1,
        counts="session",
    )
    auto_promote: bool = key(
        False,
        "Promote as soon as the rules allow it; else a person does, by `tandem twins`.",
        counts="session",
    )
    shadow_queue_max: int = key(
        64,
        "Shadow runs that wait; one more is dropped and counted.",
        low=1,
        high=100_000,
        counts="session",
    )
    shadow_parallel: int = key(1, "Shadow runs at one time.", low=1, high=256, counts="session")
    shadow_time_share: float = key(
        0.1,
        "Share of the time that shadow runs may take, each of those at one time; they pause for "
        "the rest, at most a minute.",
        low=0.001,
        high=1,
        counts="session",
    )
    shadow_timeout_s: float = key(
        60.0, "Seconds after which a shadow run is given up and counted as an error.",
        low=0.1, high=86_400, counts="session",
    )  # fmt: skip
