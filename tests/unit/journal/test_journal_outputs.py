"""Large outputs: each once, in a file under its hash, there before its record, gone with its runs."""

import asyncio
import hashlib
import os
import random
import stat
import subprocess
import sys
import time
from pathlib import Path

import apsw
import msgspec
import pytest

from tandem_orchestrator.errors import Busy
from tandem_orchestrator.journal import (
    Bounds,
    MemoryJournal,
    MemoryStore,
    OutputLost,
    pack_run,
    repair_journal,
)
from tandem_orchestrator.journal.outputs import OutputFiles, output_folder
from tandem_orchestrator.journal.parts import WithParts, part_of, without_parts
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.journal.sqlite import outputs as outputs_module
from tandem_orchestrator.model.events import (
    ConflictSettled,
    Judged,
    RunEnded,
    RunForked,
    RunStarted,
    SegmentEnded,
    SegmentRow,
    SignalReceived,
    StepEnded,
    decode_event,
    encode_event,
)
from tandem_orchestrator.testing.journal_events import accepted, ended

MIB = 2**20


def blob(seed: int, size: int = 2 * MIB) -> bytes:
    return random.Random(seed).randbytes(size)


def files_of(path: Path) -> list[Path]:
    return sorted(each for each in output_folder(path).rglob("*") if each.is_file())


async def opened(path: Path, owner: str | None = "owner-a", **more) -> SqliteJournal:
    journal = SqliteJournal(path, **more)
    await journal.open(owner)
    return journal


async def keep_run(journal, run_id: str, output, at_ns: int = 1_000) -> None:
    """Journal a run of one step, as the engine does: its attempt and its step hold the output."""
    events = [
        accepted(run_id, at_ns=at_ns),
        RunStarted(at_ns=at_ns),
        ended("a", output=output),
        StepEnded(step="a", outcome="succeeded", output=output),
        RunEnded(at_ns=at_ns, status="completed", duration=0.5),
    ]
    await journal.append(run_id, events, "group").durable()


async def outputs_of(journal, run_id: str) -> list:
    records = await journal.records(run_id)
    return [record.event.output for record in records if hasattr(record.event, "output")]


# --- which values leave their event ----------------------------------------------------------------


def test_the_smallest_large_value_leaves_and_comes_back_where_it_was() -> None:
    large = b"x" * 2000
    values = [
        large,
        {"a": [1, {"deep": large}], "b": 2},
        [large, "small", large],
        ["short"] * 1000,
        {"text": "ä" * 900, "same": [large, large]},
        {"x": [blob(n, 1500) for n in range(5)]},
        (large, 1),
    ]
    for value in values:
        event = StepEnded(step="a", outcome="succeeded", output=value)
        body, parts = without_parts(event, 1000)
        held = {part.digest: part.body for part in parts}

        assert len(body) < 1100 and parts
        assert all(hashlib.sha256(part.body).digest() == part.digest for part in parts)
        back = WithParts(lambda digest, size, held=held: held[digest]).decode(body)
        assert back == decode_event(encode_event(event))
    assert event.output == (large, 1), "the event itself is left as it was"


@pytest.mark.parametrize(
    "event",
    [
        SegmentEnded(segment=0, rows=(SegmentRow("a", "succeeded", b"x" * 3000, 0.1),)),
        RunForked(
            source="r0",
            step="b",
            taken=(StepEnded(step="a", outcome="succeeded", output="y" * 3000),),
        ),
        SignalReceived(name="go", payload={"x": b"x" * 3000}),
        ConflictSettled(conflict="c1", output=[1, "z" * 3000]),
        Judged(step="a", verdict="conflict", conflict={"id": "c1"}, capsule={"in": b"x" * 3000}),
        RunEnded(status="failed", conflicts=[{"id": "c1", "fields": ["z" * 3000]}]),
        accepted("r1", inputs={"data": b"x" * 3000}),
        accepted("r1", document={"steps": [{"id": "a", "payload": {"data": b"x" * 3000}}]}),
    ],
    ids=lambda event: type(event).__name__,
)
def test_wherever_an_event_holds_values_large_ones_leave(event) -> None:
    body, parts = without_parts(event, 1000)

    assert len(body) < 1100
    held = {part.digest: part.body for part in parts}
    assert WithParts(lambda digest, _: held[digest]).decode(body) == event


def test_an_item_of_a_large_list_is_named_again_and_not_kept_again() -> None:
    items = [blob(n, 3000) for n in range(4)]
    alone = {
        part.digest for item in items for part in without_parts(ended("a", output=item), 1000)[1]
    }

    body, parts = without_parts(StepEnded(step="a", outcome="succeeded", output=items), 1000)

    assert {part.digest for part in parts} == alone
    assert len(body) < 1000


