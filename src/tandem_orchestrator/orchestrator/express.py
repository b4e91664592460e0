"""The express way: a run that is one native segment without effects, and has no listener.

Such a run needs none of what makes a run slow: no event is told, and nothing is decided while it
goes on. It takes a place like any other, is one crossing into C, and its result is built from what
came back. Where it is to be durable its records are one append then, and the result waits for
that: nobody has heard of the run before. Else they are made later, if somebody asks for them.
Whatever is not a plain success goes on as an ordinary run, from what came back; and so does a
durable run that takes longer than ``LATE_S``, from where it is, so that it is found again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine import Engine
from tandem_orchestrator.errors import Busy, CommandError, LayerUnavailable, NotAValue
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.layers.cpus import cpu_mask
from tandem_orchestrator.layers.layer import SegmentBegun
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.program import Program, ProgramRefused, encode_run
from tandem_orchestrator.layers.native.program_outcome import (
    SUCCEEDED,
    StepOutcome,
    lost_outcomes,
)
from tandem_orchestrator.layers.native.programs import outcomes_of
from tandem_orchestrator.layers.native.segments import Segments, rows_of
from tandem_orchestrator.layers.native.session import Completion, Session
from tandem_orchestrator.layers.native.under_way import UnderWay
from tandem_orchestrator.model.events import (
    AnyEvent,
    RunAccepted,
    RunEnded,
    RunStarted,
    SegmentEnded,
    SegmentRow,
    SegmentStarted,
)
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.plans import Plan, PlannedStep
from tandem_orchestrator.model.values import from_value
from tandem_orchestrator.observe import Metrics
from tandem_orchestrator.orchestrator.acceptance import Acceptance, Asked
from tandem_orchestrator.orchestrator.intake import Intake, accepted_of
from tandem_orchestrator.orchestrator.lateness import Lateness
from tandem_orchestrator.orchestrator.result_template import ResultTemplate
from tandem_orchestrator.orchestrator.routing import Routing

LEARN_FIRST, LEARN_EVERY = 8, 16
"""Of a plan's runs the router learns from so many first ones, then from one in so many."""
LATE_S = 0.05
"""How long a durable run may go on before the journal knows of it; at most twice that."""
KEPT_BYTES = 1024
"""What an ended run that nobody has asked for is taken to cost beside its bodies."""


class ExpressPlan:
    """What is known of a plan before it runs the express way; made once, used often.

    Args:
        intake: One for whose plan ``fits`` is true.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._acceptance: Acceptance | None = None
        self.plan = plan = intake.plan
        self.is_durable = plan.durability != "none"
        self.lane = Priority.parse(plan.priority).lane
        self.cpus = cpu_mask(plan.steps[0].cpus)  # one segment, hence one set and one wish
        self.is_routed = any(
            step.assignment is not None and step.assignment.route is not None for step in plan.steps
        )
        """Whether what it takes is to be learned from."""
        self._runs = 0
        self._segments: Segments | None = None
        self._actions: object = None
        self._program: Program | None = None
        self._loaded: tuple[Program, int] | None = None
        self.literals: list[bytes] = []
        """Values of the plan's own payloads; a program is shared by equal structures."""
        self._template = _template_of(intake)

    @property
    def acceptance(self) -> Acceptance:
        """Makes the records that begin its runs."""
        if self._acceptance is None:
            self._acceptance = Acceptance(self._intake)
        return self._acceptance

    def program(self, segments: Segments) -> tuple[Program, int] | None:
        """Give the plan's program and its number in a session; None if it is not loaded there."""
        if self._segments is not segments or self._actions is not segments.session.actions:
            self._segments, self._actions, self._loaded = segments, segments.session.actions, None
            try:
                self._program, self.literals = segments.compile(self.plan.steps)
            except ProgramRefused:
                self._program = None
        if self._loaded is None and self._program is not None:
            number = segments.programs.loaded(self._program)
            if number is not None:
                self._loaded = (self._program, number)
        return self._loaded

    def counts_for(self) -> int:
        """Say for how many runs the figures of this one stand; 0: they need not be looked at.

        All of the first few; then one in ``LEARN_EVERY``, since looking costs as much as a step.
        """
        self._runs += 1
        if self._runs <= LEARN_FIRST:
            return 1
        return 0 if self._runs % LEARN_EVERY else LEARN_EVERY

    def forget_number(self) -> None:
        """The bridge does not know the program any more."""
        self._loaded = None

    # Any: the result as API pins it.
    def result(
        self,
        run_id: str,
        names: tuple[str, str],
        rows: Sequence[StepOutcome],
        duration_s: float,
        body: bytes,
    ) -> dict[str, Any]:
        """Build the result of a run whose steps all succeeded.

        Args:
            names: Id and name of the command set.
            body: What the outputs were read from.
        """
        outputs = {step.id: row.output for step, row in zip(self.plan.steps, rows, strict=True)}
        marks = (b"$buffer", b"$literal", b"$codec")  # they come back as others
        if b"$" in body and any(mark in body for mark in marks):
            outputs = {step_id: from_value(output) for step_id, output in outputs.items()}
        seconds = [row.elapsed_ns / 1e9 for row in rows]
        return self._template.fill(run_id, names, outputs, seconds, duration_s)


