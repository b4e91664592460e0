"""After ``close()`` nothing is left: no process, file, descriptor, mapping or thread; again and again.

A program of its own is measured, so that nothing of pytest's is counted with it.
"""

import asyncio
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator

WAIT_S = 55.0
RSS_GROWTH_BYTES_MAX = 8 * 2**20
"""What 30 rounds may add to the resident memory: allocators keep some, a leak of one ring (4 MiB)
a round would be 120 MiB."""

HANDLERS = """
import asyncio
import os
import threading

from tandem_orchestrator import Agent

agent = Agent("t")
hang = threading.Event()


@agent.action("async", effects="none")
async def on_loop(payload):
    await asyncio.sleep(0)
    return payload


@agent.action("thread", effects="none")
def in_thread(payload):
    return payload


@agent.action("process", effects="none", cpu="process")
def in_process(payload):
    return os.getpid()


@agent.action("fail", effects="none")
def fail(payload):
    raise ValueError("no")


@agent.action("hang", effects="none")
def hang_on(payload):
    hang.wait()
"""

PROGRAM = '''
"""Opens, uses and closes orchestrators, and prints what there is of everything after each."""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import handlers
from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator


def descriptors():
    kinds = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # the descriptor of this very listing
        if target == f"/proc/{os.getpid()}/fd":
            continue
        kinds[target.split("[")[0].split(":")[0] + (target if "anon_inode" in target else "")] += 1
    return kinds


def children_of(task):
    try:
        return len((task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return 0  # a thread that has just ended


def measure():
    run = Path(os.environ["XDG_RUNTIME_DIR"])
    maps = Path("/proc/self/maps").read_text()
    return {
        "fds": descriptors(),
        "maps": {"memfd": maps.count("/memfd:"), "files": maps.count(".db")},
        "threads": Counter(t.name.rstrip("0123456789") for t in threading.enumerate()),
        "tasks": len(list(Path("/proc/self/task").iterdir())),
        "children": sum(map(children_of, Path("/proc/self/task").iterdir())),
        "runtime": sorted(str(p.relative_to(run)) for p in run.rglob("*")),
        "loop_tasks": len(asyncio.all_tasks()),
    }


def grown(before, after):
    more = {}
    for key, value in after.items():
        was = before[key]
        if isinstance(value, dict):
            added = Counter(value) - Counter(was)
            if added:
                more[key] = dict(added)
        elif value != was:
            more[key] = [was, value]
    return more


async def settled(before, limit_s=2.0):
    """Threads that were told to end need a moment; nothing else does."""
    give_up_at = time.monotonic() + limit_s
    while (more := grown(before, measure())) and time.monotonic() < give_up_at:
        await asyncio.sleep(0.002)
    return more


def rss():
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith("VmRSS")).split()[1]) * 1024


def step(name, agent, action, payload=None, **fields):
    return CommandStep(id=name, agent=agent, action=action, payload=payload, **fields)


async def once(n, *, native, heavy, kill=False):
    settings = {"journal": {"path": f"{os.environ['XDG_STATE_HOME']}/j{n % 2}.db"},
                "c_layer": {"enabled": native}}
    async with TandemOrchestrator(settings) as tandem:
        tandem.add_agent(handlers.agent)
        steps = [step("a", "t", "async", 1), step("b", "t", "thread", 2), step("e", "system", "echo", b"x" * 10_000),
                 step("s", "system", "sleep", {"seconds": 0.01}),
                 step("c", "docgen", "scan_codebase", {"path": os.path.dirname(handlers.__file__)}),
                 step("f", "t", "fail", can_fail=True)]
        if heavy:
            steps.append(step("p", "t", "process"))
        first = await tandem.execute_command_set(CommandSet(steps=steps))
        assert first["status"] == "completed", first["error"]
        if kill:
            os.kill(tandem.layer_health()["c"].details["pid"], signal.SIGKILL)
        mode = "REDUNDANT" if native else "PYTHON_ONLY"
        both = await tandem.execute_command_set(CommandSet(mode=mode, steps=[step("x", "system", "echo", n)]))
        assert both["status"] == "completed", both["error"]
        # One that is at work when it is closed.
        late = [step("l1", "system", "sleep", {"seconds": 60.0}), step("l2", "system", "sleep", {"seconds": 60.0})]
        await tandem.submit(CommandSet(steps=late))


async def main(wish):
    native, heavy, rounds = wish["native"], wish["heavy"], wish["rounds"]
    (Path(os.environ["XDG_RUNTIME_DIR"]) / "tandem").mkdir(mode=0o700)  # made once, and stays
    fresh = measure()
    await once(0, native=native, heavy=heavy)  # what is imported and cached comes with the first
    await once(1, native=native, heavy=heavy, kill=native)
    said = {"fresh": fresh, "first": await settled(fresh), "rss": [rss()], "rounds": []}
    for n in range(rounds):
        await once(n, native=native, heavy=heavy and n % 5 == 0, kill=native and n % 6 == 5)
        said["rounds"].append(await settled(fresh))
        said["rss"].append(rss())
    json.dump(said, sys.stdout)


asyncio.run(main(json.loads(sys.argv[1])))
'''


