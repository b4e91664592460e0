"""Runs whose owner is dead: taken over by one other owner, or left with a word why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw
import msgspec

from tandem_orchestrator.journal.sqlite.connection import select


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
