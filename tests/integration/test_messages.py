"""Messages through a real bridge: what callers get back, and what they are refused."""

import asyncio
import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.errors import (
    ActionFailed,
    Busy,
    Closed,
    Forked,
    InvalidCommandSet,
    LayerUnavailable,
    NotAValue,
    NotInitialized,
    OutcomeUnknown,
    WrongLoop,
)

pytestmark = pytest.mark.native
WAIT_S = 20.0
CONFIG = {"journal": {"path": ":memory:"}}
VALUES = [
    None, True, 0, -1, 127, 128, -33, 2**63, -(2**63), 2**64 - 1, 1.5, math.inf, "", "é", "x" * 300,
    b"", b"\x00" * 300, [], [1, [2, [3]]], {}, {"a": {"b": [1, None]}}, {str(i): i for i in range(40)},
]  # fmt: skip


@pytest.fixture
async def tandem() -> AsyncIterator[TandemOrchestrator]:
    async with TandemOrchestrator(CONFIG) as made:
        yield made


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, WAIT_S)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.002)


def bridge_pid(tandem: TandemOrchestrator) -> int:
    return tandem.layer_health()["c"].details["pid"]


def counts(tandem: TandemOrchestrator) -> dict[str, int]:
    return tandem._messages._layers()[1].session.message_stats()


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["c", "python"])
async def test_a_value_comes_back_as_it_went(tandem, implementation):
    for value in VALUES:
        assert (
            await within(tandem.send("system", "echo", value, implementation=implementation))
            == value
        )


@pytest.mark.parametrize("implementation", ["c", "python"])
async def test_many_come_back_in_order_with_failures_in_place(tandem, implementation):
    payloads: list[Any] = [{"i": i} for i in range(3000)]
    payloads[7], payloads[2999] = object(), 2**64
    answers = await within(
        tandem.send_many("system", "echo", payloads, implementation=implementation)
    )
    assert type(answers[7]) is NotAValue
    assert type(answers[2999]) is NotAValue
    assert answers[:7] == payloads[:7]
    assert answers[8:2999] == payloads[8:2999]
    assert await within(tandem.send_many("system", "echo", [], implementation=implementation)) == []


async def test_a_failed_one_of_many_is_its_exception(tandem):
    good, bad = await within(tandem.send_many("system", "sleep", [0, "never"]))
    assert good is None
    assert (type(bad), bad.type) == (ActionFailed, "TypeError")


@pytest.mark.parametrize("implementation", ["c", "python"])
async def test_bytes_are_a_value_unless_they_are_marked_as_encoded(tandem, implementation):
    body = msgspec.msgpack.encode({"x": [1, 2]})
    assert await tandem.send("system", "echo", body, implementation=implementation) == body
    assert (
        await tandem.send("system", "echo", body, implementation=implementation, encoded=True)
        == body
    )
    wrong = [b"\xff\xff", b"", b"\xcd\x00\x01", 7, body[:-1]]
    answers = await within(
        tandem.send_many(
            "system", "echo", [body, *wrong, body], implementation=implementation, encoded=True
        )
    )
    assert (answers[0], answers[-1]) == (body, body)
    assert [type(answer) for answer in answers[1:-1]] == [NotAValue] * len(wrong)
    with pytest.raises(NotAValue, match="payload"):
        tandem.send("system", "echo", b"\x81", implementation=implementation, encoded=True)


async def test_a_buffer_comes_back_as_a_buffer_and_a_literal_unwrapped(tandem):
    back = await within(tandem.send("system", "echo", {"m": memoryview(b"abc")}))
    assert bytes(back["m"]) == b"abc"
    assert await within(tandem.send("system", "echo", {"$literal": {"$ref": "x"}})) == {"$ref": "x"}


async def test_what_an_action_refuses_is_raised_with_its_type(tandem):
    with pytest.raises(ActionFailed) as failed:
        await within(tandem.send("system", "sleep", "long"))
    assert failed.value.type == "TypeError"


async def test_messages_are_counted_and_leave_no_run(tandem):
    before = tandem.get_metrics()
    await within(tandem.send_many("system", "noop", [None] * 10))
    tandem.call_sync("system", "noop", None)
    await within(tandem.send("system", "noop", None, implementation="python"))
    after = tandem.get_metrics()
    assert after["c_msgs_processed"] - before["c_msgs_processed"] == 11
    assert after["python_msgs_processed"] - before["python_msgs_processed"] == 1
    assert await tandem.runs() == []


# --- refusals ------------------------------------------------------------------------------------


