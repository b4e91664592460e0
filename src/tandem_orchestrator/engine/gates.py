"""Gates: attempts of one agent wait here for their turn, by its limits and those of its actions.

An attempt that waits holds no place, so that a slow agent stops no other. All limits of an agent
are looked at together: a start takes its share of each of them in the same moment, hence a rate is
kept whatever else an attempt had to wait for. The rate is a bucket of one token: starts of a limit
are at least ``1 / rate_per_s`` apart, since who asks for a rate protects somebody else.

Source: the generic cell rate algorithm with a burst of one (ITU-T I.371, annex A).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

from tandem_orchestrator.clock import Clock, Timer
from tandem_orchestrator.engine.ageing import Ageing
from tandem_orchestrator.layers.layer import CancelToken
from tandem_orchestrator.model.limits import AttemptLimits, KeyOf, Limits, LimitsOf
from tandem_orchestrator.model.outcomes import Failure

WAITING_MAX = 100_000
"""Attempts of one agent that may wait; further ones fail as Busy."""

_Entry = tuple[int, int, "asyncio.Future[bool]"]


class Passage:
    """Leave to start, or the reason why there is none; give it back with ``leave``."""

    __slots__ = ("_leave", "failure")

    def __init__(self, leave: Callable[[], None] | None, failure: Failure | None = None) -> None:
        self._leave, self.failure = leave, failure
        """``failure``: the attempt must not start."""

    def leave(self) -> None:
        """Let the next one in; harmless when repeated."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


_STOPPED = Failure("Cancelled", "asked to stop while it waited for its turn")
FREE = Passage(None)
"""Of an action without limits."""


class Gates:
    """The gates of one engine.

    Args:
        clock: For the rates.
        limits_of: See ``LimitsOf``; asked at each attempt, so limits may change at any time.
        ageing: Who of those that wait is next.
    """

    def __init__(self, clock: Clock, limits_of: LimitsOf, ageing: Ageing) -> None:
        self._clock, self._limits_of, self._ageing = clock, limits_of, ageing
        self._agents: dict[str, _AgentGate] = {}

    # Any: a payload is any plain value.
    async def enter(
        self,
        agent: str,
        action: str,
        payload: Callable[[], Any],
        priority: int,
        cancel: CancelToken,
    ) -> Passage:
        """Wait for a turn; higher priorities first, but for ageing, then first come, first served.

        Args:
            payload: Gives the payload, asked for only where there is a key. What it raises is
                raised.
        """
        limits = self._limits_of(agent, action)
        if limits is None:
            return FREE
        if cancel.requested:
            return Passage(None, _STOPPED)
        try:
            key = _key_of(limits.action.concurrency_key, payload)
        except _BadKey as bad:
            return Passage(None, Failure("BadKey", f"{agent}.{action}: {bad}"))
        gate = self._agents.get(agent)
        if gate is None:
            gate = self._agents[agent] = _AgentGate(self._clock, self._ageing)
        return await gate.enter(action, limits, key, priority, cancel)

    @property
    def waiting(self) -> int:
        """Attempts that wait."""
        return sum(gate.waiting for gate in self._agents.values())


class _BadKey(Exception):
    """A key that cannot be one."""


def _key_of(key_of: KeyOf | None, payload: Callable[[], Any]) -> object:
    if key_of is None:
        return None
    value = payload()
    if isinstance(key_of, str):
        key = value.get(key_of) if isinstance(value, dict) else None
    else:
        try:
            key = key_of(value)
        except Exception as error:
            raise _BadKey(f"concurrency_key raised {type(error).__name__}: {error}") from error
    if key is not None and not isinstance(key, str | int | float | bool):
        raise _BadKey(f"concurrency_key gave {type(key).__name__}, expected text or a number")
    return type(key), key  # True is not 1 here


class _Share:
    """What one limit has given out."""

    __slots__ = ("limits", "next_ns", "running")

    def __init__(self) -> None:
        self.limits = Limits()
        self.running = 0
        self.next_ns = 0

    def has_room(self) -> bool:
        bound = self.limits.max_concurrency
        return bound is None or self.running < bound

    def wait_ns(self, now_ns: int) -> int:
        return 0 if self.limits.rate_per_s is None else max(0, self.next_ns - now_ns)

    def start(self, now_ns: int) -> None:
        self.running += 1
        if self.limits.rate_per_s is not None:
            interval_ns = int(1e9 / self.limits.rate_per_s)
            self.next_ns = max(now_ns, self.next_ns) + interval_ns


class _Lane:
    """Attempts of one action with one key, by priority."""

    __slots__ = ("queue", "running")

    def __init__(self) -> None:
        self.queue: list[_Entry] = []
        self.running = 0

    def head(self) -> _Entry | None:
        while self.queue and self.queue[0][2].done():
            heapq.heappop(self.queue)
        return self.queue[0] if self.queue else None


