"""What keeps crashing, looping or eating is cut off: killed after its grace, then quarantined."""

import asyncio
import importlib.resources
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    ActionFailed,
    CommandSet,
    CommandStep,
    OutcomeUnknown,
    TandemOrchestrator,
)
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import NativeLayer, NativeLimits
from tandem_orchestrator.layers.native.restarts import RestartLimits
from tandem_orchestrator.layers.native.supervisor import SupervisorLimits
from tandem_orchestrator.model.outcomes import Outcome

pytestmark = pytest.mark.native
WAIT_S = 20.0
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))
PATIENT = SupervisorLimits(
    restarts=RestartLimits(first_delay_s=0.01, delay_max_s=0.05, deaths_max=50)
)


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.002)


def layer_of(bad: Path, **limits: Any) -> NativeLayer:
    return NativeLayer(
        Ids().make(),
        required=True,
        plugins=(str(bad),),
        limits=NativeLimits(supervisor=PATIENT, **limits),
    )


def offers(layer: NativeLayer) -> bool:
    return any(action.agent == "bad" for action in layer.actions())


def host_of(layer: NativeLayer, bad: Path) -> dict[str, Any]:
    return dict(layer.health().details["plugins"][str(bad)])


def is_welcomed(pid: int) -> bool:
    """Whether a process has mapped the memory of its session."""
    return "memfd:tandem-up" in Path(f"/proc/{pid}/maps").read_text()


async def run(layer: NativeLayer, action: str, payload: Any = None, **fields: Any) -> Report:
    await eventually(lambda: offers(layer), "bad is offered")
    work = Work("run", f"s{time.monotonic_ns()}", "bad", action, "c", payload, **fields)
    return await asyncio.wait_for(layer.run(work, CancelToken()), WAIT_S)


async def crash(layer: NativeLayer, bad: Path, payload: Any) -> Report:
    """Run what crashes, and wait until its host is known to be dead."""
    deaths = host_of(layer, bad)["deaths"]
    report = await run(layer, "fussy", payload)
    if report.outcome is Outcome.UNKNOWN:
        await eventually(lambda: host_of(layer, bad)["deaths"] > deaths, "its host is gone")
        await eventually(lambda: host_of(layer, bad)["state"] == "running", "there is another one")
    return report


async def test_an_input_that_crashes_again_and_again_is_refused_and_costs_no_host(
    bad: Path,
) -> None:
    layer = layer_of(bad)
    await layer.start()
    try:
        for _ in range(3):
            report = await crash(layer, bad, True)
            assert report.failure is not None
            assert report.failure.type == "AgentCrashed"
        await eventually(lambda: offers(layer), "bad is back")
        before = host_of(layer, bad)
        refused = await run(layer, "fussy", True)
        assert refused.outcome is Outcome.FAILED
        assert refused.failure is not None
        assert refused.failure.type == "Quarantined"
        assert (await run(layer, "fussy", False)).outcome is Outcome.SUCCEEDED
        assert host_of(layer, bad) == before, "nothing of the refused input reached a host"
        health = layer.health()
        assert [one["crashes"] for one in health.details["quarantined"]] == [3]
        assert "quarantined" in health.reason
        assert layer.quarantine.release(health.details["quarantined"][0]["digest"]) == 1
        assert (await crash(layer, bad, True)).outcome is Outcome.UNKNOWN
    finally:
        await layer.close()


