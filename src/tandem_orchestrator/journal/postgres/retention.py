"""Retention: finished runs leave the database, the oldest first, in transactions that stay short.

A run goes whole. What is in use is counted as the bytes of the bodies and an estimate for the rest of
each row and its indexes: the size of the tables says little, since rows that went leave room that
only the server's vacuum gives to new ones. A run that another session works on is left for later.
"""

from __future__ import annotations

from typing import Any

import psycopg

from tandem_orchestrator.journal.postgres.arrays import Integers
from tandem_orchestrator.journal.postgres.connection import change, select

RECORDS_A_BATCH = 2_000
"""Records after which a batch ends; one run may have more."""
RUN_BYTES, RECORD_BYTES = 700, 250
"""What a run's row, and a record beside its body, take with their indexes; measured, rounded up."""

_OLDEST = """
SELECT id, records, finished_at_ns, body_bytes FROM runs
WHERE finished_at_ns IS NOT NULL AND run_id NOT IN
    (SELECT last_run FROM schedules WHERE last_run IS NOT NULL)
    AND (idempotency_key IS NULL OR idempotency_key NOT LIKE 'schedule/%%' OR NOT EXISTS
        (SELECT 1 FROM schedules WHERE claim_token IS NOT NULL))
ORDER BY finished_at_ns LIMIT %s FOR UPDATE SKIP LOCKED
"""
"""A schedule's last run says whether the next may start, and the key of one that is being fired
keeps it from being fired again: both stay for now."""


def remove_runs(
    connection: psycopg.Connection[Any],
    before_ns: int | None,
    bytes_max: int | None,
    runs_max: int,
) -> int:
    """Remove what ``Journal.remove_runs`` says; gives the number of runs."""
    used = used_bytes(connection) if bytes_max is not None else 0
    gone: list[int] = []
    records = 0
    for key, records_of_run, finished_at_ns, body_bytes in select(connection, _OLDEST, (runs_max,)):
        is_due = before_ns is not None and finished_at_ns < before_ns
        if not is_due and (bytes_max is None or used <= bytes_max):
            break
        used -= body_bytes + RUN_BYTES + RECORD_BYTES * records_of_run
        gone.append(key)
        records += records_of_run
        if records >= RECORDS_A_BATCH:
            break
    if gone:
        keys = (Integers(gone),)
        change(connection, "DELETE FROM controls WHERE run = ANY(%s)", keys)
        change(connection, "DELETE FROM records WHERE run = ANY(%s)", keys)
        change(connection, "DELETE FROM runs WHERE id = ANY(%s)", keys)
    return len(gone)


def used_bytes(connection: psycopg.Connection[Any]) -> int:
    """Give about the bytes that all runs take."""
    query = "SELECT coalesce(sum(body_bytes + %s + %s * records), 0)::bigint FROM runs"
    return int(select(connection, query, (RUN_BYTES, RECORD_BYTES))[0][0])
