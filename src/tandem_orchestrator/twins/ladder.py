"""The promotion ladder: how far a twin is trusted, by the evidence. Pure.

shadow: it runs beside some runs, off their path, and is compared. verify: it runs on the path, and
is compared; the primary answers. canary: it answers a share of the runs, compared. native: the
router may choose it; a share of its runs is compared.

Evidence is gathered on each rung anew: agreements since the rung was reached, or since more
conflicts than are put up with. Such a conflict brings it down to shadow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from tandem_orchestrator.model.catalogue import RUNGS
from tandem_orchestrator.settings import Twins
from tandem_orchestrator.twins.bounds import bound_text

INPUTS_MAX = 1024
"""Different inputs that are told apart; beyond it all count as one."""
HISTORY_MAX = 32
"""Changes of rung that are remembered; the oldest goes first."""
ERRORS_SHARE_MAX = 0.01
"""Share of its shadow runs that may come to nothing where it is to be promoted."""
BY_RULES = "the rules"
"""Who changed a rung where no person did."""


class Change(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One change of rung."""

    at_s: float
    """Wall time, seconds since the epoch."""
    left: str
    right: str
    why: str
    by: str = BY_RULES
    forced: bool = False
    """Whether the rules spoke against it."""
    capsule: str | None = None
    """The conflict that led to it, kept whole."""


