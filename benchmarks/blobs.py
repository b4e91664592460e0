"""Sealed blobs against copies through the rings, both measured in the same run.

    python benchmarks/blobs.py [--runs 5] [--quick] [--sweep] [--output build/bench/blobs.json]

Two bridges are started by hand: one as it comes, one without blobs (``--blobs 0``), each with its
agents in C (``echo_agent.c``). A broadcast is one ``router.route_messages`` of one message for four
agents, from the call to the counts. A long body goes to an agent and back: one of just over 64 MiB
in blobs beside one of just under in fragments, in MiB a second. ``--sweep`` shows broadcasts of
many lengths to two and to four agents: where blobs begin to win. Exits 1 when a median misses its
bar.
"""

from __future__ import annotations

import argparse
import importlib.resources
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import msgspec
from comparison import Comparison, write_comparisons
from machine import this_machine

READERS = 4
COPIES, FRAGMENTS = "copies through the rings", "fragments through the ring"
KIB, MIB = 1 << 10, 1 << 20
LONG_BYTES = 64 * MIB - 64
"""The longest body, about, that goes in fragments; twice 64 more, and it is a blob."""
SWEEP = tuple((64 * KIB) << power for power in range(6))


def comparisons() -> dict[str, Comparison]:
    """Make the empty table, with the bars."""
    return {
        "broadcast 2M": Comparison("2 MiB to 4 agents", "/s", None, ratios={COPIES: 1.0}),
        "broadcast 4M": Comparison("4 MiB to 4 agents", "/s", None, ratios={COPIES: 1.0}),
        "broadcast 16M": Comparison("16 MiB to 4 agents", "/s", None, ratios={COPIES: 1.2}),
        "there": Comparison("64 MiB to an agent", "MiB/s", None, ratios={FRAGMENTS: 1.0}),
        "echo": Comparison("64 MiB to an agent and back", "MiB/s", None, ratios={FRAGMENTS: 1.0}),
    }


class Side:
    """A bridge, its agents, and one session.

    Args:
        agent_path: The agent, built.
        options: Further arguments for the bridge.
    """

    def __init__(self, agent_path: Path, *options: str) -> None:
        from tandem_orchestrator._native import _ext

        self._folder = tempfile.TemporaryDirectory()
        socket = str(Path(self._folder.name) / "bridge" / "bridge.sock")
        native = Path(str(importlib.resources.files("tandem_orchestrator._native")))
        ready, told = os.pipe()
        self._processes = [
            subprocess.Popen(
                [native / "bin" / "agent_bridge", "--socket", socket, "--ready-fd", str(told),
                 *options],
                pass_fds=[told],
            )
        ]  # fmt: skip
        os.close(told)
        os.read(ready, 16)
        os.close(ready)
        self._processes += [
            subprocess.Popen([agent_path, f"agent{i}"], env={"TANDEM_SOCKET": socket})
            for i in range(READERS)
        ]
        self._client = _ext.Client(socket, "blobs", 10.0, 2000)
        give_up_at = time.monotonic() + 10
        while len(self._ids()) < READERS + 1:
            if time.monotonic() > give_up_at:
                raise SystemExit("blobs: the agents did not come")
            self._client.wait(0.01)
            self._client.drain(100)

    def _ids(self) -> dict[tuple[str, str], int]:
        return {
            (row[0], row[1]): row[3]
            for row in self._client.actions()
            if row[1] in ("receive", "route_messages")
        }

    def ask(self, agent: str, action: str, body: bytes) -> bytes:
        """Make one call and wait for its output."""
        ids = {(row[0], row[1]): row[3] for row in self._client.actions()}
        call_id = self._client.call(ids[agent, action], body)
        while True:
            for row in self._client.drain(10)[0]:
                if row[0] != call_id or row[1] != 0:
                    raise SystemExit(f"blobs: {agent}.{action} ended as {row[1]}")
                return bytes(row[4])
            self._client.wait(1.0)

    def broadcasts(self, message_bytes: int, readers: int, total: int) -> float:
        """Send one message to many, again and again; broadcasts a second."""
        body = msgspec.msgpack.encode(
            {
                "policy": "broadcast",
                "destinations": [f"agent{i}" for i in range(readers)],
                "messages": [bytes(message_bytes)],
            }
        )
        begun = time.perf_counter()
        for _ in range(total):
            counts = msgspec.msgpack.decode(self.ask("router", "route_messages", body))
            if counts["delivered"] != readers:
                raise SystemExit(f"blobs: {counts}")
        return total / (time.perf_counter() - begun)

    def long_bodies(self, action: str, body_bytes: int, total: int) -> float:
        """Send one long body to one agent, again and again; MiB a second."""
        body = msgspec.msgpack.encode(bytes(body_bytes))
        begun = time.perf_counter()
        for _ in range(total):
            self.ask("agent0", action, body)
        return total * body_bytes / MIB / (time.perf_counter() - begun)

    def __enter__(self) -> Side:
        """Enter a block that ends it all."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the session, the agents and the bridge."""
        self._client.close()
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
        self._folder.cleanup()


