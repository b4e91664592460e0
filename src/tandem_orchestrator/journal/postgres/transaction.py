"""One transaction of appends, fenced by the lease and by the lock on each run's row.

It begins with the lease: its row gets the batch's number, if it has the one before. That proves that the
lease is ours, renews it, and makes a commit whose answer was lost known afterwards: a batch whose
number is there already was committed. Then each run's row is changed where its token is still ours,
which also locks it: whoever takes a run over waits for this transaction, or it finds another token.

All appends go in as one statement, which is a transaction by itself: there is one answer to wait for,
and each wait of this thread can cost the 5 ms after which Python takes turns between threads. The
statement ends in an error where a run is not ours, or a key or a completion is taken. Then it has
done nothing, and it is done again append by append, in a transaction with savepoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.errors import DivisionByZero, UniqueViolation

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.entry import COMPLETIONS, Entry
from tandem_orchestrator.journal.journal import CompletionTaken, KeyTaken, OwnerChanged
from tandem_orchestrator.journal.postgres.arrays import Blobs, Booleans, Floats, Integers, Texts
from tandem_orchestrator.journal.postgres.connection import change, select
from tandem_orchestrator.journal.postgres.draft import HEAD_COLUMNS, Draft, Head, encoded_names
from tandem_orchestrator.journal.postgres.schema import BLOCK
from tandem_orchestrator.model.events import RunAccepted

Appended = tuple[str, Sequence[Entry]]
"""A run and what is appended to it."""

_BEGIN_BATCH = """
UPDATE leases SET batch = %s, expires_at = clock_timestamp() + %s * interval '1 second'
WHERE token = %s AND batch = %s AND ended_ns IS NULL
"""
_CHANGE_RUNS = """
UPDATE runs SET records = new.records, link = new.link, body_bytes = new.body_bytes,
    status = new.status, started_at_ns = new.started_at_ns, finished_at_ns = new.finished_at_ns,
    duration = new.duration, steps_done = new.steps_done
FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s) AS new
    (id, records, link, body_bytes, status, started_at_ns, finished_at_ns, duration, steps_done)
WHERE runs.id = new.id AND runs.token = %s
"""
_INSERT_RUNS = """
INSERT INTO runs (id, records, link, body_bytes, status, started_at_ns, finished_at_ns, duration,
    steps_done, token, run_id, command_set_id, name, type, mode, priority, durability,
    created_at_ns, steps_total, waiting_for, resumable, idempotency_key, digest)
SELECT a, b, c, d, e, f, g, h, i, %s, j, k, l, m, n, o, p, q, r, s, t, u, v
FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    AS new (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v)
ON CONFLICT DO NOTHING
"""
_INSERT_RECORDS = """
INSERT INTO records (run, seq, at_ns, attempt, version, kind, unit, link, body)
SELECT a, b, c, d, 1, e, f, g, h FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s)
    AS new (a, b, c, d, e, f, g, h)
"""
_ROWS = f"""
WITH changed AS ({_CHANGE_RUNS} RETURNING 1), accepted AS ({_INSERT_RUNS} RETURNING 1),
    written AS ({_INSERT_RECORDS})
SELECT 1 / ((SELECT count(*) FROM changed) = %s AND (SELECT count(*) FROM accepted) = %s)::int
"""  # noqa: S608 - constants
"""All rows of a draft, or a division by zero: nothing of it stays then."""
_WHOLE_BATCH = f"""
WITH lease AS ({_BEGIN_BATCH} RETURNING 1), changed AS ({_CHANGE_RUNS} RETURNING 1),
    accepted AS ({_INSERT_RUNS} RETURNING 1), written AS ({_INSERT_RECORDS})
SELECT 1 / ((SELECT count(*) FROM lease) = 1 AND (SELECT count(*) FROM changed) = %s
    AND (SELECT count(*) FROM accepted) = %s)::int
