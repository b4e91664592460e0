"""The prompt way: a run whose handlers wait for nothing is over in one turn of the loop.

Its steps are coroutines in Python without effects. They are called one after another, each after
those it depends on; no task, no event and no record comes in between. What the run did is one
append then, and its result waits until that is as durable as was asked for: nobody has heard of
the run before, and where its record is lost, only steps without effects are.

A handler that waits, raises, or gives what is no output ends this way: the run goes on as an
ordinary one, with the steps that ended and the call that is under way.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine import Engine, key_of_step
from tandem_orchestrator.errors import NotAValue
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.layers.layer import Begun, CancelToken
from tandem_orchestrator.layers.native.program import filled_payloads
from tandem_orchestrator.layers.python import Context, PythonLayer
from tandem_orchestrator.layers.python.carrying import output_value
from tandem_orchestrator.layers.python.context import make_log
from tandem_orchestrator.layers.python.prompt import NotOver, PromptHandler, settled
from tandem_orchestrator.layers.python.step_log import StepMark, mark_root
from tandem_orchestrator.model.events import (
    AnyEvent,
    RunAccepted,
    RunEnded,
    RunStarted,
    SegmentRow,
    StepsRan,
)
from tandem_orchestrator.model.plans import Plan, PlannedStep
from tandem_orchestrator.model.refs import NO_DEFAULT, Missing, Ref, find_refs, substitute
from tandem_orchestrator.model.values import from_value
from tandem_orchestrator.observe import Metrics
from tandem_orchestrator.orchestrator.acceptance import Acceptance, Asked
from tandem_orchestrator.orchestrator.ahead import Ahead
from tandem_orchestrator.orchestrator.express import KEPT_BYTES
from tandem_orchestrator.orchestrator.intake import Intake, accepted_of
from tandem_orchestrator.orchestrator.result_template import ResultTemplate

STEPS_MAX = 1_000
"""Steps of a run that goes this way."""
SLICE_NS = 20_000_000
"""How long a run may keep the loop; what is left of it then goes on as an ordinary one."""
OUTPUT_BYTES_MAX, OUTPUTS_BYTES_MAX = 64 * 1024, 1024 * 1024
"""One output, and all of one run: what is larger goes the ordinary way."""
REST_FIRST, REST_MAX = 4, 256
"""Runs of a plan that go the ordinary way after one whose handler waited; twice as many each time."""

_ATOMS = frozenset({type(None), bool, int, float})


class _Spec(NamedTuple):
    """One step, as far as it is known before a run."""

    id: str
    handler: PromptHandler
    position: int
    """In the plan."""
    # Any: a payload is any plain value.
    payload: Any
    """The plan's own; without references it is what the handler gets."""
    has_refs: bool
    inputs_from: tuple[tuple[str, str], ...]
    where: str


