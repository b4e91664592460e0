"""The blocking interface: from scripts, from threads, under a running loop, interrupted, forgotten."""

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from tandem_orchestrator import (
    ActionFailed,
    Closed,
    CommandSet,
    CommandStep,
    Forked,
    InvalidCommandSet,
    NotInitialized,
    WrongLoop,
)
from tandem_orchestrator.sync import TandemOrchestrator

CONFIG = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}


def ask(action="echo", agent="system", payload=None):
    return CommandSet(steps=[CommandStep(id="a", agent=agent, action=action, payload=payload)])


@pytest.fixture
def tandem():
    with TandemOrchestrator(CONFIG) as made:
        yield made


def test_a_script_runs_a_set_and_sees_its_events(tandem):
    run = tandem.submit(ask(payload=5))

    assert run.result(timeout=30)["results"] == {"a": 5}
    assert [event["kind"] for event in run.events()][-1] == "run_ended"
    assert tandem.run(run.id).result(30)["status"] == "completed"
    assert tandem.runs()[0].run_id == run.id


async def test_it_works_under_a_running_loop(tandem):
    assert tandem.execute_command_set(ask(payload=1))["status"] == "completed"
    assert tandem.prepare(ask()).run()["status"] == "completed"
    assert tandem.send("system", "echo", 1) == 1
    assert tandem.send_many("system", "echo", [1]) == [1]
    assert tandem.call_sync("system", "echo", 1) == 1


def test_several_threads_use_one(tandem):
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda n: tandem.execute_command_set(ask(payload=n)), range(20)))
    assert [result["results"]["a"] for result in results] == list(range(20))


def test_handlers_see_the_submitting_threads_contextvars(tandem):
    who = contextvars.ContextVar("who", default="nobody")

    @tandem.register_agent("t").action("who")
    async def ask_who(payload):
        return who.get()

    who.set("me")
    assert tandem.execute_command_set(ask("who", "t"))["results"] == {"a": "me"}


def test_a_result_that_is_not_there_in_time_is_a_timeout_and_the_run_goes_on(tandem):
    go = threading.Event()

    @tandem.register_agent("t").action("wait")
    def wait(payload):
        return go.wait(30)

    run = tandem.submit(ask("wait", "t"))
    with pytest.raises(TimeoutError):
        run.result(timeout=0.05)
    go.set()
    assert run.result(30)["status"] == "completed"


def test_an_interrupt_while_waiting_cancels_the_run(tandem):
    began = threading.Event()

    @tandem.register_agent("t").action("hang")
    async def hang(payload):
        began.set()
        await asyncio.Event().wait()

    def interrupt():
        began.wait(30)
        # To the main thread, as the kernel would choose; valgrind may give it to this one.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    for wait in (lambda: tandem.submit(ask("hang", "t")).result(),
                 lambda: tandem.execute_command_set(ask("hang", "t"))):  # fmt: skip
        began.clear()
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            wait()
        thread.join()
        assert tandem.run(tandem.runs()[0].run_id).result(30)["status"] == "cancelled"


def test_a_call_on_its_own_loop_is_refused_instead_of_waiting_for_itself(tandem):
    @tandem.register_agent("t").action("inner")
    async def inner(payload):
        with pytest.raises(WrongLoop):
            tandem.execute_command_set(ask())
        return "refused"

    assert tandem.execute_command_set(ask("inner", "t"))["results"] == {"a": "refused"}


def test_a_plan_is_prepared_once_and_run_often(tandem):
    plan = tandem.prepare(ask(payload={"$ref": "inputs#/n"}))

    assert [plan.run(inputs={"n": n})["results"]["a"] for n in (1, 2)] == [1, 2]
    assert plan.submit(inputs={"n": 3}).result(30)["results"] == {"a": 3}
    assert [step.id for step in plan.plan.steps] == ["a"]
    with pytest.raises(InvalidCommandSet, match="n"):
        plan.run()


@pytest.mark.parametrize("kind", ["send", "call_sync"])
def test_a_message_is_answered_refused_or_late(tandem, kind):
    send = getattr(tandem, kind)

    assert send("system", "echo", {"x": 1}) == {"x": 1}
    with pytest.raises(InvalidCommandSet, match="system"):
        send("sistem", "echo", 1)
    with pytest.raises(ActionFailed):
        send("system", "sleep", "never")
    with pytest.raises(TimeoutError):
        send("system", "sleep", 60, timeout=0.05)


