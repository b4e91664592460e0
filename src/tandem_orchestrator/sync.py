"""The blocking interface: the same methods for scripts, notebooks and threads.

An orchestrator of its own runs on a private loop in a daemon thread; every call goes there and waits.
What the methods mean is said once, at ``tandem_orchestrator.TandemOrchestrator``.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import random
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import Closed, Fault, Forked, NotInitialized, WrongLoop
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import JournalHealth, RunRow
from tandem_orchestrator.layers import LayerHealth
from tandem_orchestrator.layers.python import Agent
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.levels import CommandType
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.model.policies import Policy
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator import Run as AsyncRun
from tandem_orchestrator.orchestrator import TandemOrchestrator as AsyncTandemOrchestrator
from tandem_orchestrator.orchestrator import new_event_loop
from tandem_orchestrator.settings import Settings

_T = TypeVar("_T")
_END = object()

CLOSE_WAIT_S = 5.0
"""How long calls of other threads, and the loop's thread, may take to end in ``close``."""
EXIT_WAIT_S = 0.5
"""How long the loop's thread of one that was never closed may delay the exit."""


class _LoopThread:
    """A loop in a daemon thread, and the way to have things done on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="tandem-loop", daemon=True)
        self._thread.start()
        # Weak, so that the exit holds nothing; stopping keeps the thread out of a dying interpreter.
        self._at_exit = weakref.WeakMethod(self.leave)
        atexit.register(_call_weakly, self._at_exit)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def wait(self, work: Coroutine[Any, Any, _T], timeout_s: float | None = None) -> _T:
        """Run a coroutine there and wait; interrupting the wait cancels it."""
        if os.getpid() != self._pid:
            work.close()
            raise Forked("this orchestrator belongs to the parent process; make one in the child")
        if threading.current_thread() is self._thread:
            work.close()
            raise WrongLoop("a blocking call on the orchestrator's own loop would wait for itself")
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError as error:
            work.close()
            raise Closed("this orchestrator was closed") from error
        try:
            return future.result(timeout_s)
        except concurrent.futures.CancelledError as error:
            raise Closed("this orchestrator was closed meanwhile") from error
        finally:
            future.cancel()  # Nothing if it has ended; else the wait was given up.

    async def end_calls(self) -> None:
        """Cancel what other threads still wait for."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_WAIT_S)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()

    def leave(self) -> None:
        """At exit: end the tasks, as ``asyncio.run`` does; their runs stay ``interrupted``."""
        if os.getpid() != self._pid or self.loop.is_closed():
            return

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=EXIT_WAIT_S)

        future = asyncio.run_coroutine_threadsafe(end(), self.loop)
        concurrent.futures.wait((future,), timeout=2 * EXIT_WAIT_S)
        self.stop(EXIT_WAIT_S)

    def stop(self, wait_s: float) -> None:
        """Stop the loop and wait for its thread; a loop whose thread has ended is closed."""
        if os.getpid() != self._pid or self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(wait_s)

    def close(self) -> None:
        """Stop, and close the loop."""
        atexit.unregister(self._at_exit)
        self.stop(CLOSE_WAIT_S)
        if not self._thread.is_alive():
            self.loop.close()


def _call_weakly(method: Callable[[], Callable[[], object] | None]) -> None:
    if (call := method()) is not None:
        call()


async def _call(function: Callable[[], _T]) -> _T:
    return function()


