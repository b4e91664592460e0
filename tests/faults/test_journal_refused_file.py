"""A journal that cannot be used where it lies: exit code 5, the file's name, and what to do.

Nothing is repaired or replaced behind the user's back: the file stays as it was, byte for byte.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, JournalError, TandemOrchestrator
from tandem_orchestrator.layers.native import find_native_files

NOBODY = 65534
WAIT_S = 30.0
OFF = ["--set", "c_layer.enabled=false"]
FOLDER = "it must be a file in a folder that this user may write"
DAMAGED = "the file is damaged; keep a copy of it with its -wal file"
CLI = "import tandem_orchestrator.cli as c; raise SystemExit(c.main())"


@pytest.fixture
def one(tmp_path: Path) -> Path:
    file = tmp_path / "one.json"
    step = {"id": "a", "agent": "system", "action": "echo", "payload": {"word": "needle" * 9}}
    file.write_text(json.dumps({"name": "one", "steps": [step]}))
    return file


def tandem(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", CLI, *arguments],
        check=False, timeout=WAIT_S, capture_output=True, text=True,
    )  # fmt: skip


# --- a folder that may not be written ------------------------------------------------------------

AS_NOBODY = f"""
import contextlib, io, json, os, sys
from tandem_orchestrator.cli.app import run_app

