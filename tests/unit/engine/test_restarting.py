"""Runs that start from the beginning under a new plan because an action changed."""

from typing import Any

import pytest

from tandem_orchestrator.engine import RunState
from tandem_orchestrator.engine.control import event_of
from tandem_orchestrator.engine.holding import decide
from tandem_orchestrator.engine.recover import recover
from tandem_orchestrator.engine.request import Decision, Wish
from tandem_orchestrator.engine.restarting import may_restart, restarted
from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptStarted,
    CancelRequested,
    RunAccepted,
    SignalReceived,
)
from tandem_orchestrator.model.plans import Plan, plan_to_value
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.testing.driver import NATIVE, Driver, plan, step


def anew(driver: Driver, the_plan: Plan) -> None:
    """Restart what a driver has, under a plan."""
    changed = ("a.do version 1 (here: 2)",)
    driver.post(restarted(driver.state, the_plan, changed, driver.events))


def three(version: str = "1", **fields: Any) -> Plan:
    return plan(
        step("one"),
        step("pay", "one", effects="external", version=version, **fields),
        step("last", "pay"),
    )


def test_everything_runs_again_from_the_beginning_under_the_new_plan() -> None:
    driver = Driver(plan(step("one"), step("two", "one")))
    driver.start()
    driver.end("one", output=1)
    anew(driver, plan(step("one", version="2"), step("two", "one", version="2")))
    assert [one.plan.version for one in driver.state.steps.values()] == ["2", "2"]
    driver.start()
    assert list(driver.running) == [("one", None, "python")]
    driver.run_all()
    assert driver.run_ended is not None and driver.run_ended.status == "completed"
    # (run, unit, attempt) is unique in the journal: numbers go on.
    assert driver.log == ["one/python#1", "two/python#1", "one/python#2", "two/python#2"]


@pytest.mark.parametrize("was", ["in flight", "succeeded"])
def test_external_work_that_may_have_run_waits_for_a_person(was: str) -> None:
    driver = Driver(three())
    driver.start()
    driver.end("one")
    if was == "succeeded":
        driver.end("pay", output="paid")
    anew(driver, three("2"))
    driver.start()
    driver.end("one")
    assert driver.running == {}, "it is not done twice"
    assert driver.state.held == {"unknown:pay/python": "pay"}
    assert driver.held[-1].conflicts == ("unknown:pay/python",)
    with pytest.raises(CommandError, match="nothing to pick"):
        decide(driver.state, Decision(step="pay", pick="left"), 100)
    driver.post(decide(driver.state, Decision(step="pay", output="by hand", by="ann"), 100))
    driver.run_all()
    assert driver.ended["pay"].output == "by hand"
    assert driver.run_ended is not None and driver.run_ended.status == "completed"


def test_a_person_may_have_external_work_done_once_more() -> None:
    driver = Driver(three())
    driver.start()
    driver.end("one")
    anew(driver, three("2"))
    driver.start()
    driver.end("one")
    asked = event_of(driver.state, Wish("retry", {"step": "pay"}), 100, 10)
    assert asked is not None
    driver.post(asked)
    driver.run_all()
    assert driver.log[-2:] == ["pay/python#2", "last/python#1"]
    assert driver.run_ended is not None and driver.run_ended.status == "completed"


def test_items_wait_as_one_and_are_all_done_once_more() -> None:
    each = {"for_each": [1, 2], "payload": {}}
    driver = Driver(plan(step("pay", effects="external", **each)))
    driver.start()
    driver.end("pay", item=0)
    anew(driver, plan(step("pay", effects="external", version="2", **each)))
    driver.start()
    assert driver.running == {}
    asked = event_of(driver.state, Wish("retry", {"step": "pay"}), 100, 10)
    assert asked is not None
    driver.post(asked)
    assert [key[1] for key in driver.running] == [0, 1]


def test_external_work_that_never_started_runs_by_itself() -> None:
    driver = Driver(three())
    driver.start()
    anew(driver, three("2"))
    driver.start()
    driver.end("one")
    assert list(driver.running) == [("pay", None, "python")]


def test_a_policy_that_names_unknown_lets_external_work_run_again() -> None:
    again = {"retry": RetryPolicy(max_retries=1, retry_on=("unknown",))}
    driver = Driver(three(**again))
    driver.start()
    driver.end("one")
    anew(driver, three("2", **again))
    driver.start()
    driver.end("one")
    assert list(driver.running) == [("pay", None, "python")]


def test_what_waited_once_still_waits_after_a_second_restart() -> None:
    driver = Driver(three())
    driver.start()
    driver.end("one")
    anew(driver, three("2"))
    anew(driver, three("3"))
    driver.start()
    driver.end("one")
    assert driver.state.held == {"unknown:pay/python": "pay"}


def test_segments_are_numbered_on_and_external_steps_leave_them() -> None:
    def native(version: str) -> Plan:
        steps = [
            step("a", assignment=NATIVE, version=version),
            step("b", "a", assignment=NATIVE),
            step("c", assignment=NATIVE, effects="external"),
            step("d", "c", assignment=NATIVE),
        ]
        return plan(*steps, segments=(("a", "b"), ("c", "d")))

    driver = Driver(native("1"))
    driver.start()
    assert sorted(driver.segments) == [0, 1]
    anew(driver, native("2"))
    driver.start()
    assert list(driver.segments) == [2], "the journal has an attempt of segment 0"
    assert driver.state.held == {"unknown:c/c": "c"}


def test_signals_that_came_are_given_again_and_pauses_stay() -> None:
    waits = plan(step("s", waits="signal", payload={"name": "go"}), step("t", "s"))
    driver = Driver(waits)
    driver.start()
    driver.post(SignalReceived(name="go", payload=7, step="s"))
    anew(driver, waits)
    driver.start()
    assert driver.ended["s"].output == 7


def test_a_run_that_is_about_to_end_is_not_started_again() -> None:
    driver = Driver(three())
    driver.start()
    assert may_restart(driver.state)
    driver.post(CancelRequested())
    assert not may_restart(driver.state)


def test_recovery_folds_a_restart_to_the_same_state() -> None:
    the_plan = three()
    accepted = RunAccepted(
        run_id="r", command_set_id="c", name="n", type="workflow", mode="intelligent",
        priority="medium", durability="group", document={}, plan=plan_to_value(the_plan),
    )  # fmt: skip
    driver = Driver(the_plan)
    driver.start()
    anew(driver, three("2"))
    driver.start()
    first = AttemptStarted(step="one", implementation="python", layer="python")
    began, again, started = driver.events
    events: list[AnyEvent] = [accepted, began, first, again, started]
    found = recover(
        [*events, AttemptStarted(step="one", implementation="python", layer="python", attempt=2)]
    )
    assert found.state.digest() == driver.state.digest()
    assert found.state.plan == three("2")
    assert found.started
    assert not recover([accepted, began, first, again]).started
    assert RunState.of(the_plan).digest() != found.state.digest()
