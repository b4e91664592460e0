"""The event loop of one command, and the two signals that end it early.

SIGINT is ``asyncio.Runner``'s: the work is cancelled, ``KeyboardInterrupt`` comes out. SIGTERM goes
the same way here, where a command asks for it: the work is cancelled and closes what it opened, so
that whoever stops a service finds the run ``cancelled`` and not ``interrupted``.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tandem_orchestrator import Settings
from tandem_orchestrator.orchestrator import new_event_loop

_T = TypeVar("_T")


class Terminated(BaseException):
    """SIGTERM ended the work, which has closed what it opened; a sibling of KeyboardInterrupt."""


# Any: what a coroutine is sent and yields is the loop's business.
def run_in_loop(
    settings: Settings,
    work: Callable[[], Coroutine[Any, Any, _T]],
    *,
    on_sigterm: bool = False,
) -> _T:
    """Run a coroutine to its end in a loop of its own, uvloop's where the settings say so.

    Args:
        settings: ``python_layer.use_uvloop`` chooses the loop.
        work: Makes the coroutine.
        on_sigterm: SIGTERM cancels it; without, it ends the process as ever.

    Raises: what the coroutine raises; KeyboardInterrupt and Terminated after it was cancelled.
    """
    with asyncio.Runner(loop_factory=lambda: new_event_loop(settings)) as runner:
        if on_sigterm and threading.current_thread() is threading.main_thread():
            return runner.run(_until_terminated(work))
        return runner.run(work())


# Any: as above.
async def _until_terminated(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Await the work; SIGTERM cancels it, unless it was cancelled before and is closing.

    A second one may well come: ``timeout`` sends it to the process and to its group, and what the
    work closes after the first is bounded in time.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    is_terminated = False

    def terminate() -> None:
        nonlocal is_terminated
        if not task.cancelling():
            is_terminated = True
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await work()
    except asyncio.CancelledError as error:
        # What SIGINT cancelled as well is the runner's to tell: it counts one more request.
        if is_terminated and task.uncancel() == 0:
            raise Terminated from error
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
