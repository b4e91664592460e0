"""Plans: the validated, flattened, ordered form of a command set, with a reason for every choice.

A plan is immutable plain data, so that the journal can keep it and recovery can go on from it.
Nested command sets are flattened: the step that holds one becomes a *group*, and the nested steps
get ids such as ``outer/inner``. The run itself is the group with the empty id.

Steps and assignments are plain values that never hold each other: the garbage collector need not
look at them (``gc=False``), of which a large graph has 100,000.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tandem_orchestrator.model.comparing import CompareRules
from tandem_orchestrator.model.retry import NO_RETRY, RetryPolicy
from tandem_orchestrator.model.routing import RouteRecord


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Which implementations run a step, and why."""

    implementations: tuple[str, ...]
    """One, or the twins to compare; the first is preferred where nothing else decides."""
    layers: tuple[str, ...]
    """Where each of them runs."""
    reason: str
    """A sentence for ``explain``."""
    verdict: Literal["none", "compare", "must_agree"] = "none"
    fallback: str | None = None
    """Implementation to use when the layer of the first goes away; None: fail instead."""
    not_compared: str | None = None
    """Why a comparing mode runs this step only once: ``external``, ``single`` (it has no twin) or
    ``named`` (the step names one implementation)."""
    forced: bool = False
    """Whether the step or the mode named the implementation, overriding the ladder."""
    route: RouteRecord | None = None
    """What the choice went by; None where there was nothing to choose."""
    trial: Literal["", "shadow", "verify", "canary", "audit"] = ""
    """How a twin on the promotion ladder takes part in this run; empty: none does."""
    trusted: str = ""
    """Of twins that are compared because one is on trial: whose outcome counts where they differ."""
    shadow: tuple[str, ...] = ()
    """Implementations that run beside it, off its path, and are compared."""
    shadow_layers: tuple[str, ...] = ()
    """Where each of them runs."""
    trial_share: float = 0.0
    """Share of the runs in which a twin on the ladder takes part."""


class PlannedStep(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One step, ready to be run."""

    id: str
    parent: str = ""
    """The group it belongs to; empty for the run itself."""
    kind: Literal["action", "group"] = "action"
    agent: str = ""
    action: str = ""
    # Any: a payload is any value, references inside it not yet resolved.
    payload: Any = None
    waits: Literal["", "approval", "signal"] = ""
    """What it waits for in place of running anything; empty: it runs its action."""
    depends_on: tuple[str, ...] = ()
    """Ids that must have ended first, each once."""
    inputs_from: tuple[tuple[str, str], ...] = ()
    """(name in ``ctx.inputs``, step id) for each dependency that gives an output."""
    scope: str = ""
    """Prefix of the ids that its references mean."""
    assignment: Assignment | None = None
    effects: str = "external"
    deterministic: bool = False
    batch: Literal["items"] | None = None
    """``items``: where twins differ on ``payload["items"]``, it is split until each differing item
    stands alone."""
    transient: bool = False
    version: str = "1"
    can_fail: bool = False
    timeout_s: float | None = None
    retry: RetryPolicy = NO_RETRY
    expected_output: dict[str, Any] | None = None
    validation: str | None = None
    """Name of the callable in the run's table."""
    compare: CompareRules | None = None
    """What counts as equal where it is compared, hooks by name; None: equal canonical bytes."""
    for_each: Any = None
    when: dict[str, Any] | None = None
    on_item_failure: Literal["fail", "collect"] = "fail"
    on_failure: Literal["stop", "drain"] = "stop"
    """Of a group: what a failed step in it means for the others."""
    affinity: str = "auto"
    """The wish, of its own command set or else of one around it."""
    cpus: str = ""
    """Where to run, as ``0-3,8``; empty: where the layer runs what wishes nothing."""
    placed: str = ""
    """Why there, in one line; empty where nothing was wished and nothing is special."""
    segment: int | None = None
    """Index into ``Plan.segments``; None where the step is not native."""

    @property
    def is_group(self) -> bool:
        """Whether it stands for a nested command set."""
        return self.kind == "group"


class Plan(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How a command set will be run."""

    name: str
    type: str
    mode: str
    priority: str
    durability: Literal["sync", "group", "async", "none"]
    steps: tuple[PlannedStep, ...]
    """In an order in which every step comes after those it depends on."""
    segments: tuple[tuple[str, ...], ...] = ()
    """Connected native steps that the C layer can run by itself, in order."""
    timeout_s: float | None = None
    on_failure: Literal["stop", "drain"] = "stop"
    on_change: Literal["continue", "restart", "hold"] = "hold"
    handler: str | None = None
    """Name of the ``python_handler`` in the run's table; its steps are then only its data."""
    conflict_resolution: str = "python_preferred"
    vote: Literal["majority", "median", "weighted"] = "majority"
    """What ``conflict_resolution="vote"`` counts."""
    vote_weights: dict[str, float] = {}
    """Implementation to its weight; 1.0 where it is not named."""
    agreement_threshold: float = 0.95
    consensus_retries: int = 3
    notes: tuple[str, ...] = ()
    """What the planner had to decide that a reader should know, as fallbacks."""

    def step(self, step_id: str) -> PlannedStep | None:
        """Find a step by id; linear, for people's questions."""
        return next((step for step in self.steps if step.id == step_id), None)


SHARED_MAX = 1024
"""Assignments that are kept to be shared."""
_shared: dict[Assignment, Assignment] = {}


def shared(assignment: Assignment) -> Assignment:
    """Give the equal one that other steps have already, so that thousands of them hold it once.

    One that was routed on figures of the moment is given back as it is: no other will be equal.
    """
    if assignment.route is not None:
        return assignment
    if len(_shared) >= SHARED_MAX:
        _shared.clear()
    return _shared.setdefault(assignment, assignment)


def plan_to_value(plan: Plan) -> dict[str, Any]:
    """Give the plan as plain data for the journal."""
    value: dict[str, Any] = msgspec.to_builtins(plan, builtin_types=(bytes,))
    return value


def plan_from_value(value: dict[str, Any]) -> Plan:
    """Read a plan back.

    Raises: msgspec.ValidationError if the data is not a plan.
    """
    return msgspec.convert(value, Plan, builtin_types=(bytes,))
