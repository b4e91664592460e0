"""The layer's decisions about one attempt: asked, obeyed, abandoned, refused; on a clock that stands."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.python import PythonLayer, PythonLimits, Registry
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.testing import FakeClock, settle

GRACE_S = 5.0


class Bench:
    """A layer with one agent, and what is needed to run attempts on it."""

    def __init__(self, **limits: Any) -> None:
        self.clock = FakeClock()
        self.registry = Registry()
        self.agent = self.registry.register("a", ["announced"], None)
        limits.setdefault("cancel_grace_s", GRACE_S)
        self.layer = PythonLayer(self.registry, self.clock, PythonLimits(**limits))
        self.tokens: list[CancelToken] = []

    def begin(self, action: str, payload: Any = None, **work: Any) -> asyncio.Task[Report]:
        """Start an attempt; its token is the newest in ``tokens``."""
        self.tokens.append(CancelToken())
        wish = Work("r1", "s1", "a", action, work.pop("implementation", "python"), payload, **work)
        return asyncio.ensure_future(self.layer.run(wish, self.tokens[-1]))

    async def run(self, action: str, payload: Any = None, **work: Any) -> Report:
        return await asyncio.wait_for(self.begin(action, payload, **work), 20.0)


class Gate:
    """Holds handlers in threads until the test lets them go; the loop hears that they came."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Semaphore(0)
        self.inside, self.inside_max = 0, 0
        self._lock = threading.Lock()

    def __call__(self, payload: Any) -> Any:
        with self._lock:
            self.inside += 1
            self.inside_max = max(self.inside_max, self.inside)
        self._loop.call_soon_threadsafe(self._came.release)
        self._open.wait()
        with self._lock:
            self.inside -= 1
        return payload

    async def came(self) -> None:
        await asyncio.wait_for(self._came.acquire(), 20.0)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


async def ended_threads(bench: Bench) -> None:
    """Wait until the loop has heard that no abandoned thread runs any more."""
    while bench.layer.health().details["abandoned"]:
        await asyncio.sleep(0)


# --- ends ----------------------------------------------------------------------------------------


async def test_what_is_not_here_did_not_start() -> None:
    bench = Bench()
    bench.agent.action("do")(lambda payload: payload)

    for action, implementation in (("gone", "python"), ("announced", "python"), ("do", "fast")):
        report = await bench.run(action, implementation=implementation)
        assert report.outcome is Outcome.NOT_STARTED
        assert report.failure is not None and report.failure.type == "LayerUnavailable"
        assert f"a.{action} has no implementation '{implementation}' here" in report.failure.message


@pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])
@pytest.mark.parametrize(
    ("error", "type"),
    [
        (ValueError("no"), "ValueError"),
        (KeyError("no"), "NotFound"),
        (SystemExit(3), "SystemExit"),
        (StopIteration("no"), "StopIteration"),
        (asyncio.CancelledError("no"), "CancelledError"),
    ],
    ids=lambda value: str(value),
)
async def test_whatever_a_handler_raises_is_a_failure_of_its_type(
    on_loop: bool, error: BaseException, type: str
) -> None:
    bench = Bench()

    def fail(payload: Any) -> Any:
        raise error

    async def fail_later(payload: Any) -> Any:
        raise error

    bench.agent.action("do", errors={KeyError: "NotFound"})(fail_later if on_loop else fail)
    report = await bench.run("do")

    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    # The interpreter itself turns it into this in a coroutine.
    converted = on_loop and isinstance(error, StopIteration)
    assert report.failure.type == ("RuntimeError" if converted else type)
    assert report.stopped
    assert (await bench.run("do")).outcome is Outcome.FAILED  # Nothing is broken by it.


@pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])
async def test_an_output_that_is_no_value_is_a_failure(on_loop: bool) -> None:
    bench = Bench()

    async def later(payload: Any) -> Any:
        return object()

    bench.agent.action("do")(later if on_loop else lambda payload: object())
    report = await bench.run("do")

    assert report.outcome is Outcome.FAILED
    assert report.failure is not None and report.failure.type == "NotAValue"
    assert "step 's1' output" in report.failure.message


