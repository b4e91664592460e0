"""Programs whose steps agents do: sent, answered, lost with their agent, waiting for room."""

import asyncio
import importlib.resources
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.layers.native.binary import find_native_files
from tandem_orchestrator.layers.native.environment import child_environment
from tandem_orchestrator.layers.native.launch import BridgeCommand, launch_bridge
from tandem_orchestrator.layers.native.process import spawn_program
from tandem_orchestrator.layers.native.program import ProgramRefused, compile_program
from tandem_orchestrator.layers.native.programs import Programs
from tandem_orchestrator.layers.native.session import Session
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import PlannedStep

pytestmark = pytest.mark.native
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))
SUCCEEDED, FAILED, UNKNOWN = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.UNKNOWN
NOT_STARTED, TIMED_OUT = Outcome.NOT_STARTED, Outcome.TIMED_OUT
WAIT_S = 20.0
AGENT = r"""
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tandem/connect.h"

static td_status given(td_call *call)
{
    const td_view payload = td_payload(call), inputs = td_inputs(call);
    const td_view key = td_idempotency_key(call);
    td_write_map(td_output(call), 5);
    td_write_text(td_output(call), "payload");
    td_write_raw(td_output(call), payload.data, payload.bytes);
    td_write_text(td_output(call), "inputs");
    if (inputs.bytes > 0)
        td_write_raw(td_output(call), inputs.data, inputs.bytes);
    else
        td_write_nil(td_output(call));
    td_write_text(td_output(call), "key");
    td_write_str(td_output(call), (const char *)key.data, key.bytes);
    td_write_text(td_output(call), "pid");
    td_write_int(td_output(call), getpid());
    td_write_text(td_output(call), "attempt");
    return td_write_uint(td_output(call), td_attempt(call));
}
static td_status refuse(td_call *call) { return td_fail(call, "ValueError", "not today"); }
static td_status die(td_call *call)
{
    (void)call;
    kill(getpid(), SIGKILL);
    return TD_OK;
}
static td_status nap(td_call *call)
{
    while (!td_cancelled(call)) {
        const struct timespec step = {.tv_nsec = 1000000};
        nanosleep(&step, NULL);
    }
    return TD_CANCELLED;
}
int main(int argc, char **argv)
{
    (void)argc;
    const td_action actions[] = {
        {argv[1], "given", given, TD_EFFECTS_IDEMPOTENT, TD_RUNS_SHORT, 1, 0, "1"},
        {argv[1], "refuse", refuse, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
        {argv[1], "die", die, TD_EFFECTS_EXTERNAL, TD_RUNS_SHORT, 0, 0, "1"},
        {argv[1], "nap", nap, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 0, 0, "1"},
    };
    const td_agent_options options = {.size = sizeof options, .socket_path = argv[2],
                                      .actions = actions, .actions_total = 4, .workers = 2};
    return td_agent_main(&options);
}
"""


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(scope="module")
def program_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent with the actions that these tests need."""
    if shutil.which("cc") is None or not (NATIVE / "lib" / "libtandem_agent.a").exists():
        pytest.skip("no C compiler, or no libtandem_agent")
    folder = tmp_path_factory.mktemp("agent")
    (folder / "agent.c").write_text(AGENT)
    subprocess.run(
        ["cc", "-std=c11", "-D_GNU_SOURCE", f"-I{NATIVE / 'include'}", str(folder / "agent.c"),
         str(NATIVE / "lib" / "libtandem_agent.a"), "-pthread", "-o", str(folder / "agent")],
        check=True,
    )  # fmt: skip
    return folder / "agent"


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
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


Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(program_path: Path, session: Session, tmp_path: Path) -> Iterator[Start]:
    """Start an agent of a name; all are gone after the test."""
    made: list[subprocess.Popen[bytes]] = []

    def begin(name: str) -> "subprocess.Popen[bytes]":
        made.append(subprocess.Popen([program_path, name, str(tmp_path / "b" / "bridge.sock")]))
        return made[-1]

    yield begin
    for process in made:
        process.kill()
        process.wait()


async def come(session: Session, name: str, *, there: bool = True) -> None:
    await eventually(lambda: ((name, "given") in session.actions) is there, name)


def ids(session: Session) -> dict[tuple[str, str], int]:
    return {name: action.action_id for name, action in session.actions.items()}


def step(step_id: str, action: str, payload: object = None, *needs: str, **more: object):
    agent, _, name = action.partition(".")
    return PlannedStep(
        id=step_id, agent=agent, action=name, payload=payload, depends_on=needs, **more
    )


def diamond() -> list[PlannedStep]:
    return [
        step("a", "one.given", {"n": 3}),
        step("b", "one.given", {"$ref": "a#/payload/n"}, "a"),
        step("c", "system.echo", [{"$ref": "a#/payload"}, {"$ref": "inputs#/k"}], "a"),
        step("d", "two.given", {"$ref": "c"}, "b", "c", inputs_from=(("left", "b"), ("c", "c"))),
    ]


async def test_a_diamond_of_two_agents_and_the_bridge_is_one_crossing(session, start):
    start("one"), start("two")
    await come(session, "one")
    await come(session, "two")
    program = compile_program(diamond(), ids(session), {"b", "d"})
    calls = session.stats()["calls"]
    keys = {"b": "0123456789abcdef" * 2}
    rows = await Programs(session).run(program, {"k": "v"}, keys=keys)
    assert [row.outcome for row in rows] == [SUCCEEDED] * 4
    assert session.stats()["calls"] == calls + 2  # LOAD and RUN
    assert rows[1].output["payload"] == 3
    assert rows[1].output["key"] == "0123456789abcdef" * 2
    assert rows[1].output["inputs"] is None
    assert rows[3].output["key"] == ""
    assert rows[3].output["payload"] == [{"n": 3}, "v"]
    assert rows[3].output["inputs"] == {"left": rows[1].output, "c": [{"n": 3}, "v"]}


async def test_items_are_shared_out_among_instances_and_have_keys_of_their_own(session, start):
    start("one"), start("one")
    await come(session, "one")
    seen: set[int] = set()
    program = compile_program(
        [step("a", "one.given", {"$ref": "item"}, for_each=list(range(300)))], ids(session), {"a"}
    )
    async with asyncio.timeout(WAIT_S):
        while len(seen) < 2:  # the second may still be on its way
            [row] = await Programs(session).run(program, keys={"a": "ab" * 16})
            assert row.outcome is SUCCEEDED
            assert [item["payload"] for item in row.output] == list(range(300))
            assert [item["key"] for item in row.output] == [f"{'ab' * 16}-{i}" for i in range(300)]
            seen = {item["pid"] for item in row.output}


async def test_an_agents_failure_is_the_steps_and_may_be_tolerated(session, start):
    start("one")
    await come(session, "one")
    steps = [
        step("a", "one.refuse", None, can_fail=True),
        step("b", "one.given", {"$ref": "a", "default": "none"}, "a"),
        step("c", "one.refuse", None, "b"),
        step("d", "one.given", None, "c"),
    ]
    rows = await Programs(session).run(compile_program(steps, ids(session), {"b"}))
    assert [row.outcome for row in rows] == [FAILED, SUCCEEDED, FAILED, NOT_STARTED]
    assert (rows[0].failure_type, rows[0].failure_message) == ("ValueError", "not today")


async def test_an_agent_that_dies_with_a_step_leaves_it_unknown_and_the_program_stops(
    session, start
):
    start("one"), start("two")
    await come(session, "one")
    await come(session, "two")
    steps = [
        step("a", "two.given", 1),
        step("b", "one.die", None, "a", can_fail=True),
        step("c", "two.given", 2, "b"),
    ]
    rows = await Programs(session).run(compile_program(steps, ids(session), {"a"}))
    assert [row.outcome for row in rows] == [SUCCEEDED, UNKNOWN, NOT_STARTED]
    assert rows[1].failure_type == "AgentDied"
    assert "agent one" in rows[1].failure_message


async def test_a_step_that_its_dead_agent_never_took_has_not_started(session, start):
    agent = start("one")
    await come(session, "one")
    program = compile_program([step("a", "one.given", 1, can_fail=True)], ids(session), {"a"})
    programs = Programs(session)
    await programs.run(program)
    agent.send_signal(signal.SIGSTOP)
    os.waitpid(agent.pid, os.WUNTRACED)
    task = asyncio.create_task(programs.run(program))
    await eventually(lambda: any(session.progress(c)[0] for c in session._waiting), "it is sent")
    agent.kill()
    [row] = await task
    assert row.outcome is NOT_STARTED
    assert row.failure_type == "NotStarted"
    # It is gone now: what is loaded is not forgotten, and comes back to life with its agent.
    await come(session, "one", there=False)
    [row] = await programs.run(program)
    assert (row.outcome, row.failure_type) == (NOT_STARTED, "LayerUnavailable")
    start("one")
    await come(session, "one")
    [row] = await programs.run(program)
    assert row.outcome is SUCCEEDED
    assert programs.loads_total == 1


async def test_what_one_of_two_instances_had_is_unknown_and_the_other_goes_on(session, start):
    first = start("one")
    await come(session, "one")
    steps = [
        step("a", "one.nap", None, timeout_s=0.5),
        step("b", "one.nap", None, timeout_s=0.5),
    ]
    program = compile_program(steps, ids(session), ())
    probe = compile_program([step("p", "one.given")], ids(session), {"p"})
    programs = Programs(session)
    second = start("one")
    pids: set[int] = set()
    async with asyncio.timeout(WAIT_S):
        while len(pids) < 2:
            [row] = await programs.run(probe)
            pids.add(row.output["pid"])
    task = asyncio.create_task(programs.run(program))
    await eventually(lambda: any(session.progress(c)[0] == 2 for c in session._waiting), "both")
    await asyncio.sleep(0.05)
    first.kill()
    rows = await task
    assert sorted(row.outcome.value for row in rows) == ["timed_out", "unknown"]
    [row] = await programs.run(probe)
    assert row.output["pid"] == second.pid


async def test_steps_for_a_full_agent_wait_and_another_agent_is_not_kept(session, start):
    agent = start("one")
    start("two")
    await come(session, "one")
    await come(session, "two")
    agent.send_signal(signal.SIGSTOP)
    os.waitpid(agent.pid, os.WUNTRACED)
    # 256 slots: so many that others have to wait.
    steps = [step(f"s{i}", "one.given", i) for i in range(400)]
    programs = Programs(session)
    full = asyncio.create_task(
        programs.run(compile_program(steps, ids(session), {s.id for s in steps}))
    )
    await eventually(lambda: any(session.progress(c)[0] == 400 for c in session._waiting), "sent")
    rows = await programs.run(compile_program([step("a", "two.given", 1)], ids(session), ()))
    assert rows[0].outcome is SUCCEEDED
    assert not full.done()
    agent.send_signal(signal.SIGCONT)
    rows = await full
    assert [row.output["payload"] for row in rows] == list(range(400))


async def test_a_cancel_reaches_the_agent_and_what_still_waits(session, start):
    start("one")
    await come(session, "one")
    steps = [step(f"s{i}", "one.nap") for i in range(300)]
    programs = Programs(session)
    task = asyncio.create_task(programs.run(compile_program(steps, ids(session), ())))
    await eventually(lambda: any(session.progress(c)[0] == 300 for c in session._waiting), "sent")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: session.in_flight == 0, "the program ended")
    rows = await programs.run(compile_program([step("a", "one.given")], ids(session), ()))
    assert rows[0].outcome is SUCCEEDED


async def test_a_steps_and_a_programs_time_limit_hold_at_the_agent(session, start):
    start("one")
    await come(session, "one")
    steps = [
        step("a", "one.nap", None, timeout_s=0.05, can_fail=True),
        step("b", "one.nap", 0, "a"),
    ]
    program = compile_program(steps, ids(session), ())
    deadline_ns = SystemClock().monotonic_ns() + 200_000_000
    rows = await Programs(session).run(program, deadline_ns=deadline_ns)
    assert [row.outcome for row in rows] == [TIMED_OUT, TIMED_OUT]


async def test_an_agent_that_does_not_answer_is_given_up_a_second_after_the_limit(session, start):
    agent = start("one")
    await come(session, "one")
    agent.send_signal(signal.SIGSTOP)
    os.waitpid(agent.pid, os.WUNTRACED)
    program = compile_program([step("a", "one.given", timeout_s=0.05)], ids(session), ())
    [row] = await Programs(session).run(program)
    assert row.outcome is TIMED_OUT


async def test_every_action_but_the_routers_may_be_in_programs(session, start):
    start("one")
    await come(session, "one")
    kept_out = {name for name, action in session.actions.items() if not action.in_programs}
    assert kept_out == {("router", "route_messages")}


async def test_the_routers_action_is_no_step_of_a_program(session):
    program = compile_program([step("a", "router.route_messages", {})], ids(session), ())
    with pytest.raises(ProgramRefused, match="UnknownAction"):
        await Programs(session).run(program)
