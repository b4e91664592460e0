"""Steps wait for people and signals without moving; a paused run gives nothing out."""

import pytest

from tandem_orchestrator.engine import Wish
from tandem_orchestrator.engine.control import event_of
from tandem_orchestrator.errors import Busy, CommandError
from tandem_orchestrator.model.events import (
    CancelRequested,
    GroupTimedOut,
    RunContinued,
    RunPaused,
    SignalReceived,
    StepApproved,
)
from tandem_orchestrator.model.outcomes import RunStatus
from tandem_orchestrator.testing.driver import Driver, plan, step


def approval(step_id="ok", *needs, **fields):
    return step(step_id, *needs, waits="approval", payload={"prompt": "?"}, **fields)


def signal(step_id="sig", *needs, **fields):
    return step(step_id, *needs, waits="signal", payload={"name": "n"}, **fields)


def ask(driver, kind, signals_max=10, output_bytes_max=100, **body):
    wish = Wish(kind, body, "ann", "now")
    event = event_of(driver.state, wish, output_bytes_max, signals_max)
    if event is not None:
        driver.post(event)
    return event


def test_an_approval_holds_the_run_and_its_answer_is_the_output():
    driver = Driver(plan(approval(), step("b", "ok")))
    driver.start()
    assert driver.held[-1].waits == ("ok",) and driver.state.status is RunStatus.HELD
    ask(driver, "approve", step="ok", note="fine")
    assert driver.ended["ok"].output == {
        "approved": True, "by": "ann", "note": "fine", "at": "now",
    }  # fmt: skip
    assert driver.state.status is RunStatus.RUNNING
    driver.end("b")
    assert driver.run_ended.status == "completed"


def test_a_run_in_which_something_moves_is_not_held():
    driver = Driver(plan(approval(), step("b")))
    driver.start()
    assert driver.held == []
    driver.end("b")
    assert driver.held[-1].waits == ("ok",)


@pytest.mark.parametrize(
    ("act", "outcome", "kind"),
    [
        (lambda d: ask(d, "approve", step="ok", approved=False), "failed", "Rejected"),
        (lambda d: d.due("limit:ok"), "failed", "TimeoutError"),
        (lambda d: d.post(CancelRequested(step="ok")), "cancelled", "Cancelled"),
        (lambda d: d.post(GroupTimedOut()), "timed_out", "TimeoutError"),
    ],
)
def test_rejected_late_and_stopped_approvals_end_and_leave_no_deadline(act, outcome, kind):
    driver = Driver(plan(approval(timeout_s=9.0), timeout_s=60.0))
    driver.start()
    act(driver)
    assert driver.ended["ok"].outcome == outcome and driver.ended["ok"].failure["type"] == kind
    assert driver.run_ended is not None and driver.waits == {}
    driver.post(StepApproved(step="ok"))  # too late, and nobody minds
    assert driver.state.waiting == {}


def test_a_failed_run_waits_for_nobody():
    driver = Driver(plan(approval(), step("b")))
    driver.start()
    driver.end("b", "failed")
    assert driver.ended["ok"].outcome == "cancelled" and driver.run_ended.status == "failed"


def test_signals_reach_who_waits_first_and_are_kept_until_somebody_does():
    driver = Driver(plan(signal("s1"), step("x"), signal("s2", "x"), signal("s3", "x")))
    driver.start()
    assert ask(driver, "signal", name="n", payload=1).step == "s1"
    assert driver.ended["s1"].output == 1
    assert ask(driver, "signal", name="n", payload=2).step is None
    driver.end("x")
    assert driver.ended["s2"].output == 2 and "s3" not in driver.ended
    assert driver.state.signals == {}
    ask(driver, "signal", name="n", payload=3)
    assert driver.run_ended.status == "completed" and driver.ended["s3"].output == 3


def test_a_late_signal_times_the_step_out():
    driver = Driver(plan(signal(timeout_s=5.0)))
    driver.start()
    driver.due("limit:sig")
    assert driver.ended["sig"].outcome == "timed_out"


def test_kept_signals_are_bounded_and_what_cannot_be_asked_is_named():
    driver = Driver(plan(approval(), signal()))
    driver.start()
    ask(driver, "signal", name="other", signals_max=1)
    with pytest.raises(Busy, match="signals_max"):
        ask(driver, "signal", name="other", signals_max=1)
    assert ask(driver, "signal", name="n", signals_max=1).step == "sig"  # nothing is kept of it
    with pytest.raises(CommandError, match="output_bytes_max"):
        ask(driver, "signal", name="n", payload="x" * 200)
    with pytest.raises(CommandError, match=r"'nosuch'.*'ok'"):
        ask(driver, "approve", step="nosuch")
    with pytest.raises(CommandError, match="waits for no decision"):
        ask(driver, "retry", step="ok")
    with pytest.raises(CommandError, match="name=3"):
        ask(driver, "signal", name=3)


def test_while_paused_what_runs_finishes_and_nothing_new_starts():
    driver = Driver(plan(step("a"), step("b", "a"), step("c", for_each=[1, 2])))
    driver.start()
    ask(driver, "pause")
    assert ask(driver, "pause") is None
    driver.end("a")
    driver.end("c", item=0)
    assert set(driver.running) == {("c", 1, "python")}
    ask(driver, "continue")
    assert set(driver.running) == {("c", 1, "python"), ("b", None, "python")}
    assert ask(driver, "continue") is None


def test_cancelling_a_paused_run_ends_it_with_an_attempt_that_never_starts():
    driver = Driver(plan(step("a"), step("b", "a")))
    driver.start()
    driver.post(RunPaused())
    driver.end("a")
    assert not driver.running
    driver.post(CancelRequested())
    assert driver.stops[-1].unit.step == "b"  # its token is cancelled before it begins
    driver.end("b", "cancelled")
    assert driver.run_ended.status == "cancelled"


def test_pausing_a_held_run_and_continuing_holds_it_again():
    driver = Driver(plan(approval()))
    driver.start()
    driver.post(RunPaused())
    assert driver.state.status is RunStatus.RUNNING
    driver.post(RunContinued())
    assert len(driver.held) == 2
    driver.post(SignalReceived(name="n", step=None))
    assert driver.state.status is RunStatus.HELD


def test_a_step_that_may_have_run_is_done_once_more_when_asked():
    driver = Driver(plan(step("a", effects="external")))
    driver.start()
    driver.end("a", "unknown", failure="OrchestratorDied")
    assert driver.state.status is RunStatus.HELD
    ask(driver, "retry", step="a")
    assert ("a", None, "python") in driver.running


def test_a_run_that_never_began_is_queued_again_when_it_goes_on():
    driver = Driver(plan(step("a")))
    ask(driver, "pause")
    assert ask(driver, "continue").queued
    driver.start()
    ask(driver, "pause")
    assert not ask(driver, "continue").queued
