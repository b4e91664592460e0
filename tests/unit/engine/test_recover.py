"""A run whose owner died at any instant goes on from its records, and does nothing twice."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.engine import advance
from tandem_orchestrator.engine.instructions import (
    Dispatch,
    DispatchSegment,
    Record,
    RecordConflict,
    Wait,
)
from tandem_orchestrator.engine.recover import Diverged, recover, remaining_s
from tandem_orchestrator.engine.state import RunState
from tandem_orchestrator.model.events import (
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    ConflictSettled,
    RunAccepted,
    RunContinued,
    RunPaused,
    RunStarted,
    SegmentStarted,
    StepEnded,
    decode_event,
    encode_event,
    steps_ended,
)
from tandem_orchestrator.model.outcomes import RunStatus
from tandem_orchestrator.model.plans import plan_to_value
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.testing.driver import Driver, plan, step
from tandem_orchestrator.testing.worlds import (
    answer_one,
    end_one,
    end_segment,
    play,
    settle_one,
    worlds,
)


def accepted(the_plan):
    return RunAccepted(
        run_id="r", command_set_id="c", name="n", type="workflow", mode="intelligent",
        priority="medium", durability="group", document={}, plan=plan_to_value(the_plan),
    )  # fmt: skip


def appends(the_plan, events):
    """Give what a journal holds: for each event, it and what it led to, as one append."""
    state = RunState.of(the_plan)
    yield [accepted(the_plan)]
    for event in events:
        group = [event]
        for instruction in advance(state, event):
            if isinstance(instruction, Record | RecordConflict):
                group.append(instruction.event)
            elif isinstance(instruction, Dispatch):
                unit = instruction.unit
                group.append(
                    AttemptStarted(
                        step=unit.step, item=unit.item, part=unit.part, implementation=unit.implementation,
                        layer=instruction.layer, attempt=instruction.attempt, reason="any",
                    )
                )  # fmt: skip
            elif isinstance(instruction, DispatchSegment):
                group.append(
                    SegmentStarted(
                        segment=instruction.segment, attempt=instruction.attempt,
                        steps=instruction.steps,
                    )
                )  # fmt: skip
        yield group


def read_back(groups):
    return [decode_event(encode_event(event)) for group in groups for event in group]


class Second(Driver):
    """Whoever took the run over."""

    def __init__(self, found, before):
        super().__init__(found.state.plan)
        self.state = found.state
        for event in before:
            if isinstance(event, StepEnded):
                self.ended[event.step] = event
        for key, (*_, due) in found.waits.items():
            self.waits[key] = Wait(key, 0.0, due)


def step_ends(groups):
    """Give the ends that the records tell, those that a segment's end stands for among them."""
    return [ended for group in groups for event in group for ended in steps_ended(event)]


def finish(driver, rng):
    for _ in range(10_000):
        due = sorted(driver.waits)
        if driver.segments and rng.random() < 0.5:
            end_segment(driver, rng)
        elif driver.running or driver.parts:
            end_one(driver, rng)
        elif driver.state.held:
            settle_one(driver, rng)
        elif driver.state.paused and driver.run_ended is None:
            driver.post(RunContinued())
        elif driver.state.waiting:
            answer_one(driver, rng)
        elif driver.segments:
            end_segment(driver, rng)
        elif due and driver.run_ended is None:
            driver.due(rng.choice(due))
        else:
            return
    raise AssertionError("the run does not end")


@settings(max_examples=200, deadline=None)
@given(worlds(), st.floats(0, 1), st.integers(0, 2**32))
def test_a_run_cut_off_anywhere_goes_on_and_ends_with_every_step_ended_once(world, where, seed):
    the_plan, chaos = world
    first = play(the_plan, chaos)
    groups = list(appends(the_plan, first.events))
    kept = groups[: 1 + int(where * (len(groups) - 1))]
    found = recover(read_back(kept))
    assert found.started == (len(kept) > 1)
    second = Second(found, step_ends(kept))
    if found.state.status.is_final:
        assert not list(found.lost())
        return
    before = {ended.step for ended in step_ends(kept)}
    external = {s.id for s in the_plan.steps if s.effects == "external" and s.for_each is None}
    open_attempts = {unit.step for unit in _open(kept) if unit.step in external}
    if not found.started:
        second.start()
    for event in list(found.lost()):
        second.post(event)
    finish(second, random.Random(seed))
    assert second.run_ended is not None
    assert set(second.ended) == {s.id for s in the_plan.steps}
    again = {step_id for step_id, what in second.history if what == "out"}
    assert not again & before, "what had ended never runs again"
    assert not again & open_attempts, "external work that may have run is not given out silently"


def _open(groups):
    """Give the attempts that the records start and do not end."""
    found = {}
    for group in groups:
        for event in group:
            names = ("step", "item", "part", "implementation")
            key = tuple(getattr(event, name, None) for name in names)
            if isinstance(event, AttemptStarted):
                found[key] = event
            elif isinstance(event, AttemptEnded):
                found.pop(key, None)
    return list(found.values())


@settings(max_examples=100, deadline=None)
@given(worlds(), st.floats(0, 1))
def test_the_folded_state_is_the_state_that_was(world, where):
    the_plan, chaos = world
    events = play(the_plan, chaos).events
    cut = int(where * len(events))
    state = RunState.of(the_plan)
    for event in events[:cut]:
        advance(state, event)
    groups = list(appends(the_plan, events))[: cut + 1]
    assert recover(read_back(groups)).state.digest() == state.digest()


