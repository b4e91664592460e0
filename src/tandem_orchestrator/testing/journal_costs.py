"""What a journal costs on this machine: ``python -m tandem_orchestrator.testing.journal_costs``.

It writes to a folder of its own under the one given (default: the temporary one) and prints a
JSON object: seconds per durable append alone, events per second under load.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tandem_orchestrator.errors import Busy
from tandem_orchestrator.journal import Journal, sqlite_journal
from tandem_orchestrator.testing.journal_events import accepted, ended

ALONE = 1_000
"""Appends measured one after another."""
LOADED = 20_000
"""Events measured under load."""


async def alone(journal: Journal, durability: str) -> dict[str, float]:
    """Measure appends that wait for one another: seconds, median and 99th percentile."""
    run_id = f"alone-{durability}"
    await journal.append(run_id, [accepted(run_id)], durability).durable()
    costs = []
    for n in range(ALONE):
        began = time.perf_counter()
        await journal.append(run_id, [ended(f"s{n}")], durability).durable()
        costs.append(time.perf_counter() - began)
    costs.sort()
    return {"p50_s": costs[ALONE // 2], "p99_s": costs[ALONE * 99 // 100]}


async def loaded(journal: Journal, durability: str, runs: int) -> dict[str, float]:
    """Measure ``runs`` runs that each wait for their own appends: events per second."""
    commits = journal.health().commits_total

    async def work(run_id: str) -> None:
        await journal.append(run_id, [accepted(run_id)], durability).durable()
        for n in range(LOADED // runs):
            await journal.append(run_id, [ended(f"s{n}")], durability).durable()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for k in range(runs):
            group.create_task(work(f"{durability}-{runs}-{k}"))
    seconds = time.perf_counter() - began
    events = LOADED // runs * runs + runs
    made = journal.health().commits_total - commits
    return {"runs": runs, "events_per_s": events / seconds, "events_per_commit": events / made}


async def unwatched(journal: Journal) -> dict[str, float]:
    """Measure ``async`` appends, until the last one is on the disk: events per second."""
    await journal.append("unwatched", [accepted("unwatched")], "async").durable()
    began = time.perf_counter()
    for n in range(LOADED):
        try:
            journal.append("unwatched", [ended(f"s{n}")], "async")
        except Busy:
            await journal.flush()
            journal.append("unwatched", [ended(f"s{n}")], "async")
    queued = time.perf_counter() - began
    await journal.flush()
    return {
        "append_s": queued / LOADED,
        "events_per_s": LOADED / (time.perf_counter() - began),
    }


async def measure(folder: Path) -> dict[str, Any]:
    """Measure all on one new file inside ``folder``."""
    journal = sqlite_journal(folder / "costs" / "journal.db")
    await journal.open("costs")
    try:
        costs: dict[str, Any] = {"cpus": os.cpu_count(), "folder": str(folder)}
        for durability in ("sync", "group"):
            costs[f"{durability}_alone"] = await alone(journal, durability)
        costs["group_loaded"] = [await loaded(journal, "group", runs) for runs in (16, 256)]
        costs["async"] = await unwatched(journal)
        began = time.perf_counter()
        records = await journal.records("unwatched")
        costs["read"] = {"records_per_s": len(records) / (time.perf_counter() - began)}
        return costs
    finally:
        await journal.close()


def main() -> None:
    """Measure in a folder under the one given as argument."""
    where = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        sys.stdout.write(json.dumps(asyncio.run(measure(Path(folder))), indent=2) + "\n")


if __name__ == "__main__":
    main()
