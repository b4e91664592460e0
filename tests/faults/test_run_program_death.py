"""kill -9 of a program with a run in flight everywhere: within 3 s nothing of it is left.

Whatever a program starts inherits its environment, the bridge by allow-list; so every process
that has this test's home in its environment is ours, and there is no list of names to forget.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIMIT_S = 3.0
"""From the kill until nothing is left."""
WAIT_S = 20.0

PROGRAM = '''
"""Runs something that never ends in C, on the loop, in a thread and in worker processes."""

import asyncio
import json
import os
import sys
import threading
import time

from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator

agent = Agent("busy")


@agent.action("thread", effects="none")
def thread(payload):
    threading.Event().wait()


@agent.action("coroutine", effects="none")
async def coroutine(payload):
    await asyncio.Event().wait()


@agent.action("loop", effects="none", cpu="process")
def loop(payload, ctx):
    ctx.progress(os.getpid(), 0)
    while True:
        pass


@agent.action("locked", effects="none", cpu="process")
def locked(payload, ctx):
    ctx.progress(os.getpid(), 0)
    sum(range(10**15))  # in C with the interpreter's lock held: no thread of the worker can look


@agent.action("flood", effects="none", cpu="process")
def flood(payload, ctx):
    ctx.progress(os.getpid(), 0)
    while True:
        ctx.progress(os.getpid(), 1)  # so that there is always something unread in the socket


@agent.action("idle", effects="none", cpu="process")
def idle(payload, ctx):
    ctx.progress(os.getpid(), 0)


async def main(native):
    settings = {"python_layer": {"process_workers": 6}, "c_layer": {"enabled": native}}
    async with TandemOrchestrator(settings) as tandem:
        tandem.add_agent(agent)
        ended, workers, all_begun = asyncio.Event(), {}, asyncio.Event()

        def on_event(run, event):
            if event.__struct_config__.tag == "step_ended":
                ended.set()

        def on_progress(run, step, item, done, total):
            if step in ("loop", "locked", "flood", "idle"):
                workers[step] = done
            if len(workers) == 4:
                all_begun.set()

        async with tandem.listening(on_event, on_progress):
            steps = [CommandStep(id=n, agent="busy", action=n)
                     for n in ("thread", "coroutine", "loop", "locked", "flood", "idle")]
            if native:
                steps += [CommandStep(id=f"c{n}", agent="system", action="sleep",
                                      payload={"seconds": 60.0}) for n in range(3)]
                steps.append(CommandStep(id="scan", agent="docgen", action="scan_codebase",
                                         payload={"path": "/proc/self/cwd/tree"}))
            await tandem.submit(CommandSet(steps=steps))
            await all_begun.wait()
            if native:
                while tandem.layer_health()["c"].details["in_flight"] < 3:
                    await asyncio.sleep(0.001)
            await ended.wait()  # the idle worker waits for its next job
            print(json.dumps([tandem.layer_health()["c"].details.get("pid"), workers]), flush=True)
            END


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] == "native"))
'''

BARE = """
import asyncio, sys
from tandem_orchestrator import TandemOrchestrator

async def main():
    while True:
        async with TandemOrchestrator():
            pass

print("ready", flush=True)
asyncio.run(main())
"""


def ours(home: Path) -> dict[int, str]:
    """Find every living process that has this home in its environment, but for this one."""
    mark, found = os.fsencode(home), {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) != os.getpid() and mark in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode()[:80]
        except (OSError, ValueError):
            continue  # gone meanwhile, or not ours to read
    return found


def left_behind(home: Path) -> list[str]:
    """List what is there of ours: processes, sockets, locks, directories."""
    entries = [str(p.relative_to(home)) for p in (home / "run").glob("tandem/*")]
    return entries + [f"process {pid}: {command}" for pid, command in ours(home).items()]


def gone_within_the_limit(home: Path, since: float) -> None:
    while left := left_behind(home):
        assert time.monotonic() < since + LIMIT_S, f"after {LIMIT_S} s there is still {left}"
        time.sleep(0.01)  # waiting for the kernel and for other processes: no clock to move


def start(tmp_path: Path, layers: str, end: str) -> tuple[subprocess.Popen[str], int, list[int]]:
    """Start the program; gives it, its bridge and its workers, once all of it is at work."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.replace("END", end))
    program = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", str(script), layers],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    line = program.stdout.readline()
    program.stdout.close()
    bridge, workers = json.loads(line)
    return program, bridge, list(workers.values())


@pytest.mark.native
def test_kill_9_of_a_program_that_is_busy_everywhere_leaves_nothing(
    tmp_path: Path, own_home: Path
) -> None:
    program, bridge, workers = start(tmp_path, "native", "await asyncio.Event().wait()")
    assert {bridge, *workers, program.pid} == ours(own_home).keys()
    program.kill()
    killed_at = time.monotonic()
    program.wait(WAIT_S)

    gone_within_the_limit(own_home, killed_at)


def test_kill_9_without_the_c_layer_leaves_no_worker(tmp_path: Path, own_home: Path) -> None:
    program, _, workers = start(tmp_path, "python", "await asyncio.Event().wait()")
    assert {*workers, program.pid} == ours(own_home).keys()
    program.kill()
    killed_at = time.monotonic()
    program.wait(WAIT_S)

    gone_within_the_limit(own_home, killed_at)


@pytest.mark.parametrize("end", ["os._exit(5)", "os.abort()"])
def test_a_hard_exit_leaves_no_worker(tmp_path: Path, own_home: Path, end: str) -> None:
    program, _, _ = start(tmp_path, "python", end)
    assert program.wait(WAIT_S) in (5, -6)

    gone_within_the_limit(own_home, time.monotonic())


@pytest.mark.native
def test_kill_9_at_any_moment_of_starting_and_closing_leaves_nothing(own_home: Path) -> None:
    moments = random.Random(7)
    for _ in range(8):
        program = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-c", BARE], stdout=subprocess.PIPE
        )
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        # The moment is what varies here; nothing is waited for.
        time.sleep(moments.uniform(0.0, 0.4))
        program.kill()
        killed_at = time.monotonic()
        program.wait(WAIT_S)
        program.stdout.close()
        gone_within_the_limit(own_home, killed_at)
