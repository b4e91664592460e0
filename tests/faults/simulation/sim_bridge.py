"""A bridge without a process: it speaks what ``_ext.Client`` gives to ``Session``, in virtual time.

Everything above the client is the real thing. A call goes through a ring in order, waits for a
worker, runs, and its answer comes back after a while, in any order. The bridge dies and comes back;
what it had taken is UNKNOWN then, what lay in the ring NOT_STARTED, and answers under way are lost.
Slots are few, so that callers meet a full bridge. Old answers come twice. The doorbell rings only
for who has armed it.
"""

from __future__ import annotations

import contextvars
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sim_loop import SimLoop
from sim_work import EFFECTS, EXT, Effects, answer

from tandem_orchestrator._native import _ext
from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.layer import SegmentWork, Work
from tandem_orchestrator.layers.native import NativeLayer, NativeLimits, SupervisorLimits
from tandem_orchestrator.layers.native import program_outcome as codes
from tandem_orchestrator.layers.native import program_reference as reference
from tandem_orchestrator.layers.native.body import decode_body, encode_body
from tandem_orchestrator.layers.native.program_outcome import StepOutcome

OK, FAILED, TIMED_OUT, CANCELLED, UNKNOWN, NOT_STARTED, NO_AGENT = range(7)
LOAD, RUN = 4, 5
SLOTS = 6
WORKERS = 3
TRANSIT_NS_MAX = 2_000_000
EFFECT_NUMBERS = {"none": 0, "idempotent": 1, "external": 2}
ACTIONS = [
    (agent, action, "1", 1 + n, EFFECT_NUMBERS[EFFECTS[action]], 1, False, True)
    for n, (agent, action) in enumerate(itertools.product(("sim", "nat"), EFFECTS))
]
NAMES = {row[3]: (row[0], row[1]) for row in ACTIONS}
_fds = itertools.count(1_000_000)


@dataclass
class Call:
    """One call, from the ring to its answer."""

    client: SimClient
    id: int
    action_id: int
    kind: int
    body: bytes
    lane: int
    attempt: int
    deadline_ns: int
    phase: str = "sent"
    """``sent | taken | running | over``."""
    cancelled: bool = False
    obeys: bool = True
    work: Work | SegmentWork | None = None
    started_ns: int = 0
    mark: int = 0
    rows: list[StepOutcome] = field(default_factory=list)
    timeline: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    """Of a program: (from when on after its start, step's position, effect)."""
    timers: list[Any] = field(default_factory=list)


