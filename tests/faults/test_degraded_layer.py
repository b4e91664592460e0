"""No C layer, for every reason there is: the work is done in Python, and everybody says so.

Each case is a program of its own that is given one world: a package that was built without the
layer, a switch, a socket that leads nowhere, a directory that is not private, a bridge that ends
at once. What it saw comes back as JSON; ``tandem doctor`` looks at the same world.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import tandem_orchestrator
from tandem_orchestrator.layers.native import find_native_files

pytestmark = pytest.mark.native

WAIT_S = 30.0
"""Longest wait for a program that is certain to end; only a broken test needs it."""
START_MAX_S = 10.0
"""Longest start of an orchestrator on a machine that is busy with other things."""
PATIENCE_S = 0.5
"""``c_layer.start_timeout_s`` where somebody keeps silent."""
DYING = """#!/bin/sh
echo $$ >> "$0.started"
echo "out of luck" >&2
exit 7
"""
HANGING = """#!/bin/sh
echo $$ >> "$0.started"
exec /bin/sleep 3600
"""

CHILD = """
import sys
asked_package = sys.argv[1]
if asked_package:
    # An editable install answers imports before the path does.
    sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in type(f).__module__]
    sys.path.insert(0, asked_package)
import tandem_orchestrator
assert tandem_orchestrator.__file__.startswith(asked_package), tandem_orchestrator.__file__
"""

DRIVER = (
    CHILD
    + """
import asyncio, json, time
from pathlib import Path
from tandem_orchestrator import (
    CommandSet, CommandStep, LayerUnavailable, StandardWorkflows, TandemOrchestrator,
)