async def test_unknown_names_are_said_at_once_with_the_nearest(tandem):
    for call, code, near in [
        (("sytem", "echo"), "unknown_agent", "system"),
        (("system", "ecko"), "unknown_action", "echo"),
    ]:
        for method in (tandem.send, tandem.call_sync, lambda *a: tandem.send_many(*a[:2], [])):
            with pytest.raises(InvalidCommandSet) as refused:
                method(*call, None)
            [fault] = refused.value.faults
            assert fault.code == code
            assert near in fault.nearest


async def test_what_is_no_value_is_said_at_once_with_its_path(tandem):
    for implementation in ("c", "python"):
        with pytest.raises(NotAValue, match=r"payload\.a\[1\]"):
            tandem.send("system", "echo", {"a": [1, object()]}, implementation=implementation)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, 1e10])
async def test_an_impossible_timeout_is_refused(tandem, timeout):
    with pytest.raises(InvalidCommandSet) as refused:
        tandem.send("system", "echo", 1, timeout=timeout)
    assert refused.value.faults[0].code == "impossible_timeout"


async def test_more_calls_than_slots_are_busy_and_the_rest_goes_on(tandem):
    futures = []
    with pytest.raises(Busy):  # noqa: PT012 - which call it is depends on the slots
        for _ in range(10_000):
            futures.append(tandem.send("system", "sleep", 0))
    assert len(futures) > 1000
    assert await within(asyncio.gather(*futures)) == [None] * len(futures)


async def test_before_initialize_and_after_close_there_are_no_messages():
    tandem = TandemOrchestrator(CONFIG)
    for method in (tandem.send, tandem.call_sync):
        with pytest.raises(NotInitialized):
            method("system", "echo", 1)
    await tandem.initialize()
    assert await tandem.send("system", "echo", 1) == 1
    assert tandem.call_sync("system", "echo", 1) == 1
    await tandem.close()
    for method in (tandem.send, tandem.call_sync):
        with pytest.raises(Closed):
            method("system", "echo", 1)


async def test_another_loop_is_refused_and_so_is_none(tandem):
    await tandem.send("system", "echo", 1)  # the way is known

    async def elsewhere() -> Any:
        return tandem.send("system", "echo", 1)

    with pytest.raises(WrongLoop):
        await asyncio.to_thread(asyncio.run, elsewhere())
    with pytest.raises(WrongLoop):
        await asyncio.to_thread(tandem.send, "system", "echo", 1)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_another_loop_of_the_same_thread_is_refused_and_the_first_goes_on(kind):
    make = pytest.importorskip(kind).new_event_loop
    tandem = TandemOrchestrator(CONFIG)

    async def echo(value: int) -> Any:
        return await within(tandem.send("system", "echo", value))

    with asyncio.Runner(loop_factory=make) as first, asyncio.Runner(loop_factory=make) as second:
        first.run(tandem.initialize())
        assert [first.run(echo(i)) for i in range(2)] == [0, 1]  # the way is known
        with pytest.raises(WrongLoop):
            second.run(echo(2))
        with pytest.raises(WrongLoop):
            tandem.send("system", "echo", 3)  # no loop runs
        assert first.run(echo(4)) == 4
        first.run(tandem.close())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_gets_a_typed_error(tandem):
    await tandem.send("system", "echo", 1)
    tandem.call_sync("system", "echo", 1)
    waiting = tandem.send("system", "sleep", 0.3)
    child = os.fork()
    if child == 0:
        right = 0
        for method in (tandem.send, tandem.call_sync, tandem.send_many):
            try:
                method("system", "echo", [1])
            except Forked:
                right += 1
            except BaseException:  # noqa: BLE001 - the child only reports
                pass
        os._exit(0 if right == 3 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await within(waiting) is None


# --- time, cancel, death -------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["c", "python"])
async def test_a_timeout_ends_the_wait(tandem, implementation):
    with pytest.raises(TimeoutError, match=r"system\.sleep"):
        await within(
            tandem.send("system", "sleep", 60, timeout=0.05, implementation=implementation)
        )


async def test_a_silent_bridge_is_ended_by_the_sweep(tandem):
    await tandem.send("system", "noop", None)
    pid = bridge_pid(tandem)
    os.kill(pid, signal.SIGSTOP)
    try:
        one = tandem.send("system", "echo", 1, timeout=0.05)
        many = tandem.send_many("system", "echo", range(10_000), timeout=0.05)
        with pytest.raises(TimeoutError):
            await within(one)
        answers = await within(many)
        assert {type(answer) for answer in answers} == {TimeoutError}
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await within(tandem.send("system", "echo", 2)) == 2
    await eventually(lambda: counts(tandem)["late"] > 0)


async def test_cancelling_the_future_cancels_the_call(tandem):
    task = asyncio.ensure_future(_wait_for(tandem.send("system", "sleep", 60)))
    many = tandem.send_many("system", "sleep", [60] * 3)
    await asyncio.sleep(0)
    task.cancel()
    many.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: counts(tandem)["late"] == 4)  # all four have really ended
    assert counts(tandem)["waiting"] == 0


