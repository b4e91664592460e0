"""Seven good agents beside a hostile peer, against eight good ones, in the same run.

    python benchmarks/fairness.py [--runs 5] [--seconds 1] [--output FILE]

One caller keeps one call in flight with each good agent. Each run measures the 99th percentile of a
round trip with eight good agents, and then, once for each kind of hostile peer, with seven good
agents and that peer; the figure is the quotient. Beside it stands the quotient for a process that
only computes and never connects: what any busy program costs on these CPUs, whoever runs it, so
that what is beyond it is the bridge's own unfairness. Everything runs on the same bridge and CPUs;
the hostile peer is one Python process that does its worst without a pause. Needs the test agent
(``tools/test-native plain`` builds it) in ``$TANDEM_NATIVE_TOOLS``. Exits 1 when a median misses
its bar.
"""

import argparse
import itertools
import math
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figure import Figure, report
from machine import this_machine

from tandem_orchestrator.layers.native import find_native_files
from tandem_orchestrator.layers.native.frame import HEADER, Flag, Kind
from tandem_orchestrator.testing.raw_peer import AGENT, HEAD, TAIL, RawPeer, connect

RATIO_BAR = 2.0
AGENTS = 8
BODY = b"\xc4\x62" + bytes(98)
JOIN_S = 20.0


# --- hostile peers: each runs in a process of its own until it is killed ---------------------------


def rings(path: Path, build_id: str) -> None:
    """Fill the bridge's doorbell; come back when cut off."""
    while True:
        try:
            with RawPeer.join(path, build_id) as peer:
                while True:
                    try:
                        os.write(peer.ring_fd, bytes(65536))
                    except BlockingIOError:
                        continue
        except (BrokenPipeError, ConnectionError):
            continue


def comes_and_dies(path: Path, build_id: str) -> None:
    """Connect as an agent and die, as often as it can."""
    while True:
        try:
            RawPeer.join(path, build_id, role=AGENT, name=b"raw").close()
        except (BrokenPipeError, ConnectionError):
            continue


def says_nothing(path: Path, build_id: str) -> None:
    """Connect, say nothing, and keep the last 100 of them."""
    kept = []
    while True:
        kept.append(connect(path))
        if len(kept) > 100:
            kept.pop(0).close()


