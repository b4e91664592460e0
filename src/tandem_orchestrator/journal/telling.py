"""What a run's records tell: the row that they lead to, and where a stored row differs from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from tandem_orchestrator.journal.journal import Record, RunRow, request_digest
from tandem_orchestrator.journal.projection import changed_columns, first_row
from tandem_orchestrator.model.events import RunAccepted

ROW_FIELDS = tuple(column.name for column in fields(RunRow))
"""A row's fields are named as the columns are."""


def key_of(accepted: RunAccepted) -> tuple[str | None, str | None]:
    """Give the idempotency key that a run came with, and the digest of what was asked; or None."""
    key = accepted.idempotency_key
    return key, None if key is None else request_digest(accepted.document, accepted.inputs)


def row_faults(row: RunRow, records: Sequence[Record]) -> Iterator[str]:
    """Compare a row with what its records say; yields one line per column that differs."""
    told = told_row(records, row.owner)
    for name in ROW_FIELDS:
        mine, theirs = getattr(row, name), getattr(told, name)
        if mine != theirs and name != "waiting_for":  # what it waits for may have come since
            yield f"its row says {name} {mine!r}, its records say {theirs!r}"


def told_row(records: Sequence[Record], owner: str) -> RunRow:
    """Make the row that a run's records, all of them, lead to."""
    first = records[0].event
    assert isinstance(first, RunAccepted)
    told = replace(first_row(first, owner=owner), records=records[-1].seq)
    for record in records:
        columns = changed_columns(record.event, steps_done=told.steps_done)
        told = replace(told, **columns) if columns else told
    return told
