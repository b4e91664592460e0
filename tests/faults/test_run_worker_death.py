"""A Python worker process that dies under its action, seen through the public API.

An external action that may have run is ``unknown`` and never repeated; one without effects is.
"""

import asyncio
import importlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator

WAIT_S = 20.0

HANDLERS = '''
"""Handlers that end their own process; each call leaves a line in the file of its payload."""

import os
import signal
import time

from tandem_orchestrator import Agent

agent = Agent("deadly")


def note(payload):
    with open(payload, "a") as file:
        file.write(f"{os.getpid()}\\n")
    with open(payload) as file:
        return len(file.readlines())


@agent.action("external", effects="external", cpu="process")
def external(payload):
    note(payload)
    os.kill(os.getpid(), signal.SIGKILL)


@agent.action("once", effects="none", cpu="process")
def once(payload):
    if note(payload) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@agent.action("always", effects="idempotent", cpu="process")
def always(payload):
    note(payload)
    os._exit(7)


@agent.action("stay", effects="external", cpu="process")
def stay(payload):
    note(payload)
    while True:
        time.sleep(0.01)
'''


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that worker processes can import by name."""
    name = "deadly_handlers"
    (tmp_path / f"{name}.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module(name)
    sys.modules.pop(name)


@pytest.fixture
async def tandem(tmp_path: Path, handlers: ModuleType) -> AsyncIterator[TandemOrchestrator]:
    settings = {"journal": {"path": str(tmp_path / "j.db")}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(settings) as made:
        made.add_agent(handlers.agent)
        yield made


def ask(action: str, calls: Path, **fields: Any) -> CommandSet:
    step = CommandStep(id="s", agent="deadly", action=action, payload=str(calls), **fields)
    return CommandSet(steps=[step])


def pids(calls: Path) -> list[int]:
    return [int(line) for line in calls.read_text().split()] if calls.exists() else []


async def test_an_external_action_that_dies_in_flight_is_unknown_and_not_repeated(
    tandem: TandemOrchestrator, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    retry = {"max_retries": 3, "initial_delay": 0.0}
    result = await tandem.execute_command_set(ask("external", calls, retry_policy=retry))

    step = result["steps"]["s"]
    assert (result["status"], step["outcome"], step["attempts"]) == ("failed", "unknown", 1)
    assert step["error_type"] == "WorkerDied" and "signal 9" in step["error"]
    assert "'s'" in result["error"] and "signal 9" in result["error"]
    assert len(pids(calls)) == 1
    view = await tandem.view(result["run_id"])
    assert view is not None and view.steps["s"].outcome == "unknown"


async def test_an_external_action_is_repeated_where_its_retry_policy_names_unknown(
    tandem: TandemOrchestrator, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    retry = {"max_retries": 1, "initial_delay": 0.0, "retry_on": ["unknown"]}
    result = await tandem.execute_command_set(ask("external", calls, retry_policy=retry))

    step = result["steps"]["s"]
    assert (step["outcome"], step["attempts"], len(pids(calls))) == ("unknown", 2, 2)


async def test_an_action_without_effects_is_given_to_a_new_process(
    tandem: TandemOrchestrator, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    result = await tandem.execute_command_set(ask("once", calls))

    assert (result["status"], result["results"]) == ("completed", {"s": "done"})
    assert result["steps"]["s"]["attempts"] == 2
    first, second = pids(calls)
    assert first != second
    assert tandem.get_metrics()["python_msgs_processed"] == 2


async def test_an_action_that_kills_every_process_is_quarantined(
    tandem: TandemOrchestrator, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    result = await tandem.execute_command_set(ask("always", calls))

    step = result["steps"]["s"]
    assert (result["status"], step["error_type"]) == ("failed", "Quarantined")
    assert "exit code 7" in step["error"]
    assert step["attempts"] == len(pids(calls)) == 6


async def test_a_worker_that_is_killed_from_outside_ends_its_attempt_at_once(
    tandem: TandemOrchestrator, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    run = await tandem.submit(ask("stay", calls))
    give_up_at = time.monotonic() + WAIT_S
    while not pids(calls):
        assert time.monotonic() < give_up_at, "the worker never began"
        await asyncio.sleep(0.005)
    os.kill(pids(calls)[0], signal.SIGKILL)
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert result["steps"]["s"]["outcome"] == "unknown"
    assert len(pids(calls)) == 1
