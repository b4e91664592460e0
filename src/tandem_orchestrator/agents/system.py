"""The agent `system` in Python: `noop`, `echo` and `sleep`, twins of the built-in native ones."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from tandem_orchestrator import Agent

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
        payload: Seconds, at least 0 and finite: a number, or ``{"seconds": number}``.

    Raises: TypeError or ValueError for anything else.
    """
    await asyncio.sleep(read_seconds(payload))


def read_seconds(payload: object) -> float:
    """Read the payload of `sleep`.

    Raises: TypeError or ValueError, naming the value and what was expected.
    """
    value = payload
    if isinstance(payload, dict):
        for key in payload:
            if key != "seconds":
                raise ValueError(f"payload: unknown key '{str(key)[:64]}', must be seconds")
        if "seconds" not in payload:
            raise ValueError("payload.seconds: is missing, must be a number")
        value = payload["seconds"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("payload.seconds: must be a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"payload.seconds={value}: must be finite and at least 0")
    return float(value)
