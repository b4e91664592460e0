"""A program that runs workflows until it is killed, and tells what was acknowledged to it.

Each line on its output is one JSON array, written at once. It goes on with what the programs
before it left, submits again what they were not told of, and reads back what they were told.
"""

import asyncio
import faulthandler
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import kill_work

from tandem_orchestrator import CommandError, TandemOrchestrator
from tandem_orchestrator.journal import Journal, postgres_journal, sqlite_journal

CLIENTS = 8
LOOK_S = 0.02


def say(*what: Any) -> None:
    """Tell the parent; nothing of a line is lost once this returns."""
    os.write(1, json.dumps(what).encode() + b"\n")


def acknowledge_first(writer: Any) -> None:
    """Have a writer settle its tickets before it writes."""
    write = writer._write

    def early(self: Any, batch: Any) -> Any:
        self._settled([(append.ticket, None) for append in batch])
        time.sleep(0.02)
        return write(self, batch)

    writer._write = early


def journal_of(place: str) -> Journal:
    """Make the journal in a file, or in a database by its URL."""
    return postgres_journal(place) if "://" in place else sqlite_journal(Path(place))


def plant(bug: str) -> None:
    """Put a bug in, to show that it is found."""
    from tandem_orchestrator.engine import recover
    from tandem_orchestrator.journal.postgres.writer import Writer as PostgresWriter
    from tandem_orchestrator.journal.sqlite.writer import Writer as SqliteWriter

    if bug == "early":  # acknowledges before the commit
        for writer in (SqliteWriter, PostgresWriter):
            acknowledge_first(writer)
    elif bug == "again":  # takes it that what was in flight never ran
        end_of = recover._end_of_unit

        def never_ran(step: Any, unit: Any) -> Any:
            import msgspec

            return msgspec.structs.replace(end_of(step, unit), outcome="not_started")

        recover._end_of_unit = never_ran
    elif bug:
        raise ValueError(f"{bug!r}: 'early' or 'again' are expected")


class Victim:
    """One life of the program."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.tandem = TandemOrchestrator(
            {
                "journal": {"path": order["journal"], "lease_s": order["lease_s"]},
                "python_layer": {"process_workers": 2},
                "c_layer": {
                    "plugins": [order["plugin"]],
                    "deaths_max": 500,
                    "restart_delay_s": 0.005,
                    "restart_delay_max_s": 0.02,
                },
            }
        )
        self.tandem.add_agent(kill_work.agent)

    async def live(self) -> None:
        """Go on, submit, tell; to the end only where the order says so."""
        began = time.monotonic()
        async with self.tandem:
            say("open", time.monotonic() - began)
            left = await self.left_behind()
            await self.taken_over(left)
            say("recovered", len(left), time.monotonic() - began)
            async with asyncio.TaskGroup() as group:
                decisions = group.create_task(self.decide())
                work = [group.create_task(self.follow(run_id)) for run_id in left]
                work += [group.create_task(self.serve(key)) for key in self.order["again"]]
                if self.order["ends"]:
                    await asyncio.gather(*work)
                    decisions.cancel()
                else:
                    for n in range(CLIENTS):
                        group.create_task(self.submit_for_ever(n))
            rows = await self.tandem.runs(limit=100_000)
            for row in rows:
                self.tell("read", await self.tandem.run(row.run_id).result())
        reader = journal_of(self.order["journal"])
        await reader.open(None)
        say("check", await reader.check())
        await reader.close()
        say("end")

    async def left_behind(self) -> list[str]:
        """List what has not ended of the programs before."""
        rows = await self.tandem.runs(limit=100_000)
        return [row.run_id for row in rows if row.finished_at_ns is None]

    async def taken_over(self, left: list[str]) -> None:
        """Wait until all of it is in progress here, or has ended."""
        for run_id in left:
            while not self.tandem.run(run_id).is_here:
                (row,) = [r for r in await self.tandem.runs(limit=100_000) if r.run_id == run_id]
                if row.finished_at_ns is not None:
                    break
                if row.waiting_for:
                    say("waits", run_id, row.waiting_for)
                await asyncio.sleep(LOOK_S)

    async def submit_for_ever(self, client: int) -> None:
        number = 0
        while True:
            number += 1
            await self.serve(f"{self.order['life']}-{client}-{number}")

    async def serve(self, key: str) -> None:
        """Be one client: ask, be told that it was taken in, be told the result."""
        say("asks", key)
        run = await self.tandem.submit(kill_work.command_set(key, self.order["ledger"]))
        say("accepted", key, run.id)
        self.tell("result", await run.result())

    async def follow(self, run_id: str) -> None:
        self.tell("result", await self.tandem.run(run_id).result())

    def tell(self, what: str, result: dict[str, Any]) -> None:
        """Say what a client is given."""
        steps = {
            name: [step["outcome"], step["attempts"], step["error"]]
            for name, step in result["steps"].items()
        }
        say(what, result["run_id"], result["name"], result["status"], result["results"], steps)

    async def decide(self) -> None:
        """Be the person who says what a step that may have run gave."""
        while True:
            for row in await self.tandem.runs(status="held", limit=100_000):
                view = await self.tandem.view(row.run_id)
                assert view is not None
                for step in {held.removeprefix("unknown:").split("/")[0] for held in view.held}:
                    given = 2 * kill_work.number_of(row.name)
                    if kill_work.shape_of(row.name) == "native":
                        given *= 2
                    try:
                        await self.tandem.run(row.run_id).resolve(step, output=given, by="a person")
                    except CommandError as error:
                        say("undecided", row.run_id, str(error))
                    else:
                        say("decided", row.run_id, step)
            await asyncio.sleep(LOOK_S)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)  # so that one that hangs shows where
    order = json.loads(sys.argv[1])
    plant(order["plant"])
    asyncio.run(Victim(order).live())