"""  # noqa: S608 - constants
"""The same with the lease: a transaction in one statement, and in one answer to wait for."""


class LeaseLost(JournalError):
    """The lease is not there any more, or somebody ended it: a mistake, or a hand in the tables."""


class Transaction:
    """Writes appends on behalf of one lease; remembers where that lease's runs stand.

    Args:
        token: The lease that every batch is fenced by.
        owner: Its owner, for the rows.
        lease_s: How long the lease holds after each batch.
    """

    def __init__(self, token: int, owner: str, lease_s: float) -> None:
        self.token = token
        self._owner = owner
        self._lease_s = lease_s
        self._heads: dict[str, Head] = {}
        self._batch = 0
        self._tried: tuple[list[JournalError | None], dict[str, Head]] | None = None
        """What the batch under way came to when its commit was last asked for."""
        self._ids = iter(range(0))

    def forget(self, run_id: str) -> None:
        """Read the run's head anew next time: it changed hands."""
        self._heads.pop(run_id, None)

    def commit(
        self, connection: psycopg.Connection[Any], appends: Sequence[Appended]
    ) -> list[JournalError | None]:
        """Write the next batch; gives a refusal or None for each append. Committed on return.

        After a ``psycopg.Error`` it may be called again with the same appends, on another
        connection: what was committed without our hearing of it is not written twice.
        """
        try:
            refusals, heads = self._write_all(connection, appends)
        except _AlreadyCommitted:
            assert self._tried is not None
            refusals, heads = self._tried
        self._batch += 1
        self._tried = None
        for run_id, head in heads.items():
            if head.finished_at_ns is None:
                self._heads[run_id] = head
            else:
                self._heads.pop(run_id, None)
        for refusal in refusals:
            if isinstance(refusal, OwnerChanged):
                self.forget(refusal.run_id)
        return refusals

    def drop(self) -> None:
        """Give up the batch under way: nobody may be told of it any more."""
        self._tried = None

    def _write_all(
        self, connection: psycopg.Connection[Any], appends: Sequence[Appended]
    ) -> tuple[list[JournalError | None], dict[str, Head]]:
        known = self._read_heads(connection, appends)
        tried = self._together(connection, appends, known)
        if tried is None:
            tried = self._one_by_one(connection, appends, known)
            self._tried = tried
            connection.execute("COMMIT")
        return tried

    def _begin(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("BEGIN")
        values = (self._batch + 1, self._lease_s, self.token, self._batch)
        if change(connection, _BEGIN_BATCH, values) == 1:
            return
        rows = select(
            connection, "SELECT batch, ended_ns FROM leases WHERE token = %s", (self.token,)
        )
        connection.execute("ROLLBACK")
        if rows and rows[0][0] == self._batch + 1 and self._tried is not None:
            raise _AlreadyCommitted
        raise LeaseLost(
            f"lease {self.token} of owner {self._owner} "
            + ("was ended or written to by somebody else" if rows else "is not there any more")
        )

    def _together(
        self,
        connection: psycopg.Connection[Any],
        appends: Sequence[Appended],
        known: dict[str, Head],
    ) -> tuple[list[JournalError | None], dict[str, Head]] | None:
        """Write all appends at once; None, and nothing is written, where one is refused."""
        draft = Draft(known, self._owner)
        for run_id, entries in appends:
            if not self._fits(run_id, entries, draft, known):
                return None
            if draft.add(run_id, entries, self._next_id(connection)) is not None:
                return None
        # Before it is sent: whether it was committed may be all that is not known afterwards.
        before, self._tried = self._tried, ([None] * len(appends), draft.touched)
        lease = (self._batch + 1, self._lease_s, self.token, self._batch)
        try:
            connection.execute(_WHOLE_BATCH, (*lease, *self._values(draft)), prepare=True)
        except (DivisionByZero, UniqueViolation):
            self._tried = before
            return None
        return self._tried

    def _fits(
        self, run_id: str, entries: Sequence[Entry], draft: Draft, known: dict[str, Head]
    ) -> bool:
        accepts = isinstance(entries[0].event, RunAccepted)
        return accepts != (run_id in known or run_id in draft.touched)

    def _one_by_one(
        self,
        connection: psycopg.Connection[Any],
        appends: Sequence[Appended],
        known: dict[str, Head],
    ) -> tuple[list[JournalError | None], dict[str, Head]]:
        self._begin(connection)
        refusals: list[JournalError | None] = []
        touched: dict[str, Head] = {}
        heads = dict(known)
        for run_id, entries in appends:
            draft = Draft(heads, self._owner)
            connection.execute("SAVEPOINT one")
            refusal = self._one(connection, draft, run_id, entries)
            if refusal is None:
                heads |= draft.touched
                touched |= draft.touched
            else:
                connection.execute("ROLLBACK TO SAVEPOINT one")
            connection.execute("RELEASE SAVEPOINT one")
            refusals.append(refusal)
        return refusals, touched

    def _one(
        self,
        connection: psycopg.Connection[Any],
        draft: Draft,
        run_id: str,
        entries: Sequence[Entry],
    ) -> JournalError | None:
        try:
            refusal = draft.add(run_id, entries, self._next_id(connection))
        except KeyError:
            return OwnerChanged(run_id, _owner_of(connection, run_id))
        if refusal is not None:
            return refusal
        try:
            if self._write(connection, draft):
                return None
        except UniqueViolation:
            connection.execute("ROLLBACK TO SAVEPOINT one")
            taken = _completion_taken(connection, draft.touched[run_id].key, entries)
            if taken is None:
                raise
            return CompletionTaken(run_id, str(taken.unit), taken.attempt or 0)
        connection.execute("ROLLBACK TO SAVEPOINT one")
        new = draft.accepted.get(run_id)
        owner = _owner_of(connection, run_id)
        if new is None:
            return OwnerChanged(run_id, owner)
        if owner is not None:
            return JournalError(f"run {run_id} has been accepted already")
        rows = select(
            connection, "SELECT run_id, digest FROM runs WHERE idempotency_key = %s", (new.key,)
        )
        if new.key is None or not rows:
            raise JournalError(f"run {run_id} could not be inserted, and nothing says why")
        return KeyTaken(new.key, *rows[0])

    def _write(self, connection: psycopg.Connection[Any], draft: Draft) -> bool:
        """Send a draft's rows; False if one of its runs is not ours or not free."""
        try:
            connection.execute(_ROWS, self._values(draft))
        except DivisionByZero:
            return False
        return True

    def _values(self, draft: Draft) -> list[Any]:
        """Give what the statements need of a draft, and how many rows they must concern."""
        changed = [head for name, head in draft.touched.items() if name not in draft.accepted]
        new = draft.records
        return [
            *_head_columns(changed),
            self.token,
            self.token,
            *_new_columns(draft),
            *(Integers(new.run), Integers(new.seq), Integers(new.at_ns)),
            *(Integers(new.attempt), Texts(new.kind), Texts(new.unit)),
            *(Blobs(new.link), Blobs(new.body)),
            len(changed),
            len(draft.accepted),
        ]

    def _read_heads(
        self, connection: psycopg.Connection[Any], appends: Sequence[Appended]
    ) -> dict[str, Head]:
        """Give the heads of all runs of these appends that are there and ours."""
        wanted = {run_id for run_id, _ in appends}
        known = {run_id: self._heads[run_id] for run_id in wanted if run_id in self._heads}
        unknown = [
            run_id
            for run_id, entries in appends
            if run_id not in known and not isinstance(entries[0].event, RunAccepted)
        ]
        if unknown:
            for run_id, *columns in select(
                connection,
                f"SELECT run_id, {HEAD_COLUMNS} FROM runs WHERE run_id = ANY(%s) AND token = %s",  # noqa: S608
                (Texts(unknown), self.token),
            ):
                known[run_id] = Head(*columns)
        return known

    def _next_id(self, connection: psycopg.Connection[Any]) -> int:
        """Give an id for a new run; the server is asked once for many."""
        for number in self._ids:
            return number
        block = int(select(connection, "SELECT nextval('run_blocks')")[0][0])
        self._ids = iter(range(block * BLOCK, (block + 1) * BLOCK))
        return next(self._ids)


class _AlreadyCommitted(Exception):
    """The batch is there: its commit succeeded and the answer was lost."""


def _head_columns(heads: Sequence[Head]) -> list[Any]:
    return [
        Integers([head.key for head in heads]),
        Integers([head.records for head in heads]),
        Blobs([head.link for head in heads]),
        Integers([head.body_bytes for head in heads]),
        Texts([head.status for head in heads]),
        Integers([head.started_at_ns for head in heads]),
        Integers([head.finished_at_ns for head in heads]),
        Floats([head.duration for head in heads]),
        Integers([head.steps_done for head in heads]),
    ]


def _new_columns(draft: Draft) -> list[Any]:
    # In the order of their keys: two batches that wait for each other's keys would be a deadlock.
    new = sorted(draft.accepted.values(), key=lambda each: (each.key or "", each.row.run_id))
    rows = [each.row for each in new]
    return [
        *_head_columns([draft.touched[row.run_id] for row in rows]),
        Texts([row.run_id for row in rows]),
        Texts([row.command_set_id for row in rows]),
        Texts([row.name for row in rows]),
        Texts([row.type for row in rows]),
        Texts([row.mode for row in rows]),
        Texts([row.priority for row in rows]),
        Texts([row.durability for row in rows]),
        Integers([row.created_at_ns for row in rows]),
        Integers([row.steps_total for row in rows]),
        Blobs([encoded_names(row.waiting_for) for row in rows]),
        Booleans([row.resumable for row in rows]),
        Texts([each.key for each in new]),
        Texts([each.digest for each in new]),
    ]


def _completion_taken(
    connection: psycopg.Connection[Any], key: int, entries: Sequence[Entry]
) -> Entry | None:
    """Give the completion that is recorded already, or comes twice; None if there is none."""
    seen = set()
    for entry in entries:
        if entry.kind in COMPLETIONS:
            rows = select(
                connection,
                "SELECT 1 FROM records WHERE run = %s AND unit = %s AND attempt = %s"
                " AND kind IN ('attempt_ended', 'segment_ended')",
                (key, entry.unit, entry.attempt),
            )
            if (entry.unit, entry.attempt) in seen or rows:
                return entry
            seen.add((entry.unit, entry.attempt))
    return None


def _owner_of(connection: psycopg.Connection[Any], run_id: str) -> str | None:
    rows = select(
        connection, "SELECT owner FROM runs JOIN leases USING (token) WHERE run_id = %s", (run_id,)
    )
    return str(rows[0][0]) if rows else None
