"""Worker processes: real ones, that are killed, die, lie about their messages and load main scripts."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.python import PythonLayer, PythonLimits, Registry, processes
from tandem_orchestrator.layers.python.messages import MESSAGE_BYTES_MAX, Done, Progress, pack
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.testing import FakeClock

WAIT_S = 20.0
GRACE_S = 5.0

HANDLERS = '''
import logging, os, signal, struct, sys, threading

def echo(payload, ctx):
    return {"payload": payload, "ctx": [ctx.run_id, ctx.step_id, ctx.attempt, ctx.item,
            ctx.idempotency_key, dict(ctx.inputs)], "pid": os.getpid()}

def spin(payload, ctx):
    ctx.progress(1, 2)
    while True:
        pass

def obey(payload, ctx):
    ctx.progress(1, 2)
    while not ctx.cancelled():
        pass
    return "stopped early"

def leave(payload):
    os._exit(payload)

def kill_itself(payload):
    os.kill(os.getpid(), signal.SIGKILL)

def announce(payload):
    """Write onto the link what no message of ours begins with."""
    os.write(int(sys.argv[1]), struct.pack("<I", payload) + b"x" * 16)
    threading.Event().wait()

def fail(payload):
    raise KeyError("missing")

def exit(payload):
    sys.exit(payload)

def give_object(payload):
    return object()

def report(payload, ctx):
    for done in range(payload):
        ctx.progress(done, payload)

def log(payload, ctx):
    logging.getLogger("handlers.own").warning("by logger %s", payload)
    ctx.log.error("by ctx")
    logging.getLogger("handlers.own").debug("unwanted")

def chatter(payload):
    for number in range(payload):
        logging.getLogger("handlers.own").warning("%d", number)

class Holder:
    @classmethod
    def method(cls, payload):
        return [cls.__name__, payload]
'''


class Bench:
    """A layer whose handlers are a module's functions, each in a worker process."""

    def __init__(self, module: Any, clock: FakeClock) -> None:
        registry = Registry()
        agent = registry.register("a", [], None)
        for name in dir(module):
            if callable(handler := getattr(module, name)) and name != "Holder":
                agent.action(name, cpu="process", errors={KeyError: "NotFound"})(handler)
        agent.action("method", cpu="process")(module.Holder.method)
        self.clock = clock
        self.layer = PythonLayer(registry, clock, PythonLimits(processes=1, cancel_grace_s=GRACE_S))

    def begin(
        self, action: str, payload: Any = None, token: CancelToken | None = None, **work: Any
    ) -> asyncio.Task[Report]:
        wish = Work("r1", "s1", "a", action, "python", payload, **work)
        return asyncio.ensure_future(self.layer.run(wish, token or CancelToken()))

    async def run(self, action: str, payload: Any = None, **work: Any) -> Report:
        return await asyncio.wait_for(self.begin(action, payload, **work), WAIT_S)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    (tmp_path / "handlers_for_workers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    import handlers_for_workers

    bench = Bench(handlers_for_workers, FakeClock())
    yield bench
    await bench.layer.close()
    del sys.modules["handlers_for_workers"]


def failure_of(report: Report) -> tuple[str, str]:
    assert report.failure is not None
    return report.failure.type, report.failure.message


# --- what works ----------------------------------------------------------------------------------


async def test_a_handler_in_a_process_gets_all_that_others_get_and_the_process_is_kept(
    bench: Bench,
) -> None:
    work = {"attempt": 3, "item": 7, "idempotency_key": "k", "inputs": {"before": [1]}}
    first = await bench.run("echo", {"x": b"\x00", "y": [1.5, None]}, **work)
    second = await bench.run("echo", None)

    assert first.outcome is Outcome.SUCCEEDED
    assert first.output["payload"] == {"x": b"\x00", "y": [1.5, None]}
    assert first.output["ctx"] == ["r1", "s1", 3, 7, "k", {"before": [1]}]
    assert first.output["pid"] == second.output["pid"] != os.getpid()
    assert (await bench.run("method", 1)).output == ["Holder", 1]


async def test_progress_comes_through_in_order(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []

    await bench.run("report", 5, on_progress=lambda done, total: seen.append((done, total)))

    assert seen == [(n, 5) for n in range(5)]


async def test_failures_come_back_with_type_text_and_traceback(bench: Bench) -> None:
    failed = await bench.run("fail")
    left = await bench.run("exit", 3)
    odd = await bench.run("give_object")

    assert failed.outcome is left.outcome is odd.outcome is Outcome.FAILED
    assert failure_of(failed) == ("NotFound", "'missing'")
    assert failed.failure is not None and failed.failure.traceback is not None
    assert "handlers_for_workers.py" in failed.failure.traceback
    assert "worker.py" not in failed.failure.traceback
    assert failure_of(left) == ("SystemExit", "3")
    assert failure_of(odd)[0] == "NotAValue"
    assert (await bench.run("echo", 1)).outcome is Outcome.SUCCEEDED


async def test_log_records_of_a_process_are_marked_and_keep_their_logger(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await bench.layer.start()

    await bench.run("log", "x", attempt=2)

    told = [
        (r.name, r.levelname, r.getMessage(), r.run_id, r.step_id, r.attempt)  # type: ignore[attr-defined]
        for r in caplog.records
        if r.processName == "tandem-worker"
    ]
    assert told == [
        ("handlers.own", "WARNING", "by logger x", "r1", "s1", 2),
        ("tandem_orchestrator.step", "ERROR", "by ctx", "r1", "s1", 2),
    ]
    assert {r.process for r in caplog.records if r.processName == "tandem-worker"} != {os.getpid()}


async def test_the_records_of_one_attempt_are_bounded_and_the_rest_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.run("chatter", 1005)

    texts = [r.getMessage() for r in caplog.records if r.processName == "tandem-worker"]
    assert texts[:1000] == [str(n) for n in range(1000)]
    assert texts[1000:] == ["5 more log records of this attempt were dropped"]


# --- asked to stop -------------------------------------------------------------------------------


async def begun(bench: Bench, action: str, token: CancelToken) -> asyncio.Task[Report]:
    """Start a handler and wait until it has said that it is at work."""
    at_work = asyncio.Event()
    task = bench.begin(action, None, token, on_progress=lambda done, total: at_work.set())
    await asyncio.wait_for(at_work.wait(), WAIT_S)
    return task


async def test_a_handler_that_looks_at_the_flag_stops_and_its_process_lives(bench: Bench) -> None:
    token = CancelToken()
    before = (await bench.run("echo")).output["pid"]
    task = await begun(bench, "obey", token)

    token.cancel("test")
    report = await asyncio.wait_for(task, WAIT_S)

    assert (report.outcome, report.output) == (Outcome.SUCCEEDED, "stopped early")
    assert (await bench.run("echo")).output["pid"] == before
    assert bench.clock.armed == 0


async def test_a_handler_that_does_not_is_killed_after_the_grace_and_not_before(
    bench: Bench,
) -> None:
    token = CancelToken()
    before = (await bench.run("echo")).output["pid"]
    task = await begun(bench, "spin", token)

    token.cancel("test")
    await bench.clock.advance(GRACE_S - 0.001)
    os.kill(before, 0)  # It lives.
    assert not task.done()
    await bench.clock.advance(0.002)
    report = await asyncio.wait_for(task, WAIT_S)

    assert (report.outcome, report.stopped) == (Outcome.CANCELLED, True)
    assert failure_of(report) == ("WorkerDied", "the worker process died (signal 9)")
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
    assert (await bench.run("echo")).output["pid"] != before


async def test_closing_kills_what_is_at_work(bench: Bench) -> None:
    before = (await bench.run("echo")).output["pid"]
    task = await begun(bench, "spin", CancelToken())

    await bench.layer.close()

    assert (await asyncio.wait_for(task, WAIT_S)).outcome is Outcome.UNKNOWN
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


# --- death and lies ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "payload", "how"),
    [("leave", 3, "exit code 3"), ("leave", 0, "exit code 0"), ("kill_itself", None, "signal 9")],
)
async def test_a_process_that_dies_leaves_the_outcome_unknown(
    bench: Bench, action: str, payload: Any, how: str
) -> None:
    report = await bench.run(action, payload)

    assert report.outcome is Outcome.UNKNOWN
    assert failure_of(report) == ("WorkerDied", f"the worker process died ({how})")
    assert (await bench.run("echo", "next")).output["payload"] == "next"


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (MESSAGE_BYTES_MAX + 1, f"announced {MESSAGE_BYTES_MAX + 1} bytes, at most"),
        (2**32 - 1, f"announced {2**32 - 1} bytes, at most {MESSAGE_BYTES_MAX}"),
        (16, "sent what is no message"),
    ],
)
async def test_what_is_no_message_is_not_read_and_its_process_not_used_again(
    bench: Bench, length: int, told: str
) -> None:
    before = (await bench.run("echo")).output["pid"]

    report = await bench.run("announce", length)

    assert report.outcome is Outcome.UNKNOWN
    assert told in failure_of(report)[1]
    assert (await bench.run("echo")).output["pid"] != before


