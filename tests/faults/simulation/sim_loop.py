"""An event loop without a machine: virtual time, several programs, and a seed that picks who is next.

Each callback belongs to a *program* (a context variable says which). The callbacks of one program
run in the order in which they became ready, as asyncio promises; which program takes the next step
is drawn from the seed, as an operating system would decide it. When nobody has anything to do the
clock jumps to the next timer. A program can be killed (its callbacks, timers and tasks are never
heard of again) or stand still for a while. There are no threads: what would run on one runs on
the loop, some virtual time later.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import heapq
import itertools
import random
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

STEP_NS = 2_000
"""Virtual nanoseconds that one callback takes."""
THREAD_NS_MAX = 3_000_000
"""What would run on a thread begins up to so many virtual nanoseconds later."""


class Hangs(Exception):
    """Nothing is left to do, or virtual time is over, and the simulation has not ended."""


class Program:
    """What would be one process: it owns callbacks, and dies with them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.stalled_until_ns = 0
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.kept: list[Any] = []
        """Of a dead one, tasks and dropped callbacks: freeing them would run their ``finally``."""

    def die(self) -> None:
        """Drop all that would still run."""
        self.is_dead = True
        self.kept.extend(self.ready)
        self.kept.extend(self.tasks)
        self.ready.clear()


WORLD = Program("world")
"""Whoever is no program: disks, people, and what starts and kills programs."""
PROGRAM: contextvars.ContextVar[Program] = contextvars.ContextVar("program", default=WORLD)


class Trace:
    """What happened, as a digest and (where wanted) as lines."""

    def __init__(self, keep: bool = False) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self.lines: list[str] | None = [] if keep else None
        self.last: deque[str] = deque(maxlen=60)
        """The newest lines that were told by ``say``."""

    def add(self, line: str) -> None:
        """Add one line."""
        self._digest.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    def say(self, line: str) -> None:
        """Add one line that people want to read."""
        self.add(line)
        self.last.append(line)

    def digest(self) -> str:
        """Give what equal simulations have in common."""
        return self._digest.hexdigest()


