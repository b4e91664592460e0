"""A private event loop in a daemon thread, and the way to have things done on it."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tandem_orchestrator.errors import Closed, Forked, WrongLoop

_T = TypeVar("_T")

CLOSE_WAIT_S = 5.0
"""How long calls of other threads, and the loop's thread, may take to end in ``close``."""
EXIT_WAIT_S = 0.5
"""How long the loop's thread of one that was never closed may delay the exit."""


class LoopThread:
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


async def call(function: Callable[[], _T]) -> _T:
    """Call a function that does not wait, on the loop."""
    return function()
