"""``tandem journal check|repair|export`` and ``tandem runs pack``: the journal's file itself."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
import typer

from tandem_orchestrator import JournalError, Settings
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.options import Journal as JournalOption
from tandem_orchestrator.cli.options import Json, end
from tandem_orchestrator.cli.output import print_json, print_text, visible
from tandem_orchestrator.cli.run_names import run_id_of
from tandem_orchestrator.cli.target import read_settings
from tandem_orchestrator.journal import Journal, JournalHealth, RunRow, pack_run, repair_journal
from tandem_orchestrator.orchestrator.composition import MEMORY, make_journal
from tandem_orchestrator.settings import is_database, shown_place

ROWS_READ = 100
"""Runs that an export reads at a time."""
RECORDS_READ = 1_000
"""Records that an export reads at a time."""

app = typer.Typer(
    help="Check, mend and export the journal.", no_args_is_help=True, rich_markup_mode=None
)
"""The group ``tandem journal``."""


@app.command("check")
def _check(journal: JournalOption = None, json: Json = False) -> None:
    """Verify the file, hash chains, rows and large outputs; exit code 5 where something is wrong."""
    settings = read_settings([], journal)
    end(lambda: check(settings, as_json=json))


@app.command("repair")
def _repair(
    journal: JournalOption = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Drop a run's records from the first damaged one on, and end the run."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Mend what can be mended without loss; a copy of the file is kept."""
    settings = read_settings([], journal)
    end(lambda: repair(settings, drop_tails=yes, as_json=json))


@app.command("export")
def _export(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A new file; stdout without it.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only this run.")] = None,
    journal: JournalOption = None,
) -> None:
    """Write runs and their records as JSON lines, newest run first."""
    settings = read_settings([], journal)
    end(lambda: export(settings, run_id=run, file=file))


def check(settings: Settings, *, as_json: bool) -> Exit:
    """Verify everything."""
    path = _place(settings)

    async def work() -> tuple[list[str], JournalHealth]:
        journal = make_journal(settings)
        await journal.open(None)
        try:
            return await journal.check(), journal.health()
        finally:
            await journal.close()

    faults, health = run_in_loop(settings, work)
    outputs = {"files": health.outputs_files, "bytes": health.outputs_bytes}
    if as_json:
        print_json({"path": str(path), "ok": not faults, "faults": faults, "outputs": outputs})
    elif faults:
        for fault in faults:
            print_text(visible(fault))
        print_text(f"{_count(len(faults), 'fault')}; 'tandem journal repair' mends what it can")
    else:
        kept = _count(outputs["files"], "large output")
        beside = f"; {kept} beside it, {outputs['bytes']} bytes" if outputs["files"] else ""
        print_text(f"journal {path}: all is well{beside}")
    return Exit.REFUSED if faults else Exit.DONE


def repair(settings: Settings, *, drop_tails: bool, as_json: bool) -> Exit:
    """Mend, and say what was mended and what is left; exit code 5 where something is left."""
    path = _path(settings)
    mending = repair_journal(path, drop_tails=drop_tails)
    if as_json:
        copy = None if mending.copy is None else str(mending.copy)
        print_json({"path": str(path), **asdict(mending), "copy": copy})
        return Exit.REFUSED if mending.left else Exit.DONE
    for line in mending.mended:
        print_text(visible(f"mended: {line}"))
    if mending.copy is not None:
        print_text(f"the file as it was: {mending.copy}")
    for line in mending.left:
        print_text(visible(f"left: {line}"))
    for line in mending.droppable:
        print_text(visible(f"--yes would drop: {line}"))
    if not mending.left:
        print_text(f"journal {path}: all is well")
    return Exit.REFUSED if mending.left else Exit.DONE


def export(settings: Settings, *, run_id: str | None, file: str | None) -> Exit:
    """Write JSON lines; exit code 5 where a run could not be read whole, with a line saying so.

    Raises: UsageError if the file exists. CommandError if there is no such run.
    """
    _place(settings)
    if file is None:
        return _export_to(settings, run_id, sys.stdout.buffer)
    try:
        with Path(file).open("xb") as target:
            return _export_to(settings, run_id, target)
    except FileExistsError:
        raise UsageError(f"{file} exists already; choose another name") from None
    except OSError as error:
        raise JournalError(f"{file} cannot be written: {error}") from error


