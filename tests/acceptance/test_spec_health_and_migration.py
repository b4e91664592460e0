"""SPEC.md's troubleshooting, health check and migration guide, as written apart from paths.

The document's own lines are kept as text and executed, so that no formatter can make them easier
than what a reader types.
"""

import ast
import inspect
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tandem_orchestrator
from tandem_orchestrator import LayerUnavailable, TandemOrchestrator

WAIT_S = 20.0
NATIVE = Path(str(files("tandem_orchestrator._native")))

SHOW = "ps aux | grep agent_bridge"
START = """
cd {path}
./agent_bridge &
"""

CONFLICTS = """
# Adjust conflict resolution strategy
orchestrator.config["redundancy"]["conflict_resolution"] = "retry_both"
"""

SLOW = """
# Check metrics
metrics = orchestrator.get_metrics()
print(f"Python latency: {metrics['avg_python_latency']}")
print(f"C latency: {metrics['avg_c_latency']}")

# Solution
# Adjust execution mode or hardware affinity
command_set.hardware_affinity = HardwareAffinity.P_CORE_ULTRA
"""

MEMORY = """
# Clear cache
orchestrator.cache.clear()

# Reduce buffer sizes
orchestrator.config["c_layer"]["buffer_size"] = 8388608  # 8MB
"""

HEALTH_CHECK = '''
async def health_check():
    """Comprehensive system health check"""
    
    orchestrator = TandemOrchestrator()
    
    # Check Python layer
    python_health = await orchestrator.python_orchestrator.health_check()
    
    # Check C layer
    c_health = orchestrator.binary_bridge.test_connection()
    
    # Check metrics
    metrics = orchestrator.get_metrics()
    
    return {
        "python_layer": python_health,
        "c_layer": c_health,
        "metrics": metrics,
        "status": "healthy" if python_health and c_health else "degraded"
    }
'''  # noqa: W293

BEFORE_PYTHON = """
# Before: Direct Python orchestration
result = await python_orchestrator.send_message(msg)
"""
AFTER_PYTHON = """
# After: Tandem orchestration
command_set = CommandSet(
    mode=ExecutionMode.INTELLIGENT,
    steps=[CommandStep(agent="target", action="process", payload=msg)]
)
result = await tandem_orchestrator.execute_command_set(command_set)
"""

BEFORE_C = """
# Before: Direct binary bridge
response = binary_bridge.send_message(binary_msg)
"""
AFTER_C = """
# After: Tandem with speed mode
command_set = CommandSet(
    mode=ExecutionMode.SPEED_CRITICAL,
    c_optimized=True,
    steps=[...]
)
result = await tandem_orchestrator.execute_command_set(command_set)
"""


