"""One session with a bridge, on one loop: calls out, completions in, and what death leaves.

The client lives in C (slots, rings, deadlines); this room keeps the Futures. A drain takes what
is there in one crossing, completes the Futures, and looks again by ``call_soon`` while answers
keep coming and for ``spin_ns`` after the last one; then it relies on the doorbell, which the drain
has armed. A wake-up costs more than such a wait, and in between the loop has its turns.

Loops are not thread-safe: everything here runs on the loop that connected.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from tandem_orchestrator.errors import Busy, CommandError, Forked, InternalError, LayerUnavailable
from tandem_orchestrator.layers.layer import SegmentWork, Work
from tandem_orchestrator.layers.native import agent_log, messages
from tandem_orchestrator.layers.native.statistics import StatisticsPage

if TYPE_CHECKING:
    from tandem_orchestrator._native import _ext

_T = TypeVar("_T")
_Row = tuple[int, int, int, int, bytes]

DRAIN_MAX = 512
"""Completions taken in one crossing; the loop gets its turn in between."""
SPIN_NS = 20_000
"""Nanoseconds that looks may find nothing before the doorbell is relied on."""
SWEEP_S = 0.02
"""Seconds between two looks for messages that were cancelled, or whose bridge is silent."""
SWEEP_GRACE_S = 0.05
"""Seconds beyond its deadline that a message waits for the bridge's own word."""
_RUN = 5
"""Kind of a call that runs a program."""
UNKNOWN = 4
"""``TD_UNKNOWN``: for what was in flight when a session broke without the bridge's death."""


class Completion(msgspec.Struct, frozen=True):
    """What the C layer said about one call."""

    status: int
    """A ``td_status``, 0 and above."""
    started_ns: int
    """CLOCK_MONOTONIC when it began to run; 0 when it did not."""
    elapsed_ns: int
    """How long it ran."""
    body: bytes
    """OK: the output. FAILED: ``{"type", "message"}``. Strict MessagePack."""
    mark: int = 0
    """Of a program that died with its bridge: the steps from this one on never started."""


@dataclass(frozen=True, slots=True)
class NativeAction:
    """One action as the bridge describes it."""

    agent: str
    name: str
    version: str
    action_id: int
    effects: int
    """0 none, 1 idempotent, 2 external."""
    runs: int
    """0 short, 1 blocking."""
    deterministic: bool
    in_programs: bool
    """Whether a program may hold it as a step."""


def may_spin() -> bool:
    """Say whether looking on helps: on a single CPU it keeps the bridge from working."""
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


async def connect_client(
    socket_path: str, name: str, *, timeout_s: float, spin_ns: int = SPIN_NS
) -> _ext.Client:
    """Connect to a bridge without blocking the loop.

    The thread is one of its own: the loop's default pool may be full of the user's work.
    ``spin_ns`` is how long its session looks before it relies on the doorbell.

    Raises: LayerUnavailable with the bridge's or the system's reason.
    """
    from tandem_orchestrator._native import _ext

    executor = ThreadPoolExecutor(1, thread_name_prefix="tandem-connect")
    try:
        return await asyncio.get_running_loop().run_in_executor(
            executor, functools.partial(_ext.Client, socket_path, name, timeout_s, spin_ns)
        )
    except _ext.NativeError as error:
        raise LayerUnavailable(f"bridge at {socket_path}: {error}") from error
    except RuntimeError as error:
        raise LayerUnavailable(f"no thread to connect to a bridge with: {error}") from error
    finally:
        executor.shutdown(wait=False)


NAMED_MAX = 4096
"""Action ids whose names are remembered while nobody offers them."""


