"""Handlers called at once: a coroutine that waits for nothing is over in one call, without a task.

Most steps of a pipeline compute and give back; a task, two turns of the loop and three callbacks
each are what they cost. Here a coroutine is driven until it first waits. Most never do. One that
does goes on as a task, from where it is: it ran as that task from its first line on, so that
``asyncio.current_task`` and what is built on it (``timeout``, ``TaskGroup``) mean the same.

Source: the idea is that of eager tasks in Python 3.12, which 3.11 does not have.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tandem_orchestrator.layers.python.agents import ActionHandle
from tandem_orchestrator.layers.python.calling import call_handler
from tandem_orchestrator.layers.python.context import Context
from tandem_orchestrator.layers.python.handler import PythonImplementation
from tandem_orchestrator.layers.python.step_log import StepMark, mark_step


@dataclass(frozen=True, slots=True)
class PromptHandler:
    """A handler that may be called at once."""

    handle: ActionHandle
    implementation: PythonImplementation

    @property
    def wants_context(self) -> bool:
        """Whether it takes a ``Context`` as well."""
        return self.implementation.takes > 1


@dataclass(frozen=True, slots=True)
class Raised:
    """What a handler raised, where raising it here would mean something else."""

    error: BaseException


class NotOver:
    """A call that waits, or that came to no plain end; ``future`` says what becomes of it."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future


# Any below: handlers take and give values of whatever type they like.
_Rest = tuple[contextvars.Context, Coroutine[Any, Any, Any], Any]
"""Of a coroutine that waits: its context, itself, and what it waits for."""


class PromptCaller:
    """Calls handlers at once. Belongs to one loop's thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._spare: tuple[asyncio.Task[Any], asyncio.Future[_Rest]] | None = None

    async def close(self) -> None:
        """End the task that waits for a call to go on with."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare[0].cancel()
            await asyncio.wait((spare[0],))

    def call(
        self,
        handler: PromptHandler,
        payload: Any,
        context: Context | None,
        variables: contextvars.Context,
        mark: StepMark,
    ) -> Any:
        """Call a handler as far as it comes without waiting.

        Args:
            variables: The context variables it runs with; its own from now on.

        Returns: its output; or ``NotOver``, also where it raised.
        """
        loop = asyncio.get_running_loop()
        if self._spare is None or loop is not self._loop or self._spare[0].done():
            turn: asyncio.Future[_Rest] = loop.create_future()
            self._loop, self._spare = loop, (loop.create_task(_park(turn)), turn)
        task, turn = self._spare
        caller = asyncio.current_task(loop)
        if caller is not None:
            _leave_task(loop, caller)
        _enter_task(loop, task)
        try:
            output = variables.run(_begin, handler.implementation, payload, context, mark)
        finally:
            _leave_task(loop, task)
            if caller is not None:
                _enter_task(loop, caller)
        if task.cancelling():  # It asked that of itself; where it waits it hears of it there.
            self._spare = None
            if type(output) is not _Waits:
                return NotOver(_failed(loop, asyncio.CancelledError()))
        if type(output) is _Waits:
            self._spare = None
            turn.set_result((variables, output.coroutine, output.on))
            return NotOver(task)
        if type(output) is Raised:
            if isinstance(output.error, SystemExit):
                ended = loop.create_future()
                ended.set_result(output)
                return NotOver(ended)
            return NotOver(_failed(loop, output.error))
        return output


def settled(output: Any) -> NotOver:
    """Give an output to somebody who can tell what is wrong with it."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(output)
    return NotOver(future)


class _Waits:
    __slots__ = ("coroutine", "on")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], on: Any) -> None:
        self.coroutine, self.on = coroutine, on


def _begin(
    implementation: PythonImplementation, payload: Any, context: Context | None, mark: StepMark
) -> Any:
    """Call a handler in its context: gives its output, ``_Waits``, or ``Raised``."""
    mark_step(mark)
    try:
        coroutine = call_handler(implementation, payload, context)
        try:
            return _Waits(coroutine, coroutine.send(None))
        except StopIteration as end:
            return end.value
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - its own
        return Raised(error)


def _failed(loop: asyncio.AbstractEventLoop, error: BaseException) -> asyncio.Future[Any]:
    future = loop.create_future()
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)
    return future


async def _park(turn: asyncio.Future[_Rest]) -> Any:
    """Wait for a call to go on with, and be its task."""
    error: BaseException | None = None
    try:
        rest = await turn
    except asyncio.CancelledError as cancelled:
        if not turn.done() or turn.cancelled():
            raise
        rest, error = turn.result(), cancelled
    try:
        return await _go_on(*rest, error)
    except SystemExit as ended:
        return Raised(ended)  # As a task's exception it would end the user's loop.


@types.coroutine
def _go_on(
    variables: contextvars.Context,
    coroutine: Coroutine[Any, Any, Any],
    on: Any,
    error: BaseException | None,
) -> Generator[Any, Any, Any]:
    """Drive a coroutine from where it waits, each time in its own context."""
    while True:
        step: Callable[[], Any]
        if error is None:
            try:
                step = partial(coroutine.send, (yield on))
            except BaseException as thrown:  # noqa: BLE001 - whatever it is, it is the coroutine's
                step = partial(coroutine.throw, thrown)
        else:
            step, error = partial(coroutine.throw, error), None
        try:
            on = variables.run(step)
        except StopIteration as end:
            return end.value