def _export_to(settings: Settings, run_id: str | None, target: IO[bytes]) -> Exit:
    async def work() -> bool:
        journal = make_journal(settings)
        await journal.open(None)
        try:
            if run_id is None:
                return await _write_all(journal, target)
            row = await journal.run(run_id)
            if row is None:
                raise UsageError(
                    f"run {run_id}: there is no such run in {shown_place(settings.journal.path)}"
                )
            return await _write_run(journal, row, target)
        finally:
            await journal.close()

    try:
        is_whole = run_in_loop(settings, work)
        target.flush()
    except BrokenPipeError:
        print_text("")  # whoever read has left; this ends stdout quietly
        return Exit.DONE
    return Exit.DONE if is_whole else Exit.REFUSED


async def _write_all(journal: Journal, target: IO[bytes]) -> bool:
    is_whole, before = True, None
    while rows := await journal.runs(limit=ROWS_READ, before=before):
        for row in rows:
            is_whole = await _write_run(journal, row, target) and is_whole
        before = rows[-1].run_id
    return is_whole


async def _write_run(journal: Journal, row: RunRow, target: IO[bytes]) -> bool:
    """Write a run's line and one for each record; a fault has a line of its own."""
    _line(target, {"line": "run", **row.to_value()})
    after = 0
    try:
        while records := await journal.records(row.run_id, after=after, limit=RECORDS_READ):
            for record in records:
                _line(
                    target,
                    {
                        "line": "record",
                        "run_id": row.run_id,
                        "seq": record.seq,
                        "kind": record.kind,
                        "unit": record.unit,
                        "attempt": record.attempt,
                        "at_ns": record.at_ns,
                        "event": record.event,
                    },
                )
            after = records[-1].seq
    except JournalError as error:
        _line(target, {"line": "fault", "run_id": row.run_id, "error": str(error)})
        print(f"tandem: {visible(str(error))}", file=sys.stderr)
        return False
    return True


# Any: a value of each kind that events hold.
def _line(target: IO[bytes], value: dict[str, Any]) -> None:
    target.write(msgspec.json.encode(value) + b"\n")


def pack(
    settings: Settings, run_id: str, file: str | None, *, unfinished: bool, as_json: bool
) -> Exit:
    """Make one file of a run, itself a journal; named after the run unless ``file`` says so."""
    place, run_id = _path(settings), run_id_of(settings, run_id)
    target = Path(f"{run_id}.pack" if file is None else file).absolute()
    row = pack_run(place, run_id, target, unfinished=unfinished)
    size_bytes = target.stat().st_size
    if as_json:
        shown = {"run_id": run_id, "file": str(target), "bytes": size_bytes}
        print_json({**shown, "records": row.records, "status": row.status})
    else:
        print_text(f"packed {_count(row.records, 'record')}, {size_bytes} bytes: {target}")
        print_text(f"'tandem runs show {run_id} --journal {target}' opens it anywhere")
    return Exit.DONE


def _place(settings: Settings) -> str:
    """Say where the journal is, and that it is there. Raises: UsageError for one in memory."""
    if is_database(settings.journal.path):
        return shown_place(settings.journal.path)
    return str(_path(settings))


def _path(settings: Settings) -> Path:
    """Give the journal's file. Raises: UsageError for one in memory or in a database."""
    path = settings.journal.path
    if is_database(path):
        raise UsageError(
            f"the journal {shown_place(path)} is no file: its server's own tools copy and mend it "
            "(pg_dump, pg_amcheck); 'tandem journal check' and 'export' work on it"
        )
    if path is None or path == MEMORY:
        raise UsageError("the journal is in memory (journal.path); name a file with --journal")
    if not Path(path).is_file():
        raise JournalError(f"journal {path} does not exist")
    return Path(path)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
