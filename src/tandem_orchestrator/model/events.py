"""Events: what happened to a run, in the order it happened.

The journal keeps them, ``advance`` folds them, observers read them. An event says what was
observed, never what to do about it. Wall times are nanoseconds since the epoch, durations
seconds. Each is encoded as one MessagePack map whose ``kind`` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True, kw_only=True):
    """Something that happened to one run."""

    derived: ClassVar[bool] = False
    """True where ``advance`` concluded it: kept for readers, checked but not folded at recovery."""
    at_ns: int = 0
    """Wall clock when it was observed; 0 until the engine stamps it."""


class RunAccepted(Event, tag="run_accepted", frozen=True, omit_defaults=True, kw_only=True):
    """A command set was checked, planned and taken in; the snapshot is all that is needed."""

    run_id: str
    command_set_id: str
    name: str
    type: str
    mode: str
    priority: str
    durability: str
    document: dict[str, Any]
    """The command set as a document (``documents.py``), callables by name."""
    plan: dict[str, Any]
    """The plan as plain data (``plans.py``)."""
    inputs: dict[str, Any] = {}
    owner: str = ""
    resumable: bool = True
    waiting_for: tuple[str, ...] = ()
    steps_total: int = 0
    idempotency_key: str | None = None

    def without_bodies(self) -> RunAccepted:
        """Give the same without document, plan and inputs: what is left takes little to keep."""
        return msgspec.structs.replace(self, document=_GONE, plan=_GONE, inputs=_GONE)


_GONE: dict[str, Any] = {}
"""What the journal alone keeps; one for all, as nobody changes an event."""


class RunStarted(Event, tag="run_started", frozen=True, omit_defaults=True, kw_only=True):
    """It got its slot and its first steps were given out."""

    roll: float = 0.0
    """A random number in [0, 1) that draws the order in which twins start; 0: the plan's order."""


class AttemptStarted(Event, tag="attempt_started", frozen=True, omit_defaults=True, kw_only=True):
    """A unit is about to start; for external effects this is durable before it may."""

    step: str
    item: int | None = None
    part: tuple[int, int] | None = None
    """Of a batch that was split: from which of its items to which (exclusive)."""
    implementation: str = ""
    layer: str = ""
    attempt: int = 1
    effects: str = "external"
    reason: str = ""
    """Why this implementation, for ``explain``."""


class AttemptEnded(Event, tag="attempt_ended", frozen=True, omit_defaults=True, kw_only=True):
    """A unit's attempt came to an end: the one recorded completion of (run, unit, attempt)."""

    step: str
    item: int | None = None
    part: tuple[int, int] | None = None
    implementation: str = ""
    layer: str = ""
    attempt: int = 1
    outcome: str
    # Any: an output is any value.
    output: Any = None
    failure: dict[str, Any] | None = None
    seconds: float = 0.0
    stopped: bool = True
    """False where it was asked to stop and may be running still."""
    cached: bool = False
    cleaned: dict[str, Any] | None = None
    """Of an output that is compared and has ``clean`` hooks: what they gave (``twins.Cleaned``)."""
    roll: float = 0.0
    """A random number in [0, 1) for whatever this leads to, such as a retry's jitter."""


class SegmentStarted(Event, tag="segment_started", frozen=True, omit_defaults=True, kw_only=True):
    """A segment is about to start in C; durable before that if it has external steps."""

    segment: int
    attempt: int = 1
    steps: tuple[str, ...]
    """Its steps, each after those it depends on."""
    external: tuple[str, ...] = ()
    """Those of them with external effects: from now on each may have run."""


class SegmentRow(msgspec.Struct, array_like=True, frozen=True, omit_defaults=True, gc=False):
    """What became of one step of a segment."""

    step: str
    outcome: str
    # Any: an output is any value.
    output: Any = None
    seconds: float = 0.0
    failure: dict[str, Any] | None = None
    reason: str = ""
    """Of a skipped step: why."""
    failed_items: tuple[int, ...] = ()
    attempts: int = 1
    """Of a ``for_each``: of all its items."""

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to decide about the step: it succeeded or was skipped."""
        return self.outcome in ("succeeded", "skipped")


class SegmentEnded(Event, tag="segment_ended", frozen=True, omit_defaults=True, kw_only=True):
    """A segment came back: the one recorded completion of (run, segment, attempt).

    It stands for the ends of the steps that succeeded or were skipped; what the others mean is
    decided step by step, and recorded.
    """

    segment: int
    attempt: int = 1
    rows: tuple[SegmentRow, ...]
    """One for each step of the segment, in its order."""
    refused: str = ""
    """Why C cannot run these steps as one; nothing ran, and each goes on by itself."""
    layer: str = "c"
    implementation: str = "c"
    stopped: bool = True
    roll: float = 0.0
    """As in ``AttemptEnded``."""


class StepsRan(Event, tag="steps_ran", frozen=True, omit_defaults=True, kw_only=True):
    """Steps that had succeeded before the run was written down: its first record after acceptance.

    None of them has effects: where this record was lost they would only have run once more.
    """

    rows: tuple[SegmentRow, ...]
    """One for each of them, each after those it depends on."""
    layer: str = "python"
    implementation: str = "python"


class RetryDue(Event, tag="retry_due", frozen=True, omit_defaults=True, kw_only=True):
    """The wait before the next attempt of a unit is over."""

    step: str
    item: int | None = None
    part: tuple[int, int] | None = None
    implementation: str = ""


class StepTimedOut(Event, tag="step_timed_out", frozen=True, omit_defaults=True, kw_only=True):
    """A unit's own time limit passed while it ran."""

    step: str
    item: int | None = None
    part: tuple[int, int] | None = None
    implementation: str = ""
    attempt: int = 1


