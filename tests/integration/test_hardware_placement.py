"""Placement is real: steps run on the CPUs that their set wished for, read from the kernel.

A folder stands in for /sys: it names CPU 0 a performance core and CPU 1 an efficiency core. What
the threads may use is read from /proc, which no part of Tandem writes.
"""

import asyncio
import importlib
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.cli.app import run_app

OURS = os.sched_getaffinity(0)
pytestmark = pytest.mark.skipif(not {0, 1} <= OURS, reason="needs CPUs 0 and 1")
native = pytest.mark.native
WAIT_S = 20.0
WHERE = {"p_core": "0", "e_core": "1", "lp_e_core": "1", "p_core_ultra": "0", "auto": "0"}
"""What each wish means in the tree below."""


@pytest.fixture
def two_kinds(tmp_path: Path) -> Path:
    """Build a tree in which CPU 0 is a P-core and CPU 1 an E-core."""
    files = {
        "devices/system/cpu/online": "0-1",
        "devices/system/cpu/present": "0-1",
        "devices/cpu_core/cpus": "0",
        "devices/cpu_atom/cpus": "1",
    }
    for cpu in (0, 1):
        folder = f"devices/system/cpu/cpu{cpu}"
        files[f"{folder}/topology/core_cpus_list"] = str(cpu)
        files[f"{folder}/cache/index0/level"] = "3"
        files[f"{folder}/cache/index0/type"] = "Unified"
        files[f"{folder}/cache/index0/shared_cpu_list"] = "0-1"
    for name, text in files.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return tmp_path / "sys"


def config(sysfs: Path, **hardware: Any) -> dict[str, Any]:
    return {
        "journal": {"path": ":memory:"},
        # No load is above 1.0: where a set goes without a wish must not depend on the machine's.
        "hardware": {"sysfs": str(sysfs), "e_core_threshold": 1.0, **hardware},
        "c_layer": {"blocking_workers": 1},
        "python_layer": {"cache_size": 0},  # each run is to be seen where it runs
    }


def allowed_of_task(pid: int, task: int) -> str:
    """Read where the kernel lets one thread run."""
    text = Path(f"/proc/{pid}/task/{task}/status").read_text()
    match = re.search(r"^Cpus_allowed_list:\s*(\S+)", text, re.MULTILINE)
    assert match is not None
    return match[1]


def allowed_of_threads(pid: int) -> dict[str, str]:
    """Read it for a bridge: its main thread and its one worker."""
    found = {}
    for task in (int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()):
        found["main" if task == pid else "worker"] = allowed_of_task(pid, task)
    return found


def one_step(wish: str, agent: str, action: str, payload: Any = None, **more: Any) -> CommandSet:
    return CommandSet(
        name=wish,
        hardware_affinity=wish,
        steps=[CommandStep(id="s", agent=agent, action=action, payload=payload)],
        **more,
    )


def make_agent(tandem: TandemOrchestrator, in_a_process: Any = None) -> None:
    """Offer one action in each kind of Python worker."""
    agent = tandem.register_agent("where", [])
    agent.action("thread", effects="none")(in_a_thread)
    if in_a_process is not None:
        agent.action("process", effects="none", cpu="process")(in_a_process)


def in_a_thread(payload: Any) -> str:
    return allowed_of_task(os.getpid(), threading.get_native_id())


HANDLER = """
import re
from pathlib import Path


def in_a_process(payload):
    text = Path("/proc/thread-self/status").read_text()
    return re.search(r"^Cpus_allowed_list:\\s*(\\S+)", text, re.MULTILINE)[1]
"""


