"""A file may hold 10,000 steps, and not one more; from Python a set may hold many more."""

import json
from pathlib import Path

import pytest

from tandem_orchestrator import CommandSet, CommandStep, InvalidCommandSet, TandemOrchestrator
from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.model.documents import load


def big(format: str, steps_total: int, broken: str = "echo") -> str:
    """Write a chain of steps, the last with an action of its own."""
    steps = [
        {"id": f"n{i}", "agent": "system", "action": "echo", "payload": {"i": i}}
        for i in range(steps_total)
    ]
    steps[-1]["action"] = broken
    needs = {f"n{i}": [f"n{i - 1}"] for i in range(1, steps_total)}
    if format == "json":
        return json.dumps({"name": "Big", "steps": steps, "dependencies": needs})
    lines = ["name: Big", "steps:"]
    lines += [f"  - {json.dumps(step)}" for step in steps]
    lines += ["dependencies:", *(f"  {key}: {json.dumps(value)}" for key, value in needs.items())]
    return "\n".join(lines)


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_ten_thousand_steps_in_a_file_are_valid_and_one_more_is_refused(
    format: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    path = tmp_path / f"big.{format}"

    path.write_text(big(format, 10_000))
    assert run_app(["validate", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "valid: 10000 steps (the first 200 are shown)" in shown

    path.write_text(big(format, 10_001))
    assert run_app(["validate", str(path)]) == 4
    assert "10000 steps" in capsys.readouterr().err


def test_a_slip_in_the_last_of_ten_thousand_steps_is_found(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_text(big("json", 10_000, broken="ehco"))

    made = load(path)

    assert made.steps[-1].action == "ehco"
    assert len(made.steps) == 10_000


async def test_from_python_a_set_may_hold_more_and_a_setting_bounds_it(
    tandem: TandemOrchestrator,
) -> None:
    step = CommandStep(agent="system", action="noop")

    assert len(tandem.validate(CommandSet(steps=[step] * 10_001)).steps) == 10_001
    tandem.config["limits"]["steps_max"] = 10_000
    with pytest.raises(InvalidCommandSet, match="more than 10000 steps"):
        tandem.validate(CommandSet(steps=[step] * 10_001))
