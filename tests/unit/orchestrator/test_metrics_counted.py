"""``get_metrics`` is what happened: counted again here, from the runs' own results."""

import random
from collections import Counter
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator

NATIVE_AWAY = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}


def offer(tandem: TandemOrchestrator, ran: Counter[str]) -> None:
    shop = tandem.register_agent("shop")

    @shop.action("sum", effects="none")
    async def add(payload: list[int]) -> int:
        ran["python"] += 1
        return sum(payload)

    @shop.action("fail", effects="none")
    def fail(payload: Any) -> None:
        ran["python"] += 1
        raise ValueError("as asked")

    @shop.action("twice", effects="none", deterministic=True)
    async def twice(payload: int) -> int:
        ran["python"] += 1
        return 2 * payload

    @shop.action("price", effects="none")
    async def price(payload: int) -> int:
        ran["python"] += 1
        return payload

    @price.twin("v2")
    async def price_v2(payload: int) -> int:
        ran["python"] += 1
        return payload + payload % 2  # differs on odd ones


def some_set(rng: random.Random) -> CommandSet:
    kind = rng.choice(["sum", "fail", "retry", "twice", "items", "compared", "skipped"])
    if kind == "compared":
        payload = rng.randrange(4)
        step = CommandStep(agent="shop", action="price", payload=payload)
        return CommandSet(mode="redundant", steps=[step])
    if kind == "items":
        numbers = [rng.randrange(3) for _ in range(rng.randrange(4))]
        step = CommandStep(agent="shop", action="twice", payload=Ref("item"), for_each=numbers)
    elif kind == "twice":
        step = CommandStep(agent="shop", action="twice", payload=rng.randrange(3))
    elif kind == "retry":
        policy = {"max_retries": rng.randrange(3), "initial_delay": 0.0}
        step = CommandStep(agent="shop", action="fail", retry_policy=policy)
    elif kind == "skipped":
        step = CommandStep(agent="shop", action="sum", payload=[1], when={"all": [], "any": []})
        step.when = {"ref": {"$ref": "inputs#/go", "default": 0}, "op": "eq", "value": 1}
    else:
        step = CommandStep(agent="shop", action=kind, payload=[1, 2])
    mode = rng.choice(["intelligent", "python_only"])
    return CommandSet(mode=mode, steps=[step])


@pytest.mark.parametrize("seed", range(3))
async def test_counts_are_those_of_an_independent_tally(seed: int) -> None:
    rng, ran = random.Random(seed), Counter[str]()
    modes: dict[str, Counter[str]] = {}
    seconds: dict[str, float] = {}
    verdicts, hits = Counter[bool](), 0
    async with TandemOrchestrator(NATIVE_AWAY) as tandem:
        offer(tandem, ran)
        for _ in range(60):
            run = await tandem.submit(some_set(rng))
            result = await run.result()
            tally = modes.setdefault(result["mode"], Counter())
            tally["runs"] += 1
            tally["completed" if result["status"] == "completed" else "failed"] += 1
            seconds[result["mode"]] = seconds.get(result["mode"], 0.0) + result["duration"]
            if "consensus_achieved" in result:
                verdicts[result["consensus_achieved"]] += 1
            hits += sum([1 async for event in run.events() if event.get("cached", False) is True])
        for _ in range(5):
            await tandem.send("shop", "sum", [1])
        metrics = tandem.get_metrics()

    assert metrics["python_msgs_processed"] == ran["python"]
    assert metrics["c_msgs_processed"] == 0
    assert (metrics["redundant_agreements"], metrics["redundant_conflicts"]) == (
        verdicts[True],
        verdicts[False],
    )
    assert {mode: row["runs"] for mode, row in metrics["execution_stats"].items()} == {
        mode: tally["runs"] for mode, tally in modes.items()
    }
    for mode, row in metrics["execution_stats"].items():
        assert set(row) == {"runs", "completed", "failed", "avg_duration"}
        assert (row["completed"], row["failed"]) == (
            modes[mode]["completed"],
            modes[mode]["failed"],
        )
        assert row["avg_duration"] == pytest.approx(seconds[mode] / modes[mode]["runs"])
    assert metrics["cache"]["hits"] > 0
    assert 0 < metrics["avg_python_latency"] < 1
    assert min(verdicts.values()) > 0  # both kinds were there


@pytest.mark.native
async def test_messages_and_runs_count_alike_in_both_layers() -> None:
    steps = [CommandStep(agent="system", action="echo", payload=n) for n in range(3)]
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        for durability in ("none", "group"):  # the express way, and the ordinary one
            asked = CommandSet(mode="speed_critical", durability=durability, steps=steps)
            for _ in range(4):
                assert (await tandem.execute_command_set(asked))["status"] == "completed"
        await tandem.send_many("system", "echo", range(7), implementation="c")
        await tandem.send_many("system", "echo", range(5), implementation="python")
        tandem.call_sync("system", "echo", 1)
        metrics = tandem.get_metrics()

    assert metrics["c_msgs_processed"] == 2 * 4 * 3 + 7 + 1
    assert metrics["python_msgs_processed"] == 5
    assert metrics["execution_stats"]["speed_critical"]["runs"] == 8
    assert 0 < metrics["avg_c_latency"] < 1
