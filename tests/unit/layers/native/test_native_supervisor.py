"""The supervisor waits as its policy says, gives up aloud, and never leaves anybody hanging."""

import asyncio
from collections.abc import Callable

import pytest

from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers import CancelToken
from tandem_orchestrator.layers.native.restarts import RestartLimits
from tandem_orchestrator.layers.native.supervisor import BridgeSupervisor, SupervisorLimits

LIMITS = SupervisorLimits(
    stop_grace_s=0.5,
    restarts=RestartLimits(
        first_delay_s=1.0, delay_max_s=4.0, deaths_max=3, window_s=600.0, cooldown_s=100.0
    ),
)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)

    def wall_ns(self) -> int:
        return self.monotonic_ns()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> "HandClock.Entry":
        entry = (self.now_s + delay_s, callback)
        self._calls.append(entry)
        return HandClock.Entry(self._calls, entry)

    async def advance(self, seconds: float) -> None:
        self.now_s += seconds
        for entry in [entry for entry in self._calls if entry[0] <= self.now_s + 1e-9]:
            self._calls.remove(entry)
            entry[1]()
        for _ in range(20):  # let everything that became ready run
            await asyncio.sleep(0)

    class Entry:
        def __init__(self, calls: list, entry: tuple) -> None:
            self._calls, self._entry = calls, entry

        def cancel(self) -> None:
            if self._entry in self._calls:
                self._calls.remove(self._entry)


class NoBridge:
    """A bridge that never starts, and counts how often it was tried."""

    def __init__(self) -> None:
        self.tries = 0

    async def __call__(self):
        self.tries += 1
        raise LayerUnavailable(f"try {self.tries} failed")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def supervised(clock: HandClock, open_bridge, events: list | None = None):
    events = [] if events is None else events
    supervisor = BridgeSupervisor(
        open_bridge, clock=clock, on_event=lambda *event: events.append(event), limits=LIMITS
    )
    await supervisor.start()
    await clock.advance(0.0)
    return supervisor


async def test_a_first_start_that_fails_is_a_reason_not_an_error(clock: HandClock):
    supervisor = await supervised(clock, NoBridge())
    assert supervisor.away == "try 1 failed"
    assert supervisor.session is None
    await supervisor.close()


async def test_it_tries_again_after_a_doubling_wait_and_then_opens_the_breaker(clock: HandClock):
    bridge, events = NoBridge(), []
    supervisor = await supervised(clock, bridge, events)
    tried_at = []
    for second in range(1, 8):
        before = bridge.tries
        await clock.advance(1.0)
        if bridge.tries > before:
            tried_at.append(second)
    assert tried_at == [1, 3, 7]  # after 1, 2 and 4 s
    assert supervisor.describe()["breaker_open"] is True
    assert [kind for kind, _ in events] == ["gave_up"]
    assert "next try in 100 s" in events[0][1]
    await clock.advance(99.0)
    assert bridge.tries == 4
    await clock.advance(1.0)
    assert bridge.tries == 5  # the trial start
    await supervisor.close()


async def test_asking_for_a_session_while_away_fails_at_once(clock: HandClock):
    supervisor = await supervised(clock, NoBridge())
    with pytest.raises(LayerUnavailable, match="try 1 failed"):
        await asyncio.wait_for(supervisor.session_within(1000.0, CancelToken()), 1.0)
    await supervisor.close()


async def test_close_during_a_wait_ends_the_supervision(clock: HandClock):
    bridge = NoBridge()
    supervisor = await supervised(clock, bridge)
    await supervisor.close()
    await supervisor.close()  # may be repeated
    await clock.advance(1000.0)
    assert bridge.tries == 1
    assert supervisor.away == "closed"


async def test_a_bug_in_the_way_to_a_bridge_becomes_the_reason(
    clock: HandClock, caplog: pytest.LogCaptureFixture
):
    bridge, events = NoBridge(), []
    supervisor = await supervised(clock, bridge, events)

    async def broken() -> None:
        raise RuntimeError("a bug")

    supervisor._open_bridge = broken
    await clock.advance(1.0)
    assert "supervisor failed: RuntimeError('a bug')" in supervisor.away
    assert events[-1][0] == "gave_up"
    assert "bridge supervisor failed" in caplog.text
    await supervisor.close()
