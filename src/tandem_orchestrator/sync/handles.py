"""What a blocking orchestrator gives out: runs and prepared plans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.orchestrator import PreparedPlan as AsyncPreparedPlan
from tandem_orchestrator.orchestrator import Run as AsyncRun
from tandem_orchestrator.orchestrator.run_control import NOT_GIVEN, CancelAnswer
from tandem_orchestrator.sync.loop_thread import LoopThread

_END = object()


class Run:
    """A run, as its submitter holds it; any thread may use it."""

    def __init__(self, run: AsyncRun, thread: LoopThread) -> None:
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

    def cancel(self, step: str | None = None, *, by: str = "", wait_s: float = 0.0) -> CancelAnswer:
        """Ask the run, or one step of it, to stop. See ``orchestrator.Run.cancel``."""
        return self._thread.wait(self._run.cancel(step, by=by, wait_s=wait_s))

    def pause(self, *, by: str = "") -> None:
        """Start nothing new in the run. See ``orchestrator.Run.pause``."""
        self._thread.wait(self._run.pause(by=by))

    def unpause(self, *, by: str = "") -> None:
        """Let a paused run go on. See ``orchestrator.Run.unpause``."""
        self._thread.wait(self._run.unpause(by=by))

    def approve(
        self,
        step: str,
        by: str = "",
        note: str = "",
        approved: bool = True,
        *,
        key: str | None = None,
    ) -> None:
        """Say yes, or no, to a step that waits for it. See ``orchestrator.Run.approve``."""
        self._thread.wait(self._run.approve(step, by, note, approved, key=key))

    # Any: a payload is a value of any kind.
    def signal(
        self, name: str, payload: Any = None, *, by: str = "", key: str | None = None
    ) -> None:
        """Give a signal to the step that waits for it. See ``orchestrator.Run.signal``."""
        self._thread.wait(self._run.signal(name, payload, by=by, key=key))

    def retry(self, from_step: str | None = None, *, by: str = "") -> None:
        """Let the run go on from a step. See ``orchestrator.Run.retry``."""
        self._thread.wait(self._run.retry(from_step, by=by))

    # Any: a payload is a value of any kind.
    def fork(self, step: str, payload: Any = NOT_GIVEN, *, by: str = "") -> Run:
        """Make another run of one that has ended. See ``orchestrator.Run.fork``."""
        return Run(self._thread.wait(self._run.fork(step, payload, by=by)), self._thread)

    # Any: an output is a value of any kind.
    def resolve(
        self,
        step: str | None = None,
        *,
        conflict: str | None = None,
        pick: str | None = None,
        output: Any = NOT_GIVEN,
        by: str = "",
        note: str = "",
    ) -> None:
        """Settle a conflict that is held. See ``orchestrator.Run.resolve``."""
        decision = self._run.resolve(
            step, conflict=conflict, pick=pick, output=output, by=by, note=note
        )
        self._thread.wait(decision)


def take_in(submit: Callable[[], Coroutine[Any, Any, AsyncRun]], thread: LoopThread) -> Run:
    """Have a run taken in, and give its handle; an interrupt meanwhile cancels it."""
    taken: list[AsyncRun] = []

    async def submitting() -> AsyncRun:
        taken.append(await submit())
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


class PreparedPlan:
    """A command set that was checked and planned; any thread may run it.

    Made by ``prepare``; see ``orchestrator.PreparedPlan``.
    """

    def __init__(self, prepared: AsyncPreparedPlan, thread: LoopThread) -> None:
        self._prepared, self._thread = prepared, thread

    def __repr__(self) -> str:
        return repr(self._prepared)

    @property
    def plan(self) -> Plan:
        """See ``orchestrator.PreparedPlan.plan``."""
        return self._prepared.plan

    # Any: inputs and results hold values of any kind.
    def submit(self, *, inputs: Mapping[str, Any] | None = None) -> Run:
        """See ``orchestrator.PreparedPlan.submit``."""
        return take_in(lambda: self._prepared.submit(inputs=inputs), self._thread)

    def run(self, *, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See ``orchestrator.PreparedPlan.run``; an interrupt (Ctrl-C) cancels the run."""
        return self._thread.wait(self._prepared.run(inputs=inputs))
