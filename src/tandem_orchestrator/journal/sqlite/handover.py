"""Leases as rows, and whose runs are whose: taken over, kept, or left with a word why not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence

import apsw
import msgspec

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.chain import row_sum
from tandem_orchestrator.journal.sqlite.connection import select


def insert_lease(connection: apsw.Connection, owner: str, now_ns: int) -> int:
    """Write the lease of this process's ``owner``; gives its token. Raises: JournalError."""
    if select(connection, "SELECT 1 FROM leases WHERE owner = ?", (owner,)):
        raise JournalError(f"owner {owner} had a lease before; an id is for one opening")
    row = (owner, os.getpid(), socket.gethostname(), now_ns)
    connection.execute(
        "INSERT INTO leases (owner, pid, host, since_ns, sum) VALUES (?, ?, ?, ?, ?)",
        (*row, row_sum(*row)),
    )
    return connection.last_insert_rowid()


def end_lease(connection: apsw.Connection, *, token: int, now_ns: int) -> None:
    """Note that a lease was given back."""
    connection.execute("UPDATE leases SET ended_ns = ? WHERE token = ?", (now_ns, token))


def keep_runs(
    connection: apsw.Connection, old: int, new: int, left_behind: Iterable[str], now_ns: int
) -> None:
    """Give the unfinished runs of one lease to another and end the first, but for some runs."""
    connection.execute(
        "UPDATE runs SET token = ? WHERE token = ? AND finished_at_ns IS NULL"
        " AND run_id NOT IN (SELECT value FROM json_each(?))",
        (new, old, msgspec.json.encode(sorted(left_behind)).decode()),
    )
    end_lease(connection, token=old, now_ns=now_ns)


def leave_runs(connection: apsw.Connection, mine: int, old: int, run_ids: Iterable[str]) -> None:
    """Leave runs to the lease they had before, after all."""
    connection.execute(
        "UPDATE runs SET token = ? WHERE token = ? AND finished_at_ns IS NULL"
        " AND run_id IN (SELECT value FROM json_each(?))",
        (old, mine, msgspec.json.encode(sorted(run_ids)).decode()),
    )


def take_over(
    connection: apsw.Connection, run_id: str, token: int, is_alive: Callable[[str], bool]
) -> bool:
    """Give a dead owner's unfinished run to the lease ``token``; False if it was not so.

    One statement, fenced by the token that was seen: of two that try, one succeeds.
    """
    seen = _dead_owners_token(connection, run_id, is_alive)
    if seen is None:
        return False
    connection.execute(
        "UPDATE runs SET token = ?, waiting_for = ? WHERE run_id = ? AND token = ?",
        (token, msgspec.msgpack.encode(()), run_id, seen),
    )
    return connection.changes() == 1


def take_ended(
    connection: apsw.Connection, run_id: str, token: int, is_alive: Callable[[str], bool]
) -> bool:
    """Give a run that has ended to the lease ``token``, so that it can go on; False if it has not.

    Whether its owner is alive does not matter: whoever owned it appends nothing more to it: each insert is fenced by the run's token.
    """
    connection.execute(
        "UPDATE runs SET token = ? WHERE run_id = ? AND finished_at_ns IS NOT NULL",
        (token, run_id),
    )
    return connection.changes() == 1


def note_waiting(
    connection: apsw.Connection,
    run_id: str,
    waiting_for: Sequence[str],
    is_alive: Callable[[str], bool],
) -> bool:
    """Note what a dead owner's unfinished run waits for; False if it was not so."""
    seen = _dead_owners_token(connection, run_id, is_alive)
    if seen is None:
        return False
    connection.execute(
        "UPDATE runs SET waiting_for = ? WHERE run_id = ? AND token = ?",
        (msgspec.msgpack.encode(tuple(waiting_for)), run_id, seen),
    )
    return connection.changes() == 1


def _dead_owners_token(
    connection: apsw.Connection, run_id: str, is_alive: Callable[[str], bool]
) -> int | None:
    rows = select(
        connection,
        "SELECT owner, token FROM runs JOIN leases USING (token)"
        " WHERE run_id = ? AND finished_at_ns IS NULL",
        (run_id,),
    )
    return None if not rows or is_alive(rows[0][0]) else int(rows[0][1])