class SimLoop(asyncio.BaseEventLoop):
    """The loop; ``now_ns`` is its time.

    Args:
        end_ns: Virtual time at which whoever still runs hangs.
    """

    def __init__(self, rng: random.Random, trace: Trace, end_ns: int) -> None:
        super().__init__()
        self.rng, self.trace, self.end_ns = rng, trace, end_ns
        self.now_ns = 1_000 * 10**9
        self.steps = 0
        self._world = WORLD
        WORLD.ready.clear()
        self._with_work: dict[str, Program] = {}
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._readers: dict[int, tuple[Callable[..., object], tuple[Any, ...], Any]] = {}
        self.lost: list[str] = []
        """What the loop was told that nobody caught."""
        self.set_exception_handler(self._note_lost)

    def _note_lost(self, _loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        if not PROGRAM.get().is_dead:
            self.lost.append(f"{about.get('message')}: {about.get('exception')!r}")

    # --- time ------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.now_ns / 1e9

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self._call_at_ns(self.now_ns + max(0, round(delay * 1e9)), callback, args, context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self._call_at_ns(max(self.now_ns, round(when * 1e9)), callback, args, context)

    def _call_at_ns(self, when_ns: int, callback: Any, args: Any, context: Any) -> Any:
        timer = asyncio.TimerHandle(when_ns / 1e9, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        heapq.heappush(self._timers, (when_ns, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left out when its time comes."""

    # --- callbacks -------------------------------------------------------------------------------

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        self._check_closed()
        return self._call_soon(callback, args, context)

    def _enqueue(self, handle: asyncio.Handle) -> None:
        program: Program = handle._context.get(PROGRAM, WORLD)  # type: ignore[attr-defined]
        if program.is_dead:
            program.kept.append(handle)
            return
        program.ready.append(handle)
        self._with_work[program.name] = program

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task = super().create_task(coro, name=name, context=context)
        owner = PROGRAM.get() if context is None else context.get(PROGRAM, WORLD)
        (owner.kept.append if owner.is_dead else owner.tasks.add)(task)
        return task

    def _run_once(self) -> None:
        timers = self._timers
        if not self._with_work and not timers:
            raise Hangs("nothing is left to do")
        program = self._next_program()
        while program is None:
            due = [timers[0][0]] if timers else []
            due += [each.stalled_until_ns for each in self._with_work.values()]
            if not due:
                raise Hangs("nothing is left to do")
            self.now_ns = max(self.now_ns, min(due))
            if self.now_ns > self.end_ns:
                raise Hangs("virtual time is over")
            program = self._next_program()
        handle = program.ready.popleft()
        if not program.ready:
            self._with_work.pop(program.name, None)
        if handle._cancelled:
            return
        self.now_ns += STEP_NS
        self.steps += 1
        self.trace.add(f"{self.now_ns} {program.name} {_name(handle._callback)}")  # type: ignore[attr-defined]
        handle._run()

    def _next_program(self) -> Program | None:
        timers, now_ns = self._timers, self.now_ns
        while timers and timers[0][0] <= now_ns:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            if not timer._cancelled:
                self._enqueue(timer)
        if len(self._with_work) == 1:
            only = next(iter(self._with_work.values()))
            if only.ready and only.stalled_until_ns <= now_ns:
                return only
        able = [
            each
            for each in self._with_work.values()
            if each.ready and each.stalled_until_ns <= now_ns
        ]
        if not able:
            self._with_work = {n: each for n, each in self._with_work.items() if each.ready}
            return None
        return able[0] if len(able) == 1 else able[int(self.rng.random() * len(able))]

    # --- what a machine has beside -----------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - handed on, whatever it is
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self._call_at_ns(self.now_ns + self.rng.randrange(THREAD_NS_MAX), work, (), None)
        return future

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        self._readers[fd] = (callback, args, contextvars.copy_context())

    def remove_reader(self, fd: Any) -> bool:
        return self._readers.pop(fd, None) is not None

    def ring(self, fd: int) -> None:
        """Make ``fd`` readable, once."""
        reader = self._readers.get(fd)
        if reader is not None:
            callback, args, context = reader
            self._call_soon(callback, args, context)

    def reader_owner(self, fd: int) -> Any:
        """Give the object whose method was added as the reader of ``fd``; None if there is none."""
        reader = self._readers.get(fd)
        return None if reader is None else getattr(reader[0], "__self__", None)

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


class SimPool:
    """A thread pool without threads: what it is given runs on the loop, a little later."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, work: Callable[[], object]) -> None:
        """Do it later; whoever gives it has a Future of its own."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.call_later(loop.rng.randrange(THREAD_NS_MAX) / 1e9, work)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """There is nothing to end."""


def _name(callback: Any) -> str:
    """Name a callback, the same in every process."""
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        coroutine = task.get_coro()
        return str(getattr(coroutine, "__qualname__", type(coroutine).__name__))
    return str(getattr(callback, "__qualname__", type(callback).__name__))


def _nothing() -> None:
    """Stand for a callback that is never made."""


class SimClock:
    """The project's clock on the loop; the wall clock can be moved."""

    def __init__(self, loop: SimLoop, wall_ns: int) -> None:
        self._loop = loop
        self.ahead_ns = wall_ns - loop.now_ns
        """Wall clock minus monotonic one; a jump changes it."""
        self.drop_timer: Callable[[], bool] | None = None
        """For a planted bug: whether the timer that is armed now never fires."""

    def monotonic_ns(self) -> int:
        """Read virtual time."""
        return self._loop.now_ns

    def wall_ns(self) -> int:
        """Read virtual time as people would."""
        return self._loop.now_ns + self.ahead_ns

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Arm a timer of the loop."""
        if self.drop_timer is not None and self.drop_timer():
            callback = _nothing
        return self._loop.call_later(delay_s, callback)  # type: ignore[no-any-return]
