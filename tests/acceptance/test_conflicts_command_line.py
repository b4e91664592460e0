"""From a conflict to the smallest input, to a red test, to a green one: by the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.twins import make_capsule
from tandem_orchestrator.twins.capsule_file import capsule_from_text, capsule_to_text

MODULE = """
from decimal import ROUND_HALF_UP, Decimal
from tandem_orchestrator import Agent

agent = Agent("{name}")


@agent.action("round", effects="none")
def round_(payload):
    return float(Decimal(repr(payload["v"])).quantize(Decimal("0.01"), ROUND_HALF_UP))


@round_.twin("quick")
def quick(payload):
    return round(payload["v"] * 100) / 100


@agent.action("from_before", effects="none")
def from_before(payload, ctx):
    return ctx.inputs["prices"][payload["at"]]


@from_before.twin("next")
def from_before_next(payload, ctx):
    return ctx.inputs["prices"][payload["at"]] + (payload["at"] == 2)


@agent.action("sent", effects="external")
def sent(payload):
    return 1
"""
FIX = '    return float(Decimal(repr(payload["v"])).quantize(Decimal("0.01"), ROUND_HALF_UP))'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> str:
    """A folder with a module of its own name, and capsule files about it; gives the name."""
    name = f"coins{abs(hash(request.node.name)) % 10**8}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(name=name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return name


def write_capsule(agent: str, file: str = "x.capsule.json", **more) -> str:
    given = {
        "id": "r.c1", "run": "r", "step": "cents", "agent": agent, "action": "round",
        "payload": {"v": 73.125, "notes": ["a", "b", "c"]},
        "outcomes": [
            {"implementation": name, "outcome": "succeeded", "output": gave, "failure": None,
             "seconds": 0.0}
            for name, gave in (("python", 73.13), ("quick", 73.12))
        ],
        "fields": [{"path": "", "left": 73.13, "right": 73.12}],
    }  # fmt: skip
    Path(file).write_text(capsule_to_text(make_capsule(**given | more)))
    return file


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict]:
    code = run_app([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def run_pytest(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )


def test_it_is_replayed_shrunk_exported_and_mended(project, capsys):
    file = write_capsule(project)

    code, told = run_json(capsys, "conflicts", "replay", file, "--import", project)
    assert (code, told["differs"]) == (1, True)
    assert told["fields"] == [{"path": "", "left": 73.13, "right": 73.12}]

    code, told = run_json(
        capsys, "conflicts", "shrink", file, "--import", project, "--out", "found"
    )
    assert (code, told["payload"], told["finished"]) == (0, {"v": 0.005}, True)
    small, modules = capsule_from_text(Path(told["file"]).read_text())
    assert (small.payload, small.shrunk_from, modules) == ({"v": 0.005}, "r.c1", (project,))

    code, told = run_json(capsys, "conflicts", "export", told["file"], "--out", "found")
    assert code == 0
    red = run_pytest(told["test"])
    assert red.returncode == 1, red.stdout
    assert f"{project}.round: python and quick differ" in red.stdout
    assert "1 failed" in red.stdout

    module = Path(f"{project}.py")
    module.write_text(module.read_text().replace('    return round(payload["v"] * 100) / 100', FIX))
    green = run_pytest(told["test"])
    assert green.returncode == 0, green.stdout


def test_people_see_both_sides(project, capsys):
    file = write_capsule(project)

    assert run_app(["conflicts", "show", file]) == 0
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines() if "(whole)" in line] == [
        ["(whole)", "73.13", "73.12"]
    ]
    assert run_app(["conflicts", "shrink", file, "--import", project]) == 0
    shown = capsys.readouterr().out
    assert "after   {'v': 0.005}" in shown
    assert "nothing simpler differs" in shown


def test_a_step_gets_the_outputs_before_it_again(project, capsys):
    file = write_capsule(
        project, action="from_before", payload={"at": 2}, inputs={"prices": [5, 6, 7], "other": 1},
        outcomes=[{"implementation": n, "outcome": "succeeded"} for n in ("python", "next")],
        fields=[{"path": "", "left": 7, "right": 8}],
    )  # fmt: skip

    code, told = run_json(capsys, "conflicts", "replay", file, "--import", project)

    assert (code, told["fields"]) == (1, [{"path": "", "left": 7, "right": 8}])


def test_a_bound_on_calls_ends_the_search_with_the_best_so_far(project, capsys):
    file = write_capsule(project)

    code, told = run_json(
        capsys, "conflicts", "shrink", file, "--import", project, "--calls", "2"
    )  # fmt: skip

    assert (code, told["finished"], told["calls"]) == (0, False, 2)
    assert told["payload"]["v"] == 73.125
    assert told["differs"]


@pytest.mark.parametrize(
    ("words", "more", "told"),
    [
        (["replay", "gone.capsule.json"], {}, "gone.capsule.json: cannot be read"),
        (["replay", "last"], {}, "no capsule"),
        (["show", "r.c9"], {}, "'r.c9' is not here"),
        (["replay", "x.capsule.json"], {}, "--import MODULE"),
        (["replay", "x.capsule.json", "IMPORT"], {"payload": "x" * 9000, "bytes_max": 4096},
         "cannot be run again: .*/payload"),
        (["export", "x.capsule.json"], {"payload": "x" * 9000, "bytes_max": 4096},
         "cannot be run again"),
        (["shrink", "x.capsule.json", "IMPORT"], {"payload": {"v": 1.0}}, "agree on its input now"),
        (["replay", "x.capsule.json", "IMPORT"], {"action": "gone"}, "no action 'gone'"),
        (["replay", "x.capsule.json", "IMPORT"], {"action": "sent"}, "cannot be run here|compared"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_its_reason(project, capsys, words, more, told):
    import re

    write_capsule(project, **more)
    given = [w for word in words for w in (["--import", project] if word == "IMPORT" else [word])]

    code, error = run_json(capsys, "conflicts", *given)

    assert code == 4
    assert re.search(told, error["error"]), error["error"]
    assert error["error_type"] == "CapsuleError"


def test_an_interrupt_keeps_the_smallest_so_far(project, capsys, monkeypatch):
    """The interrupt comes at the fifth input that is tried, as if the user had given up there."""
    from tandem_orchestrator.orchestrator.replay import Replay

    file, original, calls = write_capsule(project), Replay.run, []

    async def run(self, *given):
        calls.append(given)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return await original(self, *given)

    monkeypatch.setattr(Replay, "run", run)

    assert run_app(["conflicts", "shrink", file, "--import", project, "--out", "found"]) == 130
    (kept,) = Path("found").iterdir()
    assert str(kept) in capsys.readouterr().err
    capsule, _ = capsule_from_text(kept.read_text())
    assert (capsule.payload["v"], capsule.shrunk_from) == (73.125, "r.c1")
