"""Sessions for callers who block: at most eight, shared by all threads, each used by one at a time.

A call takes an idle session or opens one, and waits for a free one when all are in use. Nothing
here belongs to a loop. The lock is held only to take and to give back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tandem_orchestrator.errors import Busy, Closed, CommandError, Forked, LayerUnavailable
from tandem_orchestrator.layers.native.messages import prepare
from tandem_orchestrator.layers.native.session import NAMED_MAX, SPIN_NS, Session

if TYPE_CHECKING:
    from tandem_orchestrator._native import _ext

SESSIONS_MAX = 8
"""Sessions that blocking callers share; the bridge's budget has room for sixteen."""
CONNECT_S_MAX = 5.0
"""Seconds for opening a session, within the caller's own timeout."""


@dataclass(slots=True)
class _Line:
    """One session of the pool."""

    client: _ext.Client
    bridge: Session
    """The loop's session at its opening: another one there means another bridge."""
    crashed: Callable[[str, str], None] | None = None
    """Told the agent and action of a message with which a host died; on the caller's thread."""
    named: dict[int, tuple[str, str]] = field(default_factory=dict)
    """By id, those that went included."""
    actions: dict[tuple[str, str], int] = field(default_factory=dict)
    version: int = -1
    """Of the actions."""

    def learn(self) -> None:
        """Read what has come, and the actions again: agents came or went."""
        while self.client.drain(64)[1]:
            pass
        self.version = self.client.actions_version
        self.actions = {(row[0], row[1]): row[3] for row in self.client.actions()}
        if len(self.named) > NAMED_MAX:
            self.named.clear()
        self.named.update((number, key) for key, number in self.actions.items())
        names = {number: ".".join(key) for number, key in self.named.items()}
        prepare(self.client, names, None, crashed=self._tell_crash)

    def _tell_crash(self, action_id: int) -> None:
        if self.crashed is not None and action_id in self.named:
            self.crashed(*self.named[action_id])

    # Any: payloads and outputs are any plain values.
    def ask(
        self, action: tuple[str, str], payload: Any, lane: int, left_s: float | None, flags: int
    ) -> Any:
        """Send one message and block until its answer; once more where nothing ran.

        An idle session hears of agents only here: one that went and came back has another id.
        """
        client = self.client
        if action not in self.actions or client.actions_version != self.version:
            self.learn()
        if action in self.actions:
            try:
                return client.ask(self.actions[action], payload, lane, left_s, flags)
            except LayerUnavailable:
                if client.closed or client.actions_version == self.version:
                    raise
            self.learn()
            if action in self.actions:
                return client.ask(self.actions[action], payload, lane, left_s, flags)
        raise _NotOffered(f"{'.'.join(action)}: the bridge does not offer it")


class _NotOffered(LayerUnavailable):
    """The session is sound; there is no such action."""


