"""Connections: how a session with the server begins, and what the server's errors mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.postgres.arrays import register_arrays
from tandem_orchestrator.journal.postgres.schema import SCHEMA
from tandem_orchestrator.settings.places import shown_place, without_password

SERVER_OLDEST = 13_00_00
"""The oldest server that is still looked after by its makers and known to do."""
CONNECT_WAIT_S = 10
"""How long one try to connect may take, where the URL does not say."""

_BACK = "a journal that is open goes on when it is back; nothing acknowledged is lost"

_SETTINGS = {
    # libpq's own: a peer that is gone without a word is noticed within half a minute.
    "connect_timeout": CONNECT_WAIT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and how it may be shown."""

    url: str
    """May hold a password: never shown."""

    def __str__(self) -> str:
        return shown_place(self.url)

    def __repr__(self) -> str:
        return f"Place({self})"

    def error(self, error: BaseException, doing: str) -> JournalError:
        """Say in one line what an error means for the journal and what to do about it."""
        if isinstance(error, JournalError) and str(error).startswith("journal "):
            return error
        said = " ".join(without_password(str(error), self.url).split())
        name = "" if isinstance(error, JournalError) else f"{type(error).__name__}: "
        advice = "" if isinstance(error, JournalError) else f"; {_advice(error)}"
        return JournalError(f"journal {self}: {doing}: {name}{said}{advice}")


def _advice(error: BaseException) -> str:
    text = str(error)
    match error:
        case (
            pg.DiskFull() | pg.OutOfMemory() | pg.TooManyConnections() | pg.InsufficientResources()
        ):
            return f"the server is full; make room: {_BACK}"
        case pg.InvalidPassword() | pg.InvalidAuthorizationSpecification():
            return _ACCESS
        case pg.InvalidCatalogName():
            return _NO_DATABASE
        case pg.InsufficientPrivilege():
            return (
                "the role needs CREATE on the database to make the schema, or all rights on the "
                "schema 'tandem'"
            )
        case pg.ReadOnlySqlTransaction():
            return f"this server only reads; name the one that writes (or wait): {_BACK}"
        case pg.LockNotAvailable() | pg.QueryCanceled():
            return "another session holds what is needed; see pg_stat_activity"
        # libpq reports a refused connection without a code: its words are all there is.
        case psycopg.OperationalError() if "authentication failed" in text or "password" in text:
            return _ACCESS
        case psycopg.OperationalError() if "does not exist" in text:
            return _NO_DATABASE
        case _ if comes_back(error):
            return f"the server is away; {_BACK}"
    return "nothing more is acknowledged; open the journal again to read what is there"


_ACCESS = "check user and password (PGPASSWORD, ~/.pgpass or the URL) and the server's pg_hba.conf"
_NO_DATABASE = "make the database and the role first (createdb, createuser)"


def comes_back(error: BaseException) -> bool:
    """Tell whether the same may work later: the server is away, full, or it broke a tie."""
    return isinstance(
        error,
        psycopg.OperationalError
        | psycopg.InterfaceError
        | pg.IdleInTransactionSessionTimeout
        | pg.ReadOnlySqlTransaction,
    )


POINT_PLANS = {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off"}
"""Of a session that only ever touches rows by their keys: a table that is new has no statistics, and
the planner would read all of it for each batch."""


def connect(
    place: Place,
    *,
    application: str,
    lock_wait_s: float,
    idle_s: float,
    options: Mapping[str, str] | None = None,
) -> psycopg.Connection[Any]:
    """Open a session: autocommit, UTF-8, our schema, and a limit on every wait.

    Args:
        application: What ``pg_stat_activity`` shows, beside its owner.
        lock_wait_s: How long a statement waits for another session's lock.
        idle_s: After this long between two statements of a transaction the server ends the
            session, so that a stopped process cannot keep its locks.
        options: More settings of the session.

    Raises: psycopg.Error; JournalError where the server or its database will not do.
    """
    given = _read_url(place)
    asked = {**_SETTINGS, **given, "client_encoding": "utf8", "application_name": application[:63]}
    connection = psycopg.connect(make_conninfo("", **asked), autocommit=True)
    try:
        _set_up(connection, lock_wait_s, idle_s, options or {})
        register_arrays(connection)
    except BaseException:
        connection.close()
        raise
    return connection


# Any: numbers and texts.
def _read_url(place: Place) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(place.url))
    except psycopg.Error as error:
        unreadable = place.error(error, "this URL cannot be read")
    raise unreadable  # not inside the handler: what libpq says holds the URL, and would be kept


def _set_up(
    connection: psycopg.Connection[Any],
    lock_wait_s: float,
    idle_s: float,
    options: Mapping[str, str],
) -> None:
    rows = connection.execute(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),"
        " current_setting('synchronous_commit')"
    ).fetchall()
    version, encoding, commits = rows[0]
    if version < SERVER_OLDEST:
        raise JournalError(
            f"the server has version {version / 10_000:.0f}; PostgreSQL "
            f"{SERVER_OLDEST // 10_000} or newer is needed"
        )
    if encoding != "UTF8":
        raise JournalError(f"the database has the encoding {encoding}; UTF8 is needed")
    wanted = {
        "search_path": f"{SCHEMA}, pg_catalog",
        "lock_timeout": str(max(1, round(lock_wait_s * 1000))),
        "statement_timeout": str(round(lock_wait_s * 1000) + 60_000),
        "idle_in_transaction_session_timeout": str(max(1, round(idle_s * 1000))),
        "jit": "off",  # no statement here is long enough to be worth it
        # A server may be set up to answer before the flush; an acknowledgement of ours may not.
        **({"synchronous_commit": "on"} if commits == "off" else {}),
        **options,
    }
    asked = ", ".join(["set_config(%s, %s, false)"] * len(wanted))
    connection.execute(
        f"SELECT {asked}",
        [text for pair in wanted.items() for text in pair],
    )


# Any: what a column holds is known to whoever wrote the query.
def select(
    connection: psycopg.Connection[Any], query: str, values: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """Give all rows of a query, bytes as bytes."""
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(query, values).fetchall()


def change(connection: psycopg.Connection[Any], statement: str, values: Sequence[Any] = ()) -> int:
    """Carry out a statement; gives the number of rows that it concerned."""
    with connection.cursor() as cursor:
        return cursor.execute(statement, values).rowcount


@contextmanager
def snapshot(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Let several queries see one state of the database."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    except BaseException:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


DAMAGED = (ValueError, TypeError, msgspec.MsgspecError)
"""What reading raises where a row holds what no writer of ours wrote."""

Connect = Callable[[], "psycopg.Connection[Any]"]
"""Opens a session; raises as ``connect``."""
