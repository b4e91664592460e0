"""Measured costs: what each implementation makes its callers wait, by size of the payload.

A cost is learned in logarithms: a sample moves the estimate by a quarter of the way, and by no more
than a factor of about 1.4, so that one outlier does little and a lasting change is followed within
some ten samples. The first estimate is the median of the first three, whatever warmed up in them.
Implementations whose attempts keep getting lost rest behind a breaker for a while.

Sources: an exponentially weighted mean with clipped innovations (Huber, "Robust Statistics", 1981);
the circuit breaker of M. Nygard, "Release It!", 2007.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.model.routing import UNSIZED, Estimate, Standing
from tandem_orchestrator.plan.router import SAMPLES_MIN, is_due, leader_of

WEIGHT = 0.25
"""Share of the way, in logarithms, that one sample moves an estimate."""
STEP_MAX = math.log(4.0)
"""Largest deviation, in logarithms, that one sample counts with."""
SHORTEST_S = 1e-9
"""A sample of less counts as this."""
LOST = frozenset({Outcome.NOT_STARTED, Outcome.UNKNOWN, Outcome.ABANDONED})
"""Outcomes that speak against the implementation itself, whatever its input was."""
LOST_FAILURES = frozenset({"AgentCrashed", "LayerUnavailable", "InternalError"})
"""Types of failure that do, too."""

Action = tuple[str, str]
"""Agent and action."""
Key = tuple[str, str, int]
"""Agent, action and bucket."""


@dataclass(slots=True)
class _Breaker:
    lost: int = 0
    """Attempts lost in a row."""
    rests_until_ns: int = 0
    """Monotonic; 0: closed."""


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """One standing as the file keeps it."""

    agent: str
    action: str
    bucket: int
    leader: str
    estimates: dict[str, tuple[float, int]]
    """Implementation to (seconds, samples)."""


class Costs:
    """What was measured. Belongs to the orchestrator's loop.

    Args:
        explore_share: As ``router.explore_share``; 0.0: nothing is ever tried.
        entries_max: Pairs of action and bucket that are kept; the one used longest ago goes first.
        lost_max: Attempts lost in a row after which an implementation rests.
        rest_s: For how long.
        now_ns: Gives monotonic nanoseconds.
    """

    def __init__(
        self,
        *,
        explore_share: float,
        entries_max: int,
        lost_max: int,
        rest_s: float,
        now_ns: Callable[[], int],
    ) -> None:
        self.explore_share = explore_share
        self._entries_max, self._lost_max, self._now_ns = entries_max, lost_max, now_ns
        self._rest_ns = int(rest_s * 1e9)
        self._standings: OrderedDict[Key, Standing] = OrderedDict()
        self._breakers: dict[tuple[str, str, str], _Breaker] = {}
        self.changes = 0
        """Grows with every sample, so that whoever keeps them knows when to write."""

    @property
    def standings(self) -> Mapping[Key, Standing]:
        """Everything that was measured, by agent, action and bucket; to read only."""
        return self._standings

    def standing(self, agent: str, action: str, bucket: int) -> Standing:
        """Give the standing of an action for one bucket, made if it is new."""
        key = (agent, action, bucket)
        found = self._standings.get(key)
        if found is None:
            found = self._standings[key] = Standing()
            while len(self._standings) > self._entries_max:
                self._standings.popitem(last=False)
        else:
            self._standings.move_to_end(key)
        return found

    def note(
        self,
        agent: str,
        action: str,
        bucket: int,
        implementation: str,
        seconds: float,
        outcome: Outcome,
        failure: str | None = None,
        *,
        times: int = 1,
    ) -> None:
        """Learn from an attempt: what it took if it succeeded, whether it was lost if not.

        ``times``: for how many alike it stands.
        """
        self._note_breaker((agent, action, implementation), outcome, failure)
        if outcome is not Outcome.SUCCEEDED:
            return  # What fails at once would look fast.
        standing = self.standing(agent, action, bucket)
        mine = standing.estimates.setdefault(implementation, Estimate())
        _learn(mine, max(seconds, SHORTEST_S))
        mine.since, mine.spent_s = 0, 0.0
        for name, other in standing.estimates.items():
            if name != implementation:
                other.since += times
                other.spent_s += seconds * times
        leader = leader_of(standing)
        if leader != standing.leader:
            standing.leader = leader
            standing.version += 1
        due = self.explore_share > 0.0 and any(
            is_due(name, standing, standing.estimates, self.explore_share)
            for name in standing.estimates
        )
        if due != standing.is_due:
            standing.is_due = due
            standing.version += due
        self.changes += 1

    def note_size(self, agent: str, action: str, size_bytes: int) -> None:
        """Learn how large payloads of an action are whose size is not known when planned."""
        standing = self.standing(agent, action, UNSIZED)
        before = standing.typical_bytes or max(1, size_bytes)
        off = math.log(max(1, size_bytes) / before)
        standing.typical_bytes = max(1, round(before * math.exp(WEIGHT * off)))

    def claim(self, plan: Plan) -> None:
        """Take note of what a plan that is about to run will try, so that no other tries it too."""
        for step in plan.steps:
            assignment = step.assignment
            if assignment is None or assignment.route is None:
                continue
            route = assignment.route
            name = route.chosen
            standing = self.standing(step.agent, step.action, route.bucket)
            for option in route.options:
                if not option.excluded:
                    standing.estimates.setdefault(option.implementation, Estimate())
            breaker = self._breakers.get((step.agent, step.action, name))
            if breaker is not None and breaker.rests_until_ns:
                # Its rest is over, or it would not have been chosen: one trial, then more rest.
                breaker.rests_until_ns = self._now_ns() + self._rest_ns
            if route.explored:
                mine = standing.estimates[name]
                mine.since, mine.spent_s = 0, 0.0
                standing.is_due = False
                standing.version += 1

    def resting(self) -> frozenset[tuple[str, str, str]]:
        """Give the implementations (with agent and action) that nothing is routed to just now."""
        if not self._breakers:
            return frozenset()
        now_ns = self._now_ns()
        return frozenset(key for key, one in self._breakers.items() if one.rests_until_ns > now_ns)

    def _note_breaker(
        self, key: tuple[str, str, str], outcome: Outcome, failure: str | None
    ) -> None:
        lost = outcome in LOST or (outcome is Outcome.FAILED and failure in LOST_FAILURES)
        breaker = self._breakers.get(key)
        if not lost:
            if breaker is not None and outcome is Outcome.SUCCEEDED:
                del self._breakers[key]
                if breaker.rests_until_ns:
                    self._touch(key[0], key[1])
            return
        if breaker is None:
            if len(self._breakers) >= self._entries_max:
                del self._breakers[next(iter(self._breakers))]
            breaker = self._breakers[key] = _Breaker()
        breaker.lost += 1
        if breaker.lost >= self._lost_max:
            breaker.rests_until_ns = self._now_ns() + self._rest_ns
            self._touch(key[0], key[1])

    def _touch(self, agent: str, action: str) -> None:
        for (of_agent, of_action, _), standing in self._standings.items():
            if of_agent == agent and of_action == action:
                standing.version += 1

    # --- outlasting the process ------------------------------------------------------------------

    def kept(self) -> Iterator[Kept]:
        """Give what is worth keeping, that used longest ago first."""
        for (agent, action, bucket), standing in self._standings.items():
            estimates = {
                name: (one.seconds, one.samples)
                for name, one in standing.estimates.items()
                if one.samples >= SAMPLES_MIN
            }
            if estimates:
                yield Kept(agent, action, bucket, standing.leader, estimates)

    def restore(self, kept: Iterator[Kept] | list[Kept]) -> None:
        """Take over what another session measured, where nothing is known here yet."""
        for one in kept:
            key = (one.agent, one.action, one.bucket)
            if key in self._standings:
                continue
            standing = self.standing(*key)
            for name, (seconds, samples) in one.estimates.items():
                if math.isfinite(seconds) and seconds > 0 and samples >= SAMPLES_MIN:
                    standing.estimates[name] = Estimate(seconds, samples, seconds)
            standing.leader = one.leader if one.leader in standing.estimates else ""
            standing.leader = leader_of(standing)


def _learn(estimate: Estimate, seconds: float) -> None:
    """Take in one sample."""
    estimate.samples += 1
    estimate.last_s = seconds
    if estimate.samples <= SAMPLES_MIN:
        estimate.first = (*estimate.first, seconds)
        estimate.seconds = sorted(estimate.first)[(estimate.samples - 1) // 2]
        if estimate.samples == SAMPLES_MIN:
            estimate.first = ()
        return
    off = math.log(seconds / estimate.seconds)
    estimate.seconds *= math.exp(WEIGHT * max(-STEP_MAX, min(STEP_MAX, off)))
