"""Threads for blocking handlers: at most so many at work, and none that delays the exit.

The standard executor joins its threads at exit and cannot let go of one that hangs. Here a thread
whose attempt was given up keeps running as a daemon, no longer counts as a worker, and ends by
itself; how many such threads there may be is bounded.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any

from tandem_orchestrator.layers.cpus import ThreadCpus

IDLE_S = 30.0
"""An idle thread ends after this many seconds."""


class ThreadRunner:
    """Run functions in daemon threads, at most ``workers`` at a time.

    Args:
        workers: Functions at work at the same time; 1 or more.
        cpus: Where they run when nothing else is wished, as ``0-3,8``; empty: anywhere.
    """

    def __init__(self, workers: int, cpus: str = "") -> None:
        self._cpus = cpus
        self.permits = asyncio.Semaphore(workers)
        """Acquire one before ``start``, which takes it over."""
        self._idle: list[_Thread] = []
        self.abandoned = 0
        """Threads that hang at this moment."""
        self.busy = 0
        self._closed = False

    def start(self, function: Callable[[], Any], cpus: str = "") -> Job:
        """Run ``function`` in a thread; a permit has been acquired, and is given back at its end.

        ``cpus``: where, as ``0-3,8``; empty: where the runner's threads are.
        """
        self.busy += 1
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        job = Job(self, loop, context, function, cpus or self._cpus)
        while self._idle:
            thread = self._idle.pop()
            if thread.give(job):
                return job
        _Thread(job)
        return job

    def _finished(self, job: Job, thread: _Thread) -> None:
        """Loop thread: a job's function has returned."""
        if job.was_abandoned:
            self.abandoned -= 1
        else:
            self._release()
        if self._closed:
            thread.give(None)
        else:
            self._idle.append(thread)

    def _abandon(self) -> None:
        self.abandoned += 1
        self._release()

    def _release(self) -> None:
        self.busy -= 1
        self.permits.release()

    def close(self) -> None:
        """Let idle threads end, and those at work when they are done."""
        self._closed = True
        while self._idle:
            self._idle.pop().give(None)


class Job:
    """One function in one thread; ``future`` has (result, exception), one of them None."""

    def __init__(
        self,
        runner: ThreadRunner,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        function: Callable[[], Any],
        cpus: str = "",
    ) -> None:
        self.cpus = cpus
        self._runner, self._loop = runner, loop
        self._context, self._function = context, function
        # A pair, because a future refuses StopIteration and lets SystemExit end the loop.
        self.future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        self.was_abandoned = False

    def abandon(self) -> None:
        """Give the thread's place to somebody else; it may run on."""
        self.was_abandoned = True
        self._runner._abandon()

    def run(self, thread: _Thread) -> bool:
        """Worker thread: do it, and tell the loop; False if that is closed."""
        result, error = None, None
        try:
            result = self._context.run(self._function)
        except BaseException as caught:  # noqa: BLE001 - handed on through the future, whatever it is
            error = caught
        try:
            self._loop.call_soon_threadsafe(self._settle, thread, result, error)
        except RuntimeError:
            return False  # The loop is closed: nobody is waiting for this any more.
        return True

    def _settle(self, thread: _Thread, result: Any, error: BaseException | None) -> None:
        self._runner._finished(self, thread)
        if not self.future.done():
            self.future.set_result((result, error))


class _Thread:
    """A daemon thread with a mailbox, in which its first job lies before it starts."""

    def __init__(self, first: Job) -> None:
        self._mailbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._mailbox.put(first)
        self._lock = threading.Lock()
        self._ended = False
        threading.Thread(target=self._work, name="tandem-worker", daemon=True).start()

    def give(self, job: Job | None) -> bool:
        """Hand over a job; False if the thread has just ended."""
        with self._lock:
            if self._ended:
                return False
            self._mailbox.put(job)
            return True

    def _work(self) -> None:
        cpus = ThreadCpus()
        while True:
            try:
                job = self._mailbox.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._mailbox.empty():
                        self._ended = True
                        return
                continue
            if job is None:
                return
            cpus.follow(job.cpus)
            if not job.run(self):
                return  # Not idle, so nobody can have handed over anything meanwhile.
            del job
