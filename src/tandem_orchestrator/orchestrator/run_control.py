"""What may be asked of a run, wherever it goes on: here at once, elsewhere through the journal."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.engine import Decision, RunTicket, Wish
from tandem_orchestrator.errors import CommandError, InvalidCommandSet
from tandem_orchestrator.journal import Control, Journal, rfc3339
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.events import AnyEvent, RunEnded, steps_ended
from tandem_orchestrator.model.values import to_value
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator.decisions import ask, wish_of

# Any: stands for values of any kind.
NOT_GIVEN: Any = object()
"""Stands for an output or a payload that was not given, since None is one."""


class NotHere(CommandError):
    """What a run needs to go on is not registered in this process."""


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What has become of what was asked to stop."""

    ended: bool
    """Whether the run, or the step, has ended by now."""
    stopped: bool | None
    """Whether its work has really stopped; False: it may be running still; None: not known yet."""
    running: tuple[str, ...] = ()
    """Steps that ended and whose work may be running still."""


Retry = Callable[[str, str | None, str], Awaitable[tuple[RunTicket, RunView]]]
"""Lets a run that has ended go on here: (run id, from which step, who asks)."""
# Any: a payload is a value of any kind, the answer is a ``Run``.
Fork = Callable[[str, str, Any, str], Awaitable[Any]]
"""Makes a run that forks off from another: (run id, step, payload, who asks)."""