class GroupTimedOut(Event, tag="group_timed_out", frozen=True, omit_defaults=True, kw_only=True):
    """The time limit of the run (``group`` empty) or of a nested command set passed."""

    group: str = ""


class CancelRequested(Event, tag="cancel_requested", frozen=True, omit_defaults=True, kw_only=True):
    """Somebody asked to cancel the run, or one step."""

    step: str | None = None
    by: str = ""


class RunPaused(Event, tag="run_paused", frozen=True, omit_defaults=True, kw_only=True):
    """Somebody asked that nothing new starts; what runs is let finish."""

    by: str = ""
    handed_over: bool = False
    """Whether its program gave it back: whoever takes it over lets it go on."""


class RunContinued(Event, tag="run_continued", frozen=True, omit_defaults=True, kw_only=True):
    """Somebody asked that a paused run goes on."""

    by: str = ""
    queued: bool = False
    """Whether it has never begun, and waits for a place again."""


class RunRetried(Event, tag="run_retried", frozen=True, omit_defaults=True, kw_only=True):
    """Somebody asked that a run which has ended goes on: these steps run again, the others stand."""

    step: str | None = None
    """What was asked for; None: what had not succeeded."""
    steps: tuple[str, ...]
    """All that runs again, groups among them."""
    items_of: tuple[str, ...] = ()
    """Those of them of which only the failed items do."""
    by: str = ""


class RunRestarted(Event, tag="run_restarted", frozen=True, omit_defaults=True, kw_only=True):
    """An action of the run changed before it went on: it starts from the beginning, planned anew."""

    plan: dict[str, Any]
    """The plan that counts from here on, as in ``RunAccepted``."""
    changed: tuple[str, ...] = ()
    """The actions that changed, as ``agent.action version 1 (here: 2)``."""
    ran: tuple[str, ...] = ()
    """Steps with external effects that ran, or may have: each waits for a person when its turn
    comes, unless its retry policy names ``unknown``."""
    signals: dict[str, list[Any]] = {}
    """Payloads of all signals that came so far, by name: they are given again."""


class StepWaits(Event, tag="step_waits", frozen=True, omit_defaults=True, kw_only=True):
    """A step waits for a person's approval or for a signal; nothing of it runs meanwhile."""

    derived: ClassVar[bool] = True
    step: str
    signal: str = ""
    """The name that it waits for; empty: for an approval."""
    prompt: str = ""
    """What the person is asked."""


class StepApproved(Event, tag="step_approved", frozen=True, omit_defaults=True, kw_only=True):
    """A person approved or rejected a step that waited for it."""

    step: str
    approved: bool = True
    by: str = ""
    note: str = ""
    at: str = ""
    """When it was decided: RFC 3339, UTC."""


class SignalReceived(Event, tag="signal_received", frozen=True, omit_defaults=True, kw_only=True):
    """A signal came: for the step that waited for it, or to be kept until one does."""

    name: str
    # Any: a payload is any value.
    payload: Any = None
    step: str | None = None
    """Whom it reached; None: nobody waited, and it is kept."""
    by: str = ""


class LayerChanged(Event, tag="layer_changed", frozen=True, omit_defaults=True, kw_only=True):
    """A layer's process started, died or was restarted while the run was going on."""

    layer: str
    change: str
    """``started | died | restarted | gave_up``."""
    detail: str = ""


class FallbackPlanned(Event, tag="fallback_planned", frozen=True, omit_defaults=True, kw_only=True):
    """A step that should have run elsewhere was re-planned, and why."""

    step: str
    left: str
    right: str
    reason: str


class Judged(Event, tag="judged", frozen=True, omit_defaults=True, kw_only=True):
    """What comparing a step's (or item's) twins gave."""

    derived: ClassVar[bool] = True
    step: str
    item: int | None = None
    verdict: str
    """``agreed | conflict | not_compared``."""
    count: int = 1
    """Compared steps that it stands for: the items of a batch that agreed as a whole."""
    conflict: dict[str, Any] | None = None
    capsule: dict[str, Any] | None = None
    """Of a conflict: it kept whole (``twins.Capsule`` as a value)."""


class RunHeld(Event, tag="run_held", frozen=True, omit_defaults=True, kw_only=True):
    """Nothing of the run can move until somebody settles a conflict or answers a step; where it
    names none the run goes on, though nobody did, as when what waited was cancelled."""

    derived: ClassVar[bool] = True
    conflicts: tuple[str, ...] = ()
    """Conflicts, and steps that may have run, that wait for a decision."""
    waits: tuple[str, ...] = ()
    """Steps that wait for an approval or a signal."""


