"""Drafts: appends folded into rows, column by column, before anything is sent.

The writer knows where each of its runs stands, so that links, counts and columns are computed here
and the server gets finished rows. A draft changes nothing that is kept until its transaction was
committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.chain import PLAIN_VERSION, first_link, next_link
from tandem_orchestrator.journal.entry import Entry
from tandem_orchestrator.journal.journal import RunRow, request_digest
from tandem_orchestrator.journal.projection import changed_columns, first_row
from tandem_orchestrator.model.events import RunAccepted


@dataclass(slots=True)
class Head:
    """Where a run stands: what the next record is chained to, and the columns that events set."""

    key: int
    """``runs.id``."""
    records: int
    link: bytes
    body_bytes: int
    status: str
    started_at_ns: int | None
    finished_at_ns: int | None
    duration: float | None
    steps_done: int


HEAD_COLUMNS = (
    "id, records, link, body_bytes, status, started_at_ns, finished_at_ns, duration, steps_done"
)
"""The columns of a head, in its order."""


@dataclass(slots=True)
class NewRun:
    """A run that is accepted in this draft."""

    row: RunRow
    key: str | None
    digest: str | None


@dataclass(slots=True)
class Records:
    """Records that are to be inserted, by column."""

    run: list[int] = field(default_factory=list)
    seq: list[int] = field(default_factory=list)
    at_ns: list[int] = field(default_factory=list)
    attempt: list[int | None] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    unit: list[str | None] = field(default_factory=list)
    link: list[bytes] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)


class Draft:
    """Appends of one owner, as rows.

    Args:
        heads: Where the runs stand that were there before; not changed.
        owner: For the rows of new runs.
    """

    def __init__(self, heads: dict[str, Head], owner: str) -> None:
        self._heads = heads
        self._owner = owner
        self.touched: dict[str, Head] = {}
        """Where the runs of this draft stand after it."""
        self.accepted: dict[str, NewRun] = {}
        self.records = Records()

    def add(self, run_id: str, entries: Sequence[Entry], key: int) -> JournalError | None:
        """Fold one append in; gives its refusal, and nothing of it is kept then.

        Args:
            key: ``runs.id`` for a run that this append accepts.

        Raises: KeyError if the run is neither known nor accepted here.
        """
        for position, entry in enumerate(entries):
            event = entry.event
            if not isinstance(event, RunAccepted):
                continue
            if event.run_id != run_id or position:
                return JournalError(
                    f"run {run_id}: run_accepted of run {event.run_id} does not begin this run"
                )
            if run_id in self.touched or run_id in self._heads:
                return JournalError(f"run {run_id} has been accepted already")
            self._accept(run_id, event, key)
        head = self.touched.get(run_id)
        if head is None:
            head = self.touched[run_id] = replace(self._heads[run_id])
        self._fold(head, entries)
        return None

    def _accept(self, run_id: str, event: RunAccepted, key: int) -> None:
        row = first_row(event, owner=self._owner)
        name = event.idempotency_key
        digest = None if name is None else request_digest(event.document, event.inputs)
        self.accepted[run_id] = NewRun(row, name, digest)
        self.touched[run_id] = Head(key, 0, first_link(run_id), 0, row.status, None, None, None, 0)

    def _fold(self, head: Head, entries: Sequence[Entry]) -> None:
        records, key, seq, link = self.records, head.key, head.records, head.link
        for entry in entries:
            seq += 1
            body = entry.body
            link = next_link(
                link, seq, PLAIN_VERSION, entry.kind, entry.unit, entry.attempt, entry.at_ns, body
            )
            records.run.append(key)
            records.seq.append(seq)
            records.at_ns.append(entry.at_ns)
            records.attempt.append(entry.attempt)
            records.kind.append(entry.kind)
            records.unit.append(entry.unit)
            records.link.append(link)
            records.body.append(body)
            head.body_bytes += len(body)
            for name, value in changed_columns(entry.event, steps_done=head.steps_done).items():
                setattr(head, name, value)
        head.records, head.link = seq, link


def encoded_names(names: Sequence[str]) -> bytes:
    """Encode what a run waits for, as its row keeps it."""
    return msgspec.msgpack.encode(tuple(names))
