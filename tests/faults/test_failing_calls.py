"""Each call that a process makes to its system fails in turn: a typed error, no hang, nothing lost.

``failing_calls/native_life.py`` lives with a bridge, an agent program and a plug-in's host;
``failing_calls/python_life.py`` with a journal and a session in a Python program. Here are a few
dozen of their calls, drawn by a seed; the long tests, ``make failing-calls``, take them all.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

PARTS = Path(__file__).parent / "failing_calls"
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(PARTS))

from control import CLASSES, Case, Control, cases_of  # noqa: E402 - beside this file
from native_life import Places, Seen, Wrong, live  # noqa: E402

pytestmark = [pytest.mark.native, pytest.mark.timeout(120)]
SEED = int(os.environ.get("FAILING_CALLS_SEED", "1"))
SCOPES = {"journal": ("apsw",), "client": ("_native/_ext",)}
"""Modules whose calls fail in a Python program."""


def tool(name: str) -> Path:
    """Find what `tools/test-native plain` builds."""
    found = Path(os.environ.get("TANDEM_NATIVE_TOOLS", ""), name)
    if not found.is_file():
        reason = f"{name} is not built: `tools/test-native plain` does"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    native = Path(str(files("tandem_orchestrator._native")))
    made = tmp_path_factory.mktemp("words") / "words.so"
    source = ROOT / "examples" / "c_agent_plugin" / "plugin.c"
    subprocess.run(
        ["cc", "-std=c11", "-shared", "-fPIC", f"-I{native / 'include'}", str(source),
         "-o", str(made)],
        check=True,
    )  # fmt: skip
    return Places(
        tool("td_failing_calls.so"), native / "bin" / "agent_bridge", tool("agent_test_program"),
        made,
    )  # fmt: skip


def drawn(cases: list[Case], total: int) -> list[Case]:
    """Draw so many, of as many kinds as there are."""
    rng = random.Random(SEED)  # no secret
    found: list[Case] = []
    left = list(cases)
    while left and len(found) < total:
        rng.shuffle(left)
        kinds = {(case.kind, case.times, case.errno): case for case in left}
        found += kinds.values()
        left = [case for case in left if case not in found]
    rng.shuffle(found)
    return found[:total]


def without_lasting(cases: list[Case], *kinds: str) -> list[Case]:
    """Leave out kinds that fail from one call on: a peer's bell that never rings, say.

    All works then, too, but only by the timed looks and the limits on waits: seconds a life.
    """
    return [case for case in cases if case.times == 1 or case.kind not in kinds]


# --- bridge, agent, host ---------------------------------------------------------------------------


def lives(folder: Path, places: Places, victim: str, total: int) -> tuple[Seen, list[Seen]]:
    """Live without faults, then once for each case drawn."""
    clean = live(folder / "clean", places, victim, None)
    seen = []
    cases = cases_of(clean.counts)
    if total < len(cases):
        cases = without_lasting(cases, "write", "socket")
    for number, case in enumerate(drawn(cases, total)):
        one = live(folder / f"l{number}", places, victim, case)
        held = zip(one.held, clean.held, strict=False)
        assert all(now <= before for now, before in held), (
            f"{case}: descriptors, shared memory and threads are {one.held}, not {clean.held}"
        )
        seen.append(one)
    return clean, seen


@pytest.mark.parametrize("victim", ["bridge", "agent", "host"])
def test_a_failing_call_of_a_native_process_is_a_typed_error_and_passes(
    tmp_path: Path, places: Places, victim: str
) -> None:
    _, seen = lives(tmp_path, places, victim, {"bridge": 30, "agent": 12, "host": 8}[victim])
    assert sum(one.failed > 0 for one in seen) >= len(seen) / 2


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("victim", ["bridge", "agent", "host"])
def test_every_call_of_a_native_process_fails_in_turn(
    tmp_path: Path, places: Places, victim: str
) -> None:
    clean, seen = lives(tmp_path, places, victim, 1 << 30)
    print(victim, clean.counts, len(seen), sum(one.failed > 0 for one in seen))


def test_a_long_message_for_many_goes_as_copies_where_no_descriptor_can_be_sent(
    tmp_path: Path, places: Places
) -> None:
    clean = live(tmp_path / "clean", places, "bridge", None)
    sends = clean.counts["send"]
    assert sends > 4, "WELCOMEs, and one descriptor for each destination"
    for first in range(sends - 1, sends + 1):
        seen = live(tmp_path / f"l{first}", places, "bridge", Case("send", first, 1 << 62))
        assert seen.answers == clean.answers


def test_the_same_life_finds_an_agent_that_does_not_check_its_memory(
    tmp_path: Path, places: Places
) -> None:
    source = ROOT / "native" / "src" / "agentlib" / "agent_test_program.c"
    text = source.read_text()
    planted = text.replace("if (made == NULL)", "if (0)")
    assert planted != text
    (tmp_path / "careless.c").write_text(planted)
    native = places.bridge.parents[1]
    subprocess.run(
        ["cc", "-std=c11", "-D_GNU_SOURCE", f"-I{native / 'include'}", "careless.c",
         str(native / "lib" / "libtandem_agent.a"), "-pthread", "-o", "careless"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    careless = Places(places.shim, places.bridge, tmp_path / "careless", places.plugin)
    clean = live(tmp_path / "clean", careless, "agent", None)
    found = []
    for first in range(1, clean.counts["malloc"] + 1):
        try:
            live(tmp_path / f"l{first}", careless, "agent", Case("malloc", first))
        except Wrong as one:
            found.append(str(one))
    assert any("agent ended by signal 11" in text for text in found), found


# --- a Python program ------------------------------------------------------------------------------


def python_lives(
    folder: Path, part: str, cases: list[Case], plant: str = ""
) -> list[dict[str, Any]]:
    """Run ``python_life.py``: two lives without faults, then one a case."""
    folder.mkdir(mode=0o700)
    control = Control(folder / "control", *SCOPES[part])
    order = {
        "part": part, "folder": str(folder), "plant": plant,
        "cases": [[case.kind, case.first, case.times, case.errno] for case in cases],
    }  # fmt: skip
    (folder / "order").write_text(json.dumps(order))
    with subprocess.Popen(
        [sys.executable, "-P", str(PARTS / "python_life.py"), str(folder / "order")],
        env=os.environ | control.environment(tool("td_failing_calls.so")),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        said, errors = process.communicate(timeout=3500)
    rows: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    where = f"{control.where}, after {rows[-1]['case'] if rows else 'nothing'}"
    control.close()
    assert process.returncode == 0, f"{process.returncode} at {where}: {errors[-2000:]}"
    assert len(rows) == len(cases) + 2
    return rows


def all_cases(folder: Path, part: str) -> list[Case]:
    """List the calls that a life without faults makes, twice what is made the first time only."""
    return cases_of(python_lives(folder, part, [])[1]["counts"], CLASSES)


def wrong(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['case']}: {row['wrong']}" for row in rows if row["wrong"]]


@pytest.mark.parametrize("part", SCOPES)
def test_a_failing_call_in_a_python_program_is_a_typed_error_and_loses_nothing(
    tmp_path: Path, part: str
) -> None:
    cases = drawn(without_lasting(all_cases(tmp_path / "c", part), "lock"), 16)
    rows = python_lives(tmp_path / "l", part, cases)
    assert wrong(rows) == []
    assert sum(row["failed"] > 0 for row in rows) >= len(rows) / 2
    answers = sum((Counter(row["answers"]) for row in rows), Counter[str]())
    assert any(name.endswith("Error") for name in answers), answers


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", SCOPES)
def test_every_call_in_a_python_program_fails_in_turn(tmp_path: Path, part: str) -> None:
    cases = [
        case
        for case in all_cases(tmp_path / "c", part)
        if case.times == 1 or (case.kind != "lock" and case.first % 20 == 1)
    ]
    began = time.monotonic()
    rows = python_lives(tmp_path / "l", part, cases)
    assert wrong(rows) == []
    print(part, len(rows), sum(row["failed"] > 0 for row in rows), time.monotonic() - began)


def test_the_same_life_finds_a_journal_that_overlooks_failing_writes(tmp_path: Path) -> None:
    clean = python_lives(tmp_path / "c", "journal", [])[1]["counts"]["write"]
    cases = [Case("write", clean * n // 12) for n in (4, 7, 9, 11)]
    rows = python_lives(tmp_path / "l", "journal", cases, plant="overlook")
    assert any("acknowledged" in text for text in wrong(rows)), wrong(rows)
