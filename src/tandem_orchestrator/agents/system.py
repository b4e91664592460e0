"""The agent `system` in Python: `noop`, `echo` and `sleep`, twins of the built-in native ones.

`approval` and `wait_signal` are steps that wait for somebody; a run does that without calling them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tandem_orchestrator import Agent, CommandError

SLEEP_SECONDS_MAX = 86_400
"""A day; longer waits belong into a schedule. The native twin has the same bound and words."""

agent = Agent("system")
"""Found by the entry point ``tandem.agents``."""


@agent.action("noop", effects="none", deterministic=True)
def noop(payload: object) -> None:
    """Do nothing, whatever the payload; the output is None."""


# Any: an echo gives back whatever value came.
@agent.action("echo", effects="none", deterministic=True)
def echo(payload: Any) -> Any:
    """Give the payload back."""
    return payload


@agent.action("sleep", effects="none")
async def sleep(payload: object) -> None:
    """Wait, and give None; cancelling ends the wait at once.

    Args:
        payload: Seconds, from 0 to ``SLEEP_SECONDS_MAX``: a number, or ``{"seconds": number}``.

    Raises: TypeError or ValueError for anything else.
    """
    await asyncio.sleep(read_seconds(payload))


@agent.action("approval", effects="none")
def approval(payload: object) -> None:
    """Wait until a person says yes: `tandem runs approve RUN STEP`; a step of a run only.

    Args:
        payload: ``{"prompt": text}``, what the person is asked. The step's time limit is the
            deadline; the output is ``{approved, by, note, at}``.

    Raises: CommandError outside of a run.
    """
    raise CommandError("system.approval waits for a person: it is a step of a run, not a message")


@agent.action("wait_signal", effects="none")
def wait_signal(payload: object) -> None:
    """Wait for a signal, and give its payload: `tandem runs signal RUN NAME`; a step of a run only.

    Args:
        payload: ``{"name": text}``, the signal's name.

    Raises: CommandError outside of a run.
    """
    raise CommandError(
        "system.wait_signal waits for a signal: it is a step of a run, not a message"
    )


def read_seconds(payload: object) -> float:
    """Read the payload of `sleep`.

    Raises: TypeError or ValueError, naming the value and what was expected.
    """
    value = payload
    if isinstance(payload, dict):
        if "seconds" not in payload:
            raise ValueError("seconds is missing")
        value = payload["seconds"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("seconds must be a number")
    if not 0 <= value <= SLEEP_SECONDS_MAX:  # false for NaN, too
        raise ValueError(f"seconds must be from 0 to {SLEEP_SECONDS_MAX}")
    return float(value)
