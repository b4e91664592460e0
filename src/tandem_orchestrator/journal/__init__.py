"""The journal: the append-only record of what happened to every run.

This room knows how events are kept, in which order, and when they are durable. It never knows
what an event leads to: it folds none of them, starts nothing and retries nothing. It hands on
tickets that say when a write is durable, records as they were written, and one row per run.

Others may use: ``Journal`` and what it speaks of (``Ticket``, ``Record``, ``RunRow``, ``Control``,
``Owner``, ``KeyUse``, ``JournalHealth``), the refusals ``KeyTaken``, ``OwnerChanged``,
``CompletionTaken``, ``request_digest``, ``MemoryJournal``, ``sqlite_journal``, and ``SideFile`` for
what is kept beside a journal.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tandem_orchestrator.journal.journal import (
    DURABILITIES,
    Bounds,
    CompletionTaken,
    Control,
    Journal,
    JournalHealth,
    KeyTaken,
    KeyUse,
    Owner,
    OwnerChanged,
    Record,
    RunRow,
    Ticket,
    request_digest,
    rfc3339,
)
from tandem_orchestrator.journal.memory import MemoryJournal
from tandem_orchestrator.journal.memory_store import MemoryStore
from tandem_orchestrator.journal.side_file import SideFile

if TYPE_CHECKING:
    from tandem_orchestrator.journal.sqlite import SqliteJournal

__all__ = [
    "DURABILITIES",
    "Bounds",
    "CompletionTaken",
    "Control",
    "Journal",
    "JournalHealth",
    "KeyTaken",
    "KeyUse",
    "MemoryJournal",
    "MemoryStore",
    "Owner",
    "OwnerChanged",
    "Record",
    "RunRow",
    "SideFile",
    "Ticket",
    "request_digest",
    "rfc3339",
    "sqlite_journal",
]


def sqlite_journal(path: Path, *, bounds: Bounds | None = None) -> SqliteJournal:
    """Make the journal in the SQLite file ``path``; nothing is touched before ``open``.

    SQLite is loaded here and not at import, which keeps ``import tandem_orchestrator`` quick.
    """
    from tandem_orchestrator.journal.sqlite import SqliteJournal

    return SqliteJournal(path, bounds=bounds)
