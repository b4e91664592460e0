"""``advance``: order, failure, retries, time limits, cancellation, losses, groups, items."""

import pytest

from tandem_orchestrator.model.events import CancelRequested, GroupTimedOut, RunStarted
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.testing.driver import NATIVE, Driver, plan, step


def test_a_diamond_runs_in_parallel_where_it_can_and_each_step_once():
    driver = Driver(plan(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c")))
    driver.start()
    assert driver.log == ["a/python#1"]
    driver.end("a", output=1)
    assert driver.log[1:] == ["b/python#1", "c/python#1"]
    driver.end("c", output=3)
    assert len(driver.log) == 3, "d waits for b"
    driver.end("b", output=2)
    driver.end("d", output=4)

    assert driver.run_ended.status == "completed"
    assert [driver.ended[s].output for s in "abcd"] == [1, 2, 3, 4]


def test_a_failure_for_good_stops_new_steps_and_lets_running_ones_finish():
    driver = Driver(plan(step("a"), step("b"), step("c", "a"), step("d", "b")))
    driver.start()
    driver.end("a", "failed")
    assert driver.run_ended is None, "b is still running"
    driver.end("b", output=1)

    assert driver.run_ended.status == "failed"
    assert driver.run_ended.error == "step 'a' failed: ValueError: no"
    assert driver.run_ended.error_detail["step"] == "a"
    assert driver.outcomes() == {"a": "failed", "b": "succeeded", "c": "skipped", "d": "skipped"}
    assert "'a'" in driver.ended["c"].reason and "'a'" in driver.ended["d"].reason
    assert driver.log == ["a/python#1", "b/python#1"]


def test_drain_lets_independent_branches_go_on_and_skips_all_that_depends():
    steps = (step("a"), step("b"), step("c", "a"), step("e", "c"), step("d", "b"))
    driver = Driver(plan(*steps, on_failure="drain"))
    driver.start()
    driver.run_all(lambda dispatch: "failed" if dispatch.unit.step == "a" else "succeeded")

    assert driver.run_ended.status == "failed"
    assert driver.outcomes() == {
        "a": "failed", "b": "succeeded", "c": "skipped", "e": "skipped", "d": "succeeded",
    }  # fmt: skip
    assert "'a'" in driver.ended["e"].reason, "the root cause is named, not the step between"


def test_a_tolerated_failure_gives_null_to_what_depends_on_it():
    driver = Driver(plan(step("a", can_fail=True), step("b", "a")))
    driver.start()
    driver.end("a", "failed")
    driver.end("b", output="done")

    assert driver.run_ended.status == "completed"
    assert driver.outcomes() == {"a": "failed", "b": "succeeded"}


def test_a_reference_into_a_step_that_gave_nothing_skips_unless_it_has_a_default():
    driver = Driver(
        plan(
            step("a", can_fail=True),
            step("b", "a", payload={"x": {"$ref": "a#/v"}}),
            step("c", "a", payload={"x": {"$ref": "a#/v", "default": 7}}),
        )
    )
    driver.start()
    driver.end("a", "failed")
    assert driver.outcomes()["b"] == "skipped"
    driver.end("c", output=1)
    assert driver.run_ended.status == "completed"


def test_a_false_condition_skips_and_the_run_goes_on():
    condition = {"ref": "a#/n", "op": "gt", "value": 5}
    driver = Driver(plan(step("a"), step("b", "a", when=condition), step("c", "b")))
    driver.start()
    driver.end("a", output={"n": 3})
    assert driver.outcomes()["b"] == "skipped"
    driver.end("c")
    assert driver.run_ended.status == "completed"


def test_retries_wait_longer_each_time_and_stop_at_their_number():
    policy = RetryPolicy(max_retries=2, initial_delay=1.0, backoff=3.0, jitter=False)
    driver = Driver(plan(step("a", retry=policy)))
    driver.start()
    driver.end("a", "failed")
    assert driver.waits["retry:a/python"].delay_s == 1.0
    driver.due("retry:a/python")
    driver.end("a", "failed")
    assert driver.waits["retry:a/python"].delay_s == 3.0
    driver.due("retry:a/python")
    driver.end("a", "failed")

    assert driver.log == ["a/python#1", "a/python#2", "a/python#3"]
    assert driver.run_ended.status == "failed"
    assert driver.ended["a"].attempts == 3


def test_jitter_is_the_events_own_roll_of_the_ceiling():
    policy = RetryPolicy(max_retries=1, initial_delay=8.0)
    driver = Driver(plan(step("a", retry=policy)))
    driver.start()
    driver.end("a", "failed", roll=0.25)
    assert driver.waits["retry:a/python"].delay_s == 2.0


def test_only_named_failures_are_retried_where_names_are_given():
    policy = RetryPolicy(max_retries=5, retry_on=("OSError",))
    driver = Driver(plan(step("a", retry=policy)))
    driver.start()
    driver.end("a", "failed", failure="OSError")
    driver.due("retry:a/python")
    driver.end("a", "failed", failure="ValueError")
    assert driver.run_ended.status == "failed"
    assert len(driver.log) == 2


def test_a_step_that_outlives_its_limit_is_stopped_and_timed_out():
    driver = Driver(plan(step("a", timeout_s=5.0)))
    driver.start()
    assert driver.waits["limit:a/python"].delay_s == 5.0
    driver.due("limit:a/python")
    assert [(s.unit.step, s.reason) for s in driver.stops] == [("a", "timed_out")]
    driver.end("a", "cancelled")

    assert driver.outcomes() == {"a": "timed_out"}
    assert driver.run_ended.status == "failed"
    assert driver.run_ended.error_detail["type"] == "TimeoutError"


def test_what_finishes_before_the_request_to_stop_reaches_it_counts():
    driver = Driver(plan(step("a", timeout_s=5.0)))
    driver.start()
    driver.due("limit:a/python")
    driver.end("a", "succeeded", output=1)
    assert driver.run_ended.status == "completed"


def test_a_timer_of_an_attempt_that_has_ended_changes_nothing():
    policy = RetryPolicy(max_retries=1, initial_delay=0.0)
    driver = Driver(plan(step("a", timeout_s=5.0, retry=policy)))
    driver.start()
    late = driver.waits["limit:a/python"].event
    driver.end("a", "failed")
    driver.due("retry:a/python")
    driver.post(late)
    assert driver.stops == []


def test_the_runs_limit_stops_what_runs_and_starts_nothing_more():
    driver = Driver(plan(step("a"), step("b", "a"), timeout_s=9.0))
    driver.start()
    assert driver.waits["group:"].delay_s == 9.0
    driver.due("group:")
    driver.end("a", "cancelled")
    assert driver.outcomes() == {"b": "skipped", "a": "timed_out"}
    assert driver.run_ended.status == "timed_out"
    assert "9" in driver.run_ended.error


def test_cancelling_a_run_stops_what_runs_skips_the_rest_and_shows_what_did_not_stop():
    driver = Driver(plan(step("a"), step("b"), step("c", "a", "b")))
    driver.start()
    driver.post(CancelRequested(by="ann"))
    assert {s.unit.step for s in driver.stops} == {"a", "b"}
    driver.end("a", "cancelled")
    driver.end("b", "abandoned", stopped=False)

    assert driver.run_ended.status == "cancelled"
    assert driver.outcomes() == {"c": "skipped", "a": "cancelled", "b": "abandoned"}
    assert driver.ended["b"].stopped is False
    assert "ann" in driver.ended["c"].reason


def test_cancelling_before_the_start_ends_the_run():
    driver = Driver(plan(step("a")))
    driver.post(CancelRequested())
    assert driver.run_ended.status == "cancelled"
    driver.post(RunStarted())
    assert driver.log == []


def test_a_cancelled_step_is_not_retried():
    driver = Driver(plan(step("a", retry=RetryPolicy(max_retries=9)), step("b", can_fail=True)))
    driver.start()
    driver.post(CancelRequested(step="a"))
    driver.end("a", "cancelled")
    driver.end("b")
    assert driver.outcomes() == {"a": "cancelled", "b": "succeeded"}
    assert driver.run_ended.status == "failed"


def test_cancelling_while_a_retry_is_due_ends_the_step_without_another_attempt():
    driver = Driver(plan(step("a", retry=RetryPolicy(max_retries=9))))
    driver.start()
    driver.end("a", "failed")
    driver.post(CancelRequested())
    assert driver.waits == {}
    assert driver.run_ended.status == "cancelled"
    assert driver.log == ["a/python#1"]


def test_lost_work_without_effects_is_given_out_again_and_counts_as_no_retry():
    driver = Driver(plan(step("a", assignment=NATIVE)))
    driver.start()
    driver.end("a", "unknown", implementation="c")
    driver.end("a", "succeeded", output=1, implementation="c")
    assert driver.log == ["a/c#1", "a/c#2"]
    assert driver.run_ended.status == "completed"


def test_lost_work_with_external_effects_is_unknown_and_never_repeated():
    driver = Driver(plan(step("a", effects="external")))
    driver.start()
    driver.end("a", "unknown", failure="WorkerDied")
    assert driver.log == ["a/python#1"]
    assert driver.outcomes() == {"a": "unknown"}


def test_lost_work_with_external_effects_is_retried_where_its_policy_names_unknown():
    policy = RetryPolicy(max_retries=1, retry_on=("unknown",), initial_delay=0.0)
    driver = Driver(plan(step("a", effects="external", retry=policy)))
    driver.start()
    driver.end("a", "unknown", failure="WorkerDied")
    driver.due("retry:a/python")
    driver.end("a", "succeeded")
    assert driver.run_ended.status == "completed"


def test_external_work_that_certainly_never_ran_is_given_out_again():
    driver = Driver(plan(step("a", effects="external")))
    driver.start()
    driver.end("a", "not_started", failure="Busy")
    driver.end("a", "succeeded")
    assert driver.log == ["a/python#1", "a/python#2"]


def test_an_input_that_kills_its_process_again_and_again_is_quarantined():
    driver = Driver(plan(step("a", assignment=NATIVE)))
    driver.start()
    while driver.running:
        driver.end("a", "unknown", implementation="c", failure="BridgeDied")
    assert driver.ended["a"].failure["type"] == "Quarantined"
    assert len(driver.log) == 6


def test_what_never_started_is_no_poison_and_fails_with_its_own_reason():
    driver = Driver(plan(step("a", assignment=NATIVE)))
    driver.start()
    while driver.running:
        driver.end("a", "not_started", implementation="c", failure="Busy")
    assert driver.ended["a"].failure["type"] == "Busy"
    assert "given out 6 times without a start" in driver.ended["a"].failure["message"]


def test_a_layer_that_is_away_leads_to_the_planned_fallback():
    driver = Driver(plan(step("a", assignment=NATIVE)))
    driver.start()
    driver.end("a", "not_started", implementation="c", failure="LayerUnavailable")
    driver.end("a", "succeeded", output=1)
    assert driver.log == ["a/c#1", "a/python#2"]
    assert driver.ended["a"].implementation == "python"
    assert "fallback" in driver.ended["a"].reason


def test_a_layer_that_is_away_fails_the_step_where_no_fallback_was_planned():
    driver = Driver(plan(step("a")))
    driver.start()
    driver.end("a", "not_started", failure="LayerUnavailable")
    assert driver.outcomes() == {"a": "failed"}


def test_a_group_holds_its_dependents_until_everything_in_it_has_ended():
    driver = Driver(
        plan(
            step("g", kind="group"),
            step("g/x", parent="g", scope="g/"),
            step("g/y", "g/x", parent="g", scope="g/"),
            step("after", "g"),
        )
    )
    driver.start()
    driver.end("g/x", output=1)
    driver.end("g/y", output=2)
    assert driver.ended["g"].output == {"x": 1, "y": 2}
    driver.end("after")
    assert driver.run_ended.status == "completed"


def test_a_failure_in_a_tolerated_group_stays_in_it():
    driver = Driver(
        plan(
            step("g", kind="group", can_fail=True),
            step("g/x", parent="g"),
            step("g/y", "g/x", parent="g"),
            step("after", "g"),
        )
    )
    driver.start()
    driver.end("g/x", "failed")
    assert driver.outcomes() == {"g/x": "failed", "g/y": "skipped", "g": "failed"}
    driver.end("after")
    assert driver.run_ended.status == "completed"


def test_a_failure_in_a_group_fails_the_run_and_names_the_innermost_step():
    driver = Driver(plan(step("g", kind="group"), step("g/x", parent="g")))
    driver.start()
    driver.end("g/x", "failed")
    assert driver.run_ended.status == "failed"
    assert driver.run_ended.error_detail["step"] == "g/x"


def test_a_groups_limit_stops_the_group_alone():
    driver = Driver(
        plan(
            step("g", kind="group", timeout_s=2.0, can_fail=True),
            step("g/x", parent="g"),
            step("free"),
        )
    )
    driver.start()
    driver.post(GroupTimedOut(group="g"))
    driver.end("g/x", "cancelled")
    driver.end("free")
    assert driver.outcomes() == {"g/x": "timed_out", "g": "timed_out", "free": "succeeded"}
    assert driver.run_ended.status == "completed"


def test_for_each_gives_its_outputs_in_the_order_of_the_items():
    driver = Driver(plan(step("a", for_each=[10, 20, 30])))
    driver.start()
    for item in (2, 0, 1):
        driver.end("a", output=item * 100, item=item)
    assert driver.ended["a"].output == [0, 100, 200]


def test_for_each_keeps_only_a_window_of_items_out():
    driver = Driver(plan(step("a", for_each=list(range(1000)))))
    driver.start()
    assert len(driver.running) == 64
    driver.end("a", item=0)
    assert len(driver.running) == 64
    driver.run_all()
    assert len(driver.log) == 1000 and driver.run_ended.status == "completed"


def test_a_failed_item_fails_its_step_and_starts_no_further_items():
    driver = Driver(plan(step("a", for_each=list(range(100)))))
    driver.start()
    driver.end("a", "failed", item=5)
    driver.run_all()
    assert driver.run_ended.status == "failed"
    assert len(driver.log) == 64
    assert driver.ended["a"].failed_items == (5,)
    assert "item 5" in driver.ended["a"].failure["message"]


def test_collect_keeps_null_in_place_of_failed_items():
    driver = Driver(plan(step("a", for_each=[1, 2, 3], on_item_failure="collect")))
    driver.start()
    driver.end("a", output="x", item=0)
    driver.end("a", "failed", item=1)
    driver.end("a", output="z", item=2)
    assert driver.ended["a"].output == ["x", None, "z"]
    assert driver.ended["a"].failed_items == (1,)
    assert driver.run_ended.status == "completed"


def test_for_each_over_nothing_gives_an_empty_list():
    driver = Driver(plan(step("a", for_each=[])))
    driver.start()
    assert driver.ended["a"].output == []
    assert driver.run_ended.status == "completed"


def test_for_each_over_what_is_no_list_fails_and_says_so():
    driver = Driver(plan(step("a"), step("b", "a", for_each={"$ref": "a"})))
    driver.start()
    driver.end("a", output={"not": "a list"})
    assert driver.ended["b"].failure["type"] == "TypeError"


def test_a_chain_of_100_000_skipped_steps_needs_no_deep_stack():
    steps = [step("s0")] + [step(f"s{i}", f"s{i - 1}") for i in range(1, 100_000)]
    driver = Driver(plan(*steps))
    driver.start()
    driver.end("s0", "failed")
    assert driver.run_ended.status == "failed"
    assert len(driver.ended) == 100_000


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "unknown"])
def test_a_completion_that_comes_twice_changes_nothing(outcome):
    driver = Driver(plan(step("a", effects="external"), step("b")))
    driver.start()
    driver.end("a", outcome)
    digest = driver.state.digest()
    driver.post(driver.events[-1])
    assert driver.state.digest() == digest


