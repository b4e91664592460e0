"""Laws of ``advance`` over random plans and histories, and the same state in every process."""

import os
import random
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.engine import RunState, replay
from tandem_orchestrator.model.events import CancelRequested
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.plan.segment import Cell, cut_segments
from tandem_orchestrator.testing.driver import NATIVE, PYTHON, Driver, plan, step

ENDS = ["succeeded"] * 6 + ["failed", "failed", "unknown", "not_started", "timed_out", "abandoned"]


@st.composite
def worlds(draw):
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


def cell_of(planned):
    """Say what the planner would of a step."""
    again = planned.for_each is not None and planned.retry.max_retries > 0
    native = planned.assignment is NATIVE and not again
    return Cell(planned.id, planned.parent, planned.depends_on, native, False)


def end_segment(driver, rng):
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
    rows, over = [], False
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


def play(the_plan, seed):
    """Let a random world happen until nothing is left to happen."""
    rng, driver = random.Random(seed), Driver(the_plan)
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


@settings(max_examples=100)
@given(worlds())
def test_every_run_ends_with_every_step_ended_and_nothing_left_running(world):
    driver = play(*world)
    assert driver.run_ended is not None
    assert set(driver.ended) == {s.id for s in driver.state.plan.steps}
    assert not driver.running and not driver.segments and not driver.waits
    assert not driver.state.segments


@settings(max_examples=100)
@given(worlds())
def test_no_step_starts_before_what_it_depends_on_has_ended(world):
    driver = play(*world)
    for planned in driver.state.plan.steps:
        before = driver.ended_before.get(planned.id)
        assert before is None or before >= set(planned.depends_on)


@settings(max_examples=100)
@given(worlds())
def test_attempts_stay_within_what_retries_and_losses_allow(world):
    driver = play(*world)
    for planned in driver.state.plan.steps:
        given_out = driver.history.count((planned.id, "out"))
        units = len(planned.for_each or [None])
        segment_losses = 1 + 3 + 12  # its own, those of its segment, stops for another's sake
        assert given_out <= units * (1 + planned.retry.max_retries + 6) + segment_losses


@settings(max_examples=100)
@given(worlds())
def test_external_work_that_may_have_run_is_never_given_out_again(world):
    driver = play(*world)
    for planned in driver.state.plan.steps:
        if planned.effects != "external" or planned.for_each is not None:
            continue
        mine = [what for step_id, what in driver.history if step_id == planned.id]
        ran = [i for i, what in enumerate(mine) if what in ("unknown", "succeeded")]
        assert "out" not in mine[ran[0] :] if ran else True, mine


@settings(max_examples=100)
@given(worlds())
def test_the_same_events_give_the_same_state(world):
    driver = play(*world)
    again = replay(RunState.of(driver.state.plan), driver.events)
    assert again.digest() == driver.state.digest()


PROGRAM = """
import random, sys
sys.path.insert(0, {folder!r})
from tandem_orchestrator.testing.driver import Driver, plan, step
steps = [step(f"s{{i}}", *[f"s{{j}}" for j in range(i) if (i * j) % 3 == 1]) for i in range(40)]
driver = Driver(plan(*steps))
driver.start()
rng = random.Random(7)
while driver.running:
    key = rng.choice(list(driver.running))
    driver.end(key[0], rng.choice(["succeeded", "succeeded", "unknown"]), output={{"k": key[0]}})
print(driver.state.digest(), "|".join(driver.log))
"""


def test_state_and_instructions_are_the_same_whatever_the_hash_seed(tmp_path):
    program = PROGRAM.format(folder=str(tmp_path))
    seen = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        seen.add(done.stdout)
    assert len(seen) == 1 and len(seen.pop()) > 100
