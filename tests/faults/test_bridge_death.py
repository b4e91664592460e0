"""What a killed, stopped or orphaned bridge leaves: the right fates, a restart, and nothing else."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import (
    NativeLayer,
    NativeLimits,
    RestartLimits,
    SupervisorLimits,
)
from tandem_orchestrator.model.outcomes import Outcome

pytestmark = pytest.mark.native
WAIT_S = 20.0
_numbers = itertools.count()


def work(action: str, payload: Any = None, **fields: Any) -> Work:
    return Work("run", f"s{next(_numbers)}", "system", action, "c", payload, **fields)


async def run(layer: NativeLayer, work: Work, cancel: CancelToken | None = None) -> Report:
    return await asyncio.wait_for(layer.run(work, cancel or CancelToken()), WAIT_S)


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.002)


async def taken(layer: NativeLayer, calls: int) -> None:
    """Wait until the bridge has taken that many calls."""
    await eventually(lambda: layer.health().details["in_flight"] == calls, "all were sent")
    # The ring keeps the order, so an echo that comes back proves that what came before was taken.
    assert (await run(layer, work("echo", 1))).output == 1


def signal_bridge(layer: NativeLayer, number: signal.Signals) -> int:
    """Send a signal to the layer's own bridge; it is our child, so its number is still its own."""
    pid = layer.health().details["pid"]
    os.kill(pid, number)
    return pid


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


@pytest.fixture
def events() -> list[tuple[str, str]]:
    return []


@pytest.fixture
async def layer(events: list[tuple[str, str]]) -> AsyncIterator[NativeLayer]:
    limits = NativeLimits(
        cancel_grace_s=0.3,
        supervisor=SupervisorLimits(
            stop_grace_s=0.3, restarts=RestartLimits(first_delay_s=0.02, deaths_max=3)
        ),
    )
    made = NativeLayer(
        Ids().make(),
        required=True,
        limits=limits,
        on_event=lambda kind, detail: events.append((kind, detail)),
    )
    await made.start()
    yield made
    await made.close()


async def test_kill_9_ends_what_ran_as_unknown_and_the_next_call_works(
    layer: NativeLayer, events: list[tuple[str, str]]
):
    sleepers = [
        asyncio.ensure_future(run(layer, work("sleep", {"seconds": 60.0}))) for _ in range(8)
    ]
    await taken(layer, 8)
    pid = signal_bridge(layer, signal.SIGKILL)
    for report in await asyncio.gather(*sleepers):
        assert report.outcome is Outcome.UNKNOWN
        assert report.failure is not None
        assert report.failure.type == "OutcomeUnknown"

    assert (await run(layer, work("echo", 2))).output == 2
    assert [kind for kind, _ in events] == ["started", "died", "restarted"]
    assert f"bridge {pid}: killed by SIGKILL" in events[1][1]
    details = layer.health().details
    assert details["pid"] != pid
    assert (details["starts"], details["deaths"]) == (2, 1)
    assert layer.away == ""


async def test_what_a_dead_bridge_never_took_is_not_started(layer: NativeLayer):
    sleeper = asyncio.ensure_future(run(layer, work("sleep", {"seconds": 60.0})))
    await taken(layer, 1)
    pid = signal_bridge(layer, signal.SIGSTOP)
    await eventually(lambda: is_stopped(pid), "the bridge is stopped")
    waiting = [asyncio.ensure_future(run(layer, work("echo", n))) for n in range(5)]
    await eventually(lambda: layer.health().details["in_flight"] == 6, "all were sent")
    signal_bridge(layer, signal.SIGKILL)
    assert (await sleeper).outcome is Outcome.UNKNOWN
    for report in await asyncio.gather(*waiting):
        assert report.outcome is Outcome.NOT_STARTED
    assert (await run(layer, work("echo", 2))).output == 2


async def test_answers_published_before_the_death_are_kept(layer: NativeLayer):
    """The loop is kept from looking until the bridge has answered and died."""
    session = layer._supervisor.session
    noop = session.actions["system", "echo"].action_id
    _, future = session.call(noop, b"\x07")
    give_up_at = time.monotonic() + WAIT_S
    while not session._client.wait(0.1):
        assert time.monotonic() < give_up_at
    pid = signal_bridge(layer, signal.SIGKILL)
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < give_up_at
    completion = await asyncio.wait_for(future, WAIT_S)
    assert (completion.status, completion.body) == (0, b"\x07")


async def test_attempts_during_a_restart_wait_for_it(layer: NativeLayer):
    signal_bridge(layer, signal.SIGKILL)
    await eventually(lambda: not layer.health(), "the death is seen")
    assert layer.away == ""  # it will be back: plans may still count on it
    assert layer.actions()
    reports = await asyncio.gather(*(run(layer, work("echo", n)) for n in range(20)))
    assert [report.output for report in reports] == list(range(20))


