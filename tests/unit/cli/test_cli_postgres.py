"""The commands that read or ask a journal, on one in PostgreSQL; its password is never shown."""

import json
from pathlib import Path

import pytest

from tandem_orchestrator.cli.app import run_app


def test_every_command_works_on_it_and_none_shows_the_password(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    postgres_url: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    # The server asks nobody for it here: what counts is where it is seen.
    monkeypatch.setenv("TANDEM_JOURNAL", postgres_url.replace("tandem@", "tandem:s3cret@"))
    Path("set.yaml").write_text(
        "name: echoes\nsteps:\n  - {id: a, agent: system, action: echo, payload: {n: 1}}\n"
    )

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert run_app(list(arguments)) == code, capsys.readouterr()
        shown = capsys.readouterr()
        assert "s3cret" not in shown.out + shown.err, arguments
        return shown.out + shown.err

    assert "no runs in postgresql://tandem:***@" in run("runs", "list")
    assert json.loads(run("run", "set.yaml", "--json"))["status"] == "completed"
    (row,) = json.loads(run("runs", "list", "--json"))
    run_id = row["run_id"]
    assert (row["status"], row["name"]) == ("completed", "echoes")
    assert json.loads(run("runs", "show", run_id, "--json"))["results"] == {"a": {"n": 1}}
    assert "echoes" in run("runs", "list", "--status", "completed")
    assert "a" in run("explain", run_id, "a")
    checked = json.loads(run("journal", "check", "--json"))
    assert (checked["ok"], checked["faults"]) == (True, [])
    assert checked["path"] == postgres_url.replace("tandem@", "tandem:***@")
    lines = [json.loads(line)["line"] for line in run("journal", "export").splitlines()]
    assert lines[0] == "run"
    assert len(lines) > 3
    assert "no conflicts in postgresql://tandem:***@" in run("conflicts", "list")
    assert "no schedules in postgresql://tandem:***@" in run("schedules", "list")
    assert "postgresql://tandem:***@" in run("config", "show", "journal.path")
    assert "postgresql://tandem:***@" in run("config", "show", "journal.path", "--json")
    assert json.loads(run("runs", "fork", run_id, "a", "--json"))["status"] == "completed"
    assert "ended" in run("runs", "cancel", run_id, code=4)
    assert "pg_dump" in run("journal", "repair", code=2)
    assert "there is no such run in the journal postgresql://tandem:***@" in run(
        "runs", "show", "none", code=4
    )