async def _wait_for(future: asyncio.Future[Any]) -> Any:
    return await future


async def test_a_death_in_flight_is_unknown_and_never_taken_is_unavailable(tandem):
    await tandem.send("system", "noop", None)
    pid = bridge_pid(tandem)
    taken = tandem.send("system", "sleep", 60)
    assert await within(tandem.send("system", "echo", 1)) == 1  # the ring keeps the order
    os.kill(pid, signal.SIGSTOP)
    untaken = tandem.send("system", "echo", 2)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(OutcomeUnknown):
        await within(taken)
    with pytest.raises(LayerUnavailable):
        await within(untaken)
    with pytest.raises(LayerUnavailable):
        await within(tandem.send("system", "echo", 3))
    await eventually(lambda: bool(tandem.layer_health()["c"]))
    assert await within(tandem.send("system", "echo", 4)) == 4
    assert tandem.get_metrics()["c_msgs_processed"] >= 3


@pytest.mark.parametrize("implementation", ["c", "python"])
async def test_close_resolves_what_is_in_flight(implementation):
    tandem = TandemOrchestrator(CONFIG)
    await tandem.initialize()
    one = tandem.send("system", "sleep", 60, implementation=implementation)
    await asyncio.sleep(0.05)
    await within(tandem.close())
    with pytest.raises((OutcomeUnknown, LayerUnavailable)):
        await within(one)


async def test_close_resolves_many_in_flight_and_those_that_block():
    tandem = TandemOrchestrator(CONFIG)
    await tandem.initialize()
    ones = [tandem.send("system", "sleep", 60) for _ in range(100)]
    many = tandem.send_many("system", "sleep", [60] * 3000)  # most of them are not sent yet
    blocked = asyncio.ensure_future(asyncio.to_thread(tandem.call_sync, "system", "sleep", 60))
    await eventually(lambda: _in_use(tandem) == 1)
    await within(tandem.close())
    answers = [
        *await within(asyncio.gather(*ones, return_exceptions=True)),
        *await within(many),
        *await within(asyncio.gather(blocked, return_exceptions=True)),
    ]
    assert {type(answer) for answer in answers} <= {OutcomeUnknown, LayerUnavailable}
    assert len(answers) == 3101
    for call in (tandem.send, tandem.call_sync, tandem.send_many):
        with pytest.raises(Closed):
            call("system", "echo", [1])


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import tandem_orchestrator._native._ext  # here it loads

code = '''
try:
    import tandem_orchestrator._native._ext
    print("loaded", flush=True)
except ImportError as error:
    print(error, flush=True)
'''
interpreters.run_string(interpreters.create(), code)
"""


def test_a_sub_interpreter_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", SUBINTERPRETER], capture_output=True, text=True, timeout=WAIT_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sub" in done.stdout and "loaded" not in done.stdout


EXIT = """
import asyncio, os
from tandem_orchestrator import TandemOrchestrator

loop = asyncio.new_event_loop()
tandem = TandemOrchestrator({"journal": {"path": ":memory:"}})
loop.run_until_complete(tandem.initialize())

async def start():
    future = tandem.send("system", "sleep", 0.2)
    future.add_done_callback(lambda _: None)
    return future