async def test_a_run_meets_the_quarantine_that_an_earlier_orchestrator_filled(
    bad: Path, tmp_path: Path
) -> None:
    config = {
        "c_layer": {
            "plugins": [str(bad)], "restart_delay_s": 0.01, "deaths_max": 50, "quarantine_crashes": 2
        },
        "journal": {"path": str(tmp_path / "journal.db")},
    }  # fmt: skip

    def asked() -> CommandSet:
        step = CommandStep(agent="bad", action="fussy", payload=True)
        return CommandSet(name="poison", steps=[step])

    async with TandemOrchestrator(config) as first:
        result = await first.execute_command_set(asked())
        assert result["status"] == "failed"
        assert result["error_detail"]["type"] == "Quarantined", "its lost attempts were repeated"
    async with TandemOrchestrator(config) as second:
        result = await second.execute_command_set(asked())
        assert result["error_detail"]["type"] == "Quarantined"
        held = second.binary_bridge.quarantined()
        assert [(one.agent, one.action, one.crashes) for one in held] == [("bad", "fussy", 2)]
        assert second.layer_health()["c"].details["plugins"][str(bad)]["deaths"] == 0
        assert second.binary_bridge.release(held[0].digest) == 1
        assert second.binary_bridge.quarantined() == ()


@pytest.mark.parametrize("door", ["send", "call_sync"])
async def test_messages_with_an_input_that_keeps_crashing_are_refused_like_steps(
    bad: Path, door: str
) -> None:
    config = {
        "c_layer": {
            "plugins": [str(bad)], "restart_delay_s": 0.01, "deaths_max": 50, "quarantine_crashes": 2
        },
        "journal": {"path": ":memory:"},
    }  # fmt: skip
    async with TandemOrchestrator(config) as tandem:

        async def send(payload: bool) -> Any:
            if door == "send":
                return await tandem.send("bad", "fussy", payload)
            return await asyncio.to_thread(tandem.call_sync, "bad", "fussy", payload)

        def host() -> dict[str, Any]:
            found: dict[str, Any] = tandem.layer_health()["c"].details["plugins"][str(bad)]
            return found

        assert await send(False) is None
        # The first tells that the action crashes; each of the next two is counted by its input.
        for deaths in range(1, 4):
            with pytest.raises(OutcomeUnknown, match=r"bad\.fussy: .*SIGSEGV"):
                await send(True)
            await eventually(lambda: host()["deaths"] == deaths, "its host is gone")  # noqa: B023
            await eventually(lambda: host()["state"] == "running", "there is another one")
        with pytest.raises(ActionFailed, match="crashed its host 2 times and is quarantined"):
            await send(True)
        assert host()["deaths"] == 3
        assert await send(False) is None


async def test_a_loop_that_never_looks_is_killed_after_its_grace_and_is_quarantined(
    bad: Path,
) -> None:
    layer = layer_of(bad, host_grace_ms=50)
    await layer.start()
    try:
        for _ in range(3):
            await eventually(lambda: offers(layer), "bad is offered")
            begun, deaths = time.monotonic(), host_of(layer, bad)["deaths"]
            report = await run(layer, "loop", deadline_ns=time.monotonic_ns() + 200_000_000)
            assert time.monotonic() - begun >= 0.25, "it had its time and its grace"
            assert report.failure is not None
            assert report.failure.type == "AgentCrashed"
            assert "SIGKILL" in report.failure.message
            assert "grace" in report.failure.message
            await eventually(
                lambda before=deaths: host_of(layer, bad)["deaths"] > before,  # type: ignore[misc]
                "its host is gone",
            )
        await eventually(lambda: offers(layer), "bad is back")
        refused = await run(layer, "loop")
        assert refused.failure is not None
        assert refused.failure.type == "Quarantined"
    finally:
        await layer.close()


async def test_a_loop_that_looks_keeps_its_host(bad: Path) -> None:
    layer = layer_of(bad, host_grace_ms=5_000)
    await layer.start()
    try:
        await eventually(lambda: offers(layer), "bad is offered")
        late = await run(layer, "polite", deadline_ns=time.monotonic_ns() + 30_000_000)
        assert late.outcome is Outcome.TIMED_OUT
        cancel = CancelToken()
        going = asyncio.create_task(layer.run(Work("run", "s", "bad", "polite", "c", None), cancel))
        await asyncio.sleep(0)
        cancel.cancel("enough")
        assert (await asyncio.wait_for(going, WAIT_S)).outcome is Outcome.CANCELLED
        assert host_of(layer, bad)["deaths"] == 0
    finally:
        await layer.close()


