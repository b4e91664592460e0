"""``tandem serve``: schedules fire, runs are taken over, and signals end it cleanly."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.journal.sqlite import SqliteJournal

WAIT_S = 60.0
APP = """
import asyncio, os
from pathlib import Path
from tandem_orchestrator import Agent

agent = Agent("work")

def note(name, text):
    with Path(__file__).with_name(name).open("a") as file:
        file.write(text + "\\n")

@agent.action("tick", effects="none")
def tick(payload, ctx):
    note("ticks", ctx.run_id)

@agent.action("slow", effects="none")
async def slow(payload, ctx):
    note("slow", str(os.getpid()))
    while not Path(__file__).with_name("go").exists():
        await asyncio.sleep(0.01)
    return os.getpid()

def several(tandem):
    tandem.add_agent(agent)

def nothing():
    pass
"""


class Served:
    """Programs that serve one journal."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.journal = folder, folder / "j.db"
        self.programs: list[subprocess.Popen[str]] = []
        (folder / "app.py").write_text(APP)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start one and wait until it serves."""
        arguments = ["serve", "--journal", str(self.journal), "--app", "app:several", *options]
        program = subprocess.Popen(
            [sys.executable, "-P", "-m", "tandem_orchestrator", *arguments],
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"HOME": str(self.folder), "TANDEM_C_LAYER__ENABLED": "false"},
        )
        self.programs.append(program)
        assert program.stderr is not None
        assert "serves" in program.stderr.readline()
        return program

    def config(self, **journal: Any) -> dict[str, Any]:
        return {"journal": {"path": str(self.journal), **journal}, "c_layer": {"enabled": False}}

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = Served(tmp_path)
    yield made
    for program in made.programs:
        program.kill()
        program.communicate(timeout=WAIT_S)


def until(condition: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


async def left_behind(served: Served) -> str:
    """Have a run in the journal that its program gave back."""
    tandem = TandemOrchestrator(served.config())
    agent = tandem.register_agent("work")

    @agent.action("slow", effects="none")
    async def slow(payload: Any) -> None:
        import asyncio

        await asyncio.Event().wait()

    await tandem.initialize()
    steps = [CommandStep(id="s", agent="work", action="slow")]
    run = await tandem.submit(CommandSet(name="left", steps=steps))
    await tandem.close(give_back=True)
    return run.id


async def result_of(served: Served, run_id: str) -> dict[str, Any]:
    async with TandemOrchestrator(served.config(recover=False, schedules=False)) as tandem:
        return await tandem.run(run_id).result()


async def test_schedules_fire_and_each_occurrence_once_under_two(served: Served) -> None:
    async with TandemOrchestrator(served.config(schedules=False)) as tandem:
        tandem.register_agent("work").action("tick", effects="none")(lambda payload: None)
        steps = [CommandStep(id="t", agent="work", action="tick")]
        await tandem.schedules.add("each", CommandSet(name="tick", steps=steps), every_s=1)
    programs = [served.start() for _ in range(2)]
    until(lambda: len(served.lines("ticks")) >= 3)
    for program in programs:
        program.send_signal(signal.SIGTERM)
    said = [program.communicate(timeout=WAIT_S)[1] for program in programs]
    assert [program.returncode for program in programs] == [0, 0]
    assert all("SIGTERM: ends" in text and "tandem serve: ended;" in text for text in said)
    assert sum(text.count(" completed in ") for text in said) >= 3
    journal = SqliteJournal(served.journal)
    await journal.open(None)
    keys = Counter()
    for row in await journal.runs(limit=1000):
        (first, *_) = await journal.records(row.run_id, limit=1)
        keys[first.event.idempotency_key] += 1
    await journal.close()
    assert set(keys.values()) == {1}


async def test_where_one_is_killed_the_other_goes_on(served: Served) -> None:
    run_id = await left_behind(served)
    one = served.start()
    until(lambda: len(served.lines("slow")) == 1)
    other = served.start()
    assert served.lines("slow") == [str(one.pid)], "it has one owner"
    one.send_signal(signal.SIGKILL)
    one.wait(WAIT_S)
    until(lambda: len(served.lines("slow")) == 2)
    (served.folder / "go").touch()
    result = await result_of(served, run_id)
    assert (result["status"], result["results"]["s"]) == ("completed", other.pid)


async def test_a_signal_lets_runs_end_within_the_time_they_get(served: Served) -> None:
    run_id = await left_behind(served)
    one = served.start("--drain", "30")
    until(lambda: served.lines("slow"))
    one.send_signal(signal.SIGINT)
    assert one.stderr is not None
    until(lambda: "SIGINT: ends" in one.stderr.readline())
    (served.folder / "go").touch()
    one.communicate(timeout=WAIT_S)
    assert one.returncode == 0
    result = await result_of(served, run_id)
    assert (result["status"], result["results"]["s"]) == ("completed", one.pid)


async def test_what_does_not_end_in_time_is_given_back_and_the_next_one_ends_it(
    served: Served,
) -> None:
    run_id = await left_behind(served)
    one = served.start("--drain", "0")
    until(lambda: served.lines("slow"))
    one.send_signal(signal.SIGTERM)
    one.communicate(timeout=WAIT_S)
    assert one.returncode == 0
    async with TandemOrchestrator(served.config(recover=False, schedules=False)) as tandem:
        (row,) = await tandem.runs()
    assert row.status == "interrupted"
    (served.folder / "go").touch()
    two = served.start()
    result = await result_of(served, run_id)
    assert (result["status"], result["results"]["s"]) == ("completed", two.pid)


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("app", "expected MODULE:OBJECT"),
        ("nowhere:x", "ModuleNotFoundError"),
        ("app:missing", "AttributeError"),
        ("app:APP", "it is a str"),
    ],
)
def test_an_app_that_is_none_is_a_usage_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    app: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "app", raising=False)
    (tmp_path / "app.py").write_text("APP = 'text'")
    assert run_app(["serve", "--app", app, "--journal", ":memory:"]) == 2
    assert said in capsys.readouterr().err
    sys.modules.pop("app", None)
