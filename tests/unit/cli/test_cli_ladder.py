"""``tandem twins status|promote|demote``: what people and programs are told of the ladder."""

import json
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.orchestrator.ladder_file import LadderFile
from tandem_orchestrator.settings import Twins
from tandem_orchestrator.twins.ladder import Climb, Tally, add


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "j.db")


def put(journal: str, *climbs: Climb) -> None:
    LadderFile(Path(f"{journal}.ladder")).change(
        lambda known: known.update({climb.key: climb for climb in climbs})
    )


def climb(
    agreements: int = 3000, *, speedup: float = 2.0, inputs: int = 200, **fields: Any
) -> Climb:
    made, tally = Climb(agent="a.b", action="do", implementation="v2", **fields), Tally()
    for i in range(agreements):
        tally.note(agreed=True, digest=str(i % inputs), primary_s=speedup, own_s=1.0)
    add(made, tally, Twins(), 1.7e9)
    return made


def tandem(journal: str, *words: str) -> int:
    return run_app(["twins", *words, "--journal", journal])


def test_status_states_the_bound_and_what_comes_next(
    journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(journal, climb())

    assert tandem(journal, "status") == 0

    told = capsys.readouterr().out
    assert "a.b.do:v2: shadow" in told
    assert "0 conflicts in 3,000 comparisons: rate below 0.1 % at 95 %" in told
    assert "200 different inputs; 2.00 times as fast" in told
    assert "verify: may be promoted" in told


def test_status_as_json_has_everything(journal: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = climb(10, rung="canary")
    tally = Tally()
    tally.note(agreed=False, capsule="r1.c1")
    add(one, tally, Twins(), 1.7e9)
    put(journal, one)

    assert tandem(journal, "status", "a.b.do:v2", "--json") == 0

    [shown] = json.loads(capsys.readouterr().out)
    assert (shown["rung"], shown["next"], shown["conflicts_total"]) == ("shadow", "verify", 1)
    assert shown["last_conflict"] == "r1.c1" and shown["last_conflict_at"] == "2023-11-14T22:13:20Z"
    [change] = shown["history"]
    assert (change["left"], change["right"], change["capsule"]) == ("canary", "shadow", "r1.c1")
    assert len(shown["objections"]) == 3


def test_a_count_that_began_anew_is_not_read_as_all_there_ever_was(
    journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, tally = climb(10), Tally()
    tally.note(agreed=False, capsule="r1.c1")
    tally.note(agreed=True)
    add(one, tally, Twins(), 1.7e9)
    put(journal, one)

    assert tandem(journal, "status") == 0

    told = capsys.readouterr().out
    assert "since its last conflict or change of rung: 0 conflicts in 1 comparison:" in told
    assert "ever, on all rungs: 1 conflict in 12 comparisons" in told
    assert "not yet: 1 agreement on the rung shadow, at least 3,000" in told


def test_a_slip_in_a_twins_name_gets_the_nearest(
    journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(journal, climb())

    assert tandem(journal, "promote", "a.b.od") == 2
    assert "(did you mean a.b.do:v2?)" in capsys.readouterr().err


def test_inputs_beyond_those_told_apart_are_said_to_be_more(
    journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(journal, climb(3000, inputs=3000))

    assert tandem(journal, "status") == 0
    assert "at least 1,024 different inputs; 2.00 times" in capsys.readouterr().out


def test_nothing_yet_is_said(journal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem(journal, "status") == 0
    assert "no twin has been compared yet" in capsys.readouterr().out
    assert tandem(journal, "promote", "a.b.do") == 2
    assert "nothing is known of such a twin; known: none" in capsys.readouterr().err


def test_promote_moves_one_rung_and_refuses_the_next(
    journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(journal, climb())

    assert tandem(journal, "promote", "a.b.do") == 0
    assert (
        "a.b.do:v2: shadow -> verify; 0 conflicts in 3,000 comparisons" in capsys.readouterr().out
    )
    assert tandem(journal, "promote", "a.b.do:v2") == 1

    told = capsys.readouterr().out
    assert "stays on the rung verify: 0 agreements" in told and "--force" in told
    assert tandem(journal, "status") == 0
    assert "ever, on all rungs: 0 conflicts in 3,000 comparisons" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (climb(speedup=0.5), "it does not pay: 0.50 times as fast"),
        (climb(inputs=2), "hardly diverse: 2 different inputs"),
    ],
)
def test_force_is_recorded(
    journal: str, capsys: pytest.CaptureFixture[str], made: Climb, says: str
) -> None:
    put(journal, made)
    assert tandem(journal, "promote", "a.b.do", "--json") == 1
    refused = json.loads(capsys.readouterr().out)
    assert not refused["promoted"] and says in refused["objections"][0]

    assert tandem(journal, "promote", "a.b.do", "--force", "--json") == 0

    forced = json.loads(capsys.readouterr().out)
    assert forced["promoted"] and forced["rung"] == "verify"
    assert forced["history"][0]["forced"] and says in forced["history"][0]["why"]


def test_demote_keeps_the_reason(journal: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(journal, climb(rung="native"))

    assert tandem(journal, "demote", "a.b.do", "--why", "a hunch") == 0
    assert "a.b.do:v2: native -> shadow; a hunch" in capsys.readouterr().out
    assert tandem(journal, "status") == 0
    assert "native -> shadow by" in capsys.readouterr().out


def test_several_twins_of_one_action_must_be_told_apart(
    journal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = climb()
    other.implementation = "c"
    put(journal, climb(), other)

    assert tandem(journal, "demote", "a.b.do") == 2
    assert "there are several twins: a.b.do:v2, a.b.do:c; name one" in capsys.readouterr().err
    assert tandem(journal, "demote", "a.b.do:c") == 0