class RunControl(ABC):
    """The part of ``Run`` that changes how it goes on."""

    __slots__ = (
        "_check", "_fork_here", "_journal", "_make_id", "_retry_here", "_ticket", "_view",
        "_wall_ns", "id",
    )  # fmt: skip

    id: str
    _journal: Journal
    _ticket: RunTicket | None
    _view: RunView | None
    _check: Callable[[], object]
    _make_id: Callable[[], str]
    _wall_ns: Callable[[], int]
    _retry_here: Retry | None
    _fork_here: Fork | None

    @abstractmethod
    def _events(self) -> AsyncIterator[AnyEvent]:
        """Give every event so far, and each new one until the run has ended."""

    async def cancel(
        self, step: str | None = None, *, by: str = "", wait_s: float = 0.0
    ) -> CancelAnswer:
        """Ask the run, or one step of it, to stop; the answer tells whether its work has stopped.

        A run of another process is asked through the journal: the wish is durable on return, and
        its owner obeys it within a second. Where the owner is dead, whoever adopts the run will.

        Args:
            wait_s: How long to wait for the end, in seconds; before it nobody knows what stopped.

        Raises: CommandError if there is no such run in the journal, or it has ended.
        """
        self._check()
        if self._ticket is not None and self._view is not None:
            if self._view.ended is not None:
                raise CommandError(f"run {self.id}: it has ended already")
            if step is not None and self._view.plan.step(step) is None:
                ids = [planned.id for planned in self._view.plan.steps]
                hint = ", ".join(nearest(step, ids)) or ", ".join(ids[:10])
                raise CommandError(f"run {self.id} has no step {step!r}; it has: {hint}")
            self._ticket.cancel(step, by)
        else:
            wish = Control(self._make_id(), self.id, "cancel", {"step": step}, by, self._wall_ns())
            try:
                await self._journal.request(wish)
            except CommandError as error:
                raise CommandError(f"run {self.id}: not in progress here, and {error}") from error
        return await self._what_stopped(step, wait_s)

    async def _what_stopped(self, step: str | None, wait_s: float) -> CancelAnswer:
        if wait_s <= 0:
            return CancelAnswer(False, None)
        unfinished: dict[str, None] = {}
        try:
            async with asyncio.timeout(wait_s):
                async for event in self._events():
                    for ended in steps_ended(event):
                        if not ended.stopped:
                            unfinished[ended.step] = None
                        if ended.step == step:
                            return CancelAnswer(True, ended.stopped, tuple(unfinished))
                    if isinstance(event, RunEnded):
                        return CancelAnswer(True, not unfinished, tuple(unfinished))
        except TimeoutError:
            pass  # It has not ended yet, and that is the answer.
        return CancelAnswer(False, None, tuple(unfinished))

    async def pause(self, *, by: str = "") -> None:
        """Start nothing new in the run; what runs is let finish. Its status is ``paused``.

        A paused run holds no place and survives restarts; its time limits go on counting. Pausing
        one that is paused already does nothing. As all that follows, it is durable on return, and
        a run of another process is asked through the journal.

        Raises: CommandError if there is no such run, or it has ended.
        """
        await self._ask("pause", {}, by)

    async def unpause(self, *, by: str = "") -> None:
        """Let a paused run go on; one that is not paused goes on as it does.

        Raises: CommandError if there is no such run, or it has ended.
        """
        await self._ask("continue", {}, by)

    async def approve(
        self,
        step: str,
        by: str = "",
        note: str = "",
        approved: bool = True,
        *,
        key: str | None = None,
    ) -> None:
        """Say yes, or no, to a step that waits for an approval (``system.approval``).

        Args:
            by, note: Who decided and why; they are in the step's output.
            approved: False rejects it: the step fails.
            key: Asking again with the same key asks once.

        Raises: CommandError naming the steps that wait. IdempotencyMismatch if the key came with
            another answer before.
        """
        body = {"step": step, "approved": approved, "note": note}
        await self._ask("approve", body, by, key)

    # Any: a payload is a value of any kind.
    async def signal(
        self, name: str, payload: Any = None, *, by: str = "", key: str | None = None
    ) -> None:
        """Give a signal to the step that waits for it (``system.wait_signal``), which succeeds.

        A signal that nobody waits for yet is kept for the first step that will, up to
        ``limits.signals_max`` in a run.

        Args:
            key: Asking again with the same key asks once.

        Raises: Busy, or CommandError, if it cannot be kept. NotAValue for ``payload``.
            IdempotencyMismatch if the key came with another payload before.
        """
        body = {"name": name, "payload": to_value(payload, where="payload")}
        await self._ask("signal", body, by, key)

    async def _ask(
        self, kind: str, body: Mapping[str, Any], by: str, key: str | None = None
    ) -> None:
        self._check()
        ticket, at_ns = self._ticket, self._wall_ns()
        try:
            if key is None and ticket is not None and not ticket.ended.done():
                ticket.ask(Wish(kind, body, by, rfc3339(at_ns) or ""))
                await self._journal.flush()
            else:
                wish_id = self._make_id() if key is None else f"{self.id}:{key}"
                await ask(self._journal, Control(wish_id, self.id, kind, body, by, at_ns))
        except CommandError as error:
            raise type(error)(f"run {self.id}: {error}") from error

    async def retry(self, from_step: str | None = None, *, by: str = "") -> None:
        """Let the run go on from a step; it is the same run, and its attempts go on counting.

        Of a run that has ended, the step and all that depends on it run again, and whatever made
        the run fail; what succeeded keeps its result. Of a step with ``on_item_failure="collect"``
        only the items that failed run. ``await run.result()`` then waits for the new end. A step
        of a run in progress that may have run (``unknown``) is done once more.

        A run goes on here if all that it needs is registered here, else in the process that had it.

        Args:
            from_step: None: from whatever did not succeed.

        Raises: CommandError naming what can be retried, or what is missing. Busy.
        """
        self._check()
        await self._journal.flush()
        row = await self._journal.run(self.id)
        is_here = self._ticket is not None and not self._ticket.ended.done()
        try:
            if row is None:
                raise CommandError("there is no such run in the journal")
            if is_here or self._retry_here is None or row.finished_at_ns is None:
                await self._ask("retry", {"step": from_step}, by)
                return
            try:
                self._ticket, self._view = await self._retry_here(self.id, from_step, by)
            except NotHere:
                if row.owner == self._journal.health().owner or not self._journal.is_alive(
                    row.owner
                ):
                    raise
                await self._ask("retry", {"step": from_step}, by)
                self._ticket = self._view = None  # It goes on in the other process.
        except CommandError as error:
            text = str(error).removeprefix(f"run {self.id}: ")
            raise type(error)(f"run {self.id}: {text}") from error

    # Any: a payload is a value of any kind; the answer is a ``Run``.
    async def fork(self, step: str, payload: Any = NOT_GIVEN, *, by: str = "") -> Any:
        """Make another run of a run that has ended: from a step on, with another payload.

        The steps before it, and those beside it that succeeded, are taken over as they were
        recorded. Returns: the new ``Run``; it is durable, and goes on here.

        Args:
            payload: References are fine; not given: the step's own.

        Raises: CommandError if it has not ended or has no such step; InvalidCommandSet and what
            else ``submit`` raises.
        """
        self._check()
        if self._fork_here is None:
            raise CommandError(f"run {self.id}: runs can be asked here, not forked")
        try:
            return await self._fork_here(self.id, step, payload, by)
        except InvalidCommandSet:
            raise
        except CommandError as error:
            raise type(error)(f"run {self.id}: {error}") from error

    async def resolve(
        self,
        step: str | None = None,
        *,
        conflict: str | None = None,
        pick: str | None = None,
        output: Any = NOT_GIVEN,
        by: str = "",
        note: str = "",
    ) -> None:
        """Settle a conflict that is held; the run goes on.

        A run of another process is asked through the journal, and its owner's answer is waited for.
        Where the owner is dead, whoever adopts the run obeys.

        Args:
            step: Whose conflict; enough where just one of it waits.
            conflict: Its id, as ``c1``, where several wait.
            pick: ``left``, ``right`` or an implementation: its end counts.
            output: Or this value counts.
            by, note: Who decided, and why; kept in the journal and shown in the result.

        Raises: CommandError naming what waits, or what can be picked. NotAValue for ``output``.
        """
        self._check()
        if (pick is None) == (output is NOT_GIVEN):
            raise CommandError(f"run {self.id}: give either pick= or output=")
        value = None if output is NOT_GIVEN else to_value(output, where="output")
        decision = Decision(conflict, step, pick, value, by, note)
        try:
            if self._ticket is not None and not self._ticket.ended.done():
                self._ticket.settle(decision)
            else:
                wish = wish_of(decision, id=self._make_id(), run_id=self.id, at_ns=self._wall_ns())
                await ask(self._journal, wish)
        except CommandError as error:
            raise CommandError(f"run {self.id}: {error}") from error
