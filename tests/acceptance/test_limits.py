"""Limits of agents and actions: kept over runs, items, layers and messages."""

import asyncio
import shutil
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandError, CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.sync import TandemOrchestrator as SyncOrchestrator

CONFIG: dict[str, Any] = {"journal": {"path": ":memory:"}}


@pytest.fixture
async def tandem() -> AsyncIterator[TandemOrchestrator]:
    async with TandemOrchestrator({**CONFIG, "c_layer": {"enabled": False}}) as made:
        yield made


def fan_out(agent: str, action: str, items: list[Any]) -> CommandSet:
    step = CommandStep(agent=agent, action=action, payload={"item": Ref("item")}, for_each=items)
    return CommandSet(name=action, steps=[step])


async def test_a_rate_holds_for_all_runs_and_messages_together(tandem: TandemOrchestrator) -> None:
    starts: list[float] = []
    agent = tandem.register_agent("api")

    @agent.action("get", effects="none", rate_per_s=50)
    async def get(payload: Any) -> None:
        starts.append(time.monotonic())

    await asyncio.gather(
        tandem.execute_command_set(fan_out("api", "get", [1, 2, 3, 4])),
        tandem.execute_command_set(fan_out("api", "get", [5, 6])),
        *(tandem.send("api", "get", None) for _ in range(4)),
    )

    assert len(starts) == 10
    # A start is noted a moment after its turn; the turns themselves are 20 ms apart.
    assert starts[-1] - starts[0] >= 9 * 0.02 - 0.015


async def test_an_agents_rate_holds_for_all_its_actions(tandem: TandemOrchestrator) -> None:
    starts: list[float] = []
    agent = tandem.register_agent("api", rate_per_s=50)
    for name in ("one", "other"):

        @agent.action(name, effects="none")
        async def handler(payload: Any) -> None:
            starts.append(time.monotonic())

    await asyncio.gather(
        tandem.execute_command_set(fan_out("api", "one", [1, 2, 3])),
        tandem.execute_command_set(fan_out("api", "other", [1, 2, 3])),
    )
    assert starts[-1] - starts[0] >= 5 * 0.02 - 0.015


async def test_equal_keys_run_one_after_the_other_and_different_ones_together(
    tandem: TandemOrchestrator,
) -> None:
    running: dict[str, int] = {}
    most: dict[str, int] = {}
    together = 0
    agent = tandem.register_agent("crm")

    @agent.action("update", effects="idempotent", concurrency_key=lambda p: p["item"]["customer"])
    async def update(payload: Any) -> None:
        nonlocal together
        customer = payload["item"]["customer"]
        running[customer] = running.get(customer, 0) + 1
        most[customer] = max(most.get(customer, 0), running[customer])
        together = max(together, sum(running.values()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running[customer] -= 1

    items = [{"customer": customer} for customer in "aaabbbccc"]
    result = await tandem.execute_command_set(fan_out("crm", "update", items))

    assert result["status"] == "completed"
    assert most == {"a": 1, "b": 1, "c": 1}
    assert together > 1


async def test_a_key_of_a_bad_kind_fails_the_step_and_says_so(tandem: TandemOrchestrator) -> None:
    agent = tandem.register_agent("crm")
    agent.action("update", effects="none", concurrency_key="who")(lambda payload: None)
    step = CommandStep(agent="crm", action="update", payload={"who": ["a", "list"]})
    result = await tandem.execute_command_set(CommandSet(name="bad", steps=[step]))
    assert result["status"] == "failed"
    assert "concurrency_key gave list, expected text or a number" in result["error"]


async def test_waiting_for_a_limit_ends_with_the_steps_timeout_and_at_a_cancel(
    tandem: TandemOrchestrator,
) -> None:
    agent = tandem.register_agent("slow")
    let_go = asyncio.Event()

    @agent.action("one", effects="none", max_concurrency=1)
    async def one(payload: Any) -> None:
        await let_go.wait()

    first = await tandem.submit(
        CommandSet(name="1", steps=[CommandStep(agent="slow", action="one")])
    )
    late = await tandem.execute_command_set(
        CommandSet(name="2", steps=[CommandStep(agent="slow", action="one", timeout=0.05)])
    )
    assert late["steps"]["s1"]["outcome"] == "timed_out"
    third = await tandem.submit(
        CommandSet(name="3", steps=[CommandStep(agent="slow", action="one")])
    )
    await third.cancel()
    assert (await third.result())["status"] == "cancelled"
    let_go.set()
    assert (await first.result())["status"] == "completed"


async def test_attempts_that_wait_for_a_slow_agent_stop_no_other() -> None:
    config = {**CONFIG, "c_layer": {"enabled": False}, "orchestrator": {"max_parallel_steps": 2}}
    async with TandemOrchestrator(config) as tandem:
        let_go = asyncio.Event()

        @tandem.register_agent("slow").action("do", effects="none", max_concurrency=1)
        async def slow(payload: Any) -> None:
            await let_go.wait()

        tandem.register_agent("fast").action("do", effects="none")(lambda payload: "done")
        waiting = await tandem.submit(fan_out("slow", "do", list(range(10))))
        result = await tandem.execute_command_set(
            CommandSet(name="f", steps=[CommandStep(agent="fast", action="do")])
        )
        assert result["results"]["s1"] == "done"
        let_go.set()
        assert (await waiting.result())["status"] == "completed"


@pytest.mark.native
async def test_a_bound_counts_python_and_c_together(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    source = tmp_path / "nap.c"
    source.write_text(
        "#include <unistd.h>\nint nap(int ms) { usleep((unsigned)ms * 1000); return 0; }\n"
    )
    made = tmp_path / "libnap.so"
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
    async with TandemOrchestrator(CONFIG) as tandem:
        running, most = 0, 0
        lock = threading.Lock()
        agent = tandem.register_agent("n")

        @agent.action("nap", effects="none", max_concurrency=1)
        def nap(payload: Any) -> int:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(payload["ms"] / 1000)
            with lock:
                running -= 1
            return 0

        nap.twin("c", library=made, symbol="nap", signature="i32(i32 ms)")
        await tandem.send("n", "nap", {"ms": 0}, implementation="c")  # the host is up
        began = time.monotonic()
        await asyncio.gather(
            *(
                tandem.send("n", "nap", {"ms": 40}, implementation=name)
                for name in ("python", "c", "python", "c")
            )
        )
        assert time.monotonic() - began >= 4 * 0.04
        assert most == 1


def test_limits_are_checked_where_they_are_declared() -> None:
    tandem = TandemOrchestrator(CONFIG)
    agent = tandem.register_agent("a")
    for options, reason in [
        ({"rate_per_s": 0}, r"a\.do: rate_per_s=0, expected a number above 0"),
        ({"rate_per_s": "5"}, "rate_per_s='5'"),
        ({"concurrency_key": 3}, "concurrency_key=3, expected a field"),
        ({"max_concurrency": 0}, "max_concurrency=0, expected at least 1"),
    ]:
        with pytest.raises(CommandError, match=reason):
            agent.action("do", **options)
    with pytest.raises(CommandError, match="agent 'b': rate_per_s=-1"):
        tandem.register_agent("b", rate_per_s=-1)


def test_the_blocking_door_takes_limits_too() -> None:
    with SyncOrchestrator({**CONFIG, "c_layer": {"enabled": False}}) as tandem:
        agent = tandem.register_agent("a", rate_per_s=1000, max_concurrency=2)
        assert (agent.rate_per_s, agent.max_concurrency) == (1000, 2)
