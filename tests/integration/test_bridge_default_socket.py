"""A bridge that is started by hand without a word listens where agents and `supervise` look."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.layers.native import find_native_files

pytestmark = pytest.mark.native
WAIT_S = 20.0


@pytest.mark.parametrize("named", [False, True])
async def test_a_bridge_without_options_is_found_at_its_usual_place(
    tmp_path_factory: pytest.TempPathFactory, named: bool
) -> None:
    home = tmp_path_factory.mktemp("r")
    home.chmod(0o700)
    socket = home / "mine" / "b.sock" if named else home / "tandem" / "default" / "bridge.sock"
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(home)}
    if named:
        environment["TANDEM_SOCKET"] = str(socket)
    program = [str(find_native_files().bridge_path)]
    bridge = subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert bridge.stderr is not None
        assert await asyncio.to_thread(bridge.stderr.readline) == (
            f"agent_bridge: listening at {socket}\n"
        )
        give_up_at = time.monotonic() + WAIT_S
        while not Path(socket).exists():
            assert time.monotonic() < give_up_at and bridge.poll() is None
            await asyncio.sleep(0.005)
        config = {"journal": {"path": ":memory:"}, "c_layer": {"socket": str(socket)}}
        async with TandemOrchestrator(config) as tandem:
            assert await tandem.send("system", "echo", "hello", implementation="c") == "hello"
            assert tandem.layer_health()["c"].details["pid"] == bridge.pid
    finally:
        bridge.send_signal(signal.SIGTERM)
        bridge.communicate(timeout=WAIT_S)
    assert bridge.returncode == 0