def at(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_app([*arguments, "--json"])
    return [code, out.getvalue(), err.getvalue()]

file, other, journals = sys.argv[1], sys.argv[2], sys.argv[3:]
# Everything is loaded while the interpreter's own files may still be read.
warm = [at("run", file, *{OFF!r}, "--journal", other), at("doctor", *{OFF!r}, "--journal", other)]
assert [code for code, *_ in warm] == [0, 0], warm
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
said = {{
    journal: [
        at("run", file, *{OFF!r}, "--journal", journal),
        at("doctor", *{OFF!r}, "--journal", journal),
    ]
    for journal in journals
}}
print(json.dumps(said))
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A place that any user may read, with folders that only its owner may write."""
    place = Path(tempfile.mkdtemp(prefix="tandem-ro-"))
    place.chmod(0o755)
    yield place
    for folder in [place, *place.rglob("*")]:
        if folder.is_dir():
            folder.chmod(0o755)
    shutil.rmtree(place)


def test_a_folder_that_may_not_be_written_is_refused_with_5_for_any_user(
    open_to_all: Path, one: Path
) -> None:
    place = open_to_all
    file = place / "one.json"
    shutil.copy(one, file)
    file.chmod(0o644)
    (place / "closed").mkdir()
    made = place / "made"
    made.mkdir()
    assert tandem("run", str(file), *OFF, "--journal", str(made / "j.db")).returncode == 0
    (made / "j.db").chmod(0o444)
    (place / "file").write_text("no folder")
    journals = [
        place / "closed" / "j.db",  # cannot be made
        place / "closed" / "deeper" / "j.db",  # nor its folder
        made / "j.db",  # is there, and may not be written
        place / "file" / "j.db",  # lies below a file
    ]
    before = (made / "j.db").read_bytes()
    for folder in (place / "closed", made):
        folder.chmod(0o555)
    environ = {**os.environ, "XDG_CONFIG_HOME": str(place), "HOME": str(place)}
    child = subprocess.run(
        [sys.executable, "-P", "-c", AS_NOBODY, str(file), str(place / "other.db"),
         *map(str, journals)],
        check=True, timeout=WAIT_S, capture_output=True, text=True, env=environ, cwd=place,
    )  # fmt: skip
    for journal, (run, doctor) in json.loads(child.stdout).items():
        code, out, _ = run
        shown = json.loads(out)
        assert (code, shown["status"], shown["error_type"]) == (5, "refused", "JournalError"), out
        assert shown["error"].startswith(f"journal {journal}: "), shown["error"]
        assert shown["error"].endswith(FOLDER), shown["error"]
        code, out, _ = doctor
        findings = {finding["what"]: finding for finding in json.loads(out)["findings"]}
        assert (code, findings["journal"]["state"]) == (5, "broken")
        assert journal in findings["journal"]["detail"]
        assert "--journal or TANDEM_JOURNAL" in findings["journal"]["mend"]
    assert (made / "j.db").read_bytes() == before
    assert list((place / "closed").iterdir()) == []


# --- a file that is damaged, or none of ours -----------------------------------------------------


@pytest.fixture
def good(tmp_path: Path, one: Path) -> tuple[Path, str]:
    """A journal with one completed run in it; and the run's id."""
    path = tmp_path / "j.db"
    shown = tandem("run", str(one), *OFF, "--journal", str(path), "--json")
    assert shown.returncode == 0, shown
    return path, json.loads(shown.stdout)["run_id"]


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 3 * 4096 // 2])


def zeroed_pages(path: Path) -> None:
    kept = path.read_bytes()
    path.write_bytes(kept[:4096] + bytes(len(kept) - 4096))


def another_programs(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA application_id = 77")
        other.execute("CREATE TABLE theirs (x)")
    other.close()


def of_the_future(path: Path) -> None:
    with sqlite3.connect(path) as ours:
        ours.execute("PRAGMA user_version = 900")
    ours.close()
    for left in path.parent.glob(f"{path.name}-*"):
        left.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CASES: list[Any] = [
    (noise, DAMAGED),
    pytest.param(cut_short, DAMAGED, marks=pytest.mark.long),
    pytest.param(zeroed_pages, DAMAGED, marks=pytest.mark.long),
    (another_programs, "is an SQLite file of another program"),
    (of_the_future, "was written by a newer Tandem"),
    (a_folder, FOLDER),
]


@pytest.mark.parametrize(("spoil", "advice"), CASES, ids=lambda case: getattr(case, "__name__", ""))
async def test_a_file_that_is_no_sound_journal_is_refused_and_left_as_it_is(
    good: tuple[Path, str], one: Path, spoil: Callable[[Path], None], advice: str
) -> None:
    path, _ = good
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    refused = tandem("run", str(one), *OFF, "--journal", str(path))
    assert refused.returncode == 5, refused
    assert refused.stdout == "" and refused.stderr.count("\n") == 1, refused
    assert str(path) in refused.stderr and advice in refused.stderr
    if advice == DAMAGED:
        assert "move it away to start a new one" in refused.stderr

    config = {"journal": {"path": str(path)}, "c_layer": {"enabled": find_native_files().usable}}
    orchestrator = TandemOrchestrator(config)
    with pytest.raises(JournalError) as caught:
        await orchestrator.initialize()
    assert str(path) in str(caught.value) and advice in str(caught.value)
    await orchestrator.close()
    assert (path.read_bytes() if path.is_file() else b"") == before

    # What was advised works.
    path.rename(path.with_name("kept.db"))
    for left in path.parent.glob("j.db-*"):
        left.unlink()
    assert tandem("run", str(one), *OFF, "--journal", str(path)).returncode == 0


async def test_a_record_that_was_changed_is_noticed_by_every_reader_and_the_rest_works_on(
    good: tuple[Path, str], one: Path
) -> None:
    path, run_id = good
    raw = path.read_bytes()
    assert raw.count(b"needle") > 1
    path.write_bytes(raw.replace(b"needle", b"noodle"))
    for words in (["runs", "show", run_id], ["explain", run_id]):
        refused = tandem(*words, "--journal", str(path))
        assert refused.returncode == 5, refused
        assert refused.stdout == ""
        assert f"journal {path}: run {run_id}, record " in refused.stderr
        assert "was changed, lost or damaged since it was written" in refused.stderr
    step = CommandStep(id="a", agent="system", action="echo", payload=1)
    config: dict[str, Any] = {"journal": {"path": str(path)}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as orchestrator:
        with pytest.raises(JournalError, match="was changed, lost or damaged"):
            await orchestrator.view(run_id)
        result = await orchestrator.execute_command_set(CommandSet(steps=[step]))
        assert result["status"] == "completed"
        assert (await orchestrator.run(result["run_id"]).result())["results"] == {"a": 1}


def test_a_folder_that_cannot_be_made_is_answered_with_where_a_journal_may_be() -> None:
    done = tandem("run", "document_generation", *OFF, "--journal", "/proc/no_such/j.db")

    assert done.returncode == 5
    assert "it must be a file in a folder that this user may write" in done.stderr
    assert "acknowledged" not in done.stderr