class SyncPool:
    """Blocking calls to the bridge that a session belongs to.

    Args:
        socket_path: Where the bridge listens.
        name: Shown in the bridge's health.
        bridge: The loop's session with it at this moment, or None.
        spin_ns: How long a blocked caller looks before it sleeps.
        crashed: Told the agent and action of a message with which a host died; on any thread.
    """

    def __init__(
        self,
        socket_path: Callable[[], str],
        name: str,
        bridge: Callable[[], Session | None],
        spin_ns: int = SPIN_NS,
        crashed: Callable[[str, str], None] | None = None,
    ) -> None:
        self._spin_ns, self._crashed = spin_ns, crashed
        self._socket_path, self._name, self._bridge = socket_path, name, bridge
        self._changed = threading.Condition()
        self._idle: list[_Line] = []
        self._open: list[_Line] = []
        self._opening = 0
        self._waiters = 0
        self._closed = False
        self._counts = {"settled": 0, "elapsed_ns": 0}

    def ask(
        self, agent: str, action: str, payload: Any, lane: int, timeout_s: float | None, flags: int
    ) -> Any:
        """Send one message and block, without the GIL, until its answer.

        Raises: what ``send`` raises and what its Future gets; Busy when every session stays in use.
        """
        try:
            line: _Line | None = self._idle.pop()  # atomic: the usual case takes no lock
        except IndexError:
            line = None
        if line is not None and line.bridge is self._bridge():
            left_s = timeout_s
        else:
            if line is not None:
                self._give_back(line, keep=False)
            end_s = None if timeout_s is None else time.monotonic() + timeout_s
            line = self._take(end_s, timeout_s)
            left_s = None if end_s is None else max(end_s - time.monotonic(), 1e-6)
        keep = False
        try:
            answer = line.ask((agent, action), payload, lane, left_s, flags)
            keep = True
            return answer
        except Exception as error:  # noqa: BLE001 - raised again below, as the one callers know
            # An answer of the action's leaves the session sound; a lost one does not.
            keep = isinstance(error, CommandError | _NotOffered) or _is_answer(error)
            self._raise(error)
        finally:
            if keep and not self._wanted():
                self._idle.append(line)
                if self._wanted():  # just now, in another thread
                    self._wake()
            else:
                self._give_back(line, keep)

    def stats(self) -> dict[str, int]:
        """Count the messages answered, and the nanoseconds that they ran."""
        with self._changed:
            total = dict(self._counts)
            for line in self._open:
                for key, value in line.client.message_stats().items():
                    if key in total:
                        total[key] += value
            return total

    def close(self) -> None:
        """Refuse new calls and close idle sessions; those in use are closed when they come back."""
        with self._changed:
            self._closed = True
            self._close_idle()
            self._changed.notify_all()

    def _take(self, end_s: float | None, timeout_s: float | None) -> _Line:
        bridge = self._bridge()
        if bridge is None:
            raise LayerUnavailable("C layer: no bridge at this moment")
        with self._changed:
            while True:
                if self._closed:
                    raise Closed("this orchestrator was closed")
                if (line := self._pop_of(bridge)) is not None:
                    return line
                if len(self._open) + self._opening < SESSIONS_MAX:
                    self._opening += 1
                    break
                self._wait(end_s, timeout_s)
        line_opened: _Line | None = None
        try:
            line_opened = self._connect(bridge, end_s)
            return line_opened
        finally:
            with self._changed:
                self._opening -= 1
                if line_opened is not None:
                    self._open.append(line_opened)
                else:
                    self._changed.notify()

    def _pop_of(self, bridge: Session) -> _Line | None:
        """Take an idle session with this bridge, and drop those with earlier ones; lock held."""
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                return None
            if line.bridge is bridge:
                return line
            self._drop(line)

    def _wait(self, end_s: float | None, timeout_s: float | None) -> None:
        """Wait for a session to come back; the lock is held."""
        self._waiters += 1
        try:
            left_s = None if end_s is None else end_s - time.monotonic()
            if self._idle:
                return  # it came back without seeing us
            if (left_s is not None and left_s <= 0) or not self._changed.wait(left_s):
                raise Busy(
                    f"call_sync: all {SESSIONS_MAX} sessions stayed in use for {timeout_s} s"
                )
        finally:
            self._waiters -= 1

    def _wanted(self) -> bool:
        """Whether somebody waits for what comes back; other threads change this."""
        return self._waiters > 0 or self._closed

    def _wake(self) -> None:
        with self._changed:
            if self._closed:
                self._close_idle()
            self._changed.notify()

    def _close_idle(self) -> None:
        """Close what nobody uses; the lock is held, and others may take without it."""
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                return
            self._drop(line)

    def _connect(self, bridge: Session, end_s: float | None) -> _Line:
        from tandem_orchestrator._native import _ext

        limit_s = CONNECT_S_MAX
        if end_s is not None:
            limit_s = min(limit_s, max(end_s - time.monotonic(), 1e-3))
        try:
            client = _ext.Client(self._socket_path(), self._name, limit_s, self._spin_ns)
            line = _Line(client, bridge, self._crashed)
            line.learn()
        except _ext.NativeError as error:
            raise LayerUnavailable(f"C layer: {error}") from error
        return line

    def _give_back(self, line: _Line, keep: bool) -> None:
        with self._changed:
            if keep and not self._closed:
                self._idle.append(line)
            else:
                self._drop(line)
            self._changed.notify()

    def _drop(self, line: _Line) -> None:
        """Close a session and keep its counts; the lock is held."""
        for key, value in line.client.message_stats().items():
            if key in self._counts:
                self._counts[key] += value
        self._open.remove(line)
        line.client.close()

    def _raise(self, error: Exception) -> None:
        """Turn the extension's exception into the one callers know."""
        from tandem_orchestrator._native import _ext

        if isinstance(error, _ext.Forked):
            raise Forked(str(error)) from error
        if isinstance(error, _ext.TooLarge):
            raise CommandError(f"C layer: {error}") from error
        if isinstance(error, _ext.Busy):
            raise Busy(f"C layer: {error}") from error
        if isinstance(error, _ext.NativeError):
            raise LayerUnavailable(f"C layer: {error}") from error
        raise error


def _is_answer(error: Exception) -> bool:
    from tandem_orchestrator.errors import ActionFailed

    return isinstance(error, ActionFailed)