def build_agent(folder: Path) -> Path:
    """Compile the far side."""
    native = Path(str(importlib.resources.files("tandem_orchestrator._native")))
    made = folder / "echo_agent"
    subprocess.run(
        ["cc", "-O2", "-std=c11", f"-I{native / 'include'}",
         str(Path(__file__).with_name("echo_agent.c")),
         str(native / "lib" / "libtandem_agent.a"), "-pthread", "-o", str(made)],
        check=True,
    )  # fmt: skip
    return made


def take(rows: dict[str, Comparison], blobs: Side, copies: Side, scale: float) -> None:
    """Measure every row once, each beside its peer."""
    for row, message_bytes, total in (
        ("broadcast 2M", 2 * MIB, 60),
        ("broadcast 4M", 4 * MIB, 30),
        ("broadcast 16M", 16 * MIB, 6),
    ):
        count = max(2, round(total * scale))
        rows[row].values.append(blobs.broadcasts(message_bytes, READERS, count))
        rows[row].peers.setdefault(COPIES, []).append(
            copies.broadcasts(message_bytes, READERS, count)
        )
    for row, action in (("there", "receive"), ("echo", "echo")):
        count = max(2, round(3 * scale))
        rows[row].values.append(blobs.long_bodies(action, LONG_BYTES + 128, count))
        rows[row].peers.setdefault(FRAGMENTS, []).append(
            copies.long_bodies(action, LONG_BYTES, count)
        )


def sweep(agent_path: Path) -> None:
    """Print broadcasts a second by length, blobs beside copies."""
    with (
        Side(agent_path, "--blob-broadcast-bytes", "1") as blobs,
        Side(agent_path, "--blobs", "0") as copies,
    ):
        for readers in (2, READERS):
            for message_bytes in SWEEP:
                count = max(4, min(400, 64 * MIB // message_bytes))
                values = [
                    [side.broadcasts(message_bytes, readers, count) for side in (blobs, copies)]
                    for _ in range(3)
                ]
                ours, theirs = (sorted(column)[1] for column in zip(*values, strict=True))
                print(
                    f"{readers} readers {message_bytes // KIB:6} KiB"
                    f" blob {ours:9.0f}/s copies {theirs:9.0f}/s ratio {ours / theirs:.2f}"
                )


def main() -> int:
    """Measure, print, write. Returns an exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, and noisier")
    parser.add_argument("--sweep", action="store_true", help="only show where blobs begin to win")
    parser.add_argument("--output", type=Path, default=Path("build/bench/blobs.json"))
    options = parser.parse_args()
    rows = comparisons()
    with tempfile.TemporaryDirectory() as folder:
        agent_path = build_agent(Path(folder))
        if options.sweep:
            sweep(agent_path)
            return 0
        with Side(agent_path) as blobs, Side(agent_path, "--blobs", "0") as copies:
            for _ in range(options.runs):
                take(rows, blobs, copies, 0.2 if options.quick else 1.0)
    for row in rows.values():
        print("\n".join(row.lines()))
    write_comparisons(
        options.output,
        rows=rows.values(),
        machine=this_machine(),
        command=f"benchmarks/blobs.py --runs {options.runs}",
    )
    return 0 if all(row.holds for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
