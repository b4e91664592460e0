"""The agent system in Python."""

import asyncio

import pytest

from tandem_orchestrator.agents import system
from tandem_orchestrator.agents.system import read_seconds


def test_noop_gives_none_and_echo_the_payload():
    payload = {"x": [1, None, b"\0"]}

    assert system.noop(payload) is None
    assert system.echo(payload) is payload


def test_the_actions_declare_what_they_do_to_the_world():
    entries = {action.name: action for action in system.agent.catalogue_entries()}

    assert {name: (a.effects, a.deterministic) for name, a in entries.items()} == {
        "noop": ("none", True), "echo": ("none", True), "sleep": ("none", False),
        "approval": ("none", False), "wait_signal": ("none", False),
    }  # fmt: skip


async def test_sleep_waits_as_long_as_it_is_told(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    assert [await system.sleep(p) for p in (0, 1.5, {"seconds": 2})] == [None, None, None]
    assert waits == [0.0, 1.5, 2.0]


async def test_a_sleep_that_is_cancelled_ends_at_once():
    task = asyncio.ensure_future(system.sleep(3600))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, timeout=5)


@pytest.mark.parametrize(
    ("payload", "error", "words"),
    [
        (-1, ValueError, "from 0 to 86400"),
        (86_401, ValueError, "from 0 to 86400"),
        (float("nan"), ValueError, "from 0 to 86400"),
        (float("inf"), ValueError, "from 0 to 86400"),
        (True, TypeError, "must be a number"),
        ("1", TypeError, "must be a number"),
        (None, TypeError, "must be a number"),
        ({}, ValueError, "is missing"),
        ({"seconds": [1]}, TypeError, "must be a number"),
    ],
)
def test_what_is_no_length_of_time_is_refused(payload, error, words):
    with pytest.raises(error, match=words):
        read_seconds(payload)
