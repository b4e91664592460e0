"""The hooks of one run: start, then its conflicts one by one, then complete."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.values import from_value
from tandem_orchestrator.plugins.seat import Seat

_log = logging.getLogger("tandem_orchestrator.plugins")

CONFLICTS_WAITING_MAX = 1000
"""Conflicts of one run whose hooks have not been called yet; beyond it they are left out."""

# Any: what hooks take.
Call = Callable[[Seat, str, tuple[Any, ...]], Awaitable[None]]
"""Calls a plugin's hook: (seat, hook, arguments)."""
COPIED_ON_THE_LOOP_MAX = 200
"""Steps of a command set that is copied on the loop; a larger one is copied in a thread."""

# Any: whatever the function gives.
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls a function in a thread."""
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task."""


class RunHooks:
    """Calls the plugins of one run, one after another. Belongs to the loop; never raises.

    Args:
        seats: The plugins, in order.
        command_set: The run's own; each plugin gets one copy of it for all hooks.
        call: See ``Call``.
        spawn: Starts a task that has a parent.
        in_thread: For copies of what is large.
    """

    def __init__(
        self,
        seats: Sequence[Seat],
        run_id: str,
        command_set: CommandSet,
        call: Call,
        spawn: Spawn,
        in_thread: InThread,
    ) -> None:
        self._seats, self._run_id, self._command_set = seats, run_id, command_set
        self._call, self._spawn, self._in_thread = call, spawn, in_thread
        self._is_large = len(command_set.steps) > COPIED_ON_THE_LOOP_MAX
        self._copies: dict[str, CommandSet] = {}
        self._one_at_a_time = asyncio.Lock()
        self._conflicts: deque[tuple[dict[str, Any], dict[str, Any]]] = deque()
        self._telling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Call ``on_command_start`` of each."""
        async with self._one_at_a_time:
            for seat in self._seats:
                await self._guarded(seat, "on_command_start", lambda s: (self._copy(s),))

    # Any: results hold values of any kind.
    async def complete(self, result: Mapping[str, Any]) -> None:
        """Call ``on_command_complete`` of each, after those that are under way or wait."""
        if self._telling is not None:
            await self._telling
        async with self._one_at_a_time:
            for seat in self._seats:
                await self._guarded(
                    seat, "on_command_complete", lambda s: (self._copy(s), copied(result))
                )
        self._copies.clear()

    def conflict(self, conflict: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]]) -> None:
        """Have ``on_conflict`` of each called soon; does not wait.

        Args:
            conflict: As it stands in the result.
            outcomes: Of the twins, in the order of the step; the first two are told.
        """
        listening = [seat for seat in self._seats if seat.has("on_conflict")]
        if not listening or len(outcomes) < 2:
            return
        if len(self._conflicts) >= CONFLICTS_WAITING_MAX:
            for seat in listening:
                seat.skip("on_conflict", f"{CONFLICTS_WAITING_MAX} conflicts of its run wait")
            return
        left, right = in_order(outcomes)
        of_both = {
            "run_id": self._run_id,
            "step": conflict.get("step"),
            "item": conflict.get("item"),
            "conflict": conflict.get("id"),
        }
        self._conflicts.append(({**of_both, **_shown(left)}, {**of_both, **_shown(right)}))
        if self._telling is None or self._telling.done():
            self._telling = self._spawn(self._tell_conflicts())

    async def _tell_conflicts(self) -> None:
        async with self._one_at_a_time:
            while self._conflicts:
                left, right = self._conflicts.popleft()
                await self._tell_conflict(left, right)

    async def _tell_conflict(self, left: dict[str, Any], right: dict[str, Any]) -> None:
        for seat in self._seats:
            await self._guarded(seat, "on_conflict", lambda _: (copied(left), copied(right)))

    async def _guarded(
        self, seat: Seat, hook: str, arguments: Callable[[Seat], tuple[Any, ...]]
    ) -> None:
        if not seat.has(hook):
            return
        try:
            if self._is_large and hook != "on_conflict":
                given = await self._in_thread(lambda: arguments(seat))
            else:
                given = arguments(seat)
            await self._call(seat, hook, given)
        except Exception:  # noqa: BLE001 - our bug, or a copy that fails: not the run's concern
            _log.exception("run %s: %s of plugin %s", self._run_id, hook, seat.name)

    def _copy(self, seat: Seat) -> CommandSet:
        if seat.name not in self._copies:
            self._copies[seat.name] = copy.deepcopy(self._command_set)
        return self._copies[seat.name]


# Any: plain values, and buffers among them.
def copied(value: Any) -> Any:
    """Copy dicts and lists all the way down; what else there is cannot be changed, or is shared."""
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [copied(inner) for inner in value]
    return value


# Any: plain values.
def _shown(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Give an outcome with its output as a result would have it."""
    return {**copied(outcome), "output": from_value(outcome.get("output"))}


def in_order(outcomes: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Give (python's, c's) where both are there, else the first two as they stand."""
    by_name = {outcome.get("implementation"): outcome for outcome in outcomes}
    if "python" in by_name and "c" in by_name:
        return by_name["python"], by_name["c"]
    return outcomes[0], outcomes[1]