def test_what_is_exactly_as_large_as_allowed_stays() -> None:
    value = b"x" * (1000 - 3)  # and three bytes that say so
    assert len(msgspec.msgpack.encode(value)) == 1000

    assert without_parts(ended("a", output=value), 1000)[1] == ()
    assert len(without_parts(ended("a", output=value + b"x"), 1000)[1]) == 1


# --- the files -------------------------------------------------------------------------------------


async def test_the_same_bytes_are_kept_once_under_their_hash_for_this_user_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    for n in range(3):
        await keep_run(journal, f"r{n}", {"data": blob(1), "n": n})

    (file,) = files_of(path)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
    assert file.parent.name == file.name[:2]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in (file.parent, file.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert await outputs_of(journal, "r2") == [{"data": blob(1), "n": 2}] * 2
    assert path.stat().st_size < MIB
    health = journal.health()
    assert (health.outputs_files, health.outputs_bytes) == (1, file.stat().st_size)
    await journal.close()

    again = await opened(path, "owner-b")
    assert again.health().outputs_files == 1
    assert await again.check() == []
    await again.close()


async def test_what_is_small_stays_in_the_file_and_makes_no_folder(tmp_path: Path) -> None:
    journal = await opened(tmp_path / "j.db")
    await keep_run(journal, "r1", bytes(MIB - 100))

    assert not output_folder(tmp_path / "j.db").exists()
    assert await outputs_of(journal, "r1") == [bytes(MIB - 100)] * 2
    await journal.close()


async def test_a_file_is_whole_and_synced_before_its_record_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, order = tmp_path / "j.db", list[str]()
    fsync, replace, commit = os.fsync, Path.replace, SqliteJournal._settled

    def noted_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        order.append("folder" if name.is_dir() else "file")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        order.append("name")
        return replace(self, target)

    def noted_settled(self, results) -> None:
        order.append("acknowledged")
        commit(self, results)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    monkeypatch.setattr(SqliteJournal, "_settled", noted_settled)
    journal = await opened(path)
    order.clear()
    await keep_run(journal, "r1", blob(1))

    # Two folders are new: each one's own folder is synced before there is anything in it.
    assert order == ["folder", "folder", "file", "name", "folder", "acknowledged"]
    order.clear()
    await keep_run(journal, "r2", blob(1))
    assert order == ["file", "folder", "acknowledged"], "found, and synced nevertheless"
    await journal.close()


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?"), "was changed or damaged"),
        (lambda file: file.write_bytes(b""), "was changed or damaged"),
        (lambda file: file.write_bytes(file.read_bytes() + b"more"), "was changed or damaged"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read"),
    ],
    ids=["missing", "changed", "empty", "longer", "a folder"],
)
async def test_a_lost_output_is_named_by_whoever_reads_it_and_by_the_check(
    tmp_path: Path, harm, what: str
) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    await keep_run(journal, "r1", blob(1))
    await keep_run(journal, "r2", "small")
    (file,) = files_of(path)
    harm(file)

    with pytest.raises(OutputLost, match=f"run r1, record 3: the output in .*{file.name} {what}"):
        await journal.records("r1")
    (fault,) = await journal.check()
    assert "run r1" in fault and file.name in fault and what in fault
    assert await outputs_of(journal, "r2") == ["small"] * 2
    assert (await journal.run("r1")).status == "completed"
    await journal.close()


async def test_a_damaged_file_is_mended_by_the_next_who_has_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    await keep_run(journal, "r1", blob(1))
    files_of(path)[0].write_bytes(b"damaged")

    await keep_run(journal, "r2", blob(1))

    assert await journal.check() == []
    assert await outputs_of(journal, "r1") == [blob(1)] * 2
    await journal.close()


async def test_a_pack_holds_its_outputs_and_opens_elsewhere(tmp_path: Path) -> None:
    path, target = tmp_path / "j.db", tmp_path / "elsewhere" / "r1.pack"
    target.parent.mkdir()
    journal = await opened(path)
    await keep_run(journal, "r1", [blob(1), blob(2)])
    await keep_run(journal, "r2", blob(3))
    await journal.close()

    pack_run(path, "r1", target)
    for file in files_of(path):
        file.unlink()

    packed = await opened(target, None)
    assert await outputs_of(packed, "r1") == [[blob(1), blob(2)]] * 2
    assert await packed.check() == []
    await packed.close()
    assert not output_folder(target).exists()


