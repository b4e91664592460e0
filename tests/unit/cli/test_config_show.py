"""``tandem config show`` and ``check`` tell what an orchestrator here would go by."""

import json
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.cli.exits import Exit
from tandem_orchestrator.settings import KEYS


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run_app(["config", *arguments, "--json"]) == Exit.DONE
    return json.loads(capsys.readouterr().out)


def test_every_setting_is_listed_with_the_value_an_orchestrator_has(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "tandem_config.json").write_text('{"redundancy": {"consensus_retries": 7}}')
    monkeypatch.setenv("TANDEM_SOCKET", "/run/mine.sock")
    rows = {row["setting"]: row for row in told(capsys, "show")}
    settings = TandemOrchestrator().settings

    assert list(rows) == list(KEYS)
    for path, row in rows.items():
        value = settings.get(path)
        assert row["value"] == (list(value) if isinstance(value, tuple) else value), path
        assert row["from"] == settings.origin(path), path
    assert rows["redundancy.consensus_retries"]["from"] == f"file {here / 'tandem_config.json'}"
    assert rows["c_layer.socket"]["from"] == "environment TANDEM_SOCKET"
    assert rows["c_layer.socket"]["value"] == "/run/mine.sock"
    assert rows["journal.path"]["guarded"] is True


def test_a_section_a_key_and_what_is_changed_can_be_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    section = [row["setting"] for row in told(capsys, "show", "redundancy")]
    assert section == [path for path in KEYS if path.startswith("redundancy.")]
    [one] = told(capsys, "show", "c_layer.max_agents")
    assert (one["value"], one["default"], one["counts_from"]) == (32, 32, "next session")
    changed = told(capsys, "show", "--changed", "--set", "c_layer.max_agents=5")
    assert {row["setting"] for row in changed} == {"c_layer.max_agents", "journal.path"}
    assert len(told(capsys, "show", "--limit", "3")) == 3


def test_the_table_for_people_has_value_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["config", "show", "c_layer", "--set", "c_layer.plugins=a.so:b.so"]) == Exit.DONE
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert lines["c_layer.plugins"][1:3] == ["a.so:b.so", "option"]
    assert lines["c_layer.enabled"][1:3] == ["true", "default"]
    assert lines["c_layer.socket"][1:3] == ["null", "default"]


def test_a_name_that_is_not_there_is_a_mistake_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_app(["config", "show", "c_layer.max_agent"]) == Exit.USAGE
    assert "did you mean c_layer.max_agents" in capsys.readouterr().err


def test_a_good_configuration_is_told_with_its_sources(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_CACHE_SIZE", "5")
    monkeypatch.setenv("TANDEM_C_MAX_AGENTS", "5")
    (here / "x.json").write_text('{"metrics": {"history_size": 3}}')
    assert run_app(["config", "check", "x.json", "--json"]) == Exit.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["valid"], found["faults"]) == (True, [])
    assert found["sources"]["environment"] == 2
    assert found["sources"][f"file {here / 'x.json'}"] == 1
    assert sum(found["sources"].values()) == len(KEYS)
    assert ["metrics.history_size=3" in note for note in found["notes"]] == [True]


def test_every_fault_is_told_at_once_with_the_nearest_names(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_CACHE_SIZE", "many")
    wrong = {"c_layer": {"bufer_size": 1, "max_agents": 0}, "redundncy": {}}
    (here / "tandem_config.json").write_text(json.dumps(wrong))
    assert run_app(["config", "check", "--json"]) == Exit.INVALID
    found = json.loads(capsys.readouterr().out)
    near = {fault["path"]: fault["nearest"][:1] for fault in found["faults"]}
    assert near == {
        "TANDEM_CACHE_SIZE": [],
        "c_layer.bufer_size": ["buffer_size"],
        "c_layer.max_agents": [],
        "redundncy": ["redundancy"],
    }
    assert run_app(["config", "check"]) == Exit.INVALID
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "4 faults"
    assert len(lines) == 5


@pytest.mark.parametrize("text", ["{", "[]", '{"c_layer": {}, "c_layer": {}}'])
def test_a_file_that_does_not_parse_is_one_fault(
    here: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (here / "x.json").write_text(text)
    assert run_app(["config", "check", "x.json"]) == Exit.INVALID
    assert "x.json" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["config", "check", "nowhere.json"]) == Exit.INVALID
    assert "not there" in capsys.readouterr().out


def test_on_a_narrow_line_what_is_least_asked_for_goes_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    assert run_app(["config", "show", "redundancy"]) == Exit.DONE

    shown = capsys.readouterr().out
    assert "python_preferred" in shown  # in one piece
    assert max(map(len, shown.splitlines())) <= 60
