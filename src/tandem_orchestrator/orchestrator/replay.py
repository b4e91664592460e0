"""Run a capsule's twins again, on its own input or on a smaller one, through the real layers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.errors import CapsuleError, InvalidCommandSet
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.events import AnyEvent, AttemptEnded
from tandem_orchestrator.orchestrator.orchestrator import TandemOrchestrator
from tandem_orchestrator.twins import (
    Capsule,
    Shrinking,
    Shrunk,
    is_same_kind,
    kinds_of,
    story,
)

TIMEOUT_S = 30.0
"""One side's time for one input, where nothing else is said."""
_STEP = "replayed"


@dataclass(frozen=True, slots=True, repr=False)
class Replayed:
    """What the twins gave when they ran again."""

    capsule: Capsule
    # Any: an input is any value.
    payload: Any
    inputs: dict[str, Any]
    """Outputs of the steps before, as it had them this time."""
    outcomes: tuple[dict[str, Any], ...]
    """``{implementation, outcome, output, failure, seconds}`` of each."""
    fields: tuple[dict[str, Any], ...]
    """Where they differ; empty where they agree."""

    def __repr__(self) -> str:
        return f"<{self.story.partition(chr(10))[0]}>"

    @property
    def agree(self) -> bool:
        """Whether the twins agree on this input."""
        return not self.fields

    @property
    def story(self) -> str:
        """Tell it in plain text."""
        action = f"{self.capsule.agent}.{self.capsule.action}"
        return story(action, self.payload, self.outcomes, self.fields)


class Replay:
    """Runs twins again in an open orchestrator that has their agents.

    Use ``replaying``; ``redundancy.conflict_resolution`` must not be ``hold``.
    """

    def __init__(self, tandem: TandemOrchestrator, timeout_s: float) -> None:
        self._tandem = tandem
        self._timeout_s = timeout_s
        self._ended: dict[str, AttemptEnded] = {}

    def on_event(self, _run_id: str, event: AnyEvent) -> None:
        """Note how each side ended; for ``listening``."""
        if isinstance(event, AttemptEnded) and event.step.startswith(_STEP):
            self._ended[event.implementation] = event

    async def run(
        self, capsule: Capsule, payload: Any = ..., inputs: dict[str, Any] | None = None
    ) -> Replayed:
        """Run every implementation that a capsule names on its input, or on ``payload``.

        Args:
            inputs: In place of the capsule's outputs of the steps before.

        Raises: CapsuleError if the capsule cannot be run again, or its twins are not here.
        """
        capsule.check_replayable()
        given = capsule.payload if payload is ... else payload
        before = capsule.inputs if inputs is None else inputs
        self._ended.clear()
        try:
            result = await self._tandem.execute_command_set(
                self._command_set(capsule, given, before)
            )
        except InvalidCommandSet as error:
            raise CapsuleError(
                f"capsule {capsule.id}: {capsule.agent}.{capsule.action} cannot be run here: {error}",
                faults=error.faults,
            ) from error
        if "conflicts" not in result:
            reason = result["steps"].get(_STEP, {}).get("reason") or result["error"] or "no reason"
            raise CapsuleError(f"capsule {capsule.id}: nothing was compared: {reason}")
        fields = [field for each in result["conflicts"] for field in each["fields"]]
        names = [n for n in capsule.implementations if n in self._ended]
        outcomes = tuple(_outcome(self._ended[name]) for name in names)
        return Replayed(capsule, given, before, outcomes, tuple(fields))

    def _command_set(self, capsule: Capsule, payload: Any, inputs: dict[str, Any]) -> CommandSet:
        """Make a set of one step; steps before it give the outputs that it had as inputs."""
        step_id = _STEP
        while step_id in inputs:
            step_id += "_"
        before = [
            CommandStep(
                id=name, agent="system", action="echo", payload=output, implementations=["python"]
            )
            for name, output in inputs.items()
        ]
        step = CommandStep(
            id=step_id,
            agent=capsule.agent,
            action=capsule.action,
            payload=payload,
            implementations=list(capsule.implementations),
            timeout=self._timeout_s,
            can_fail=True,
        )
        return CommandSet(
            name=f"replay {capsule.id}",
            mode="redundant",
            steps=[*before, step],
            dependencies={step_id: list(inputs)} if before else {},
            durability="none",
        )

    async def shrink(
        self,
        capsule: Capsule,
        *,
        calls_max: int,
        seconds_max: float,
        on_progress: Callable[[int, Replayed], None] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> tuple[Shrunk, Replayed]:
        """Find the smallest input on which the twins still differ in the same way.

        Args:
            calls_max: Inputs to try at most.
            seconds_max: Time for all of them.
            on_progress: Told the number of inputs tried, and what the smallest so far gave.
            now_s: Source of the time.

        Returns: How the search went, and what the twins gave on the smallest input.

        Raises: CapsuleError if they do not differ any more on the capsule's own input.
        """
        smallest = await self.run(capsule)
        if smallest.agree:
            more = " (secrets were taken out of it)" if capsule.redacted else ""
            raise CapsuleError(f"capsule {capsule.id}: the twins agree on its input now{more}")
        wanted = kinds_of(smallest.outcomes, smallest.fields)
        ends_s, calls = now_s() + seconds_max, 0
        # First what the steps before gave: mostly nothing of it matters, and it may be large.
        search = Shrinking(capsule.inputs, calls_max=calls_max)
        for part in ("inputs", "payload"):
            if part == "payload":
                search = Shrinking(capsule.payload, calls_max=max(calls_max - calls, 1))
            while search.result is None:
                if now_s() >= ends_s or calls >= calls_max:
                    search.stop()
                    break
                inputs = search.candidate if part == "inputs" else smallest.inputs
                payload = search.candidate if part == "payload" else smallest.payload
                tried = await self.run(capsule, payload, inputs)
                calls += 1
                differs = not tried.agree and is_same_kind(
                    wanted, kinds_of(tried.outcomes, tried.fields)
                )
                if differs:
                    smallest = tried
                search.tell(differs)
                if on_progress is not None:
                    on_progress(calls, smallest)
        found = search.stop()
        return Shrunk(found.value, calls, found.finished), smallest


@asynccontextmanager
async def replaying(
    tandem: TandemOrchestrator, *, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[Replay]:
    """Make ready to run capsules again in an open orchestrator."""
    replay = Replay(tandem, timeout_s)
    async with tandem.listening(replay.on_event):
        yield replay


def _outcome(event: AttemptEnded) -> dict[str, Any]:
    return {
        "implementation": event.implementation,
        "outcome": event.outcome,
        "output": event.output,
        "failure": event.failure,
        "seconds": event.seconds,
    }