async def test_an_idle_process_that_died_is_replaced(bench: Bench) -> None:
    before = (await bench.run("echo")).output["pid"]
    os.kill(before, 9)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)  # Dead, and left for its owner to read.

    report = await bench.run("echo", "next")

    assert report.outcome is Outcome.SUCCEEDED
    assert report.output["payload"] == "next" and report.output["pid"] != before


def test_a_message_that_is_too_long_is_refused_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tandem_orchestrator.layers.python import messages

    monkeypatch.setattr(messages, "MESSAGE_BYTES_MAX", 100)

    assert len(pack(Progress(1, 2, 3))) < 100
    with pytest.raises(ValueError, match="bytes between processes, at most 100"):
        pack(Done(1, "x" * 100))


async def test_a_payload_that_is_too_long_fails_and_its_process_lives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tandem_orchestrator.layers.python import messages

    before = (await bench.run("echo")).output["pid"]
    monkeypatch.setattr(messages, "MESSAGE_BYTES_MAX", 1000)

    report = await bench.run("echo", "x" * 1000)

    assert report.outcome is Outcome.FAILED
    assert failure_of(report)[0] == "NotAValue"
    assert (await bench.run("echo")).output["pid"] == before


async def test_a_process_that_does_not_start_in_time_is_killed_and_nothing_ran(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_WORKER", "import threading; threading.Event().wait()")

    task = bench.begin("echo")
    while not bench.clock.armed:
        await asyncio.sleep(0)
    await bench.clock.advance(PythonLimits().process_start_timeout_s)
    report = await asyncio.wait_for(task, WAIT_S)

    assert report.outcome is Outcome.NOT_STARTED
    kind, message = failure_of(report)
    assert kind == "LayerUnavailable"
    assert "did not start within 30.0 s, or not at all" in message


async def test_a_process_that_is_killed_while_it_starts_ran_nothing_and_is_no_missing_layer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        processes, "_WORKER", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    report = await asyncio.wait_for(bench.begin("echo"), WAIT_S)

    assert report.outcome is Outcome.NOT_STARTED
    kind, message = failure_of(report)
    assert kind == "WorkerDied"  # the engine gives it out again, to a limit
    assert "ended while it started" in message and "signal 9" in message


# --- main scripts --------------------------------------------------------------------------------

SCRIPT = """
import asyncio, os, sys
from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator

agent = Agent("mine")

@agent.action("square", cpu="process")
def square(payload):
    return {"squared": payload * payload, "elsewhere": os.getpid() != payload_pid()}

def payload_pid():
    return int(os.environ["MAIN_PID"])

async def main():
    os.environ["MAIN_PID"] = str(os.getpid())
    settings = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}
    async with TandemOrchestrator(settings) as tandem:
        tandem.add_agent(agent)
        steps = [CommandStep(id="s", agent="mine", action="square", payload=7)]
        result = await tandem.execute_command_set(CommandSet("x", steps=steps))
        print(result["status"], result["results"].get("s"), result["error"])
"""


def run_script(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    return subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=WAIT_S, cwd=path.parent
    )


def test_a_handler_in_a_guarded_main_script_runs_elsewhere(tmp_path: Path) -> None:
    guard = '\nif __name__ == "__main__":\n    asyncio.run(main())\n'

    done = run_script(tmp_path / "script.py", SCRIPT + guard)

    assert done.stdout == "completed {'squared': 49, 'elsewhere': True} None\n", done.stderr
    assert done.returncode == 0


def test_an_unguarded_main_script_fails_with_the_cure_and_starts_nothing_twice(
    tmp_path: Path,
) -> None:
    done = run_script(tmp_path / "script.py", SCRIPT + "\nasyncio.run(main())\n")

    [line] = done.stdout.splitlines()  # One: the worker's own main() got nowhere.
    assert line.startswith("failed None ")
    assert "guard" in line and "if __name__ == '__main__'" in line


def test_processes_of_a_program_that_was_killed_end_with_it(tmp_path: Path) -> None:
    script = SCRIPT + (
        "\nimport signal\n"
        "@agent.action('end', cpu='process')\n"
        "def end(payload):\n"
        "    print(os.getpid(), flush=True)\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    while True: pass\n"
        'if __name__ == "__main__":\n'
        "    async def go():\n"
        "        settings = {'c_layer': {'enabled': False}, 'journal': {'path': ':memory:'}}\n"
        "        async with TandemOrchestrator(settings) as tandem:\n"
        "            tandem.add_agent(agent)\n"
        "            await tandem.send('mine', 'end', None)\n"
        "    asyncio.run(go())\n"
    )

    # Its pipes are read to their end, which comes only when the worker has let go of them as well.
    done = run_script(tmp_path / "script.py", script)

    assert done.returncode == -9
    assert done.stdout.strip().isdigit(), done.stderr  # The handler was at work.