class Run:
    """A run, as its submitter holds it; any thread may use it."""

    def __init__(self, run: AsyncRun, thread: _LoopThread) -> None:
        self.id = run.id
        self._run, self._thread = run, thread

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    # Any: results hold values of any kind.
    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end and give the result; an interrupt (Ctrl-C) cancels the run.

        Args:
            timeout: Seconds; the run goes on when they have passed. None: no limit.

        Raises: TimeoutError, and what ``orchestrator.Run.result`` raises.
        """
        try:
            return self._thread.wait(self._run.result(), timeout)
        except KeyboardInterrupt:
            self.cancel(by="an interrupt")
            raise

    def events(self) -> Iterator[dict[str, Any]]:
        """Give every event so far and then each new one, until the run has ended."""
        events = self._run.events()

        async def following() -> Any:
            return await anext(events, _END)

        while (event := self._thread.wait(following())) is not _END:
            yield event

    def cancel(self, step: str | None = None, *, by: str = "") -> None:
        """Ask the run, or one step of it, to stop. See ``orchestrator.Run.cancel``."""
        self._thread.wait(self._run.cancel(step, by=by))


class TandemOrchestrator:
    """``tandem_orchestrator.TandemOrchestrator``, blocking; any thread may use it.

    ``with TandemOrchestrator() as tandem: …``, or ``initialize()`` and ``close()``. Works where a
    loop runs already, as in notebooks. Async handlers run on its own loop, not on the caller's.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | str | os.PathLike[str] | Settings | None = None,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._tandem = AsyncTandemOrchestrator(config, clock=clock, ids=ids, rng=rng)
        self.config = self._tandem.config
        """As at the async class."""
        self.binary_bridge = self._tandem.binary_bridge
        """As at the async class; it blocks there, too."""
        self._thread: _LoopThread | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def settings(self) -> Settings:
        """The settings at this moment, immutable."""
        return self._tandem.settings

    def initialize(self) -> None:
        """See the async class. Repeating it does nothing."""
        self._here()
        with self._lock:
            if self._thread is not None:
                return
            if self._is_closed:
                raise Closed("this orchestrator was closed; make a new one")
            thread = _LoopThread(new_event_loop(self.settings))
            try:
                thread.wait(self._tandem.initialize())
            except BaseException:
                thread.close()
                raise
            self._thread = thread

    def close(self) -> None:
        """See the async class. Calls that wait in other threads end with ``Closed``."""
        self._here()
        with self._lock:
            thread, self._thread, self._is_closed = self._thread, None, True
            if thread is None:
                return
            try:
                thread.wait(self._tandem.close())
            finally:
                thread.wait(thread.end_calls())
                thread.close()

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def register_agent(
        self, name: str, capabilities: Iterable[str] = (), *, max_concurrency: int | None = None
    ) -> Agent:
        """See the async class."""
        return self._do(
            lambda: self._tandem.register_agent(name, capabilities, max_concurrency=max_concurrency)
        )

    def add_agent(self, agent: Agent) -> Agent:
        """See the async class."""
        return self._do(lambda: self._tandem.add_agent(agent))

    def register_mode(self, mode: ExecutionMode | str, policy: Policy) -> ExecutionMode:
        """See the async class."""
        return self._do(lambda: self._tandem.register_mode(mode, policy))

    def create_command_set(
        self,
        name: str,
        type: CommandType | str = CommandType.WORKFLOW,
        mode: ExecutionMode | str | None = ExecutionMode.INTELLIGENT,
        steps: list[CommandStep] | None = None,
    ) -> CommandSet:
        """See the async class."""
        self._here()
        return self._tandem.create_command_set(name, type, mode, steps)

    def catalogue(self) -> Catalogue:
        """See the async class."""
        return self._do(self._tandem.catalogue)

    def validate(
        self,
        command_set: CommandSet,
        *,
        inputs: Mapping[str, Any] | None = None,
        faults: Iterable[Fault] = (),
    ) -> Plan:
        """See the async class."""
        return self._do(lambda: self._tandem.validate(command_set, inputs=inputs, faults=faults))

    def submit(self, command_set: CommandSet, *, inputs: Mapping[str, Any] | None = None) -> Run:
        """See the async class; handlers run in a copy of the calling thread's contextvars."""
        thread = self._usable()
        taken: list[AsyncRun] = []

        async def submitting() -> AsyncRun:
            taken.append(await self._tandem.submit(command_set, inputs=inputs))
            return taken[0]

        async def undo() -> None:
            await asyncio.sleep(0)  # The cancellation reaches ``submitting`` first.
            for run in taken:
                await run.cancel(by="an interrupt")

        try:
            return Run(thread.wait(submitting()), thread)
        except KeyboardInterrupt:
            thread.wait(undo())  # It was taken in, and nobody has got its handle.
            raise

    # Any: results hold values of any kind.
    def execute_command_set(
        self, command_set: CommandSet, *, inputs: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """See the async class; an interrupt (Ctrl-C) cancels the run."""
        return self._usable().wait(self._tandem.execute_command_set(command_set, inputs=inputs))

    def run(self, run_id: str) -> Run:
        """See the async class."""
        thread = self._usable()
        return Run(thread.wait(_call(lambda: self._tandem.run(run_id))), thread)

    def runs(
        self, *, status: str | None = None, name: str | None = None, limit: int = 100
    ) -> list[RunRow]:
        """See the async class."""
        return self._usable().wait(self._tandem.runs(status=status, name=name, limit=limit))

    def view(self, run_id: str) -> RunView | None:
        """See the async class."""
        return self._usable().wait(self._tandem.view(run_id))

    def get_metrics(self) -> dict[str, Any]:
        """See the async class."""
        return self._do(self._tandem.get_metrics)

    def layer_health(self) -> dict[str, LayerHealth]:
        """See the async class."""
        return self._do(self._tandem.layer_health)

    def journal_health(self) -> JournalHealth:
        """See the async class."""
        return self._do(self._tandem.journal_health)

    @contextmanager
    def listening(
        self,
        on_event: Callable[[str, Any], None] | None = None,
        on_progress: Callable[[str, str, int | None, int, int], None] | None = None,
    ) -> Iterator[None]:
        """See the async class; listeners are called on the loop's thread, and must not block."""
        thread = self._usable()
        listening = self._tandem.listening(on_event, on_progress)
        thread.wait(listening.__aenter__())
        try:
            yield
        finally:
            thread.wait(listening.__aexit__(None, None, None))

    def _do(self, function: Callable[[], _T]) -> _T:
        """Call a method that does not wait: on the loop's thread once there is one."""
        self._here()
        thread = self._thread
        return function() if thread is None else thread.wait(_call(function))

    def _usable(self) -> _LoopThread:
        self._here()
        if (thread := self._thread) is not None:
            return thread
        if self._is_closed:
            raise Closed("this orchestrator was closed")
        raise NotInitialized("call initialize() first, or use 'with'")

    def _here(self) -> None:
        if self._thread is not None and os.getpid() != self._pid:
            raise Forked("this orchestrator belongs to the parent process; make one in the child")