def test_external_work_that_was_lost_while_it_was_being_stopped_stays_unknown():
    policy = RetryPolicy(max_retries=3)
    driver = Driver(plan(step("a", effects="external", timeout_s=1.0, retry=policy)))
    driver.start()
    driver.due("limit:a/python")
    driver.end("a", "unknown", failure="WorkerDied")
    assert driver.outcomes() == {"a": "unknown"}
    assert driver.log == ["a/python#1"]


def test_a_stopped_step_says_whose_limit_it_was():
    driver = Driver(plan(step("a"), timeout_s=9.0))
    driver.start()
    driver.due("group:")
    driver.end("a", "cancelled")
    assert driver.ended["a"].failure["message"] == "the run's time limit passed"

    driver = Driver(plan(step("a", timeout_s=1.5)))
    driver.start()
    driver.due("limit:a/python")
    driver.end("a", "cancelled")
    assert driver.ended["a"].failure["message"] == "the step's time limit of 1.5 s passed"


def test_a_cancelled_step_says_who_asked():
    driver = Driver(plan(step("a")))
    driver.start()
    driver.post(CancelRequested(step="a", by="ann"))
    driver.end("a", "cancelled")
    assert driver.ended["a"].failure["message"] == "cancelled by ann"


def test_a_step_that_fails_before_it_starts_keeps_its_route_s_reason():
    driver = Driver(plan(step("a", for_each=5)))
    driver.start()
    assert driver.ended["a"].reason == "test"