# Any: what was measured.
def measured(tmp_path: Path, program: str, wish: Any) -> Any:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    script = tmp_path / "program.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), json.dumps(wish)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("native", [pytest.param(True, marks=pytest.mark.native), False])
def test_thirty_rounds_of_open_run_and_close_leave_nothing_and_do_not_grow(
    tmp_path: Path, native: bool
) -> None:
    said = measured(tmp_path, PROGRAM, {"native": native, "heavy": True, "rounds": 30})

    fresh = said["fresh"]
    assert (fresh["children"], fresh["runtime"]) == (0, ["tandem"])
    assert fresh["threads"] == {"MainThread": 1} and fresh["tasks"] == 1
    assert said["first"] == {}
    assert said["rounds"] == [{}] * 30
    growth = said["rss"][-1] - said["rss"][0]
    assert growth < RSS_GROWTH_BYTES_MAX, f"{growth / 2**20:.1f} MiB in 30 rounds"


HANGING = PROGRAM.replace("async def main(wish)", "async def unused(wish)").replace(
    "asyncio.run(main(",
    """async def main(wish):
    fresh = measure()
    settings = {"c_layer": {"enabled": False}, "orchestrator": {"cancel_grace_s": 0.05}}
    async with TandemOrchestrator(settings) as tandem:
        tandem.add_agent(handlers.agent)
        run = await tandem.submit(CommandSet(steps=[step("h", "t", "hang")]))
        while not tandem.layer_health()["python"].details["threads_busy"]:
            await asyncio.sleep(0.001)
        await run.cancel()
        result = await run.result()
    expected = Counter(fresh["threads"]) + Counter({"tandem-worker": 1})
    hung = {**fresh, "threads": expected, "tasks": fresh["tasks"] + 1}
    more = await settled(hung)
    during = grown(fresh, measure())
    assert more == {}, more
    json.dump([result["steps"]["h"], during], sys.stdout)


asyncio.run(main(""",
)


def test_only_the_thread_that_hangs_by_the_handlers_fault_stays(tmp_path: Path) -> None:
    step, during = measured(tmp_path, HANGING, {})

    assert (step["outcome"], step["stopped"]) == ("abandoned", False)
    assert during == {"threads": {"tandem-worker": 1}, "tasks": [1, 2]}


async def test_closing_does_not_wait_for_the_users_work_in_the_loops_own_pool() -> None:
    loop, release = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.create_task(asyncio.to_thread(release.wait))
    try:
        async with asyncio.timeout(10):
            async with TandemOrchestrator() as tandem:
                asked = CommandSet(steps=[CommandStep(agent="system", action="noop")])
                assert (await tandem.execute_command_set(asked))["status"] == "completed"
                assert await tandem.runs()
    finally:
        release.set()
        await busy