class Climb(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One implementation on the ladder, with its evidence."""

    agent: str
    action: str
    implementation: str
    version: str = "1"
    """Of the action; another one begins anew."""
    rung: str = "shadow"
    agreements: int = 0
    """On this rung, in the present count."""
    conflicts: int = 0
    """Likewise."""
    inputs: list[str] = []
    """Digests of different inputs, likewise."""
    log_speedup: float = 0.0
    """Sum of the logarithms of (seconds of the primary / its own), likewise."""
    timed: int = 0
    """Pairs in that sum."""
    errors_here: int = 0
    """As ``errors``, on this rung, in the present count."""
    compared_total: int = 0
    """Comparisons ever."""
    conflicts_total: int = 0
    errors: int = 0
    """Shadow runs that came to no comparison: lost, or out of time. Nobody's run was hurt."""
    dropped: int = 0
    """Shadow runs that were not begun, since too many waited."""
    last_conflict: str | None = None
    """Capsule of the last one."""
    last_conflict_s: float = 0.0
    history: list[Change] = []

    @property
    def key(self) -> tuple[str, str, str]:
        """Agent, action and implementation."""
        return self.agent, self.action, self.implementation

    @property
    def name(self) -> str:
        """As the command line names it: ``AGENT.ACTION:IMPL``."""
        return f"{self.agent}.{self.action}:{self.implementation}"

    @property
    def speedup(self) -> float | None:
        """Geometric mean of how many times faster than the primary it is; None: not timed."""
        return math.exp(self.log_speedup / self.timed) if self.timed else None

    @property
    def bound(self) -> str:
        """What its present evidence says of the rate of conflicts."""
        return bound_text(self.conflicts, self.agreements + self.conflicts)


@dataclass(slots=True)
class Tally:
    """Comparisons that have not been added to a climb yet; cheap to count, and to add up."""

    agreements: int = 0
    since_conflict: int = 0
    """Agreements after the last conflict among them."""
    conflicts: int = 0
    inputs: set[str] = field(default_factory=set)
    log_speedup: float = 0.0
    timed: int = 0
    errors: int = 0
    dropped: int = 0
    capsule: str | None = None
    """Of the last conflict."""

    def note(
        self,
        *,
        agreed: bool,
        digest: str = "",
        primary_s: float = 0.0,
        own_s: float = 0.0,
        capsule: str | None = None,
        count: int = 1,
    ) -> None:
        """Count one comparison; of a batch ``count`` of them."""
        if agreed:
            self.agreements += count
            self.since_conflict += count
        else:
            self.conflicts += count
            self.since_conflict = 0
            self.capsule = capsule
        if digest and len(self.inputs) < INPUTS_MAX:
            self.inputs.add(digest)
        if primary_s > 0.0 and own_s > 0.0:
            self.log_speedup += math.log(primary_s / own_s)
            self.timed += 1

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not (self.agreements or self.conflicts or self.errors or self.dropped)


def add(climb: Climb, tally: Tally, rules: Twins, now_s: float) -> Change | None:
    """Add what was counted, in place; gives the change of rung that follows from it."""
    climb.errors += tally.errors
    climb.errors_here += tally.errors
    climb.dropped += tally.dropped
    climb.compared_total += tally.agreements + tally.conflicts
    climb.conflicts_total += tally.conflicts
    climb.agreements += tally.agreements
    climb.conflicts += tally.conflicts
    climb.inputs = _joined(climb.inputs, tally.inputs)
    climb.log_speedup += tally.log_speedup
    climb.timed += tally.timed
    if tally.conflicts:
        climb.last_conflict, climb.last_conflict_s = tally.capsule, now_s
    if climb.conflicts > rules.max_conflicts:
        why = f"{climb.bound}; at most {rules.max_conflicts} conflicts are put up with"
        fell = None
        if climb.rung != "shadow":
            fell = Change(
                at_s=now_s, left=climb.rung, right="shadow", why=why, capsule=tally.capsule
            )
            _move(climb, fell)
        _begin_anew(climb)
        climb.agreements = tally.since_conflict
        return fell
    if rules.auto_promote and climb.rung != "native" and not objections(climb, rules):
        return promote(climb, rules, now_s)
    return None


def objections(climb: Climb, rules: Twins) -> list[str]:
    """Say what speaks against the next rung; empty where nothing does."""
    if climb.rung == "native":
        return ["it is on the highest rung already"]
    found = []
    if climb.conflicts > rules.max_conflicts:
        found.append(f"{climb.conflicts:,} conflicts, at most {rules.max_conflicts:,}")
    if climb.agreements < rules.min_agreements:
        found.append(
            f"{climb.agreements:,} agreement{'' if climb.agreements == 1 else 's'} on the rung "
            f"{climb.rung}, at least {rules.min_agreements:,} (twins.min_agreements)"
        )
    if len(climb.inputs) < rules.min_distinct_inputs:
        found.append(
            f"its inputs were hardly diverse: {inputs_text(climb)}, "
            f"at least {rules.min_distinct_inputs:,} (twins.min_distinct_inputs)"
        )
    if climb.errors_here > ERRORS_SHARE_MAX * (climb.agreements + climb.errors_here):
        found.append(
            f"{climb.errors_here:,} of {climb.agreements + climb.errors_here:,} runs were lost or "
            f"out of time, at most {ERRORS_SHARE_MAX:.0%}"
        )
    speedup = climb.speedup
    if speedup is None:
        found.append("nothing is known of its speed")
    elif speedup < rules.min_speedup:
        found.append(
            f"it does not pay: {speedup:.2f} times as fast, "
            f"at least {rules.min_speedup:g} (twins.min_speedup)"
        )
    return found


def inputs_text(climb: Climb) -> str:
    """Say on how many different inputs it was compared, as far as they are told apart."""
    count = len(climb.inputs)
    more = "at least " if count >= INPUTS_MAX else ""
    return f"{more}{count:,} different input{'' if count == 1 else 's'}"


def promote(
    climb: Climb, rules: Twins, now_s: float, *, by: str = BY_RULES, force: bool = False
) -> Change | None:
    """Move up one rung, in place; None where the rules object, or there is none above.

    With ``force`` their objections are recorded and overridden.
    """
    against = objections(climb, rules)
    if climb.rung == "native" or (against and not force):
        return None
    why = f"{climb.bound}, {inputs_text(climb)}"
    if climb.speedup is not None:
        why += f", {climb.speedup:.2f} times as fast"
    if against:
        why += f"; forced against: {'; '.join(against)}"
    change = Change(
        at_s=now_s,
        left=climb.rung,
        right=RUNGS[RUNGS.index(climb.rung) + 1],
        why=why,
        by=by,
        forced=bool(against),
    )
    _move(climb, change)
    _begin_anew(climb)
    return change


def demote(climb: Climb, now_s: float, *, by: str, why: str = "asked for") -> Change | None:
    """Move down to shadow, in place, and begin to count anew; None where it is there already."""
    change = None
    if climb.rung != "shadow":
        change = Change(at_s=now_s, left=climb.rung, right="shadow", why=why, by=by)
        _move(climb, change)
    _begin_anew(climb)
    return change


def _move(climb: Climb, change: Change) -> None:
    climb.rung = change.right
    climb.history = [*climb.history, change][-HISTORY_MAX:]


def _begin_anew(climb: Climb) -> None:
    climb.agreements = climb.conflicts = climb.timed = climb.errors_here = 0
    climb.inputs, climb.log_speedup = [], 0.0


def _joined(known: list[str], new: Iterable[str]) -> list[str]:
    if len(known) >= INPUTS_MAX:
        return known
    return list(dict.fromkeys([*known, *sorted(new)]))[:INPUTS_MAX]
