"""Worker processes for CPU-bound handlers; one attempt at a time each, killed without harm.

A worker is a fresh interpreter on a socket of its own (so nothing of this process is forked, and
its death is read as the end of the stream). ``worker.py`` is its other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from tandem_orchestrator.errors import LayerUnavailable, NotAValue
from tandem_orchestrator.layers.python.worker import HEAD, MESSAGE_BYTES_MAX

_WORKER = """
import sys
from tandem_orchestrator.layers.python.worker import main
main(int(sys.argv[1]))
"""


class WorkerDied(Exception):
    """The worker's stream ended in the middle of a job."""


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, message: dict[str, Any]) -> None:
        body = msgspec.msgpack.encode(message)
        if len(body) > MESSAGE_BYTES_MAX:
            raise NotAValue(f"{len(body)} bytes for a worker process, at most {MESSAGE_BYTES_MAX}")
        self.writer.write(HEAD.pack(len(body)) + body)
        await self.writer.drain()

    async def receive(self) -> dict[str, Any]:
        try:
            head = await self.reader.readexactly(HEAD.size)
            body = await self.reader.readexactly(HEAD.unpack(head)[0])
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WorkerDied(f"the worker process died ({self.describe_death()})") from error
        message: dict[str, Any] = msgspec.msgpack.decode(body)
        return message

    def describe_death(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout=1.0)
            return f"signal {-code}" if code < 0 else f"exit code {code}"
        return "its socket closed"


class ProcessRunner:
    """Keep up to ``workers`` worker processes and run jobs in them."""

    def __init__(self, workers: int) -> None:
        self._permits = asyncio.Semaphore(workers)
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self.busy = 0

    async def acquire(self) -> None:
        """Wait for a worker's place."""
        await self._permits.acquire()
        self.busy += 1

    def release(self) -> None:
        """Give the place back."""
        self.busy -= 1
        self._permits.release()

    async def run(
        self,
        job: dict[str, Any],
        on_progress: Callable[[int, int], None],
        on_started: Callable[[Callable[[], None], Callable[[], None]], None],
    ) -> dict[str, Any]:
        """Run one job to its answer; a place has been acquired.

        Args:
            job: What ``worker._run`` reads.
            on_progress: Called with (done, total).
            on_started: Gets (ask, kill): how to ask the job to stop, and how to make it.

        Raises: WorkerDied. LayerUnavailable if no worker can be started.
        """
        worker = self._idle.pop() if self._idle else await self._start()
        healthy = False
        try:
            await worker.send(job)
            on_started(lambda: self._ask(worker), worker.process.kill)
            while (message := await worker.receive())["kind"] == "progress":
                on_progress(message["done"], message["total"])
            healthy = True
            return message
        finally:
            if healthy:
                self._idle.append(worker)
            else:
                self._discard(worker)

    async def close(self) -> None:
        """End every worker; one that is at work is killed."""
        for worker in list(self._all):
            self._discard(worker)

    def _ask(self, worker: _Worker) -> None:
        body = msgspec.msgpack.encode({"kind": "cancel"})
        if not worker.writer.is_closing():
            worker.writer.write(HEAD.pack(len(body)) + body)

    def _discard(self, worker: _Worker) -> None:
        self._all.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        worker.writer.close()
        worker.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=5.0)

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
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
        worker = _Worker(process, reader, writer)
        self._all.add(worker)
        await worker.send({"kind": "setup", "sys_path": sys.path, "main_path": _main_path()})
        return worker


def _main_path() -> str | None:
    """Give the user's script, if handlers may live in it."""
    module = sys.modules.get("__main__")
    if module is None or getattr(module, "__spec__", None) is not None:
        return None
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) else None
