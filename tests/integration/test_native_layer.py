"""The C layer from the inside of a program: a real bridge, real attempts, nothing left behind."""

import asyncio
import itertools
import math
import os
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.errors import Forked, LayerUnavailable
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import NativeFiles, NativeLayer, probe_bridge
from tandem_orchestrator.model.outcomes import Outcome

pytestmark = pytest.mark.native
WAIT_S = 20.0
_numbers = itertools.count()


def work(action: str, payload: Any = None, **fields: Any) -> Work:
    return Work("run", f"s{next(_numbers)}", "system", action, "c", payload, **fields)


async def run(layer: NativeLayer, work: Work, cancel: CancelToken | None = None) -> Report:
    return await asyncio.wait_for(layer.run(work, cancel or CancelToken()), WAIT_S)


def in_ns(seconds: float) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


def mapped_memfds() -> int:
    return sum("/memfd:" in line for line in Path("/proc/self/maps").read_text().splitlines())


def open_fds() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.002)


@pytest.fixture
async def layer() -> AsyncIterator[NativeLayer]:
    made = NativeLayer(Ids().make(), required=True)
    await made.start()
    yield made
    await made.close()


# --- values --------------------------------------------------------------------------------------


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        127,
        128,
        -32,
        -33,
        2**32,
        -(2**63),
        2**64 - 1,
        0.1,
        -0.0,
        math.inf,
        math.nan,
        5e-324,
        "",
        "grüße, 世界, \U0001f600, \0",
        b"",
        bytes(range(256)),
        [],
        {},
        [1, [2, {"three": [None]}]],
        {"b": 1, "a": {"": b"x"}},
        {f"key{i}": i for i in range(100)},
        list(range(70_000)),
        "x" * 70_000,
        deep(32),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_an_echo_gives_back_every_kind_of_value(layer: NativeLayer, value: Any):
    report = await run(layer, work("echo", value))
    assert report.outcome is Outcome.SUCCEEDED, report.failure
    assert type(report.output) is type(value)
    if isinstance(value, float):  # bits, so that NaN and -0.0 count
        assert struct.pack("<d", report.output) == struct.pack("<d", value)
    else:
        assert report.output == value
        assert repr(report.output) == repr(value)  # the order of keys, True beside 1


