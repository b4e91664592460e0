"""Random plans, and random worlds in which they run: for laws of ``advance``; needs hypothesis."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from tandem_orchestrator.model.events import CancelRequested, SegmentRow
from tandem_orchestrator.model.plans import Plan, PlannedStep
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.plan.segment import Cell, cut_segments
from tandem_orchestrator.testing.driver import NATIVE, PYTHON, Driver, plan, step

ENDS = ["succeeded"] * 6 + ["failed", "failed", "unknown", "not_started", "timed_out", "abandoned"]
"""What a random attempt ends with, as often as it stands here."""


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Plan, int]:
    """A random plan, a seed for what happens, and how chaotic that is."""
    count = draw(st.integers(1, 12))
    steps = []
    for i in range(count):
        needs = draw(st.lists(st.sampled_from(range(i)), unique=True, max_size=3)) if i else []
        steps.append(
            step(
                f"s{i}",
                *[f"s{n}" for n in needs],
                can_fail=draw(st.booleans()),
                effects=draw(st.sampled_from(["none", "external"])),
                for_each=draw(st.sampled_from([None, None, [1, 2, 3]])),
                on_item_failure=draw(st.sampled_from(["fail", "collect"])),
                timeout_s=draw(st.sampled_from([None, 5.0])),
                retry=RetryPolicy(max_retries=draw(st.integers(0, 2))),
                assignment=draw(st.sampled_from([PYTHON, NATIVE, NATIVE])),
            )
        )
    on_failure = draw(st.sampled_from(["stop", "drain"]))
    limit = draw(st.sampled_from([None, 60.0]))
    segments = () if on_failure == "drain" else cut_segments([cell_of(step) for step in steps])
    made = plan(*steps, on_failure=on_failure, timeout_s=limit, segments=segments)
    return made, draw(st.integers(0, 2**32))


def cell_of(planned: PlannedStep) -> Cell:
    """Say what the planner would of a step."""
    again = planned.for_each is not None and planned.retry.max_retries > 0
    native = planned.assignment is NATIVE and not again
    return Cell(planned.id, planned.parent, planned.depends_on, native, False)


def end_segment(driver: Driver, rng: random.Random) -> None:
    """Let one running segment come back, in a way in which one can."""
    segment = rng.choice(list(driver.segments))
    dispatch = driver.segments[segment]
    plans = {planned.id: planned for planned in driver.state.plan.steps}
    stopped = any(stop.segment == segment for stop in driver.stopped_segments)
    kind, count = rng.random(), len(dispatch.steps)
    if kind < 0.1:
        driver.end_segment(segment, *["not_started"] * count, refused=rng.choice(["", "no", "no"]))
        return
    if kind < 0.25:
        mark = rng.randint(0, count)
        driver.end_segment(
            segment, *["unknown"] * mark, *["not_started"] * (count - mark), roll=rng.random()
        )
        return
    rows: list[str | SegmentRow] = []
    over = False
    for step_id in dispatch.steps:
        planned = plans[step_id]
        if over or (stopped and rng.random() < 0.3):
            rows.append("not_started")
            over = True
        elif stopped and rng.random() < 0.5:
            rows.append("cancelled")
            over = True
        else:
            rows.append(rng.choice(["succeeded"] * 5 + ["skipped", "failed", "timed_out"]))
            again = planned.retry.max_retries > 0
            over = rows[-1] in ("failed", "timed_out") and (again or not planned.can_fail)
    driver.end_segment(segment, *rows, roll=rng.random())


def play(the_plan: Plan, seed: int) -> Driver:
    """Let a random world happen until nothing is left to happen."""
    rng, driver = random.Random(seed), Driver(the_plan)  # noqa: S311 - a world, no secret
    driver.start()
    for _ in range(10_000):
        due = sorted(driver.waits)
        if not driver.running and not driver.segments and not due:
            return driver
        chance = rng.random()
        if chance < 0.01:
            driver.post(CancelRequested(step=rng.choice([None, the_plan.steps[0].id])))
        elif chance < 0.02 and "group:" in driver.waits:
            driver.due("group:")
        elif driver.segments and (chance < 0.3 or (not driver.running and not due)):
            end_segment(driver, rng)
        elif driver.running and (chance < 0.9 or not due):
            key = rng.choice(list(driver.running))
            outcome = rng.choice(ENDS)
            driver.end(
                key[0],
                outcome,
                output=chance,
                item=key[1],
                implementation=key[2],
                roll=rng.random(),
            )
        elif due:
            driver.due(rng.choice(due))
    raise AssertionError("the run does not end")
