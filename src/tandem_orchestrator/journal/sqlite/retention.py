"""Retention: finished runs leave the file, the oldest first, in transactions that stay short.

A run goes whole, in one transaction, so that a check never meets half of one. Pages that become
free take the next records; beyond ``FREE_PAGES_KEPT`` the file shrinks, where it was made so that
it can (``auto_vacuum``: files of version 3 and later).
"""

from __future__ import annotations

import apsw

from tandem_orchestrator.journal.sqlite import outputs
from tandem_orchestrator.journal.sqlite.connection import select

RECORDS_A_BATCH = 2_000
"""Records after which a batch ends; one run may have more."""
FREE_PAGES_KEPT = 1_024
"""Free pages that stay in the file for the next records (4 MiB)."""
PAGES_A_BATCH = 512
"""Pages by which the file shrinks in one batch (2 MiB)."""

_INCREMENTAL = 2
_OLDEST = """
SELECT id, records, finished_at_ns FROM runs
WHERE finished_at_ns IS NOT NULL AND run_id NOT IN
    (SELECT last_run FROM schedules WHERE last_run IS NOT NULL)
    AND (idempotency_key IS NULL OR idempotency_key NOT LIKE 'schedule/%' OR NOT EXISTS
        (SELECT 1 FROM schedules WHERE claim_token IS NOT NULL))
ORDER BY finished_at_ns LIMIT ?
"""
"""A schedule's last run says whether the next may start, and the key of one that is being fired
keeps it from being fired again: both stay for now."""


def remove_runs(
    connection: apsw.Connection, before_ns: int | None, bytes_max: int | None, runs_max: int
) -> int:
    """Remove what ``Journal.remove_runs`` says, and give back pages; gives the number of runs."""
    removed = records = 0
    for key, records_of_run, finished_at_ns in select(connection, _OLDEST, (runs_max,)):
        is_due = before_ns is not None and finished_at_ns < before_ns
        if not is_due and (bytes_max is None or used_bytes(connection) <= bytes_max):
            break
        for table in ("controls", "records", "output_uses"):
            connection.execute(f"DELETE FROM {table} WHERE run = ?", (key,))  # noqa: S608
        connection.execute("DELETE FROM runs WHERE id = ?", (key,))
        removed, records = removed + 1, records + records_of_run
        if records >= RECORDS_A_BATCH:
            break
    _shrink(connection)
    return removed


def used_bytes(connection: apsw.Connection) -> int:
    """Give the bytes of the pages that hold something, and of the large outputs beside them."""
    pages = int(connection.pragma("page_count")) - int(connection.pragma("freelist_count"))
    return pages * int(connection.pragma("page_size")) + outputs.count(connection)[1]


def _shrink(connection: apsw.Connection) -> None:
    if connection.pragma("auto_vacuum") != _INCREMENTAL:
        return
    pages = min(int(connection.pragma("freelist_count")) - FREE_PAGES_KEPT, PAGES_A_BATCH)
    if pages > 0:
        select(connection, f"PRAGMA incremental_vacuum({pages})")
