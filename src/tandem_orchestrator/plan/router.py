"""The router: which of several trusted implementations a step is given to, and why. Pure.

It takes the one that costs its callers least for payloads of this size, by measurement. Now and
then it tries another one, so that it learns when costs have changed. What trying may cost is
bounded twice: at most ``explore_share`` of the calls, and of the time that they take. Whatever was
measured is tried again after finitely many calls: the allowance grows with each call of the others.
A sample of another one that beats the leader is looked at again at once, since that costs nothing.

Sources: the bounded share is epsilon-greedy (Sutton and Barto, "Reinforcement Learning", 2018,
section 2.2) with a schedule in place of chance, so that equal histories give equal plans; the
margin before the leader changes is the usual hysteresis against flapping.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tandem_orchestrator.model.routing import Estimate, Standing

SAMPLES_MIN = 3
"""Samples after which an estimate is believed, and an implementation no longer new."""
NEW_GAP = 5
"""Calls of the others between the first tries of a new implementation."""
MARGIN = 0.1
"""Share by which another must be faster than the leader to take its place."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One implementation, and why."""

    name: str
    reason: str
    explored: bool = False


def choose(
    names: Sequence[str],
    standing: Standing | None,
    *,
    explore_share: float,
    layers: Mapping[str, str],
    load: Mapping[str, float],
) -> Choice:
    """Choose among implementations that may be chosen.

    Args:
        names: At least one; each is trusted, its layer is there, its breaker closed.
        standing: What was measured for payloads of this size; None: nothing.
        explore_share: 0.0 for a step that must not be tried elsewhere.
        layers: Name to layer.
        load: Layer to the share of its workers in use; above 1.0 work waits.
    """
    if len(names) == 1:
        return Choice(names[0], f"{names[0]} is the only one to choose")
    known = {} if standing is None else standing.estimates
    if standing is not None and explore_share > 0.0:
        for name in names:
            if is_due(name, standing, names, explore_share):
                return Choice(name, _why_explored(name, known), explored=True)
    measured = [name for name in names if name in known and known[name].samples]
    if not measured:
        return _untried(names)
    figures = ", ".join(f"{name} {seconds_text(known[name].seconds)}" for name in measured)
    crowded = [name for name in names if load.get(layers[name], 0.0) > 1.0]
    if crowded and len(measured) == len(names):
        waits = {name: max(1.0, load.get(layers[name], 0.0)) for name in names}
        best = min(names, key=lambda name: known[name].seconds * waits[name])
        return Choice(
            best, f"{best} answers first: {figures}; {', '.join(crowded)} has work waiting"
        )
    if len(measured) < len(names):
        first = _untried(names)
        if first.name in measured or standing is None:
            return Choice(first.name, f"{first.reason} ({figures})")
        return first
    leader = standing.leader if standing is not None else ""
    if leader not in names:
        leader = min(names, key=lambda name: known[name].seconds)
    return Choice(leader, f"{leader} is the fastest by measurement ({figures})")


def is_due(name: str, standing: Standing, names: Collection[str], explore_share: float) -> bool:
    """Say whether an implementation is to be tried, to learn what it costs."""
    known = standing.estimates
    measured = [n for n in names if n in known and known[n].samples]
    if not measured:
        return False  # The first call goes where it is trusted most; it teaches something as well.
    leader = standing.leader
    if leader not in measured:
        leader = min(measured, key=lambda n: known[n].seconds)
    if name == leader:
        return False
    mine, best = known.get(name), known[leader]
    if mine is None:
        # Nobody has counted calls since its last sample: those of the leader stand for them.
        return best.samples >= NEW_GAP
    if mine.samples < SAMPLES_MIN:
        return mine.since >= NEW_GAP
    if mine.last_s < best.seconds * (1.0 - MARGIN) and mine.since >= 1:
        return True
    allowance_s = explore_share * mine.spent_s
    return mine.since * explore_share >= 1.0 and mine.seconds - best.seconds <= allowance_s


def leader_of(standing: Standing) -> str:
    """Give who leads now: the one before, unless another is clearly faster."""
    known = standing.estimates
    believed = [name for name, one in known.items() if one.samples >= SAMPLES_MIN]
    if not believed:
        return ""
    best = min(believed, key=lambda name: known[name].seconds)
    if standing.leader not in believed:
        return best
    is_clear = known[best].seconds < known[standing.leader].seconds * (1.0 - MARGIN)
    return best if is_clear else standing.leader


def seconds_text(seconds: float) -> str:
    """Write a duration for people, as ``250 µs``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1.0 else f"{seconds:.3g} s"


def _untried(names: Sequence[str]) -> Choice:
    if "c" in names:
        return Choice("c", "a native implementation is trusted and its layer is there")
    return Choice(names[0], f"{names[0]} comes first of {', '.join(names)}")


def _why_explored(name: str, known: Mapping[str, Estimate]) -> str:
    mine = known.get(name)
    if mine is None or mine.samples < SAMPLES_MIN:
        count = 0 if mine is None else mine.samples
        return f"{name} is tried to learn what it costs ({count} of {SAMPLES_MIN} samples)"
    ago = f"{mine.since} calls after its last sample, {seconds_text(mine.seconds)}"
    return f"{name} is tried to see whether its cost has changed ({ago})"
