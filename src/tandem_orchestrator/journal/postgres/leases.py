"""Leases that end by the server's clock, and whose runs are whose.

An owner is alive while its lease has not run out and was not given back. That an owner pauses and
wakes up after its lease ran out does no harm: what it writes is fenced by the token of each run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.chain import row_sum
from tandem_orchestrator.journal.journal import Owner
from tandem_orchestrator.journal.postgres.arrays import Texts
from tandem_orchestrator.journal.postgres.connection import change, select
from tandem_orchestrator.journal.postgres.draft import encoded_names

LIVES = "(leases.ended_ns IS NULL AND leases.expires_at > clock_timestamp())"
"""Whether the owner of a row of ``leases`` is alive, as SQL."""

_DEAD_OWNER = f"""
token = (SELECT runs.token FROM runs JOIN leases USING (token)
         WHERE run_id = %s AND NOT {LIVES})
"""  # noqa: S608 - a constant
_OF_THE_DEAD = f"WHERE run_id = %s AND finished_at_ns IS NULL AND {_DEAD_OWNER}"
_TAKE_OVER = f"UPDATE runs SET token = %s, waiting_for = %s {_OF_THE_DEAD}"  # noqa: S608
_NOTE = f"UPDATE runs SET waiting_for = %s {_OF_THE_DEAD}"  # noqa: S608


class Living:
    """Who was alive when last looked at; read on the loop, written on any thread."""

    def __init__(self) -> None:
        self._owners: Mapping[str, bool] = {}

    def replace(self, owners: Iterable[str]) -> None:
        """Take in all who live."""
        self._owners = dict.fromkeys(owners, True)

    def note(self, owners: Mapping[str, bool]) -> None:
        """Take in how some are."""
        self._owners = {**self._owners, **owners}

    def has(self, owner: str) -> bool:
        """Tell whether an owner was alive then."""
        return self._owners.get(owner, False)


def insert_lease(
    connection: psycopg.Connection[Any], owner: str, now_ns: int, lease_s: float
) -> int:
    """Write the lease of this process's ``owner``; gives its token. Raises: JournalError."""
    row = (owner, os.getpid(), socket.gethostname(), now_ns)
    rows = select(
        connection,
        "INSERT INTO leases (owner, pid, host, since_ns, sum, expires_at, batch)"
        " VALUES (%s, %s, %s, %s, %s, clock_timestamp() + %s * interval '1 second', 0)"
        " ON CONFLICT (owner) DO NOTHING RETURNING token",
        (*row, row_sum(*row), lease_s),
    )
    if not rows:
        raise JournalError(f"owner {owner} had a lease before; an id is for one opening")
    return int(rows[0][0])


def end_lease(connection: psycopg.Connection[Any], *, token: int, now_ns: int) -> None:
    """Note that a lease was given back."""
    change(connection, "UPDATE leases SET ended_ns = %s WHERE token = %s", (now_ns, token))


def renew(connection: psycopg.Connection[Any], token: int, lease_s: float) -> list[str]:
    """Let a lease hold on; gives the owners that are alive.

    Raises: JournalError if it was ended by somebody else, or is not there any more.
    """
    renewed = change(
        connection,
        "UPDATE leases SET expires_at = clock_timestamp() + %s * interval '1 second'"
        " WHERE token = %s AND ended_ns IS NULL",
        (lease_s, token),
    )
    if renewed != 1:
        raise JournalError(f"lease {token} was ended by somebody else, or is not there any more")
    return living(connection)


def living(connection: psycopg.Connection[Any]) -> list[str]:
    """List the owners that are alive."""
    return [owner for (owner,) in select(connection, f"SELECT owner FROM leases WHERE {LIVES}")]  # noqa: S608


def keep_runs(
    connection: psycopg.Connection[Any], old: int, new: int, left_behind: Iterable[str], now_ns: int
) -> None:
    """Give the unfinished runs of one lease to another and end the first, but for some runs."""
    change(
        connection,
        "UPDATE runs SET token = %s WHERE token = %s AND finished_at_ns IS NULL"
        " AND run_id <> ALL(%s)",
        (new, old, Texts(sorted(left_behind))),
    )
    end_lease(connection, token=old, now_ns=now_ns)


def leave_runs(
    connection: psycopg.Connection[Any], mine: int, old: int, run_ids: Iterable[str]
) -> None:
    """Leave runs to the lease they had before, after all."""
    change(
        connection,
        "UPDATE runs SET token = %s WHERE token = %s AND finished_at_ns IS NULL"
        " AND run_id = ANY(%s)",
        (old, mine, Texts(sorted(run_ids))),
    )


def take_over(connection: psycopg.Connection[Any], run_id: str, token: int) -> bool:
    """Give a dead owner's unfinished run to the lease ``token``; False if it was not so.

    One statement, fenced by the token that was seen: of two that try, one succeeds. It waits for
    what the old owner is committing; whatever that one sends later is refused.
    """
    return change(connection, _TAKE_OVER, (token, encoded_names(()), run_id, run_id)) == 1


def take_ended(connection: psycopg.Connection[Any], run_id: str, token: int) -> bool:
    """Give a run that has ended to the lease ``token``, so that it can go on; False if it has not."""
    taken = change(
        connection,
        "UPDATE runs SET token = %s WHERE run_id = %s AND finished_at_ns IS NOT NULL",
        (token, run_id),
    )
    return taken == 1


def note_waiting(
    connection: psycopg.Connection[Any], run_id: str, waiting_for: Sequence[str]
) -> bool:
    """Note what a dead owner's unfinished run waits for; False if it was not so."""
    return change(connection, _NOTE, (encoded_names(waiting_for), run_id, run_id)) == 1


def read_owners(connection: psycopg.Connection[Any]) -> list[Owner]:
    """List owners that are alive or have runs that have not ended."""
    rows = select(
        connection,
        f"SELECT owner, token, pid, host, since_ns, {LIVES} FROM leases"  # noqa: S608
        f" WHERE {LIVES} OR EXISTS (SELECT 1 FROM runs"
        "  WHERE runs.token = leases.token AND finished_at_ns IS NULL) ORDER BY token",
    )
    return [Owner(*row) for row in rows]
