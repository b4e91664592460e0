"""An orchestrator's life: who may use it and when, several at one time, and an exit without close."""

import asyncio
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    Busy,
    Closed,
    CommandError,
    CommandSet,
    CommandStep,
    Forked,
    IdempotencyMismatch,
    NotInitialized,
    TandemOrchestrator,
    WrongLoop,
)
from tandem_orchestrator.testing import settle

Open = Callable[..., TandemOrchestrator]
CLI = "import tandem_orchestrator.cli as c; raise SystemExit(c.main())"
WAIT_S = 20.0
"""Longest wait for something that is certain to come; only a broken test needs it."""


def noop() -> CommandSet:
    """Ask for nothing, once."""
    return CommandSet(steps=[CommandStep(agent="system", action="noop")])


async def test_before_initialize_runs_are_refused_and_the_rest_works(open_tandem: Open) -> None:
    tandem = open_tandem()
    tandem.register_agent("early").action("do")(lambda payload: "early")

    for attempt in (tandem.execute_command_set, tandem.submit):
        with pytest.raises(NotInitialized, match="initialize"):
            await attempt(noop())
    for call in (
        lambda: tandem.validate(noop()),
        lambda: tandem.run("any"),
        tandem.journal_health,
    ):
        with pytest.raises(NotInitialized):
            call()
    with pytest.raises(NotInitialized):
        await tandem.runs()
    assert tandem.get_metrics()["execution_stats"] == {}

    await tandem.initialize()
    await tandem.initialize()  # repeating it does nothing
    asked = CommandSet(steps=[CommandStep(agent="early", action="do")])
    assert (await tandem.execute_command_set(asked))["results"] == {"s1": "early"}


async def test_after_close_everything_is_refused_and_closing_again_does_nothing(
    open_tandem: Open,
) -> None:
    tandem = open_tandem()
    await tandem.initialize()
    await tandem.close()
    await tandem.close()

    for attempt in (tandem.execute_command_set, tandem.submit):
        with pytest.raises(Closed):
            await attempt(noop())
    with pytest.raises(Closed):
        await tandem.initialize()


async def test_one_that_was_closed_unopened_stays_closed(open_tandem: Open) -> None:
    tandem = open_tandem()
    await tandem.close()

    with pytest.raises(Closed):
        await tandem.initialize()


async def test_another_loop_is_refused(tandem: TandemOrchestrator) -> None:
    def from_a_thread() -> None:
        asyncio.run(tandem.execute_command_set(noop()))

    with pytest.raises(WrongLoop, match="belongs to the event loop that initialised it"):
        await asyncio.to_thread(from_a_thread)


