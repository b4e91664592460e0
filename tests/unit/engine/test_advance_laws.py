"""Laws of ``advance`` over random plans and histories, and the same state in every process."""

import os
import subprocess
import sys

from hypothesis import given, settings

from tandem_orchestrator.engine import RunState, replay
from tandem_orchestrator.testing.worlds import play, worlds


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
