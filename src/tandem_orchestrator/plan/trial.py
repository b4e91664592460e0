"""Twins on the promotion ladder: which of them takes part in a run, and how. Pure, given a roll.

At most one takes part on the path: it runs as well, is compared, and the implementation that was
trusted before answers wherever they differ. Those on the rung shadow run beside, off the path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tandem_orchestrator.model.catalogue import RUNGS, Action, Implementation
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.plans import Assignment

AUDIT = "native"
"""The rung whose share is that of audits."""


def with_trial(
    assignment: Assignment,
    action: Action,
    present: Sequence[Implementation],
    shares: Mapping[str, float],
    roll: float,
) -> Assignment:
    """Let a twin that climbs take part in the run of a step that was routed.

    Args:
        assignment: The router's: one implementation.
        present: Those whose layer is there and whose breaker is closed.
        shares: Rung to the share of runs in which a twin on it takes part.
        roll: Where among all runs this one falls, from 0.0 up to 1.0.
    """
    climbing = [one for one in present if one.climbs]
    if not climbing or not may_repeat(action.effects):
        return assignment
    chosen = next(i for i in present if i.name == assignment.implementations[0])
    share, taken = 0.0, None
    for one in sorted(climbing, key=lambda i: -RUNGS.index(i.rung)):
        pair = _pair(one, chosen, present)
        if pair is None:
            continue
        share = max(share, shares[one.rung])
        if taken is None and roll < shares[one.rung]:
            taken = one, pair
    assignment = msgspec.structs.replace(assignment, trial_share=share)
    if taken is None:
        return assignment
    one, (first, other, trusted) = taken
    if one.rung == "shadow":
        beside = tuple(i.name for i in climbing if i.rung == "shadow")
        layers = tuple(i.layer for i in climbing if i.rung == "shadow")
        return msgspec.structs.replace(
            assignment, trial="shadow", shadow=beside, shadow_layers=layers
        )
    kind = "audit" if one.rung == AUDIT else one.rung
    return msgspec.structs.replace(
        assignment,
        implementations=(first.name, other.name),
        layers=(first.layer, other.layer),
        verdict="compare",
        fallback=None,
        trial=kind,
        trusted=trusted.name,
        reason=f"{assignment.reason}; {kind} of {one.name}: both run, {trusted.name} answers "
        "where they differ",
    )


def _pair(
    one: Implementation, chosen: Implementation, present: Sequence[Implementation]
) -> tuple[Implementation, Implementation, Implementation] | None:
    """Give (who answers where they agree, the other, who answers where not); None: no trial."""
    if one.rung == AUDIT:
        if one.name != chosen.name:
            return None  # What is not used needs no audit.
        native = [i for i in present if i.rung == "native" and i.name != one.name]
        trusted = next((i for i in native if not i.climbs), native[0] if native else None)
        return None if trusted is None else (one, trusted, trusted)
    if one.name == chosen.name:
        return None
    return (one, chosen, chosen) if one.rung == "canary" else (chosen, one, chosen)
