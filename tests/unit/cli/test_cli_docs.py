"""The pages about errors and the command line name everything there is."""

import re
from pathlib import Path

import pytest

import tandem_orchestrator
from tandem_orchestrator import Outcome, TandemError
from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.cli.exits import Exit
from tandem_orchestrator.errors import FAULT_CODES
from tandem_orchestrator.model.catalogue import RUNGS

DOCS = Path(__file__).resolve().parents[3] / "docs"
ERRORS = (DOCS / "errors.md").read_text("utf-8")
COMMAND_LINE = (DOCS / "command-line.md").read_text("utf-8")
COMMANDS = (
    ["run"],
    ["serve"],
    ["validate"],
    ["runs", "list"],
    ["runs", "show"],
    ["runs", "cancel"],
    ["runs", "pause"],
    ["runs", "continue"],
    ["runs", "approve"],
    ["runs", "signal"],
    ["runs", "resolve"],
    ["runs", "pack"],
    ["schedules", "add"],
    ["schedules", "list"],
    ["schedules", "remove"],
    ["journal", "check"],
    ["journal", "repair"],
    ["journal", "export"],
    ["runs", "retry"],
    ["runs", "fork"],
    ["runs", "resume"],
    ["explain"],
    ["twins", "status"],
    ["twins", "promote"],
    ["twins", "demote"],
    ["agents"],
    ["doctor"],
    ["topology"],
    ["demo", "twins"],
    ["twins", "bisect"],
    ["twins", "calibrate"],
    ["conflicts", "list"],
    ["conflicts", "show"],
    ["conflicts", "replay"],
    ["conflicts", "shrink"],
    ["conflicts", "export"],
    ["conflicts", "resolve"],
    ["agent", "new"],
    ["agent", "quarantined"],
    ["agent", "release"],
    ["config", "show"],
    ["config", "check"],
)

GROUPS = {"runs", "agent", "twins", "conflicts", "config", "demo", "journal", "schedules"}


def first_cells(text: str) -> set[str]:
    """Give what stands in code in the first cells of the page's tables."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


def test_each_fault_code_and_outcome_is_documented_and_no_other() -> None:
    cells = first_cells(ERRORS)

    assert set(FAULT_CODES) <= cells
    assert {outcome.value for outcome in Outcome} - {"not_started"} <= cells
    lower = {name for name in cells if name.islower()}
    assert lower == set(FAULT_CODES) | {o.value for o in Outcome} - {"not_started"}


def test_each_public_error_is_documented() -> None:
    public = {
        name
        for name in tandem_orchestrator.__all__
        if isinstance(kind := getattr(tandem_orchestrator, name), type)
        and issubclass(kind, TandemError)
        and kind is not TandemError
    }

    assert public <= first_cells(ERRORS)


def test_each_failure_type_that_the_code_makes_is_documented() -> None:
    source = Path(tandem_orchestrator.__file__).parent
    made = set()
    for room in ("engine", "layers"):
        for path in (source / room).rglob("*.py"):
            text = path.read_text("utf-8")
            made |= set(re.findall(r"Failure\(\s*\"([A-Za-z]+)\"", text))
            made |= set(re.findall(r"_refused\(report, \"([A-Za-z]+)\"", text))

    assert made - {"InternalError", "StepFailed", "TypeError"} <= first_cells(ERRORS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_option_of_each_command_is_documented(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app([*command, "--help"]) == 0
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}

    assert f"tandem {' '.join(command)}" in COMMAND_LINE
    assert options
    assert {option for option in options if option not in COMMAND_LINE} == set()


def test_no_command_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    found = set()
    for group in ([], *([group] for group in GROUPS)):
        run_app([*group, "--help"])
        listed = capsys.readouterr().out.partition("Commands:")[2]
        names = re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)
        found |= {" ".join([*group, name]) for name in names}

    assert found - GROUPS == {" ".join(command) for command in COMMANDS}


def test_each_exit_code_is_documented() -> None:
    listed = re.findall(r"^\| (\d+) \|", COMMAND_LINE, re.MULTILINE)

    assert [int(code) for code in listed] == sorted(int(code) for code in Exit)


def test_each_rung_is_in_the_glossary() -> None:
    row = next(
        line
        for line in (DOCS / "glossary.md").read_text("utf-8").splitlines()
        if line.startswith("| **rung** |")
    )

    assert tuple(re.findall(r"`([a-z]+)`", row))[: len(RUNGS)] == RUNGS