class SimBridge:
    """The bridge all programs share."""

    def __init__(self, loop: SimLoop, rng: random.Random, effects: Effects) -> None:
        self.loop, self.rng, self.effects = loop, rng, effects
        self.outside = contextvars.Context()
        self.is_up = True
        self.bug = ""
        """A planted bug: ``stale`` or ``silent``."""
        self.clients: list[SimClient] = []
        self.programs: dict[int, bytes] = {}
        self._numbers = itertools.count(1)
        self._lanes: list[tuple[int, int, Call]] = []
        self._order = itertools.count()
        self._running = 0

    def later(self, delay_ns: int, callback: Callable[..., None], *args: Any) -> Any:
        """Call something in the bridge's name."""
        return self.loop.call_later(delay_ns / 1e9, callback, *args, context=self.outside)

    def transit_ns(self) -> int:
        """Draw how long something takes from here to there."""
        return self.rng.randrange(TRANSIT_NS_MAX)

    def die(self) -> None:
        """Lose everything but what lies in rings."""
        self.is_up = False
        self._lanes.clear()
        self._running = 0
        self.programs.clear()
        clients, self.clients = self.clients, []
        for client in clients:
            for call in client.calls.values():
                for timer in call.timers:
                    timer.cancel()
            client.is_gone = True
            self.later(self.transit_ns(), client.ring_socket)

    def come_back(self) -> None:
        """Take sessions again."""
        self.is_up = True

    def pop(self, client: SimClient) -> None:
        """Take the first call of a ring."""
        if client.is_gone or client.closed or not client.submitted:
            return
        call = client.submitted.popleft()
        call.phase = "taken"
        call.work = client.work_of(call.id)
        if call.cancelled:
            self.end(call, CANCELLED)
        elif call.kind == LOAD:
            number = next(self._numbers)
            self.programs[number] = call.body
            self.end(call, OK, encode_body(number))
        elif call.kind == RUN and (call.action_id not in self.programs or self.rng.random() < 0.03):
            self.programs.pop(call.action_id, None)
            self.end(call, NO_AGENT)
        else:
            heapq.heappush(self._lanes, (call.lane, next(self._order), call))
            self._start_some()

    def _start_some(self) -> None:
        while self._lanes and self._running < WORKERS:
            call = heapq.heappop(self._lanes)[2]
            if call.phase == "taken":
                self._running += 1
                self._start(call)

    def _start(self, call: Call) -> None:
        call.phase, call.started_ns = "running", self.loop.now_ns
        call.obeys = self.rng.random() < 0.8
        if call.cancelled:
            self.end(call, CANCELLED)
            return
        if call.kind == RUN:
            self._start_program(call)
            return
        assert isinstance(call.work, Work)
        work, payload = call.work, decode_body(call.body)
        _, action = NAMES[call.action_id]
        seconds_ns = int(payload.get("s", 0.0) * 1e9)
        self.effects.watch(work.run_id)
        if action == EXT:
            at_ns = int(seconds_ns * payload.get("at", 0.5))
            call.timers.append(self.later(at_ns, self._effect, call))
        if self.rng.random() < 0.02:  # its agent dies
            body = encode_body({"type": "AgentDied", "message": "simulated"})
            at_ns = int(seconds_ns * self.rng.random())
            call.timers.append(self.later(at_ns, self.end, call, UNKNOWN, body))
        if call.deadline_ns:
            left_ns = max(0, call.deadline_ns - self.loop.now_ns)
            call.timers.append(self.later(left_ns, self.end, call, TIMED_OUT))
        if call.attempt <= payload.get("fail", 0):
            told = {"type": "ValueError", "message": "told to fail"}
            end = (FAILED, encode_body(told))
        else:
            end = (OK, encode_body(answer(payload.get("x"))))
        call.timers.append(self.later(seconds_ns + 1, self.end, call, *end))

    def _effect(self, call: Call) -> None:
        work = call.work
        assert isinstance(work, Work)
        self.effects.happens(work.run_id, work.step_id, work.item, call.attempt, "c")

    def _start_program(self, call: Call) -> None:
        work = call.work
        assert isinstance(work, SegmentWork)
        self.effects.watch(work.run_id)
        run = _ProgramRun(self, call, work, call.client.outers(work))
        run.to_the_end()
        call.rows = [run.ended.get(s.id, StepOutcome(codes.NOT_STARTED)) for s in work.steps]
        for at_ns, position, effect in call.timeline:
            call.timers.append(self.later(at_ns, self._step_begins, call, position, effect))
        call.timers.append(self.later(run.at_ns + 1, self._end_program, call))

    def _step_begins(self, call: Call, position: int, effect: Callable[[], None]) -> None:
        call.mark = max(call.mark, position + 1)
        effect()

    def _end_program(self, call: Call) -> None:
        elapsed_ns = self.loop.now_ns - call.started_ns
        body = msgspec.msgpack.encode([call.started_ns, elapsed_ns, 0, call.rows])
        self.end(call, OK, body)

    def cancel(self, call: Call) -> None:
        """Somebody asks a call to stop."""
        call.cancelled = True
        if call.phase == "running" and call.obeys:
            self.later(self.transit_ns(), self._obey, call)

    def _obey(self, call: Call) -> None:
        if call.phase != "running":
            return
        if call.kind != RUN:
            self.end(call, CANCELLED)
            return
        assert isinstance(call.work, SegmentWork)
        begun = {position for at_ns, position, _ in call.timeline
                 if at_ns <= self.loop.now_ns - call.started_ns}  # fmt: skip
        last = max(begun, default=-1)
        call.rows = [
            row if i in begun and i != last
            else StepOutcome(codes.CANCELLED if i == last else codes.NOT_STARTED)
            for i, row in enumerate(call.rows)
        ]  # fmt: skip
        self._end_program(call)

    def end(self, call: Call, status: int, body: bytes = b"") -> None:
        """Answer a call, once."""
        if call.phase == "over":
            return
        if call.phase == "running":
            self._running -= 1
        call.phase = "over"
        for timer in call.timers:
            timer.cancel()
        elapsed_ns = self.loop.now_ns - call.started_ns if call.started_ns else 0
        row = (call.id, status, call.started_ns, elapsed_ns, body)
        self.later(self.transit_ns(), call.client.arrive, row)
        if self.rng.random() < 0.1:  # an old answer comes again
            self.later(self.rng.randrange(800_000_000), call.client.arrive_again, row)
        self._start_some()

    def forget(self, client: SimClient) -> None:
        """A session ended: its calls are cancelled."""
        if client in self.clients:
            self.clients.remove(client)
        for call in client.calls.values():
            if call.phase in ("taken", "running"):
                self.cancel(call)


