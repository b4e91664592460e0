"""``tandem journal`` and ``tandem runs pack``, in this process, on a real journal."""

import json
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tandem_orchestrator.cli.app import run_app

Tandem = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tandem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Tandem:
    """Run ``tandem`` in this process, without the C layer, with a journal of two runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    monkeypatch.setenv("TANDEM_JOURNAL__PATH", str(tmp_path / "j.db"))
    (tmp_path / "set.yaml").write_text(
        "name: echoes\nsteps:\n  - {id: a, agent: system, action: echo, payload: {n: 1}}\n"
    )

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_app(list(arguments))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    for _ in range(2):
        assert run("run", "set.yaml", "--json")[0] == 0
    return run


def newest(tandem: Tandem) -> str:
    return json.loads(tandem("runs", "list", "--json")[1])[0]["run_id"]


def damage(script: str) -> None:
    connection = apsw.Connection("j.db")
    connection.execute(script)
    assert connection.total_changes() > 0
    connection.close()


def test_check_says_that_all_is_well_and_names_what_is_not(tandem: Tandem) -> None:
    code, out, _ = tandem("journal", "check", "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)

    damage("UPDATE runs SET status = 'failed' WHERE id = 1")

    code, out, _ = tandem("journal", "check")
    assert code == 5
    assert "status" in out
    assert "repair" in out


def test_repair_mends_and_keeps_a_copy(tandem: Tandem) -> None:
    damage("UPDATE runs SET status = 'failed' WHERE id = 1")
    code, out, _ = tandem("journal", "repair", "--json")
    told = json.loads(out)
    assert (code, told["left"], len(told["mended"])) == (0, [], 1)
    assert Path(told["copy"]).is_file()
    assert tandem("journal", "check")[0] == 0


def test_a_damaged_tail_stays_until_yes_is_said(tandem: Tandem) -> None:
    run_id = newest(tandem)
    damage("UPDATE records SET at_ns = at_ns + 1 WHERE run = 2 AND seq = 3")
    code, out, _ = tandem("journal", "repair")
    assert code == 5
    assert f"--yes would drop: run {run_id}" in out

    code, out, _ = tandem("journal", "repair", "--yes")
    assert code == 0, out
    code, out, _ = tandem("runs", "show", run_id, "--json")
    shown = json.loads(out)
    assert shown["status"] == "failed"
    assert "repair of the journal" in shown["error"]


def test_export_writes_every_record_as_a_line(tandem: Tandem) -> None:
    run_id = newest(tandem)
    code, out, _ = tandem("journal", "export", "all.jsonl")
    assert (code, out) == (0, "")
    lines = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    runs = [line for line in lines if line["line"] == "run"]
    records = [line for line in lines if line["line"] == "record"]
    connection = apsw.Connection("j.db")
    ((count,),) = connection.execute("SELECT count(*) FROM records").fetchall()
    connection.close()
    assert runs[0]["run_id"] == run_id
    assert (len(runs), len(records)) == (2, count)
    assert records[0]["event"]["document"]["name"] == "echoes"

    assert tandem("journal", "export", "all.jsonl")[0] == 2  # never over a file
    code, out, _ = tandem("journal", "export", "--run", run_id, "one.jsonl")
    one = [json.loads(line) for line in Path("one.jsonl").read_text().splitlines()]
    assert one == [line for line in lines if line["run_id"] == run_id]


def test_an_export_goes_on_behind_a_damaged_run_and_says_so(tandem: Tandem) -> None:
    damage("UPDATE records SET at_ns = at_ns + 1 WHERE run = 2 AND seq = 3")
    code, _, err = tandem("journal", "export", "all.jsonl")
    lines = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    assert code == 5
    assert "record 3" in err
    assert [line["line"] for line in lines].count("fault") == 1
    assert sum(line["line"] == "run" for line in lines) == 2


def test_a_packed_run_is_shown_where_its_journal_is_not(tandem: Tandem) -> None:
    run_id = newest(tandem)
    code, out, _ = tandem("runs", "pack", run_id, "--json")
    file = json.loads(out)["file"]
    assert (code, Path(file).name) == (0, f"{run_id}.pack")
    before = tandem("runs", "show", run_id, "--json")
    Path("j.db").unlink()

    assert tandem("runs", "show", run_id, "--json", "--journal", file) == before
    code, out, _ = tandem("explain", run_id, "--journal", file)
    assert (code, "system.echo" in out) == (0, True)


@pytest.mark.parametrize("command", ["check", "repair", "export"])
def test_a_journal_that_is_not_there_is_refused_and_not_made(tandem: Tandem, command: str) -> None:
    assert tandem("journal", command, "--journal", "none.db")[0] == 5
    assert tandem("journal", command, "--journal", ":memory:")[0] == 2
    assert not Path("none.db").exists()
