"""``tandem demo twins`` tells the true number of differences; the tour of the docs runs as written."""

import importlib.util
import json
import math
import os
import re
import resource
import shlex
import subprocess
import sys
from fractions import Fraction
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tandem_orchestrator.cli.app import run_app

pytestmark = pytest.mark.native

PAGE = Path(__file__).parents[2] / "docs" / "twins.md"
TOUR_S = 60.0
"""The whole tour takes less, the page says; counted without what others do on this machine."""


def by_decimal(v: float) -> float:
    """Round what is written to cents, half up: by exact fractions, with no call into the demo."""
    written = Fraction(repr(v))
    return float(Fraction(math.floor(written * 100 + Fraction(1, 2)), 100))


def by_idiom(v: float) -> float:
    """Do what C's ``round(v * 100) / 100`` does to a positive double, each step correctly rounded.

    ``float`` of a Fraction rounds to the nearest double, ties to even, as the machine does.
    """
    product = float(Fraction(v) * 100)
    whole = math.floor(Fraction(product) + Fraction(1, 2))
    return float(Fraction(whole, 100))


EXPECTED = [
    k for k in range(4000) if by_decimal(k / 4000 * 100) != by_idiom(k / 4000 * 100)
]  # fmt: skip


def test_the_independent_calculation_finds_something():
    assert 0 < len(EXPECTED) < 4000
    assert (by_decimal(0.145), by_idiom(0.145)) == (0.15, 0.14)


def test_the_demo_finds_every_price_that_differs_and_no_other(tmp_path, capsys):
    folder = tmp_path / "demo"

    assert run_app(["demo", "twins", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert (told["inputs"], told["differences"]) == (4000, len(EXPECTED))
    assert [each["item"] for each in told["conflicts"]] == EXPECTED
    for each in told["conflicts"]:
        v = each["item"] / 4000 * 100
        assert each["fields"] == [{"path": "", "left": by_decimal(v), "right": by_idiom(v)}]


def test_without_pytest_the_demo_says_where_to_install_it(tmp_path, capsys, monkeypatch):
    assert run_app(["demo", "twins", str(tmp_path / "with")]) == 0
    assert "pip install" not in capsys.readouterr().out
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pytest" else found(name)
    )

    assert run_app(["demo", "twins", str(tmp_path / "without")]) == 0

    told = capsys.readouterr().out
    assert f"not in this environment yet: {sys.prefix}" in told
    assert told.index("pip install pytest") < told.index("pytest -q conflicts")


def test_a_folder_that_exists_is_left_alone(tmp_path, capsys):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")

    assert run_app(["demo", "twins", str(folder)]) == 2
    assert "exists" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("compiler", "told"),
    [("no-such-compiler", "no C compiler 'no-such-compiler'.*install gcc"),
     ("false", "false could not compile")],
)  # fmt: skip
def test_without_a_compiler_it_says_what_is_missing(tmp_path, capsys, monkeypatch, compiler, told):
    monkeypatch.setenv("CC", compiler)

    assert run_app(["demo", "twins", str(tmp_path / "demo"), "--json"]) == 4
    error = json.loads(capsys.readouterr().out)

    assert error["error_type"] == "TwinError"
    assert re.search(told, error["error"])
    was_found = compiler == "false"
    assert (tmp_path / "demo").exists() is was_found, "what was not begun is not in the way"


def tour() -> list[tuple[str, int]]:
    """Read the page's commands; ``# exit code 1`` behind one says how it ends."""
    found = []
    page = PAGE.read_text("utf-8")
    for block in re.findall(r"```sh\n(.*?)```", page.partition("## The tour")[2], re.DOTALL):
        for line in block.splitlines():
            command, _, remark = line.partition("  # ")
            code = re.search(r"exit code (\d)", remark)
            if command.strip():
                found.append((command.strip(), int(code[1]) if code else 0))
    return found


@pytest.mark.timeout(240)
def test_the_tour_of_the_page_runs_as_written(tmp_path, own_home):
    binaries = tmp_path / "bin"
    binaries.mkdir()
    known = {point.name for point in entry_points(group="pytest11")}
    plugin = "" if "tandem" in known else " -p tandem_orchestrator.testing.pytest_plugin"
    for name, words in (("tandem", "-m tandem_orchestrator"), ("pytest", f"-m pytest{plugin}")):
        script = binaries / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        script.chmod(0o755)
    environment = os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "COLUMNS": "110"}
    commands = tour()
    assert len(commands) >= 8
    folder, said = tmp_path, []
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = used.ru_utime + used.ru_stime
    for command, code in commands:
        if command.startswith("cd "):
            folder = folder / command[3:]
            continue
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        said.append(f"$ {command}\n{done.stdout}{done.stderr}")
        assert done.returncode == code, "\n".join(said)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = used.ru_utime + used.ru_stime - began

    told = "\n".join(said)
    assert f"{len(EXPECTED)} of 4,000 prices differ" in told
    assert "{'v': 0.145}" in told
    assert told.index("1 failed") < told.index("1 passed")
    assert "conflicts: 0" in told
    climbs = [line for line in told.splitlines() if line.startswith("money.round:c: ")]
    assert [line.split("; ")[0] for line in climbs] == [
        "money.round:c: shadow",
        "money.round:c: shadow -> verify",
        "money.round:c: verify -> canary",
        "money.round:c: canary -> native",
        "money.round:c: shadow",
    ]
    status = told[told.rindex("money.round:c: shadow") :]
    assert re.search(r"native -> shadow by the rules: 1 conflict.*", status)
    assert took < TOUR_S, f"{took:.0f} s of processor time"
