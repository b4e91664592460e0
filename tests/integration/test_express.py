"""The express way: nothing tells it from an ordinary run but the time it takes."""

import array
import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    InvalidCommandSet,
    Ref,
    TandemOrchestrator,
)
from tandem_orchestrator.model.events import RunAccepted
from tandem_orchestrator.orchestrator.express import Express

pytestmark = pytest.mark.native
WAIT_S = 20.0


def step(step_id: str, payload: Any = None, action: str = "echo", **fields: Any) -> CommandStep:
    return CommandStep(id=step_id, agent="system", action=action, payload=payload, **fields)


def quick(*steps: CommandStep, **fields: Any) -> CommandSet:
    return CommandSet(mode="SPEED_CRITICAL", durability="none", steps=list(steps), **fields)


def diamond(n: int) -> CommandSet:
    middle = [f"m{i}" for i in range(8)]
    return quick(
        step("first", {"n": n}),
        *[step(name, {"from": Ref("first", "n"), "i": [n, name]}) for name in middle],
        step("last", [Ref(name) for name in middle]),
        name=f"diamond {n}",
    )


@pytest.fixture
async def tandem() -> AsyncIterator[TandemOrchestrator]:
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as made:
        await made.execute_command_set(quick(step("a"), step("b")))
        yield made


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what became of each run that tried the express way."""
    seen: list[str] = []
    run = Express.run

    async def watched(self: Express, *arguments: Any) -> Any:
        ended = await run(self, *arguments)
        seen.append(type(ended).__name__)
        return ended

    monkeypatch.setattr(Express, "run", watched)
    return seen


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs between two runs of one set."""
    kept = {key: value for key, value in result.items() if key not in ("run_id", "duration")}
    kept["steps"] = {
        step_id: {key: value for key, value in one.items() if key != "seconds"}
        for step_id, one in result["steps"].items()
    }
    return kept


async def ordinary(tandem: TandemOrchestrator, asked: CommandSet) -> dict[str, Any]:
    """Run a set with somebody listening, which no express run can have."""
    async with tandem.listening(lambda run_id, event: None):
        return await tandem.execute_command_set(asked)


async def test_the_second_run_of_a_structure_takes_it_with_other_values(tandem, ways):
    first = await tandem.execute_command_set(diamond(1))
    assert ways == ["NoneType"], "its program is not loaded yet"
    second = await tandem.execute_command_set(diamond(36))  # 36 is the byte of a dollar sign
    third = await tandem.execute_command_set(diamond(3))
    assert ways == ["NoneType", "dict", "dict"]
    assert [r["results"]["m7"]["from"] for r in (first, second, third)] == [1, 36, 3]
    assert [r["name"] for r in (first, second, third)] == ["diamond 1", "diamond 36", "diamond 3"]
    assert timeless(await ordinary(tandem, again := diamond(3))) == timeless(
        await tandem.execute_command_set(again)
    )


async def test_a_prepared_plan_takes_it_and_its_inputs_come_along(tandem, ways):
    plan = await tandem.prepare(
        quick(step("a", {"x": Ref("inputs", "x")}), step("b", [Ref("a", "x"), "and"]))
    )
    for x in ("one", [2], None):
        assert (await plan.run(inputs={"x": x}))["results"]["b"] == [x, "and"]
    assert ways == ["NoneType", "dict", "dict"]
    with pytest.raises(InvalidCommandSet, match="inputs"):
        await plan.run()


async def test_its_record_is_that_of_an_ordinary_run(tandem):
    await tandem.execute_command_set(diamond(1))
    asked = diamond(5)
    told: list[Any] = []
    async with tandem.listening(lambda _, event: told.append(event)):
        usual = await tandem.execute_command_set(asked)
    result = await tandem.execute_command_set(asked)

    (newest, before) = (await tandem.runs(limit=2))[:2]
    assert (newest.run_id, before.run_id) == (result["run_id"], usual["run_id"])
    assert (newest.steps_done, newest.records, newest.status) == (10, 5, "completed")
    view = await tandem.view(result["run_id"])
    assert view is not None and view.result() == result
    accepted = view.accepted
    ordinary_one = next(event for event in told if isinstance(event, RunAccepted))
    assert accepted is not None
    for name in ("document", "plan", "inputs", "name", "command_set_id", "steps_total", "mode"):
        found, expected = (
            msgspec.to_builtins(getattr(one, name)) for one in (accepted, ordinary_one)
        )
        assert msgspec.json.encode(found) == msgspec.json.encode(expected), name
    kinds = [event["kind"] async for event in tandem.run(result["run_id"]).events()]
    assert kinds == [
        "run_accepted", "run_started", "segment_started", "segment_ended", "run_ended",
    ]  # fmt: skip