async def test_a_cancel_ends_the_wait_for_a_restart_at_once():
    slow = SupervisorLimits(restarts=RestartLimits(first_delay_s=60.0, delay_max_s=60.0))
    limits = NativeLimits(restart_wait_s=60.0, supervisor=slow)
    layer = NativeLayer(Ids().make(), required=True, limits=limits)
    await layer.start()
    try:
        signal_bridge(layer, signal.SIGKILL)
        await eventually(lambda: not layer.health(), "the death is seen")
        cancel = CancelToken()
        attempt = asyncio.ensure_future(run(layer, work("echo", 1), cancel))
        await asyncio.sleep(0)
        assert not attempt.done()
        cancel.cancel("enough")
        assert (await attempt).outcome is Outcome.CANCELLED
    finally:
        await layer.close()


async def test_death_after_death_opens_the_breaker_and_says_so(
    layer: NativeLayer, events: list[tuple[str, str]]
):
    for death in range(1, 5):
        await eventually(lambda: bool(layer.health()), "the bridge is back")
        signal_bridge(layer, signal.SIGKILL)
        await eventually(lambda n=death: layer.health().details["deaths"] == n, "it died")
    assert layer.health().details["breaker_open"] is True
    assert "killed by SIGKILL" in layer.away
    assert events[-1][0] == "gave_up"
    report = await run(layer, work("echo", 1))
    assert report.outcome is Outcome.NOT_STARTED
    assert report.failure is not None
    assert report.failure.type == "LayerUnavailable"


async def test_a_cancel_that_nobody_hears_ends_as_abandoned(layer: NativeLayer):
    cancel = CancelToken()
    attempt = asyncio.ensure_future(run(layer, work("sleep", {"seconds": 60.0}), cancel))
    await taken(layer, 1)
    pid = signal_bridge(layer, signal.SIGSTOP)
    try:
        cancel.cancel("enough")
        report = await attempt
        assert report.outcome is Outcome.ABANDONED
        assert report.stopped is False
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_stopped_bridge_does_not_hold_up_close(layer: NativeLayer, own_home: Path):
    pid = signal_bridge(layer, signal.SIGSTOP)
    begun = time.monotonic()
    await layer.close()
    assert time.monotonic() - begun < 0.3 + 2.0
    assert not Path(f"/proc/{pid}").exists()
    assert list((own_home / "run" / "tandem").iterdir()) == []


async def test_close_during_a_restart_leaves_nothing(layer: NativeLayer, own_home: Path):
    signal_bridge(layer, signal.SIGKILL)
    await eventually(lambda: not layer.health(), "the death is seen")
    await layer.close()
    assert list((own_home / "run" / "tandem").iterdir()) == []


# --- the program dies ----------------------------------------------------------------------------

PROGRAM = """
    import asyncio, os, sys
    from tandem_orchestrator.layers import CancelToken, Work
    from tandem_orchestrator.layers.native import NativeLayer

    async def main():
        layer = NativeLayer("orphan", required=True)
        await layer.start()
        for n in range(3):
            work = Work("r", f"s{n}", "system", "sleep", "c", {"seconds": 60.0})
            asyncio.ensure_future(layer.run(work, CancelToken()))
        await asyncio.sleep(0)  # so that they are sent before the echo
        await layer.run(Work("r", "e", "system", "echo", "c", 1), CancelToken())
        print(layer.health().details["pid"], flush=True)
        END

    asyncio.run(main())
"""


def start_program(end: str) -> tuple[subprocess.Popen[str], int]:
    """Start a program with a bridge; gives it and the bridge's number once calls are in flight."""
    source = textwrap.dedent(PROGRAM).replace("END", end)
    program = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", source], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    line = program.stdout.readline()
    program.stdout.close()
    return program, int(line)


def is_alive(pid: int) -> bool:
    """Whether it has memory; a zombie has none, and waits only for init to count it."""
    try:
        return Path(f"/proc/{pid}/maps").read_text() != ""
    except OSError:
        return False


async def gone_within(limit_s: float, pid: int, own_home: Path) -> None:
    """The bridge, its socket and its memory are gone; its memfds are, as nobody holds them."""
    give_up_at = time.monotonic() + limit_s
    folder = own_home / "run"
    while (alive := is_alive(pid)) or any(not p.is_dir() for p in folder.rglob("*")):
        left = [p.name for p in folder.rglob("*") if not p.is_dir()]
        assert time.monotonic() < give_up_at, f"after {limit_s} s: alive={alive}, {left}"
        await asyncio.sleep(0.01)


async def test_kill_9_of_the_program_leaves_nothing_after_3_s(own_home: Path):
    program, bridge = start_program("await asyncio.sleep(60)")
    program.kill()
    program.wait(WAIT_S)
    await gone_within(3.0, bridge, own_home)


async def test_a_program_that_never_closes_leaves_nothing(own_home: Path):
    program, bridge = start_program("return")
    assert program.wait(WAIT_S) == 0
    await gone_within(3.0, bridge, own_home)


async def test_a_program_that_exits_hard_leaves_nothing(own_home: Path):
    program, bridge = start_program("os._exit(5)")
    assert program.wait(WAIT_S) == 5
    await gone_within(3.0, bridge, own_home)