async def test_a_handler_is_told_its_attempt() -> None:
    bench, reported = Bench(), []

    @bench.agent.action("do")
    def do(payload: Any, ctx: Any) -> Any:
        ctx.progress(1, 2)
        return [
            ctx.run_id, ctx.step_id, ctx.attempt, ctx.idempotency_key, dict(ctx.inputs), ctx.item,
            ctx.cancelled(),
        ]  # fmt: skip

    report = await bench.run(
        "do", attempt=3, idempotency_key="k", inputs={"before": 1}, item=7,
        on_progress=lambda done, total: reported.append((done, total)),
    )  # fmt: skip

    assert report.output == ["r1", "s1", 3, "k", {"before": 1}, 7, False]
    assert reported == [(1, 2)]


# --- asked to stop -------------------------------------------------------------------------------


async def test_a_coroutine_that_obeys_is_cancelled_at_once() -> None:
    bench = Bench()

    @bench.agent.action("wait")
    async def wait(payload: Any) -> None:
        await asyncio.Event().wait()

    attempt = bench.begin("wait")
    await settle()
    bench.tokens[0].cancel("test")
    report = await asyncio.wait_for(attempt, 20.0)

    assert (report.outcome, report.stopped) == (Outcome.CANCELLED, True)
    assert bench.clock.armed == 0


async def test_a_coroutine_that_disobeys_is_abandoned_after_the_grace_and_not_before() -> None:
    bench, let_go = Bench(), asyncio.Event()

    @bench.agent.action("wait")
    async def wait(payload: Any) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    attempt = bench.begin("wait")
    await settle()
    bench.tokens[0].cancel("test")
    await bench.clock.advance(GRACE_S - 0.001)
    assert not attempt.done()
    await bench.clock.advance(0.002)

    report = await asyncio.wait_for(attempt, 20.0)
    assert (report.outcome, report.stopped) == (Outcome.ABANDONED, False)
    assert report.seconds == pytest.approx(GRACE_S, abs=0.01)
    assert "1 abandoned attempts are still running" in bench.layer.health().reason
    let_go.set()
    await settle()
    assert bench.layer.health().reason == ""


async def test_a_thread_that_polls_obeys_and_gives_its_value(gate: Gate) -> None:
    bench = Bench()

    @bench.agent.action("poll")
    def poll(payload: Any, ctx: Any) -> str:
        ctx.progress(0, 0)
        while not ctx.cancelled():
            pass
        return "stopped early"

    began = asyncio.Event()
    loop = asyncio.get_running_loop()
    attempt = bench.begin(
        "poll", on_progress=lambda done, total: loop.call_soon_threadsafe(began.set)
    )
    await asyncio.wait_for(began.wait(), 20.0)
    bench.tokens[0].cancel("test")

    report = await asyncio.wait_for(attempt, 20.0)
    assert (report.outcome, report.output) == (Outcome.SUCCEEDED, "stopped early")
    assert bench.clock.armed == 0


async def test_a_thread_that_hangs_is_abandoned_and_its_place_taken(gate: Gate) -> None:
    bench = Bench(workers=1)
    bench.agent.action("hang")(gate)
    bench.agent.action("do")(lambda payload: payload)
    hanging = bench.begin("hang")
    await gate.came()
    waiting = bench.begin("do", "next")
    await settle()
    assert not waiting.done()

    bench.tokens[0].cancel("test")
    await bench.clock.advance(GRACE_S)

    report = await asyncio.wait_for(hanging, 20.0)
    assert (report.outcome, report.stopped) == (Outcome.ABANDONED, False)
    assert (await asyncio.wait_for(waiting, 20.0)).output == "next"
    assert bench.layer.health().details["abandoned"] == 1
    gate.open()
    await asyncio.wait_for(ended_threads(bench), 20.0)
    assert bench.layer.health().reason == ""