async def test_what_the_caller_changes_afterwards_is_not_in_the_record(tandem):
    await tandem.execute_command_set(diamond(1))
    asked = diamond(5)
    result = await tandem.execute_command_set(asked)
    asked.steps[0].payload["n"] = 6
    asked.steps.clear()
    view = await tandem.view(result["run_id"])
    assert view is not None and view.plan.steps[0].payload == {"n": 5}


async def test_metrics_count_it(tandem):
    before = tandem.get_metrics()
    await tandem.execute_command_set(diamond(1))
    await tandem.execute_command_set(diamond(2))
    after = tandem.get_metrics()
    assert after["c_msgs_processed"] - before["c_msgs_processed"] == 20
    stats = after["execution_stats"]["speed_critical"]
    assert stats["completed"] == before["execution_stats"]["speed_critical"]["completed"] + 2


async def test_a_failed_step_goes_on_as_an_ordinary_run_from_what_came_back(tandem, ways):
    def asked(seconds: float) -> CommandSet:
        return quick(
            step("a"),
            step("b", {"seconds": seconds}, "sleep"),
            step("c", Ref("b")),
            type="sequence",
        )

    await tandem.execute_command_set(asked(0))
    counted = tandem.get_metrics()["c_msgs_processed"]
    result = await tandem.execute_command_set(asked(-1))
    assert ways[-1] == "SegmentEnded"
    assert result["status"] == "failed"
    assert [s["outcome"] for s in result["steps"].values()] == ["succeeded", "failed", "skipped"]
    assert tandem.get_metrics()["c_msgs_processed"] - counted == 2, "nothing ran twice"
    view = await tandem.view(result["run_id"])
    assert view is not None and view.plan.steps[1].payload == {"seconds": -1}


async def test_a_step_that_may_be_tried_again_is_tried_again(tandem, ways):
    again = {"max_retries": 1, "initial_delay": 0.001}
    plan = await tandem.prepare(
        quick(step("a"), step("b", {"seconds": Ref("inputs", "s")}, "sleep", retry_policy=again))
    )
    await plan.run(inputs={"s": 0})
    result = await plan.run(inputs={"s": -1})
    assert ways[-1] == "SegmentEnded"
    assert (result["status"], result["steps"]["b"]["attempts"]) == ("failed", 2)


async def test_a_bridge_that_dies_under_it_costs_an_attempt(tandem, ways):
    plan = await tandem.prepare(
        quick(
            step("a", 1), step("b", {"seconds": Ref("inputs", "s")}, "sleep"), step("c", Ref("a"))
        )
    )
    await plan.run(inputs={"s": 0})
    running = asyncio.ensure_future(plan.run(inputs={"s": 0.4}))
    while tandem.layer_health()["c"].details["in_flight"] == 0:
        await asyncio.sleep(0.001)
    await tandem.send("system", "noop", None)
    os.kill(tandem.layer_health()["c"].details["pid"], signal.SIGKILL)
    result = await asyncio.wait_for(running, WAIT_S)
    assert ways[-1] == "SegmentEnded"
    assert (result["status"], result["results"]["c"]) == ("completed", 1)


async def test_who_stops_waiting_stops_the_program_and_gives_its_place_back(tandem):
    plan = await tandem.prepare(quick(step("a", {"seconds": Ref("inputs", "s")}, "sleep")))
    await plan.run(inputs={"s": 0})
    running = asyncio.ensure_future(plan.run(inputs={"s": 60}))
    while tandem.layer_health()["c"].details["in_flight"] == 0:
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(WAIT_S):
        while tandem.layer_health()["c"].details["in_flight"]:
            await asyncio.sleep(0.001)
    assert (await plan.run(inputs={"s": 0}))["status"] == "completed"


