"""Cancelling: what can be stopped is stopped, what cannot is reported and never hidden."""

import asyncio
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tandem_orchestrator import CommandError, CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.testing import FakeClock, settle

WAIT_S = 20.0
"""Longest wait for something that is certain to come; only a broken test needs it."""
GRACE_S = 2.0
"""``orchestrator.cancel_grace_s`` by default."""


def ask(action: str, agent: str = "t", **fields: Any) -> CommandSet:
    """Make a set with one step ``a``."""
    return CommandSet(steps=[CommandStep(id="a", agent=agent, action=action, **fields)])


async def wait_for(event: threading.Event) -> None:
    """Wait on the loop for what a thread sets."""
    assert await asyncio.to_thread(event.wait, WAIT_S)


async def test_a_cancelled_coroutine_is_cancelled_and_has_stopped(
    clocked: TandemOrchestrator,
) -> None:
    ended = []

    @clocked.register_agent("t").action("hang")
    async def hang(payload: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    run = await clocked.submit(ask("hang"))
    await settle()
    await run.cancel(by="the user")
    result = await run.result()

    assert (result["status"], ended) == ("cancelled", ["cleaned up"])
    step = result["steps"]["a"]
    assert (step["outcome"], step["stopped"], step["error_type"]) == (
        "cancelled",
        True,
        "Cancelled",
    )
    assert result["error"]


async def test_a_coroutine_that_swallows_its_cancellation_is_abandoned_after_the_grace(
    clocked: TandemOrchestrator, clock: FakeClock
) -> None:
    release = asyncio.Event()

    @clocked.register_agent("t").action("hang")
    async def hang(payload: Any) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    run = await clocked.submit(ask("hang"))
    await settle()
    await run.cancel()
    await clock.advance(GRACE_S - 0.1)
    assert not run._ticket.ended.done()
    await clock.advance(0.2)
    result = await run.result()

    assert result["steps"]["a"]["outcome"] == "abandoned"
    assert result["steps"]["a"]["stopped"] is False
    health = await clocked.python_orchestrator.health_check()
    assert "1 abandoned attempts are still running" in health.reason
    release.set()
    await settle()
    assert not (await clocked.python_orchestrator.health_check()).reason


async def test_a_thread_sees_that_it_is_to_stop(clocked: TandemOrchestrator) -> None:
    began = threading.Event()

    @clocked.register_agent("t").action("poll")
    def poll(payload: Any, ctx: Any) -> str:
        began.set()
        while not ctx.cancelled():
            threading.Event().wait(0.001)
        raise InterruptedError("as asked")

    run = await clocked.submit(ask("poll"))
    await wait_for(began)
    await run.cancel()
    result = await run.result()

    assert result["status"] == "cancelled"
    assert (result["steps"]["a"]["outcome"], result["steps"]["a"]["stopped"]) == ("cancelled", True)


async def test_a_thread_that_does_not_obey_is_abandoned_counted_and_forgotten_at_its_end(
    clocked: TandemOrchestrator, clock: FakeClock
) -> None:
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    @clocked.register_agent("t").action("block")
    def block(payload: Any) -> None:
        began.set()
        release.wait(WAIT_S)
        ended.set()

    run = await clocked.submit(ask("block"))
    await wait_for(began)
    await run.cancel()
    await clock.advance(GRACE_S + 0.1)
    result = await run.result()

    assert (result["steps"]["a"]["outcome"], result["steps"]["a"]["stopped"]) == (
        "abandoned",
        False,
    )
    assert "did not stop within the grace" in result["steps"]["a"]["error"]
    assert clocked.layer_health()["python"].details["abandoned"] == 1
    release.set()
    await wait_for(ended)
    for _ in range(1000):
        if not clocked.layer_health()["python"].details["abandoned"]:
            break
        await asyncio.to_thread(lambda: None)
    assert clocked.layer_health()["python"].details["abandoned"] == 0


async def test_what_finished_before_the_request_counts(clocked: TandemOrchestrator) -> None:
    @clocked.register_agent("t").action("finish")
    async def finish(payload: Any) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done anyway"
        return "never"

    run = await clocked.submit(ask("finish"))
    await settle()
    await run.cancel()
    result = await run.result()

    assert result["status"] == "completed"  # nothing was left to be cancelled
    assert result["steps"]["a"]["outcome"] == "succeeded"
    assert result["results"] == {"a": "done anyway"}


async def test_one_step_can_be_cancelled_alone(clocked: TandemOrchestrator) -> None:
    @clocked.register_agent("t").action("hang")
    async def hang(payload: Any) -> Any:
        if payload == "forever":
            await asyncio.Event().wait()
        return payload

    steps = [
        CommandStep(id="a", agent="t", action="hang", payload="forever", can_fail=True),
        CommandStep(id="b", agent="t", action="hang", payload="short"),
    ]
    run = await clocked.submit(CommandSet(steps=steps))
    await settle()
    await run.cancel("a")
    result = await run.result()

    assert result["status"] == "completed"
    assert [step["outcome"] for step in result["steps"].values()] == ["cancelled", "succeeded"]


async def test_cancelling_the_caller_cancels_the_run(clocked: TandemOrchestrator) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @clocked.register_agent("t").action("hang")
    async def hang(payload: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(clocked.execute_command_set(ask("hang")))
    await asyncio.wait_for(began.wait(), WAIT_S)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    await asyncio.wait_for(ended.wait(), WAIT_S)
    await settle()
    [row] = await clocked.runs()
    assert row.status == "cancelled"


async def test_closing_cancels_what_runs_and_its_result_says_so(
    clocked: TandemOrchestrator,
) -> None:
    @clocked.register_agent("t").action("hang")
    async def hang(payload: Any) -> None:
        await asyncio.Event().wait()

    run = await clocked.submit(ask("hang"))
    await settle()
    await clocked.close()

    assert (await run.result())["status"] == "cancelled"


async def test_a_run_of_no_one_cannot_be_cancelled_here(clocked: TandemOrchestrator) -> None:
    with pytest.raises(CommandError, match="not in progress here"):
        await clocked.run("01nosuchrun").cancel()


# --- worker processes ----------------------------------------------------------------------------


@pytest.fixture
def heavy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of handlers for worker processes, importable by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec = importlib.util.find_spec("heavy")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "heavy", module)
    spec.loader.exec_module(module)
    return module


async def test_a_worker_process_that_obeys_ends_and_one_that_does_not_is_killed(
    clocked: TandemOrchestrator, clock: FakeClock, heavy: ModuleType
) -> None:
    clocked.add_agent(heavy.agent)
    first = (await clocked.execute_command_set(ask("pid", "heavy")))["results"]["a"]
    for action, wait_s in (("obey", 0.0), ("spin", GRACE_S + 0.1)):
        began = asyncio.Event()
        async with clocked.listening(on_progress=lambda *_, began=began: began.set()):
            run = await clocked.submit(ask(action, "heavy"))
            await asyncio.wait_for(began.wait(), WAIT_S)
        await run.cancel()
        if wait_s:
            await clock.advance(wait_s)
        result = await asyncio.wait_for(run.result(), WAIT_S)

        step = result["steps"]["a"]
        assert (result["status"], step["outcome"], step["stopped"]) == (
            "cancelled",
            "cancelled",
            True,
        ), action
    second = (await clocked.execute_command_set(ask("pid", "heavy")))["results"]["a"]
    assert first != second  # the killed one was replaced
    assert not Path(f"/proc/{first}").exists()


async def test_a_worker_that_dies_under_an_external_step_leaves_it_unknown_and_not_repeated(
    clocked: TandemOrchestrator, heavy: ModuleType
) -> None:
    clocked.add_agent(heavy.agent)

    result = await clocked.execute_command_set(ask("die", "heavy"))

    assert result["status"] == "failed"
    assert result["steps"]["a"]["outcome"] == "unknown"
    assert result["steps"]["a"]["attempts"] == 1
    assert result["error_detail"]["type"] == "WorkerDied"
