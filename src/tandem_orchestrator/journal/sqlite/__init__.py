"""The journal in one SQLite file, shared by several processes.

This room knows the tables, the one writer thread of each process, and what a failing disk means.
It never knows what an event leads to, and it never lets two threads write. It hands on
``SqliteJournal``, which keeps the promises of ``journal.py``.
"""

from __future__ import annotations

from tandem_orchestrator.journal.sqlite.store import SqliteJournal

__all__ = ["SqliteJournal"]
