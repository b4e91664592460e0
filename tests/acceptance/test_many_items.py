"""``for_each`` over many items: memory stays small, failures are collected, only those run again."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MIB = 2**20
PROGRAM = '''
"""Fan a step out over N items, one in a hundred of which fails; or run those again that failed."""

import asyncio, json, os, sys
from collections import Counter
from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator

path, what, items, policy = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))

async def main():
    async with TandemOrchestrator({"journal": {"path": path}, "c_layer": {"enabled": False}}) as tandem:
        agent, calls, running, most = tandem.register_agent("t"), Counter(), 0, 0

        @agent.action("list", effects="none")
        async def make(payload):
            return [{"number": n, "text": "item"} for n in range(payload)]

        @agent.action("double", effects="none")
        async def double(payload):
            nonlocal running, most
            running, number = running + 1, payload["item"]["number"]
            most = max(most, running)
            calls[number] += 1
            await asyncio.sleep(0)
            running -= 1
            if what == "run" and number % 100 == 50:
                raise ValueError(f"{number} ends on 50")
            return number * 2

        before = memory("VmRSS")
        with open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")
        if what == "run":
            run = await tandem.submit(CommandSet(name="fan", steps=[
                CommandStep(id="list", agent="t", action="list", payload=items),
                CommandStep(id="each", agent="t", action="double", payload={"item": Ref("item")},
                            for_each=Ref("list"), on_item_failure=policy)]))
        else:
            [row] = await tandem.runs()
            run = tandem.run(row.run_id)
            await run.retry("each")
        result = await run.result()
        step = result["steps"]["each"]
        print(json.dumps({
            "status": result["status"], "error": result["error"], "outcome": step["outcome"],
            "failed_items": step["failed_items"], "calls": sorted(calls),
            "twice": [n for n, count in calls.items() if count > 1], "most": most,
            "output": result["results"].get("each"), "grown": memory("VmHWM") - before}))

asyncio.run(main())
'''

SIZES = [
    pytest.param(10_000, id="10000"),
    pytest.param(100_000, id="100000", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
]


async def done(path: Path, what: str, items: int, policy: str = "collect") -> dict[str, Any]:
    """Run the program to its end and give what it told."""
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", PROGRAM, str(path), what, str(items), policy],
        capture_output=True,
        timeout=50 if items <= 10_000 else 500,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


@pytest.mark.parametrize("items", SIZES)
async def test_failures_are_collected_and_another_program_runs_only_those_again(
    tmp_path: Path, items: int
) -> None:
    first = await done(tmp_path / "j.db", "run", items)

    failing = list(range(50, items, 100))
    assert (first["status"], first["outcome"]) == ("completed", "succeeded")
    assert first["failed_items"] == failing
    assert (first["calls"], first["twice"]) == (list(range(items)), [])
    assert first["output"] == [None if n % 100 == 50 else n * 2 for n in range(items)]
    assert 1 < first["most"] <= 64, "items at work at the same time"
    # State of one item: its output and a place in a list. Measured: 0.6 KiB for each.
    assert first["grown"] < 16 * MIB + items * 1024

    again = await done(tmp_path / "j.db", "retry", items)

    assert (again["status"], again["failed_items"]) == ("completed", [])
    assert (again["calls"], again["twice"]) == (failing, [])
    assert again["output"] == [n * 2 for n in range(items)]
    # All that was recorded is read, and folded. Measured: 2.9 KiB for each item.
    assert again["grown"] < 32 * MIB + items * 4096


@pytest.mark.parametrize("items", SIZES)
async def test_the_first_failure_ends_a_step_that_does_not_collect(
    tmp_path: Path, items: int
) -> None:
    first = await done(tmp_path / "j.db", "run", items, "fail")

    assert (first["status"], first["outcome"]) == ("failed", "failed")
    assert "item 50" in first["error"] and "50 ends on 50" in first["error"]
    assert len(first["calls"]) <= 50 + 2 * 64, "what ran was let finish, nothing new began"

    again = await done(tmp_path / "j.db", "retry", items, "fail")

    assert again["status"] == "completed"
    assert again["output"] == [n * 2 for n in range(items)]
