"""``orchestrator.calibrate`` and ``tandem twins calibrate``, as a user tries them."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandError,
    CommandSet,
    CommandStep,
    Ref,
    TandemOrchestrator,
    Tolerance,
)
from tandem_orchestrator.testing import FakeClock


@pytest.fixture
def calls(tandem: TandemOrchestrator) -> list[Any]:
    """An action ``shop.quote`` that counts its calls in its output."""
    made: list[Any] = []

    @tandem.register_agent("shop").action("quote", effects="none", deterministic=True)
    def quote(payload: Any) -> dict[str, Any]:
        made.append(payload)
        return {"n": len(made), "price": payload["weight"] * 2}

    @tandem.register_agent("shop").action("buy", effects="external")
    def buy(payload: Any) -> None:
        made.append(payload)

    return made


async def test_one_side_is_run_twice_and_its_noise_is_learned(
    tandem: TandemOrchestrator, calls: list[Any]
) -> None:
    found = await tandem.calibrate("shop.quote", [{"weight": w} for w in range(5)], pause_s=0)
    assert len(calls) == 10
    assert found.rules.fields == {"/n": Tolerance(ignore=True)}
    assert found.compared == 5


async def test_inputs_of_earlier_runs_are_used_each_once(
    tandem: TandemOrchestrator, calls: list[Any]
) -> None:
    steps = [
        CommandStep(id="first", agent="shop", action="quote", payload={"weight": 1}),
        CommandStep(id="same", agent="shop", action="quote", payload={"weight": 1}),
        CommandStep(
            id="after", agent="shop", action="quote", payload={"weight": Ref("first", "price")}
        ),
        CommandStep(
            id="each",
            agent="shop",
            action="quote",
            for_each=[3, 4],
            payload={"weight": Ref("item")},
        ),
    ]
    asked = CommandSet(steps=steps, dependencies={"after": ["first"]})
    await tandem.execute_command_set(asked)
    calls.clear()
    found = await tandem.calibrate("shop.quote", 10, pause_s=0)
    assert found.inputs == 4
    assert sorted(call["weight"] for call in calls) == [1, 1, 2, 2, 3, 3, 4, 4]


async def test_the_clock_moves_on_between_the_passes(
    clocked: TandemOrchestrator, clock: FakeClock
) -> None:
    @clocked.register_agent("shop").action("stamp", effects="none")
    async def stamp(payload: Any) -> int:
        return clock.wall_ns() // 10**9

    asked = asyncio.create_task(clocked.calibrate("shop.stamp", [None]))
    await clock.advance(2.0)
    assert [field.kind for field in (await asked).noisy] == ["volatile"]


@pytest.mark.parametrize(
    ("action", "payloads", "text"),
    [
        ("shop.buy", [1], "effects='external'"),
        ("shop.quite", [1], "did you mean shop.quote"),
        ("shop.quote", [], "no input for shop.quote"),
        ("shop.quote", 5, "no input for shop.quote"),
    ],
)
async def test_what_cannot_be_calibrated_is_refused_and_nothing_runs(
    tandem: TandemOrchestrator, calls: list[Any], action: str, payloads: Any, text: str
) -> None:
    with pytest.raises(CommandError, match=text):
        await tandem.calibrate(action, payloads, pause_s=0)
    assert calls == []


MODULE = """
import itertools
from tandem_orchestrator import Agent

agent = Agent("noisy")
numbers = itertools.count()

@agent.action("twice", effects="none")
def twice(payload):
    return {"n": next(numbers), "x": payload["x"] * 2}
"""


def test_the_command_prints_what_to_paste(tmp_path: Path) -> None:
    (tmp_path / "noisy_agent.py").write_text(MODULE)
    (tmp_path / "inputs.jsonl").write_text('{"x": 1}\n{"x": 2}\n')
    command = [sys.executable, "-m", "tandem_orchestrator", "twins", "calibrate", "noisy.twice"]
    options = ["--inputs", "inputs.jsonl", "--import", "noisy_agent", "--pause", "0"]
    options += ["--journal", ":memory:", "--set", "c_layer.enabled=false"]

    def run(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *options, *more], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    plain = run()
    assert plain.returncode == 0, plain.stderr
    assert "'/n': Tolerance(ignore=True)," in plain.stdout
    as_json = json.loads(run("--json").stdout)
    assert as_json["rules"] == {"fields": {"/n": {"ignore": True}}}
    assert as_json["compared"] == 2
    both = run("--samples", "3")
    assert both.returncode == 2
    assert "give one of them" in both.stderr
    options[1] = "absent.jsonl"
    absent = run()
    assert (absent.returncode, absent.stdout) == (2, "")
    assert "absent.jsonl: No such file" in absent.stderr
