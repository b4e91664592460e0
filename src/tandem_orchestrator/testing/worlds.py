"""Random plans, and random worlds in which they run: for laws of ``advance``; needs hypothesis."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from tandem_orchestrator.engine.instructions import UnitKey
from tandem_orchestrator.model.events import (
    CancelRequested,
    ConflictSettled,
    RunContinued,
    RunPaused,
    SegmentRow,
    SignalReceived,
    StepApproved,
)
from tandem_orchestrator.model.plans import Assignment, Plan, PlannedStep
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.plan.segment import Cell, cut_segments
from tandem_orchestrator.testing.driver import NATIVE, PYTHON, Driver, plan, step

ENDS = ["succeeded"] * 6 + ["failed", "failed", "unknown", "not_started", "timed_out", "abandoned"]
"""What a random attempt ends with, as often as it stands here."""


RESOLUTIONS = ("python_preferred", "c_preferred", "retry_both", "vote", "hold", "hold", "fail")
"""What a random plan does about conflicts."""
BATCH = [5, 6, 7, 8, 9]
"""What a random batch is given."""


def twins(verdict: str, *names: str) -> Assignment:
    """Make the assignment of a step that is compared."""
    layers = tuple("c" if name == "c" else "python" for name in names)
    return Assignment(implementations=names, layers=layers, reason="twins", verdict=verdict)  # type: ignore[arg-type]


PAIR, VOTERS = twins("compare", "python", "c"), twins("compare", "python", "c", "third")
"""Steps whose conflicts are resolved."""
CONSENSUS = twins("must_agree", "python", "c")
"""A step whose twins must agree."""


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Plan, int]:
    """A random plan, a seed for what happens, and how chaotic that is."""
    count = draw(st.integers(1, 12))
    steps = []
    for i in range(count):
        assignment = draw(
            st.sampled_from([PYTHON, PYTHON, NATIVE, NATIVE, NATIVE, PAIR, VOTERS, CONSENSUS])
        )
        waits = draw(st.sampled_from(["", "", "", "", "approval", "signal"]))
        assignment = PYTHON if waits else assignment
        compared = assignment.verdict != "none"
        needs = draw(st.lists(st.sampled_from(range(i)), unique=True, max_size=3)) if i else []
        steps.append(
            step(
                f"s{i}",
                *[f"s{n}" for n in needs],
                can_fail=draw(st.booleans()),
                waits=waits,
                effects="none"
                if compared or waits
                else draw(st.sampled_from(["none", "external"])),
                batch="items" if compared and draw(st.booleans()) else None,
                payload={"items": BATCH, "name": f"n{i % 2}"},
                for_each=None if waits else draw(st.sampled_from([None, None, [1, 2, 3]])),
                on_item_failure=draw(st.sampled_from(["fail", "collect"])),
                timeout_s=draw(st.sampled_from([None, 5.0])),
                retry=RetryPolicy(max_retries=draw(st.integers(0, 2))),
                assignment=assignment,
            )
        )
    on_failure = draw(st.sampled_from(["stop", "drain"]))
    limit = draw(st.sampled_from([None, 60.0]))
    segments = () if on_failure == "drain" else cut_segments([cell_of(step) for step in steps])
    made = plan(
        *steps,
        on_failure=on_failure,
        timeout_s=limit,
        segments=segments,
        consensus_retries=draw(st.integers(0, 1)),
        conflict_resolution=draw(st.sampled_from(RESOLUTIONS)),
        vote=draw(st.sampled_from(["majority", "median", "weighted"])),
        vote_weights={"c": 3.0},
        priority=draw(st.sampled_from(["medium", "medium", "critical"])),
    )
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


def settle_one(driver: Driver, rng: random.Random) -> None:
    """Let a person decide about one conflict, or about what may have run."""
    conflict, step_id = rng.choice(list(driver.state.held.items()))
    sides = [u.implementation for u in driver.state.steps[step_id].held[conflict].units]
    pick = rng.choice([None, *sides])
    driver.post(ConflictSettled(conflict=conflict, pick=pick, output=rng.choice([1, 2])))


def answer_one(driver: Driver, rng: random.Random) -> None:
    """Let somebody answer a step that waits, or give a signal that nobody waits for."""
    waiting = driver.state.waiting
    step_id = rng.choice(list(waiting)) if waiting else ""
    if waiting.get(step_id) == "":
        driver.post(StepApproved(step=step_id, approved=rng.random() < 0.8))
    else:
        name = waiting.get(step_id) or rng.choice(["n0", "n1"])
        first = next((step for step, signal in waiting.items() if signal == name), None)
        driver.post(SignalReceived(name=name, payload=rng.choice([1, 2]), step=first))


def end_one(driver: Driver, rng: random.Random) -> None:
    """Let one attempt end, in whatever way; twins often agree."""
    keys = [UnitKey(*key) for key in driver.running] + list(driver.parts)
    key = rng.choice(keys)
    planned = driver.state.steps[key.step].plan
    output = rng.choice([1, 1, 1, 2])
    size = len(BATCH) if key.part is None else key.part[1] - key.part[0]
    driver.end(
        key.step,
        rng.choice(ENDS),
        output=[rng.choice([1, 1, 1, 1, 2]) for _ in range(size)] if planned.batch else output,
        item=key.item,
        implementation=key.implementation,
        roll=rng.random(),
        part=key.part,
    )


def play(the_plan: Plan, seed: int) -> Driver:
    """Let a random world happen until nothing is left to happen."""
    rng, driver = random.Random(seed), Driver(the_plan)  # noqa: S311 - a world, no secret
    driver.start()
    return play_on(driver, rng)


def play_on(driver: Driver, rng: random.Random) -> Driver:
    """Let a run that has started happen until nothing is left to happen."""
    the_plan = driver.state.plan
    for _ in range(10_000):
        due = sorted(driver.waits)
        works, state = bool(driver.running or driver.parts), driver.state
        waits = state.waiting and not state.status.is_final
        if not (works or driver.segments or due or state.held or waits or state.parked):
            return driver
        chance = rng.random()
        if driver.state.held and chance < 0.03:
            step = rng.choice(list(driver.state.held.values()))
            driver.post(CancelRequested(step=step))
        elif chance < 0.01:
            driver.post(CancelRequested(step=rng.choice([None, the_plan.steps[0].id])))
        elif chance > 0.97 and not state.paused:
            driver.post(RunPaused())
        elif state.paused and (chance > 0.8 or not (works or driver.segments)):
            driver.post(RunContinued())
        elif (waits and not (works or driver.segments)) or chance > 0.95:
            answer_one(driver, rng)
        elif chance < 0.02 and "group:" in driver.waits:
            driver.due("group:")
        elif driver.state.held and (chance < 0.1 or not (works or driver.segments)):
            settle_one(driver, rng)
        elif driver.segments and (chance < 0.3 or (not works and not due)):
            end_segment(driver, rng)
        elif works and (chance < 0.9 or not due):
            end_one(driver, rng)
        elif due:
            driver.due(rng.choice(due))
    raise AssertionError("the run does not end")
