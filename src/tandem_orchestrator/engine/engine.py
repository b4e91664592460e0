"""The engine: every active run of one orchestrator, their tasks, and who gets a place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine.admit import Admission
from tandem_orchestrator.engine.ageing import Ageing
from tandem_orchestrator.engine.attempt import Caller
from tandem_orchestrator.engine.desk import Desk, MakeCapsule, OnConflict
from tandem_orchestrator.engine.gates import Gates
from tandem_orchestrator.engine.places import Places
from tandem_orchestrator.engine.request import (
    HeldSign,
    Observer,
    ProgressObserver,
    RunRequest,
    RunTicket,
    Witness,
)
from tandem_orchestrator.engine.retry_pace import RetryPace
from tandem_orchestrator.engine.run import ActiveRun
from tandem_orchestrator.engine.surroundings import Surroundings
from tandem_orchestrator.errors import Busy, Closed, InternalError, JournalError, TandemError
from tandem_orchestrator.journal.journal import Journal, Ticket
from tandem_orchestrator.layers.layer import Layer
from tandem_orchestrator.model.carried import release
from tandem_orchestrator.model.events import AnyEvent
from tandem_orchestrator.model.limits import LimitsOf, no_limits

_log = logging.getLogger(__name__)


class Engine:
    """Runs plans.

    Args:
        layers: By name.
        caller: Runs callables that are no actions.
        places, waiting_max: See ``Admission``.
        attempts_max: Attempts in progress at one time, over all runs.
        held_max: Runs that wait for somebody, or are paused: they hold no place.
        output_bytes_max: Size of one output, or of a signal's payload.
        signals_max: Signals that one run keeps until a step waits for them.
        close_grace_s: Runs get this long to end after ``close`` cancelled them.
        observe, on_progress: Told everything, on the loop.
        witness: Sees what attempts took.
        limits_of: Gives the limits of an agent and action.
        retries_per_s: The retry budget of each agent; 0: none.
        ageing_s: Seconds of waiting that are worth one level of priority, for runs and for
            attempts; 0: none are.
        make_capsule, on_conflict: See ``Desk``.
    """

    def __init__(
        self,
        layers: Mapping[str, Layer],
        caller: Caller,
        journal: Journal,
        clock: Clock,
        rng: random.Random,
        *,
        places: int,
        waiting_max: int,
        attempts_max: int,
        output_bytes_max: int,
        held_max: int = 100_000,
        signals_max: int = 1000,
        close_grace_s: float,
        observe: Observer,
        on_progress: ProgressObserver,
        make_capsule: MakeCapsule | None = None,
        on_conflict: OnConflict | None = None,
        witness: Witness | None = None,
        limits_of: LimitsOf = no_limits,
        retries_per_s: float = 0.0,
        ageing_s: float = 0.0,
    ) -> None:
        self.ageing = ageing = Ageing(clock, ageing_s)
        """Who of those that wait is next."""
        self.gates = Gates(clock, limits_of, ageing)
        """Where attempts wait for the limits of their agents and actions; messages may, too."""
        self._admission = Admission(places, waiting_max, ageing, self._begin)
        self._held_max = held_max
        self._close_grace_s = close_grace_s
        self._around = Surroundings(
            layers,
            caller,
            journal,
            clock,
            rng,
            Places(attempts_max, ageing),
            output_bytes_max,
            signals_max,
            self._spawn,
            observe,
            on_progress,
            Desk(make_capsule, on_conflict),
            self.gates,
            RetryPace(clock, retries_per_s),
            witness,
        )
        self._on_end, self._on_rest = self._ended, self._rest
        """Made once: each mention of a method makes an object, and there may be 100,000 runs."""
        self._accepted: asyncio.Future[None] | None = None
        """Of all runs that are accepted."""
        self._runs: dict[str, ActiveRun] = {}
        self._tickets: dict[str, RunTicket] = {}
        self._placed: set[str] = set()
        """Runs that hold a place."""
        self._resting: set[str] = set()
        """Runs that need none before somebody asks for something."""
        self._tasks: asyncio.TaskGroup | None = None
        self._parent: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def active(self) -> Mapping[str, ActiveRun]:
        """Runs that have not ended, by id."""
        return self._runs

    @property
    def tickets(self) -> Mapping[str, RunTicket]:
        """Tickets of the runs that have not ended, by id."""
        return self._tickets

    @property
    def waiting(self) -> int:
        """Runs that wait for a place."""
        return self._admission.waiting

    async def start(self) -> None:
        """Open the task group that all attempts belong to."""
        ready = asyncio.Event()
        self._parent = asyncio.create_task(self._hold(ready), name="tandem-engine")
        self._parent.add_done_callback(self._stopped)
        await ready.wait()

    async def close(self, *, give_back: bool = False, drain_s: float = 0.0) -> None:
        """End every run within a grace, and every task.

        Runs that wait for somebody stay as they are. Those that were taken over from another owner
        are given back; its own are cancelled.

        Args:
            give_back: Give its own back, too, where another program could go on with them.
            drain_s: Seconds in which runs that have begun may end by themselves, before that.
        """
        self._closing.set()
        if drain_s > 0:
            for run in list(self._runs.values()):
                if run.is_still:
                    run.let_go()
                elif run.is_queued and self._goes_back(run, give_back):
                    run.hand_over()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), drain_s)
        for run in list(self._runs.values()):
            if run.is_still:
                run.let_go()
            elif self._goes_back(run, give_back):
                run.hand_over()
            else:
                run.cancel(None, "close")
        try:
            await asyncio.wait_for(self._idle.wait(), self._close_grace_s)
        except TimeoutError:
            # What does not obey is told the hard way: its tasks are cancelled below.
            for ticket in self._tickets.values():
                if not ticket.ended.done():
                    error = Closed(f"run {ticket.run_id}: closed before its end")
                    ticket.ended.set_exception(error)
                    ticket.ended.exception()  # Whoever never asks is not reported as a leak.
        if self._parent is not None:
            self._parent.cancel()
            await asyncio.wait([self._parent], timeout=self._close_grace_s)

    def _goes_back(self, run: ActiveRun, give_back: bool) -> bool:
        """Say whether a run is left to others at the end; else it is cancelled."""
        outlives = self._around.journal.health().kind != "memory"
        return outlives and run.is_resumable and (give_back or run.was_taken_over)

    def submit(self, request: RunRequest) -> RunTicket:
        """Take in a run.

        Raises: Busy if no run may wait any more, or the journal's backlog is full. Closed.
        """
        self._check_room()
        run = ActiveRun(request, self._around, self._on_end, self._on_rest)
        durable = run.accept()
        plan = request.plan
        waits = plan.conflict_resolution == "hold" or request.recovered is not None
        waits = waits or any(step.waits for step in plan.steps)
        ticket = self._ticket_of(run, may_be_held=waits)
        self._spawn(self._accept(run, ticket, durable), None)
        return ticket

    def resume(self, request: RunRequest) -> RunTicket:
        """Go on with a run that another owner began and that this journal's owner has taken over.

        Raises: as ``submit``.
        """
        self._check_room()
        run = ActiveRun(request, self._around, self._on_end, self._on_rest)
        ticket = self._ticket_of(run, may_be_held=True)
        ticket.accepted = self._all_accepted()
        if run.is_still:  # It has no place, and needs none before somebody asks for something.
            self._resting.add(run.run_id)
            if run.is_held and ticket.held is not None:
                ticket.held.set()
            if run.has_begun:
                run.begin()
        else:
            self._queue(run)
        return ticket

    def has_room(self) -> bool:
        """Whether one more run would be taken in at this moment."""
        try:
            self._check_room()
        except TandemError:
            return False
        return True

    def _check_room(self) -> None:
        if self._closing.is_set():
            raise Closed("the orchestrator is closing")
        if len(self._resting) >= self._held_max:
            raise Busy(
                f"{len(self._resting)} runs wait for somebody or are paused; at most "
                f"{self._held_max} may (orchestrator.max_held_runs)"
            )
        self._admission.check(len(self._runs) - len(self._resting))
        if self._tasks is None or self._parent is None or self._parent.done():
            raise InternalError("the engine has stopped; close the orchestrator and make a new one")

    def _ticket_of(self, run: ActiveRun, *, may_be_held: bool) -> RunTicket:
        loop = asyncio.get_running_loop()
        ticket = RunTicket(run.run_id, loop.create_future(), loop.create_future(), run)
        if may_be_held:
            ticket.held = HeldSign()
        self._runs[run.run_id], self._tickets[run.run_id] = run, ticket
        self._idle.clear()
        return ticket

    def _all_accepted(self) -> asyncio.Future[None]:
        """Give the future of every run that is accepted: its own has told whoever waited for it."""
        if self._accepted is None:
            self._accepted = asyncio.get_running_loop().create_future()
            self._accepted.set_result(None)
        return self._accepted

    def step_in(self) -> bool:
        """Take a place without waiting, for a run that needs nothing else of the engine.

        False if there is none; else ``step_out`` gives it back.
        """
        return not self._closing.is_set() and self._admission.enter_at_once()

    def step_out(self) -> None:
        """Give the place back that ``step_in`` took."""
        self._admission.leave()

    def lose(self, run_ids: frozenset[str]) -> None:
        """Leave runs to whoever takes them over: what the journal had of them was not all written."""
        for run_id in sorted(run_ids & self._runs.keys()):
            text = f"run {run_id}: not all of it could be written; it goes on from what was"
            self._runs[run_id].give_up(JournalError(text))

    def tell_all(self, event: AnyEvent) -> None:
        """Give an event to every active run, as that a layer was restarted."""
        for run in list(self._runs.values()):
            run.post(event)

    async def _accept(self, run: ActiveRun, ticket: RunTicket, durable: Ticket) -> None:
        """Let a run begin once it is as durable as it asked for."""
        try:
            await durable.durable()
        except Exception as error:  # noqa: BLE001 - the submitter's to hear, whatever it is
            ticket.accepted.set_exception(error)
            ticket.accepted.exception()
            self._remove(run)
            ticket.ended.cancel()
            return
        if not ticket.accepted.done():
            ticket.accepted.set_result(None)
        ticket.accepted = self._all_accepted()
        if run.request.before_start is not None and not run.is_over:
            await run.request.before_start()
        if run.run_id not in self._runs or run.is_over:
            return  # It was cancelled meanwhile.
        run.may_queue = True
        if run.is_still:  # Or paused.
            self._resting.add(run.run_id)
        else:
            self._admission.enter(run.request.priority, run.run_id)

    def _queue(self, run: ActiveRun) -> None:
        """Let a run wait for a place that has waited before: since it was accepted."""
        waited_ns = self._around.clock.wall_ns() - run.accepted_ns
        self._admission.enter(run.request.priority, run.run_id, waited_ns)

    def _begin(self, run_id: str) -> None:
        self._placed.add(run_id)
        self._runs[run_id].begin()

    def _rest(self, run: ActiveRun, rests: bool) -> None:
        """Let a run that waits for somebody give its place to another one, and come back."""
        run_id = run.run_id
        held = self._tickets[run_id].held
        if rests:
            if held is not None and run.is_held:
                held.set()
            self._resting.add(run_id)
            if run_id in self._placed:
                self._placed.discard(run_id)
                self._admission.leave()
            else:
                self._admission.withdraw(run_id)
            return
        if held is not None:
            held.clear()
        self._resting.discard(run_id)
        if not run.has_begun:
            if run.may_queue:
                self._queue(run)
        elif run_id not in self._placed:
            self._admission.withdraw(run_id)
            self._placed.add(run_id)
            self._admission.come_back()

    def _ended(self, run: ActiveRun, error: TandemError | None) -> None:
        release(run.run_id)
        if run.request.begun is not None:
            run.request.begun.drop()
        self._resting.discard(run.run_id)
        if error is None and run.request.after_end is not None:
            self._spawn(self._tell_end(run, run.request.after_end), run.request.context.copy())
        else:
            self._conclude(run, error)
        if run.run_id in self._placed:
            self._placed.discard(run.run_id)
            self._admission.leave()
        else:
            self._admission.withdraw(run.run_id)

    async def _tell_end(self, run: ActiveRun, after_end: Callable[[], Awaitable[None]]) -> None:
        try:
            await after_end()
        finally:  # Also when the engine is closed meanwhile: the end is durable.
            self._conclude(run, None)

    def _conclude(self, run: ActiveRun, error: TandemError | None) -> None:
        """Let whoever waits for a run go on; nothing is known of it here any more."""
        ticket = self._tickets[run.run_id]
        if not ticket.ended.done():
            if error is None:
                ticket.ended.set_result(None)
            else:
                ticket.ended.set_exception(error)
                ticket.ended.exception()  # Whoever never asks is not reported as a leak.
        self._remove(run)

    def _stopped(self, parent: asyncio.Task[None]) -> None:
        """The task group is gone: nobody else will end the runs that are left."""
        cause = None if parent.cancelled() else parent.exception()
        if cause is not None:
            _log.critical("the engine stopped by itself", exc_info=cause)
        for ticket in list(self._tickets.values()):
            error = InternalError(f"run {ticket.run_id}: the engine stopped before its end")
            for future in (ticket.accepted, ticket.ended):
                if not future.done():
                    future.set_exception(error)
                    future.exception()

    def _remove(self, run: ActiveRun) -> None:
        self._runs.pop(run.run_id, None)
        self._tickets.pop(run.run_id, None)
        if not self._runs:
            self._idle.set()

    async def _hold(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            ready.set()
            await asyncio.Event().wait()

    # Any: tasks of the group give nothing; the context is the submitter's or None.
    def _spawn(self, coroutine: Coroutine[Any, Any, None], context: Any) -> object:
        assert self._tasks is not None, "the engine has not been started"
        return self._tasks.create_task(coroutine, context=context)
