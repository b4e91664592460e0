"""One bit of a journal's file flips: somebody says so, or nothing that anybody reads is different.

Said is: by whoever opens the file, by whoever reads what it concerns, or by ``check``.
"""

import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal import Control
from tandem_orchestrator.journal.sqlite import SqliteJournal, connection, controls
from tandem_orchestrator.model.events import RunEnded
from tandem_orchestrator.testing.journal_events import accepted, ended

RUNS = ("r0", "r1", "r2")
KEYS = ("key-0", "key-1", "key-2")
WISHES = ("w0", "w1", "w2")


async def written(path: Path) -> None:
    """Make a small journal with something in each of its tables."""
    for life in range(2):
        journal = SqliteJournal(path)
        await journal.open(f"owner-{life}")
        if life == 0:
            for n, run_id in enumerate(RUNS):
                first = accepted(run_id, idempotency_key=KEYS[n], inputs={"n": n})
                events = [ended(f"s{k}", output={"text": "x" * 40 * k}) for k in range(5)]
                await journal.append(run_id, [first, *events], "group").durable()
            await journal.append(
                "r0", [RunEnded(status="completed", duration=1.0)], "group"
            ).durable()
        else:
            for n, run_id in enumerate(RUNS[1:]):
                await journal.adopt(run_id)
                await journal.append(run_id, [ended("after", output=n)], "sync").durable()
            for n, wish in enumerate(WISHES):
                body = {"step": f"s{n}", "why": "y" * 30}
                await journal.request(Control(wish, RUNS[1 + n % 2], "cancel", body, "ann", 77))
            await journal.answer("w0", "stopped")
        await journal.close()


# Any: whatever the journal gives.
async def all_that_is_read(path: Path) -> Any:
    """Read everything through the public doors, as a later program would; faults last."""
    journal = SqliteJournal(path)
    await journal.open(None)
    try:
        rows = await journal.runs(limit=1000)
        records = [await journal.records(row.run_id) for row in rows]
        again = [await journal.run(run_id) for run_id in RUNS]
        keys = [await journal.find_by_idempotency_key(key) for key in KEYS]
        wishes = [await journal.control(wish) for wish in WISHES]
        owners = await journal.owners()
        return (rows, records, again, keys, wishes, owners), await journal.check()
    finally:
        await journal.close()


async def told_of(flipped: Path, good: Any) -> str:
    """Say who notices, or ``same``, or ``silent``."""
    try:
        found, faults = await all_that_is_read(flipped)
    except JournalError as error:
        return "opening" if "cannot open it" in str(error) else "reading"
    if faults:
        return "check"
    return "same" if found == good else "silent"


async def flipped_one_by_one(path: Path, bits: Iterator[int]) -> tuple[Counter[str], list[int]]:
    """Flip each of the bits alone; gives who noticed how many, and the silent ones."""
    good, faults = await all_that_is_read(path)
    assert faults == []
    data = path.read_bytes()
    counts, silent = Counter[str](), list[int]()
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        other = path.with_name("flipped.db")
        other.write_bytes(changed)
        who = await told_of(other, good)
        counts[who] += 1
        if who == "silent":
            silent.append(bit)
        for left in path.parent.glob("flipped.db*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return counts, silent


COUNTS = [300, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]


@pytest.mark.parametrize("count", COUNTS)
async def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: Path, count: int) -> None:
    path = tmp_path / "j.db"
    await written(path)
    data, rng = path.read_bytes(), random.Random(count)
    used = [at for at, byte in enumerate(data) if byte]  # most of the file is empty
    places = (rng.choice(used) if n % 4 else rng.randrange(len(data)) for n in range(count))
    counts, silent = await flipped_one_by_one(path, (at * 8 + rng.randrange(8) for at in places))

    assert silent == [], counts
    assert min(counts["opening"], counts["reading"], counts["check"], counts["same"]) > 0, counts


async def test_the_same_look_finds_a_journal_whose_wishes_have_no_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "row_sum", lambda *_: b"none")
    path = tmp_path / "j.db"
    await written(path)
    reasons = [found.start() for found in re.finditer(b"y{30}", path.read_bytes())]
    _, silent = await flipped_one_by_one(path, (at * 8 for at in reasons))

    assert len(silent) == len(WISHES)  # the other places are free space


# --- the log -------------------------------------------------------------------------------------


async def killed(path: Path) -> None:
    """Leave a journal as a program does that is killed: all that was written is in the log."""
    journal = SqliteJournal(path.with_name("alive.db"))
    await journal.open("owner")
    for run_id in RUNS:
        await journal.append(run_id, [accepted(run_id)], "group").durable()
        for k in range(5):
            await journal.append(run_id, [ended(f"s{k}", output="x" * 40)], "sync").durable()
    for end in ("", "-wal"):
        path.with_name(path.name + end).write_bytes(path.with_name(f"alive.db{end}").read_bytes())
    await journal.close()


def end_of_all_but_two_commits(log: bytes) -> int:
    stride = 24 + int.from_bytes(log[8:12], "big")
    frames = [log[at : at + stride] for at in range(32, len(log), stride)]
    commits = [n for n, frame in enumerate(frames) if any(frame[4:8])]
    return 32 + (commits[-3] + 1) * stride


async def silent_flips_of_the_log(folder: Path, count: int) -> tuple[Counter[str], list[int]]:
    path = folder / "j.db"
    await killed(path)
    data, log = path.read_bytes(), (folder / "j.db-wal").read_bytes()
    rng, counts, silent = random.Random(count), Counter[str](), list[int]()
    used = [at for at, byte in enumerate(log[: end_of_all_but_two_commits(log)]) if byte]
    good = None
    for bit in [None, *(rng.choice(used) * 8 + rng.randrange(8) for _ in range(count))]:
        changed = bytearray(log)
        if bit is not None:
            changed[bit // 8] ^= 1 << bit % 8
        for left in folder.glob("flipped.db*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        (folder / "flipped.db").write_bytes(data)
        (folder / "flipped.db-wal").write_bytes(changed)
        if bit is None:
            good, faults = await all_that_is_read(folder / "flipped.db")
            assert faults == []
            continue
        who = await told_of(folder / "flipped.db", good)
        counts[who] += 1
        if who == "silent":
            silent.append(bit)
    return counts, silent


@pytest.mark.parametrize("count", [100, pytest.param(3_000, marks=pytest.mark.long)])
async def test_a_flipped_bit_in_the_log_of_a_killed_program_is_noticed(
    tmp_path: Path, count: int
) -> None:
    """But for the last two commits, where it cannot be told from a write that a crash tore."""
    counts, silent = await silent_flips_of_the_log(tmp_path, count)

    assert silent == [], counts
    assert counts["opening"] > count // 2


async def test_the_same_look_finds_a_journal_that_trusts_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "unread_commits", lambda *_: 0)
    _, silent = await silent_flips_of_the_log(tmp_path, 20)

    assert silent
