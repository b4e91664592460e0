"""Threads of handlers: taken again, let go, and gone when nobody wants them."""

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tandem_orchestrator.layers.python import threads
from tandem_orchestrator.layers.python.threads import Job, ThreadRunner

JOIN_S = 5.0
"""Longest wait for a thread that is certain to end; far below ``IDLE_S``."""


async def start(runner: ThreadRunner, function: Callable[[], Any]) -> Job:
    await runner.permits.acquire()
    return runner.start(function)


async def result(job: Job) -> Any:
    value, error = await job.future
    if error is not None:
        raise error
    return value


async def test_a_thread_that_is_free_is_taken_again() -> None:
    runner = ThreadRunner(2)

    first = await result(await start(runner, threading.current_thread))
    second = await result(await start(runner, threading.current_thread))

    assert first is second and first is not threading.current_thread()
    runner.close()
    first.join(JOIN_S)
    assert not first.is_alive()


async def test_a_function_runs_in_a_copy_of_its_starters_context() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("the caller's")
    runner = ThreadRunner(1)

    def work() -> str:
        seen = variable.get()
        variable.set("the thread's")
        return seen

    assert await result(await start(runner, work)) == "the caller's"
    assert variable.get() == "the caller's"
    runner.close()


@pytest.mark.parametrize("kind", [ValueError, StopIteration, SystemExit, KeyboardInterrupt])
async def test_whatever_a_function_raises_comes_out_and_the_thread_lives_on(
    kind: type[BaseException],
) -> None:
    runner = ThreadRunner(1)

    def work() -> None:
        raise kind("no")

    _, error = await (await start(runner, work)).future

    assert type(error) is kind
    assert await result(await start(runner, lambda: "next")) == "next"
    runner.close()


async def test_an_abandoned_function_gives_its_permit_back_once() -> None:
    runner, gate = ThreadRunner(1), threading.Event()
    job = await start(runner, gate.wait)
    assert runner.permits.locked()

    job.abandon()

    assert (runner.abandoned, runner.busy, runner.permits.locked()) == (1, 0, False)
    assert await result(await start(runner, lambda: "meanwhile")) == "meanwhile"
    gate.set()
    await job.future
    assert (runner.abandoned, runner.busy) == (0, 0)
    await runner.permits.acquire()
    assert runner.permits.locked()  # One place, not two.
    runner.close()


async def test_a_thread_whose_abandoned_function_ended_is_taken_again() -> None:
    runner, gate = ThreadRunner(1), threading.Event()

    def hang() -> threading.Thread:
        gate.wait()
        return threading.current_thread()

    job = await start(runner, hang)
    job.abandon()
    gate.set()
    thread = await result(job)

    assert await result(await start(runner, threading.current_thread)) is thread
    runner.close()


async def test_after_close_a_thread_ends_with_its_abandoned_function() -> None:
    runner, gate = ThreadRunner(1), threading.Event()

    def hang() -> threading.Thread:
        gate.wait()
        return threading.current_thread()

    job = await start(runner, hang)
    job.abandon()
    runner.close()
    gate.set()
    thread = await result(job)

    await asyncio.to_thread(thread.join, JOIN_S)
    assert not thread.is_alive()


def test_a_thread_whose_loop_is_closed_ends_with_its_function() -> None:
    gate, begun, seen = threading.Event(), threading.Event(), []

    def hang() -> None:
        seen.append(threading.current_thread())
        begun.set()
        gate.wait()

    async def leave() -> None:
        job = await start(ThreadRunner(1), hang)
        job.abandon()
        assert begun.wait(JOIN_S)

    asyncio.run(leave())
    gate.set()

    [thread] = seen
    thread.join(JOIN_S)
    assert not thread.is_alive()


async def test_an_idle_thread_ends_by_itself_and_another_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "IDLE_S", 0.001)
    runner = ThreadRunner(1)
    first = await result(await start(runner, threading.current_thread))

    await asyncio.to_thread(first.join, JOIN_S)
    assert not first.is_alive()

    assert await result(await start(runner, lambda: "still served")) == "still served"
    runner.close()


HANGING = """
import asyncio, threading
from tandem_orchestrator.layers.python.threads import ThreadRunner

async def main():
    runner = ThreadRunner(1)
    await runner.permits.acquire()
    runner.start(threading.Event().wait).abandon()
    runner.close()

asyncio.run(main())
print("left")
"""


def test_a_thread_that_hangs_for_ever_does_not_delay_the_exit() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=20.0
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


async def test_a_thread_that_is_late_for_its_first_job_still_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread's idle time is over before whoever started it has said what for."""
    monkeypatch.setattr(threads, "IDLE_S", 0.0)
    begin = threading.Thread.start

    def start_and_let_it_run(thread: threading.Thread) -> None:
        begin(thread)
        thread.join(0.05)

    monkeypatch.setattr(threading.Thread, "start", start_and_let_it_run)
    runner = ThreadRunner(1)
    assert await asyncio.wait_for(result(await start(runner, lambda: "done")), JOIN_S) == "done"
    runner.close()