def test_pure_work_in_flight_is_given_out_again_with_the_next_attempt():
    the_plan = plan(step("a"), step("b", "a"))
    found = recover(read_back(list(appends(the_plan, [RunStarted()]))))
    (lost,) = found.lost()
    second = Second(found, ())
    second.post(lost)
    assert second.log == ["a/python#2"]
    second.end("a", output=1)
    second.end("b", output=2)
    assert second.outcomes() == {"a": "succeeded", "b": "succeeded"}


def recovered_with_one_in_flight(**fields):
    """Give whoever took over a run of one external step that was in flight."""
    the_plan = plan(step("a", effects="external", **fields), step("b", "a"))
    found = recover(read_back(list(appends(the_plan, [RunStarted()]))))
    second = Second(found, ())
    for lost in list(found.lost()):
        second.post(lost)
    return second


def test_external_work_in_flight_waits_for_a_person_who_says_what_it_gave():
    second = recovered_with_one_in_flight()
    assert second.state.status is RunStatus.HELD
    assert second.state.held == {"unknown:a/python": "a"}
    assert not second.running
    second.post(ConflictSettled(conflict="unknown:a/python", output=7, by="ann"))
    assert second.ended["a"].outcome == "succeeded"
    assert (second.ended["a"].output, second.ended["a"].reason) == (7, "decided by ann")
    assert second.log == ["b/python#1"]


def test_external_work_in_flight_is_done_again_when_a_person_says_so():
    second = recovered_with_one_in_flight()
    second.post(ConflictSettled(conflict="unknown:a/python", again=True))
    assert second.log == ["a/python#2"]
    second.end("a", output=1)
    second.end("b", output=2)
    assert second.run_ended.status == "completed"


def test_external_work_in_flight_may_be_given_up_for_unknown():
    second = recovered_with_one_in_flight()
    second.post(ConflictSettled(conflict="unknown:a/python", pick="python"))
    assert second.outcomes() == {"a": "unknown", "b": "skipped"}
    assert second.run_ended.status == "failed"


def test_cancelling_ends_what_waits_for_a_person():
    second = recovered_with_one_in_flight()
    second.post(CancelRequested())
    assert second.run_ended.status == "cancelled"


def test_external_work_in_flight_is_done_again_where_its_policy_says_so():
    retry = RetryPolicy(max_retries=1, retry_on=("unknown",))
    the_plan = plan(step("a", effects="external", retry=retry))
    found = recover(read_back(list(appends(the_plan, [RunStarted()]))))
    second = Second(found, ())
    for lost in list(found.lost()):
        second.post(lost)
    assert not second.ended
    second.due("retry:a/python")
    assert second.log == ["a/python#2"]


def test_a_wait_goes_on_with_what_is_left_of_it():
    the_plan = plan(step("a"), timeout_s=60.0)
    events = [RunStarted(at_ns=5_000_000_000)]
    found = recover(read_back(list(appends(the_plan, events))))
    began_ns, delay_s, due = found.waits["group:"]
    assert (began_ns, delay_s) == (5_000_000_000, 60.0)
    assert remaining_s(began_ns, delay_s, 45_000_000_000) == 20.0
    assert remaining_s(began_ns, delay_s, 99_000_000_000) == 0.0
    assert remaining_s(began_ns, delay_s, 1_000_000_000) == 60.0, "the clock was put back"
    assert due.group == ""


def test_many_deaths_of_the_owner_cost_a_step_less_than_deaths_of_its_process():
    the_plan = plan(step("a"))
    events = [RunStarted()]
    for n in range(20):
        found = recover(read_back(list(appends(the_plan, events))))
        (lost,) = found.lost()
        assert lost.attempt == n + 1
        events.append(lost)
    found = recover(read_back(list(appends(the_plan, events))))
    (last,) = found.lost()
    second = Second(found, ())
    second.post(last)
    assert second.ended["a"].failure["type"] == "Quarantined"


def test_records_that_this_version_would_not_have_made_are_refused():
    the_plan = plan(step("a"), step("b", "a"))
    driver = Driver(the_plan)
    driver.start()
    driver.end("a", output=1)
    groups = list(appends(the_plan, driver.events))
    other = msgspec.structs.replace(groups[2][1], outcome="failed")
    with pytest.raises(
        Diverged, match=r"hold step_ended.*outcome='failed'.* concludes step_ended.*'succeeded'"
    ):
        recover([*groups[0], *groups[1], groups[2][0], other, *groups[2][2:]])
    with pytest.raises(Diverged, match="end before attempt_started"):
        recover([*groups[0], *groups[1], *groups[2][:-1]])


def test_what_is_still_needed_are_the_actions_of_steps_that_have_not_ended():
    the_plan = plan(step("a"), step("b", "a"), step("c", "b"))
    driver = Driver(the_plan)
    driver.start()
    driver.end("a", output=1)
    found = recover(read_back(list(appends(the_plan, driver.events))))
    assert [needed.id for needed in found.needs()] == ["b", "c"]


def test_what_a_pause_put_off_was_never_given_out_and_is_not_lost():
    first = Driver(plan(step("a"), step("b", "a", effects="external")))
    first.start()
    first.post(RunPaused())
    first.end("a")
    groups = list(appends(first.state.plan, first.events))
    found = recover(read_back(groups))
    assert list(found.lost()) == []
    second = Second(found, step_ends(groups))
    second.post(RunContinued())
    assert second.log == ["b/python#1"]
