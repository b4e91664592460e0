"""kill -9 at random instants: what was acknowledged outside the process is in the journal.

The child appends to several runs at once and tells each acknowledgement through a pipe. The same
harness, run on a child with a planted bug (it acknowledges before the commit), must find losses.
"""

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tandem_orchestrator.journal.sqlite import SqliteJournal

CHILD = """
import asyncio, os, sys
from pathlib import Path
from tandem_orchestrator.journal.sqlite import SqliteJournal, writer
from tandem_orchestrator.testing.journal_events import accepted, ended

path, owner, planted = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "planted"
if planted:
    write = writer.Writer._write
    def acknowledge_first(self, batch):
        self._settled([(append.ticket, None) for append in batch])
        return write(self, batch)
    writer.Writer._write = acknowledge_first

async def work(journal, run_id, durability):
    await journal.append(run_id, [accepted(run_id)], durability).durable()
    os.write(1, f"{run_id} 1\\n".encode())
    n = 1
    while True:
        n += 1
        event = ended(f"s{n}", output=b"x" * (n * 37 % 3000))
        await journal.append(run_id, [event], durability).durable()
        os.write(1, f"{run_id} {n}\\n".encode())

async def main():
    journal = SqliteJournal(path)
    await journal.open(owner)
    async with asyncio.TaskGroup() as group:
        for k, durability in enumerate(("group", "group", "group", "sync")):
            group.create_task(work(journal, f"{owner}-r{k}", durability))

asyncio.run(main())
"""


def killed_at(path: Path, owner: str, kind: str, acknowledgements: int, pause_s: float):
    """Run a child, kill it after that many acknowledgements and a pause; return what it told."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), owner, kind], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    told, deadline = b"", time.monotonic() + 30
    try:
        while told.count(b"\n") < acknowledgements:
            assert time.monotonic() < deadline, "the child does not get on"
            if select.select([child.stdout], [], [], 1)[0]:
                piece = os.read(child.stdout.fileno(), 65_536)
                assert piece, f"the child ended by itself: {child.wait()}"
                told += piece
        # The instant of the kill is what varies: a deadline of this fault, not a wait for a result.
        time.sleep(pause_s)
    finally:
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate(timeout=10)
    newest: dict[str, int] = {}
    for line in (told + rest).decode().splitlines():
        run_id, _, seq = line.partition(" ")
        if seq:
            newest[run_id] = int(seq)
    return newest


async def losses(path: Path, newest: dict[str, int], owner: str) -> tuple[int, list[str]]:
    """Count acknowledged records that are not in the journal, and what a check finds."""
    journal = SqliteJournal(path)
    await journal.open(owner)
    lost = 0
    for run_id, seq in newest.items():
        records = await journal.records(run_id)
        lost += max(0, seq - len(records))
        for record in records[1:]:
            assert record.event.output == b"x" * (record.seq * 37 % 3000)
        if records:
            assert (await journal.run(run_id)).status == "interrupted"
            assert await journal.adopt(run_id)
    faults = await journal.check()
    await journal.close()
    return lost, faults


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "j.db"
    newest = killed_at(path, "killed", "sound", rng.randint(1, 400), rng.uniform(0, 0.02))

    assert await losses(path, newest, "after") == (0, [])


async def test_the_same_harness_finds_a_journal_that_acknowledges_before_the_commit(
    tmp_path: Path,
) -> None:
    rng = random.Random(7)
    lost = 0
    for point in range(60):
        path = tmp_path / f"j{point}.db"
        newest = killed_at(path, "killed", "planted", rng.randint(5, 100), rng.uniform(0, 0.002))
        lost += (await losses(path, newest, "after"))[0]
        if lost:
            return
    pytest.fail("60 kills found no loss in a journal that acknowledges before the commit")
