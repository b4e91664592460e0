"""Handlers for worker processes, which import them by name."""

import os
import time
from typing import Any

from tandem_orchestrator import Agent, Context

agent = Agent("heavy")


@agent.action("pid", effects="none", cpu="process")
def pid(payload: Any) -> int:
    """Say in which process this runs."""
    return os.getpid()


@agent.action("spin", effects="none", cpu="process")
def spin(payload: Any, ctx: Context) -> None:
    """Report that it began, and never obey."""
    ctx.progress(1, 2)
    while True:
        time.sleep(0.01)


@agent.action("obey", effects="none", cpu="process")
def obey(payload: Any, ctx: Context) -> str:
    """Report that it began, and end when asked to."""
    ctx.progress(1, 2)
    while not ctx.cancelled():
        time.sleep(0.001)
    raise InterruptedError("asked to stop")


@agent.action("die", effects="external", cpu="process")
def die(payload: Any) -> None:
    """End the worker process itself."""
    os._exit(9)
