"""Progress is told when it has changed, by one timer, and only while something is in flight."""

from collections.abc import Callable

import pytest

from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.native.progress import LOOK_EVERY_S, ProgressWatch


class HandClock:
    """A clock that is moved by hand, one timer at a time."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def monotonic_ns(self) -> int:
        return 0

    def wall_ns(self) -> int:
        return 0

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> "HandClock":
        self.timers.append((delay_s, callback))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def tick(self) -> None:
        (delay_s, callback), self.timers = self.timers[0], self.timers[1:]
        assert delay_s == LOOK_EVERY_S
        callback()


class Words:
    """The shared words of a session: progress by call id."""

    def __init__(self) -> None:
        self.words: dict[int, tuple[int, int]] = {}

    def progress(self, call_id: int) -> tuple[int, int]:
        if call_id not in self.words:
            raise LayerUnavailable("the session is over")
        return self.words[call_id]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_only_what_has_changed_is_told(clock: HandClock):
    watch, session, told = ProgressWatch(clock), Words(), []
    session.words[7] = (0, 0)
    watch.add(session, 7, lambda *seen: told.append(seen))
    clock.tick()
    assert told == []  # nothing was reported yet
    for seen in [(1, 10), (1, 10), (2, 10)]:
        session.words[7] = seen
        clock.tick()
    assert told == [(1, 10), (2, 10)]


def test_any_number_of_calls_share_one_timer_that_ends_with_them(clock: HandClock):
    watch, session = ProgressWatch(clock), Words()
    session.words = dict.fromkeys(range(100), (0, 0))
    for call_id in range(100):
        watch.add(session, call_id, lambda *_: None)
    assert len(clock.timers) == 1
    clock.tick()
    assert len(clock.timers) == 1
    for call_id in range(100):
        watch.remove(session, call_id)
    clock.tick()
    assert clock.timers == []


def test_a_session_that_ends_is_no_error_and_the_others_are_still_told(clock: HandClock):
    watch, dead, alive, told = ProgressWatch(clock), Words(), Words(), []
    alive.words[1] = (3, 4)
    watch.add(dead, 1, lambda *_: told.append("dead"))
    watch.add(alive, 1, lambda *seen: told.append(seen))
    clock.tick()
    assert told == [(3, 4)]


def test_close_disarms(clock: HandClock):
    watch, session = ProgressWatch(clock), Words()
    session.words[1] = (1, 2)
    watch.add(session, 1, lambda *_: None)
    watch.close()
    assert clock.timers == []
