"""While a plug-in's host is being restarted, its agent is away for a moment, not unknown."""

import asyncio
import importlib.resources
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    InvalidCommandSet,
    LayerUnavailable,
    OutcomeUnknown,
    TandemOrchestrator,
)

pytestmark = pytest.mark.native
WAIT_S = 20.0
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))


def configured(bad: Path, **settings: Any) -> dict[str, Any]:
    return {"c_layer": {"plugins": [str(bad)], **settings}, "journal": {"path": ":memory:"}}


def step(action: str, payload: Any = None) -> CommandSet:
    return CommandSet(name=action, steps=[CommandStep(agent="bad", action=action, payload=payload)])


async def until(tandem: TandemOrchestrator, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Wait for what health says of the host: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition(next(iter(tandem.layer_health()["c"].details["plugins"].values()))):
        assert time.monotonic() < give_up_at, tandem.layer_health()["c"].details["plugins"]
        await asyncio.sleep(0.002)


async def test_a_run_that_comes_while_the_host_restarts_waits_for_it(bad: Path) -> None:
    async with TandemOrchestrator(configured(bad, restart_delay_s=0.3)) as tandem:
        with pytest.raises(OutcomeUnknown):
            await tandem.send("bad", "crash", None)
        await until(tandem, lambda host: host["state"] == "restarting")
        result = await tandem.execute_command_set(step("fine"))
        assert result["status"] == "completed", result["error"]
        assert result["steps"]["s1"]["attempts"] == 1


async def test_a_message_of_that_moment_hears_that_the_host_is_restarting(bad: Path) -> None:
    async with TandemOrchestrator(configured(bad, restart_delay_s=0.3)) as tandem:
        with pytest.raises(OutcomeUnknown):
            await tandem.send("bad", "crash", None)
        await until(tandem, lambda host: host["state"] == "restarting")
        with pytest.raises(LayerUnavailable, match=r"bad\.so is down after 1 deaths, restarting: "):
            await tandem.send("bad", "fine", None)
        with pytest.raises(InvalidCommandSet, match="'sad' is not registered"):
            await tandem.send("sad", "fine", None)


@pytest.mark.parametrize("door", ["step", "message"])
async def test_who_asks_before_the_session_knows_hears_why_it_is_gone(bad: Path, door: str) -> None:
    config = configured(bad, restart_delay_s=0.01, deaths_max=1, cooldown_s=600.0)
    async with TandemOrchestrator(config) as tandem:
        session = tandem._messages._layers()[1].session
        for _ in range(2):
            await until(tandem, lambda host: host["state"] == "running")
            await tandem.execute_command_set(step("fine"))
            before = session.actions
            with pytest.raises(OutcomeUnknown):
                await tandem.send("bad", "crash", None)
            await until(tandem, lambda host: host["state"] == "restarting")
        await until(tandem, lambda host: host["breaker_open"])
        session._learn = lambda: None  # it hears of the loss only after what comes now
        session.actions = before
        why = r"bad\.so is down after 2 deaths, the next start in up to 600 s"
        if door == "step":
            result = await tandem.execute_command_set(step("fine"))
            assert re.search(why, result["error"]), result["error"]
        else:
            with pytest.raises(LayerUnavailable, match=why):
                await tandem.send("bad", "fine", None)


async def test_a_step_hears_at_once_that_the_breaker_is_open(bad: Path) -> None:
    config = configured(bad, restart_delay_s=0.01, deaths_max=1, cooldown_s=600.0)
    async with TandemOrchestrator(config) as tandem:
        for _ in range(2):
            await until(tandem, lambda host: host["state"] == "running")
            await tandem.execute_command_set(step("fine"))
            with pytest.raises((OutcomeUnknown, LayerUnavailable)):
                await tandem.send("bad", "crash", None)
            await until(tandem, lambda host: host["state"] == "restarting")
        await until(tandem, lambda host: host["breaker_open"])
        started_at = time.monotonic()
        result = await tandem.execute_command_set(step("fine"))
        assert result["status"] == "failed"
        assert result["error_detail"]["type"] == "LayerUnavailable"
        assert "down after 2 deaths, the next start in up to 600 s" in result["error"]
        assert time.monotonic() - started_at < WAIT_S, "it does not wait for the cool-down"
