"""What routing goes by in one session: measured costs, the load, and plans that follow them.

Costs are learned from the engine's attempts, segments and express runs, kept in a small file beside
the journal (``JOURNAL.costs``; none for a journal in memory), and handed to the planner. A plan
that is kept and run again looks at version numbers of what it chose by, and is made anew when one
has changed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.layers.layer import Report, SegmentReport, SegmentWork, Work
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import Plan, PlannedStep
from tandem_orchestrator.model.policies import Policy, RouteQuestion
from tandem_orchestrator.model.routing import UNSIZED, RouteRecord, Standing
from tandem_orchestrator.observe import Costs
from tandem_orchestrator.observe.costs import Kept
from tandem_orchestrator.orchestrator.promotion import Promotion
from tandem_orchestrator.orchestrator.shadows import Shadows
from tandem_orchestrator.plan.sizing import size_of
from tandem_orchestrator.settings import Router
from tandem_orchestrator.side_file import SideFile


class Watch:
    """Says whether a plan that is kept would be made otherwise by now.

    Args:
        standings: What its steps were chosen by.
        share: Share of the runs in which a twin on trial takes part.
        always: It was made for one run alone.
    """

    __slots__ = ("_always", "_rng", "_share", "_standings", "_version", "roll")

    def __init__(
        self, standings: tuple[Standing, ...], share: float, rng: random.Random, *, always: bool
    ) -> None:
        self._standings, self._share, self._rng, self._always = standings, share, rng, always
        self._version = self._version_now()
        self.roll: float | None = None
        """What was drawn at the last look, from 0.0 up to 1.0, for the plan that is made then."""

    @property
    def is_for_one_run(self) -> bool:
        """Whether the plan was made to try something, or by a route that is asked each time."""
        return self._always

    @property
    def is_stale(self) -> bool:
        """Whether what it was chosen by has changed."""
        return self._always or self._version != self._version_now()

    def draws_trial(self) -> bool:
        """Draw, once for a run, whether a twin on trial takes part in it; see ``roll``."""
        if not self._share:
            return False
        self.roll = self._rng.random()
        return self.roll < self._share

    def _version_now(self) -> int:
        if len(self._standings) == 1:
            return self._standings[0].version
        return sum(standing.version for standing in self._standings)


class Routing:
    """What one session knows for routing. Belongs to the orchestrator's loop.

    Args:
        path: The file in which costs outlast the session, or None.
        policies: Gives the policy of each mode.
        load: Gives each layer's share of workers in use.
        promotion: Counts what comparing gives.
    """

    def __init__(
        self,
        settings: Router,
        clock: Clock,
        rng: random.Random,
        path: Path | None,
        policies: Callable[[], Mapping[str, Policy]],
        load: Callable[[], dict[str, float]],
        promotion: Promotion,
    ) -> None:
        self._promotion = promotion
        self._shadows: Shadows | None = None
        self._clock, self._rng = clock, rng
        self._frozen, self._entries_max = settings.frozen, settings.entries_max
        self._save_interval_s = settings.save_interval_s
        self._policies, self._load = policies, load
        self._file: SideFile[list[Kept]] = SideFile(path, "tandem costs", list[Kept])
        self.costs = Costs(
            explore_share=0.0 if settings.frozen else settings.explore_share,
            entries_max=settings.entries_max,
            lost_max=settings.lost_max,
            rest_s=settings.rest_s,
            now_ns=clock.monotonic_ns,
        )
        self._saved = 0
        self._saving: asyncio.Task[None] | None = None

    def use_shadows(self, shadows: Shadows) -> None:
        """Hand runs that were drawn for it to those who run twins beside them."""
        self._shadows = shadows

    def start(self) -> None:
        """Read what earlier sessions learned, and write what this one does from time to time."""
        self.costs.restore(self._file.read() or [])
        if self._file.path is not None and not self._frozen:
            self._saving = asyncio.create_task(self._save_often(), name="tandem-costs")

    async def close(self) -> None:
        """Write what was learned."""
        task, self._saving = self._saving, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
            self._save(list(self.costs.kept()))

    # Any: keyword arguments of PlanOptions.
    def readings(self, *, explore: bool, roll: float | None = None) -> dict[str, Any]:
        """Give the planner what it chooses by.

        Args:
            explore: Whether the plan will run at once; else it must not count as a try.
            roll: Where among all runs this one falls, from 0.0 up to 1.0; None: drawn here.
        """
        return {
            "costs": self.costs.standings,
            "resting": self.costs.resting(),
            "explore_share": self.costs.explore_share if explore else 0.0,
            "load": self._load(),
            "trial_shares": {} if self._frozen else self._promotion.shares,
            "roll": self._rng.random()
            if roll is None and explore
            else (1.0 if roll is None else roll),
        }

    def claim(self, plan: Plan) -> None:
        """Take note that a plan is about to run."""
        self.costs.claim(plan)

    def watch(self, plan: Plan) -> Watch | None:
        """Give what says when a kept plan is stale; None where there was nothing to choose."""
        standings: dict[tuple[str, str, int], Standing] = {}
        share, once = 0.0, False
        for step in plan.steps:
            assignment = step.assignment
            if assignment is None:
                continue
            share = max(share, assignment.trial_share)
            route = assignment.route
            if route is not None:
                key = (step.agent, step.action, route.bucket)
                standings[key] = self.costs.standing(*key)
                once = once or route.explored or bool(route.asked)
            once = once or bool(assignment.trial)
        if not standings and not share:
            return None
        return Watch(tuple(standings.values()), share, self._rng, always=once)

    # --- learning --------------------------------------------------------------------------------

    def attempted(
        self,
        step: PlannedStep,
        work: Work,
        report: Report,
        waited_s: float,
        callables: Mapping[str, Callable[..., Any]],
    ) -> None:
        """Learn from an attempt, and let twins that are drawn for it run beside it."""
        assignment = step.assignment
        if assignment is None:
            return
        if assignment.shadow and self._shadows is not None:
            self._shadows.offer(step, work, report, waited_s, callables)
        if len(assignment.implementations) > 1:
            self._promotion.attempted(step, work, report, waited_s)
        if report.cached:
            return
        route = assignment.route
        if route is None and len(assignment.implementations) < 2:
            return
        bucket = UNSIZED if route is None else route.bucket
        failure = None if report.failure is None else report.failure.type
        self._note(step, bucket, work.implementation, waited_s, report.outcome, failure)
        if bucket == UNSIZED and not self._frozen:
            size, known = size_of(work.payload)
            self.costs.note_size(step.agent, step.action, size)
            if known != UNSIZED:
                self._note(step, known, work.implementation, waited_s, report.outcome, failure)
        if route is not None and route.asked:
            self._tell(step, route, work.implementation, report.outcome, waited_s)

    def segment_returned(self, work: SegmentWork, report: SegmentReport, waited_s: float) -> None:
        """Learn from a segment, what its crossing cost shared among its steps."""
        if report.refused:
            return
        rows = [
            (
                row.seconds,
                Outcome(row.outcome),
                None if row.failure is None else str(row.failure.get("type")),
            )
            for row in report.rows
        ]
        self._note_together(work.steps, rows, waited_s)

    def express_returned(
        self, steps: tuple[PlannedStep, ...], seconds: Sequence[float], waited_s: float, times: int
    ) -> None:
        """Learn from a plan that went the express way and succeeded, ``times`` times like this."""
        crossing_s = max(0.0, waited_s - sum(seconds)) / len(seconds)
        together: dict[tuple[str, str, int, str], list[float]] = {}
        for step, one_s in zip(steps, seconds, strict=True):
            route = None if step.assignment is None else step.assignment.route
            if route is None:
                continue
            assert step.assignment is not None
            name = step.assignment.implementations[0]
            together.setdefault((step.agent, step.action, route.bucket, name), []).append(one_s)
            if route.asked:
                self._tell(step, route, name, Outcome.SUCCEEDED, one_s + crossing_s)
        if self._frozen:
            return
        for (agent, action, bucket, name), took in together.items():
            mean_s = sum(took) / len(took) + crossing_s
            self.costs.note(
                agent, action, bucket, name, mean_s, Outcome.SUCCEEDED, times=times * len(took)
            )

    def _note_together(
        self,
        steps: tuple[PlannedStep, ...],
        rows: Sequence[tuple[float, Outcome, str | None]],
        waited_s: float,
    ) -> None:
        crossing_s = max(0.0, waited_s - sum(seconds for seconds, _, _ in rows)) / len(rows)
        for step, (seconds, outcome, failure) in zip(steps, rows, strict=True):
            route = None if step.assignment is None else step.assignment.route
            if route is None or outcome is Outcome.SKIPPED:
                continue
            if outcome is Outcome.NOT_STARTED and failure is None:
                continue  # An earlier step of the segment failed: nothing of this one was tried.
            assert step.assignment is not None
            name = step.assignment.implementations[0]
            self._note(step, route.bucket, name, seconds + crossing_s, outcome, failure)
            if route.asked:
                self._tell(step, route, name, outcome, seconds + crossing_s)

    def _note(
        self,
        step: PlannedStep,
        bucket: int,
        implementation: str,
        waited_s: float,
        outcome: Outcome,
        failure: str | None,
    ) -> None:
        if not self._frozen:
            self.costs.note(
                step.agent, step.action, bucket, implementation, waited_s, outcome, failure
            )

    def _tell(
        self, step: PlannedStep, route: RouteRecord, name: str, outcome: Outcome, waited_s: float
    ) -> None:
        """Let a mode's own route learn from what it chose."""
        policy = self._policies().get(route.asked)
        if policy is None or policy.learn is None or self._frozen:
            return
        free = [option for option in route.options if not option.excluded]
        if all(option.implementation != name for option in free):
            return  # It fell back to one that the route could not have chosen.
        question = RouteQuestion(
            agent=step.agent,
            action=step.action,
            bytes=route.bytes,
            load=route.load,
            costs={o.implementation: o.seconds for o in free if o.seconds is not None},
            allowed=tuple(option.implementation for option in free),
            layers={option.implementation: option.layer for option in free},
        )
        policy.learn(question, name, waited_s if outcome is Outcome.SUCCEEDED else None)

    # --- outlasting the session ------------------------------------------------------------------

    async def _save_often(self) -> None:
        while True:
            woken = asyncio.Event()
            timer = self._clock.call_later(self._save_interval_s, woken.set)
            try:
                await woken.wait()
            finally:
                timer.cancel()
            if self.costs.changes != self._saved:
                self._saved = self.costs.changes
                kept = list(self.costs.kept())
                await asyncio.get_running_loop().run_in_executor(None, self._save, kept)

    def _save(self, kept: list[Kept]) -> None:
        """Write what is known here, and keep of the others what is not."""
        if self._file.path is None or not kept:
            return
        with self._file.locked() as is_held:
            if is_held:
                mine = {(one.agent, one.action, one.bucket) for one in kept}
                theirs = self._file.read() or []
                others = [one for one in theirs if (one.agent, one.action, one.bucket) not in mine]
                room = max(0, self._entries_max - len(kept))
                self._file.write([*others[len(others) - room :], *kept] if room else kept)
