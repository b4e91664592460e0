"""Commands about one run take its id, an unambiguous beginning of it, or ``last``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.cli.app import run_app

COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "show": lambda run: ["runs", "show", run],
    "cancel": lambda run: ["runs", "cancel", run, "--wait", "0"],
    "pause": lambda run: ["runs", "pause", run],
    "continue": lambda run: ["runs", "continue", run],
    "approve": lambda run: ["runs", "approve", run, "ask"],
    "signal": lambda run: ["runs", "signal", run, "go"],
    "resolve": lambda run: ["runs", "resolve", run, "ask", "--output", "1"],
    "retry": lambda run: ["runs", "retry", run],
    "fork": lambda run: ["runs", "fork", run, "ask"],
    "resume": lambda run: ["runs", "resume", run],
    "pack": lambda run: ["runs", "pack", run],
    "explain": lambda run: ["explain", run],
    "conflicts resolve": lambda run: ["conflicts", "resolve", run, "c1", "--pick", "left"],
}


@pytest.fixture
async def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A journal with two runs that wait, and their ids, oldest first."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    path = tmp_path / "j.db"
    tandem = TandemOrchestrator({"journal": {"path": str(path)}, "c_layer": {"enabled": False}})
    await tandem.initialize()
    ids = []
    for name in ("one", "two"):
        asked = CommandStep(id="ask", agent="system", action="approval", payload={"prompt": name})
        run = await tandem.submit(CommandSet(name=name, steps=[asked]))
        ids.append(run.id)
    await tandem.close()
    return path, ids


def shared(ids: list[str]) -> str:
    return next(ids[0][:n] for n in range(len(ids[0]), 0, -1) if ids[1].startswith(ids[0][:n]))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_beginning_that_two_runs_share_is_refused_and_names_both(
    journal: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path, ids = journal
    assert run_app([*COMMANDS[command](shared(ids)), "--journal", str(path)]) == 4
    told = capsys.readouterr().err
    assert "several begin so" in told
    assert all(one in told for one in ids)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_no_run_begins_with_is_refused(
    journal: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path, _ = journal
    assert run_app([*COMMANDS[command]("zzz"), "--journal", str(path)]) == 4
    assert "run 'zzz': there is no such run" in capsys.readouterr().err


@pytest.mark.parametrize("which", [0, 1, "last"])
def test_the_one_that_is_meant_is_asked(
    journal: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str], which: int | str
) -> None:
    path, ids = journal
    start = len(shared(ids)) + 1
    name = which if isinstance(which, str) else ids[which][:start]
    wanted = ids[1] if which in (1, "last") else ids[0]
    given = ["runs", "approve", name, "ask", "--journal", str(path), "--json"]
    assert run_app(given) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == wanted


def test_a_cancel_reaches_the_run_by_its_beginning(
    journal: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, ids = journal
    given = ["runs", "cancel", ids[0][:-1], "--wait", "0", "--journal", str(path), "--json"]
    assert run_app(given) == (0 if not ids[1].startswith(ids[0][:-1]) else 4)
    capsys.readouterr()
