"""Bare loops that durable runs are held against: as little as does the same work.

``durable_runs`` does nothing but asyncio, a graph and group commit with apsw: each run is
journaled when it is accepted, each step when it starts and when it ends, and a run is acknowledged
when its end is on the disk. ``plain_runs`` is the same with ``graphlib`` and without a journal.
Neither checks, retries, cancels, fences, chains, recovers or shows anything.
"""

import asyncio
import json
import queue
import threading
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import apsw

TABLE = "CREATE TABLE records (run INTEGER, kind TEXT, step TEXT, body BLOB)"


async def no_op(step: str) -> dict[str, str]:
    """Be a step."""
    return {"step": step}


class GroupCommit:
    """One thread that writes; what arrives during a commit is the next."""

    def __init__(self, path: Path) -> None:
        self._path, self._loop = str(path), asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def put(self, rows: list[tuple[Any, ...]], done: asyncio.Future[None] | None = None) -> None:
        """Write rows, and then settle ``done``."""
        self._queue.put((rows, done))

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        connection = apsw.Connection(self._path)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.execute(TABLE)
        while (item := self._queue.get()) is not None:
            batch = [item]
            while len(batch) < 256 and not self._queue.empty():
                if (more := self._queue.get()) is None:
                    self._queue.put(None)
                    break
                batch.append(more)
            with connection:
                rows = [row for rows, _ in batch for row in rows]
                connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
            acknowledged = [done for _, done in batch if done is not None]
            self._loop.call_soon_threadsafe(lambda made: [d.set_result(None) for d in made],
                                            acknowledged)  # fmt: skip
        connection.close()


async def durable_run(number: int, graph: dict[str, set[str]], journal: GroupCommit) -> None:
    """Run a graph of steps, journaled."""
    loop = asyncio.get_running_loop()
    accepted, ended = loop.create_future(), loop.create_future()
    journal.put([(number, "accepted", None, b"")], accepted)
    await accepted
    order = TopologicalSorter(graph)
    order.prepare()
    while order.is_active():
        ready = order.get_ready()
        journal.put([(number, "started", step, b"") for step in ready])
        for step, output in zip(ready, await asyncio.gather(*map(no_op, ready)), strict=True):
            journal.put([(number, "ended", step, json.dumps(output).encode())])
            order.done(step)
    journal.put([(number, "finished", None, b"")], ended)
    await ended


async def plain_run(graph: dict[str, set[str]]) -> None:
    """Run a graph of steps, journaled nowhere."""
    order = TopologicalSorter(graph)
    order.prepare()
    while order.is_active():
        ready = order.get_ready()
        await asyncio.gather(*map(no_op, ready))
        order.done(*ready)
