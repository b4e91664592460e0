"""A run that has ended goes on from a step: what stands stands, and no attempt has a number twice."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.engine import RunState, advance, fork_reach, retried
from tandem_orchestrator.engine.instructions import (
    Dispatch,
    DispatchSegment,
    Record,
    RecordConflict,
)
from tandem_orchestrator.engine.recover import recover
from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.model.events import (
    AttemptStarted,
    CancelRequested,
    RunAccepted,
    RunForked,
    RunStarted,
    SegmentStarted,
    decode_event,
    encode_event,
)
from tandem_orchestrator.model.plans import plan_to_value
from tandem_orchestrator.testing.driver import Driver, plan, step
from tandem_orchestrator.testing.worlds import play, play_on, worlds


def again(driver, step_id=None):
    event = retried(driver.state, step_id, "ann")
    driver.post(event)
    driver.start()
    return event


def recorded(the_plan, events):
    """Give what a journal holds of these events, read back."""
    state = RunState.of(the_plan)
    found = [RunAccepted(
        run_id="r", command_set_id="c", name="n", type="workflow", mode="intelligent",
        priority="medium", durability="group", document={}, plan=plan_to_value(the_plan),
    )]  # fmt: skip
    for event in events:
        found.append(event)
        for said in advance(state, event):
            match said:
                case Record(event=concluded) | RecordConflict(event=concluded):
                    found.append(concluded)
                case Dispatch(unit=unit):
                    found.append(AttemptStarted(
                        step=unit.step, item=unit.item, part=unit.part,
                        implementation=unit.implementation, layer=said.layer,
                        attempt=said.attempt,
                    ))  # fmt: skip
                case DispatchSegment():
                    found.append(SegmentStarted(
                        segment=said.segment, attempt=said.attempt, steps=said.steps,
                    ))  # fmt: skip
    return [decode_event(encode_event(event)) for event in found]


@settings(max_examples=150, deadline=None)
@given(worlds(), st.floats(0, 1), st.integers(0, 2**32), st.integers(1, 3))
def test_a_retried_run_ends_again_and_what_stands_is_as_it_was(world, where, seed, times):
    the_plan, chaos = world
    driver, rng = play(the_plan, chaos), random.Random(seed)
    for _ in range(times):
        assert driver.run_ended is not None
        before = dict(driver.ended)
        event = again(driver, rng.choice([s.id for s in the_plan.steps]))
        play_on(driver, rng)
        assert set(driver.ended) == {s.id for s in the_plan.steps}
        for step_id, ended in before.items():
            if step_id not in event.steps:
                assert driver.ended[step_id] is ended
        ids = set(event.steps)
        for planned in the_plan.steps:
            assert planned.id in ids or not ids & set(planned.depends_on), "what follows, too"
    numbers = [entry for entry in driver.log if not entry.startswith("segment")]
    assert len(numbers) == len(set(numbers)), "no attempt has a number twice"
    found = recover(recorded(the_plan, driver.events))
    assert found.state.digest() == driver.state.digest()


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_fork_goes_on_from_what_was_recorded_and_ends(world, pick, seed):
    the_plan, chaos = world
    first = play(the_plan, chaos)
    step_id = the_plan.steps[pick % len(the_plan.steps)].id
    own = fork_reach(first.state, step_id)
    taken = tuple(ended for one, ended in first.ended.items() if one not in own)
    second = Driver(the_plan)
    second.ended.update({ended.step: ended for ended in taken})
    second.post(RunForked(source="r", step=step_id, taken=taken))
    second.start()
    play_on(second, random.Random(seed))
    assert second.run_ended is not None
    assert set(second.ended) == {s.id for s in the_plan.steps}
    out = {one for one, what in second.history if what == "out"}
    assert not out & {ended.step for ended in taken}
    found = recover(recorded(the_plan, second.events))
    assert found.state.digest() == second.state.digest()


def test_what_failed_and_what_it_held_up_run_again_and_the_rest_stands():
    driver = Driver(plan(step("a"), step("b", "a"), step("c", "b"), step("d", "a")))
    driver.start()
    driver.end("a", output=1)
    driver.end("d", output=2)
    driver.end("b", "failed")
    assert driver.run_ended.status == "failed"
    event = again(driver)
    assert event.steps == ("b", "c") and list(driver.running) == [("b", None, "python")]
    assert driver.running["b", None, "python"].attempt == 2
    driver.end("b", output=3)
    driver.end("c", output=4)
    assert driver.run_ended.status == "completed"
    assert [driver.ended[name].output for name in "abcd"] == [1, 3, 4, 2]
    assert driver.ended["b"].attempts == 2


def test_of_collected_items_only_those_that_failed_run_again():
    each = step("e", for_each=["x", "y", "z"], on_item_failure="collect")
    driver = Driver(plan(each, step("f", "e")))
    driver.start()
    driver.end("e", output=0, item=0)
    driver.end("e", "failed", item=1)
    driver.end("e", output=2, item=2)
    driver.end("f")
    assert driver.ended["e"].output == [0, None, 2] and driver.run_ended.status == "completed"
    event = again(driver, "e")
    assert event.items_of == ("e",) and event.steps == ("e", "f")
    assert list(driver.running) == [("e", 1, "python")]
    driver.end("e", output=1, item=1)
    assert driver.ended["e"].output == [0, 1, 2] and driver.ended["e"].failed_items is None
    driver.end("f")
    assert driver.run_ended.status == "completed"


def test_items_whose_list_is_made_anew_all_run_again():
    driver = Driver(plan(step("a"), step("e", "a", for_each=[1, 2], on_item_failure="collect")))
    driver.start()
    driver.end("a")
    driver.end("e", "failed", item=0)
    driver.end("e", item=1)
    assert again(driver, "a").items_of == ()
    driver.end("a")
    assert {key[1] for key in driver.running} == {0, 1}


def test_inside_of_a_group_what_succeeded_stands():
    group = step("g", kind="group")
    inner = [step("g/a", parent="g"), step("g/b", "g/a", parent="g")]
    driver = Driver(plan(group, *inner, step("z", "g")))
    driver.start()
    driver.end("g/a", output=1)
    driver.end("g/b", "failed")
    assert driver.run_ended.status == "failed"
    assert set(again(driver).steps) == {"g", "g/b", "z"}
    driver.end("g/b", output=2)
    assert driver.ended["g"].output == {"a": 1, "b": 2}
    driver.end("z")
    assert driver.run_ended.status == "completed"


def test_a_cancelled_run_goes_on_and_a_timed_out_one_has_its_limit_anew():
    driver = Driver(plan(step("a"), step("b", "a"), timeout_s=9.0))
    driver.start()
    driver.post(CancelRequested())
    driver.end("a", "cancelled")
    assert driver.run_ended.status == "cancelled"
    again(driver)
    driver.due("group:")
    driver.end("a", "timed_out")
    assert driver.run_ended.status == "timed_out"
    again(driver)
    assert "group:" in driver.waits
    driver.end("a")
    driver.end("b")
    assert driver.run_ended.status == "completed" and driver.waits == {}


def test_there_must_be_something_to_retry():
    driver = Driver(plan(step("a"), step("b", can_fail=True)))
    driver.start()
    driver.end("a")
    driver.end("b")
    with pytest.raises(CommandError, match="name the one"):
        retried(driver.state, None, "")
    with pytest.raises(CommandError, match="'x'"):
        retried(driver.state, "x", "")
    assert retried(driver.state, "a", "").steps == ("a",)


def test_a_run_that_goes_on_is_not_retried():
    driver = Driver(plan(step("a"), step("b", "a")))
    driver.start()
    digest = driver.state.digest()
    driver.post(RunForked(source="r", step="a"))
    driver.post(RunStarted())
    assert driver.state.digest() == digest
