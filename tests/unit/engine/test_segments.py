"""Segments: when they start, what their end means, and what becomes of what is left."""

from tandem_orchestrator.model.events import CancelRequested, SegmentRow
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.testing.driver import NATIVE, Driver, plan, step

AGAIN = RetryPolicy(max_retries=1, initial_delay=1.0)


def native(step_id, *needs, **fields):
    return step(step_id, *needs, assignment=NATIVE, **fields)


def started(*steps, segments, **fields):
    driver = Driver(plan(*steps, segments=segments, **fields))
    driver.start()
    return driver


def test_a_segment_starts_once_nothing_outside_is_waited_for_and_its_end_ends_its_steps():
    driver = started(
        step("p"), native("a", "p"), native("b", "a"), step("q", "b"), segments=(("a", "b"),)
    )
    assert driver.log == ["p/python#1"]
    driver.end("p")
    assert driver.log[1:] == ["segment 0#1"]
    driver.end_segment(0, SegmentRow("a", "succeeded", 1, 0.5), SegmentRow("b", "succeeded", 2))
    assert driver.log[2:] == ["q/python#1"]
    assert (driver.ended["a"].output, driver.ended["a"].seconds) == (1, 0.5)
    assert (driver.ended["b"].layer, driver.ended["b"].attempts) == ("c", 1)
    assert driver.state.steps["q"].plan.inputs_from == (("b", "b"),)
    driver.end("q")
    assert driver.run_ended is not None and driver.run_ended.status == "completed"


def test_a_single_native_step_is_no_segment():
    assert started(native("a"), segments=(("a",),)).log == ["a/c#1"]


def test_a_failed_step_fails_the_run_and_what_did_not_start_is_skipped_with_its_name():
    driver = started(native("a"), native("b", "a"), native("c", "b"), segments=(("a", "b", "c"),))
    driver.end_segment(0, "succeeded", "failed", "not_started")
    assert driver.outcomes() == {"a": "succeeded", "b": "failed", "c": "skipped"}
    assert "b" in driver.ended["c"].reason
    assert driver.run_ended is not None and driver.run_ended.status == "failed"


def test_a_step_that_is_tried_again_holds_up_only_what_needs_it():
    driver = started(
        native("a", retry=AGAIN), native("b", "a"), native("c"), native("d", "c"),
        segments=(("a", "b", "c", "d"),),
    )  # fmt: skip
    driver.end_segment(0, "failed", "not_started", "not_started", "not_started")
    assert driver.log == ["segment 0#1", "segment 0#2"]
    assert driver.segments[0].steps == ("c", "d")
    driver.due("retry:a/c")
    assert driver.log[-1] == "a/c#2"
    driver.end("a", implementation="c")
    assert driver.log[-1] == "b/c#1", "one step that is left runs by itself"
    driver.end("b", implementation="c")
    driver.end_segment(0, "succeeded", "succeeded")
    assert driver.run_ended is not None and driver.run_ended.status == "completed"


def test_two_steps_behind_one_that_is_tried_again_are_a_segment_of_their_own():
    driver = started(
        native("a", retry=AGAIN), native("b", "a"), native("c", "b"), segments=(("a", "b", "c"),)
    )
    driver.end_segment(0, "failed", "not_started", "not_started")
    driver.due("retry:a/c")
    driver.end("a", implementation="c")
    assert driver.log[-1] == "segment 1#1"
    assert driver.segments[1].steps == ("b", "c")


def test_what_a_dead_bridge_may_have_run_is_given_out_step_by_step_and_external_work_is_not():
    driver = started(
        native("a"), native("b", effects="external", can_fail=True), native("c", "a"),
        native("d", "c"), segments=(("a", "b", "c", "d"),),
    )  # fmt: skip
    driver.end_segment(0, "unknown", "unknown", "not_started", "not_started")
    assert driver.ended["b"].outcome == "unknown"
    assert driver.log == ["segment 0#1", "a/c#1"]
    driver.end("a", implementation="c")
    assert driver.log[-1] == "segment 1#1"


def test_a_segment_that_comes_back_untouched_is_given_out_again_three_times_and_then_taken_apart():
    driver = started(native("a"), native("b"), segments=(("a", "b"),))
    for _ in range(3):
        driver.end_segment(0, "not_started", "not_started")
    assert driver.log == [
        "segment 0#1", "segment 0#2", "segment 0#3", "a/c#1", "b/c#1",
    ]  # fmt: skip


def test_a_refused_segment_runs_step_by_step():
    driver = started(native("a"), native("b", "a"), segments=(("a", "b"),))
    driver.end_segment(0, "not_started", "not_started", refused="no")
    assert driver.log == ["segment 0#1", "a/c#1"]
    driver.end("a", implementation="c")
    assert driver.log[-1] == "b/c#1"


