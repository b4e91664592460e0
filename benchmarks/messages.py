"""Messages against their limits and peers, all measured in the same run.

    python benchmarks/messages.py [--runs 5] [--quick] [--output build/bench/messages.json]

Each figure is the median of its runs; each run takes Tandem and the peer one after the other, so
that a busy machine slows both. Two far sides: ``system.echo``, which the bridge does itself, and an
agent in C that is a process of its own (built from ``echo_agent.c``; on two CPUs it shares one
with the bridge). Exits 1 when a median misses its bar.
"""

import argparse
import asyncio
import importlib.resources
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from comparison import Comparison, write_comparisons
from machine import this_machine
from message_peers import (
    BODY,
    CPUS,
    IN_FLIGHT,
    PAYLOAD,
    PoolPeer,
    ZmqPeer,
    apart,
    distinct,
    free_far_side,
    together,
    window,
)

from tandem_orchestrator import TandemOrchestrator

CONFIG = {"journal": {"path": ":memory:"}, "orchestrator": {"entry_points": False}}
SPIN_US = 50
"""For the figures in which both ends look on."""
FREE, PUSH_PULL, REQ_REP = "free far side", "pyzmq PUSH/PULL", "pyzmq REQ/REP"
POOL = "ProcessPoolExecutor.map, chunks"


def comparisons() -> dict[str, Comparison]:
    """Make the empty table, with the bars."""
    beside = {FREE: 0.5, PUSH_PULL: 1.0}
    less = {"more_is_better": False}
    return {
        "send asyncio": Comparison("send, 256 in flight, asyncio", "/s", 120_000, ratios=beside),
        "send uvloop": Comparison("send, 256 in flight, uvloop", "/s", 200_000, ratios=beside),
        "agent asyncio": Comparison("the same to an agent, asyncio", "/s", 120_000),
        "agent uvloop": Comparison("the same to an agent, uvloop", "/s", 200_000),
        "many": Comparison("send_many, dicts", "/s", 600_000, ratios={POOL: 1.0}),
        "ready": Comparison("send_many, ready-made bodies", "/s", 3_000_000),
        "many agent": Comparison("send_many to an agent, dicts", "/s", 600_000),
        "ready agent": Comparison("send_many to an agent, ready-made bodies", "/s", None),
        "one asyncio": Comparison(
            "one send, p50, asyncio", "us", 40, ratios={REQ_REP: 1.0}, **less
        ),
        "one uvloop": Comparison("one send, p50, uvloop", "us", 40, ratios={REQ_REP: 1.0}, **less),
        "one agent": Comparison("one send to an agent, p50, uvloop", "us", None, **less),
        "sync": Comparison("call_sync, p50", "us", None, **less),
        "sync spinning": Comparison("call_sync, p50, spinning", "us", 5, **less),
    }


