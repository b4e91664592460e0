"""One run in a file of its own: a small journal that every command reads as any other.

Records, links and row are copied as they are, so that the chain proves on the other machine what it
proves here. The file needs no ``-wal`` beside it until somebody opens it.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from tandem_orchestrator.errors import CommandError, JournalError
from tandem_orchestrator.journal.journal import RunRow
from tandem_orchestrator.journal.sqlite.connection import (
    connect_reader,
    journal_error,
    make_file,
    select,
)
from tandem_orchestrator.journal.sqlite.outputs import loader
from tandem_orchestrator.journal.sqlite.reading import read_records, read_run
from tandem_orchestrator.journal.sqlite.schema import SCHEMA_VERSION, migrate, version_of

_COPIES = (
    "INSERT INTO leases SELECT * FROM source.leases WHERE token IN"
    " (SELECT token FROM source.runs WHERE run_id = ?1)",
    "INSERT INTO runs SELECT * FROM source.runs WHERE run_id = ?1",
    "INSERT INTO records SELECT * FROM source.records WHERE run IN"
    " (SELECT id FROM source.runs WHERE run_id = ?1) ORDER BY seq",
    "INSERT INTO output_uses SELECT * FROM source.output_uses WHERE run IN"
    " (SELECT id FROM source.runs WHERE run_id = ?1)",
    "INSERT INTO controls SELECT * FROM source.controls WHERE run IN"
    " (SELECT id FROM source.runs WHERE run_id = ?1)",
    "UPDATE leases SET ended_ns = coalesce(ended_ns, since_ns)",  # nobody holds it there
)


def pack_run(path: Path, run_id: str, target: Path, *, unfinished: bool = False) -> RunRow:
    """Copy one run of the journal in ``path`` to the new file ``target``; gives the run's row.

    Args:
        unfinished: Take one that has not ended, too. Whoever opens the pack to run things may go
            on with it, beside the run that it was copied from.

    Raises: CommandError if there is no such run or it has not ended. JournalError if its records
        are damaged, the journal is of an older version, or ``target`` is there already.
    """
    if not path.is_file():
        raise JournalError(f"journal {path} does not exist")
    try:
        source = connect_reader(path, None)
        try:
            row = _checked(source, path, run_id, unfinished=unfinished)
        finally:
            source.close()
        if target.exists() or target.is_symlink():
            raise JournalError(f"{target} exists already; choose another name")
        fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
        fresh.unlink(missing_ok=True)
        try:
            _write(path, run_id, fresh)
            os.link(fresh, target)  # all of it or nothing, and never over another file
        finally:
            fresh.unlink(missing_ok=True)
    except FileExistsError as error:
        raise JournalError(f"{target} exists already; choose another name") from error
    except (apsw.Error, OSError) as error:
        raise journal_error(path, error, f"cannot pack run {run_id}") from error
    return row


def _checked(source: apsw.Connection, path: Path, run_id: str, *, unfinished: bool) -> RunRow:
    version = version_of(source, path)
    if version < SCHEMA_VERSION:
        raise JournalError(
            f"journal {path} has version {version}; open it once with this Tandem "
            "('tandem runs list' does), then pack"
        )
    row = read_run(source, run_id, lambda _owner: True)
    if row is None:
        raise CommandError(f"run {run_id} is not in journal {path}")
    if row.finished_at_ns is None and not unfinished:
        raise CommandError(
            f"run {run_id} has not ended, it is {row.status}: a copy could be gone on with beside "
            "it; --unfinished packs it nevertheless"
        )
    read_records(source, path, run_id, 0, None)  # a broken chain shows here, not over there
    return row


def _write(path: Path, run_id: str, fresh: Path) -> None:
    make_file(fresh)  # for this user alone
    connection = apsw.Connection(
        str(fresh), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
    )
    try:
        migrate(connection, fresh)
        connection.execute("ATTACH ? AS source", (f"{path.absolute().as_uri()}?mode=ro",))
        connection.execute("BEGIN IMMEDIATE")
        for statement in _COPIES:
            bindings = (run_id,) if "?1" in statement else ()
            connection.execute(statement, bindings)
        _pack_outputs(connection, path)
        connection.execute("COMMIT")
        connection.execute("DETACH source")
        if not select(connection, "SELECT 1 FROM runs"):
            raise JournalError(f"run {run_id} was removed while it was packed")
    finally:
        connection.close()


def _pack_outputs(connection: apsw.Connection, path: Path) -> None:
    """Put the run's large outputs into the pack itself, which has no folder beside it."""
    source = connect_reader(path, None)
    try:
        load = loader(source, path)
        for digest, body_bytes in select(connection, "SELECT digest, bytes FROM main.output_uses"):
            connection.execute(
                "INSERT INTO main.packed_outputs VALUES (?, ?)", (digest, load(digest, body_bytes))
            )
    finally:
        source.close()