def express_way_of(intake: Intake) -> ExpressPlan | None:
    """Give the express way of a plan; None if it has to go the ordinary one."""
    fitting = intake.command_set.idempotency_key is None and fits(intake.plan)
    return ExpressPlan(intake) if fitting else None


def fits(plan: Plan) -> bool:
    """Say whether a plan can go the express way. Pure."""
    return (
        plan.handler is None
        and plan.timeout_s is None
        and len(plan.segments) == 1
        and len(plan.segments[0]) == len(plan.steps)
        and all(
            step.for_each is None
            and step.expected_output is None
            and step.validation is None
            and step.effects == "none"  # others need a key, and so a run that has its id
            for step in plan.steps
        )
    )


def _template_of(intake: Intake) -> ResultTemplate:
    """Let a made-up run say what every result of this plan has in common."""
    rows = tuple(SegmentRow(step.id, "succeeded") for step in intake.plan.steps)
    return ResultTemplate(_events_of(accepted_of(intake, ""), rows, 0, 0.0))


def _events_of(
    accepted: RunAccepted, rows: tuple[SegmentRow, ...], at_ns: int, duration_s: float
) -> list[AnyEvent]:
    """Make the events that a run would have told on the ordinary way; it began at ``at_ns``."""
    end_ns = at_ns + int(duration_s * 1e9)
    return [
        accepted,
        RunStarted(at_ns=at_ns),
        # None of its steps is external: see ``fits``.
        SegmentStarted(at_ns=at_ns, segment=0, steps=tuple([row.step for row in rows])),
        SegmentEnded(at_ns=end_ns, segment=0, rows=rows),
        RunEnded(at_ns=end_ns, status="completed", duration=duration_s),
    ]