late = loop.run_until_complete(start())
client = tandem._messages._layers()[1].session._client
loop.close()
assert client.wait(20)
client.drain(10)
print(client.message_stats()["dropped"], late.done())
"""


def test_a_late_future_on_a_closed_loop_is_dropped_and_counted():
    done = subprocess.run(
        [sys.executable, "-c", EXIT], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["1", "True"]), done.stderr


# --- blocking ------------------------------------------------------------------------------------


async def test_call_sync_works_on_the_loop_and_in_threads(tandem):
    assert tandem.call_sync("system", "echo", {"x": 1}) == {"x": 1}
    for implementation in (None, "python"):
        assert (
            await asyncio.to_thread(
                tandem.call_sync, "system", "echo", 5, implementation=implementation
            )
            == 5
        )
    with pytest.raises(WrongLoop, match="await send"):
        tandem.call_sync("system", "echo", 1, implementation="python")
    with pytest.raises(ActionFailed):
        tandem.call_sync("system", "sleep", "x")
    with pytest.raises(TimeoutError):
        tandem.call_sync("system", "sleep", 60, timeout=0.05)
    assert tandem.call_sync("system", "echo", 2) == 2


@pytest.mark.parametrize("implementation", ["c", "python"])
async def test_call_sync_works_under_another_loop(tandem, implementation):
    async def elsewhere() -> Any:
        return tandem.call_sync("system", "echo", 7, implementation=implementation)

    assert await within(asyncio.to_thread(asyncio.run, elsewhere())) == 7


async def test_twenty_threads_share_eight_sessions(tandem):
    answers: list[Any] = []

    def work(i: int) -> None:
        for _ in range(20):
            answers.append(tandem.call_sync("system", "echo", i) == i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, WAIT_S)
    assert answers == [True] * 400
    assert len(tandem._messages._pool._open) <= 8


async def test_a_call_that_finds_no_free_session_is_busy(tandem):
    sleepers = [
        threading.Thread(target=tandem.call_sync, args=("system", "sleep", 1.0)) for _ in range(8)
    ]
    for sleeper in sleepers:
        sleeper.start()
    await eventually(lambda: _in_use(tandem) == 8)
    with pytest.raises(Busy, match="8 sessions"):
        await asyncio.to_thread(tandem.call_sync, "system", "echo", 1, timeout=0.05)
    for sleeper in sleepers:
        await asyncio.to_thread(sleeper.join, WAIT_S)
    assert tandem.call_sync("system", "echo", 1) == 1


def _in_use(tandem: TandemOrchestrator) -> int:
    pool = tandem._messages._pool
    return 0 if pool is None else len(pool._open) - len(pool._idle)


async def test_the_gil_is_free_while_a_call_blocks(tandem):
    blocked = asyncio.ensure_future(asyncio.to_thread(tandem.call_sync, "system", "sleep", 0.3))
    turns = 0
    while not blocked.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 20


async def test_after_a_death_call_sync_opens_new_sessions(tandem):
    assert tandem.call_sync("system", "echo", 1) == 1
    os.kill(bridge_pid(tandem), signal.SIGKILL)
    await eventually(lambda: not tandem.layer_health()["c"])
    with pytest.raises(LayerUnavailable):
        tandem.call_sync("system", "echo", 2)
    await eventually(lambda: bool(tandem.layer_health()["c"]))
    assert tandem.call_sync("system", "echo", 3) == 3


async def test_the_two_doors_of_single_layers(tandem):
    message = {"agent": "system", "action": "echo", "payload": {"x": 1}}
    assert await tandem.python_orchestrator.send_message(message) == {"x": 1}
    assert tandem.binary_bridge.send_message(message) == {"x": 1}
    encoded = msgspec.msgpack.encode(message)
    assert tandem.binary_bridge.send_message(encoded) == msgspec.msgpack.encode({"x": 1})
    for wrong in ({"agent": "system"}, {**message, "more": 1}, {**message, "agent": 1}, 7):
        with pytest.raises(InvalidCommandSet):
            tandem.binary_bridge.send_message(wrong)
    with pytest.raises(NotAValue):
        tandem.binary_bridge.send_message(encoded + b"\x00")


async def test_messages_leave_no_reference_behind(tandem):
    futures = [tandem.send("system", "echo", {"i": i}) for i in range(100)]
    await within(asyncio.gather(*futures))
    left = [weakref.ref(future) for future in futures]
    del futures
    gc.collect()
    assert not [future() for future in left if future() is not None]


@pytest.mark.parametrize(
    ("spin_us", "bridge_ns", "waiter_ns"), [(0, 0, 0), (2, 2000, 20_000), (50, 50_000, 50_000)]
)
async def test_the_setting_for_spinning_reaches_both_ends(spin_us, bridge_ns, waiter_ns):
    async with TandemOrchestrator({**CONFIG, "c_layer": {"spin_us": spin_us}}) as tandem:
        arguments = Path(f"/proc/{bridge_pid(tandem)}/cmdline").read_bytes().split(b"\0")
        assert arguments[arguments.index(b"--spin-ns") + 1] == str(bridge_ns).encode()
        assert tandem._messages._layers()[1].session._client.spin_ns == waiter_ns
        assert tandem.call_sync("system", "echo", 1) == 1
        assert tandem._messages._pool._open[0].client.spin_ns == waiter_ns
        assert await within(tandem.send("system", "echo", 2)) == 2