class _AgentGate:
    def __init__(self, clock: Clock, ageing: Ageing) -> None:
        self._clock, self._ageing = clock, ageing
        self._whole = _Share()
        self._actions: dict[str, _Share] = {}
        self._lanes: dict[tuple[str, object], _Lane] = {}
        self._order = itertools.count()
        self._timer: Timer | None = None
        self._due_ns = 0
        """When the timer fires."""
        self.waiting = 0

    async def enter(
        self, action: str, limits: AttemptLimits, key: object, priority: int, cancel: CancelToken
    ) -> Passage:
        name = (action, key)
        share = self._actions.setdefault(action, _Share())
        if (self._whole.limits, share.limits) != (limits.agent, limits.action):
            self._whole.limits, share.limits = limits.agent, limits.action
            self._go_on(self._lanes)
        lane = self._lanes.setdefault(name, _Lane())
        wait_ns = self._wait_ns(name, lane)
        if lane.head() is None and wait_ns == 0:
            self._start(name, lane)
            return Passage(lambda: self._leave(name))
        if self.waiting >= WAITING_MAX:
            text = f"{self.waiting} attempts wait for {action} and its agent already"
            return Passage(None, Failure("Busy", text))
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(lane.queue, (self._ageing.rank(priority), next(self._order), turn))
        cancel.on_cancel(lambda: None if turn.done() else turn.set_result(False))
        self.waiting += 1
        if wait_ns:
            self._come_back(wait_ns)
        try:
            entered = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self._leave(name)  # It was let in, in the moment in which it went.
            raise
        finally:
            self.waiting -= 1
            self._drop_if_idle(name)
        return Passage(lambda: self._leave(name)) if entered else Passage(None, _STOPPED)

    def _wait_ns(self, name: tuple[str, object], lane: _Lane) -> int | None:
        """Say how long the lane's next one has to wait; None until somebody leaves."""
        share = self._actions[name[0]]
        if share.limits.concurrency_key is not None:
            room = lane.running < (share.limits.max_concurrency or 1)
        else:
            room = share.has_room()
        if not room or not self._whole.has_room():
            return None
        now_ns = self._clock.monotonic_ns()
        return max(share.wait_ns(now_ns), self._whole.wait_ns(now_ns))

    def _start(self, name: tuple[str, object], lane: _Lane) -> None:
        now_ns = self._clock.monotonic_ns()
        self._whole.start(now_ns)
        self._actions[name[0]].start(now_ns)
        lane.running += 1

    def _leave(self, name: tuple[str, object]) -> None:
        share, lane = self._actions[name[0]], self._lanes[name]
        self._whole.running -= 1
        share.running -= 1
        lane.running -= 1
        # Where attempts wait for their key alone, those of other keys have nothing to hope for.
        alone = not self._whole.limits.bind and share.limits.rate_per_s is None
        self._go_on({name: lane} if alone and share.limits.concurrency_key else self._lanes)
        self._drop_if_idle(name)

    def _go_on(self, lanes: dict[tuple[str, object], _Lane]) -> None:
        """Let in whoever may start now, and come back when the next rate allows."""
        started, soonest_ns = True, None
        while started and self.waiting:
            started, soonest_ns = self._pass_over(lanes)
        if soonest_ns is not None:
            self._come_back(soonest_ns)

    def _pass_over(self, lanes: dict[tuple[str, object], _Lane]) -> tuple[bool, int | None]:
        """Let in at most one of each lane; say whether any, and the shortest wait of the others."""
        heads = [(head, name) for name, lane in lanes.items() if (head := lane.head()) is not None]
        started, soonest_ns = False, None
        for head, name in sorted(heads, key=lambda one: one[0][:2]):
            wait_ns = self._wait_ns(name, lanes[name])
            if wait_ns == 0:
                heapq.heappop(lanes[name].queue)
                self._start(name, lanes[name])
                head[2].set_result(True)
                started = True
            elif wait_ns is not None:
                soonest_ns = wait_ns if soonest_ns is None else min(soonest_ns, wait_ns)
        return started, soonest_ns

    def _come_back(self, wait_ns: int) -> None:
        due_ns = self._clock.monotonic_ns() + wait_ns
        if self._timer is not None:
            if self._due_ns <= due_ns:
                return
            self._timer.cancel()
        self._due_ns = due_ns
        self._timer = self._clock.call_later(wait_ns / 1e9, self._due)

    def _due(self) -> None:
        self._timer = None
        self._go_on(self._lanes)

    def _drop_if_idle(self, name: tuple[str, object]) -> None:
        lane = self._lanes.get(name)
        if lane is not None and not lane.running and lane.head() is None:
            del self._lanes[name]
