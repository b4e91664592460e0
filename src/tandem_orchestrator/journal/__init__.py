"""The journal: the append-only record of what happened to every run.

This room knows how events are kept, in which order, and when they are durable. It never knows
what an event leads to: it folds none of them, starts nothing and retries nothing. It hands on
tickets that say when a write is durable, records as they were written, and one row per run.

Others may use: ``Journal`` and what it speaks of (``Ticket``, ``Record``, ``RunRow``, ``Control``,
``Owner``, ``KeyUse``, ``LosesRuns``, ``ScheduleRow``, ``JournalHealth``), the refusals ``KeyTaken``, ``OwnerChanged``,
``CompletionTaken``, ``OutputLost``, ``request_digest``, ``MemoryJournal``, ``sqlite_journal``,
``postgres_journal``, ``pack_run`` and ``repair_journal`` for files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.journal import (
    DURABILITIES,
    Bounds,
    CompletionTaken,
    Control,
    Journal,
    JournalHealth,
    KeyTaken,
    KeyUse,
    LosesRuns,
    OutputLost,
    Owner,
    OwnerChanged,
    Record,
    RunRow,
    ScheduleRow,
    Ticket,
    request_digest,
    rfc3339,
    schedule_key,
)
from tandem_orchestrator.journal.memory import MemoryJournal
from tandem_orchestrator.journal.memory_store import MemoryStore

if TYPE_CHECKING:
    from tandem_orchestrator.journal.postgres import PostgresJournal
    from tandem_orchestrator.journal.sqlite import SqliteJournal
    from tandem_orchestrator.journal.sqlite.mending import Mending

__all__ = [
    "DURABILITIES",
    "Bounds",
    "CompletionTaken",
    "Control",
    "Journal",
    "JournalHealth",
    "KeyTaken",
    "KeyUse",
    "LosesRuns",
    "MemoryJournal",
    "MemoryStore",
    "OutputLost",
    "Owner",
    "OwnerChanged",
    "Record",
    "RunRow",
    "ScheduleRow",
    "Ticket",
    "pack_run",
    "postgres_journal",
    "repair_journal",
    "request_digest",
    "rfc3339",
    "schedule_key",
    "sqlite_journal",
]


def sqlite_journal(path: Path, *, bounds: Bounds | None = None) -> SqliteJournal:
    """Make the journal in the SQLite file ``path``; nothing is touched before ``open``.

    SQLite is loaded here and not at import, which keeps ``import tandem_orchestrator`` quick.
    """
    from tandem_orchestrator.journal.sqlite import SqliteJournal

    return SqliteJournal(path, bounds=bounds)


def postgres_journal(
    url: str, *, bounds: Bounds | None = None, lease_s: float | None = None
) -> PostgresJournal:
    """Make the journal in the PostgreSQL database ``url``; nobody is asked before ``open``.

    Args:
        lease_s: Seconds of silence after which an owner counts as dead; None for the usual.

    Raises: JournalError saying what to install where psycopg 3 is not there.
    """
    try:
        from tandem_orchestrator.journal.postgres import PostgresJournal
    except ImportError as error:
        raise JournalError(
            f"a journal in PostgreSQL needs psycopg 3 ({error}); install it: "
            "pip install 'tandem-orchestrator[postgres]'"
        ) from error
    if lease_s is None:
        return PostgresJournal(url, bounds=bounds)
    return PostgresJournal(url, bounds=bounds, lease_s=lease_s)


def pack_run(path: Path, run_id: str, target: Path, *, unfinished: bool = False) -> RunRow:
    """Copy one run of the SQLite journal ``path`` to a new file, itself a journal of that run.

    Raises: CommandError if there is no such run, or it has not ended and ``unfinished`` is False.
        JournalError if it is damaged or ``target`` exists.
    """
    from tandem_orchestrator.journal.sqlite.packing import pack_run

    return pack_run(path, run_id, target, unfinished=unfinished)


def repair_journal(path: Path, *, drop_tails: bool = False) -> Mending:
    """Mend the SQLite journal ``path``, which nobody has open; see ``Mending``.

    Raises: JournalError if there is none, somebody works with it, or it cannot be read.
    """
    from tandem_orchestrator.journal.sqlite.mending import repair

    return repair(path, drop_tails=drop_tails)
