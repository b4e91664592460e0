"""Shadow runs: a twin gets the input of a run that has its answer already, and is compared.

They run after the primary, off its path, few at a time and in the lowest lane. When too many wait, one
more is dropped and counted. Whatever they do hurts nobody: a difference makes a capsule and counts
on the ladder; a lost one, or one out of time, is counted as an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine import verdict
from tandem_orchestrator.engine.attempt import Caller, cleaned_of, idempotency_key
from tandem_orchestrator.engine.gates import Gates
from tandem_orchestrator.engine.instructions import UnitKey
from tandem_orchestrator.engine.state import UnitState
from tandem_orchestrator.layers.layer import CancelToken, Layer, Report, Work
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import PlannedStep
from tandem_orchestrator.orchestrator.promotion import LOST, Promotion, digest_of
from tandem_orchestrator.settings import Twins
from tandem_orchestrator.twins import Capsule
from tandem_orchestrator.twins.capsule_file import SUFFIX, capsule_to_text

_log = logging.getLogger(__name__)

LANE = 3
"""The least urgent lane."""
CAPSULES_MAX = 200
"""Capsule files of shadow runs that are kept; the oldest goes first."""
PAUSE_MAX_S = 60.0
"""Longest pause between two shadow runs."""
CLOSE_S = 2.0
"""How long the end of what runs may take at ``close``."""


CHECKS = frozenset({"ValidationFailed", "UnexpectedOutput", "TooLarge"})
"""Types of failure that come from looking at an output, not from the implementation."""


def _nobody(done: int, total: int) -> None:
    """Nobody watches a shadow's progress."""


@dataclass(frozen=True, slots=True)
class _Job:
    step: PlannedStep
    work: Work
    layer: str
    primary: Report
    primary_implementation: str
    primary_s: float
    callables: Mapping[str, Callable[..., Any]]