class Express:
    """Runs plans that fit the express way. Belongs to the orchestrator's loop.

    Args:
        native: The C layer, if there is one.
        hearers: Whoever wants to hear of runs while they go on; with one, none goes this way.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        native: NativeLayer | None,
        metrics: Metrics,
        hearers: Sequence[object],
        ids: Ids,
        clock: Clock,
        routing: Routing,
    ) -> None:
        self._routing = routing
        self._engine, self._journal, self._native = engine, journal, native
        self._metrics, self._hearers = metrics, hearers
        self._ids, self._clock = ids, clock
        self._lateness = Lateness(clock, LATE_S)

    async def run(
        self, way: ExpressPlan, asked: Asked
    ) -> dict[str, Any] | SegmentEnded | SegmentBegun | None:
        """Run a plan.

        Returns: its result; or, where a step did not succeed, what came back, for an ordinary run
            to go on from; or what is under way, where that takes long; or None if nothing ran,
            and an ordinary run has to do it all.

        Raises: Busy, JournalError.
        """
        begun = self._begin(way, asked)
        if begun is None:
            return None
        session, program, body_bytes, call_id, future = begun
        at_ns, began_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        try:
            if way.is_durable and not await self._in_time(future):
                return self._begun(session, program, way.plan.steps, call_id, future)
            completion = await future
        except asyncio.CancelledError:
            session.cancel(call_id)
            raise
        finally:
            self._engine.step_out()
        duration_s = (self._clock.monotonic_ns() - began_ns) / 1e9
        kept = _Kept(way, asked, program, at_ns, duration_s, completion, body_bytes)
        return await self._finish(kept)

    async def _in_time(self, future: asyncio.Future[Completion]) -> bool:
        """Wait for a call, but not for long; whether it came back."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: None if turn.done() else turn.set_result(True))
        self._lateness.watch(turn)
        return await turn

    def _begun(
        self,
        session: Session,
        program: Program,
        steps: Sequence[PlannedStep],
        call_id: int,
        future: asyncio.Future[Completion],
    ) -> SegmentBegun:
        """Make of a call what an ordinary run can take up."""
        native = self._native
        assert native is not None, "it sent the call"
        watch = native.quarantine.watch
        call = UnderWay(session, program, steps, call_id, future, native.stop_of, watch)
        return SegmentBegun(call.run, call.stop)

    def _begin(
        self, way: ExpressPlan, asked: Asked
    ) -> tuple[Session, Program, int, int, asyncio.Future[Completion]] | None:
        """Take a place and send the RUN; None if the ordinary way has to wait, or to explain.

        Returns: session, program, bytes of the RUN, id and Future of its call.
        """
        segments = None if self._native is None else self._native.segments
        if self._native is None or segments is None or self._hearers:
            return None
        if self._native.quarantine.watches(way.plan.steps, looks=False):
            return None
        loaded = way.program(segments)
        if loaded is None or not self._engine.step_in():
            return None
        program, number = loaded
        try:
            body = encode_run(program, asked.inputs, None, asked.literals or way.literals)
            call_id, future = segments.session.run(number, body, way.lane, way.cpus)
        except (Busy, CodecError, CommandError, LayerUnavailable):
            self._engine.step_out()
            return None
        except BaseException:
            self._engine.step_out()
            raise
        return segments.session, program, len(body), call_id, future

    async def _finish(self, kept: _Kept) -> dict[str, Any] | SegmentEnded | None:
        way, program, completion = kept.way, kept.program, kept.completion
        try:
            rows = outcomes_of(program, completion)
        except CodecError:
            rows = lost_outcomes(program, len(program.order))  # It may have run, all of it.
        except (Busy, CommandError, LayerUnavailable, ProgramRefused):
            way.forget_number()
            return None
        if way.is_routed and (times := way.counts_for()):
            seconds = [row.elapsed_ns / 1e9 for row in rows if row.code == SUCCEEDED]
            if len(seconds) == len(rows):
                self._routing.express_returned(way.plan.steps, seconds, kept.duration_s, times)
        elapsed_ns = 0
        for row in rows:
            if row.code != SUCCEEDED:
                return SegmentEnded(segment=0, rows=rows_of(way.plan.steps, rows, program))
            elapsed_ns += row.elapsed_ns
        run_id = self._ids.make()
        result = way.result(run_id, kept.asked.names, rows, kept.duration_s, completion.body)
        if way.is_durable:
            events = kept.events(run_id, rows)
            try:
                ticket = self._journal.append(run_id, events, way.plan.durability)
            except NotAValue:  # Too large to be kept: the ordinary way says so.
                return SegmentEnded(segment=0, rows=rows_of(way.plan.steps, rows, program))
            await ticket.durable()
        else:
            size = kept.body_bytes + len(completion.body) + KEPT_BYTES
            self._journal.remember(run_id, kept, size)
        self._metrics.count_run(way.plan.mode, "c", len(rows), elapsed_ns / 1e9, kept.duration_s)
        return result


class _Kept(NamedTuple):
    """What is kept of an ended run until somebody asks for its events."""

    way: ExpressPlan
    asked: Asked
    program: Program
    at_ns: int
    duration_s: float
    completion: Completion
    body_bytes: int

    def events(self, run_id: str, outcomes: Sequence[StepOutcome] | None = None) -> list[AnyEvent]:
        """Make its events; ``outcomes`` are those in its completion, where they are at hand."""
        if outcomes is None:
            outcomes = outcomes_of(self.program, self.completion)
        ended = zip(self.way.plan.steps, outcomes, strict=True)
        rows = tuple(
            [SegmentRow(s.id, "succeeded", o.output, o.elapsed_ns / 1e9) for s, o in ended]
        )
        accepted = self.way.acceptance.of_run(run_id, self.asked, self.at_ns)
        return _events_of(accepted, rows, self.at_ns, self.duration_s)