class _ProgramRun(reference._Run):
    """The reference, and when which step begins."""

    def __init__(
        self, bridge: SimBridge, call: Call, work: SegmentWork, outers: tuple[str, ...]
    ) -> None:
        self._bridge, self._call, self._work = bridge, call, work
        self._places = {step.id: i for i, step in enumerate(work.steps)}
        self._calls: dict[str, int] = {}
        self.at_ns = 0
        super().__init__(work.steps, {}, dict(work.inputs), dict(work.outputs), outers)

    def call(self, step: Any, item: Any) -> StepOutcome:
        number = self._calls[step.id] = self._calls.get(step.id, -1) + 1
        given: list[Any] = []
        action = step.action

        def act(payload: Any, inputs: Any) -> Any:
            given.append(payload)
            if payload.get("fail", 0) >= 1:
                raise reference.ActionFailed("ValueError", "told to fail")
            return answer(payload.get("x"))

        self.actions = {(step.agent, action): act}
        outcome = super().call(step, item)
        payload = given[0] if given else {}
        seconds_ns = int(payload.get("s", 0.0) * 1e9)
        if step.timeout_s is not None and seconds_ns > step.timeout_s * 1e9:
            limit_ns = int(step.timeout_s * 1e9)
            outcome = StepOutcome(codes.TIMED_OUT, 0, limit_ns, None, "TimeoutError", "late")
            seconds_ns = limit_ns
        place = self._places[step.id]
        self._call.timeline.append((self.at_ns, place, lambda: None))
        at_ns = self.at_ns + int(payload.get("s", 0.0) * 1e9 * payload.get("at", 0.5))
        if given and action == EXT and at_ns <= self.at_ns + seconds_ns:
            where = (self._work.run_id, step.id, number if step.for_each is not None else None)

            def effect() -> None:
                self._bridge.effects.happens(*where, 0, "c program")

            self._call.timeline.append((at_ns, place, effect))
        self.at_ns += seconds_ns
        return outcome


