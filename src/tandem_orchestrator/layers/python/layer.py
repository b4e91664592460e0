"""The Python layer: async handlers on the loop, blocking ones in threads, heavy ones in processes."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from tandem_orchestrator.clock import Clock, Timer
from tandem_orchestrator.errors import CommandError, LayerUnavailable, NotAValue
from tandem_orchestrator.layers.layer import CancelToken, LayerHealth, Report, Work
from tandem_orchestrator.layers.python.agents import ActionHandle, Agent
from tandem_orchestrator.layers.python.calling import call_handler, describe_error
from tandem_orchestrator.layers.python.carrying import output_value
from tandem_orchestrator.layers.python.context import Context, make_log
from tandem_orchestrator.layers.python.handler import PythonImplementation
from tandem_orchestrator.layers.python.messages import Done, Job
from tandem_orchestrator.layers.python.processes import NeverReady, ProcessRunner, WorkerDied
from tandem_orchestrator.layers.python.prompt import NotOver, PromptCaller, PromptHandler, Raised
from tandem_orchestrator.layers.python.registry import Registry
from tandem_orchestrator.layers.python.step_log import (
    StepMark,
    emit,
    enter_step,
    lowest_level,
    mark_all,
    mark_root,
)
from tandem_orchestrator.layers.python.threads import ThreadRunner
from tandem_orchestrator.layers.python.worker import is_loading_main
from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.values import from_value


@dataclass(frozen=True, slots=True)
class PythonLimits:
    """The layer's bounds."""

    workers: int = 8
    """Blocking handlers at work at one time."""
    processes: int = 2
    """Worker processes for heavy handlers."""
    cancel_grace_s: float = 5.0
    """Seconds a handler gets to obey before it is abandoned, or its process killed."""
    abandoned_max: int = 64
    """Threads and coroutines that may hang after their attempts were given up."""
    process_start_timeout_s: float = 30.0
    """Seconds for a worker process to start."""
    traceback_chars_max: int = 16_384
    """Characters of a failure's traceback; 0: none."""
    cpus: str = ""
    """Where workers run what wishes nothing, as ``0-3,8``; empty: where this process runs."""


_CANCELLED = Failure("Cancelled", "asked to stop")
_NEVER_RAN = Report(Outcome.CANCELLED, failure=Failure("Cancelled", "asked to stop in the queue"))


