"""Simulate seeds: ``python -P simulate.py --seeds 1000 --from 0``; a failure names its one command.

``--days`` plays days of schedules instead, ``--memory`` one quiet day to see what it keeps.
``--state FILE`` keeps how far it is, so that the next sitting goes on from there.

Seeds are spread over processes; each process plays a few and leaves without freeing anything,
since what a dead program never did must not be done by a garbage collector.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import time
import tracemalloc
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from sim_bugs import BUGS, DAY_BUGS  # noqa: E402 - beside this file
from sim_day import play_day  # noqa: E402
from sim_loop import Trace  # noqa: E402
from sim_world import play  # noqa: E402

CHUNK = 20
"""Seeds that one process plays; of days one."""


GROWTH_MAX_BYTES = 100_000
"""What bounded caches may still fill up with in half a day."""


def play_one(seed: int, bug: str, trace: Trace, *, days: bool = False) -> str:
    """Play one seed; gives a report if something went wrong, else nothing."""
    wrongs = play_day(seed, trace, bug=bug).wrongs if days else play(seed, trace, bug)
    if not wrongs:
        return ""
    planted = (f" --plant {bug}" if bug else "") + (" --days" if days else "")
    lines = [f"seed {seed}: {wrongs[0]}", *(f"  also: {wrong}" for wrong in wrongs[1:5])]
    lines += ["  last of its trace:", *(f"    {line}" for line in list(trace.last)[-25:])]
    lines.append(f"replay: python -P {sys.argv[0]} --seeds 1 --from {seed}{planted} --trace")
    return "\n".join(lines)


def play_chunk(seeds: range, bug: str, out: int, *, days: bool) -> None:
    """Play some seeds in a process of their own, and write a line for each: seed, digest, report."""
    for seed in seeds:
        trace = Trace()
        report = play_one(seed, bug, trace, days=days)
        text = report.replace("\n", "\x1f")
        os.write(out, f"{seed}\t{trace.digest()}\t{text}\n".encode()[:60_000])
        gc.freeze()


def play_all(
    first: int, count: int, bug: str, workers: int, *, stop_at_first: bool, days: bool = False
) -> tuple[dict[int, str], list[str]]:
    """Play many seeds; gives the digest of each and the reports of those that failed."""
    size = 1 if days else CHUNK
    chunks = [range(n, min(n + size, first + count)) for n in range(first, first + count, size)]
    digests: dict[int, str] = {}
    reports: list[str] = []
    running: dict[int, tuple[int, range]] = {}
    while chunks or running:
        while chunks and len(running) < workers and not (reports and stop_at_first):
            seeds = chunks.pop(0)
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reader)
                code = 1
                try:
                    play_chunk(seeds, bug, writer, days=days)
                    code = 0
                except BaseException:  # noqa: BLE001 - said, and the process must not go on
                    import traceback

                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            os.close(writer)
            running[child] = (reader, seeds)
        if not running:
            break
        child, (reader, seeds) = next(iter(running.items()))
        with os.fdopen(reader, "rb") as pipe:
            lines = pipe.read().decode().splitlines()
        _, status = os.waitpid(child, 0)
        del running[child]
        for line in lines:
            seed, digest, report = line.split("\t", 2)
            digests[int(seed)] = digest
            if report:
                reports.append(report.replace("\x1f", "\n"))
        if status:
            reports.append(f"seeds {seeds}: the process ended with {status} after {len(lines)}")
    return digests, reports


def go_on(path: Path, until: int, first: int | None, workers: int) -> int:
    """Play seeds up to ``until``, a thousand at a time, and keep how far it is."""
    state = json.loads(path.read_text()) if path.exists() else {"next": 0, "failed": []}
    if first is not None:
        state["next"] = first
    while state["next"] < until:
        count = min(1000, until - state["next"])
        digests, reports = play_all(state["next"], count, "", workers, stop_at_first=False)
        for report in reports:
            print(report, file=sys.stderr, flush=True)
        if len(digests) < count:
            print(f"only {len(digests)} of {count} seeds came back", file=sys.stderr)
            return 1
        state["next"] += count
        state["failed"] += [report.split(":")[0] for report in reports]
        path.write_text(json.dumps(state))
        print(f"{state['next']} seeds, {len(state['failed'])} failed", flush=True)
    return 1 if state["failed"] else 0


def measure(bug: str) -> int:
    """See what two programs keep of the second half of a day in which nothing goes wrong."""
    tracemalloc.start()
    day = play_day(2, Trace(), hours=16.0, bug=bug, measured=True)
    before, after = day.memory
    ran = f"{day.checked} occurrences, {before} bytes at half time, {after} at the end"
    wrong = day.wrongs or (["memory grew"] if after - before > GROWTH_MAX_BYTES else [])
    print("; ".join([*wrong, ran]), flush=True)
    os._exit(1 if wrong else 0)


def main() -> int:
    """Play what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="with --state: that many in all")
    parser.add_argument("--from", type=int, default=None, dest="first")
    parser.add_argument("--state", type=Path, help="go on from what this file says")
    parser.add_argument("--plant", choices=[*BUGS, *DAY_BUGS], default="")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--trace", action="store_true", help="print all that happened; one seed")
    parser.add_argument(
        "--days", action="store_true", help="a seed is a day and a half of schedules"
    )
    parser.add_argument("--memory", action="store_true", help="measure one quiet day")
    parser.add_argument("--digests", action="store_true", help="print each seed's digest")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if asked.state is not None:
        return go_on(asked.state, asked.seeds, asked.first, asked.workers)
    asked.first = asked.first or 0
    if asked.memory:
        return measure(asked.plant)
    if asked.trace:
        trace = Trace(keep=True)
        report = play_one(asked.first, asked.plant, trace, days=asked.days)
        print("\n".join(trace.lines or ()))
        print(report or f"seed {asked.first}: kept its promises")
        sys.stdout.flush()
        os._exit(1 if report else 0)
    began = time.monotonic()
    digests, reports = play_all(
        asked.first, asked.seeds, asked.plant, asked.workers,
        stop_at_first=bool(asked.plant), days=asked.days,
    )  # fmt: skip
    for report in reports[:10]:
        print(report, file=sys.stderr)
    if asked.digests:
        for seed, digest in sorted(digests.items()):
            print(seed, digest)
    print(f"{len(digests)} seeds from {asked.first}, {len(reports)} failed, "
          f"{time.monotonic() - began:.1f} s")  # fmt: skip
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main())
