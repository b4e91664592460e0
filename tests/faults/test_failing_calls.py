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
from collections.abc import Callable
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
SCOPES = {"journal": ("apsw",), "client": ("_native/_ext",), "program": ()}
"""Modules whose calls fail in a Python program; none named: all."""
NOT_OF_A_PROGRAM = ("malloc", "mmap", "read", "receive")
"""CPython's own memory, reading of modules, waking of its loop: they say nothing of Tandem."""


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
        one = live(folder / f"l{number}", places, victim, case, clean)
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


def test_a_door_that_does_not_open_is_tried_again(tmp_path: Path, places: Places) -> None:
    clean = live(tmp_path / "clean", places, "bridge", None)
    last = clean.counts["epoll"]
    for first in range(last - 7, last + 1):  # by then all are inside, and the door moves
        live(tmp_path / f"l{first}", places, "bridge", Case("epoll", first), clean)


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


Choose = Callable[[list[Case]], list[Case]]


def python_lives(folder: Path, part: str, choose: Choose, plant: str = "") -> list[dict[str, Any]]:
    """Run ``python_life.py``: a life without faults, then one for each case that is chosen."""
    control = Control(folder / "control", *SCOPES[part])
    order = {"part": part, "folder": str(folder), "plant": plant}
    kinds = [kind for kind in CLASSES if part != "program" or kind not in NOT_OF_A_PROGRAM]
    rows: list[dict[str, Any]] = []
    with (
        (folder / "stderr").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-P", str(PARTS / "python_life.py"), json.dumps(order)],
            env=os.environ | control.environment(tool("td_failing_calls.so")),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        cases: list[Case] = []
        for line in process.stdout:
            rows.append(json.loads(line))
            if len(rows) == 2:  # the first one warms up: modules are read, caches filled
                cases = choose(cases_of(rows[1]["counts"], tuple(kinds)))
                told = [[case.kind, case.first, case.times, case.errno] for case in cases]
                process.stdin.write(json.dumps(told) + "\n")
                process.stdin.flush()
    where = f"{control.where}, after {rows[-1]['case'] if rows else 'nothing'}"
    control.close()
    said = (folder / "stderr").read_text()[-2000:]
    assert process.returncode == 0, f"{process.returncode} at {where}: {said}"
    assert len(rows) == len(cases) + 2
    return rows


def wrong(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['case']}: {row['wrong']}" for row in rows if row["wrong"]]


@pytest.mark.parametrize("part", ["journal", "client"])
def test_a_failing_call_in_a_python_program_is_a_typed_error_and_loses_nothing(
    tmp_path: Path, part: str
) -> None:
    rows = python_lives(tmp_path, part, lambda cases: drawn(without_lasting(cases, "lock"), 16))
    assert wrong(rows) == []
    assert sum(row["failed"] > 0 for row in rows) >= len(rows) / 2
    answers = sum((Counter(row["answers"]) for row in rows), Counter[str]())
    assert any(name != "OK" and not name.startswith("status") for name in answers), answers


def test_a_program_without_threads_or_descriptors_says_so_and_goes_on(tmp_path: Path) -> None:
    kinds = ("thread", "pipe", "socket", "epoll", "fork")

    def choose(cases: list[Case]) -> list[Case]:
        return drawn([case for case in cases if case.kind in kinds and case.times == 1], 12)

    rows = python_lives(tmp_path, "program", choose)
    assert wrong(rows) == []
    assert sum(row["failed"] for row in rows) >= 10


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", SCOPES)
def test_every_call_in_a_python_program_fails_in_turn(tmp_path: Path, part: str) -> None:
    def choose(cases: list[Case]) -> list[Case]:
        return [
            case
            for case in cases
            if case.times == 1 or (case.kind != "lock" and case.first % 20 == 1)
        ]

    began = time.monotonic()
    rows = python_lives(tmp_path, part, choose)
    assert wrong(rows) == []
    print(part, len(rows), sum(row["failed"] > 0 for row in rows), time.monotonic() - began)


def test_the_same_life_finds_a_journal_that_overlooks_failing_writes(tmp_path: Path) -> None:
    def choose(cases: list[Case]) -> list[Case]:
        writes = [case for case in cases if case.kind == "write" and case.times == 1]
        writes = [case for case in writes if case.errno != 0]
        return [writes[len(writes) * n // 12] for n in (4, 7, 9, 11)]

    rows = python_lives(tmp_path, "journal", choose, plant="overlook")
    assert any("acknowledged" in text for text in wrong(rows)), wrong(rows)
