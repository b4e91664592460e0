"""A layer whose attempts end when and how a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tandem_orchestrator.layers.layer import CancelToken, LayerHealth, Report, Work
from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.model.outcomes import Failure, Outcome

Answer = Callable[[Work], Report]
"""Decides what becomes of an attempt."""


def echo(work: Work) -> Report:
    """Give the payload back."""
    return Report(Outcome.SUCCEEDED, work.payload, seconds=0.001)


class FakeLayer:
    """Keeps what it received, and answers at once unless it is paused.

    Args:
        name: ``python`` or ``c``.
        answer: What becomes of an attempt; echoes by default.
        obeys: Whether an attempt that waits ends when it is asked to stop.
    """

    def __init__(self, name: str = "python", answer: Answer = echo, *, obeys: bool = True) -> None:
        self.name = name
        self.answer = answer
        self.received: list[Work] = []
        self.away = ""
        self._obeys = obeys
        self._open = asyncio.Event()
        self._open.set()

    def pause(self) -> None:
        """Let attempts wait from now on."""
        self._open.clear()

    def resume(self) -> None:
        """Let those that wait, and those to come, end."""
        self._open.set()

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Let everything end."""
        self.resume()

    def actions(self) -> tuple[Action, ...]:
        """Offer nothing: tests make plans of their own."""
        return ()

    async def run(self, work: Work, cancel: CancelToken) -> Report:
        """Take an attempt in, and end it as the test says."""
        self.received.append(work)
        stopped = asyncio.Event()
        if self._obeys:
            cancel.on_cancel(stopped.set)
        waits = [asyncio.ensure_future(event.wait()) for event in (self._open, stopped)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if stopped.is_set() and not self._open.is_set():
            return Report(Outcome.CANCELLED, failure=Failure("Cancelled", "asked to stop"))
        return self.answer(work)

    def health(self) -> LayerHealth:
        """Be well."""
        return LayerHealth(self.name, True)
