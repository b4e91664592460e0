"""The only loop: it takes a run's events, lets ``advance`` decide, and does what that says.

Events of one run are folded one after another, without an ``await`` in between. What they lead to
is journaled in one append before anything is started; an attempt with external effects waits until
that append is durable (the barrier), and so does the end of the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from tandem_orchestrator.engine import segment_attempt
from tandem_orchestrator.engine.advance import advance
from tandem_orchestrator.engine.attempt import attempt_ended, attempt_started, clean_output
from tandem_orchestrator.engine.control import event_of
from tandem_orchestrator.engine.entrance import Entrance
from tandem_orchestrator.engine.holding import decide
from tandem_orchestrator.engine.instructions import (
    Dispatch,
    DispatchSegment,
    Drop,
    Record,
    RecordConflict,
    Stop,
    StopSegment,
    UnitKey,
    Wait,
)
from tandem_orchestrator.engine.leaving import GIVEN_BACK
from tandem_orchestrator.engine.noted import Noted
from tandem_orchestrator.engine.recover import Recovered, remaining_s
from tandem_orchestrator.engine.request import Decision, RunRequest, Wish
from tandem_orchestrator.engine.state import ROOT, RunState
from tandem_orchestrator.engine.stopwatch import Stopwatch
from tandem_orchestrator.engine.surroundings import Surroundings
from tandem_orchestrator.engine.waits import Waits
from tandem_orchestrator.errors import (
    Busy,
    Closed,
    InternalError,
    JournalError,
    NotAValue,
    TandemError,
)
from tandem_orchestrator.journal.journal import Ticket
from tandem_orchestrator.layers.layer import CancelToken
from tandem_orchestrator.model.events import (
    AnyEvent,
    CancelRequested,
    RunContinued,
    RunEnded,
    RunHeld,
    RunPaused,
    RunRestarted,
    RunRetried,
    RunStarted,
    StepEnded,
)
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.outcomes import Failure, RunStatus

_log = logging.getLogger(__name__)

ROOM_TRIES, ROOM_PAUSE_S = 50, 0.1
"""How often, and with what pause in seconds, a run waits for room in the journal."""


class ActiveRun:
    """One run from its acceptance to its end. Belongs to the loop's thread.

    There may be 100,000 of them that wait: what is needed only while one moves is made then.
    """

    __slots__ = (
        "_around", "_barrier", "_began_ns", "_entrance", "_head", "_inbox", "_noted", "_on_end",
        "_on_rest", "_over", "_put_off", "_recovered", "_rests", "_stalled", "_state", "_tokens",
        "_waits", "_watch", "accepted_ns", "is_resumable", "may_queue", "request", "run_id",
    )  # fmt: skip

    def __init__(
        self,
        request: RunRequest,
        around: Surroundings,
        on_end: Callable[[ActiveRun, TandemError | None], None],
        on_rest: Callable[[ActiveRun, bool], None],
    ) -> None:
        self.request = request
        self.run_id = request.run_id
        self._around = around
        self._on_end, self._on_rest = on_end, on_rest
        self._head = request.head
        self._recovered = found = request.recovered
        self._state = (
            RunState.of(request.plan, request.inputs, segment_steps_min=1 if request.head else 2)
            if found is None
            else found.state
        )
        self._entrance: Entrance | None = None
        self._inbox: list[AnyEvent] | None = None
        """What is folded at this moment, in order; None between turns."""
        self._noted: Noted | None = None
        """None where everything is in the journal's hands."""
        self._stalled = False
        self._waits = Waits(around.clock, self)
        self._tokens: dict[UnitKey | int, CancelToken] = {}
        """Of what runs: units, and segments by their number."""
        self.accepted_ns = found.accepted.at_ns if found else around.clock.wall_ns()
        past_ns = around.clock.wall_ns() - self.accepted_ns if self.was_taken_over else 0
        self._began_ns = around.clock.monotonic_ns() - max(0, past_ns)
        goes_on = self.was_taken_over and not isinstance(request.onward, RunRestarted)
        self._watch = Stopwatch(found.watch.began if found and goes_on else None)
        self._over = False
        is_whole = request.accepted is None or request.accepted.resumable
        self.is_resumable = is_whole and request.plan.durability != "none"
        """Whether another program could go on with it."""
        self.may_queue = request.recovered is not None and request.onward is None
        """Whether it may wait for a place: its acceptance is durable, and its hooks are told."""
        self._rests = self.is_still
        """Whether it has said that it needs no place."""
        self._barrier = request.plan.durability in ("sync", "group")

    @property
    def is_over(self) -> bool:
        """Whether nothing of it moves any more."""
        return self._over

    def accept(self) -> Ticket:
        """Journal the request itself.

        Raises: Busy if the journal's backlog is full: nothing was taken in.
        """
        request = self.request
        events = [] if request.accepted is None else [self._stamp(request.accepted)]
        if request.onward is not None:
            events.append(self._stamp(request.onward))
        ticket = self._around.journal.append(self.run_id, events, request.plan.durability)
        request.accepted = None
        if request.onward is not None:
            advance(self._state, request.onward)
            self._rests = self.is_still
        for event in events:
            self._around.observe(self.run_id, event)
        return ticket

    def begin(self) -> None:
        """Start, or go on: the run has its place."""
        found, self._recovered = self._recovered, None
        if found is not None and found.started:
            self._go_on(found)
        else:
            self.post(RunStarted(roll=self._around.rng.random()))

    def _go_on(self, found: Recovered) -> None:
        """Take up what another owner left: its waits, and its attempts, whose ends nobody knows."""
        now_ns = self._around.clock.wall_ns()
        for key, (began_ns, delay_s, event) in found.waits.items():
            self._waits.add(key, remaining_s(began_ns, delay_s, now_ns), event)
        for lost in list(found.lost()):
            self.post(msgspec.structs.replace(lost, roll=self._around.rng.random()))
        if self._state.handed_over:
            self.post(RunContinued(by="recovery"))

    def _look_at_the_lost(self) -> None:
        """Go on, with a place at once, before anything is asked of what another owner left."""
        if self._recovered is not None and self._recovered.started:
            self._on_rest(self, False)
            self.begin()

    def cancel(self, step: str | None, by: str) -> None:
        """Ask the run, or one step of it, to stop."""
        self._look_at_the_lost()
        self.post(CancelRequested(step=step, by=by))

    def settle(self, decision: Decision) -> None:
        """Take in what a person decided about a conflict that is held.

        Raises: CommandError naming what waits, or what can be picked.
        """
        self._look_at_the_lost()
        self.post(decide(self._state, decision, self._around.output_bytes_max))

    def ask(self, wish: Wish) -> None:
        """Take in what somebody asks of the run.

        Raises: CommandError naming what can be asked of it. Busy if it keeps no more signals.
        """
        self._look_at_the_lost()
        around = self._around
        event = event_of(self._state, wish, around.output_bytes_max, around.signals_max)
        if event is not None:
            self.post(event)

    def post(self, event: AnyEvent) -> None:
        """Take in an event; may be called from within what an event leads to."""
        if self._over:
            return
        if self._inbox is not None:
            self._inbox.append(event)
            return
        self._inbox = inbox = [event]
        try:
            for one in inbox:  # It grows meanwhile.
                self._fold(one)
            self._inbox = None
            self._rest_or_rise()
            self._write()
            self._leave_if_done()
        except Exception as error:  # noqa: BLE001 - our bug: this run stops, the others go on
            self._crash(error)

    def _fold(self, event: AnyEvent) -> None:
        noted = self._note(event)
        for instruction in advance(self._state, event):
            match instruction:
                case Record(event=concluded):
                    self._note(concluded)
                case RecordConflict(event=judged, evidence=evidence):
                    desk = self._around.desk
                    self._note(desk.with_capsule(self.run_id, self._state, judged, evidence))
                    noted.told.append((judged.conflict or {}, evidence.outcomes))
                case Dispatch():
                    noted.dispatches.append(instruction)
                    self._tokens[instruction.unit] = CancelToken()
                    step = self._state.steps[instruction.unit.step].plan
                    now_ns = self._around.clock.wall_ns()
                    self._watch.started(step, now_ns)
                    self._note(attempt_started(instruction, step.effects, now_ns))
                case DispatchSegment(segment=segment):
                    noted.segments.append(instruction)
                    self._tokens[segment] = CancelToken()
                    self._note(segment_attempt.started(self._state, instruction))
                case Stop(unit=unit, reason=reason):
                    if token := self._tokens.get(unit):
                        token.cancel(reason)
                case StopSegment(segment=segment, reason=reason):
                    if token := self._tokens.get(segment):
                        token.cancel(reason)
                case Wait(key=key, delay_s=delay_s, event=later):
                    self._waits.add(key, delay_s, later)
                case Drop(key=key):
                    self._waits.drop(key)

    def _note(self, event: AnyEvent) -> Noted:
        noted = self._noted = self._noted or Noted()
        noted.events.append(self._stamp(event))
        return noted

    def _stamp(self, event: AnyEvent) -> AnyEvent:
        if event.at_ns:
            return event
        at_ns = self._around.clock.wall_ns()
        if isinstance(event, RunEnded):
            duration = (self._around.clock.monotonic_ns() - self._began_ns) / 1e9
            return msgspec.structs.replace(event, at_ns=at_ns, duration=duration)
        if isinstance(event, StepEnded):
            event = self._watch.ended(event, at_ns)
        return msgspec.structs.replace(event, at_ns=at_ns)

    def _write(self) -> None:
        """Append what was noted, tell it, then start what was decided."""
        if self._stalled or self._noted is None:
            return
        try:
            self._written(self._append(self._noted))
        except Busy:
            self._stalled = True
            self._spawn(self._write_when_there_is_room())
        except NotAValue as error:
            self._fail(error)
        except JournalError as error:
            self.give_up(error)

    def _append(self, noted: Noted) -> Ticket:
        journal, durability = self._around.journal, self.request.plan.durability
        return journal.append(self.run_id, noted.events, durability)

    def _written(self, ticket: Ticket) -> None:
        """What was noted is in the journal's hands: go on from it."""
        noted, self._noted = self._noted, None
        assert noted is not None, self.run_id
        events = noted.events
        for event in events:
            self._around.observe(self.run_id, event)
        for conflict, outcomes in noted.told:
            self._around.desk.tell(self.run_id, conflict, outcomes)
        for dispatch in noted.dispatches:
            attempt = self._attempt(dispatch, ticket, self._tokens[dispatch.unit])
            self._spawn(attempt, self.request.context.copy())
        for segment in noted.segments:
            if self._head is not None:
                head, self._head = self._head, None
                self.post(head)
                continue
            work = self._segment(segment, ticket, self._tokens[segment.segment])
            self._spawn(work, self.request.context.copy())
        if isinstance(events[-1], RunEnded):
            self._over = True
            self._spawn(self._end(ticket))
        elif self.is_held and any(isinstance(event, RunHeld) for event in events):
            self._spawn(self._hold(ticket))

    async def _write_when_there_is_room(self) -> None:
        """Wait for the journal's backlog; a bound that stays full fails the run."""
        full: TandemError = Busy("the journal's backlog stayed full")
        for _ in range(ROOM_TRIES):
            await self._around.journal.flush()
            if self._noted is None:  # It has failed, or ended, meanwhile.
                return
            try:
                ticket = self._append(self._noted)
            except Busy as error:
                full = error
                await self._pause(ROOM_PAUSE_S)
                continue
            except NotAValue as error:
                full = error
                break
            self._stalled = False
            self._written(ticket)
            self._write()
            return
        self._fail(full)

    def _fail(self, error: TandemError) -> None:
        """End the run as failed: what it noted last cannot be kept, a small record can."""
        if self._over:
            return
        failure = Failure(type(error).__name__, str(error))
        detail = {**failure.to_value(), "step": None}
        line = f"{failure.type}: {failure.message}"[:500]
        ended = RunEnded(status="failed", error=line, error_detail=detail)
        noted = self._noted = self._noted or Noted()
        noted.events, noted.dispatches, noted.segments = [self._stamp(ended)], [], []
        try:
            ticket = self._append(noted)
        except (Busy, JournalError):
            self.give_up(error)
            return
        self._stop_all()
        self._written(ticket)

    async def _pause(self, seconds: float) -> None:
        over = asyncio.Event()
        self._around.clock.call_later(seconds, over.set)
        await over.wait()

    def _spawn(self, work: Coroutine[Any, Any, None], context: Any = None) -> None:
        """Start a task whose bugs end this run and no other."""
        guarded = self._guarded(work)
        try:
            self._around.spawn(guarded, context)
        except RuntimeError:  # The engine's task group is ending: nothing of this run moves more.
            guarded.close()
            work.close()
            raise

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except JournalError as error:
            self.give_up(error)
        except Exception as error:  # noqa: BLE001 - our bug: this run stops, the others go on
            self._crash(error)

    def _crash(self, error: Exception) -> None:
        _log.error("run %s: internal error", self.run_id, exc_info=error)
        text = f"run {self.run_id}: {type(error).__name__}: {error}; please report it"
        self.give_up(InternalError(text))

    @property
    def _way_in(self) -> Entrance:
        """What all its attempts go through, made for the first of them."""
        if self._entrance is None:
            self._entrance = Entrance(self._around, self.request, self._state)
        return self._entrance

    async def _attempt(self, dispatch: Dispatch, ticket: Ticket, token: CancelToken) -> None:
        step = self._state.steps[dispatch.unit.step]
        if self._barrier and step.plan.effects == "external":
            await ticket.durable()
        around = self._around
        report = await self._way_in.perform(dispatch, token)
        callables = self.request.callables
        cleaned = await clean_output(
            report, step.plan, callables, around.caller, around.output_bytes_max, token
        )
        if self._tokens.get(dispatch.unit) is token:
            del self._tokens[dispatch.unit]
        at_ns, roll = around.clock.wall_ns(), around.rng.random()
        self.post(attempt_ended(dispatch, report, cleaned, at_ns, roll))

    async def _segment(self, dispatch: DispatchSegment, ticket: Ticket, token: CancelToken) -> None:
        around, request = self._around, self.request
        lane = Priority(request.priority).lane
        work = segment_attempt.make_segment_work(self._state, self.run_id, dispatch, lane)
        if self._barrier and any(step.effects == "external" for step in work.steps):
            await ticket.durable()
        report = await self._way_in.perform_segment(dispatch.segment, work, token)
        if self._tokens.get(dispatch.segment) is token:
            del self._tokens[dispatch.segment]
        self.post(segment_attempt.ended(dispatch, report, around.rng.random()))

    async def _hold(self, ticket: Ticket) -> None:
        await ticket.durable()
        if self.is_held and not self._over:
            self._rests = True
            self._on_rest(self, True)

    def _rest_or_rise(self) -> None:
        """Give the place of a paused run away when nothing of it runs, and take one to go on."""
        pauses = self._state.paused and not self._state.status.is_final  # Its end comes first.
        if self._rests != self.is_still and (self._rests or pauses):
            self._rests = not self._rests
            self._on_rest(self, self._rests)

    @property
    def has_begun(self) -> bool:
        """Whether it had a place already, here or with another owner."""
        return self._state.groups[ROOT].started

    @property
    def is_held(self) -> bool:
        """Whether only a person or a signal can move it."""
        return self._state.status is RunStatus.HELD

    @property
    def is_still(self) -> bool:
        """Whether nothing of it runs, or will before somebody asks for it."""
        paused = self._state.paused and not self._state.handed_over
        return self.is_held or (paused and not self._tokens)

    @property
    def is_queued(self) -> bool:
        """Whether nothing of it has begun."""
        return self._state.status is RunStatus.QUEUED

    @property
    def was_taken_over(self) -> bool:
        """Whether another owner began it."""
        found, onward = self.request.recovered, self.request.onward
        return found is not None and not isinstance(onward, RunRetried)

    def let_go(self) -> None:
        """Leave a run that is still as it is: held or paused in the journal."""
        if self._over:
            return  # The journal failed, and with it whatever ran before this one.
        self._over = True
        self._finish(Closed(f"run {self.run_id}: closed while it waited for somebody"))

    def hand_over(self) -> None:
        """Leave it to whoever takes it over next: nothing new starts, what may be cut short is.

        Work with effects outside is let finish, so that nobody has to ask what it did.
        """
        if self.is_queued:
            self._leave()
            return
        leaving = self._way_in.leaving
        leaving.is_on = True
        if not self._state.paused:
            self.post(RunPaused(by="close", handed_over=True))
        leaving.cut_short(self._tokens)
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._entrance and self._entrance.leaving.is_on and not (self._tokens or self._over):
            self._leave()

    def _leave(self) -> None:
        self._over = True
        self._finish(Closed(f"run {self.run_id}: {GIVEN_BACK}"))

    async def _end(self, ticket: Ticket) -> None:
        error: TandemError | None = None
        try:
            await ticket.durable()
        except JournalError as caught:
            error = caught
        self._finish(error)

    def give_up(self, error: TandemError) -> None:
        """Nothing more can be acknowledged: stop what runs, and say why."""
        if self._over:
            return
        self._over = True
        self._stop_all()
        self._finish(error)

    def _stop_all(self) -> None:
        for token in list(self._tokens.values()):
            token.cancel("cancelled")

    def _finish(self, error: TandemError | None) -> None:
        self._waits.drop_all()
        self._on_end(self, error)