async def test_more_than_there_are_places_wait_for_one(tandem, ways):
    plan = await tandem.prepare(quick(step("a", {"seconds": 0.01}, "sleep"), step("b")))
    await plan.run()
    results = await asyncio.gather(*(plan.run() for _ in range(150)))
    assert {result["status"] for result in results} == {"completed"}
    assert "NoneType" in ways and "dict" in ways
    assert len({result["run_id"] for result in results}) == 150


async def test_values_with_a_meaning_of_their_own_come_back_as_they_went_in(tandem):
    numbers = array.array("d", [1.5, 2.5])
    for payload in (numbers, {"$literal": {"$ref": "x"}}, {"price": "$5"}, [b"$ref", 2**64 - 1]):
        asked = quick(step("a", payload), step("b", {"back": Ref("a")}))
        results = [await tandem.execute_command_set(asked) for _ in range(3)]
        usual = await ordinary(tandem, asked)
        assert all(timeless(result) == timeless(usual) for result in results)
    assert results[0]["results"]["b"]["back"] == [b"$ref", 2**64 - 1]


async def test_only_so_many_ended_runs_are_kept(tandem):
    plan = await tandem.prepare(quick(step("a"), step("b")))
    ids = [(await plan.run())["run_id"] for _ in range(1_050)]
    kept = {row.run_id for row in await tandem.runs(limit=5_000)}
    assert len(kept) <= 1_001 and set(ids[-900:]) <= kept and ids[0] not in kept


async def test_what_a_plan_depends_on_is_asked_each_time(tandem, ways):
    await tandem.execute_command_set(diamond(1))
    await tandem.execute_command_set(diamond(1))
    assert ways[-1] == "dict"
    tandem.config["orchestrator"]["default_priority"] = "high"
    result = await tandem.execute_command_set(diamond(1))
    view = await tandem.view(result["run_id"])
    assert view is not None and view.plan.priority == "high"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.text(max_size=4) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@st.composite
def shapes(draw):
    """Sets of echoes whose payloads mix values and references; and two sets of values for them."""
    plan = []
    for i in range(draw(st.integers(1, 6))):
        needs = draw(st.lists(st.sampled_from(range(i)), unique=True, max_size=2)) if i else []
        plan.append((i, needs, draw(st.sampled_from(["list", "dict"]))))
    return plan, draw(st.lists(VALUES, min_size=6, max_size=6))


def built(plan: list[tuple[int, list[int], str]], values: list[Any]) -> CommandSet:
    steps = []
    for i, needs, kind in plan:
        refs = [Ref(f"s{n}") for n in needs]
        payload = [values[i], *refs] if kind == "list" else {"v": values[i], "r": refs}
        steps.append(step(f"s{i}", payload))
    return quick(*steps)


async def test_any_structure_gives_what_the_ordinary_way_gives(tandem):
    loop = asyncio.get_running_loop()

    async def both(plan: Any, values: list[Any]) -> None:
        for mine in (values, values[::-1], values):
            asked = built(plan, mine)
            expected = timeless(await ordinary(tandem, asked))
            found = timeless(await tandem.execute_command_set(asked))
            assert repr(found) == repr(expected)  # NaN is not equal to itself

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(shapes())
    def check(drawn: Any) -> None:
        asyncio.run_coroutine_threadsafe(both(*drawn), loop).result(WAIT_S)

    await asyncio.to_thread(check)


@pytest.mark.parametrize(
    "fields", [{"mode": ["odd"]}, {"on_failure": {}}, {"dependencies": {"a": [["b"]]}}]
)
async def test_what_cannot_be_a_key_is_refused_as_ever(tandem, fields):
    asked = quick(step("a"), step("b"))
    for name, value in fields.items():
        setattr(asked, name, value)
    with pytest.raises(InvalidCommandSet):
        await tandem.execute_command_set(asked)