def floods(path: Path, build_id: str, body: bytes, action: str) -> None:
    """Call as fast as the bridge reads, and take the answers unread."""
    from tandem_orchestrator._native import _ext

    with RawPeer.join(path, build_id) as peer:
        action_id = peer.action("system", action)
        body_crc = _ext.crc32c(body)
        span = -(-(64 + len(body)) // 64) * 64
        padding = bytes(span - 64 - len(body))
        for number in itertools.count(1):
            rest = peer.ring_bytes - peer.at % peer.ring_bytes
            if rest < span:
                if not peer.wait_for_room(rest, 10.0):
                    return
                peer.place(peer.packed(kind=Kind.PAD, body=bytes(rest - 64)))
            while peer.ring_bytes - (peer.at - peer.load(HEAD)) < span:
                peer.store(HEAD, peer.load(TAIL))
                peer.ring()
            call_id = number // 4096 + 1 << 32 | number % 4096
            header = HEADER.pack(
                0x4454, 1, Kind.CALL, Flag.WANT_REPLY, 0, 0, len(body), peer.at // 64 & 0xFFFFFFFF,
                call_id, 0, 0, 0, action_id, 1, 0, 0, 0, body_crc, 0,
            )[:60]  # fmt: skip
            peer.place(header + _ext.crc32c(header).to_bytes(4, "little") + body + padding)
            peer.show(rings=0)
            peer.store(HEAD, peer.load(TAIL))


def floods_small(path: Path, build_id: str) -> None:
    """Small calls without end."""
    floods(path, build_id, b"\xc0", "noop")


def floods_large(path: Path, build_id: str) -> None:
    """Calls of 15 KiB without end: the longest frames of its ring."""
    # 15,000 small numbers: the most work for a check of each byte.
    floods(path, build_id, b"\xdc\x3a\x98" + bytes(15000), "echo")


def stops(path: Path, build_id: str) -> None:
    """Join as an agent, and sleep for ever with everything in its hands."""
    peer = RawPeer.join(path, build_id, role=AGENT, name=b"stopped")
    while peer is not None:
        signal.pause()


def computes(path: Path, build_id: str) -> None:
    """Never connect; take as much of a CPU as the kernel gives."""
    while True:
        math.factorial(len(str(path)) + len(build_id))


HOSTILE: dict[str, Callable[[Path, str], None]] = {
    "rings without end": rings,
    "connects and dies": comes_and_dies,
    "connects and says nothing": says_nothing,
    "calls without end": floods_small,
    "long calls without end": floods_large,
    "joins and stops": stops,
}


# --- what is measured ------------------------------------------------------------------------------


class Caller:
    """Keeps one call in flight with each of several agents."""

    def __init__(self, path: Path) -> None:
        from tandem_orchestrator._native import _ext

        self.client = _ext.Client(str(path), "caller", JOIN_S, 2000)

    def ids(self, agents: int) -> list[int]:
        """Wait for agents good1 .. goodN; ids of their echo."""
        give_up_at = time.monotonic() + JOIN_S
        while time.monotonic() < give_up_at:
            self.client.drain(100)
            found = {row[0]: row[3] for row in self.client.actions() if row[1] == "echo"}
            if all(f"good{number}" in found for number in range(agents)):
                return [found[f"good{number}"] for number in range(agents)]
            time.sleep(0.01)
        sys.exit("fairness: the agents did not come")

    def p99_us(self, ids: list[int], seconds: float) -> float:
        """Measure round trips for a while; their 99th percentile."""
        begun: dict[int, tuple[int, int]] = {}
        took: list[int] = []
        now = time.perf_counter_ns

        def start(action_id: int) -> None:
            at = now()
            begun[self.client.call(action_id, BODY)] = (at, action_id)

        for action_id in ids:
            start(action_id)
        end = now() + int(seconds * 1e9)
        while begun:
            self.client.wait(1.0)
            for call_id, status, *_ in self.client.drain(100)[0]:
                at, action_id = begun.pop(call_id)
                took.append(now() - at)
                if status != 0:
                    sys.exit(f"fairness: a good agent's call ended with status {status}")
                if now() < end:
                    start(action_id)
        return statistics.quantiles(took, n=100)[98] / 1e3


def beside(hostile: Callable[[Path, str], None], path: Path, measure: Callable[[], float]) -> float:
    """Measure while a hostile peer is at work."""
    from tandem_orchestrator._native import _ext

    process = multiprocessing.get_context("spawn").Process(
        target=hostile, args=(path, str(_ext.BUILD_ID)), daemon=True
    )
    process.start()
    try:
        time.sleep(0.5)  # its interpreter starts
        if not process.is_alive():
            sys.exit(f"fairness: {hostile.__name__} ended by itself")
        value = measure()
        if not process.is_alive():
            sys.exit(f"fairness: {hostile.__name__} ended by itself")
        return value
    finally:
        process.kill()
        process.join()


def measured(runs: int, seconds: float, kinds: list[str]) -> list[Figure]:
    """Take every run of every kind."""
    agent = Path(os.environ.get("TANDEM_NATIVE_TOOLS", "build/tools"), "agent_test_program")
    if not agent.is_file():
        sys.exit(f"fairness: no {agent}; `tools/test-native plain` builds it")
    started: list[subprocess.Popen[Any]] = []
    with tempfile.TemporaryDirectory(prefix="td-") as folder:
        path = Path(folder, "s")
        ready, ready_write = os.pipe()
        command = [find_native_files().bridge_path, "--socket", path]
        try:
            started.append(
                subprocess.Popen(
                    [*command, "--ready-fd", str(ready_write)],
                    pass_fds=[ready_write],
                    stderr=subprocess.DEVNULL,
                )
            )
            os.close(ready_write)
            os.read(ready, 100)
            os.close(ready)
            started += [
                subprocess.Popen([agent, f"good{number}", path, "0"]) for number in range(AGENTS)
            ]
            caller = Caller(path)
            ids = caller.ids(AGENTS)
            caller.p99_us(ids, seconds)  # warms up
            good: list[float] = []
            bad: dict[str, list[float]] = {kind: [] for kind in kinds}
            busy: list[float] = []
            for _ in range(runs):
                good.append(caller.p99_us(ids, seconds))
                busy.append(beside(computes, path, lambda: caller.p99_us(ids[:-1], seconds)))
                for kind in kinds:
                    bad[kind].append(
                        beside(HOSTILE[kind], path, lambda: caller.p99_us(ids[:-1], seconds))
                    )
            caller.client.close()
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()
    figures = [Figure("p99 of a round trip, eight good agents", "us", None, tuple(good))]
    peers = (("beside one that computes and never connects", quotients(busy, good)),)
    for kind in kinds:
        name = f"p99 beside one that {kind}"
        figures.append(Figure(name, "x", RATIO_BAR, quotients(bad[kind], good), peers=peers))
    return figures


def quotients(values: list[float], bases: list[float]) -> tuple[float, ...]:
    """Divide each run's value by its own base."""
    return tuple(value / base for value, base in zip(values, bases, strict=True))


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--kind", action="append", choices=list(HOSTILE))
    parser.add_argument("--output", type=Path, default=Path("build/bench/fairness.json"))
    given = parser.parse_args()
    machine = this_machine()
    figures = measured(given.runs, given.seconds, given.kind or list(HOSTILE))
    command = f"python benchmarks/fairness.py --runs {given.runs} --seconds {given.seconds}"
    return report(figures, command=command, machine=machine, output=given.output)


if __name__ == "__main__":
    sys.exit(main())
