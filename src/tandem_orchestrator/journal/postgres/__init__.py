"""The journal in a PostgreSQL database, shared by several orchestrators, also on several machines.

This room knows the tables, the leases that end by the server's clock, and what a server that is
away means. It never knows what an event leads to, and it never lets two threads write. It hands on
``PostgresJournal``, which keeps the promises of ``journal.py``.
"""

from __future__ import annotations

from tandem_orchestrator.journal.postgres.store import PostgresJournal

__all__ = ["PostgresJournal"]
