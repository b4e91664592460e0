"""A waiting run takes a few KB, a waiting step less than one: of the whole program, as it is resident.

A program of its own is measured, so that nothing of pytest's is counted with it.
"""

import json
import subprocess
import sys

import pytest

WAIT_S = 120.0
LONG_WAIT_S = 1800.0
RUNS, RUN_BYTES_MAX = 5_000, 2**30 // 100_000
"""100,000 waiting runs fit in 1 GiB; fewer show it as well, divided by their number."""
STEPS, STEP_BYTES_MAX = 20_000, 1024

PROGRAM = """
import asyncio
import gc
import json
import sys
import tracemalloc
from pathlib import Path

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.model.events import RunHeld

AT_ONCE = 500
BATCHES_BEFORE = 2
leaked = []


def resident_bytes():
    line = next(line for line in Path("/proc/self/status").open() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def waiting(number):
    ask = CommandStep(
        id="ask", agent="system", action="approval", payload={"prompt": f"pay {number}?"}
    )
    pay = CommandStep(id="pay", agent="bank", action="pay", payload={"n": number})
    return CommandSet(steps=[ask, pay], dependencies={"pay": ["ask"]})


async def runs(tandem, total, leak_bytes, *, ends):
    paid, held, all_held, opened = [], 0, asyncio.Event(), []

    @tandem.register_agent("bank").action("pay", effects="none")
    def pay(payload):
        paid.append(payload["n"])

    def count(run_id, event):
        nonlocal held
        held += isinstance(event, RunHeld) and bool(event.waits)
        if held >= len(opened) + AT_ONCE:
            all_held.set()
        if leak_bytes and isinstance(event, RunHeld):
            leaked.append(bytes(leak_bytes))

    before = 0
    async with tandem.listening(count, None):
        for batch in range(total // AT_ONCE + BATCHES_BEFORE):
            if batch == BATCHES_BEFORE:
                gc.collect()
                before = resident_bytes()
            all_held.clear()
            sets = [waiting(len(opened) + k) for k in range(AT_ONCE)]
            made = await asyncio.gather(*map(tandem.submit, sets))
            await all_held.wait()
            opened += made
    gc.collect()
    whole = resident_bytes()
    answer = {"a_run": (whole - before) / total, "whole": whole}
    if ends:
        for first in range(0, len(opened), AT_ONCE):
            some = opened[first : first + AT_ONCE]
            await asyncio.gather(*(run.approve("ask") for run in some))
            results = await asyncio.gather(*(run.result() for run in some))
            assert {result["status"] for result in results} == {"completed"}, results[0]
        answer["paid"] = len(set(paid))
    return answer


async def steps(tandem, total):
    gate, reached = asyncio.Event(), asyncio.Event()

    @tandem.register_agent("gate").action("wait", effects="none")
    async def wait(payload):
        reached.set()
        await gate.wait()

    made = [CommandStep(id=f"s{i}", agent="gate", action="wait") for i in range(total)]
    after = {f"s{i}": [f"s{i - 100}"] for i in range(100, total)}
    asked = CommandSet(steps=made, dependencies=after)
    gc.collect()
    tracemalloc.start()
    run = await tandem.submit(asked)
    await reached.wait()
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await run.cancel()
    gate.set()
    await run.result()
    return {"a_step": taken / total}


async def main(journal, what, total, leak_bytes, ends):
    config = {
        "journal": {"path": journal},
        "c_layer": {"enabled": False},
        "orchestrator": {"max_held_runs": total + 10_000},
    }
    async with TandemOrchestrator(config) as tandem:
        if what == "runs":
            answer = await runs(tandem, total, leak_bytes, ends=ends)
        else:
            answer = await steps(tandem, total)
    print(json.dumps(answer))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "ends"))
"""


def measured(folder, what, total, *, leak_bytes=0, ends=False, wait_s=WAIT_S):
    """Open what waits in a program of its own, and give what it printed."""
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-P", "program.py", str(folder / "j.db"), what, str(total)]
    command += [str(leak_bytes), "ends" if ends else "stays"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=wait_s, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.timeout(WAIT_S + 30)
def test_a_waiting_run_takes_little_and_ends_when_it_is_answered(tmp_path):
    found = measured(tmp_path, "runs", RUNS, ends=True)
    assert 1000 < found["a_run"] < RUN_BYTES_MAX, found
    assert found["paid"] >= RUNS, found


@pytest.mark.timeout(WAIT_S + 30)
def test_a_leak_in_each_waiting_run_is_seen(tmp_path):
    found = measured(tmp_path, "runs", RUNS // 2, leak_bytes=8192)
    assert found["a_run"] > RUN_BYTES_MAX, found


@pytest.mark.timeout(WAIT_S + 30)
def test_a_waiting_step_takes_less_than_1_kib(tmp_path):
    found = measured(tmp_path, "steps", STEPS)
    assert 100 < found["a_step"] <= STEP_BYTES_MAX, found


@pytest.mark.long
@pytest.mark.timeout(LONG_WAIT_S + 30)
def test_100_000_waiting_runs_fit_in_1_gib_and_all_end(tmp_path):
    found = measured(tmp_path, "runs", 100_000, ends=True, wait_s=LONG_WAIT_S)
    assert found["whole"] <= 2**30, found
    assert found["paid"] >= 100_000, found