class PythonLayer:
    """Runs attempts in Python; implements ``layers.Layer``.

    ``hardware``: what health says of the machine, a line each.

    Raises: CommandError in a worker process that is loading the user's script: a program that
        starts itself there would do so without end.
    """

    name = "python"

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        limits: PythonLimits,
        hardware: tuple[str, ...] = (),
    ) -> None:
        if is_loading_main():
            raise CommandError(
                "a worker process loads this script for a handler in it, and the script starts "
                "an orchestrator; guard that with if __name__ == '__main__'"
            )
        self._registry, self._clock, self._limits = registry, clock, limits
        self._hardware = hardware
        self._threads = ThreadRunner(limits.workers, limits.cpus)
        start_timeout_s = limits.process_start_timeout_s
        self._processes = ProcessRunner(limits.processes, clock, start_timeout_s)
        self.prompt = PromptCaller()
        """Calls handlers that ``prompt_handler`` gave."""
        self._gates: dict[object, asyncio.Semaphore] = {}
        self._hanging: set[asyncio.Future[Any]] = set()
        """Coroutines that swallow their cancellation."""
        self.running = 0

    @property
    def away(self) -> str:
        """Always here."""
        return ""

    async def start(self) -> None:
        """Have log records marked; workers start with the first attempt that needs one."""
        mark_all()

    async def close(self) -> None:
        """End the workers; threads that hang are daemons and delay nobody."""
        self._threads.close()
        await self.prompt.close()
        await self._processes.close()

    def actions(self) -> tuple[Action, ...]:
        """List what is registered."""
        return self._registry.entries()

    def health(self) -> LayerHealth:
        """Describe itself."""
        hanging = self._abandoned
        reasons = [f"entry point {n}: {why}" for n, why in self._registry.broken.items()]
        if hanging:
            reasons.append(f"{hanging} abandoned attempts are still running")
        details = {
            "running": self.running,
            "abandoned": hanging,
            "threads_busy": self._threads.busy,
            "processes_busy": self._processes.busy,
            "hardware": list(self._hardware),
        }
        return LayerHealth(
            "python", hanging < self._limits.abandoned_max, "; ".join(reasons), details
        )

    def prompt_handler(self, agent: str, action: str, implementation: str) -> PromptHandler | None:
        """Find a handler that may be called at once; None where an attempt has to be made of it."""
        found = self._registry.find(agent, action, implementation)
        if found is None or self._gates_of(found[0], found[1]):
            return None
        return PromptHandler(found[1], found[2]) if found[2].is_coroutine else None

    @property
    def is_prompt(self) -> bool:
        """Whether handlers may be called at once at this moment: nothing hangs."""
        return not self._hanging and not self._threads.abandoned

    async def run(self, work: Work, cancel: CancelToken) -> Report:
        """Run one attempt to its end; never raises for what the handler did."""
        found = self._registry.find(work.agent, work.action, work.implementation)
        if found is None:
            text = f"{work.agent}.{work.action} has no implementation {work.implementation!r} here"
            return Report(Outcome.NOT_STARTED, failure=Failure("LayerUnavailable", text))
        agent, handle, implementation = found
        where = f"step {work.step_id!r} output"
        bounds = self._gates_of(agent, handle)
        if not bounds:
            if cancel.requested:
                return _NEVER_RAN
            return await self._attempt(work, cancel, handle, implementation, where)
        async with AsyncExitStack() as gates:
            for gate in bounds:
                if not await _entered(gate, cancel):
                    return _NEVER_RAN
                gates.callback(gate.release)
            if cancel.requested:
                return _NEVER_RAN
            return await self._attempt(work, cancel, handle, implementation, where)

    async def call(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        cancel: CancelToken,
        where: str,
    ) -> Report:
        """Run a callable of the user's that is no action (``python_handler``, ``validation_fn``)."""
        is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
        )
        start = self._on_loop if is_async else self._in_thread
        return await self._timed(start, lambda: function(*arguments), cancel, None, where)

    async def _attempt(
        self,
        work: Work,
        cancel: CancelToken,
        handle: ActionHandle,
        implementation: PythonImplementation,
        where: str,
    ) -> Report:
        if implementation.kind == "process":
            return await self._in_process(work, cancel, implementation, handle)
        context = None if implementation.takes < 2 else _context_of(work, cancel)
        mark = StepMark(work.run_id, work.step_id, work.attempt)

        def call() -> Any:
            enter_step(mark)
            return call_handler(implementation, work.payload, context)

        start: Callable[[Callable[[], Any], CancelToken], Any] = self._on_loop
        if implementation.kind != "async":
            start = partial(self._in_thread, cpus=work.cpus)
        elif (begun := work.begun) is not None:
            start = lambda _, cancel: self._to_its_end(begun, cancel)  # noqa: E731
        elif implementation.is_coroutine:
            one = PromptHandler(handle, implementation)
            start = lambda _, cancel: self._at_once(one, work.payload, context, mark, cancel)  # noqa: E731
        return await self._timed(start, call, cancel, handle, where, work.run_id)

    async def _timed(
        self,
        start: Callable[[Callable[[], Any], CancelToken], Any],
        call: Callable[[], Any],
        cancel: CancelToken,
        handle: ActionHandle | None,
        where: str,
        run_id: str = "",
    ) -> Report:
        """Run a call and turn whatever becomes of it into a report."""
        began_ns = self._clock.monotonic_ns()
        self.running += 1
        try:
            output = await start(call, cancel)
            if output is _ABANDONED:
                return Report(Outcome.ABANDONED, stopped=False, seconds=self._since(began_ns))
            if isinstance(output, _Cancelled):
                return _NEVER_RAN
            if isinstance(output, Raised):
                return self._failed(output.error, handle, began_ns)
            value = output_value(output, handle, run_id, where)
            return Report(Outcome.SUCCEEDED, value, seconds=self._since(began_ns))
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # The loop's own end, not the handler's.
            if not cancel.requested:
                failure = describe_error(error, handle.errors if handle else None)
                return Report(Outcome.FAILED, failure=failure, seconds=self._since(began_ns))
            return Report(Outcome.CANCELLED, failure=_CANCELLED, seconds=self._since(began_ns))
        except LayerUnavailable as error:
            failure = Failure("LayerUnavailable", str(error))
            return Report(Outcome.NOT_STARTED, failure=failure, seconds=self._since(began_ns))
        except NotAValue as error:
            failure = Failure("NotAValue", str(error))
            return Report(Outcome.FAILED, failure=failure, seconds=self._since(began_ns))
        except Exception as error:  # noqa: BLE001 - the handler's own; it becomes the outcome
            return self._failed(error, handle, began_ns)
        finally:
            self.running -= 1

    def _failed(self, error: BaseException, handle: ActionHandle | None, began_ns: int) -> Report:
        names = handle.errors if handle else None
        failure = describe_error(error, names, self._limits.traceback_chars_max)
        return Report(Outcome.FAILED, failure=failure, seconds=self._since(began_ns))

    @property
    def _abandoned(self) -> int:
        return self._threads.abandoned + len(self._hanging)

    def _refuse_when_full(self) -> None:
        """Start nothing that could hang too, while as much hangs as may.

        Raises: LayerUnavailable.
        """
        if self._abandoned >= self._limits.abandoned_max:
            raise LayerUnavailable(
                f"{self._abandoned} attempts that were given up still run (at most "
                f"python_layer.abandoned_max={self._limits.abandoned_max}); no further one is "
                "started until some of them end"
            )

    # Any: payloads and outputs are any values.
    async def _at_once(
        self,
        handler: PromptHandler,
        payload: Any,
        context: Context | None,
        mark: StepMark,
        cancel: CancelToken,
    ) -> Any:
        """Call a coroutine; where it waits it goes on as a task, so that it alone is cancelled."""
        self._refuse_when_full()
        mark_root()
        output = self.prompt.call(handler, payload, context, contextvars.copy_context(), mark)
        return await self._to_its_end(output.future, cancel) if type(output) is NotOver else output

    async def _on_loop(self, call: Callable[[], Any], cancel: CancelToken) -> Any:
        """Run a coroutine as a task of its own, so that it alone is cancelled."""
        self._refuse_when_full()
        return await self._to_its_end(asyncio.ensure_future(_await(call)), cancel)

    async def _to_its_end(self, task: asyncio.Future[Any], cancel: CancelToken) -> Any:
        """Wait for a call that is under way, and give it up where it does not obey."""
        await self._until_done(task, cancel, task.cancel)
        if task.done():
            return task.result()
        self._hanging.add(task)
        task.add_done_callback(self._forget)
        return _ABANDONED

    async def _in_thread(self, call: Callable[[], Any], cancel: CancelToken, cpus: str = "") -> Any:
        if not await _entered(self._threads.permits, cancel):
            return _Cancelled()
        try:
            self._refuse_when_full()
        except LayerUnavailable:
            self._threads.permits.release()
            raise
        job = self._threads.start(call, cpus)
        await self._until_done(job.future, cancel, lambda: None)
        if job.future.done():
            output, error = job.future.result()
            return output if error is None else Raised(error)
        job.abandon()
        job.future.cancel()
        return _ABANDONED

    async def _until_done(
        self, future: asyncio.Future[Any], cancel: CancelToken, ask: Callable[[], object]
    ) -> None:
        """Wait for a future, or for the end of the grace after a request to stop."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timers: list[Timer] = []

        def wake(_: object = None) -> None:
            if not woken.done():
                woken.set_result(None)

        def stop() -> None:
            ask()
            timers.append(self._clock.call_later(self._limits.cancel_grace_s, wake))

        future.add_done_callback(wake)
        cancel.on_cancel(stop)
        try:
            await woken
        except asyncio.CancelledError:
            future.cancel()
            raise
        finally:
            for timer in timers:
                timer.cancel()

    async def _in_process(
        self,
        work: Work,
        cancel: CancelToken,
        implementation: PythonImplementation,
        handle: ActionHandle,
    ) -> Report:
        handler = implementation.handler
        job = Job(
            number=self._processes.next_number(),
            module=handler.__module__,
            qualname=handler.__qualname__,
            implementation=implementation.name,
            payload=work.payload,
            inputs=dict(work.inputs),
            run_id=work.run_id,
            step_id=work.step_id,
            attempt=work.attempt,
            item=work.item,
            idempotency_key=work.idempotency_key,
            errors=handle.error_names(),
            log_level=lowest_level(),
            traceback_chars_max=self._limits.traceback_chars_max,
            cpus=work.cpus or self._limits.cpus,
        )
        mark = StepMark(work.run_id, work.step_id, work.attempt)
        timers: list[Timer] = []

        def started(ask: Callable[[], None], kill: Callable[[], None]) -> None:
            def stop() -> None:
                ask()
                timers.append(self._clock.call_later(self._limits.cancel_grace_s, kill))

            cancel.on_cancel(stop)

        if not await _entered(self._processes.permits, cancel):
            return _NEVER_RAN
        began_ns = self._clock.monotonic_ns()
        self.running += 1
        try:
            answer = await self._processes.run(
                job, work.on_progress, lambda said: emit(said, mark), started
            )
        except WorkerDied as error:
            outcome = Outcome.CANCELLED if cancel.requested else Outcome.UNKNOWN
            failure = Failure("WorkerDied", str(error))
            return Report(outcome, failure=failure, seconds=self._since(began_ns))
        except (LayerUnavailable, NotAValue) as error:
            away = isinstance(error, LayerUnavailable)
            outcome = Outcome.NOT_STARTED if away else Outcome.FAILED
            kind = "WorkerDied" if isinstance(error, NeverReady) else type(error).__name__
            failure = Failure(kind, str(error))
            return Report(outcome, failure=failure, seconds=self._since(began_ns))
        finally:
            for timer in timers:
                timer.cancel()
            self.running -= 1
            self._processes.permits.release()
        if isinstance(answer, Done):
            return Report(Outcome.SUCCEEDED, answer.output, seconds=self._since(began_ns))
        failure = Failure(answer.type, answer.message, answer.traceback)
        outcome = Outcome.CANCELLED if cancel.requested else Outcome.FAILED
        return Report(outcome, failure=failure, seconds=self._since(began_ns))

    def _gates_of(self, agent: Agent, handle: ActionHandle) -> list[asyncio.Semaphore]:
        """Find the semaphores of an agent and an action that bound their concurrency."""
        gates = []
        keyed = handle.limits.concurrency_key is not None  # then the bound is of each key
        for owner, bound in (
            (agent, agent.max_concurrency),
            (handle, None if keyed else handle.entry.max_concurrency),
        ):
            if bound is not None:
                key = (id(owner), bound)  # A bound that was changed is another gate.
                gates.append(self._gates.setdefault(key, asyncio.Semaphore(bound)))
        return gates

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._hanging.discard(task)
        if not task.cancelled():
            task.exception()  # Read, so that it is not reported a second time.

    def _since(self, began_ns: int) -> float:
        return (self._clock.monotonic_ns() - began_ns) / 1e9


def _context_of(work: Work, cancel: CancelToken) -> Context:
    return Context(
        work.run_id,
        work.step_id,
        work.attempt,
        work.idempotency_key,
        {name: from_value(value, strict=True) for name, value in work.inputs.items()},
        work.item,
        lambda: cancel.requested,
        work.on_progress,
        make_log(work.run_id, work.step_id, work.attempt),
    )


async def _await(call: Callable[[], Any]) -> Any:
    try:
        result = call()
        return await result if inspect.isawaitable(result) else result
    except SystemExit as error:
        return Raised(error)  # As a task's exception it would end the user's loop.


async def _entered(gate: asyncio.Semaphore, cancel: CancelToken) -> bool:
    """Wait for a place behind a gate; False, and no place, if asked to stop before."""
    if gate.locked():
        waiting = asyncio.ensure_future(gate.acquire())
        cancel.on_cancel(lambda: _stop(waiting))
        try:
            await asyncio.wait((waiting,))
        except asyncio.CancelledError:
            if not waiting.cancel() and not waiting.cancelled():
                gate.release()
            raise
        if waiting.cancelled():
            return False
    else:
        await gate.acquire()
    if cancel.requested:
        gate.release()
        return False
    return True


def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()


class _Cancelled:
    """Asked to stop before it began."""


_ABANDONED = object()
"""Marks an attempt that did not stop within its grace."""