async def test_a_run_whose_output_is_lost_cannot_be_packed(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    await keep_run(journal, "r1", blob(1))
    await journal.close()
    files_of(path)[0].unlink()

    with pytest.raises(OutputLost, match="is missing"):
        pack_run(path, "r1", tmp_path / "r1.pack")
    assert not (tmp_path / "r1.pack").exists()


async def test_large_inputs_and_their_key_survive_check_and_repair(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    event = accepted("r1", inputs={"data": blob(1)}, idempotency_key="k1")
    await journal.append("r1", [event], "group").durable()
    assert await journal.check() == []
    assert (await journal.records("r1"))[0].event.inputs == {"data": blob(1)}
    assert await journal.find("run_accepted", lambda record: record.event.inputs["data"]) == [
        blob(1)
    ]
    await journal.close()

    connection = apsw.Connection(str(path))
    connection.execute("UPDATE runs SET digest = 'x', steps_done = 7; DELETE FROM output_uses")
    connection.close()
    mending = repair_journal(path)

    assert "1 large output(s) were listed again" in mending.mended
    assert mending.left == ()


# --- removal ---------------------------------------------------------------------------------------


async def test_an_output_goes_with_the_last_run_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    await keep_run(journal, "r1", blob(1), at_ns=1_000)
    await keep_run(journal, "r2", [blob(1), blob(2)], at_ns=2_000)
    await keep_run(journal, "r3", blob(3), at_ns=3_000)

    assert await journal.remove_runs(before_ns=1_500) == 1
    assert await journal.remove_outputs(grace_s=0) == 0
    assert len(files_of(path)) == 3
    assert await journal.remove_runs(before_ns=2_500) == 1
    assert await journal.remove_outputs(grace_s=0) == 2
    assert len(files_of(path)) == 1
    assert await outputs_of(journal, "r3") == [blob(3)] * 2
    health = journal.health()
    assert (health.outputs_files, health.outputs_bytes) == (1, files_of(path)[0].stat().st_size)
    assert await journal.check() == []
    await journal.close()


async def test_large_outputs_count_where_bytes_are_to_be_kept_under_a_bound(
    tmp_path: Path,
) -> None:
    journal = await opened(tmp_path / "j.db")
    for n in range(4):
        await keep_run(journal, f"r{n}", blob(n, 3 * MIB), at_ns=n + 1)

    assert await journal.remove_runs(bytes_max=7 * MIB) == 2
    assert await journal.remove_outputs(grace_s=0) == 2
    assert len(files_of(tmp_path / "j.db")) == 2
    await journal.close()


async def test_orphans_go_after_the_grace_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    await keep_run(journal, "r1", blob(1))
    named = files_of(path)
    files = OutputFiles(output_folder(path))
    files.keep([part_of(b"orphan"), part_of(b"young")])
    half = files.path_of(part_of(b"half").digest).with_name("x.17-1.new")
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"ha")
    foreign = output_folder(path) / "README"
    foreign.write_text("somebody else's")
    old_s = time.time() - 120
    for each in (files.path_of(part_of(b"orphan").digest), half, *named, foreign):
        os.utime(each, (old_s, old_s))

    assert await journal.remove_outputs(grace_s=60) == 2
    assert set(files_of(path)) == {
        *named,
        files.path_of(part_of(b"young").digest),
        foreign,
    }
    assert await journal.remove_outputs(grace_s=0) == 1
    await journal.close()


async def removed_while_a_writer_waits(path: Path) -> SqliteJournal:
    """Remove all that is unnamed between a writer's file and its record; gives its journal."""
    journal = await opened(path)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")  # the writer writes its file, then waits for this lock
    ticket = journal.append("r1", [accepted("r1"), ended("a", output=blob(1))], "group")
    deadline = time.monotonic() + 20
    while not any(file.digest for file in OutputFiles(output_folder(path)).files()):
        assert time.monotonic() < deadline, "the writer writes no file"
        await asyncio.sleep(0.005)  # another thread's turn: there is nothing to wait on
    removed = outputs_module.remove(other, outputs_module.removable(other, path, 0.0))
    assert removed == 1 and not files_of(path)
    other.execute("COMMIT")
    other.close()
    await ticket.durable()
    return journal


async def test_a_file_that_was_taken_from_a_writer_is_there_again_before_its_record(
    tmp_path: Path,
) -> None:
    journal = await removed_while_a_writer_waits(tmp_path / "j.db")

    assert (await journal.records("r1"))[1].event.output == blob(1)
    assert await journal.check() == []
    await journal.close()


async def test_without_the_last_look_under_the_lock_that_file_would_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OutputFiles, "lacks", lambda self, parts: [])
    journal = await removed_while_a_writer_waits(tmp_path / "j.db")

    with pytest.raises(OutputLost, match="is missing"):
        await journal.records("r1")
    await journal.close()


