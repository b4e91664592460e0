"""Large outputs as the journal's file knows them: who names them, what is lost, what may go.

Removal happens inside a writing transaction, and so does the last look of a writer for the files
that its records name: one write lock orders the two, in whichever process they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import apsw

from tandem_orchestrator.journal.chain import PLAIN_VERSION
from tandem_orchestrator.journal.journal import OutputLost
from tandem_orchestrator.journal.outputs import OutputFile, OutputFiles, output_folder
from tandem_orchestrator.journal.parts import Load, WithParts, part_of
from tandem_orchestrator.journal.sqlite.connection import select

FILES_A_BATCH = 64
"""Files that one transaction removes: it holds the write lock meanwhile."""


def loader(connection: apsw.Connection, path: Path) -> Load:
    """Give what reads the large outputs of the journal in ``path``: from files, or from a pack."""
    files = OutputFiles(output_folder(path))

    def load(digest: bytes, body_bytes: int) -> bytes:
        try:
            return files.read(digest, body_bytes)
        except OutputLost as lost:
            packed = select(
                connection, "SELECT body FROM packed_outputs WHERE digest = ?", (digest,)
            )
            if not packed:
                raise
            body = bytes(packed[0][0])
            if not _is(digest, body, body_bytes):
                raise OutputLost(path, digest, "was changed or damaged in its pack") from lost
            return body

    return load


def _is(digest: bytes, body: bytes, body_bytes: int) -> bool:
    return len(body) == body_bytes and part_of(body).digest == digest


def count(connection: apsw.Connection) -> tuple[int, int]:
    """Count the outputs that records name, each once: how many, and their bytes."""
    rows = select(
        connection,
        "SELECT count(*), coalesce(sum(bytes), 0) FROM"
        " (SELECT bytes FROM output_uses GROUP BY digest)",
    )
    return int(rows[0][0]), int(rows[0][1])


def removable(connection: apsw.Connection, path: Path, grace_s: float) -> list[OutputFile]:
    """Find files that nobody names at this moment, and that are older than the grace."""
    return [
        file
        for file in OutputFiles(output_folder(path)).files()
        if file.age_s >= grace_s and not (file.digest and _is_named(connection, file.digest))
    ]


def _is_named(connection: apsw.Connection, digest: bytes) -> bool:
    return bool(select(connection, "SELECT 1 FROM output_uses WHERE digest = ? LIMIT 1", (digest,)))


def remove(connection: apsw.Connection, files: Sequence[OutputFile]) -> int:
    """Remove those that still nobody names. Inside a writing transaction, and only there."""
    assert connection.in_transaction
    removed = 0
    for file in files:
        if file.digest is not None and _is_named(connection, file.digest):
            continue
        try:
            file.path.unlink()
        except FileNotFoundError:
            continue  # another process was quicker
        removed += 1
    connection.execute(
        "DELETE FROM packed_outputs WHERE digest NOT IN (SELECT digest FROM output_uses)"
    )
    return removed


def damaged_outputs(connection: apsw.Connection, path: Path) -> Iterator[str]:
    """Verify each output, and that the table has what the records name; one line per fault."""
    load = loader(connection, path)
    named = select(
        connection,
        "SELECT uses.digest, bytes, min(run_id) FROM output_uses AS uses"
        " JOIN runs ON runs.id = uses.run GROUP BY uses.digest, bytes",
    )
    for digest, body_bytes, run_id in named:
        try:
            load(digest, body_bytes)
        except OutputLost as error:
            yield f"run {run_id}: the output in {error.path} {error.what}"
    for use in unlisted(connection, path):
        yield f"run {use.run_id}: its records name output {use.digest.hex()}, output_uses does not"


@dataclass(frozen=True, slots=True)
class Use:
    """A large output that a run's records name."""

    key: int
    """``runs.id``."""
    run_id: str
    digest: bytes
    body_bytes: int


def unlisted(connection: apsw.Connection, path: Path) -> Iterator[Use]:
    """Find what records name and the table lacks: removal would not know of it."""
    load = loader(connection, path)
    for key, run_id, body in connection.execute(
        "SELECT runs.id, run_id, body FROM records JOIN runs ON runs.id = run WHERE version > ?",
        (PLAIN_VERSION,),
    ):
        for digest, body_bytes in _named_in(body, load).items():
            known = select(
                connection,
                "SELECT 1 FROM output_uses WHERE run = ? AND digest = ? AND bytes = ?",
                (key, digest, body_bytes),
            )
            if not known:
                yield Use(key, run_id, digest, body_bytes)


def list_again(connection: apsw.Connection, path: Path) -> int:
    """Note in the table what records name and it lacks; gives how many. For a repair."""
    uses = list(unlisted(connection, path))
    for use in uses:
        connection.execute(
            "INSERT OR REPLACE INTO output_uses (run, digest, bytes) VALUES (?, ?, ?)",
            (use.key, use.digest, use.body_bytes),
        )
    return len(uses)


def _named_in(body: bytes, load: Load) -> dict[bytes, int]:
    """Give digest and size of all that a record names, as far as it can be read."""
    whole = WithParts(load)
    with suppress(OutputLost, ValueError, TypeError):  # which others tell: its file, its chain
        whole.decode(body)
    return whole.met