class Shadows:
    """Runs twins beside runs that are over. Belongs to the orchestrator's loop.

    Args:
        layers: By name.
        gates: The engine's: limits of agents and actions hold for shadows, too.
        caller: Runs clean hooks.
        promotion: Told what comparing gave.
        make_capsule: As ``twins.make_capsule``, with all that belongs to the session filled in.
        folder: Where the capsules of differences are written; None: nowhere.
        output_bytes_max: Size of what clean hooks make of an output.
    """

    def __init__(
        self,
        settings: Twins,
        clock: Clock,
        layers: Mapping[str, Layer],
        gates: Gates,
        caller: Caller,
        promotion: Promotion,
        make_capsule: Callable[..., Capsule],
        folder: Path | None,
        output_bytes_max: int,
    ) -> None:
        self._output_bytes_max = output_bytes_max
        self._clock, self._layers, self._gates, self._caller = clock, layers, gates, caller
        self._promotion, self._make_capsule, self._folder = promotion, make_capsule, folder
        self._waiting_max = settings.shadow_queue_max
        self._parallel = settings.shadow_parallel
        self._timeout_s = settings.shadow_timeout_s
        self._time_share = settings.shadow_time_share
        self._waiting: deque[_Job] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tokens: set[CancelToken] = set()
        self._made = 0
        self._closing = asyncio.Event()
        self._paused: set[asyncio.Event] = set()
        """What those wait for who pause."""

    @property
    def waiting(self) -> int:
        """Shadow runs that have not begun."""
        return len(self._waiting)

    def offer(
        self,
        step: PlannedStep,
        work: Work,
        report: Report,
        waited_s: float,
        callables: Mapping[str, Callable[..., Any]],
    ) -> None:
        """Take in a run whose answer is there; nothing of it is waited for."""
        assignment = step.assignment
        if assignment is None or not may_repeat(step.effects) or report.outcome in LOST:
            return
        if report.failure is not None and report.failure.type in CHECKS:
            return  # It gave an output, which then was refused: nothing to compare with.
        for name, layer in zip(assignment.shadow, assignment.shadow_layers, strict=True):
            if self._closing.is_set() or len(self._waiting) >= self._waiting_max:
                self._promotion.drop(step, name)
                continue
            unit = UnitKey(step.id, work.item, name)
            shadow = replace(
                work,
                implementation=name,
                idempotency_key=idempotency_key(work.run_id, unit),
                deadline_ns=0,
                lane=LANE,
                on_progress=_nobody,
            )
            self._waiting.append(
                _Job(step, shadow, layer, report, work.implementation, waited_s, callables)
            )
            if len(self._tasks) < self._parallel:
                task = asyncio.create_task(self._serve(), name="tandem-shadow")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drop what waits, and end what runs."""
        self._closing.set()
        for paused in list(self._paused):
            paused.set()
        for job in self._waiting:
            self._promotion.drop(job.step, job.work.implementation)
        self._waiting.clear()
        for token in list(self._tokens):
            token.cancel("cancelled")
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()

    async def _serve(self) -> None:
        while self._waiting:
            job = self._waiting.popleft()
            began_ns = self._clock.monotonic_ns()
            try:
                await self._run(job)
            except Exception:  # noqa: BLE001 - our bug: it is told, counted, and hurts no run
                _log.exception("a shadow run of %s.%s failed", job.step.agent, job.step.action)
                self._promotion.error(job.step, job.work.implementation)
            await self._pause((self._clock.monotonic_ns() - began_ns) / 1e9)

    async def _pause(self, took_s: float) -> None:
        """Leave the machine to the runs, in proportion to what was taken from them."""
        pause_s = min(took_s * (1.0 / self._time_share - 1.0), PAUSE_MAX_S)
        if pause_s <= 0.0 or self._closing.is_set():
            return
        woken = asyncio.Event()
        timer = self._clock.call_later(pause_s, woken.set)
        self._paused.add(woken)
        try:
            await woken.wait()
        finally:
            self._paused.discard(woken)
            timer.cancel()

    async def _run(self, job: _Job) -> None:
        token = CancelToken()
        self._tokens.add(token)
        timer = self._clock.call_later(self._timeout_s, lambda: token.cancel("timed_out"))
        work, layer = job.work, self._layers.get(job.layer)
        try:
            passage = await self._gates.enter(
                work.agent, work.action, lambda: work.payload, Priority.BACKGROUND, token
            )
            if passage.failure is not None or layer is None:
                self._promotion.error(job.step, work.implementation)
                return
            began_ns = self._clock.monotonic_ns()
            try:
                report = await layer.run(work, token)
            finally:
                passage.leave()
            own_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            if report.outcome in LOST or token.requested or _is_away(report):
                self._promotion.error(job.step, work.implementation)
                return
            left = await self._unit(job, job.primary_implementation, job.primary, token)
            right = await self._unit(job, job.work.implementation, report, token)
        finally:
            timer.cancel()
            self._tokens.discard(token)
        fields = verdict.compare(left, right, job.step.compare)
        timed = job.primary.outcome is report.outcome is Outcome.SUCCEEDED
        timed = timed and not job.primary.cached and not report.cached
        self._promotion.note(
            job.step,
            job.work.implementation,
            agreed=not fields,
            digest=digest_of(job.work),
            # With a validation_fn the primary's time has that of the validation in it.
            primary_s=job.primary_s if timed and job.step.validation is None else 0.0,
            own_s=own_s if timed else 0.0,
            capsule=await self._keep(job, report, fields) if fields else None,
        )

    async def _unit(
        self, job: _Job, implementation: str, report: Report, token: CancelToken
    ) -> UnitState:
        unit = UnitState(implementation, "", job.work.item)
        unit.outcome, unit.output, unit.failure = report.outcome, report.output, report.failure
        rules = job.step.compare
        if rules is not None and rules.has_hooks and report.outcome is Outcome.SUCCEEDED:
            where, bytes_max = f"step {job.step.id!r} clean hooks", self._output_bytes_max
            cleaned = await cleaned_of(
                report.output, rules, job.callables, self._caller, bytes_max, token, where
            )
            unit.cleaned = cleaned.to_value()
        return unit

    # Any: fields as a conflict has them.
    async def _keep(self, job: _Job, report: Report, fields: list[dict[str, Any]]) -> str:
        """Make a capsule of a difference and write it to the folder; gives its id, or its file."""
        self._made += 1
        step, work = job.step, job.work
        sides = ((job.primary_implementation, job.primary), (work.implementation, report))
        capsule = self._make_capsule(
            id=f"{work.run_id}.s{self._made}",
            run=work.run_id,
            step=step.id,
            item=work.item,
            agent=step.agent,
            action=step.action,
            version=step.version,
            payload=work.payload,
            inputs=work.inputs,
            outcomes=[
                {
                    "implementation": name,
                    "outcome": str(each.outcome),
                    "output": each.output,
                    "failure": None if each.failure is None else each.failure.to_value(),
                    "seconds": each.seconds,
                }
                for name, each in sides
            ],
            fields=fields,
        )
        if self._folder is None:
            return capsule.id
        return await asyncio.get_running_loop().run_in_executor(None, _write, self._folder, capsule)


def _is_away(report: Report) -> bool:
    return report.failure is not None and report.failure.type in (
        "LayerUnavailable",
        "InternalError",
    )


def _write(folder: Path, capsule: Capsule) -> str:
    """Write a capsule's file, the oldest giving way; gives its name, or the id if that failed."""
    path = folder / f"{capsule.id}{SUFFIX}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        path.write_text(capsule_to_text(capsule), encoding="utf-8")
        kept = sorted(folder.glob(f"*{SUFFIX}"), key=lambda each: each.stat().st_mtime_ns)
        for old in kept[: max(0, len(kept) - CAPSULES_MAX)]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s: the capsule of a shadow run cannot be written: %s", path, error)
        return capsule.id
    return str(path)