async def test_a_half_written_file_that_was_taken_for_a_dead_writers_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace, taken = tmp_path / "j.db", Path.replace, list[Path]()

    def take_first(self: Path, target: Path) -> Path:
        if not taken:
            taken.append(self)
            self.unlink()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", take_first)
    journal = await opened(path)
    await keep_run(journal, "r1", blob(1))

    assert len(taken) == 1
    assert await journal.check() == []
    await journal.close()


CHILD = """
import asyncio, random, sys, time
from pathlib import Path
from tandem_orchestrator.journal import Bounds
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.model.events import RunEnded
from tandem_orchestrator.testing.journal_events import accepted, ended

async def main(path, me):
    rng = random.Random(me)
    journal = SqliteJournal(path, bounds=Bounds(inline_bytes_max=1000))
    await journal.open(f"owner-{me}")
    for n in range(60):
        run_id, at_ns = f"r{me}-{n}", time.time_ns()
        output = [bytes([rng.randrange(6)]) * 2000 for _ in range(3)]
        events = [
            accepted(run_id, at_ns=at_ns),
            ended("a", output=output),
            RunEnded(at_ns=at_ns if n else 2**62, status="completed"),  # the first one stays
        ]
        await journal.append(run_id, events, "group").durable()
        records = await journal.records(run_id)
        assert not records or records[1].event.output == output  # others remove it soon
        if rng.random() < 0.5:
            await journal.remove_runs(before_ns=time.time_ns() - 50_000_000)
        if rng.random() < 0.7:
            await journal.remove_outputs(grace_s=0)
    await journal.close()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def test_processes_that_write_and_remove_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    them = [subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(n)]) for n in range(3)]
    assert [await asyncio.to_thread(each.wait, 50) for each in them] == [0, 0, 0]

    journal = await opened(path, "owner-after")
    assert await journal.check() == []
    await journal.remove_outputs(grace_s=0)
    assert 1 <= len(files_of(path)) == journal.health().outputs_files <= 6
    await journal.close()


# --- in memory -------------------------------------------------------------------------------------


async def test_memory_keeps_each_output_once_and_lets_it_go_with_its_last_run() -> None:
    journal = MemoryJournal()
    await journal.open("owner-a")
    for n in range(3):
        await keep_run(journal, f"r{n}", {"data": blob(1), "n": n}, at_ns=n + 1)

    assert await outputs_of(journal, "r2") == [{"data": blob(1), "n": 2}] * 2
    size = len(msgspec.msgpack.encode(blob(1)))
    assert (journal.health().outputs_files, journal.health().outputs_bytes) == (1, size)
    assert await journal.remove_runs(before_ns=3) == 2
    assert await outputs_of(journal, "r2") == [{"data": blob(1), "n": 2}] * 2
    assert await journal.remove_runs(before_ns=9) == 1
    assert (journal.health().outputs_files, journal.health().outputs_bytes) == (0, 0)


async def test_outputs_in_memory_are_bounded() -> None:
    store = MemoryStore(Bounds(memory_bytes_max=5 * MIB))
    journal = MemoryJournal(store)
    await journal.open("owner-a")
    await keep_run(journal, "r1", blob(1))
    await keep_run(journal, "r2", blob(2))
    await keep_run(journal, "r3", blob(3))
    assert [row.run_id for row in await journal.runs()] == ["r3", "r2"]

    await journal.append("r4", [accepted("r4"), ended("a", output=blob(4))], "group").durable()
    await journal.append("r5", [accepted("r5"), ended("a", output=blob(5))], "group").durable()
    with pytest.raises(Busy, match="memory_bytes_max"):
        journal.append("r4", [ended("b", output=blob(6))], "group")
    journal.append("r4", [ended("b", output=blob(4))], "group")  # these bytes are there already
    assert journal.health().outputs_bytes <= 5 * MIB


async def test_a_run_of_durability_none_writes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    await journal.append("r1", [accepted("r1"), ended("a", output=blob(1))], "none").durable()

    assert not output_folder(path).exists()
    assert (await journal.records("r1"))[1].event.output == blob(1)
    assert journal.health().outputs_files == 1
    await journal.close()
