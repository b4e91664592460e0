"""Segments through a whole orchestrator: one crossing, and the result of a run step by step."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.model.events import AttemptStarted, SegmentEnded, SegmentStarted, StepEnded

pytestmark = pytest.mark.native
WAIT_S = 20.0


def step(step_id: str, action: str = "echo", payload: Any = None, **fields: Any) -> CommandStep:
    return CommandStep(id=step_id, agent="system", action=action, payload=payload, **fields)


@pytest.fixture
async def tandem(tmp_path: Path) -> AsyncIterator[TandemOrchestrator]:
    config = {"journal": {"path": str(tmp_path / "j.db")}}
    async with TandemOrchestrator(config) as made:
        yield made


async def events_of(tandem: TandemOrchestrator, command_set: CommandSet) -> tuple[dict, list]:
    seen: list[Any] = []
    async with tandem.listening(lambda _, event: seen.append(event)):
        async with asyncio.timeout(WAIT_S):
            return await tandem.execute_command_set(command_set), seen


def diamond(**fields: Any) -> CommandSet:
    middle = [f"m{i}" for i in range(8)]
    return CommandSet(
        steps=[
            step("first", payload={"n": 7}),
            *[step(name, payload={"from": Ref("first", "n")}) for name in middle],
            step("last", payload=[Ref(name) for name in middle]),
        ],
        **fields,
    )


async def test_a_diamond_of_native_steps_is_one_crossing(tandem):
    result, events = await events_of(tandem, diamond(mode="SPEED_CRITICAL"))
    assert result["results"]["last"] == [{"from": 7}] * 8
    kinds = [type(event) for event in events]
    assert (kinds.count(SegmentStarted), kinds.count(SegmentEnded)) == (1, 1)
    assert AttemptStarted not in kinds and StepEnded not in kinds
    assert {s["layer"] for s in result["steps"].values()} == {"c"}
    assert {s["reason"] for s in result["steps"].values()} == {"SPEED_CRITICAL runs c"}
    assert tandem.get_metrics()["c_msgs_processed"] == 10


async def test_its_journal_tells_the_same_later(tandem):
    result, _ = await events_of(tandem, diamond(mode="SPEED_CRITICAL", durability="group"))
    view = await tandem.view(result["run_id"])
    assert view is not None and view.result() == result
    (row,) = await tandem.runs()
    assert (row.steps_done, row.steps_total, row.records) == (10, 10, 5)


async def test_events_can_be_followed_at_once_although_nothing_is_written_yet(tandem):
    run = await tandem.submit(diamond(mode="SPEED_CRITICAL", durability="async"))
    kinds = [event["kind"] async for event in run.events()]
    assert kinds[0] == "run_accepted" and kinds[-1] == "run_ended"


async def test_a_step_that_python_looks_at_ends_its_segment(tandem):
    asked = CommandSet(
        type="sequence",
        mode="SPEED_CRITICAL",
        steps=[
            step("a", payload={"n": 1}),
            step("b", payload={"n": "text"}, expected_output={"n": "integer"}),
            step("c", payload=Ref("b", "n")),
        ],
    )
    result, events = await events_of(tandem, asked)
    assert result["status"] == "failed"
    assert result["error_detail"]["type"] == "UnexpectedOutput"
    assert result["steps"]["c"]["outcome"] == "skipped"
    assert [event.steps for event in events if isinstance(event, SegmentStarted)] == [("a", "b")]


async def test_a_validation_is_asked_at_the_segments_end(tandem):
    seen: list[Any] = []
    asked = CommandSet(
        type="sequence",
        mode="intelligent",
        steps=[
            step("a", payload=1, implementations=["c"]),
            step("b", payload=2, implementations=["c"], validation_fn=seen.append),
            step("c", payload=3, implementations=["c"]),
        ],
    )
    result, events = await events_of(tandem, asked)
    assert (result["status"], seen) == ("completed", [2])
    assert [event.steps for event in events if isinstance(event, SegmentStarted)] == [("a", "b")]


async def test_a_cancelled_run_stops_its_segment(tandem):
    asked = CommandSet(
        type="sequence",
        mode="SPEED_CRITICAL",
        steps=[step("a"), step("long", "sleep", {"seconds": 60}), step("after")],
    )
    started = asyncio.Event()
    async with tandem.listening(
        lambda _, event: started.set() if isinstance(event, SegmentStarted) else None
    ):
        run = await tandem.submit(asked)
        await asyncio.wait_for(started.wait(), WAIT_S)
        began = time.monotonic()
        await run.cancel(by="me")
        result = await asyncio.wait_for(run.result(), WAIT_S)
    assert time.monotonic() - began < 4.0, "it was heard, not waited for"
    assert result["status"] == "cancelled"
    assert result["steps"]["a"]["outcome"] in ("succeeded", "skipped")
    assert result["steps"]["after"]["outcome"] == "skipped"


async def test_a_steps_time_limit_holds_inside_of_a_segment(tandem):
    asked = CommandSet(
        type="sequence",
        mode="SPEED_CRITICAL",
        steps=[step("a"), step("long", "sleep", {"seconds": 60}, timeout=0.05), step("after")],
    )
    result, _ = await events_of(tandem, asked)
    assert result["status"] == "failed"
    assert result["steps"]["long"]["outcome"] == "timed_out"
    assert "time limit of 0.05 s" in result["error"]


async def test_a_bridge_that_dies_under_a_segment_costs_an_attempt_and_no_result(tandem):
    asked = CommandSet(
        type="sequence",
        mode="SPEED_CRITICAL",
        steps=[
            step("a", payload=1),
            step("b", "sleep", {"seconds": 0.4}),
            step("c", payload=[Ref("a"), 3]),
        ],
    )
    run = await tandem.submit(asked)
    while tandem.layer_health()["c"].details["in_flight"] == 0:
        await asyncio.sleep(0.001)
    # An answer to what came later: the segment was taken.
    await tandem.send("system", "noop", None)
    os.kill(tandem.layer_health()["c"].details["pid"], signal.SIGKILL)
    result = await asyncio.wait_for(run.result(), WAIT_S)
    assert result["status"] == "completed", result["error"]
    assert result["results"]["c"] == [1, 3]
    assert any("died" in note for note in result["notes"])


async def test_a_python_step_between_two_native_ones_makes_two_segments(tandem):
    agent = tandem.register_agent("mine")

    @agent.action("double", effects="none")
    def double(payload: Any) -> Any:
        return payload * 2

    asked = CommandSet(
        steps=[
            step("a", payload=3, implementations=["c"]),
            step("b", payload=Ref("a"), implementations=["c"]),
            CommandStep(id="p", agent="mine", action="double", payload=Ref("b")),
            step("c", payload=Ref("p"), implementations=["c"]),
            step("d", payload=[Ref("c"), Ref("a")], implementations=["c"]),
        ]
    )
    result, events = await events_of(tandem, asked)
    assert result["results"]["d"] == [6, 3]
    segments = [event.steps for event in events if isinstance(event, SegmentStarted)]
    assert segments == [("a", "b"), ("c", "d")]


@st.composite
def command_sets(draw):
    """Sets of echoes that refer to each other, skip, fail and may fail."""
    steps = []
    for i in range(draw(st.integers(2, 8))):
        needs = draw(st.lists(st.sampled_from(range(i)), unique=True, max_size=2)) if i else []
        payload: Any = {"i": i, "from": [Ref(f"s{n}", "i", default=None) for n in needs]}
        action = draw(st.sampled_from(["echo", "echo", "echo", "sleep"]))
        if action == "sleep":  # a negative time is its failure
            payload = {"seconds": draw(st.sampled_from([0, 0, -1]))}
        when = None
        if needs and draw(st.integers(0, 3)) == 0:
            when = {"ref": f"s{needs[0]}#/i", "op": draw(st.sampled_from(["exists", "truthy"]))}
        steps.append(
            step(
                f"s{i}",
                action,
                payload,
                can_fail=draw(st.booleans()),
                when=when,
                retry_policy={"max_retries": draw(st.integers(0, 1)), "initial_delay": 0.001},
                for_each=[1, 2] if draw(st.integers(0, 5)) == 0 else None,
            )
        )
    return steps


def told(result: dict[str, Any]) -> dict[str, Any]:
    """Keep what must not depend on where and in how many crossings it ran.

    How many items of a failing step were tried depends on how many were out at one time.
    """
    return {
        "status": result["status"],
        "results": result["results"],
        "steps": {
            step_id: (
                one["outcome"],
                one["attempts"] if one["outcome"] == "succeeded" else None,
                bool(one["failed_items"]),
                one["error_type"],
            )
            for step_id, one in result["steps"].items()
        },
    }


@pytest.mark.timeout(180)
async def test_a_run_in_segments_gives_what_a_run_step_by_step_gives(tandem):
    loop = asyncio.get_running_loop()

    async def both(steps: list[CommandStep]) -> None:
        ways = {"native": ("SPEED_CRITICAL", "stop"), "python": ("PYTHON_ONLY", "stop")}
        found = {}
        for way, (mode, on_failure) in ways.items():
            asked = CommandSet(type="sequence", mode=mode, steps=steps, on_failure=on_failure)
            found[way] = told(await tandem.execute_command_set(asked))
        assert found["native"] == found["python"]

    # Hypothesis runs in a thread of its own, the orchestrator in its loop.
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(command_sets())
    def check(steps: list[CommandStep]) -> None:
        asyncio.run_coroutine_threadsafe(both(steps), loop).result(WAIT_S)

    await asyncio.to_thread(check)


async def test_outputs_beyond_a_programs_memory_cost_a_second_attempt_and_no_result(tandem):
    body = "x" * (4 << 20)
    steps = [step("a", payload=body), *[step(f"e{i}", payload=Ref("a")) for i in range(20)]]
    asked = CommandSet(mode="SPEED_CRITICAL", durability="none", steps=steps)
    result, _ = await events_of(tandem, asked)
    assert result["status"] == "completed", result["error"]
    assert {len(output) for output in result["results"].values()} == {4 << 20}
    assert max(one["attempts"] for one in result["steps"].values()) == 2