def test_a_cancelled_run_stops_its_segment_once_and_ends_when_it_is_back():
    driver = started(native("a"), native("b", "a"), native("c", "b"), segments=(("a", "b", "c"),))
    driver.post(CancelRequested(by="me"))
    driver.post(CancelRequested(by="me"))
    assert [stop.reason for stop in driver.stopped_segments] == ["cancelled"]
    assert driver.run_ended is None
    driver.end_segment(0, "succeeded", "cancelled", "not_started")
    assert driver.outcomes() == {"a": "succeeded", "b": "cancelled", "c": "skipped"}
    assert driver.run_ended is not None and driver.run_ended.status == "cancelled"


def test_one_cancelled_step_is_taken_out_and_those_beside_it_go_on():
    driver = started(
        native("a", can_fail=True), native("b"), native("c", "b"), segments=(("a", "b", "c"),)
    )
    driver.post(CancelRequested(step="a", by="me"))
    driver.end_segment(0, "cancelled", "cancelled", "not_started")
    assert driver.ended["a"].outcome == "cancelled"
    assert driver.segments[0].steps == ("b", "c")
    driver.end_segment(0, "succeeded", "succeeded")
    assert driver.run_ended is not None and driver.run_ended.status == "completed"


def test_a_time_limit_of_the_run_stops_the_segment_and_says_so():
    driver = started(native("a"), native("b", "a"), segments=(("a", "b"),), timeout_s=5.0)
    driver.due("group:")
    assert [stop.reason for stop in driver.stopped_segments] == ["timed_out"]
    driver.end_segment(0, "cancelled", "not_started")
    assert driver.outcomes() == {"a": "timed_out", "b": "skipped"}
    assert driver.run_ended is not None and driver.run_ended.status == "timed_out"


def test_a_failed_for_each_shows_its_items_and_is_not_taken_apart():
    driver = started(native("a", for_each=[1, 2, 3]), native("b"), segments=(("a", "b"),))
    failure = {"type": "ValueError", "message": "item 1: no", "traceback": None}
    driver.end_segment(0, SegmentRow("a", "failed", None, 0.1, failure, "", (1,)), "succeeded")
    ended = driver.ended["a"]
    assert (ended.outcome, ended.failed_items) == ("failed", (1,))
    assert ended.failure is not None and ended.failure["message"] == "item 1: no"


def test_a_stale_end_changes_nothing():
    driver = started(native("a"), native("b"), segments=(("a", "b"),))
    dispatch = driver.segments[0]
    driver.end_segment(0, "not_started", "not_started")
    before = driver.state.digest()
    driver.segments[0] = dispatch  # the first attempt ends once more
    driver.end_segment(0, "succeeded", "succeeded")
    assert driver.state.digest() == before


def test_what_is_done_over_waits_for_what_it_needs():
    driver = started(native("a"), native("b", "a"), native("c", "b"), segments=(("a", "b", "c"),))
    driver.end_segment(0, "unknown", "unknown", "not_started")
    assert driver.log == ["segment 0#1", "a/c#1"]
    driver.end("a", implementation="c")
    assert driver.log[2:] == ["b/c#1"]
    driver.end("b", implementation="c")
    assert driver.log[3:] == ["c/c#1"]


LOST = RetryPolicy(max_retries=1, initial_delay=1.0, retry_on=("unknown",))


def lost(**fields):
    """A segment whose bridge died: one step is done over, the one after it may have run."""
    driver = started(
        native("a"), native("b", "a", effects="external", retry=LOST, **fields), native("c", "b"),
        segments=(("a", "b", "c"),),
    )  # fmt: skip
    driver.end_segment(0, "unknown", "unknown", "not_started")
    return driver


def test_what_may_have_run_is_tried_again_only_after_the_steps_it_needs():
    driver = lost()
    driver.due("retry:b/c")
    assert driver.log == ["segment 0#1", "a/c#1"]
    driver.end("a", implementation="c")
    assert driver.log[2:] == ["b/c#2"]
    driver.end("b", implementation="c")
    assert driver.log[3:] == ["c/c#1"]


def test_a_retry_whose_wait_is_longer_than_the_steps_before_it_starts_when_that_is_over():
    driver = lost()
    driver.end("a", implementation="c")
    assert driver.log == ["segment 0#1", "a/c#1"]
    driver.due("retry:b/c")
    assert driver.log[2:] == ["b/c#2"]


def test_what_may_have_run_stays_unknown_where_a_step_it_needs_fails_when_done_over():
    driver = started(
        native("a"), native("b", "a", effects="external", retry=LOST),
        segments=(("a", "b"),), on_failure="drain",
    )  # fmt: skip
    driver.end_segment(0, "unknown", "unknown")
    driver.due("retry:b/c")
    driver.end("a", "failed", implementation="c")
    assert driver.outcomes() == {"a": "failed", "b": "unknown"}
    assert driver.run_ended is not None and driver.run_ended.status == "failed"