@pytest.fixture
def in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A handler in a module that worker processes can import."""
    (tmp_path / "handlers_that_look.py").write_text(HANDLER)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("handlers_that_look")
    yield module.in_a_process
    del sys.modules["handlers_that_look"]


@pytest.mark.parametrize("action", ["thread", "process"])
async def test_python_workers_run_where_the_set_wished(
    two_kinds: Path, action: str, in_a_process: Any
) -> None:
    tandem = TandemOrchestrator(config(two_kinds))
    make_agent(tandem, in_a_process)
    async with tandem:
        for wish, where in WHERE.items():
            result = await tandem.execute_command_set(one_step(wish, "where", action))
            assert result["results"] == {"s": where}, wish
    assert os.sched_getaffinity(0) == OURS  # the program's own threads were left alone


@native
@pytest.mark.parametrize(
    ("action", "payload"),
    [("sleep", {"seconds": 0.001}), ("echo", {"x": 1})],
    ids=["blocking", "short"],
)
@pytest.mark.parametrize("durability", ["group", "none"])
async def test_native_threads_run_where_the_set_wished(
    two_kinds: Path, action: str, payload: Any, durability: str
) -> None:
    async with TandemOrchestrator(config(two_kinds)) as tandem:
        pid = tandem.layer_health()["c"].details["pid"]
        assert allowed_of_threads(pid) == {"main": "0", "worker": "0"}
        for wish, expected in (("e_core", "1"), ("p_core", None), ("e_core", "1")):
            asked = one_step(
                wish, "system", action, payload, mode="speed_critical", durability=durability
            )
            for _ in range(2):
                result = await tandem.execute_command_set(asked)
                assert result["status"] == "completed", result["error"]
                assert result["steps"]["s"]["layer"] == "c"
            seen = allowed_of_threads(pid)
            # Short steps on P-cores stay on the main thread, which is there.
            where = expected or ("0" if action == "sleep" else seen["worker"])
            assert seen == {"main": "0", "worker": where}, wish


@native
async def test_steps_of_one_program_run_where_their_nested_set_wished(two_kinds: Path) -> None:
    inner = one_step("e_core", "system", "sleep", {"seconds": 0.001})
    outer = CommandSet(
        name="outer",
        mode="speed_critical",
        hardware_affinity="p_core",
        steps=[
            CommandStep(id="first", agent="system", action="sleep", payload={"seconds": 0.001}),
            CommandStep(id="second", command_set=inner),
        ],
        dependencies={"second": ["first"]},
    )
    async with TandemOrchestrator(config(two_kinds)) as tandem:
        plan = tandem.validate(outer)
        assert {step.id: step.cpus for step in plan.steps} == {
            "first": "0", "second": "", "second/s": "1",
        }  # fmt: skip
        result = await tandem.execute_command_set(outer)
        assert result["status"] == "completed"
        pid = tandem.layer_health()["c"].details["pid"]
        assert allowed_of_threads(pid) == {"main": "0", "worker": "1"}


@native
@pytest.mark.parametrize("aware", [True, False])
async def test_with_numa_aware_bridge_and_workers_are_on_one_node(
    two_kinds: Path, aware: bool
) -> None:
    for node in (0, 1):  # and no kinds: both CPUs alike
        folder = two_kinds / "devices" / "system" / "node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{node}\n")
        (two_kinds / "devices" / ("cpu_core", "cpu_atom")[node] / "cpus").unlink()
    tandem = TandemOrchestrator(config(two_kinds, numa_aware=aware))
    make_agent(tandem)
    async with tandem:
        mine = allowed_of_task(os.getpid(), threading.get_native_id())
        where = "0" if aware else mine
        result = await tandem.execute_command_set(one_step("auto", "where", "thread"))
        assert result["results"] == {"s": where}
        health = tandem.layer_health()
        assert allowed_of_threads(health["c"].details["pid"])["main"] == where
        told = "hardware.numa_aware: node 0" in health["python"].details["hardware"]
        assert told is aware


@native
@pytest.mark.parametrize(("affinity", "where"), [("1", "1"), ("none", None)])
async def test_the_setting_overrides_every_wish(
    two_kinds: Path, affinity: str, where: str | None
) -> None:
    mine = allowed_of_task(os.getpid(), threading.get_native_id())
    tandem = TandemOrchestrator(config(two_kinds, cpu_affinity=affinity))
    make_agent(tandem)
    async with tandem:
        for wish in WHERE:
            result = await tandem.execute_command_set(one_step(wish, "where", "thread"))
            assert result["results"] == {"s": where or mine}
            asked = one_step(wish, "system", "sleep", {"seconds": 0.001}, mode="speed_critical")
            assert (await tandem.execute_command_set(asked))["status"] == "completed"
            seen = allowed_of_threads(tandem.layer_health()["c"].details["pid"])
            assert seen == {"main": where or mine, "worker": where or mine}


@pytest.fixture
def c_agent(tmp_path: Path) -> Path:
    """The example program, built as its README says."""
    here = Path(str(importlib.resources.files("tandem_orchestrator._native")))
    library = here / "lib" / "libtandem_agent.a"
    if shutil.which("cc") is None or not library.exists():
        pytest.skip("no C compiler, or no libtandem_agent")
    source = Path(__file__).parents[2] / "examples" / "c_agent_program" / "agent.c"
    made = tmp_path / "agent"
    subprocess.run(
        ["cc", "-std=c11", f"-I{here / 'include'}", source, library, "-pthread", "-o", made],
        check=True,
    )
    return made


@native
async def test_a_c_agent_of_its_own_process_runs_where_the_set_wished(
    two_kinds: Path, c_agent: Path
) -> None:
    async with TandemOrchestrator(config(two_kinds)) as tandem:
        native_layer = tandem._parts.native  # type: ignore[union-attr]
        assert native_layer is not None
        agent = subprocess.Popen(
            [c_agent, "agent1"], env={**os.environ, "TANDEM_SOCKET": native_layer.socket_path}
        )
        try:
            give_up_at = time.monotonic() + WAIT_S
            while not any(action.agent == "agent1" for action in native_layer.actions()):
                assert time.monotonic() < give_up_at
                await asyncio.sleep(0.002)
            mine = allowed_of_task(agent.pid, agent.pid)
            for wish, where in (("e_core", "1"), ("p_core", "0"), ("auto", mine)):
                asked = one_step(wish, "agent1", "greet", {"name": "Ada"}, mode="speed_critical")
                result = await tandem.execute_command_set(asked)
                assert result["results"] == {"s": "Hello, Ada!"}, result["error"]
                assert allowed_of_task(agent.pid, agent.pid) == where, wish
        finally:
            agent.kill()
            agent.wait(WAIT_S)


def test_explain_says_where_a_step_was_to_go_and_why(
    two_kinds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = str(tmp_path / "j.db")

    async def run() -> str:
        asked = config(two_kinds) | {"journal": {"path": journal}}
        async with TandemOrchestrator(asked) as tandem:
            result = await tandem.execute_command_set(one_step("e_core", "system", "echo", 1))
            return str(result["run_id"])

    run_id = asyncio.run(run())
    assert run_app(["explain", run_id, "--journal", journal]) == 0
    assert "  cores: 1 (wish e_core: E-cores)\n" in capsys.readouterr().out
    assert run_app(["explain", run_id, "s", "--journal", journal, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["affinity"], told["cpus"]) == ("e_core", "1")


@native
async def test_what_the_system_refuses_the_bridge_is_a_line_each_in_health(
    two_kinds: Path,
) -> None:
    """Huge pages come from a pool that is empty, or is the machine's own affair."""
    asked = config(two_kinds)
    asked["c_layer"] |= {"use_huge_pages": True, "buffer_size": 16 * 2**20}
    async with TandemOrchestrator(asked) as tandem:
        details = tandem.layer_health()["c"].details
        refused = details["refused"]
        lines = [line for line in refused if line.startswith("huge pages: asked for, refused: ")]
        if int(Path("/proc/sys/vm/nr_hugepages").read_text()) == 0:
            assert len(lines) == 1, refused
        else:
            assert len(lines) <= 1, refused
        result = await tandem.execute_command_set(one_step("auto", "system", "echo", {"x": 1}))
        assert result["status"] == "completed"


@native
async def test_where_there_is_one_kind_of_core_nothing_is_bound_and_health_says_so() -> None:
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        if len(tandem._parts.machine.topology.kinds) > 1:  # type: ignore[union-attr]
            pytest.skip("this machine has several kinds of core")
        pid = tandem.layer_health()["c"].details["pid"]
        mine = allowed_of_task(os.getpid(), threading.get_native_id())
        for wish in WHERE:
            asked = one_step(wish, "system", "echo", {"x": 1}, mode="speed_critical")
            assert (await tandem.execute_command_set(asked))["status"] == "completed"
        assert set(allowed_of_threads(pid).values()) == {mine}
        health = await tandem.python_orchestrator.health_check()
        lines = [line for line in health.details["hardware"] if line.startswith("cores: ")]
        assert len(lines) == 1
        assert "e_core" in lines[0] and "cannot be met here" in lines[0]
