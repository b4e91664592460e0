"""Messages against their limits and peers, all measured in the same run.

    python benchmarks/messages.py [--runs 5] [--quick]

Each figure is the median of its runs; each run takes Tandem and the peer one after the other, so
that a busy machine slows both. Peers: pyzmq over ipc with MessagePack (group ``bench``), and
``ProcessPoolExecutor.map`` with chunks.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import zmq
from machine import this_machine

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.layers.native import find_native_files

# 100 bytes as MessagePack.
PAYLOAD = {
    "id": 123456, "name": "sensor in room 12", "unit": "degC",
    "value": 21.375, "ok": True, "note": "a line of plain text, like logs",
}  # fmt: skip
BODY = msgspec.msgpack.encode(PAYLOAD)
IN_FLIGHT = 256
CPUS = sorted(os.sched_getaffinity(0))
CONFIG = {"journal": {"path": ":memory:"}, "orchestrator": {"entry_points": False}}


@dataclass
class Row:
    """One figure: values of every run, its bar, and what it is held against."""

    name: str
    unit: str
    bar: float
    more_is_better: bool = True
    values: list[float] = field(default_factory=list)
    peers: dict[str, list[float]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def line(self) -> str:
        """Say it in one line."""
        holds = self.median >= self.bar if self.more_is_better else self.median <= self.bar
        text = (
            f"{self.name:46} {self.median:12,.1f} {self.unit:4} bar {self.bar:11,.1f} "
            f"{'holds ' if holds else 'MISSED'} [{min(self.values):,.1f} .. {max(self.values):,.1f}]"
        )
        for peer, values in self.peers.items():
            ratio = self.median / statistics.median(values)
            text += f"\n    {peer:42} {statistics.median(values):12,.1f} {self.unit:4} ratio {ratio:.2f}"
        return text


async def _window(call: Callable[[], Any], total: int) -> float:
    """Keep IN_FLIGHT calls awaited by as many tasks; calls a second."""

    async def worker(count: int) -> None:
        for _ in range(count):
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(worker(total // IN_FLIGHT) for _ in range(IN_FLIGHT)))
    return total / (time.perf_counter() - begun)


async def _free_far_side(total: int) -> float:
    """Encode, a Future, decode, settled in batches by the loop: what no far side could beat."""
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
        pending.append((future, _ext.encode(PAYLOAD)))
        return future

    return await _window(call, total)


async def _one(tandem: TandemOrchestrator, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter_ns()
        await tandem.send("system", "echo", PAYLOAD)
        times.append(time.perf_counter_ns() - begun)
    return statistics.median(times) / 1e3


def _sync(tandem: TandemOrchestrator, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter_ns()
        tandem.call_sync("system", "echo", PAYLOAD)
        times.append(time.perf_counter_ns() - begun)
    return statistics.median(times) / 1e3


def _apart(far_side: int) -> None:
    """Put the far side on the last CPU and us on the first, whoever the far side is.

    Left alone, a busy scheduler wakes both on one CPU, and a figure then tells of the scheduler.
    """
    os.sched_setaffinity(far_side, {CPUS[-1]})
    os.sched_setaffinity(0, {CPUS[0]})


def _spinning(rounds: int) -> float:
    """call_sync to a bridge that was told to look for 50 us before it sleeps."""
    with tempfile.TemporaryDirectory() as folder:
        ready, ready_write = os.pipe()
        command = [
            str(find_native_files().bridge_path), "--socket", f"{folder}/b.sock",
            "--spin-ns", "50000", "--ready-fd", str(ready_write),
        ]  # fmt: skip
        bridge = subprocess.Popen(command, pass_fds=[ready_write])
        os.close(ready_write)
        os.read(ready, 100)
        os.close(ready)

        async def measure() -> float:
            config = {**CONFIG, "c_layer": {"socket": f"{folder}/b.sock"}}
            async with TandemOrchestrator(config) as tandem:
                return _sync(tandem, rounds)

        _apart(bridge.pid)
        try:
            return asyncio.run(measure())
        finally:
            bridge.terminate()
            bridge.wait()


# --- peers -----------------------------------------------------------------------------------------


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
    """pyzmq in another process, without a loop on our side: the stronger peer."""

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
        _apart(self._process.pid or 0)

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


def _echo(value: Any) -> Any:
    return value


def _distinct(count: int) -> list[dict[str, Any]]:
    """Make payloads that share nothing: pickle would send one object once."""
    return [
        dict(PAYLOAD, id=i + 100_000, name=f"sensor in room {i % 90 + 10}") for i in range(count)
    ]


def _rows() -> dict[str, Row]:
    return {
        "asyncio": Row("awaited send, 256 in flight, asyncio", "/s", 120_000),
        "uvloop": Row("awaited send, 256 in flight, uvloop", "/s", 200_000),
        "many": Row("send_many, dicts", "/s", 600_000),
        "ready": Row("send_many, ready-made bodies", "/s", 3_000_000),
        "one": Row("one awaited call, p50, asyncio", "us", 40, more_is_better=False),
        "one_uvloop": Row("one awaited call, p50, uvloop", "us", 40, more_is_better=False),
        "sync": Row("call_sync, p50, the bridge's usual spin", "us", 5, more_is_better=False),
        "spin": Row("call_sync, p50, both ends spinning", "us", 5, more_is_better=False),
    }


async def _round(rows: dict[str, Row], peer: ZmqPeer, scale: float, uv: bool) -> None:
    kind = "uvloop" if uv else "asyncio"
    total = int(100_000 * scale) // IN_FLIGHT * IN_FLIGHT
    async with TandemOrchestrator(CONFIG) as tandem:
        _apart(tandem.layer_health()["c"].details["pid"])
        await _window(lambda: tandem.send("system", "echo", PAYLOAD), 25_600)
        row = rows[kind]
        row.values.append(await _window(lambda: tandem.send("system", "echo", PAYLOAD), total))
        row.peers.setdefault("free far side", []).append(await _free_far_side(total))
        row.peers.setdefault("pyzmq PUSH/PULL", []).append(peer.window(total))
        one = rows["one_uvloop" if uv else "one"]
        one.values.append(await _one(tandem, int(5_000 * scale)))
        one.peers.setdefault("pyzmq REQ/REP", []).append(peer.one(int(5_000 * scale)))
        if uv:
            return
        rows["sync"].values.append(_sync(tandem, int(10_000 * scale)))
        payloads = _distinct(int(200_000 * scale))
        begun = time.perf_counter()
        answers = await tandem.send_many("system", "echo", payloads)
        rows["many"].values.append(len(payloads) / (time.perf_counter() - begun))
        if answers[-1] != payloads[-1]:
            raise SystemExit(f"send_many: {answers[-1]!r}")
        bodies = [BODY] * int(500_000 * scale)
        begun = time.perf_counter()
        raw = await tandem.send_many("system", "echo", bodies, encoded=True)
        rows["ready"].values.append(len(bodies) / (time.perf_counter() - begun))
        if raw[-1] != BODY:
            raise SystemExit(f"send_many: {raw[-1]!r}")


def main() -> None:
    """Take every figure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages")
    parser.add_argument("--json", type=Path, help="write the values there, too")
    options = parser.parse_args()
    import uvloop

    scale, rows, peer = (0.1 if options.quick else 1.0), _rows(), ZmqPeer()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        payloads = _distinct(int(200_000 * scale))
        list(pool.map(_echo, payloads[:1000], chunksize=100))
        for _ in range(options.runs):
            asyncio.run(_round(rows, peer, scale, uv=False))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_round(rows, peer, scale, uv=True))
            rows["spin"].values.append(_spinning(int(10_000 * scale)))
            os.sched_setaffinity(0, CPUS)
            begun = time.perf_counter()
            list(pool.map(_echo, payloads, chunksize=1000))
            rows["many"].peers.setdefault("ProcessPoolExecutor.map, chunks", []).append(
                len(payloads) / (time.perf_counter() - begun)
            )
    peer.close()
    print(json.dumps(this_machine().as_dict()))
    for row in rows.values():
        print(row.line())
    if options.json is not None:
        values = {name: {"values": row.values, "peers": row.peers} for name, row in rows.items()}
        options.json.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