async def test_memory_has_a_limit_without_being_asked_for(bad: Path) -> None:
    layer = layer_of(bad, host_memory_bytes=64 << 20)
    await layer.start()
    try:
        report = await run(layer, "eat")
        assert report.failure is not None
        assert report.failure.type == "AgentCrashed"
        assert "SIGABRT" in report.failure.message
        await eventually(lambda: host_of(layer, bad)["deaths"] == 1, "its host is gone")
        await eventually(lambda: host_of(layer, bad)["state"] == "running", "there is another one")
    finally:
        await layer.close()


async def test_one_instance_crashes_and_the_other_works_on(bad: Path) -> None:
    layer = layer_of(bad, host_grace_ms=5_000)
    await layer.start()
    second = subprocess.Popen(
        [str(NATIVE / "bin" / "agent_bridge"), "host", str(bad), "--socket", layer.socket_path],
        stderr=subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: offers(layer), "bad is offered")
        await eventually(lambda: is_welcomed(second.pid), "the second host has connected")
        cancel = CancelToken()  # calls go to the two in turn
        going = asyncio.create_task(
            layer.run(Work("run", "polite", "bad", "polite", "c", None), cancel)
        )
        crashed = await run(layer, "fussy", True)
        assert crashed.failure is not None
        assert crashed.failure.type == "AgentCrashed"
        assert not going.done(), "the other instance's call goes on"
        cancel.cancel("enough")
        assert (await asyncio.wait_for(going, WAIT_S)).outcome is Outcome.CANCELLED
    finally:
        second.kill()
        second.wait(WAIT_S)
        await layer.close()


async def test_an_input_that_was_cancelled_is_not_taken_for_one_that_crashes(bad: Path) -> None:
    layer = layer_of(bad, host_grace_ms=50)
    await layer.start()
    try:
        for _ in range(4):
            await eventually(lambda: offers(layer), "bad is offered")
            cancel, deaths = CancelToken(), host_of(layer, bad)["deaths"]
            work = Work("run", f"s{time.monotonic_ns()}", "bad", "loop", "c", None)
            running = asyncio.ensure_future(layer.run(work, cancel))
            await eventually(lambda: layer.health().details["in_flight"] == 1, "it runs")
            await asyncio.sleep(0.02)  # what is cancelled before it began costs no host
            cancel.cancel("cancelled")
            report = await asyncio.wait_for(running, WAIT_S)
            assert report.failure is None or report.failure.type != "Quarantined"
            await eventually(lambda d=deaths: host_of(layer, bad)["deaths"] > d, "it was killed")
            await eventually(lambda: host_of(layer, bad)["state"] == "running", "another one")
        assert layer.health().details["quarantined"] == []
    finally:
        await layer.close()


async def test_a_crashing_input_is_quarantined_on_the_express_way_too(
    bad: Path, tmp_path: Path
) -> None:
    config = {"journal": {"path": str(tmp_path / "j.db")}, "c_layer": {"plugins": [str(bad)]}}
    steps = [
        CommandStep(id="s0", agent="bad", action="fussy", payload=False),
        CommandStep(id="s1", agent="bad", action="fussy", payload=False),
    ]

    async with TandemOrchestrator(config) as tandem:

        async def go(payload: Any) -> dict[str, Any]:
            steps[0].payload = payload
            asked = CommandSet(mode="SPEED_CRITICAL", durability="none", steps=list(steps))
            actions = tandem.catalogue
            await eventually(lambda: actions().action("bad", "fussy") is not None, "bad is there")
            return await asyncio.wait_for(tandem.execute_command_set(asked), WAIT_S)

        assert (await go(False))["status"] == (await go(False))["status"] == "completed"
        for _ in range(3):
            assert (await go(True))["status"] == "failed"
        deaths = tandem.layer_health()["c"].details["plugins"][str(bad)]["deaths"]
        refused = await go(True)
        assert refused["error_detail"]["type"] == "Quarantined", refused["error"]
        assert tandem.layer_health()["c"].details["plugins"][str(bad)]["deaths"] == deaths