async def follow(text: str, names: dict[str, Any]) -> None:
    """Execute lines of the document, in which ``await`` stands outside of any function."""
    waiting = eval(compile(text, "SPEC.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(waiting):
        await waiting


def public_names() -> dict[str, Any]:
    """What ``from tandem_orchestrator import *`` gives."""
    names: dict[str, Any] = {}
    exec("from tandem_orchestrator import *", names)
    return names


@pytest.fixture
async def both() -> AsyncIterator[TandemOrchestrator]:
    """An orchestrator with both layers."""
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as made:
        yield made


# --- troubleshooting -----------------------------------------------------------------------------


def shell(text: str) -> str:
    """Run lines of the document in a shell; returns what they print."""
    done = subprocess.run(
        ["sh", "-c", text], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    return done.stdout


@pytest.fixture
def by_hand(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The socket and the pid of a bridge that the document's own lines started.

    ``TANDEM_SOCKET`` says where, to the bridge and to orchestrators alike.
    """
    socket = own_home / "run" / "hand" / "bridge.sock"
    monkeypatch.setenv("TANDEM_SOCKET", str(socket))
    log = own_home / "log"
    lines = START.format(path=NATIVE / "bin")
    pid = int(shell(f"exec 3>&1 >{log} 2>&1; {{ {lines} }} 3>&-\necho $! >&3"))
    try:
        give_up_at = time.monotonic() + WAIT_S
        while not socket.exists():  # another process: there is no clock of ours to move
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.005)
        yield str(socket), pid
    finally:
        os.kill(pid, signal.SIGTERM)
        give_up_at = time.monotonic() + WAIT_S
        while running(pid) and time.monotonic() < give_up_at:
            time.sleep(0.005)
        assert not running(pid)


def running(pid: int) -> bool:
    """Say whether a process that is not our child still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.native
@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_a_bridge_started_by_hand_is_seen_by_ps(by_hand: tuple[str, int]) -> None:
    _, pid = by_hand
    found = [line.split() for line in shell(SHOW).splitlines()]
    assert [words[10] for words in found if words[1] == str(pid)] == ["./agent_bridge"], found


@pytest.mark.native
async def test_the_health_check_asks_the_bridge_that_was_started_by_hand(
    by_hand: tuple[str, int],
) -> None:
    _, pid = by_hand
    names = public_names()
    await follow(HEALTH_CHECK, names)

    health = await names["health_check"]()

    assert health["status"] == "healthy", health
    assert health["c_layer"].bridge_pid == pid
    assert not health["c_layer"].started
    assert health["python_layer"]
    assert health["metrics"]["c_msgs_processed"] == 0


@pytest.mark.native
async def test_a_run_goes_through_the_bridge_that_was_started_by_hand_and_leaves_it_there(
    by_hand: tuple[str, int],
) -> None:
    _, pid = by_hand
    step = tandem_orchestrator.CommandStep(agent="system", action="echo", payload="over here")
    asked = tandem_orchestrator.CommandSet(mode="speed_critical", steps=[step])

    async with TandemOrchestrator() as tandem:
        assert tandem.layer_health()["c"].details["pid"] == pid
        result = await tandem.execute_command_set(asked)

    assert (result["status"], result["results"]) == ("completed", {"s1": "over here"})
    assert result["steps"]["s1"]["layer"] == "c"
    assert running(pid)


@pytest.mark.native
async def test_the_health_check_is_healthy_without_any_bridge_and_leaves_none(
    own_home: Path,
) -> None:
    names = public_names()
    await follow(HEALTH_CHECK, names)

    health = await names["health_check"]()

    assert health["status"] == "healthy", health
    assert health["c_layer"].started
    assert not list((own_home / "run").rglob("*.sock*"))


async def test_the_health_check_is_degraded_where_no_bridge_listens_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TANDEM_C_LAYER__SOCKET", str(tmp_path / "nobody.sock"))
    names = public_names()
    await follow(HEALTH_CHECK, names)

    health = await names["health_check"]()

    assert health["status"] == "degraded"
    assert health["python_layer"]
    assert health["c_layer"].reason


async def test_the_conflict_strategy_can_be_changed_as_troubleshooting_says(
    tandem: TandemOrchestrator,
) -> None:
    tries: list[int] = []
    agent = tandem.register_agent("quotes")

    @agent.action("rate", effects="none")
    async def rate(payload: Any) -> int:
        tries.append(1)
        return 1 if len(tries) > 1 else 2

    @rate.twin("v2")
    async def rate_v2(payload: Any) -> int:
        return 1

    step = tandem_orchestrator.CommandStep(agent="quotes", action="rate")
    asked = tandem_orchestrator.CommandSet(mode="redundant", steps=[step])
    await follow(CONFLICTS, {"orchestrator": tandem})

    result = await tandem.execute_command_set(asked)

    assert (result["results"], len(tries)) == ({"s1": 1}, 2)


@pytest.mark.native
async def test_latencies_and_a_wish_for_cores_as_troubleshooting_says(
    both: TandemOrchestrator, capsys: pytest.CaptureFixture[str]
) -> None:
    names = public_names()
    step = names["CommandStep"](agent="system", action="echo", payload=1)
    names |= {"orchestrator": both, "command_set": names["CommandSet"](steps=[step])}

    await follow(SLOW, names)

    assert capsys.readouterr().out == "Python latency: 0.0\nC latency: 0.0\n"
    result = await both.execute_command_set(names["command_set"])
    assert result["status"] == "completed"


@pytest.mark.native
async def test_the_cache_is_cleared_and_the_rings_reduced_as_troubleshooting_says(
    own_home: Path,
) -> None:
    orchestrator = TandemOrchestrator({"journal": {"path": ":memory:"}})
    await follow(MEMORY, {"orchestrator": orchestrator})

    async with orchestrator:
        pid = orchestrator.layer_health()["c"].details["pid"]
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")

    assert command[command.index("--buffer-size") + 1] == "8388608"


# --- migration -----------------------------------------------------------------------------------


async def test_from_standalone_python_both_ways_give_the_same(tandem: TandemOrchestrator) -> None:
    @tandem.register_agent("target").action("process")
    async def process(payload: dict[str, Any]) -> dict[str, Any]:
        return {"processed": payload}

    message = {"agent": "target", "action": "process", "payload": {"n": 1}}
    names = public_names() | {"python_orchestrator": tandem.python_orchestrator, "msg": message}
    await follow(BEFORE_PYTHON, names)
    assert names["result"] == {"processed": {"n": 1}}

    names |= {"tandem_orchestrator": tandem, "msg": message["payload"]}
    await follow(AFTER_PYTHON, names)

    assert names["result"]["status"] == "completed"
    assert names["result"]["results"] == {"s1": {"processed": {"n": 1}}}


@pytest.mark.native
@pytest.mark.parametrize("encoded", [False, True], ids=["a map", "bytes"])
async def test_from_the_binary_c_system_both_ways_give_the_same(
    both: TandemOrchestrator, encoded: bool
) -> None:
    message = {"agent": "system", "action": "echo", "payload": {"x": [1, 2.5, None, b"\0"]}}
    sent = msgspec.msgpack.encode(message) if encoded else message
    names = public_names() | {"binary_bridge": both.binary_bridge, "binary_msg": sent}
    await follow(BEFORE_C, names)
    response = msgspec.msgpack.decode(names["response"]) if encoded else names["response"]
    assert response == message["payload"]

    names |= {"tandem_orchestrator": both, "step": names["CommandStep"](**message)}
    await follow(AFTER_C.replace("[...]", "[step]"), names)

    assert names["result"]["status"] == "completed"
    assert names["result"]["results"] == {"s1": response}
    assert names["result"]["steps"]["s1"]["layer"] == "c"
    assert both.get_metrics()["python_msgs_processed"] == 0
    assert both.get_metrics()["c_msgs_processed"] == 2


async def test_a_message_to_the_binary_bridge_without_the_c_layer_says_that_it_is_off(
    tandem: TandemOrchestrator,
) -> None:
    message = {"agent": "system", "action": "echo", "payload": 1}
    names = {"binary_bridge": tandem.binary_bridge, "binary_msg": message}

    with pytest.raises(LayerUnavailable, match="switched off"):
        await follow(BEFORE_C, names)
