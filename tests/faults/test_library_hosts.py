"""Hosts of libraries: what they refuse, what they run after a file was changed, whom they outlive."""

import asyncio
import fcntl
import importlib.resources
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator

pytestmark = pytest.mark.native
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))
BRIDGE = NATIVE / "bin" / "agent_bridge"
MEMORY: dict[str, Any] = {"journal": {"path": ":memory:"}}
WAIT_S = 20.0

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")

    def made(source: str, name: str = "libgeo.so") -> Path:
        (tmp_path / "geo.c").write_text(source)
        subprocess.run(
            ["cc", "-shared", "-fPIC", f"-I{NATIVE / 'include'}", str(tmp_path / "geo.c"),
             "-o", str(tmp_path / name)],
            check=True,
        )  # fmt: skip
        return tmp_path / name

    return made


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        time.sleep(0.005)


def sealed(path: Path, seals: int) -> int:
    copy = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(copy, path.read_bytes())
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals)
    return copy


ALL_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


@pytest.mark.parametrize(
    ("seals", "arguments", "code", "reason"),
    [
        (fcntl.F_SEAL_SHRINK, ["--action", "a", "--symbol", "area"], 1, "is no sealed copy"),
        (ALL_SEALS, ["--action", "a", "--symbol", "gone"], 1, "exports no function 'gone'"),
        (ALL_SEALS, ["--action", "a", "--symbol", "area", "--signature", "f64(w)"], 1,
         "area f64(w): 4: expected an argument"),
        (ALL_SEALS, ["--symbol", "area"], 2, "name the --action first"),
        (ALL_SEALS, ["--action", "a"], 2, "usage"),
        (ALL_SEALS, [], 2, "usage"),
        (ALL_SEALS, ["--action", "a", "--symbol", "area", "--effects", "odd"], 2,
         "must be none, idempotent or external"),
        (ALL_SEALS, ["--action", "a", "--symbol", "area"] * 129, 2, "more than 128 actions"),
    ],
)  # fmt: skip
def test_a_host_says_what_is_wrong_and_leaves(
    build: Build, seals: int, arguments: list[str], code: int, reason: str
) -> None:
    copy = sealed(build("double area(double w) { return w; }"), seals)
    done = subprocess.run(
        [str(BRIDGE), "host", "libgeo.so", "--library-fd", str(copy), "--agent", "x", *arguments],
        pass_fds=[copy], capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    os.close(copy)
    assert done.returncode == code, done.stderr
    assert reason in done.stderr


async def test_what_was_checked_is_what_runs_whatever_becomes_of_the_file(build: Build) -> None:
    path = build("double area(double w) { return w; }")
    async with TandemOrchestrator(MEMORY) as tandem:
        agent = tandem.register_agent("shapes")
        area = agent.action("area", effects="none")(lambda payload: None)
        area.twin("c", library=path, symbol="area", signature="f64(f64 w)")
        build("double area(double w) { return -w; }")  # the file changes before the first use
        assert await tandem.send("shapes", "area", {"w": 2}, implementation="c") == 2.0
        again = agent.action("area", effects="none")(lambda payload: None)
        again.twin("c", library=path, symbol="area", signature="f64(f64 w)")
        assert await tandem.send("shapes", "area", {"w": 2}, implementation="c") == -2.0


async def test_the_cache_never_answers_for_another_build_of_a_library(build: Build) -> None:
    config = {**MEMORY, "python_layer": {"cache_size": 1000}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("shapes")
        seen = []
        for source in ("double f(double w) { return w; }", "double f(double w) { return 3 * w; }"):
            handle = agent.action("f", effects="none", deterministic=True)(lambda payload: None)
            handle.twin("c", library=build(source), symbol="f", signature="f64(f64 w)")
            for _ in range(2):
                result = await tandem.execute_command_set(
                    CommandSet(
                        name="f",
                        steps=[
                            CommandStep(
                                agent="shapes", action="f", payload={"w": 2},
                                implementations=["c"],
                            )
                        ],
                    )
                )  # fmt: skip
                seen.append(result["results"]["s1"])
        assert seen == [2.0, 2.0, 6.0, 6.0]


async def test_hosts_that_nobody_needs_any_more_are_ended(build: Build) -> None:
    async with TandemOrchestrator(MEMORY) as tandem:
        agent = tandem.register_agent("shapes")

        def hosts() -> dict[str, Any]:
            return dict(tandem.layer_health()["c"].details["libraries"])

        pids = set()
        for factor in range(1, 6):
            handle = agent.action("f", effects="none")(lambda payload: None)
            path = build(f"double f(double w) {{ return {factor} * w; }}")
            handle.twin("c", library=path, symbol="f", signature="f64(f64 w)")
            answer = await tandem.send("shapes", "f", {"w": 2}, implementation="c")
            assert answer == 2.0 * factor
            pids |= {host["pid"] for host in hosts().values()}
        give_up_at = time.monotonic() + WAIT_S
        while len(hosts()) > 1:
            assert time.monotonic() < give_up_at, hosts()
            await asyncio.sleep(0.01)
        [last] = hosts().values()
        assert all(is_gone(pid) for pid in pids - {last["pid"], None})
        assert await tandem.send("shapes", "f", {"w": 3}, implementation="c") == 15.0


SCRIPT = """
import asyncio, sys
from tandem_orchestrator import TandemOrchestrator

async def main():
    config = {"journal": {"path": ":memory:"}, "c_layer": {"socket": sys.argv[2]}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("shapes")
        area = agent.action("area", effects="none")(lambda payload: None)
        area.twin("c", library=sys.argv[1], symbol="area", signature="f64(f64 w)")
        await tandem.send("shapes", "area", {"w": 2}, implementation="c")
        [host] = tandem.layer_health()["c"].details["libraries"].values()
        print(host["pid"], flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_host_does_not_outlive_its_orchestrator_beside_a_foreign_bridge(
    build: Build, tmp_path: Path
) -> None:
    library = build("double area(double w) { return w; }")
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    socket = folder / "bridge.sock"
    bridge = subprocess.Popen([str(BRIDGE), "--socket", str(socket)], stderr=subprocess.DEVNULL)
    try:
        eventually(socket.exists, "the bridge listens")
        (tmp_path / "script.py").write_text(SCRIPT)
        owner = subprocess.Popen(
            [sys.executable, "-P", str(tmp_path / "script.py"), str(library), str(socket)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert "agent_bridge" in Path(f"/proc/{pid}/cmdline").read_text()
        owner.send_signal(signal.SIGKILL)
        owner.wait(WAIT_S)
        owner.stdout.close()
        eventually(lambda: is_gone(pid), "the host has left")
        assert bridge.poll() is None
    finally:
        bridge.terminate()
        bridge.wait(WAIT_S)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; nobody may reap an orphan here, so a zombie counts."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_c_agent_of_the_same_name_counts_as_the_twin_c(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    source = ROOT / "examples" / "c_agent_plugin" / "plugin.c"
    made = tmp_path / "words.so"
    subprocess.run(
        ["cc", "-std=c11", "-shared", "-fPIC", f"-I{NATIVE / 'include'}", str(source),
         "-o", str(made)],
        check=True,
    )  # fmt: skip
    async with TandemOrchestrator({**MEMORY, "c_layer": {"plugins": [str(made)]}}) as tandem:
        entry = tandem.catalogue().action("words", "count")
        assert entry is not None

        @tandem.register_agent("words").action("count", effects="none")
        def count(payload: Any) -> Any:
            return {"words": len(payload["text"].split())}

        result = await tandem.execute_command_set(
            CommandSet(
                name="pair",
                mode="redundant",
                steps=[
                    CommandStep(agent="words", action="count", payload={"text": "one two three"})
                ],
            )
        )
    assert result["status"] == "completed", result["error"]
    assert "REDUNDANT runs python and c" in result["steps"]["s1"]["reason"]


async def test_two_python_implementations_are_compared_one_of_them_in_a_process() -> None:
    async with TandemOrchestrator({**MEMORY, "c_layer": {"enabled": False}}) as tandem:

        @tandem.register_agent("json").action("dump", effects="none")
        async def dump(payload: Any) -> str:
            await asyncio.sleep(0)
            return f'{{"n": {payload["n"] + (payload["n"] == 3)}}}'

        dump.twin("worker", cpu="process")(json.dumps)  # a worker can import it
        result = await tandem.execute_command_set(
            CommandSet(
                name="pair",
                mode="redundant",
                steps=[CommandStep(agent="json", action="dump", payload={"n": n}) for n in (2, 3)],
            )
        )
    assert result["status"] == "completed", result["error"]
    [conflict] = result["conflicts"]
    assert conflict["step"] == "s2"
    assert [(f["left"], f["right"]) for f in conflict["fields"]] == [('{"n": 4}', '{"n": 3}')]
