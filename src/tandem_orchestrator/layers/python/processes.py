"""Worker processes for CPU-bound handlers; one attempt at a time each, killed without harm.

A worker is a fresh interpreter on a socket of its own (so nothing of this process is forked, and
its death is read as the end of the stream). ``worker.py`` is its other end, ``messages.py`` what
they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import LayerUnavailable, NotAValue
from tandem_orchestrator.layers.python.messages import (
    HEAD,
    MESSAGE_BYTES_MAX,
    Cancel,
    Done,
    Failed,
    FromWorker,
    Job,
    Progress,
    Ready,
    Said,
    Setup,
    ToWorker,
    pack,
)

_WORKER = """
import sys
from tandem_orchestrator.layers.python.worker import main
main(int(sys.argv[1]))
"""
_decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


class WorkerDied(Exception):
    """The worker's stream ended in the middle of a job, or carried what is no message."""


class NeverReady(LayerUnavailable):
    """The worker was ended from outside, or by itself, before it had said that it is ready.

    That is no sign that none can be had: the job may be given to another one.
    """


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, message: ToWorker) -> None:
        try:
            packed = pack(message)
        except (ValueError, TypeError, OverflowError) as error:
            raise NotAValue(f"the payload cannot go to a worker process: {error}") from error
        try:
            self.writer.write(packed)
            await self.writer.drain()
        except ConnectionError as error:
            raise self.died() from error

    async def receive(self) -> FromWorker:
        """Read one message.

        Raises: WorkerDied, also for bytes that are no message: nothing after them means anything.
        """
        try:
            (length,) = HEAD.unpack(await self.reader.readexactly(HEAD.size))
            if length > MESSAGE_BYTES_MAX:
                raise WorkerDied(
                    f"the worker process announced {length} bytes, at most {MESSAGE_BYTES_MAX}"
                )
            return _decoder.decode(await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise self.died() from error
        except msgspec.DecodeError as error:
            raise WorkerDied(f"the worker process sent what is no message: {error}") from error

    def died(self) -> WorkerDied:
        """Say how it ended."""
        how = "its socket closed"
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout=1.0)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return WorkerDied(f"the worker process died ({how})")


class ProcessRunner:
    """Keep up to ``workers`` worker processes and run jobs in them.

    Args:
        workers: Processes, 1 or more.
        clock: Source of the time limit for a start.
        start_timeout_s: A worker that does not say so much as "ready" in it is killed.
    """

    def __init__(self, workers: int, clock: Clock, start_timeout_s: float) -> None:
        self.permits = asyncio.Semaphore(workers)
        """Hold one while a job is at work."""
        self._clock, self._start_timeout_s = clock, start_timeout_s
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._jobs = 0
        self.busy = 0
        # Runs at exit, too: an orchestrator that nobody closes leaves no process behind.
        weakref.finalize(self, _kill_all, self._processes, os.getpid())

    def next_number(self) -> int:
        """Give the number of the next job."""
        self._jobs += 1
        return self._jobs

    async def run(
        self,
        job: Job,
        on_progress: Callable[[int, int], None],
        on_said: Callable[[Said], None],
        on_started: Callable[[Callable[[], None], Callable[[], None]], None],
    ) -> Done | Failed:
        """Run one job to its answer; a permit is held.

        Args:
            on_progress: Called with (done, total).
            on_said: Called with each log record.
            on_started: Gets (ask, kill): how to ask the job to stop, and how to make it.

        Raises: WorkerDied. LayerUnavailable if no worker can be started. NotAValue if the job
            is too large to travel.
        """
        worker = self._living() or await self._start()
        healthy = False
        self.busy += 1
        try:
            # Before the send: a worker that stands still would let it wait for ever.
            on_started(lambda: self._ask(worker, job.number), worker.process.kill)
            try:
                await worker.send(job)
            except NotAValue:
                healthy = True  # Nothing was sent.
                raise
            while True:
                message = await worker.receive()
                if isinstance(message, Ready) or message.number != job.number:
                    continue  # A thread that an earlier job left behind speaks; nobody listens.
                if isinstance(message, Progress):
                    on_progress(message.done, message.total)
                elif isinstance(message, Said):
                    on_said(message)
                else:
                    healthy = True
                    return message
        finally:
            self.busy -= 1
            if healthy:
                self._idle.append(worker)
            else:
                self._discard(worker)

    async def close(self) -> None:
        """End every worker; one that is at work is killed."""
        for worker in list(self._all):
            self._discard(worker)

    def _living(self) -> _Worker | None:
        """Take an idle worker that has not died meanwhile."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.poll() is None and not worker.reader.at_eof():
                return worker
            self._discard(worker)
        return None

    def _ask(self, worker: _Worker, number: int) -> None:
        if not worker.writer.is_closing():
            worker.writer.write(pack(Cancel(number)))

    def _discard(self, worker: _Worker) -> None:
        self._all.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        worker.writer.close()
        worker.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=5.0)
            self._processes.discard(worker.process)

    async def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - a millisecond; our own file
                [sys.executable, "-c", _WORKER, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise LayerUnavailable(f"a worker process cannot be started: {error}") from error
        finally:
            theirs.close()
        self._processes.add(process)
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
        worker = _Worker(process, reader, writer)
        self._all.add(worker)
        is_late = is_ready = False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            process.kill()

        timer = self._clock.call_later(self._start_timeout_s, give_up)
        try:
            await worker.send(Setup([str(entry) for entry in sys.path], _main_path()))
            if not isinstance(said := await worker.receive(), Ready):
                raise WorkerDied(f"it began with {type(said).__name__}")
            is_ready = True
        except WorkerDied as error:
            if not is_late:
                raise NeverReady(f"a worker process ended while it started: {error}") from error
            limit_s = self._start_timeout_s
            text = f"a worker process did not start within {limit_s} s, or not at all: {error}"
            raise LayerUnavailable(text) from error
        finally:
            timer.cancel()
            if not is_ready:
                self._discard(worker)
        return worker


def _kill_all(processes: set[subprocess.Popen[bytes]], pid: int) -> None:
    if os.getpid() == pid:  # In a forked child they are somebody else's.
        for process in processes:
            process.kill()


def _main_path() -> str | None:
    """Give the user's script, if handlers may live in it."""
    module = sys.modules.get("__main__")
    if module is None or getattr(module, "__spec__", None) is not None:
        return None
    path = getattr(module, "__file__", None)
    return os.path.abspath(path) if isinstance(path, str) else None  # noqa: PTH100 - no symlink is to be resolved
