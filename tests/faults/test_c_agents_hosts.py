"""Plug-ins that crash, loop or eat: each fails its own attempt, and nobody else's."""

import asyncio
import importlib.resources
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.model.outcomes import Outcome

pytestmark = pytest.mark.native
WAIT_S = 20.0
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))
BRIDGE = NATIVE / "bin" / "agent_bridge"


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.002)


def build(source: Path, made: Path) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    subprocess.run(
        ["cc", "-std=c11", "-shared", "-fPIC", f"-I{NATIVE / 'include'}", str(source),
         "-o", str(made)],
        check=True,
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = ROOT / "examples" / "c_agent_plugin" / "plugin.c"
    return build(source, tmp_path_factory.mktemp("words") / "words.so")


@pytest.fixture
async def layer() -> AsyncIterator[NativeLayer]:
    made = NativeLayer(Ids().make(), required=True)
    await made.start()
    yield made
    await made.close()


Host = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def host(layer: NativeLayer) -> Iterator[Host]:
    made: list[subprocess.Popen[bytes]] = []

    def begin(plugin: Path, *options: str) -> "subprocess.Popen[bytes]":
        argv = [str(BRIDGE), "host", str(plugin), "--socket", layer.socket_path, *options]
        made.append(subprocess.Popen(argv, stderr=subprocess.PIPE))
        return made[-1]

    yield begin
    for process in made:
        process.kill()
        process.wait(WAIT_S)
        assert process.stderr is not None
        process.stderr.close()


def offers(layer: NativeLayer, agent: str) -> bool:
    return any(action.agent == agent for action in layer.actions())


async def run(
    layer: NativeLayer, agent: str, action: str, payload: Any = None, **fields: Any
) -> Report:
    work = Work("run", f"s{time.monotonic_ns()}", agent, action, "c", payload, **fields)
    return await asyncio.wait_for(layer.run(work, CancelToken()), WAIT_S)


async def test_a_plugin_works_in_a_host(layer: NativeLayer, host: Host, words: Path) -> None:
    process = host(words)
    await eventually(lambda: offers(layer, "words"), "words is offered")
    report = await run(layer, "words", "count", {"text": "one two  three\n"})
    assert report.outcome is Outcome.SUCCEEDED
    assert report.output == 3
    process.terminate()
    assert process.wait(WAIT_S) == 0


async def test_a_crash_costs_its_own_attempt_and_names_the_signal(
    layer: NativeLayer, host: Host, bad: Path, words: Path
) -> None:
    process = host(bad)
    host(words)
    await eventually(lambda: offers(layer, "bad") and offers(layer, "words"), "both are offered")
    crashed, counted = await asyncio.gather(
        run(layer, "bad", "crash"), run(layer, "words", "count", {"text": "a b"})
    )
    assert crashed.outcome is Outcome.UNKNOWN
    assert crashed.failure is not None
    assert crashed.failure.type == "AgentCrashed"
    assert "SIGSEGV" in crashed.failure.message
    assert "memory that is not its own" in crashed.failure.message
    assert counted.output == 2
    assert process.wait(WAIT_S) == -signal.SIGSEGV


async def test_an_endless_action_is_ended_after_its_grace(
    layer: NativeLayer, host: Host, bad: Path
) -> None:
    process = host(bad, "--grace-ms", "100")
    await eventually(lambda: offers(layer, "bad"), "bad is offered")
    late = await run(layer, "bad", "loop", deadline_ns=time.monotonic_ns() + 50_000_000)
    assert late.outcome in (Outcome.UNKNOWN, Outcome.TIMED_OUT)
    assert process.wait(WAIT_S) == -signal.SIGKILL


async def test_memory_is_eaten_only_up_to_the_limit(
    layer: NativeLayer, host: Host, bad: Path
) -> None:
    process = host(bad, "--memory-max", str(64 << 20))
    await eventually(lambda: offers(layer, "bad"), "bad is offered")
    report = await run(layer, "bad", "eat")
    assert report.outcome is Outcome.UNKNOWN
    assert report.failure is not None
    assert "SIGABRT" in report.failure.message
    assert process.wait(WAIT_S) == -signal.SIGABRT


async def test_a_host_leaves_with_its_bridge(words: Path, bad: Path) -> None:
    made = NativeLayer(Ids().make(), required=True)
    await made.start()
    process = subprocess.Popen(
        [str(BRIDGE), "host", str(words), "--socket", made.socket_path], stderr=subprocess.PIPE
    )
    await eventually(lambda: offers(made, "words"), "words is offered")
    await made.close()
    assert process.wait(WAIT_S) == 1
    assert process.stderr is not None
    process.stderr.close()


@pytest.mark.parametrize(
    ("content", "said"), [(b"no library", "does not load"), (b"", "must be a file")]
)
def test_what_is_no_plugin_is_refused_with_a_reason(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(content)
    done = subprocess.run([str(BRIDGE), "host", str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert said in done.stderr


async def test_supervise_restarts_what_dies_and_ends_all(
    tmp_path: Path, words: Path, bad: Path
) -> None:
    socket = tmp_path / "b" / "bridge.sock"
    config = tmp_path / "supervise.conf"
    config.write_text(f"# a test\nsocket = {socket}\nplugin = {words}\nplugin = {bad}\n")
    config.chmod(0o600)
    process = subprocess.Popen(
        [str(BRIDGE), "supervise", "--config", str(config)], stderr=subprocess.DEVNULL
    )
    try:
        await eventually(socket.exists, "the bridge listens")
        made = NativeLayer(Ids().make(), socket=str(socket), required=True)
        await made.start()
        await eventually(lambda: offers(made, "words") and offers(made, "bad"), "both are offered")
        assert (await run(made, "bad", "crash")).outcome is Outcome.UNKNOWN
        await eventually(lambda: not offers(made, "bad"), "bad is gone")
        await eventually(lambda: offers(made, "bad"), "bad is back")
        assert (await run(made, "bad", "fine")).outcome is Outcome.SUCCEEDED
        await made.close()
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert not socket.exists()
    config.chmod(0o666)
    refused = subprocess.run(
        [str(BRIDGE), "supervise", "--config", str(config)], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "writable by nobody else" in refused.stderr


async def test_supervise_hands_on_options_and_keys_and_options_win(
    tmp_path: Path, words: Path
) -> None:
    socket, config = tmp_path / "b" / "bridge.sock", tmp_path / "supervise.conf"
    cpu = min(os.sched_getaffinity(0))
    config.write_text(
        f"plugin = {words}\ncpus = {cpu}\nspin_ns = 5000\nhuge_pages = true\nrealtime = false\n"
        "grace_ms = 900\n"
    )
    config.chmod(0o600)
    process = subprocess.Popen(
        [
            *(str(BRIDGE), "supervise", "--socket", str(socket), "--config", str(config)),
            *("--spin-ns", "7000", "--lock-memory"),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        await eventually(socket.exists, "the bridge listens")
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        await eventually(lambda: len(listed.read_text().split()) == 2, "both are started")
        bridge, host = listed.read_text().split()

        def line(pid: str) -> list[str]:
            return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1:-1]

        await eventually(lambda: line(host)[:1] == ["host"], "the host is started")
        assert line(bridge)[2:] == (
            ["--spin-ns", "7000", "--cpus", str(cpu), "--huge-pages", "--lock-memory"]
        )
        assert line(host)[4:] == ["--grace-ms", "900"]
        assert os.sched_getaffinity(int(bridge)) == {cpu}
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_supervise_refuses_a_flag_that_is_neither_true_nor_false(tmp_path: Path) -> None:
    config = tmp_path / "supervise.conf"
    config.write_text("realtime = maybe\n")
    config.chmod(0o600)

    done = subprocess.run(
        [str(BRIDGE), "supervise", "--config", str(config)], capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "realtime must be true or false, not 'maybe'" in done.stderr


async def test_an_orchestrators_plugins_run_in_hosts_that_come_back(words: Path, bad: Path) -> None:
    made = NativeLayer(Ids().make(), required=True, plugins=(str(words), str(bad)))
    await made.start()
    try:
        await eventually(lambda: offers(made, "words") and offers(made, "bad"), "both are offered")
        before = made.health().details["plugins"]
        assert (await run(made, "words", "count", {"text": "a"})).output == 1
        assert (await run(made, "bad", "crash")).outcome is Outcome.UNKNOWN
        await eventually(
            lambda: (
                made.health().details["plugins"][str(bad)]["pid"]
                not in (None, before[str(bad)]["pid"])
            ),
            "bad has another host",
        )
        assert "SIGSEGV" in made.health().details["plugins"][str(bad)]["reason"]
        await eventually(lambda: offers(made, "bad"), "bad is back")
        assert (await run(made, "bad", "fine")).outcome is Outcome.SUCCEEDED
        pids = [one["pid"] for one in made.health().details["plugins"].values()]
    finally:
        await made.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_a_start_waits_until_its_plugins_have_spoken_or_failed(words: Path) -> None:
    missing = words.with_name("missing.so")
    made = NativeLayer(Ids().make(), required=True, plugins=(str(words), str(missing)))
    await made.start()
    try:
        assert offers(made, "words"), "whoever submits right after the start finds its agent"
        await eventually(lambda: str(missing) in made.health().reason, "the other one is named")
        assert str(words) not in made.health().reason
    finally:
        await made.close()