async def test_nothing_starts_while_as_much_hangs_as_may(gate: Gate) -> None:
    bench = Bench(abandoned_max=1)
    bench.agent.action("hang")(gate)
    bench.agent.action("thread")(lambda payload: payload)

    @bench.agent.action("loop")
    async def loop(payload: Any) -> Any:
        return payload

    hanging = bench.begin("hang")
    await gate.came()
    bench.tokens[0].cancel("test")
    await bench.clock.advance(GRACE_S)
    assert (await hanging).outcome is Outcome.ABANDONED

    assert not bench.layer.health().healthy
    for action in ("thread", "loop"):
        report = await bench.run(action, 1)
        assert report.outcome is Outcome.NOT_STARTED
        assert report.failure is not None
        assert "python_layer.abandoned_max=1" in report.failure.message
    gate.open()
    await asyncio.wait_for(ended_threads(bench), 20.0)
    assert bench.layer.health().healthy
    assert [(await bench.run(action, 1)).output for action in ("thread", "loop")] == [1, 1]


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["workers", "agent", "action"])
async def test_at_most_so_many_are_at_work_and_the_others_follow(bound: str, gate: Gate) -> None:
    bench = Bench(workers=2 if bound == "workers" else 8)
    if bound == "agent":
        bench.registry.register("a", [], 2)
    bench.agent.action("do", max_concurrency=2 if bound == "action" else None)(gate)

    attempts = [bench.begin("do", number) for number in range(5)]
    await gate.came()
    await gate.came()
    await settle()
    assert gate.inside == 2
    gate.open()

    outputs = [(await asyncio.wait_for(each, 20.0)).output for each in attempts]
    assert outputs == [0, 1, 2, 3, 4]
    assert gate.inside_max == 2
    assert bench.layer.running == 0


@pytest.mark.parametrize("bound", ["workers", "agent", "action"])
async def test_what_is_asked_to_stop_in_the_queue_never_runs(bound: str, gate: Gate) -> None:
    ran: list[object] = []
    bench = Bench(workers=1 if bound == "workers" else 8)
    if bound == "agent":
        bench.registry.register("a", [], 1)

    @bench.agent.action("do", max_concurrency=1 if bound == "action" else None)
    def do(payload: Any) -> None:
        ran.append(payload)
        gate(payload)

    first, second, third = (bench.begin("do", number) for number in range(3))
    await gate.came()
    bench.tokens[1].cancel("test")
    report = await asyncio.wait_for(second, 20.0)

    assert report.outcome is Outcome.CANCELLED
    assert report.failure is not None and report.failure.message == "asked to stop in the queue"
    gate.open()
    for attempt in (first, third):
        assert (await asyncio.wait_for(attempt, 20.0)).outcome is Outcome.SUCCEEDED
    assert ran == [0, 2]


async def test_what_was_asked_to_stop_before_it_began_never_runs() -> None:
    bench, ran = Bench(), []
    bench.agent.action("do")(ran.append)
    token = CancelToken()
    token.cancel("test")

    report = await bench.layer.run(Work("r1", "s1", "a", "do", "python", 1), token)

    assert (report.outcome, ran) == (Outcome.CANCELLED, [])


async def test_a_callable_that_is_no_action_runs_like_a_handler(gate: Gate) -> None:
    bench = Bench()

    async def later(x: int, y: int) -> int:
        return x + y

    class Adding:
        async def __call__(self, x: int, y: int) -> int:
            return x + y

    functions: list[Callable[..., Any]] = [later, Adding(), lambda x, y: x + y]
    for function in functions:
        report = await bench.layer.call(function, (1, 2), CancelToken(), "here")
        assert (report.outcome, report.output) == (Outcome.SUCCEEDED, 3)
    report = await bench.layer.call(lambda: 1 / 0, (), CancelToken(), "here")
    assert report.failure is not None and report.failure.type == "ZeroDivisionError"
