"""Routing as a user meets it: twins that are measured, a choice that is explained, plans that follow."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    ExecutionMode,
    Policy,
    Ref,
    RouteQuestion,
    TandemOrchestrator,
)
from tandem_orchestrator.agents import system
from tandem_orchestrator.cli.app import run_app


@pytest.fixture(autouse=True)
def system_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Built-in agents are one object for the whole process; give ours back unchanged."""
    monkeypatch.setattr(system.agent, "actions", dict(system.agent.actions))


def config(tmp_path: Path, **router: Any) -> dict[str, Any]:
    return {"journal": {"path": str(tmp_path / "journal.db")}, "router": router}


def echo_twin(tandem: TandemOrchestrator) -> None:
    """Give ``system.echo`` of the bridge a twin in Python."""

    @tandem.register_agent("system").action("echo", effects="none")
    async def echo(payload: Any) -> Any:
        return payload


def echo(payload: Any = None, **fields: Any) -> CommandSet:
    return CommandSet(
        steps=[CommandStep(id="e", agent="system", action="echo", payload=payload)], **fields
    )


async def test_both_are_measured_and_every_choice_says_why(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        used = Counter[str]()
        for _ in range(60):
            result = await tandem.execute_command_set(echo({"x": 1}))
            used[result["steps"]["e"]["implementation"]] += 1
            assert result["status"] == "completed"

        assert used["python"] >= 3 and used["c"] >= 3
        assert "µs" in result["steps"]["e"]["reason"] or "ms" in result["steps"]["e"]["reason"]


@pytest.mark.parametrize("durability", ["group", "none"])
async def test_a_prepared_plan_follows_the_router(tmp_path: Path, durability: str) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        plan = await tandem.prepare(echo({"x": 1}, durability=durability))
        used = Counter[str]()
        for _ in range(60):
            result = await plan.run()
            used[result["steps"]["e"]["implementation"]] += 1

        assert used["python"] >= 3 and used["c"] >= 3
        standing = tandem._parts.routing.costs.standing("system", "echo", 2)  # type: ignore[union-attr]
        assert standing.leader in ("python", "c")
        assert plan.plan.steps[0].assignment is not None
        assert plan.plan.steps[0].assignment.route is not None


async def test_a_familiar_set_is_routed_by_the_size_of_its_own_payload(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        costs = tandem._parts.routing.costs  # type: ignore[union-attr]
        for size in (10, 20_000):
            for _ in range(40):
                await tandem.execute_command_set(echo("x" * size, durability="none"))

        buckets = {bucket for _, _, bucket in costs.standings}

        assert {3, 14} <= buckets
        assert all(costs.standing("system", "echo", b).estimates["c"].samples >= 3 for b in buckets)


async def test_frozen_routing_neither_tries_nor_learns(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path, frozen=True)) as tandem:
        echo_twin(tandem)
        for _ in range(30):
            result = await tandem.execute_command_set(echo({"x": 1}))
            assert result["steps"]["e"]["implementation"] == "c"

    assert not (tmp_path / "journal.db.costs").exists()


async def test_what_was_learned_is_there_after_a_restart(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        for _ in range(40):
            await tandem.execute_command_set(echo({"x": 1}))
    assert (tmp_path / "journal.db.costs").exists()

    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        result = await tandem.execute_command_set(echo({"x": 1}))
    assert "by measurement" in result["steps"]["e"]["reason"]


async def test_a_corrupt_file_of_costs_is_put_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal.db.costs").write_bytes(b"nonsense")

    async with TandemOrchestrator(config(tmp_path)):
        pass

    assert "put aside" in caplog.text
    assert (tmp_path / "journal.db.costs.corrupt").exists()


async def test_validating_is_no_try(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        for _ in range(100):
            tandem.validate(echo({"x": 1}))

        assert not tandem._parts.routing.costs.standings  # type: ignore[union-attr]


async def test_a_payload_that_refers_has_a_bucket_of_its_own(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        steps = [
            CommandStep(id="a", agent="system", action="echo", payload="x" * 5000),
            CommandStep(id="b", agent="system", action="echo", payload=Ref("a")),
        ]
        for _ in range(30):
            await tandem.execute_command_set(CommandSet(steps=steps))

        costs = tandem._parts.routing.costs  # type: ignore[union-attr]
        assert {-1, 12} <= {bucket for _, _, bucket in costs.standings}
        assert costs.standing("system", "echo", -1).typical_bytes == 5003
        plan = tandem.validate(CommandSet(steps=steps))
        assert [step.assignment.route.bytes for step in plan.steps] == [5003, 5003]  # type: ignore[union-attr]


def test_explain_shows_the_alternatives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import asyncio

    async def work() -> str:
        async with TandemOrchestrator(config(tmp_path)) as tandem:
            echo_twin(tandem)
            for _ in range(30):
                result = await tandem.execute_command_set(echo({"x": 1}))
        return str(result["run_id"])

    run_id = asyncio.run(work())
    journal = str(tmp_path / "journal.db")

    assert run_app(["explain", run_id, "e", "--journal", journal, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {each["implementation"] for each in shown["route"]["alternatives"]} == {"python", "c"}
    assert shown["route"]["bytes"] == 4 and not shown["forced"]
    assert run_app(["explain", run_id, "e", "--journal", journal]) == 0
    assert "payload: 4 B, bucket 4 B to 8 B" in capsys.readouterr().out


SPEC_MODES = '''
class CustomExecutionMode(ExecutionMode):
    """Create custom execution strategies"""
    
    ADAPTIVE = "adaptive"  # Dynamically switch based on load
    LEARNING = "learning"  # Use ML to optimize routing
'''  # noqa: W293 - as SPEC.md has it


@pytest.mark.parametrize("name", ["ADAPTIVE", "LEARNING"])
async def test_specs_custom_modes_run_as_written(tmp_path: Path, name: str) -> None:
    names: dict[str, Any] = {"ExecutionMode": ExecutionMode}
    exec(SPEC_MODES, names)
    mode = getattr(names["CustomExecutionMode"], name)
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        used = Counter[str]()
        for _ in range(30):
            result = await tandem.execute_command_set(echo({"x": 1}, mode=mode))
            used[result["steps"]["e"]["implementation"]] += 1
            assert result["status"] == "completed" and result["mode"] == name.lower()
        assert f"mode {name.lower()!r}" in result["steps"]["e"]["reason"]
        plan = await tandem.prepare(echo({"x": 1}, mode=mode, durability="none"))
        assert (await plan.run())["status"] == (await plan.run())["status"] == "completed"

    if name == "LEARNING":
        assert used["python"] >= 3 and used["c"] >= 3


async def test_a_mode_of_ones_own_is_asked_each_time_and_told_what_came_of_it(
    tmp_path: Path,
) -> None:
    asked: list[RouteQuestion] = []
    told: list[tuple[str, float | None]] = []

    def route(question: RouteQuestion) -> str:
        asked.append(question)
        return "python"

    policy = Policy(route=route, learn=lambda question, name, seconds: told.append((name, seconds)))
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        echo_twin(tandem)
        tandem.register_mode("mine", policy)
        tandem.register_mode("adaptive2", Policy(route=lambda question: question.allowed[-1]))
        plan = await tandem.prepare(echo("x" * 100, mode="mine"))
        for _ in range(3):
            await plan.run()

    assert len(asked) == 4  # once when it was prepared
    assert asked[0].bytes == 102 and set(asked[0].allowed) == {"python", "c"}
    assert dict(asked[0].layers) == {"python": "python", "c": "c"} and "python" in asked[0].load
    assert [name for name, _ in told] == ["python"] * 3 and all(s and s > 0 for _, s in told)


async def test_a_users_own_adaptive_mode_comes_first(tmp_path: Path) -> None:
    tandem = TandemOrchestrator(config(tmp_path))
    tandem.register_mode("adaptive", Policy(implementations=("python",)))
    async with tandem:
        echo_twin(tandem)
        result = await tandem.execute_command_set(echo(1, mode="adaptive"))

    assert result["steps"]["e"]["implementation"] == "python"