class ConflictSettled(Event, tag="conflict_settled", frozen=True, omit_defaults=True, kw_only=True):
    """A person settled a conflict that was held."""

    conflict: str
    pick: str | None = None
    """The implementation whose end counts; None: ``output`` does."""
    again: bool = False
    """Whether it is done once more instead."""
    # Any: an output is any value.
    output: Any = None
    by: str = ""
    note: str = ""

    def applied_to(self, conflict: dict[str, Any]) -> dict[str, Any]:
        """Give a conflict with what was decided, where this is about it."""
        if conflict["id"] != self.conflict:
            return conflict
        return {**conflict, "winner": self.pick, "by": self.by, "note": self.note}


class StepEnded(Event, tag="step_ended", frozen=True, omit_defaults=True, kw_only=True):
    """A step came to its end."""

    derived: ClassVar[bool] = True
    step: str
    outcome: str
    output: Any = None
    failure: dict[str, Any] | None = None
    layer: str = ""
    implementation: str = ""
    attempts: int = 0
    seconds: float = 0.0
    """From its start to its end; of one without items or parts: what its attempts took."""
    work_seconds: float = 0.0
    """Of a step with items, or of a batch that was split: what their attempts took, added up."""
    reason: str = ""
    cached: bool = False
    stopped: bool = True
    failed_items: tuple[int, ...] | None = None
    implementations: dict[str, dict[str, Any]] | None = None
    """Where twins ran: each one's ``attempts`` and ``seconds``, over all items."""


class RunForked(Event, tag="run_forked", frozen=True, omit_defaults=True, kw_only=True):
    """The run goes on from another one's steps; they stand as they were recorded there."""

    source: str
    """The other run."""
    step: str
    """From which step on it is on its own."""
    taken: tuple[StepEnded, ...] = ()
    """The ends that it takes over."""
    by: str = ""


class RunEnded(Event, tag="run_ended", frozen=True, omit_defaults=True, kw_only=True):
    """A run came to its end; nothing of it moves after this."""

    derived: ClassVar[bool] = True
    status: str
    error: str | None = None
    error_detail: dict[str, Any] | None = None
    duration: float = 0.0
    consensus_achieved: bool | None = None
    conflicts: list[dict[str, Any]] | None = None


AnyEvent = (
    RunAccepted
    | RunStarted
    | AttemptStarted
    | AttemptEnded
    | SegmentStarted
    | SegmentEnded
    | StepsRan
    | RetryDue
    | StepTimedOut
    | GroupTimedOut
    | CancelRequested
    | RunPaused
    | RunContinued
    | RunRetried
    | RunRestarted
    | RunForked
    | StepWaits
    | StepApproved
    | SignalReceived
    | LayerChanged
    | FallbackPlanned
    | Judged
    | RunHeld
    | ConflictSettled
    | StepEnded
    | RunEnded
)
"""Every kind of event there is; a closed union, so that a match over it can be checked."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyEvent)


def encode_event(event: Event) -> bytes:
    """Encode one event as MessagePack."""
    return _encoder.encode(event)


def decode_event(body: bytes) -> AnyEvent:
    """Decode one event.

    Raises: msgspec.ValidationError or msgspec.DecodeError if it is not one.
    """
    event: AnyEvent = _decoder.decode(body)
    return event


def event_decoder(
    ext_hook: Callable[[int, memoryview], Any],  # Any: any value
) -> msgspec.msgpack.Decoder[AnyEvent]:
    """Make a decoder of events that may hold extensions, which ``ext_hook`` turns into values."""
    return msgspec.msgpack.Decoder(AnyEvent, ext_hook=ext_hook)


def kind_of(event: Event) -> str:
    """Give the name an event has in the journal, as ``attempt_ended``."""
    tag = type(event).__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def unit_of(event: Event) -> str | None:
    """Give what has attempts, as ``step[3]/c`` or ``segment 0``; None for other events."""
    if isinstance(event, SegmentStarted | SegmentEnded):
        return f"segment {event.segment}"
    if not isinstance(event, AttemptStarted | AttemptEnded):
        return None
    item = "" if event.item is None else f"[{event.item}]"
    part = "" if event.part is None else f"[{event.part[0]}:{event.part[1]}]"
    return f"{event.step}{item}{part}/{event.implementation}"


def steps_ended(event: Event) -> Iterator[StepEnded]:
    """Give the steps that ended with an event: one, or those that it packs."""
    if isinstance(event, StepEnded):
        yield event
    elif isinstance(event, RunForked):
        yield from event.taken
    elif isinstance(event, SegmentEnded | StepsRan):
        for row in event.rows:
            if row.is_final:
                ran = row.outcome == "succeeded"
                yield StepEnded(
                    at_ns=event.at_ns,
                    step=row.step,
                    outcome=row.outcome,
                    output=row.output,
                    layer=event.layer if ran else "",
                    implementation=event.implementation if ran else "",
                    attempts=row.attempts if ran else 0,
                    seconds=row.seconds,
                    reason=row.reason,
                    failed_items=row.failed_items or None,
                )