class Session:
    """Calls in flight over one client.

    Attributes:
        ended: Resolves with the reason once the session is over and every call was answered.
        actions: What the bridge and its agents offer now, by (agent, action); another mapping
            after each change.
        on_change: Called after each of them.
        missing: Says why an action is not offered at this moment; empty while nobody knows.
        crashed: Told the agent and action of a message with which a host died.
        bridge_pid: For people.
    """

    def __init__(self, client: _ext.Client) -> None:
        from tandem_orchestrator._native import _ext

        self._ext = _ext
        self._client = client
        self.notes: list[str] = client.notes.splitlines()
        """What the system refused the bridge when the session began, a line each."""
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[Completion]] = {}
        self._look_soon = False
        self._spin_ns = client.spin_ns if may_spin() else 0
        self._page: StatisticsPage | None = None
        self._look_until_ns = 0
        """Looks may find nothing until then; 0: counted from the next look on."""
        self._messages = False
        self._settled = 0
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._fds = (client.fd, client.socket_fd)
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.bridge_pid = client.bridge_pid
        self.actions: dict[tuple[str, str], NativeAction] = {}
        self._actions_version = -1
        self.on_change: Callable[[], None] | None = None
        self.missing: Callable[[], str] = str
        self.crashed: Callable[[str, str], None] | None = None
        self._named: dict[int, tuple[str, str]] = {}
        self.works: dict[int, Work | SegmentWork] = {}
        """Attempts and segments in flight by call id, for the lines that their agents log."""
        self._learn()
        try:
            for fd in self._fds:
                self._loop.add_reader(fd, self._take, client.drain, True)
        except OSError as error:
            self._end("it cannot be watched")
            raise LayerUnavailable(f"the session cannot be watched: {error}") from error
        self._schedule_look()  # it arms the doorbell: agents may come before the first call

    @property
    def in_flight(self) -> int:
        """Calls without an answer yet."""
        return len(self._waiting)

    def call(
        self,
        action_id: int,
        body: bytes,
        *,
        inputs: bytes | None = None,
        attempt: int = 1,
        lane: int = 2,
        deadline_ns: int = 0,
        reply_bytes_max: int = 0,
        idempotency_key: bytes | None = None,
        cpus: bytes | None = None,
        kind: int = 1,
    ) -> tuple[int, asyncio.Future[Completion]]:
        """Send one call; arguments as in ``_ext.Client.call``.

        Returns: Its id, and a Future that always gets a Completion, also at the bridge's death.

        Raises: Busy (no slot or room now), CommandError (too large), Forked, LayerUnavailable.
        """
        try:
            call_id = self._client.call(
                action_id,
                body,
                inputs=inputs,
                attempt=attempt,
                lane=lane,
                deadline_ns=deadline_ns,
                reply_bytes_max=reply_bytes_max,
                idempotency_key=idempotency_key,
                cpus=cpus,
                kind=kind,
            )
        except self._ext.NativeError as error:
            self._schedule_look()  # if the session is over, that is where it ends
            self._raise(error)
        return call_id, self._wait_for(call_id)

    def run(
        self, program_id: int, body: bytes, lane: int, cpus: bytes | None = None
    ) -> tuple[int, asyncio.Future[Completion]]:
        """Send a RUN, as ``call`` does; while others are in flight, one doorbell rings for many."""
        hold = 1 if self._waiting else 0
        try:
            call_id = self._client.call(
                program_id, body, kind=_RUN, lane=lane, hold=hold, cpus=cpus
            )
        except self._ext.NativeError as error:
            self._schedule_look()
            self._raise(error)
        return call_id, self._wait_for(call_id)

    def _wait_for(self, call_id: int) -> asyncio.Future[Completion]:
        future: asyncio.Future[Completion] = self._loop.create_future()
        self._waiting[call_id] = future
        self._sent()
        return future

    # Any: payloads and outputs are any plain values.
    def send(
        self, action_id: int, payload: Any, lane: int, timeout_s: float | None, flags: int
    ) -> asyncio.Future[Any]:
        """Send one message; its answer is settled in C. ``flags`` as in ``messages``.

        Raises: NotAValue; as ``call``.
        """
        if not self._messages:
            self._prepare_messages()
        try:
            future = self._client.send(action_id, payload, lane, timeout_s, flags)
        except self._ext.NativeError as error:
            self._schedule_look()
            self._raise(error)
        self._sent()
        return future

    def way(self, action_id: int, lane: int) -> _ext.Way:
        """Make the short way to one action: ``way(payload, timeout_s)`` is a Future, or None.

        None means that ``send`` knows what is wrong: another loop, no session, no room, a timeout
        that cannot be. What is no value is raised, as there.

        Raises: Forked, LayerUnavailable.
        """
        if not self._messages:
            self._prepare_messages()
        try:
            return self._client.way(action_id, lane)
        except self._ext.NativeError as error:
            self._raise(error)

    def send_many(
        self,
        action_id: int,
        payloads: tuple[Any, ...],
        lane: int,
        timeout_s: float | None,
        flags: int,
    ) -> asyncio.Future[list[Any]]:
        """Send many messages, in windows; one Future gets their outputs or exceptions, in order.

        Raises: Forked, LayerUnavailable.
        """
        if not self._messages:
            self._prepare_messages()
        try:
            future = self._client.send_many(action_id, payloads, lane, timeout_s, flags)
        except self._ext.NativeError as error:
            self._schedule_look()
            self._raise(error)
        self._sent()
        return future

    def message_stats(self) -> dict[str, int]:
        """Count messages: settled, failed, elapsed_ns, dropped, late, waiting; also at the end."""
        return self._client.message_stats() if self._messages else {}

    def cancel(self, call_id: int) -> None:
        """Ask a call to stop; its Completion still comes. Harmless when it has ended."""
        if call_id in self._waiting:
            self._ask(self._client.cancel, call_id)

    def progress(self, call_id: int) -> tuple[int, int]:
        """Read (done, total) of a call in flight; (0, 0) before its first report or after it."""
        if call_id not in self._waiting:
            return 0, 0
        return self._ask(self._client.progress, call_id)

    # Any: numbers, and a list of them.
    def bridge_stats(self) -> dict[str, Any]:
        """Read the bridge's counters from its page; empty once the session is over."""
        if self._client.closed:
            return {}
        if self._page is None:
            self._page = StatisticsPage(self._client.statistics_fd)
        return self._page.read()

    def stats(self) -> dict[str, int]:
        """Read the client's counters; empty once the session is over."""
        return {} if self._client.closed else self._client.stats()

    def close(self) -> None:
        """End the session; what is in flight is answered UNKNOWN or NOT_STARTED."""
        self._end("closed here")

    def _ask(self, question: Callable[[int], _T], call_id: int) -> _T:
        try:
            return question(call_id)
        except self._ext.NativeError as error:
            self._raise(error)

    def _raise(self, error: _ext.NativeError) -> NoReturn:
        """Turn the extension's exception into the one callers know."""
        ext = self._ext
        if isinstance(error, ext.Forked):
            raise Forked(str(error)) from error
        if isinstance(error, ext.Busy):
            raise Busy(f"C layer: {error}") from error
        if isinstance(error, ext.TooLarge):
            raise CommandError(f"C layer: {error}") from error
        if isinstance(error, (ext.Closed, ext.Corrupt)):  # nothing of this call ran
            raise LayerUnavailable(f"C layer: {error}") from error
        raise InternalError(f"C layer: {error}") from error

    def _sent(self) -> None:
        self._look_until_ns = 0
        if not self._look_soon:
            self._look_soon = True
            self._loop.call_soon(self._look)

    def _schedule_look(self) -> None:
        if not self._look_soon:
            self._look_soon = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._look_soon = False
        if not self.ended.done():
            again = False
            if self._waiting or (self._messages and self._client.waiting):
                now_ns = time.monotonic_ns()
                if self._look_until_ns == 0:
                    self._look_until_ns = now_ns + self._spin_ns
                again = now_ns < self._look_until_ns
            # The last look arms the doorbell; the others spare the bridge the ringing.
            self._take(self._client.poll if again else self._client.drain, not again)

    def _take(self, look: Callable[[int], tuple[list[_Row], bool]], arms: bool) -> None:
        """Take what has come; a look that does not arm the doorbell is never the last one."""
        try:
            batch, more = look(DRAIN_MAX)
        except self._ext.Forked:
            return  # the loop is the parent's; there is nothing to look after here
        except self._ext.Closed:
            self._end("the bridge is gone", self._client.fate)
            return
        except (self._ext.NativeError, MemoryError) as error:
            self._end(f"the session is broken: {type(error).__name__} {error}")
            return
        if self._client.logs_waiting:  # before the answers: their ends forget whose line it is
            self._say()
        for call_id, status, started_ns, elapsed_ns, body in batch:
            future = self._waiting.pop(call_id, None)
            if future is not None and not future.done():
                future.set_result(Completion(status, started_ns, elapsed_ns, body))
        if self._client.actions_version != self._actions_version:
            self._learn()
        came, waiting = bool(batch), bool(self._waiting)
        if self._messages:
            settled = self._client.settled
            came = came or settled != self._settled
            self._settled = settled
            if self._client.waiting:
                waiting = True
                if self._sweep_timer is None:
                    self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)
        if came:
            self._look_until_ns = 0
        if more or not arms or (waiting and came):
            self._schedule_look()

    def _say(self) -> None:
        names = {row.action_id: row for row in self.actions.values()}
        for line in self._client.take_logs():
            row = names.get(line[1])
            agent, action = ("unknown", "unknown") if row is None else (row.agent, row.name)
            work = self.works.get(line[0])
            if isinstance(
                work, Work
            ):  # its own names: a library's function has others in the bridge
                agent, action = work.agent, work.action
            agent_log.emit(line, agent, action, work)

    def _learn(self) -> None:
        """Read the action table again: agents came or went."""
        self._actions_version = self._client.actions_version
        self.actions = {
            (action.agent, action.name): action
            for action in (NativeAction(*row) for row in self._client.actions())
        }
        if self._messages:
            self._prepare_messages()  # it knows actions by name, too
        if self.on_change is not None:
            self.on_change()

    def _prepare_messages(self) -> None:
        if len(self._named) > NAMED_MAX:
            self._named.clear()
        # Those that went stay: an answer may tell of the very death that took its action away.
        self._named.update((row.action_id, key) for key, row in self.actions.items())
        names = {number: ".".join(key) for number, key in self._named.items()}
        try:
            messages.prepare(
                self._client,
                names,
                self._loop,
                self._sent,
                lambda: self.missing(),
                self._tell_crash,
            )
        except self._ext.NativeError as error:
            self._raise(error)
        self._messages = True

    def _tell_crash(self, action_id: int) -> None:
        if self.crashed is not None and action_id in self._named:
            self.crashed(*self._named[action_id])

    def _sweep(self) -> None:
        """End messages that were cancelled, or whose deadline the bridge has let pass in silence."""
        self._sweep_timer = None
        if self.ended.done():
            return
        try:
            self._client.sweep(SWEEP_GRACE_S)
        except self._ext.Forked:
            return
        if self._client.waiting:
            self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)
            self._schedule_look()  # a batch that found no room tries again

    def _end(self, reason: str, fate: Callable[[int], int] | None = None) -> None:
        if self.ended.done():
            return
        for fd in self._fds:
            self._loop.remove_reader(fd)
        for call_id, future in self._waiting.items():
            if not future.done():
                status = UNKNOWN if fate is None else fate(call_id)
                # The words of progress lie in memory that outlives the bridge.
                mark = self.progress(call_id)[0] if status == UNKNOWN and fate else 0
                future.set_result(Completion(status, 0, 0, b"", mark))
        self._waiting.clear()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        if self._messages and not self._client.closed:
            self._client.end_messages(True)
        self._client.close()
        if self._page is not None:
            self._page.close()
        self.ended.set_result(reason)