@pytest.mark.parametrize("body_bytes", [2**18, 2**20 + 1, 2**24, 2**26 - 6])
async def test_a_long_body_travels_in_fragments_both_ways(layer: NativeLayer, body_bytes: int):
    value = os.urandom(1024) * (body_bytes // 1024) + b"e" * (body_bytes % 1024)
    report = await run(layer, work("echo", value))
    assert report.outcome is Outcome.SUCCEEDED, report.failure
    assert report.output == value


async def test_a_body_over_the_limit_fails_by_name_and_the_next_call_works(layer: NativeLayer):
    report = await run(layer, work("echo", bytes(2**26 + 1)))
    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    assert report.failure.type == "TooLarge"
    assert "67108864" in report.failure.message
    assert (await run(layer, work("echo", 1))).output == 1


async def test_a_payload_that_is_not_a_value_fails_and_never_leaves(layer: NativeLayer):
    report = await run(layer, work("echo", {"when": object()}))
    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    assert report.failure.type == "NotAValue"


async def test_long_and_short_calls_mix(layer: NativeLayer):
    long = bytes(5_000_000)
    values = [long if n % 7 == 0 else n for n in range(40)]
    reports = await asyncio.gather(*(run(layer, work("echo", value)) for value in values))
    assert [report.output for report in reports] == values


# --- many, late, cancelled -----------------------------------------------------------------------


async def test_a_thousand_calls_at_once_all_come_back_to_their_callers(layer: NativeLayer):
    reports = await asyncio.gather(*(run(layer, work("echo", {"n": n})) for n in range(1000)))
    assert [report.output["n"] for report in reports] == list(range(1000))
    assert layer.health().details["session"]["rescues"] == 0


async def test_more_calls_than_slots_wait_for_room(layer: NativeLayer):
    reports = await asyncio.gather(*(run(layer, work("echo", n)) for n in range(6000)))
    assert [report.output for report in reports] == list(range(6000))


async def test_a_cancel_stops_a_sleep_long_before_its_end(layer: NativeLayer):
    cancel = CancelToken()
    attempt = asyncio.ensure_future(run(layer, work("sleep", {"seconds": 60.0}), cancel))
    await eventually(lambda: layer.health().details["in_flight"] == 1, "the call is in flight")
    begun = time.monotonic()
    cancel.cancel("the user asked")
    report = await attempt
    assert report.outcome is Outcome.CANCELLED
    assert report.stopped
    assert time.monotonic() - begun < 2.0


async def test_a_cancel_before_the_start_sends_nothing(layer: NativeLayer):
    cancel = CancelToken()
    cancel.cancel("too late")
    before = layer.health().details["session"]["calls"]
    report = await run(layer, work("echo", 1), cancel)
    assert report.outcome is Outcome.CANCELLED
    assert layer.health().details["session"]["calls"] == before


async def test_cancelling_the_task_cancels_the_call_and_frees_its_slot(layer: NativeLayer):
    attempt = asyncio.ensure_future(run(layer, work("sleep", {"seconds": 60.0})))
    await eventually(lambda: layer.health().details["in_flight"] == 1, "the call is in flight")
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await eventually(
        lambda: layer.health().details["session"]["in_flight"] == 0, "the slot is free"
    )


async def test_a_deadline_ends_a_sleep_in_c(layer: NativeLayer):
    begun = time.monotonic()
    report = await run(layer, work("sleep", {"seconds": 60.0}, deadline_ns=in_ns(0.05)))
    assert report.outcome is Outcome.TIMED_OUT
    assert 0.04 < time.monotonic() - begun < 2.0


async def test_a_deadline_that_has_passed_never_runs(layer: NativeLayer):
    report = await run(layer, work("sleep", {"seconds": 60.0}, deadline_ns=in_ns(-1.0)))
    assert report.outcome in (Outcome.TIMED_OUT, Outcome.NOT_STARTED)


async def test_a_sleeping_call_does_not_hold_up_an_echo(layer: NativeLayer):
    cancel = CancelToken()
    sleeper = asyncio.ensure_future(run(layer, work("sleep", {"seconds": 60.0}), cancel))
    await eventually(lambda: layer.health().details["in_flight"] == 1, "the call is in flight")
    assert (await run(layer, work("echo", 1))).output == 1
    assert not sleeper.done()
    cancel.cancel("done")
    await sleeper


async def test_an_action_that_is_not_there_is_named(layer: NativeLayer):
    report = await run(layer, work("no_such_action"))
    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    assert "system.no_such_action" in report.failure.message


async def test_a_failing_action_reports_its_own_type(layer: NativeLayer):
    report = await run(layer, work("sleep", {"seconds": "a while"}))
    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    assert report.failure.type in ("TypeError", "ValueError")


async def test_the_catalogue_lists_what_the_bridge_offers(layer: NativeLayer):
    offered = {(action.agent, action.name): action for action in layer.actions()}
    assert {("system", "noop"), ("system", "echo"), ("system", "sleep")} <= offered.keys()
    assert offered["system", "noop"].effects == "none"
    assert [i.name for i in offered["system", "noop"].implementations] == ["c"]


# --- start, health, close ------------------------------------------------------------------------


async def test_close_leaves_no_process_socket_descriptor_or_mapping(own_home: Path):
    # Once before, so that what Python itself opens at first use is not counted.
    warm = NativeLayer(Ids().make(), required=True)
    await warm.start()
    await warm.close()
    fds, memfds = open_fds(), mapped_memfds()

    layer = NativeLayer(Ids().make(), required=True)
    await layer.start()
    await run(layer, work("echo", 1))
    pid = layer.health().details["pid"]
    assert Path(f"/proc/{pid}").exists()
    assert mapped_memfds() > memfds
    await layer.close()

    assert not Path(f"/proc/{pid}").exists()
    assert open_fds() == fds
    assert mapped_memfds() == memfds
    assert list((own_home / "run" / "tandem").iterdir()) == []
    assert not layer.health()
    assert layer.away == "closed"
    await layer.close()  # may be repeated


async def test_closing_with_calls_in_flight_answers_them(own_home: Path):
    layer = NativeLayer(Ids().make(), required=True)
    await layer.start()
    attempts = [
        asyncio.ensure_future(run(layer, work("sleep", {"seconds": 60.0}))) for _ in range(3)
    ]
    await eventually(lambda: layer.health().details["in_flight"] == 3, "all are in flight")
    await layer.close()
    for report in await asyncio.gather(*attempts):
        assert report.outcome in (Outcome.UNKNOWN, Outcome.NOT_STARTED)
    report = await run(layer, work("echo", 1))
    assert report.outcome is Outcome.NOT_STARTED


async def test_events_tell_of_the_start():
    events: list[tuple[str, str]] = []
    layer = NativeLayer(
        Ids().make(), required=True, on_event=lambda kind, detail: events.append((kind, detail))
    )
    await layer.start()
    await layer.close()
    assert [kind for kind, _ in events] == ["started"]


async def test_several_orchestrators_have_bridges_of_their_own():
    layers = [NativeLayer(Ids().make(), required=True) for _ in range(3)]
    try:
        await asyncio.gather(*(layer.start() for layer in layers))
        pids = {layer.health().details["pid"] for layer in layers}
        assert len(pids) == 3
        await layers[0].close()
        for layer in layers[1:]:
            assert (await run(layer, work("echo", 1))).output == 1
    finally:
        for layer in layers:
            await layer.close()


async def test_a_bridge_that_is_named_is_used_and_left_running(layer: NativeLayer):
    guest = NativeLayer(Ids().make(), socket=layer.socket_path, required=True)
    await guest.start()
    assert guest.health().details["pid"] == layer.health().details["pid"]
    assert guest.health().details["supervised"] is False
    assert (await run(guest, work("echo", 2))).output == 2
    await guest.close()
    assert (await run(layer, work("echo", 3))).output == 3


async def test_a_named_socket_where_nobody_listens_is_a_reason(own_home: Path):
    layer = NativeLayer(Ids().make(), socket=str(own_home / "run" / "nobody.sock"))
    await layer.start()
    assert "nobody.sock" in layer.away
    assert not layer.health()
    report = await run(layer, work("echo", 1))
    assert report.outcome is Outcome.NOT_STARTED
    assert report.failure is not None
    assert report.failure.type == "LayerUnavailable"
    await layer.close()


async def test_a_missing_bridge_degrades_with_its_reason_and_no_error():
    layer = NativeLayer(Ids().make(), files=NativeFiles("", "installed without the C layer"))
    await layer.start()
    assert layer.away == "installed without the C layer"
    assert layer.health().reason == "installed without the C layer"
    assert layer.actions() == ()
    assert (await run(layer, work("echo", 1))).outcome is Outcome.NOT_STARTED
    await layer.close()


async def test_a_missing_bridge_that_is_required_is_a_typed_error():
    layer = NativeLayer(
        Ids().make(), files=NativeFiles("", "installed without the C layer"), required=True
    )
    with pytest.raises(LayerUnavailable, match="installed without the C layer"):
        await layer.start()


async def test_a_socket_directory_that_others_may_enter_is_refused(own_home: Path):
    (own_home / "run" / "tandem").mkdir()
    (own_home / "run" / "tandem").chmod(0o755)
    layer = NativeLayer(Ids().make())
    await layer.start()
    assert "mode 0755, must be 0700" in layer.away
    await layer.close()


async def test_a_bridge_that_dies_at_its_start_gives_its_last_words(own_home: Path):
    fake = own_home / "agent_bridge"
    fake.write_text("#!/bin/sh\necho 'cannot map 16 MiB' >&2\nexit 4\n")
    fake.chmod(0o755)
    layer = NativeLayer(Ids().make(), files=NativeFiles(str(fake), ""))
    await layer.start()
    assert layer.away == f"{fake}: exit status 4: cannot map 16 MiB"
    await layer.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork, threads
async def test_a_forked_child_gets_a_typed_error_and_the_parent_goes_on(layer: NativeLayer):
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            coroutine = layer.run(work("echo", 1), CancelToken())
            coroutine.send(None)
            os.write(write_end, b"it ran")
        except Forked:
            os.write(write_end, b"Forked")
        except BaseException as error:  # noqa: BLE001  # told to the parent
            os.write(write_end, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read_end, 100) == b"Forked"
    os.close(read_end)
    assert (await run(layer, work("echo", 1))).output == 1


@pytest.mark.skipif(
    "uvloop" not in sys.modules and not __import__("importlib").util.find_spec("uvloop"),
    reason="uvloop is not installed",
)
def test_it_works_on_uvloop():
    import uvloop

    async def session() -> list[Any]:
        layer = NativeLayer(Ids().make(), required=True)
        await layer.start()
        try:
            reports = await asyncio.gather(*(run(layer, work("echo", n)) for n in range(100)))
            return [report.output for report in reports]
        finally:
            await layer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(session()) == list(range(100))


# --- the probe -----------------------------------------------------------------------------------


def test_a_probe_starts_a_bridge_of_its_own_and_leaves_nothing(own_home: Path):
    fds = open_fds()
    probe = probe_bridge(5.0)
    assert probe, probe.reason
    assert probe.started
    assert 0 < probe.round_trip_s < 1.0
    assert not Path(f"/proc/{probe.bridge_pid}").exists()
    assert list((own_home / "run" / "tandem").iterdir()) == []
    assert open_fds() == fds


async def test_a_probe_uses_a_session_of_its_own_with_a_bridge_that_runs(layer: NativeLayer):
    probe = await asyncio.to_thread(probe_bridge, 5.0, socket=layer.socket_path)
    assert probe, probe.reason
    assert not probe.started
    assert probe.bridge_pid == layer.health().details["pid"]


async def test_a_probe_may_block_inside_a_running_loop():
    assert probe_bridge(5.0)


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan])
def test_a_probe_never_raises(timeout: float):
    probe = probe_bridge(timeout)
    assert not probe
    assert "must be above 0" in probe.reason


def test_a_probe_of_a_dead_socket_says_so(own_home: Path):
    probe = probe_bridge(1.0, socket=str(own_home / "gone.sock"))
    assert not probe
    assert "gone.sock" in probe.reason