class SimClient:
    """One session's end in a program: what ``_ext.Client`` is."""

    notes, spin_ns, bridge_pid, statistics_fd = "", 0, 1, -1
    logs_waiting, actions_version, waiting, settled = False, 1, False, 0

    def __init__(self, bridge: SimBridge) -> None:
        self._bridge = bridge
        self.fd, self.socket_fd = next(_fds), next(_fds)
        self.closed = self.is_gone = False
        self.calls: dict[int, Call] = {}
        """Without an answer that was drained."""
        self.submitted: deque[Call] = deque()
        self.outers: Callable[[SegmentWork], tuple[str, ...]] = lambda work: ()
        self._generations = [0] * SLOTS
        self._done: deque[tuple[int, int, int, int, bytes]] = deque()
        self._is_armed = False
        bridge.clients.append(self)

    def actions(self) -> list[tuple[Any, ...]]:
        return list(ACTIONS)

    def call(
        self, action_id: int, body: bytes, *, inputs: Any = None, attempt: int = 1, lane: int = 2,
        deadline_ns: int = 0, reply_bytes_max: int = 0, idempotency_key: Any = None,
        kind: int = 1, hold: int = 0, cpus: Any = None,
    ) -> int:  # fmt: skip
        if self.closed:
            raise _ext.Closed("the session is closed")
        used = {call_id & 0xFFFF for call_id in self.calls}
        slot = next((n for n in range(SLOTS) if n not in used), None)
        if slot is None:
            raise _ext.Busy("no slot is free")
        self._generations[slot] += 1
        call_id = slot | self._generations[slot] << 32
        made = Call(self, call_id, action_id, kind, bytes(body), lane, attempt, deadline_ns)
        self.calls[call_id] = made
        self.submitted.append(made)
        self._bridge.later(self._bridge.transit_ns(), self._bridge.pop, self)
        return call_id

    def work_of(self, call_id: int) -> Work | SegmentWork | None:
        session = self._bridge.loop.reader_owner(self.socket_fd)
        return None if session is None else session.works.get(call_id)

    def cancel(self, call_id: int) -> None:
        self._bridge.cancel(self.calls[call_id])

    def progress(self, call_id: int) -> tuple[int, int]:
        call = self.calls.get(call_id)
        return (0, 0) if call is None else (call.mark, len(call.rows))

    def fate(self, call_id: int) -> int:
        return NOT_STARTED if self.calls[call_id].phase == "sent" else UNKNOWN

    def drain(self, most: int) -> tuple[list[tuple[int, int, int, int, bytes]], bool]:
        taken = self._look(most)
        if not taken[1] and not (self._bridge.bug == "silent" and self._bridge.rng.random() < 0.3):
            self._is_armed = True
        return taken

    def poll(self, most: int) -> tuple[list[tuple[int, int, int, int, bytes]], bool]:
        return self._look(most)

    def _look(self, most: int) -> tuple[list[tuple[int, int, int, int, bytes]], bool]:
        if self.closed or (self.is_gone and not self._done):
            raise _ext.Closed("the bridge is gone")
        rows = []
        while self._done and len(rows) < most:
            row = self._done.popleft()
            if self.calls.pop(row[0], None) is None:
                if self._bridge.bug != "stale":
                    continue  # of an older generation of its slot: C drops it
                same = [i for i in self.calls if i & 0xFFFF == row[0] & 0xFFFF]
                if not same:
                    continue
                del self.calls[same[0]]
                row = (same[0], *row[1:])
            rows.append(row)
        return rows, bool(self._done)

    def arrive(self, row: tuple[int, int, int, int, bytes]) -> None:
        """The bridge has pushed an answer; one that was under way when it died never comes."""
        if self.is_gone or self.closed:
            return
        self._done.append(row)
        if self._is_armed:
            self._is_armed = False
            self._bridge.loop.ring(self.fd)

    def arrive_again(self, row: tuple[int, int, int, int, bytes]) -> None:
        """An old answer lies in the ring once more."""
        self.arrive(row)

    def ring_socket(self) -> None:
        """The socket has come to its end."""
        self._bridge.loop.ring(self.socket_fd)

    def take_logs(self) -> list[Any]:
        return []

    def stats(self) -> dict[str, int]:
        return {}

    def sweep(self, grace_s: float) -> int:
        return 0

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._bridge.later(self._bridge.transit_ns(), self._bridge.forget, self)


def native_layer(
    bridge: SimBridge, owner: str, clock: Any, on_event: Any, supervisor: SupervisorLimits
) -> NativeLayer:
    """Make the real C layer, with the simulated bridge in the place of a process."""

    class Layer(NativeLayer):
        def _way_to_a_bridge(self) -> Any:
            async def connect() -> tuple[None, Any]:
                if not bridge.is_up:
                    raise LayerUnavailable("the simulated bridge is down")
                client = SimClient(bridge)

                def outers(work: SegmentWork) -> tuple[str, ...]:
                    segments = self.segments
                    return () if segments is None else segments.compile(work.steps)[0].outers

                client.outers = outers
                return None, client

            return connect

    limits = NativeLimits(cancel_grace_s=1.0, supervisor=supervisor)
    return Layer(owner, on_event=on_event, clock=clock, limits=limits)