class PromptPlan:
    """What is known of a plan before it runs the prompt way; made once, used often.

    Args:
        intake: One for whose plan ``fits`` is true.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.plan = intake.plan
        self._acceptance: Acceptance | None = None
        self._result: ResultTemplate | None = None
        self._specs: tuple[_Spec, ...] | None = None
        self._layer: PythonLayer | None = None
        self.actions = tuple(dict.fromkeys((step.agent, step.action) for step in self.plan.steps))
        self._rest = self._rests = 0

    @property
    def acceptance(self) -> Acceptance:
        """Makes the records that begin its runs."""
        if self._acceptance is None:
            self._acceptance = Acceptance(self._intake)
        return self._acceptance

    @property
    def result(self) -> ResultTemplate:
        """Makes its results."""
        if self._result is None:
            rows = tuple(SegmentRow(step.id, "succeeded") for step in self.plan.steps)
            events = _events_of(accepted_of(self._intake, ""), rows, 0, 0.0)
            self._result = ResultTemplate(events)
        return self._result

    def specs(self, layer: PythonLayer) -> tuple[_Spec, ...]:
        """Give its steps, each after those it depends on; none where a handler is not prompt."""
        if self._specs is None or self._layer is not layer:
            self._layer, self._specs = layer, _specs_of(self.plan, layer)
        return self._specs

    def rests(self) -> bool:
        """Whether a handler of it waited lately, so that this run goes the ordinary way."""
        if self._rests:
            self._rests -= 1
            return True
        return False

    def waited(self) -> None:
        """A handler waited: so will the next ones."""
        self._rest = min(REST_MAX, 2 * self._rest or REST_FIRST)
        self._rests = self._rest

    def went_well(self) -> None:
        """None did."""
        self._rest = 0


def _specs_of(plan: Plan, layer: PythonLayer) -> tuple[_Spec, ...]:
    specs = []
    for position, step in enumerate(plan.steps):
        assert step.assignment is not None, step.id
        name = step.assignment.implementations[0]
        handler = layer.prompt_handler(step.agent, step.action, name)
        if handler is None:
            return ()
        has_refs = any(True for _ in find_refs(step.payload))
        # What stands for itself (``$literal``) is taken out of its wrapping.
        payload = step.payload if has_refs else substitute(step.payload, _no_ref)
        where = f"step {step.id!r} output"
        specs.append(_Spec(step.id, handler, position, payload, has_refs, step.inputs_from, where))
    return tuple(specs)


# Any: what it would have given.
def _no_ref(ref: Ref) -> Any:
    raise AssertionError(f"{ref} in a payload that has none")


def prompt_way_of(intake: Intake) -> PromptPlan | None:
    """Give the prompt way of a plan; None if it has to go another one."""
    fitting = intake.command_set.idempotency_key is None and fits(intake.plan)
    return PromptPlan(intake) if fitting and intake.resumable else None


def fits(plan: Plan) -> bool:
    """Say whether a plan can go the prompt way. Pure."""
    return (
        plan.handler is None
        and plan.timeout_s is None
        and 0 < len(plan.steps) <= STEPS_MAX
        and all(_fits(step) for step in plan.steps)
    )


def _fits(step: PlannedStep) -> bool:
    one = step.assignment
    return (
        step.kind == "action"
        and not step.parent
        and not step.waits
        and step.effects == "none"
        and not step.deterministic  # its output may be kept, or come from a cache
        and not step.transient
        and step.for_each is None
        and step.when is None
        and step.timeout_s is None
        and step.expected_output is None
        and step.validation is None
        and one is not None
        and one.layers == ("python",)
        and one.implementations == ("python",)
        and one.verdict == "none"
        and one.route is None
        and not one.shadow
        and not one.trial
        and not one.trial_share
    )


def _events_of(
    accepted: RunAccepted, rows: tuple[SegmentRow, ...], end_ns: int, duration_s: float
) -> list[AnyEvent]:
    return [
        accepted,
        StepsRan(at_ns=end_ns, rows=rows),
        RunStarted(at_ns=end_ns),
        RunEnded(at_ns=end_ns, status="completed", duration=duration_s),
    ]


class _Stop(Exception):
    """The run goes on as an ordinary one, with a call that is under way or without."""

    def __init__(self, begun: Begun | None = None) -> None:
        self.begun = begun


class Prompt:
    """Runs plans that fit the prompt way. Belongs to the orchestrator's loop.

    Args:
        hearers: Whoever wants to hear of runs while they go on; with one, none goes this way.
        has_limits: Whether attempts of an agent and action may have to wait.
        on_progress: Told (run, step, item, done, total).
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        layer: PythonLayer,
        metrics: Metrics,
        hearers: Sequence[object],
        ids: Ids,
        clock: Clock,
        has_limits: Callable[[str, str], bool],
        on_progress: Callable[[str, str, int | None, int, int], None],
    ) -> None:
        self._engine, self._journal, self._layer = engine, journal, layer
        self._metrics, self._hearers = metrics, hearers
        self._ids, self._clock = ids, clock
        self._has_limits, self._on_progress = has_limits, on_progress

    async def run(self, way: PromptPlan, asked: Asked) -> dict[str, Any] | Ahead | None:
        """Run a plan.

        Returns: its result; or what an ordinary run goes on from; or None if nothing ran, and an
            ordinary run has to do it all.

        Raises: Busy, JournalError.
        """
        if self._hearers or way.rests() or not self._layer.is_prompt:
            return None
        specs = way.specs(self._layer)
        if not specs or any(self._has_limits(*action) for action in way.actions):
            return None
        if not self._engine.step_in():
            return None
        run_id, at_ns, began_ns = (
            self._ids.make(),
            self._clock.wall_ns(),
            self._clock.monotonic_ns(),
        )
        rows: list[SegmentRow] = []
        try:
            outputs = self._perform(specs, asked, way, run_id, began_ns, rows)
        except _Stop as stop:
            if stop.begun is not None:
                way.waited()
            onward = StepsRan(rows=tuple(rows)) if rows else None
            return Ahead(run_id, None, onward, stop.begun)
        finally:
            self._engine.step_out()
        way.went_well()
        duration_s = (self._clock.monotonic_ns() - began_ns) / 1e9
        kept = _Kept(way, asked, tuple(rows), at_ns, duration_s)
        await self._keep(kept, run_id)
        seconds = [row.seconds for row in rows]
        self._metrics.count_run(way.plan.mode, "python", len(rows), sum(seconds), duration_s)
        return way.result.fill(run_id, asked.names, outputs, seconds, duration_s)

    def _perform(
        self,
        specs: tuple[_Spec, ...],
        asked: Asked,
        way: PromptPlan,
        run_id: str,
        began_ns: int,
        rows: list[SegmentRow],
    ) -> dict[str, Any]:
        """Call all handlers; gives the outputs as callers get them.

        Raises: _Stop.
        """
        literals = asked.literals
        payloads = None if literals is None else filled_payloads(way.acceptance.forms, literals)
        values: dict[str, Any] = {}
        shown: dict[str, Any] = {}
        variables = contextvars.copy_context()
        mark_root()
        look_up = partial(_look_up, values, asked.inputs)
        call, now_ns = self._layer.prompt.call, self._clock.monotonic_ns
        size, last_ns = 0, began_ns
        for spec in specs:
            if last_ns - began_ns > SLICE_NS or size > OUTPUTS_BYTES_MAX:
                raise _Stop
            payload = spec.payload if payloads is None else payloads[spec.position]
            if spec.has_refs:
                try:
                    payload = substitute(payload, look_up)
                except Missing:
                    raise _Stop from None  # The ordinary way says what that means.
            token = context = None
            if spec.handler.wants_context:
                token = CancelToken()
                context = self._context(run_id, spec, values, token)
            mark = StepMark(run_id, spec.id, 1)
            output = call(spec.handler, payload, context, variables.copy(), mark)
            if type(output) is NotOver:
                raise _Stop(Begun(spec.id, output.future, token))
            if type(output) in _ATOMS and type(output) is not int:
                value = back = output
            else:
                try:
                    value = output_value(output, spec.handler.handle, run_id, spec.where)
                except NotAValue:
                    raise _Stop(Begun(spec.id, settled(output).future, token)) from None
                back = value
                if type(value) not in _ATOMS:
                    body_bytes = len(msgspec.msgpack.encode(value))
                    if body_bytes > OUTPUT_BYTES_MAX:
                        raise _Stop(Begun(spec.id, settled(output).future, token))
                    size += body_bytes
                    back = from_value(value)
            values[spec.id], shown[spec.id] = value, back
            at_ns = now_ns()
            rows.append(SegmentRow(spec.id, "succeeded", value, (at_ns - last_ns) / 1e9))
            last_ns = at_ns
        return shown

    # Any: outputs are any plain values.
    def _context(
        self, run_id: str, spec: _Spec, values: dict[str, Any], token: CancelToken
    ) -> Context:
        loop, tell = asyncio.get_running_loop(), self._on_progress

        def progress(done: int, total: int) -> None:
            loop.call_soon_threadsafe(tell, run_id, spec.id, None, done, total)

        return Context(
            run_id,
            spec.id,
            1,
            key_of_step(run_id, spec.id, "python"),
            {name: from_value(values[step], strict=True) for name, step in spec.inputs_from},
            None,
            lambda: token.requested,
            progress,
            make_log(run_id, spec.id, 1),
        )

    async def _keep(self, kept: _Kept, run_id: str) -> None:
        """Have the run in the journal, as durable as it asked for."""
        durability = kept.way.plan.durability
        if durability == "none":
            self._journal.remember(run_id, kept, KEPT_BYTES)
            return
        ticket = self._journal.append(run_id, kept.events(run_id), durability)
        await ticket.durable()


# Any: outputs and inputs are any plain values.
def _look_up(values: dict[str, Any], inputs: dict[str, Any], ref: Ref) -> Any:
    """Find what a reference means. Raises: Missing."""
    try:
        return ref.walk(inputs if ref.step == "inputs" else values[ref.step])
    except Missing:
        if ref.default is NO_DEFAULT:
            raise
        return ref.default


class _Kept(NamedTuple):
    """A run that is over."""

    way: PromptPlan
    asked: Asked
    rows: tuple[SegmentRow, ...]
    at_ns: int
    duration_s: float

    def events(self, run_id: str) -> list[AnyEvent]:
        """Make its events."""
        end_ns = self.at_ns + int(self.duration_s * 1e9)
        return _events_of(self._accepted(run_id), self.rows, end_ns, self.duration_s)

    def _accepted(self, run_id: str) -> RunAccepted:
        return self.way.acceptance.of_run(run_id, self.asked, self.at_ns)