class Round:
    """One run of every figure.

    Args:
        rows: Gets the values.
        zmq, pool: The peers.
        agent_path: The agent, built.
        scale: 1.0; less is quicker and noisier.
    """

    def __init__(
        self,
        rows: dict[str, Comparison],
        zmq: ZmqPeer,
        pool: PoolPeer,
        agent_path: Path,
        scale: float,
    ) -> None:
        self._rows, self._zmq, self._pool = rows, zmq, pool
        self._agent_path, self._scale = agent_path, scale

    def run(self) -> None:
        """Take every figure once."""
        import uvloop

        asyncio.run(self._on_a_loop("asyncio"))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._on_a_loop("uvloop"))
        asyncio.run(self._spinning())
        payloads = distinct(self._count(200_000))
        self._peer("many", POOL, self._pool.many(payloads))

    async def _on_a_loop(self, kind: str) -> None:
        together()
        async with TandemOrchestrator(CONFIG) as tandem:
            apart(tandem.layer_health()["c"].details["pid"])
            total = self._count(100_000) // IN_FLIGHT * IN_FLIGHT
            await self._window(tandem, "system", total // 4)
            row = f"send {kind}"
            self._value(row, await self._window(tandem, "system", total))
            self._peer(row, FREE, await free_far_side(total))
            self._peer(row, PUSH_PULL, self._zmq.window(total))
            row = f"one {kind}"
            self._value(row, await self._one(tandem, "system"))
            self._peer(row, REQ_REP, self._zmq.one(self._count(5_000)))
            if kind == "asyncio":
                self._value("sync", self._sync(tandem))
                await self._many(tandem, "system", "many", "ready")
            agent = await self._start_agent(tandem)
            try:
                await self._window(tandem, "bench", total // 4)
                self._value(f"agent {kind}", await self._window(tandem, "bench", total))
                if kind == "asyncio":
                    await self._many(tandem, "bench", "many agent", "ready agent")
                else:
                    self._value("one agent", await self._one(tandem, "bench"))
            finally:
                agent.terminate()
                agent.wait()

    async def _spinning(self) -> None:
        together()
        async with TandemOrchestrator({**CONFIG, "c_layer": {"spin_us": SPIN_US}}) as tandem:
            apart(tandem.layer_health()["c"].details["pid"])
            self._value("sync spinning", self._sync(tandem))

    async def _start_agent(self, tandem: TandemOrchestrator) -> "subprocess.Popen[bytes]":
        socket = tandem.layer_health()["c"].details["socket"]
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here
            [self._agent_path], env={**os.environ, "TANDEM_SOCKET": socket}
        )
        os.sched_setaffinity(process.pid, {CPUS[-1]})
        give_up_at = time.monotonic() + 10
        while ("bench", "echo") not in tandem.catalogue().actions:
            if time.monotonic() > give_up_at:
                raise SystemExit("messages: the agent did not come")
            await asyncio.sleep(0.01)
        return process

    async def _window(self, tandem: TandemOrchestrator, agent: str, total: int) -> float:
        return await window(lambda: tandem.send(agent, "echo", PAYLOAD), total)

    async def _one(self, tandem: TandemOrchestrator, agent: str) -> float:
        times = []
        for _ in range(self._count(5_000)):
            begun = time.perf_counter_ns()
            await tandem.send(agent, "echo", PAYLOAD)
            times.append(time.perf_counter_ns() - begun)
        return statistics.median(times) / 1e3

    def _sync(self, tandem: TandemOrchestrator) -> float:
        times = []
        for _ in range(self._count(10_000)):
            begun = time.perf_counter_ns()
            tandem.call_sync("system", "echo", PAYLOAD)
            times.append(time.perf_counter_ns() - begun)
        return statistics.median(times) / 1e3

    async def _many(self, tandem: TandemOrchestrator, agent: str, row: str, ready_row: str) -> None:
        payloads = distinct(self._count(200_000))
        begun = time.perf_counter()
        answers = await tandem.send_many(agent, "echo", payloads)
        self._value(row, len(payloads) / (time.perf_counter() - begun))
        bodies = [BODY] * self._count(500_000)
        begun = time.perf_counter()
        raw = await tandem.send_many(agent, "echo", bodies, encoded=True)
        self._value(ready_row, len(bodies) / (time.perf_counter() - begun))
        if answers != payloads or raw != bodies:
            raise SystemExit(f"messages: {agent} answered something else")

    def _count(self, count: int) -> int:
        return int(count * self._scale)

    def _value(self, row: str, value: float) -> None:
        self._rows[row].values.append(value)

    def _peer(self, row: str, peer: str, value: float) -> None:
        self._rows[row].peers.setdefault(peer, []).append(value)


def build_agent(folder: Path) -> Path:
    """Build the agent as its users do, with the installed headers and library."""
    native = Path(str(importlib.resources.files("tandem_orchestrator._native")))
    agent_path = folder / "echo_agent"
    subprocess.run(
        ["cc", "-O2", "-std=c11", f"-I{native / 'include'}",
         str(Path(__file__).with_name("echo_agent.c")),
         str(native / "lib" / "libtandem_agent.a"), "-pthread", "-o", str(agent_path)],
        check=True,
    )  # fmt: skip
    return agent_path


def main() -> int:
    """Take every figure and print the table; 1 when one misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages")
    parser.add_argument("--output", type=Path, help="write the values there, too")
    options = parser.parse_args()
    rows, machine = comparisons(), this_machine()
    with tempfile.TemporaryDirectory() as folder:
        agent_path = build_agent(Path(folder))
        zmq, pool = ZmqPeer(), PoolPeer()
        try:
            one_run = Round(rows, zmq, pool, agent_path, 0.1 if options.quick else 1.0)
            for _ in range(options.runs):
                one_run.run()
        finally:
            zmq.close()
            pool.close()
    print("\n".join(line for row in rows.values() for line in row.lines()))
    if options.output is not None:
        write_comparisons(
            options.output,
            command=f"benchmarks/messages.py --runs {options.runs}",
            machine=machine,
            rows=rows.values(),
        )
    return 0 if all(row.holds for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
