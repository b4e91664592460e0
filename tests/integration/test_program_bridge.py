"""Programs through a real bridge: one crossing, an echo beside them, and a death under them."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.layers.native.binary import find_native_files
from tandem_orchestrator.layers.native.body import encode_body
from tandem_orchestrator.layers.native.environment import child_environment
from tandem_orchestrator.layers.native.launch import BridgeCommand, launch_bridge
from tandem_orchestrator.layers.native.process import spawn_program
from tandem_orchestrator.layers.native.program import ProgramRefused, compile_program, structure_of
from tandem_orchestrator.layers.native.programs import LOADED_MAX, Programs
from tandem_orchestrator.layers.native.session import Session
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import PlannedStep
from tandem_orchestrator.testing import settle

pytestmark = pytest.mark.native


@pytest.fixture
async def session(tmp_path: Path):
    """Give a session with a bridge of its own."""
    folder = tmp_path / "b"
    folder.mkdir(mode=0o700)
    command = BridgeCommand(
        find_native_files().bridge_path, str(folder / "bridge.sock"), child_environment(os.environ)
    )
    clock = SystemClock()
    process, client = await launch_bridge(
        command, name="t", spawn=spawn_program, clock=clock, timeout_s=10
    )
    session = Session(client)
    yield session
    session.close()
    await process.stop(1.0, clock)


def ids(session):
    return {name: action.action_id for name, action in session.actions.items()}


def echo(step_id, payload, *needs, **more):
    return PlannedStep(
        id=step_id, agent="system", action="echo", payload=payload, depends_on=needs, **more
    )


def sleep(step_id, seconds, *needs):
    return PlannedStep(
        id=step_id, agent="system", action="sleep", payload=seconds, depends_on=needs
    )


async def test_a_diamond_runs_in_one_crossing(session):
    steps = [
        echo("a", {"n": 3}),
        echo("b", {"$ref": "a#/n"}, "a"),
        echo("c", {"sum": [{"$ref": "a"}, {"$ref": "inputs#/k"}]}, "a"),
        echo("d", [{"$ref": "b"}, {"$ref": "c#/sum"}], "b", "c"),
    ]
    program = compile_program(steps, ids(session), {"d"})
    calls = session.stats()["calls"]
    rows = await Programs(session).run(program, {"k": "v"})
    assert [row.outcome for row in rows] == [Outcome.SUCCEEDED] * 4
    assert rows[3].output == [3, [{"n": 3}, "v"]]
    assert session.stats()["calls"] == calls + 2  # LOAD and RUN


async def test_steps_that_differ_in_values_alone_share_one_loaded_program(session):
    programs = Programs(session)
    for n in range(5):
        program = compile_program([echo("a", {"n": n})], ids(session), {"a"})
        [row] = await programs.run(program)
        assert row.output == {"n": n}
    assert programs.loads_total == 1


async def test_blocking_steps_run_side_by_side_and_the_program_goes_on_at_their_end(session):
    steps = [sleep("a", 0.2), sleep("b", 0.2), echo("c", [{"$ref": "a"}], "a", "b")]
    program = compile_program(steps, ids(session), {"c"})
    rows = await Programs(session).run(program)
    assert [row.outcome for row in rows] == [Outcome.SUCCEEDED] * 3
    assert rows[1].started_ns < rows[0].started_ns + rows[0].elapsed_ns
    assert rows[2].started_ns >= rows[0].elapsed_ns


async def test_an_echo_does_not_wait_for_a_long_program(session):
    steps = [echo("s0", 0), *(echo(f"s{i}", i, f"s{i - 1}") for i in range(1, 20_000))]
    program = compile_program(steps, ids(session), ())
    programs = Programs(session)
    await programs.run(program)
    # Both are in the ring before the bridge looks at either: no race with this thread's turns.
    bridge = session._client.bridge_pid
    os.kill(bridge, signal.SIGSTOP)
    try:
        long = asyncio.create_task(programs.run(program))
        await settle()
        _, answer = session.call(ids(session)["system", "echo"], encode_body("x"))
    finally:
        os.kill(bridge, signal.SIGCONT)
    await answer
    # Answers are taken in the order in which they came, so this holds however late we look.
    assert not long.done()
    await long


async def test_a_program_that_was_pushed_out_is_loaded_again(session):
    programs = Programs(session)
    # Ids and values are no part of a program; a time limit is.
    made = [
        compile_program([echo("a", n, timeout_s=60 + n)], ids(session), {"a"})
        for n in range(LOADED_MAX)
    ]
    for program in made:
        await programs.run(program)
    other = Programs(session)  # it does not know what the first one has loaded
    await other.run(compile_program([echo("new", 1)], ids(session), {"new"}))
    [row] = await programs.run(made[0])
    assert row.output == 0
    assert programs.loads_total == LOADED_MAX + 1


async def test_an_action_that_is_not_local_is_refused_by_name(session):
    program = compile_program([echo("a", 1)], {("system", "echo"): 9999}, ())
    with pytest.raises(ProgramRefused, match=r"UnknownAction.*id 9999"):
        await Programs(session).run(program)


async def test_a_deadline_stops_a_program_and_its_blocking_step(session):
    steps = [sleep("a", 30), echo("b", 1, "a")]
    program = compile_program(steps, ids(session), ())
    deadline_ns = SystemClock().monotonic_ns() + 100_000_000
    rows = await Programs(session).run(program, deadline_ns=deadline_ns)
    assert [row.outcome for row in rows] == [Outcome.TIMED_OUT, Outcome.NOT_STARTED]


async def test_a_cancel_stops_a_program(session):
    steps = [sleep("a", 30), echo("b", 1, "a")]
    program = compile_program(steps, ids(session), ())
    programs = Programs(session)
    await programs.run(compile_program([sleep("a", 0), echo("b", 1, "a")], ids(session), ()))
    task = asyncio.create_task(programs.run(program))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while session.in_flight:
        await asyncio.sleep(0.005)


async def test_steps_of_a_killed_bridge_are_unknown_and_later_ones_not_started(session):
    steps = [echo("a", 1), sleep("b", 30, "a"), echo("c", 1, "b"), echo("d", 1, "c")]
    program = compile_program(steps, ids(session), {"a"})
    task = asyncio.create_task(Programs(session).run(program))
    while not any(session.progress(call)[0] == 2 for call in list(session._waiting)):
        await asyncio.sleep(0.005)
    os.kill(session.bridge_pid, signal.SIGKILL)
    rows = await task
    assert [row.outcome for row in rows] == [
        Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.NOT_STARTED, Outcome.NOT_STARTED,
    ]  # fmt: skip


def test_structures_do_not_hold_values():
    one, values = structure_of([echo("a", {"x": 1})], {"a"})
    two, others = structure_of([echo("a", {"x": [2, "b"]})], {"a"})
    assert one == two
    assert values != others
