"""The tables, version by version, in a schema of their own.

``tandem.schema_version`` says which version a database has. A migration is one script; all that
are missing run in one transaction, under a lock that other processes wait for. A script that was
released is never changed, the next version gets its own.
"""

from __future__ import annotations

import psycopg

from tandem_orchestrator.errors import JournalError

SCHEMA = "tandem"
"""Name of the schema; a database holds one journal."""
MIGRATION_LOCK = 0x544E444D
"""``TNDM``: the advisory lock that one process at a time migrates under."""

_VERSION_1 = """
CREATE TABLE leases (
    token bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- fencing token: only ever grows
    owner text COLLATE "C" NOT NULL UNIQUE,
    pid bigint NOT NULL,
    host text NOT NULL,
    since_ns bigint NOT NULL,
    sum bytea NOT NULL,                       -- row_sum of the columns above
    expires_at timestamptz NOT NULL,          -- by the server's clock; renewed by the owner
    batch bigint NOT NULL,                    -- number of the newest batch that was committed
    ended_ns bigint                           -- when it was given back
) WITH (fillfactor = 50);
CREATE INDEX leases_open ON leases (token) WHERE ended_ns IS NULL;

CREATE SEQUENCE run_blocks;                   -- each value stands for BLOCK ids of runs

CREATE TABLE runs (
    id bigint PRIMARY KEY,
    run_id text COLLATE "C" NOT NULL UNIQUE,
    token bigint NOT NULL REFERENCES leases (token),  -- who may append
    command_set_id text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    mode text NOT NULL,
    priority text NOT NULL,
    durability text NOT NULL,
    status text NOT NULL,
    created_at_ns bigint NOT NULL,
    started_at_ns bigint,
    finished_at_ns bigint,
    duration double precision,
    steps_total bigint NOT NULL,
    steps_done bigint NOT NULL,
    waiting_for bytea NOT NULL,               -- MessagePack, list of text
    resumable boolean NOT NULL,
    idempotency_key text COLLATE "C",
    digest text,                              -- of the request, where there is a key
    records bigint NOT NULL,                  -- seq of the newest record
    link bytea NOT NULL,                      -- link of the newest record
    body_bytes bigint NOT NULL                -- bytes of all bodies of its records
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX runs_key ON runs (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_newest ON runs (created_at_ns, run_id);
CREATE INDEX runs_unfinished ON runs (token) WHERE finished_at_ns IS NULL;
CREATE INDEX runs_finished ON runs (finished_at_ns) WHERE finished_at_ns IS NOT NULL;

-- No foreign key: the transaction that inserts holds the lock on the run's row.
CREATE TABLE records (
    run bigint NOT NULL,
    seq bigint NOT NULL,                      -- 1, 2, 3, ... in the run
    at_ns bigint NOT NULL,
    attempt bigint,
    version smallint NOT NULL,                -- of body and link
    kind text COLLATE "C" NOT NULL,
    unit text COLLATE "C",
    link bytea NOT NULL,                      -- BLAKE2b over the link before and this row
    body bytea NOT NULL,                      -- the event as MessagePack
    PRIMARY KEY (run, seq)
);
CREATE UNIQUE INDEX records_completion ON records (run, unit, attempt)
    WHERE kind IN ('attempt_ended', 'segment_ended');
CREATE INDEX records_found ON records (kind, at_ns, run, seq)
    WHERE kind IN ('judged', 'run_accepted');

CREATE TABLE controls (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- order of asking
    id text COLLATE "C" NOT NULL UNIQUE,
    run bigint NOT NULL REFERENCES runs (id),
    kind text NOT NULL,
    body bytea NOT NULL,                      -- MessagePack
    by_whom text NOT NULL,
    at_ns bigint NOT NULL,
    answer text,
    sum bytea NOT NULL                        -- row_sum of the row
);
CREATE INDEX controls_run ON controls (run);
CREATE INDEX controls_waiting ON controls (n) WHERE answer IS NULL;

CREATE TABLE schedules (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    body bytea NOT NULL,                      -- what to run and when, as MessagePack
    done_ns bigint NOT NULL,                  -- newest occurrence that was decided; only ever grows
    last_run text,                            -- the newest run that it started
    fired bigint NOT NULL,                    -- occurrences that became runs
    left_out bigint NOT NULL,                 -- those that did not, as its policies say
    sum bytea NOT NULL,                       -- row_sum of the columns above
    claim_ns bigint,                          -- the occurrence that is being decided right now
    claim_token bigint                        -- by which lease
);
"""

MIGRATIONS: tuple[str, ...] = (_VERSION_1,)
"""Script ``n`` brings a database from version ``n`` to ``n + 1``."""

SCHEMA_VERSION = len(MIGRATIONS)
"""The version that this program reads and writes."""

FOUND = "kind IN ('judged', 'run_accepted')"
"""The kinds that ``records_found`` has; a query that says so, in these words, may use it."""

BLOCK = 1024
"""Ids of runs that one value of ``run_blocks`` stands for."""


def version_of(connection: psycopg.Connection) -> int:
    """Read which version a database has; 0 where there is none of our tables.

    Raises: JournalError if the schema ``tandem`` holds another program's tables.
    """
    if has_table(connection, "schema_version"):
        rows = connection.execute("SELECT max(version) FROM tandem.schema_version").fetchall()
        return int(rows[0][0] or 0)
    if has_table(connection, "runs") or has_table(connection, "records"):
        raise JournalError(
            f"the schema '{SCHEMA}' of this database holds another program's tables; give the "
            "journal a database of its own"
        )
    return 0


def has_table(connection: psycopg.Connection, name: str) -> bool:
    """Tell whether the schema has a table."""
    # Asked of the catalogue itself: ``to_regclass`` may answer from what the session remembers, of
    # before it waited for whoever migrates.
    rows = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n"
        " ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        (SCHEMA, name),
    ).fetchall()
    return bool(rows)


def require_known(version: int) -> None:
    """Refuse tables of a version that this program does not know.

    Raises: JournalError.
    """
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"the tables have version {version} and were made by a newer Tandem; this one knows "
            f"up to version {SCHEMA_VERSION}: update Tandem, or use another database"
        )


def migrate(connection: psycopg.Connection) -> None:
    """Bring a database to ``SCHEMA_VERSION``; one process at a time, all or nothing.

    Raises: JournalError as ``version_of`` and ``require_known``; psycopg.Error.
    """
    version = version_of(connection)
    require_known(version)
    if version == SCHEMA_VERSION:
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        version = version_of(connection)  # whoever had the lock before may have done it
        require_known(version)
        if version == 0:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            connection.execute(
                "CREATE TABLE tandem.schema_version"
                " (version bigint PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())"
            )
        for number in range(version, SCHEMA_VERSION):
            connection.execute(MIGRATIONS[number])
            connection.execute(
                "INSERT INTO tandem.schema_version (version) VALUES (%s)", (number + 1,)
            )
