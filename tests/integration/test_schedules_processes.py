"""Eight programs on one SQLite file fire each occurrence once, also where some are killed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.journal.sqlite import SqliteJournal

PROGRAM = """
import asyncio, sys
from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator

async def main(path):
    config = {"journal": {"path": path}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        step = CommandStep(id="a", agent="system", action="noop", payload={})
        await tandem.schedules.add(
            "every", CommandSet(name="tick", steps=[step]), every_s=1, overlap="allow",
            catch_up="all",
        )
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(sys.argv[1]))
"""
SECONDS = 6


@pytest.mark.timeout(120)
async def test_eight_programs_fire_each_second_once_and_killed_ones_are_replaced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j.db"
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(8)
    ]
    try:
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == b"ready\n"
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:  # the clocks of eight programs cannot be moved from here
            for program in programs[:4]:
                if program.poll() is None:
                    program.send_signal(signal.SIGKILL)
                    program.wait()
                    break
            time.sleep(SECONDS / 5)
    finally:
        for program in programs:
            program.communicate(timeout=60)

    assert [program.returncode for program in programs[4:]] == [0] * 4
    journal = SqliteJournal(path)
    await journal.open(None)
    rows = await journal.runs(limit=1000)
    (schedule,) = await journal.schedules()
    keys = Counter()
    for row in rows:
        (first, *_) = await journal.records(row.run_id, limit=1)
        keys[first.event.idempotency_key] += 1
    assert await journal.check() == []
    await journal.close()
    assert len(rows) >= SECONDS - 1
    assert set(keys.values()) == {1}
    assert schedule.left_out == 0
    # Without a gap: the last occurrence may have fired without its program living to say so.
    seconds = sorted(key.rsplit("/", 1)[1] for key in keys)
    assert len(rows) - schedule.fired in (0, 1)
    assert int(seconds[-1][17:19]) - int(seconds[0][17:19]) in (len(rows) - 1, len(rows) - 61)


async def test_a_schedule_of_an_earlier_program_is_caught_up_with_by_the_next(
    tmp_path: Path,
) -> None:
    config = {"journal": {"path": str(tmp_path / "j.db")}, "c_layer": {"enabled": False}}
    step = CommandStep(id="a", agent="system", action="noop", payload={})
    async with TandemOrchestrator(
        config | {"journal": {**config["journal"], "schedules": False}}
    ) as one:
        added = await one.schedules.add(
            "s", CommandSet(name="tick", steps=[step]), every_s=60, catch_up="one"
        )
    journal = SqliteJournal(tmp_path / "j.db")
    await journal.open(None)
    await journal.remove_schedule("s")
    long_ago_ns = added.done_ns - 3600 * 10**9
    await journal.put_schedule("s", added.schedule.to_body(), long_ago_ns)
    await journal.close()

    async with TandemOrchestrator(config) as two:
        await two.schedules.look()
        (scheduled,) = await two.schedules.list()
        while scheduled.fired == 0:
            await two.schedules.look()
            (scheduled,) = await two.schedules.list()
        result = await two.run(scheduled.last_run).result()

    assert result["status"] == "completed"
    assert result["name"] == "tick"
    assert (scheduled.fired, scheduled.left_out in (57, 58, 59)) == (1, True)
