"""``tandem schedules``: kept in the journal, checked like a run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_orchestrator.cli.app import run_app

Tandem = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tandem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Tandem:
    """Run ``tandem`` in this process, without the C layer, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    monkeypatch.setenv("TANDEM_JOURNAL__PATH", str(tmp_path / "state" / "j.db"))
    (tmp_path / "set.yaml").write_text(
        "name: echoes\nsteps:\n  - {id: a, agent: system, action: echo, payload: {n: 1}}\n"
    )
    (tmp_path / "bad.yaml").write_text(
        "name: bad\nsteps:\n  - {id: a, agent: sytem, action: echo, payload: {n: 1}}\n"
    )

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_app(list(arguments))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_a_schedule_is_added_listed_and_removed(tandem: Tandem) -> None:
    zone = ("--timezone", "Europe/Berlin", "--jitter", "5", "--overlap", "queue")
    code, out, err = tandem("schedules", "add", "n", "set.yaml", "--cron", "30 2 * * *", *zone)
    assert code == 0, err
    assert "kept" in out
    again = tandem("schedules", "add", "n", "set.yaml", "--cron", "30 2 * * *", *zone)
    assert "was there already" in again[1]
    assert tandem("schedules", "add", "e", "set.yaml", "--every", "60", "--json")[0] == 0

    code, out, _ = tandem("schedules", "list", "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == ["e", "n"]
    assert rows[1] | {"next_at": 0, "done_at": 0} == {
        "name": "n",
        "cron": "30 2 * * *",
        "every_s": None,
        "timezone": "Europe/Berlin",
        "overlap": "queue",
        "catch_up": "none",
        "jitter_s": 5.0,
        "command_set": "echoes",
        "next_at": 0,
        "done_at": 0,
        "last_run": None,
        "fired": 0,
        "left_out": 0,
    }
    assert "every 60 s" in tandem("schedules", "list")[1]
    assert tandem("schedules", "remove", "n")[0] == 0
    assert tandem("schedules", "remove", "n")[0] == 4
    assert [row["name"] for row in json.loads(tandem("schedules", "list", "--json")[1])] == ["e"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set.yaml",), "either cron or every_s"),
        (("set.yaml", "--cron", "61 * * * *"), "Bad minute"),
        (("set.yaml", "--every", "60", "--timezone", "Mars/Base"), "Mars/Base"),
        (("bad.yaml", "--every", "60"), "did you mean system"),
    ],
)
def test_what_could_never_run_is_refused_and_nothing_is_kept(
    tandem: Tandem, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = tandem("schedules", "add", "s", *arguments)
    assert (code, said in err) == (4, True), err
    assert "no schedules" in tandem("schedules", "list")[1]


def test_a_run_of_the_command_line_fires_none(tandem: Tandem) -> None:
    tandem("schedules", "add", "s", "set.yaml", "--every", "1")
    assert tandem("run", "set.yaml", "--json")[0] == 0
    assert len(json.loads(tandem("runs", "list", "--json")[1])) == 1