config, folder, breaker = json.loads(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "breaker"
source = Path(sys.argv[5])
out, calls, events = {"refusals": {}}, [], []


async def main():
    began = time.monotonic()
    tandem = TandemOrchestrator(config)
    await tandem.initialize()
    out["start_s"] = time.monotonic() - began
    agent = tandem.register_agent("t")

    @agent.action("touch", effects="none")
    def touch(payload):
        calls.append("touch")
        return 1

    @touch.twin("v2")
    def touch_v2(payload):
        calls.append("v2")
        return 1

    give_up_at = time.monotonic() + 20
    while breaker and not tandem.layer_health()["c"].details["breaker_open"]:
        assert time.monotonic() < give_up_at, tandem.layer_health()
        await asyncio.sleep(0.005)  # processes die meanwhile: there is no clock to move
    asked = StandardWorkflows.create_document_generation_workflow(
        path=source, output=folder / "pages"
    )
    out["result"] = await tandem.execute_command_set(asked)
    out["pages"] = sorted(path.name for path in (folder / "pages").iterdir())
    touched = CommandStep(id="touch", agent="t", action="touch")
    echo = CommandStep(id="echo", agent="system", action="echo", payload={"x": 1})
    scan = CommandStep(
        id="scan", agent="docgen", action="scan_codebase", payload={"path": str(source)}
    )
    async with tandem.listening(lambda run_id, event: events.append(type(event).__name__)):
        for mode, native in (
            ("SPEED_CRITICAL", echo), ("REDUNDANT", echo), ("REDUNDANT", scan), ("CONSENSUS", scan)
        ):
            refused = CommandSet(type="SEQUENCE", mode=mode, steps=[touched, native])
            try:
                await tandem.execute_command_set(refused)
                said = "it ran"
            except LayerUnavailable as error:
                said = str(error)
            out["refusals"][f"{mode} {native.id}"] = said
        out["after_refusals"] = [calls[:], events[:], len(await tandem.runs())]
        twins = CommandSet(mode="REDUNDANT", steps=[touched])
        result = await tandem.execute_command_set(twins)
        out["twins"] = [result["status"], result["consensus_achieved"], sorted(calls)]
    health = tandem.layer_health()["c"]
    out["health"] = [health.healthy, health.reason, dict(health.details)]
    began = time.monotonic()
    await tandem.close()
    out["close_s"] = time.monotonic() - began


asyncio.run(main())
(folder / "out.json").write_text(json.dumps(out))
"""
)

DOCTOR = CHILD + "del sys.argv[1]; import tandem_orchestrator.cli as c; raise SystemExit(c.main())"


@dataclass
class World:
    """What one case changes, and what it must then be told."""

    reason: str
    """A part of the reason that everybody gives."""
    c_layer: dict[str, Any] = field(default_factory=dict)
    package: str = ""
    """Where another copy of the package lies."""
    environ: dict[str, str] = field(default_factory=dict)
    breaker: bool = False
    """Whether the bridge dies until nothing is tried any more."""
    program: Path | None = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A code base that all cases document."""
    folder = tmp_path_factory.mktemp("base")
    package = folder / "src" / "package"
    package.mkdir(parents=True)
    for n in range(20):
        (package / f"m{n}.py").write_text(f'"""Module {n}."""\n\nVALUE = {n}\n' * (n + 1))
    (folder / "src" / "tool.c").write_text("int main(void) { return 0; }\n")
    (folder / "src" / ".gitignore").write_text("m1?.py\n")
    return folder


# Any: what the program wrote, as JSON.
def drive(world: World, folder: Path, own: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the driver and ``tandem doctor`` in a world; give what both said."""
    settings = {"journal": {"path": str(own / "j.db")}, "c_layer": world.c_layer}
    environ = {**os.environ, "XDG_STATE_HOME": str(own / "state"), **world.environ}
    options = [f"--set=c_layer.{key}={json.dumps(value)}" for key, value in world.c_layer.items()]
    options = [option.replace('"', "") for option in options]
    own_folder = own / "work"
    own_folder.mkdir()
    breaker = "breaker" if world.breaker else ""
    driver = subprocess.Popen(
        [sys.executable, "-P", "-c", DRIVER, world.package, json.dumps(settings),
         str(own_folder), breaker, str(folder / "src")], env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    doctor = subprocess.Popen(
        [sys.executable, "-P", "-c", DOCTOR, world.package, "doctor", "--json", *options],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _, complaint = driver.communicate(timeout=WAIT_S)
        findings, doctor_complaint = doctor.communicate(timeout=WAIT_S)
    finally:
        driver.kill()
        doctor.kill()
    assert driver.returncode == 0, complaint.decode()
    assert doctor.returncode == 0, doctor_complaint.decode()
    return json.loads((own_folder / "out.json").read_text()), json.loads(findings)


NATIVE = """
import asyncio, json, sys
from pathlib import Path
from tandem_orchestrator import StandardWorkflows, TandemOrchestrator

async def main():
    folder = Path(sys.argv[1])
    asked = StandardWorkflows.create_document_generation_workflow(
        path=sys.argv[2], output=folder / "pages"
    )
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        result = await tandem.execute_command_set(asked)
    (folder / "native.json").write_text(json.dumps(result))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def in_c(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the same workflow gives where the C layer is there."""
    own = tmp_path_factory.mktemp("c")
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(own), "HOME": str(own)}
    subprocess.run(
        [sys.executable, "-P", "-c", NATIVE, str(own), str(folder / "src")],
        env=environ, check=True, timeout=WAIT_S, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    result = json.loads((own / "native.json").read_text())
    assert (result["error"], result["notes"]) == (None, [])
    assert result["steps"]["scan"]["layer"] == "c"
    assert len(result["results"]["scan"]["files"]) == 11
    return result


# --- the worlds ----------------------------------------------------------------------------------


def copy_of_the_package(place: Path, program: str | None) -> str:
    """Copy the package without its native files, or with another program as the bridge."""
    original = Path(tandem_orchestrator.__file__).parent
    target = place / "tandem_orchestrator"
    unwanted = ("_ext*.so", "bin") if program is None else ("bin",)
    shutil.copytree(original, target, ignore=shutil.ignore_patterns(*unwanted))
    if program is not None:
        (target / "_native" / "bin").mkdir()
        bridge = target / "_native" / "bin" / "agent_bridge"
        bridge.write_text(program)
        bridge.chmod(0o755)
    return str(place)


def without_native_files(own: Path) -> World:
    return World(
        "installed without the C layer: no program", package=copy_of_the_package(own, None)
    )


def without_the_extension(own: Path) -> World:
    package = copy_of_the_package(own, DYING)
    for extension in Path(package).rglob("_ext*.so"):
        extension.unlink()
    reason = "installed without the C layer: no extension tandem_orchestrator._native._ext"
    return World(reason, package=package)


def switched_off(own: Path) -> World:
    return World("switched off (c_layer.enabled)", {"enabled": False})


def dead_socket(own: Path) -> World:
    path = own / "dead.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        one.bind(str(path))
    return World("Connection refused", {"socket": str(path)})


def absent_socket(own: Path) -> World:
    return World("No such file or directory", {"socket": str(own / "absent.sock")})


def regular_file(own: Path) -> World:
    (own / "file").write_text("no socket")
    return World(str(own / "file"), {"socket": str(own / "file")})


def wide_runtime_directory(own: Path) -> World:
    (own / "tandem").mkdir()
    (own / "tandem").chmod(0o755)
    reason = f"runtime directory {own / 'tandem'}: mode 0755, must be 0700"
    return World(reason, environ={"XDG_RUNTIME_DIR": str(own)})


def dying_bridge(own: Path) -> World:
    package = copy_of_the_package(own, DYING)
    patience = {"deaths_max": 2, "restart_delay_s": 0.01, "cooldown_s": 3600.0}
    program = Path(package, "tandem_orchestrator", "_native", "bin", "agent_bridge")
    reason = f"{program}: exit status 7: out of luck"
    return World(reason, patience, package, breaker=True, program=program)


def hanging_bridge(own: Path) -> World:
    package = copy_of_the_package(own, HANGING)
    program = Path(package, "tandem_orchestrator", "_native", "bin", "agent_bridge")
    reason = f"{program}: not ready after {PATIENCE_S:g} s"
    patience = {"start_timeout_s": PATIENCE_S, "restart_delay_s": 4.0}
    return World(reason, patience, package, program=program)


WORLDS = [
    without_native_files,
    switched_off,
    dead_socket,
    regular_file,
    wide_runtime_directory,
    dying_bridge,
    hanging_bridge,
    pytest.param(without_the_extension, marks=pytest.mark.long),
    pytest.param(absent_socket, marks=pytest.mark.long),
]  # fmt: skip


# Any: what the two programs said.
def assert_degraded(
    world: World, out: dict[str, Any], doctor: dict[str, Any], in_c: dict[str, Any]
) -> None:
    """Check that the work was done, and that every place tells how."""
    result, reason = out["result"], world.reason
    assert (result["status"], result["error"]) == ("completed", None)
    assert result["results"]["scan"] == in_c["results"]["scan"]
    assert "index.md" in out["pages"]
    assert {step["layer"] for step in result["steps"].values()} == {"python"}
    assert {step["outcome"] for step in result["steps"].values()} == {"succeeded"}
    [note] = [n for n in result["notes"] if n.startswith("the C layer is away, so everything runs")]
    assert reason in note
    why = result["steps"]["scan"]["reason"]
    assert "python is the only implementation here; the C layer is away: " in why and reason in why

    assert set(out["refusals"]) == {
        "SPEED_CRITICAL echo", "REDUNDANT echo", "REDUNDANT scan", "CONSENSUS scan",
    }  # fmt: skip
    for asked, said in out["refusals"].items():
        assert said.startswith(f"mode {asked.split()[0]} needs the c layer, which is away: ")
        assert reason in said
    assert out["after_refusals"] == [[], [], 1]  # nothing ran, nothing happened, nothing is kept
    assert out["twins"] == ["completed", True, ["touch", "v2"]]  # these do not need the C layer

    healthy, said, _ = out["health"]
    assert not healthy and reason in said
    assert out["start_s"] < START_MAX_S and out["close_s"] < START_MAX_S

    assert doctor["status"] == "degraded"
    states = {finding["what"]: finding for finding in doctor["findings"]}
    assert states["c layer"]["state"] == "degraded" and reason in states["c layer"]["detail"]
    assert states["a speed_critical run"]["state"] == "degraded"
    assert states["a python_only run"]["state"] == states["journal"]["state"] == "ok"


@pytest.mark.parametrize("make", WORLDS, ids=lambda make: make.__name__)
def test_without_the_c_layer_the_workflow_completes_in_python_and_everybody_says_so(
    make: Callable[[Path], World], folder: Path, own_home: Path, in_c: dict[str, Any]
) -> None:
    world = make(own_home)
    out, doctor = drive(world, folder, own_home)
    assert_degraded(world, out, doctor, in_c)
    if world.program is not None:
        started = [int(pid) for pid in Path(f"{world.program}.started").read_text().split()]
        assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    if world.breaker:
        details = out["health"][2]
        assert (details["starts"], details["deaths"]) == (0, 3)  # one, and deaths_max restarts
    if make in (without_native_files, without_the_extension):
        [files] = [f for f in doctor["findings"] if f["what"] == "native files"]
        assert (files["state"], world.reason in files["detail"]) == ("degraded", True)
        assert files["mend"]
    else:
        assert find_native_files().usable


# --- a stranger on the socket --------------------------------------------------------------------


@pytest.fixture
def stranger(own_home: Path) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """A socket of the right kind with somebody behind it who hangs up, or keeps silent."""
    path, kept = own_home / "stranger.sock", []
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(path))
    server.listen(64)
    thread: list[threading.Thread] = []

    def serve(hang_up: bool) -> None:
        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                if hang_up:
                    connection.close()

        thread.append(threading.Thread(target=accept))
        thread[0].start()

    yield path, serve
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread[0].join(WAIT_S)
    for connection in kept:
        connection.close()


@pytest.mark.parametrize("hang_up", [True, False], ids=["hangs up at once", "keeps silent"])
def test_a_stranger_on_the_socket_is_no_bridge_and_costs_bounded_time(
    stranger: tuple[Path, Callable[[bool], None]],
    hang_up: bool,
    folder: Path,
    own_home: Path,
    in_c: dict[str, Any],
) -> None:
    path, serve = stranger
    serve(hang_up)
    patience = {"start_timeout_s": PATIENCE_S, "restart_delay_s": 4.0}
    world = World(f"bridge at {path}: ", {"socket": str(path), **patience})
    out, doctor = drive(world, folder, own_home)
    assert_degraded(world, out, doctor, in_c)
    if not hang_up:
        assert out["start_s"] >= PATIENCE_S * 0.8  # it was waited for, and no longer than asked
        assert out["start_s"] < PATIENCE_S + 5.0