@pytest.mark.native
@pytest.mark.parametrize("kind", ["send", "call_sync"])
def test_messages_reach_the_c_layer_from_several_threads(kind):
    with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        send = getattr(tandem, kind)
        with ThreadPoolExecutor(4) as threads:
            answers = list(
                threads.map(lambda n: send("system", "echo", n, implementation="c"), range(40))
            )
        assert answers == list(range(40))
        assert tandem.get_metrics()["c_msgs_processed"] == 40
        assert tandem.send_many("system", "echo", iter([1, "x"]), implementation="c") == [1, "x"]


def test_many_come_back_in_order_with_failures_in_place(tandem):
    answers = tandem.send_many("system", "sleep", (wait for wait in [0, "never", 0]))

    assert [type(answer) for answer in answers] == [type(None), ActionFailed, type(None)]


def test_messages_outside_its_life_are_refused():
    made = TandemOrchestrator(CONFIG)
    calls = [
        lambda: made.prepare(ask()), lambda: made.send("system", "echo", 1),
        lambda: made.send_many("system", "echo", [1]), lambda: made.call_sync("system", "echo", 1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotInitialized):
            call()
    made.initialize()
    made.close()
    for call in calls:
        with pytest.raises(Closed):
            call()


def test_before_and_after_its_life_it_refuses():
    made = TandemOrchestrator(CONFIG)
    with pytest.raises(NotInitialized):
        made.submit(ask())
    made.initialize()
    run = made.submit(ask())
    made.close()
    made.close()
    with pytest.raises(Closed):
        made.submit(ask())
    with pytest.raises(Closed):
        run.result()


def test_a_forked_child_is_refused_everywhere(tandem):
    run, plan = tandem.submit(ask()), tandem.prepare(ask())
    calls = [
        tandem.initialize, tandem.close, lambda: tandem.submit(ask()), tandem.get_metrics,
        lambda: tandem.register_agent("x"), tandem.layer_health, tandem.runs, run.result,
        lambda: tandem.create_command_set("x"), run.cancel,
        lambda: tandem.prepare(ask()), plan.run, plan.submit,
        lambda: tandem.send("system", "echo", 1), lambda: tandem.send_many("system", "echo", [1]),
        lambda: tandem.call_sync("system", "echo", 1),
    ]  # fmt: skip
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        for call in calls:
            try:
                call()
                os.write(write_end, b"-")
            except Forked:
                os.write(write_end, b"F")
            except BaseException:  # noqa: BLE001 - told to the parent
                os.write(write_end, b"?")
        os._exit(0)
    os.close(write_end)
    os.waitpid(pid, 0)
    told = os.read(read_end, 100)
    os.close(read_end)
    assert told == b"F" * len(calls)


FORGOTTEN = """
import os, sys, time
from tandem_orchestrator import CommandSet, CommandStep
from tandem_orchestrator.sync import TandemOrchestrator

tandem = TandemOrchestrator({"c_layer": {"enabled": %s}})
tandem.initialize()
agent = tandem.register_agent("t")

@agent.action("heavy", cpu="process")
def heavy(payload, ctx):
    ctx.progress(os.getpid(), 1)
    while True:
        time.sleep(1)

if __name__ == "__main__":
    result = tandem.execute_command_set(
        CommandSet(steps=[CommandStep(agent="system", action="echo", payload=1)])
    )
    print(result["status"], result["run_id"], flush=True)
"""


def test_one_that_is_forgotten_delays_no_exit_and_its_run_is_in_the_journal(tmp_path):
    script = tmp_path / "forgotten.py"
    script.write_text(FORGOTTEN % "False")
    program = subprocess.Popen(
        [sys.executable, "-P", str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    status, run_id = program.stdout.readline().split()
    printed_at = time.monotonic()
    _, errors = program.communicate(timeout=30)

    assert (status, program.returncode, errors) == ("completed", 0, "")
    assert time.monotonic() - printed_at < 5
    with TandemOrchestrator({"c_layer": {"enabled": False}}) as later:
        assert later.run(run_id).result(30)["status"] == "completed"


def test_schedules_are_added_listed_and_removed_without_a_loop(tandem):
    added = tandem.schedules.add("s", ask(), every_s=3600)
    assert tandem.schedules.list() == [added]
    assert tandem.schedules.remove("s")
    assert tandem.schedules.list() == []
    with pytest.raises(NotInitialized):
        TandemOrchestrator(CONFIG).schedules.list()
