"""The prompt way: nothing tells its runs from ordinary ones but the time they take."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.journal import sqlite_journal
from tandem_orchestrator.orchestrator import prompt
from tandem_orchestrator.orchestrator.prompt import Prompt

pytestmark = pytest.mark.native
WAIT_S = 20.0
NAMES = ["first", "m0", "m1", "m2", "last"]
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def diamond(n: Any, action: str = "add", **fields: Any) -> CommandSet:
    middle = NAMES[1:-1]

    def step(name: str, payload: Any, which: str = "add") -> CommandStep:
        return CommandStep(id=name, agent="own", action=which, payload=payload)

    steps = [step("first", {"n": n}), *[step(name, {"n": Ref("first", "n")}) for name in middle]]
    steps.append(step("last", {"n": [Ref(name) for name in middle]}, action))
    return CommandSet(steps=steps, **{"name": f"diamond {n}", **fields})


class Seen:
    """What handlers saw."""

    def __init__(self) -> None:
        self.calls = 0
        self.tasks: list[Any] = []
        self.texts: list[str] = []
        self.runs: list[str] = []
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no run lose its way because others had the processor for a while."""
    monkeypatch.setattr(prompt, "SLICE_NS", 3_600 * 10**9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
async def tandem(path: Path, seen: Seen) -> AsyncIterator[TandemOrchestrator]:
    async with TandemOrchestrator({"journal": {"path": str(path)}}) as made:
        own = made.register_agent("own")

        @own.action("add", effects="none")
        async def add(payload: Any) -> Any:
            return {"n": payload["n"] if isinstance(payload["n"], list) else payload["n"] + 1}

        @own.action("tell", effects="none")
        async def tell(payload: Any, ctx: Any) -> Any:
            seen.runs.append(ctx.run_id)
            return [sorted(ctx.inputs), ctx.step_id, ctx.attempt, ctx.cancelled(), who.get()]

        @own.action("wait", effects="none")
        async def wait(payload: Any, ctx: Any) -> Any:
            seen.calls += 1
            seen.tasks.append(asyncio.current_task())
            who.set("inside")
            try:
                async with asyncio.timeout(WAIT_S):
                    seen.entered.set()
                    await seen.gate.wait()
            finally:
                seen.tasks.append(asyncio.current_task())
                seen.texts.append(who.get())
            return {"n": payload["n"], "run": ctx.run_id}

        @own.action("late", effects="none")
        async def late(payload: Any) -> Any:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

        @own.action("fail", effects="none")
        async def fail(payload: Any) -> Any:
            seen.calls += 1
            raise ValueError("no such thing")

        @own.action("exit", effects="none")
        async def leave(payload: Any) -> Any:
            raise SystemExit(3)

        @own.action("strange", effects="none")
        async def strange(payload: Any) -> Any:
            seen.calls += 1
            return object()

        @own.action("large", effects="none")
        async def large(payload: Any) -> Any:
            seen.calls += 1
            return "x" * 100_000

        @own.action("cancels", effects="none")
        async def cancels(payload: Any) -> Any:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return 1

        yield made


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what became of each run that tried the prompt way."""
    noted: list[str] = []
    run = Prompt.run

    async def watched(self: Prompt, *arguments: Any) -> Any:
        ended = await run(self, *arguments)
        noted.append(type(ended).__name__)
        return ended

    monkeypatch.setattr(Prompt, "run", watched)
    return noted


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs between two runs of one set."""
    kept = {key: value for key, value in result.items() if key not in ("run_id", "duration")}
    kept["steps"] = {
        step_id: {key: value for key, value in one.items() if key != "seconds"}
        for step_id, one in result["steps"].items()
    }
    return kept


async def ordinary(tandem: TandemOrchestrator, asked: CommandSet) -> dict[str, Any]:
    """Run a set with somebody listening, which no quick run can have."""
    async with tandem.listening(lambda run_id, event: None):
        return await tandem.execute_command_set(asked)


async def events(tandem: TandemOrchestrator, run_id: str) -> list[dict[str, Any]]:
    return [event async for event in tandem.run(run_id).events()]


@pytest.mark.parametrize("durability", ["sync", "group", "async", "none"])
async def test_its_result_is_that_of_an_ordinary_run(tandem, ways, durability):
    asked = diamond(4, durability=durability)
    usual = await ordinary(tandem, asked)
    for _ in range(3):  # planned for it, then found again
        result = await tandem.execute_command_set(asked)
        assert timeless(result) == timeless(usual)
    assert ways == ["NoneType", "dict", "dict", "dict"]
    other = await tandem.execute_command_set(diamond(7, durability=durability))
    assert other["results"]["last"] == {"n": [{"n": 9}] * 3}
    assert other["name"] == "diamond 7"


async def test_it_is_on_the_disk_when_the_result_is_given(tandem, path):
    result = await tandem.execute_command_set(diamond(1, durability="group"))
    reader = sqlite_journal(path)
    await reader.open(None)
    row = await reader.run(result["run_id"])
    records = await reader.records(result["run_id"])
    await reader.close()
    assert row is not None
    assert (row.status, row.steps_done, row.steps_total) == ("completed", 5, 5)
    kinds = [record.kind for record in records]
    assert kinds == ["run_accepted", "steps_ran", "run_started", "run_ended"]


async def test_what_is_read_back_is_the_result(tandem):
    for n in range(3):
        result = await tandem.execute_command_set(diamond(n, durability="group"))
    assert await tandem.run(result["run_id"]).result() == result
    view = await tandem.view(result["run_id"])
    assert view is not None
    assert view.plan.steps[0].payload == {"n": 2}
    assert view.accepted is not None
    assert view.accepted.document["steps"][0]["payload"] == {"n": 2}


async def test_a_handler_sees_the_run_that_it_is_of(tandem, seen):
    token = who.set("submitter")
    result = await tandem.execute_command_set(diamond(1, "tell"))
    who.reset(token)
    inputs = NAMES[1:-1]
    assert result["results"]["last"] == [inputs, "last", 1, False, "submitter"]
    assert seen.runs == [result["run_id"]]


async def test_a_handler_that_waits_goes_on_from_where_it_is(tandem, seen, ways):
    going = asyncio.create_task(tandem.execute_command_set(diamond(1, "wait")))
    await asyncio.wait_for(seen.entered.wait(), WAIT_S)
    seen.gate.set()
    result = await asyncio.wait_for(going, WAIT_S)
    assert result["status"] == "completed"
    assert result["results"]["last"] == {"n": [{"n": 3}] * 3, "run": result["run_id"]}
    assert ways == ["Ahead"]
    assert seen.calls == 1
    assert seen.tasks[0] is seen.tasks[1] is not None
    assert seen.texts == ["inside"]
    assert who.get() == "nobody"
    kinds = [event["kind"] for event in await events(tandem, result["run_id"])]
    assert kinds == [
        "run_accepted", "steps_ran", "run_started", "attempt_started", "attempt_ended",
        "step_ended", "run_ended",
    ]  # fmt: skip
    assert await tandem.run(result["run_id"]).result() == result


async def test_a_run_whose_handler_waits_is_in_the_journal_and_can_be_cancelled(tandem, seen):
    going = asyncio.create_task(tandem.execute_command_set(diamond(1, "wait")))
    await asyncio.wait_for(seen.entered.wait(), WAIT_S)
    async with asyncio.timeout(WAIT_S):
        while not (rows := await tandem.runs(status="running")):
            await asyncio.sleep(0)
    answer = await tandem.run(rows[0].run_id).cancel(wait_s=WAIT_S)
    result = await asyncio.wait_for(going, WAIT_S)
    assert answer.stopped
    assert result["status"] == "cancelled"
    assert result["steps"]["m1"]["outcome"] == "succeeded"
    assert result["steps"]["last"]["outcome"] == "cancelled"
    assert len(seen.tasks) == 2, "the handler was left"


async def test_a_caller_who_goes_at_once_stops_the_handler(tandem, seen):
    going = asyncio.create_task(tandem.execute_command_set(diamond(1, "wait")))
    await asyncio.wait_for(seen.entered.wait(), WAIT_S)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    async with asyncio.timeout(WAIT_S):
        while len(seen.tasks) < 2:
            await asyncio.sleep(0)


async def test_a_plan_whose_handler_waited_goes_the_ordinary_way_for_a_while(tandem, seen, ways):
    seen.gate.set()
    for _ in range(7):
        await tandem.execute_command_set(diamond(1, "wait"))
    assert set(ways) == {"dict"}, "a gate that stands open lets it through"
    seen.gate.clear()
    going = asyncio.create_task(tandem.execute_command_set(diamond(1, "wait")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    seen.gate.set()
    await going
    ways.clear()
    for _ in range(5):
        await tandem.execute_command_set(diamond(1, "wait"))
    assert ways == ["NoneType"] * 4 + ["dict"]


async def test_a_run_that_takes_long_goes_on_as_an_ordinary_one(tandem, ways, monkeypatch):
    monkeypatch.setattr(prompt, "SLICE_NS", 0)
    result = await tandem.execute_command_set(diamond(1))
    assert result["results"]["last"] == {"n": [{"n": 3}] * 3}
    assert ways == ["Ahead"]
    ended = [e["kind"] for e in await events(tandem, result["run_id"])].count("step_ended")
    assert ended == 4, "the first one stood"


async def test_a_time_limit_set_before_the_wait_ends_the_wait(tandem):
    result = await asyncio.wait_for(tandem.execute_command_set(diamond(1, "late")), WAIT_S)
    assert result["status"] == "failed"
    assert result["steps"]["last"]["error_type"] == "TimeoutError"


@pytest.mark.parametrize("action", ["fail", "exit", "strange", "large", "cancels"])
async def test_what_is_no_plain_success_ends_as_it_does_ordinarily(tandem, seen, ways, action):
    asked = diamond(1, action)
    usual = timeless(await ordinary(tandem, asked))
    calls = seen.calls
    result = timeless(await tandem.execute_command_set(asked))
    assert ways == ["NoneType", "Ahead"]
    assert seen.calls == 2 * calls
    for each in (usual, result):
        if each["error_detail"]:
            each["error_detail"] = {**each["error_detail"], "traceback": None}
    assert result == usual


async def test_a_run_that_went_it_can_be_retried_and_forked(tandem):
    for n in range(2):
        result = await tandem.execute_command_set(diamond(n, durability="group"))
    run = tandem.run(result["run_id"])
    await run.retry("m1")
    again = await run.result()
    assert again["status"] == "completed"
    assert again["results"] == result["results"]
    assert again["steps"]["m1"]["attempts"] == 2
    fork = await run.fork("first", {"n": 40})
    assert (await fork.result())["results"]["last"] == {"n": [{"n": 42}] * 3}


async def test_a_prepared_plan_goes_it(tandem, ways):
    asked = diamond(0)
    asked.steps[0].payload = {"n": Ref("inputs", "n")}
    plan = await tandem.prepare(asked)
    for n in range(3):
        result = await plan.run(inputs={"n": n})
        assert result["results"]["last"] == {"n": [{"n": n + 2}] * 3}
        view = await tandem.view(result["run_id"])
        assert view is not None
        assert view.accepted is not None
        assert view.accepted.inputs == {"n": n}
    assert ways == ["dict"] * 3


async def test_limits_and_a_listener_lead_to_the_ordinary_way(tandem, ways):
    await tandem.execute_command_set(diamond(1))
    tandem.register_agent("own", max_concurrency=2)
    await tandem.execute_command_set(diamond(1))
    assert ways == ["dict", "NoneType"]


async def test_metrics_count_it(tandem):
    before = tandem.get_metrics()
    await tandem.execute_command_set(diamond(1))
    after = tandem.get_metrics()
    assert after["python_msgs_processed"] - before["python_msgs_processed"] == 5
    stats = after["execution_stats"]["intelligent"]
    assert stats["completed"] == stats["runs"] == 1
