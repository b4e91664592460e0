"""Power fails while large outputs are written: what a record names is there, whole, afterwards.

The journal's own file is cut as in ``test_journal_power.py``. Beside it, what was asked of the folder
of outputs is written down, and a disk is imagined that keeps only what was synced: of a file that was
not, any beginning; of a name that was given since its folder was synced, the old or the new state.
"""

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.journal import Bounds
from tandem_orchestrator.journal import outputs as outputs_module
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.journal.sqlite.connection import connect_writer, prepare
from tandem_orchestrator.journal.sqlite.reading import faults_of, read_whole
from tandem_orchestrator.model.events import RunEnded
from tandem_orchestrator.testing.journal_events import accepted, ended
from tandem_orchestrator.testing.journal_power import Operation, RecordingDisk, images

OUTPUTS = ".outputs"


@dataclass
class Inode:
    """A file: what was written to it, and how much of that was synced."""

    data: bytearray = field(default_factory=bytearray)
    synced: int = 0


class OutputDisk:
    """Follows what is asked of the folder of outputs: as it is, and as a cut may leave it."""

    def __init__(self, disk: RecordingDisk, root: Path, patch: pytest.MonkeyPatch) -> None:
        self._disk, self._root = disk, root
        self.asked: list[tuple[int, str, str, bytes]] = []
        """(moment of the journal's disk, what, path below the root, data or another path)."""
        write, fsync, replace, mkdir = os.write, os.fsync, Path.replace, Path.mkdir

        def on_write(descriptor: int, data: Any) -> int:
            written = write(descriptor, data)
            if (path := self._below(_path_of(descriptor))) is not None:
                self._note("write", path, bytes(data[:written]))
            return written

        def on_fsync(descriptor: int) -> None:
            fsync(descriptor)
            path = _path_of(descriptor)
            if (below := self._below(path)) is not None or path == root:
                self._note("sync", below or ".")

        def on_replace(source: Path, target: Path) -> Path:
            replaced = replace(source, target)
            if (below := self._below(source)) is not None:
                self._note("rename", below, str(target.relative_to(root)).encode())
            return replaced

        def on_mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
            mkdir(path, *args, **kwargs)
            if (below := self._below(path)) is not None:
                self._note("mkdir", below)

        patch.setattr(os, "write", on_write)
        patch.setattr(os, "fsync", on_fsync)
        patch.setattr(Path, "replace", on_replace)
        patch.setattr(Path, "mkdir", on_mkdir)

    def _below(self, path: Path) -> str | None:
        try:
            below = path.relative_to(self._root)
        except ValueError:
            return None
        return str(below) if below.parts and OUTPUTS in below.parts[0] else None

    def _note(self, what: str, path: str, data: bytes = b"") -> None:
        self.asked.append((len(self._disk.operations), what, path, data))

    def image(self, moment: int, place: Path, rng: random.Random) -> None:
        """Lay out below ``place`` what a cut at a moment may have left."""
        inodes: dict[str, Inode] = {}
        folders: set[str] = set()
        durable: set[str] = set()
        """Names, of files and folders, that are on the disk for good."""
        for at, what, path, data in self.asked:
            if at > moment:
                break
            match what:
                case "mkdir":
                    folders.add(path)
                case "write":
                    inodes.setdefault(path, Inode()).data += data
                case "rename":
                    inodes[data.decode()] = inodes.pop(path)
                    durable.discard(path)
                case "sync" if path in inodes:
                    inodes[path].synced = len(inodes[path].data)
                case "sync":
                    inside = [*inodes, *folders]
                    durable |= {each for each in inside if str(Path(each).parent) == path}
        keeps = rng.choice((0.0, 0.5, 1.0))
        there = {each for each in sorted({*inodes, *folders}) if rng.random() < keeps} | durable
        for folder in sorted(folders & there):
            if (place / folder).parent.is_dir():
                (place / folder).mkdir()
        for path, inode in inodes.items():
            if path in there and (place / path).parent.is_dir():
                kept = rng.randint(inode.synced, len(inode.data))
                (place / path).write_bytes(inode.data[:kept])


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


async def losses(
    folder: Path, seed: int, count: int, patch: pytest.MonkeyPatch, weaken: Callable[[], None]
) -> int:
    """Record a journal's life, and count what ``count`` images of it lack."""
    rng = random.Random(seed)
    (folder / "live").mkdir()
    with RecordingDisk() as disk, patch.context() as patched:
        outputs = OutputDisk(disk, folder / "live", patched)
        weaken()
        acknowledged: list[tuple[int, str, int]] = []

        async def work(journal: SqliteJournal, run_id: str) -> None:
            await journal.append(run_id, [accepted(run_id)], "group").durable()
            for n in range(2, 10):
                event = ended(f"s{n}", output=bytes([rng.randrange(30)]) * rng.choice((50, 3000)))
                await journal.append(run_id, [event], "group").durable()
                acknowledged.append((len(disk.operations), run_id, n))
            end = RunEnded(status="completed", duration=1.0)
            await journal.append(run_id, [end], "group").durable()

        bounds = Bounds(inline_bytes_max=1000)
        journal = SqliteJournal(folder / "live" / "j.db", vfs=disk.name, bounds=bounds)
        await journal.open("owner")
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(work(journal, f"r{n}"))
        await journal.close()
        operations: list[Operation] = list(disk.operations)
    lost = 0
    moments = [rng.randint(0, len(operations)) for _ in range(count)]
    for number, (moment, files) in enumerate(images(operations, moments, rng)):
        place = folder / f"i{number}"
        place.mkdir()
        for name, data in files.items():
            (place / name).write_bytes(data)
        outputs.image(moment, place, rng)
        prepare(place / "j.db", None)
        connection = connect_writer(place / "j.db", None, 1.0)
        faults = list(faults_of(connection, place / "j.db"))
        lost += len(faults)
        newest = {run_id: n for at, run_id, n in acknowledged if at <= moment}
        for run_id, n in newest.items() if not faults else ():
            lost += max(0, n - len(read_whole(connection, place / "j.db", run_id, 0, None)))
        connection.close()
    return lost


@pytest.mark.parametrize(
    ("lives", "count"),
    [(3, 40), pytest.param(100, 100, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
async def test_after_a_power_cut_all_that_records_name_is_there_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: int, count: int
) -> None:
    for seed in range(lives):
        folder = tmp_path / f"t{seed}"
        folder.mkdir()
        assert await losses(folder, seed, count, monkeypatch, lambda: None) == 0


@pytest.mark.parametrize("lazy", ["file", "folder"])
async def test_the_same_harness_finds_what_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: str
) -> None:
    def weaken() -> None:
        fsync = os.fsync

        def not_that(descriptor: int) -> None:
            path = _path_of(descriptor)
            if OUTPUTS not in str(path) or (lazy == "folder") != path.is_dir():
                fsync(descriptor)

        monkeypatch.setattr(outputs_module.os, "fsync", not_that)

    assert await losses(tmp_path, 1, 60, monkeypatch, weaken) > 0