async def test_a_forked_child_is_refused_and_the_parent_goes_on(
    tandem: TandemOrchestrator,
) -> None:
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: the point here
        pid = os.fork()
    if pid == 0:
        try:
            tandem.validate(noop())
            os.write(write_end, b"no error")
        except Forked as error:
            os.write(write_end, f"Forked {error}".encode())
        except Exception as error:  # noqa: BLE001 - told to the parent
            os.write(write_end, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    told = os.read(read_end, 1000).decode()
    os.close(read_end)
    os.waitpid(pid, 0)

    assert told.startswith("Forked ") and "parent process" in told
    assert (await tandem.execute_command_set(noop()))["status"] == "completed"


async def test_several_orchestrators_share_nothing_but_a_journal_they_are_given(
    open_tandem: Open, tmp_path: Path
) -> None:
    journal = {"journal": {"path": str(tmp_path / "j.db")}}
    one, two, apart = open_tandem(journal), open_tandem(journal), open_tandem()
    for tandem in (one, two, apart):
        await tandem.initialize()
    one.register_agent("only_one").action("do")(lambda payload: 1)
    asked = CommandSet(steps=[CommandStep(agent="only_one", action="do")])

    result = await one.execute_command_set(asked)

    with pytest.raises(CommandError, match="there is no agent 'only_one'"):
        await two.execute_command_set(asked)
    assert [row.run_id for row in await two.runs()] == [result["run_id"]]
    assert await apart.runs() == []
    assert (await two.run(result["run_id"]).result())["results"] == {"s1": 1}


async def test_a_run_that_is_not_in_the_journal_is_an_error_naming_it(
    tandem: TandemOrchestrator,
) -> None:
    with pytest.raises(CommandError, match="'nosuch': there is no such run"):
        await tandem.run("nosuch").result()


async def test_the_events_of_a_run_can_be_followed_by_several(tandem: TandemOrchestrator) -> None:
    run = await tandem.submit(noop())

    async def kinds() -> list[str]:
        return [event["kind"] async for event in run.events()]

    first, second = await asyncio.gather(kinds(), kinds())

    assert first == second
    assert first[0] == "run_accepted" and first[-1] == "run_ended"
    assert "step_ended" in first


NEVER_CLOSED = """
import asyncio, json, sys
from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator

async def main():
    tandem = TandemOrchestrator()
    await tandem.initialize()
    agent = tandem.register_agent("t")

    @agent.action("block")
    def block(payload):
        __import__("threading").Event().wait()  # for ever

    asked = CommandSet(steps=[CommandStep(agent="system", action="echo", payload=1)])
    result = await tandem.execute_command_set(asked)
    await tandem.submit(CommandSet(steps=[CommandStep(agent="t", action="block")]))
    await asyncio.sleep(0.05)
    print(json.dumps([result["status"], result["run_id"]]), flush=True)

asyncio.run(main())
"""


@pytest.mark.native
def test_one_that_is_never_closed_does_not_delay_the_exit_and_its_runs_are_in_the_journal(
    tmp_path: Path, own_home: Path
) -> None:
    script = tmp_path / "never_closed.py"
    script.write_text(NEVER_CLOSED)
    program = subprocess.Popen(
        [sys.executable, "-P", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    status, run_id = json.loads(program.stdout.readline())
    printed_at = time.monotonic()
    _, errors = program.communicate(timeout=20)
    delay_s = time.monotonic() - printed_at

    assert (status, program.returncode) == ("completed", 0), errors
    assert delay_s < 10, "the exit waited for a thread that never ends"
    shown = subprocess.run(
        [sys.executable, "-P", "-c", CLI, "runs", "list", "--json"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    rows = {row["run_id"]: row["status"] for row in json.loads(shown.stdout)}
    assert rows.pop(run_id) == "completed"
    assert list(rows.values()) == ["interrupted"]


# --- one key, one run ----------------------------------------------------------------------------


def keyed(payload: Any = 1, **fields: Any) -> CommandSet:
    """Ask for an echo under a key."""
    step = CommandStep(agent="system", action="echo", payload=payload)
    return CommandSet(id="label", steps=[step], idempotency_key="order-7", **fields)


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_the_same_key_with_the_same_body_gives_the_same_run(
    open_tandem: Open, tmp_path: Path, kind: str
) -> None:
    path = ":memory:" if kind == "memory" else str(tmp_path / "j.db")
    tandem = open_tandem({"journal": {"path": path}})
    await tandem.initialize()

    first = await tandem.execute_command_set(keyed())
    again = await tandem.execute_command_set(keyed())
    inputs = await asyncio.gather(*(tandem.submit(keyed()) for _ in range(5)))

    assert again == first
    assert {run.id for run in inputs} == {first["run_id"]}
    assert tandem.get_metrics()["execution_stats"]["intelligent"]["runs"] == 1
    assert len(await tandem.runs()) == 1


@pytest.mark.parametrize(
    ("asked", "inputs"),
    [(keyed(2), None), (keyed(), {"x": 1}), (keyed(name="other"), None)],
    ids=["payload", "inputs", "name"],
)
async def test_the_same_key_with_another_body_is_a_mismatch_and_runs_nothing(
    tandem: TandemOrchestrator, asked: CommandSet, inputs: Any
) -> None:
    first = await tandem.execute_command_set(keyed())

    with pytest.raises(IdempotencyMismatch, match="'order-7'") as refused:
        await tandem.execute_command_set(asked, inputs=inputs)

    assert first["run_id"] in str(refused.value)
    assert len(await tandem.runs()) == 1


async def test_the_label_that_is_made_up_for_a_set_is_no_part_of_the_body(
    tandem: TandemOrchestrator,
) -> None:
    one, two = (
        CommandSet(steps=[CommandStep(agent="system", action="noop")], idempotency_key="k")
        for _ in range(2)
    )

    assert (await tandem.submit(one)).id == (await tandem.submit(two)).id


# --- admission -----------------------------------------------------------------------------------


class Hall:
    """An agent whose handler waits until it is let go, and the order in which runs began."""

    def __init__(self, tandem: TandemOrchestrator) -> None:
        self.began: list[str] = []
        self.doors: dict[str, asyncio.Event] = {}

        @tandem.register_agent("t").action("stay")
        async def stay(payload: str) -> None:
            self.began.append(payload)
            await self.doors.setdefault(payload, asyncio.Event()).wait()

    def ask(self, name: str, priority: str = "medium") -> CommandSet:
        """Make a set with one step that stays."""
        step = CommandStep(agent="t", action="stay", payload=name)
        return CommandSet(name=name, priority=priority, steps=[step])

    def let_go(self, name: str) -> None:
        """End a step that stays."""
        self.doors.setdefault(name, asyncio.Event()).set()


async def test_runs_wait_for_a_place_and_the_more_urgent_go_first(open_tandem: Open) -> None:
    tandem = open_tandem({"orchestrator": {"max_parallel_workflows": 2}})
    await tandem.initialize()
    hall = Hall(tandem)
    names = [
        ("a", "medium"),
        ("b", "medium"),
        ("c", "low"),
        ("d", "medium"),
        ("e", "critical"),
        ("f", "medium"),
        ("g", "background"),
    ]
    runs = {name: await tandem.submit(hall.ask(name, priority)) for name, priority in names}
    await settle()
    assert hall.began == ["a", "b"]
    assert {row.name: row.status for row in await tandem.runs()} == {
        "a": "running",
        "b": "running",
        **dict.fromkeys("cdefg", "queued"),
    }

    for name in "abedfcg":
        hall.let_go(name)
        assert (await asyncio.wait_for(runs[name].result(), WAIT_S))["status"] == "completed"
        await settle()

    assert hall.began == ["a", "b", "e", "d", "f", "c", "g"]


async def test_a_full_queue_is_busy_naming_its_bound_and_takes_runs_again_later(
    open_tandem: Open,
) -> None:
    tandem = open_tandem({"orchestrator": {"max_parallel_workflows": 1, "max_queued_runs": 1}})
    await tandem.initialize()
    hall = Hall(tandem)
    first, second = await tandem.submit(hall.ask("a")), await tandem.submit(hall.ask("b"))

    with pytest.raises(Busy, match=r"orchestrator\.max_queued_runs"):
        await tandem.submit(hall.ask("c"))
    assert len(await tandem.runs()) == 2

    hall.let_go("a")
    await asyncio.wait_for(first.result(), WAIT_S)
    third = await tandem.submit(hall.ask("d"))
    for name in "bd":
        hall.let_go(name)
    assert (await asyncio.wait_for(third.result(), WAIT_S))["status"] == "completed"
    assert (await second.result())["status"] == "completed"


async def test_a_queued_run_that_is_cancelled_never_begins(open_tandem: Open) -> None:
    tandem = open_tandem({"orchestrator": {"max_parallel_workflows": 1}})
    await tandem.initialize()
    hall = Hall(tandem)
    first, second = await tandem.submit(hall.ask("a")), await tandem.submit(hall.ask("b"))

    await second.cancel()
    result = await asyncio.wait_for(second.result(), WAIT_S)
    hall.let_go("a")
    await asyncio.wait_for(first.result(), WAIT_S)
    await settle()

    assert (result["status"], hall.began) == ("cancelled", ["a"])
    assert result["steps"]["s1"]["outcome"] == "skipped"
