"""What messages are held against: pyzmq, a pool of processes, and a far side that costs nothing."""

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import msgspec
import zmq

# 100 bytes as MessagePack.
PAYLOAD = {
    "id": 123456, "name": "sensor in room 12", "unit": "degC",
    "value": 21.375, "ok": True, "note": "a line of plain text, like logs",
}  # fmt: skip
BODY = msgspec.msgpack.encode(PAYLOAD)
IN_FLIGHT = 256
CPUS = sorted(os.sched_getaffinity(0))


def distinct(count: int) -> list[dict[str, Any]]:
    """Make payloads that share nothing: pickle would send one object once."""
    return [
        dict(PAYLOAD, id=i + 100_000, name=f"sensor in room {i % 90 + 10}") for i in range(count)
    ]


def apart(far_side: int) -> None:
    """Put the far side on the last CPU and us on the first, whoever the far side is.

    Left alone, a busy scheduler wakes both on one CPU, and a figure then tells of the scheduler.
    """
    os.sched_setaffinity(far_side, {CPUS[-1]})
    os.sched_setaffinity(0, {CPUS[0]})


def together() -> None:
    """Have every CPU again, as before ``apart``: who starts on one CPU does not look on for work."""
    os.sched_setaffinity(0, CPUS)


async def window(call: Callable[[], Any], total: int) -> float:
    """Keep IN_FLIGHT calls awaited by as many tasks; calls a second."""

    async def worker(count: int) -> None:
        for _ in range(count):
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(worker(total // IN_FLIGHT) for _ in range(IN_FLIGHT)))
    return total / (time.perf_counter() - begun)


async def free_far_side(total: int) -> float:
    """Encode, push to a list, a Future, decode, settled in batches: a far side that costs nothing."""
    from tandem_orchestrator._native import _ext
    from tandem_orchestrator.layers.native.codec import Timestamp

    loop = asyncio.get_running_loop()
    pending: list[tuple[asyncio.Future[Any], bytes]] = []

    def settle() -> None:
        batch = pending[:]
        pending.clear()
        for future, body in batch:
            future.set_result(_ext.decode(body, Timestamp))

    def call() -> asyncio.Future[Any]:
        future = loop.create_future()
        if not pending:
            loop.call_soon(settle)
        body = _ext.encode(PAYLOAD)
        assert body is not None
        pending.append((future, body))
        return future

    return await window(call, total)


def _echo(value: Any) -> Any:
    return value


class PoolPeer:
    """``ProcessPoolExecutor.map`` with chunks of 1,000, two processes."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
        list(self._pool.map(_echo, distinct(1000), chunksize=100))

    def many(self, payloads: list[dict[str, Any]]) -> float:
        """Payloads a second, there and back, with every CPU that there is."""
        together()
        begun = time.perf_counter()
        list(self._pool.map(_echo, payloads, chunksize=1000))
        return len(payloads) / (time.perf_counter() - begun)

    def close(self) -> None:
        """End its processes."""
        self._pool.shutdown()


def _zmq_far_side(folder: str) -> None:
    """Echo: decode and encode, on a REP socket and on a PULL/PUSH pair."""
    context = zmq.Context()
    rep, pull, push = context.socket(zmq.REP), context.socket(zmq.PULL), context.socket(zmq.PUSH)
    rep.bind(f"ipc://{folder}/rep")
    pull.bind(f"ipc://{folder}/pull")
    push.connect(f"ipc://{folder}/push")
    poller = zmq.Poller()
    poller.register(rep, zmq.POLLIN)
    poller.register(pull, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            if socket is rep:
                rep.send(msgspec.msgpack.encode(msgspec.msgpack.decode(rep.recv())))
                continue
            try:
                while True:
                    body = pull.recv(zmq.NOBLOCK)
                    if not body:
                        return
                    push.send(msgspec.msgpack.encode(msgspec.msgpack.decode(body)))
            except zmq.Again:
                pass


class ZmqPeer:
    """pyzmq over ipc with MessagePack, and without a loop on our side: the stronger peer."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._context = zmq.Context()
        self._pull, self._push = self._context.socket(zmq.PULL), self._context.socket(zmq.PUSH)
        self._req = self._context.socket(zmq.REQ)
        self._pull.bind(f"ipc://{self._folder.name}/push")
        self._push.connect(f"ipc://{self._folder.name}/pull")
        self._req.connect(f"ipc://{self._folder.name}/rep")
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=_zmq_far_side, args=(self._folder.name,))
        self._process.start()
        apart(self._process.pid or 0)

    def window(self, total: int) -> float:
        """Messages a second with IN_FLIGHT under way."""
        encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
        begun = time.perf_counter()
        for _ in range(IN_FLIGHT):
            self._push.send(encode(PAYLOAD))
        for _ in range(total - IN_FLIGHT):
            decode(self._pull.recv())
            self._push.send(encode(PAYLOAD))
        for _ in range(IN_FLIGHT):
            decode(self._pull.recv())
        return total / (time.perf_counter() - begun)

    def one(self, rounds: int) -> float:
        """Microseconds of one REQ/REP round trip, the median."""
        times = []
        for _ in range(rounds):
            begun = time.perf_counter_ns()
            self._req.send(msgspec.msgpack.encode(PAYLOAD))
            msgspec.msgpack.decode(self._req.recv())
            times.append(time.perf_counter_ns() - begun)
        return statistics.median(times) / 1e3

    def close(self) -> None:
        """End the other process."""
        self._push.send(b"")
        self._process.join()
        self._context.destroy(linger=0)
        self._folder.cleanup()
