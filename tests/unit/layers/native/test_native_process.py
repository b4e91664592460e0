"""A process is started with nothing it should not have, watched by pidfd, stopped and reaped."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.native.process import BridgeProcess

WAIT_S = 5.0
CLOCK = SystemClock()


def shell(script: str) -> Callable[[int, int], list[str]]:
    """Arguments for a shell that knows the lifeline as $0 and the ready pipe as $1."""
    return lambda *fds: ["/bin/bash", "-c", script, *map(str, fds)]


def start(script: str, **environment: str) -> BridgeProcess:
    return BridgeProcess.start(shell(script), env={"PATH": "/bin:/usr/bin", **environment})


def fds(pid: int | str) -> set[str]:
    """Names of the open descriptors of a process."""
    return {entry.name for entry in Path(f"/proc/{pid}/fd").iterdir()}


async def ending(process: BridgeProcess) -> str:
    return await asyncio.wait_for(asyncio.shield(process.died), WAIT_S)


async def test_its_exit_status_and_last_words_are_learned():
    process = start("echo 'cannot   bind' >&2; printf 'no\\033[31mend' >&2; exit 3")
    assert await ending(process) == "exit status 3"
    assert process.last_words() == "cannot   bind | no?[31mend"


async def test_it_is_ready_when_it_says_so():
    process = start("echo ready >&$1; exec sleep 60")
    assert await asyncio.wait_for(process.ready, WAIT_S) is True
    process.kill()
    await ending(process)


async def test_one_that_ends_before_it_listens_is_not_ready():
    process = start("exit 1")
    assert await asyncio.wait_for(process.ready, WAIT_S) is False
    await ending(process)


async def test_its_death_by_a_signal_is_named():
    process = start("exec sleep 60")
    process.kill()
    assert await ending(process) == "killed by SIGKILL"
    process.kill()  # harmless afterwards


async def test_it_sees_eof_on_its_lifeline_when_we_hang_up():
    process = start('eval "exec 0<&$0"; read line; exit 7')
    assert not process.died.done()
    process.hang_up()
    assert await ending(process) == "exit status 7"


async def test_stop_lets_it_leave_and_says_so():
    process = start('eval "exec 0<&$0"; read line; exit 0')
    assert await process.stop(WAIT_S, CLOCK) is True
    assert await process.stop(WAIT_S, CLOCK) is True  # may be repeated


async def test_stop_kills_what_is_stopped_after_its_grace():
    process = start("kill -STOP $$; exec sleep 60")
    begun = time.monotonic()
    assert await process.stop(0.05, CLOCK) is False
    assert process.died.result() == "killed by SIGKILL"
    assert time.monotonic() - begun < WAIT_S


async def test_it_runs_in_a_session_of_its_own_with_the_given_environment_alone():
    process = start("exec sleep 60", ONLY="this")
    try:
        assert os.getsid(process.pid) == process.pid
        await settled_exec(process)
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry} <= {
            b"ONLY",
            b"PATH",
            b"PWD",
            b"OLDPWD",
            b"SHLVL",
            b"_",
        }
    finally:
        process.kill()
        await ending(process)


async def test_it_inherits_no_descriptor_but_its_own():
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)  # what a careless library might do
    try:
        process = start("exec sleep 60")
        await settled_exec(process)
        try:
            give_up_at = time.monotonic() + WAIT_S
            # The loader opens libraries for a moment; what stays is what was inherited.
            while len(held := fds(process.pid)) > 5 and time.monotonic() < give_up_at:
                await asyncio.sleep(0.001)
            assert len(held) == 5, held  # stdin, stdout, stderr, lifeline, ready pipe
            assert str(write_end) not in held
        finally:
            process.kill()
            await ending(process)
    finally:
        os.close(read_end)
        os.close(write_end)


async def test_no_descriptor_is_left_when_it_is_gone():
    before = len(fds("self"))
    process = start("exit 0")
    await ending(process)
    assert len(fds("self")) == before


async def test_a_program_that_cannot_start_is_a_typed_error_and_leaves_nothing():
    before = len(fds("self"))
    with pytest.raises(LayerUnavailable, match="cannot start /no/such/program"):
        BridgeProcess.start(lambda *_: ["/no/such/program"], env={})
    assert len(fds("self")) == before


async def test_a_flood_on_stderr_is_bounded_and_never_blocks_it():
    process = start("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done")
    assert await ending(process) == "exit status 0"
    words = process.last_words()
    assert words.endswith("line 2999")
    assert words.count("|") < 20


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork, threads
async def test_a_forked_child_lets_go_of_the_lifeline():
    process = start('eval "exec 0<&$0"; read line; exit 7')
    gate_read, gate_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(gate_write)
        os.read(gate_read, 1)  # stay alive until the parent has seen the end
        os._exit(0)
    os.close(gate_read)
    try:
        process.hang_up()
        assert await ending(process) == "exit status 7"
    finally:
        os.close(gate_write)
        os.waitpid(child, 0)


async def settled_exec(process: BridgeProcess) -> None:
    """Wait until the shell has become the sleep."""
    give_up_at = time.monotonic() + WAIT_S
    while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.001)
