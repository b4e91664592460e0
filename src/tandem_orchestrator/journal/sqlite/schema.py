"""The tables, version by version.

``user_version`` says which a file has. A migration is one script in one transaction; a script
that was released is never changed, the next version gets its own. A file of each older version is kept
in the tests.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from tandem_orchestrator.errors import JournalError

APPLICATION_ID = 0x544E444D
"""``TNDM``: tells our files from other SQLite files."""

_VERSION_1 = """
CREATE TABLE leases (
    token INTEGER PRIMARY KEY AUTOINCREMENT,  -- fencing token: only ever grows
    owner TEXT NOT NULL UNIQUE,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    since_ns INTEGER NOT NULL,
    ended_ns INTEGER
) STRICT;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    token INTEGER NOT NULL REFERENCES leases (token),  -- who may append
    command_set_id TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    mode TEXT NOT NULL,
    priority TEXT NOT NULL,
    durability TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL,
    started_at_ns INTEGER,
    finished_at_ns INTEGER,
    duration REAL,
    steps_total INTEGER NOT NULL,
    steps_done INTEGER NOT NULL,
    waiting_for BLOB NOT NULL,                -- MessagePack, list of text
    resumable INTEGER NOT NULL,
    idempotency_key TEXT,
    digest TEXT,                              -- of the request, where there is a key
    records INTEGER NOT NULL,                 -- seq of the newest record
    link BLOB NOT NULL                        -- link of the newest record
) STRICT;
CREATE UNIQUE INDEX runs_key ON runs (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_newest ON runs (created_at_ns, run_id);
CREATE INDEX runs_unfinished ON runs (token) WHERE finished_at_ns IS NULL;

CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id),
    seq INTEGER NOT NULL,                     -- 1, 2, 3, ... in the run
    version INTEGER NOT NULL,                 -- of body and link
    kind TEXT NOT NULL,
    unit TEXT,
    attempt INTEGER,
    at_ns INTEGER NOT NULL,
    link BLOB NOT NULL,                       -- BLAKE2b over the link before and this row
    body BLOB NOT NULL,                       -- the event as MessagePack
    UNIQUE (run, seq)
) STRICT;
CREATE UNIQUE INDEX records_completion ON records (run, unit, attempt)
    WHERE kind = 'attempt_ended';

CREATE TABLE controls (
    n INTEGER PRIMARY KEY,                    -- order of asking
    id TEXT NOT NULL UNIQUE,
    run INTEGER NOT NULL REFERENCES runs (id),
    kind TEXT NOT NULL,
    body BLOB NOT NULL,                       -- MessagePack
    by_whom TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    answer TEXT
) STRICT;
CREATE INDEX controls_waiting ON controls (run) WHERE answer IS NULL;
"""

_VERSION_2 = """
DROP INDEX records_completion;
CREATE UNIQUE INDEX records_completion ON records (run, unit, attempt)
    WHERE kind IN ('attempt_ended', 'segment_ended');
"""
"""A segment has one completion, as an attempt has."""

_VERSION_3 = """
ALTER TABLE controls ADD COLUMN sum BLOB;         -- row_sum of the row; NULL in older rows
ALTER TABLE leases ADD COLUMN sum BLOB;
"""
"""What no chain covers has a sum, so that a changed bit is noticed."""

_VERSION_4 = """
CREATE TABLE schedules (
    name TEXT NOT NULL PRIMARY KEY,
    body BLOB NOT NULL,                       -- what to run and when, as MessagePack
    done_ns INTEGER NOT NULL,                 -- newest occurrence that was decided; only ever grows
    last_run TEXT,                            -- the newest run that it started
    fired INTEGER NOT NULL,                   -- occurrences that became runs
    left_out INTEGER NOT NULL,                -- those that did not, as its policies say
    sum BLOB NOT NULL,                        -- row_sum of the columns above
    claim_ns INTEGER,                         -- the occurrence that is being decided right now
    claim_token INTEGER                       -- by which lease
) STRICT;
CREATE INDEX runs_finished ON runs (finished_at_ns) WHERE finished_at_ns IS NOT NULL;
CREATE INDEX controls_run ON controls (run);
CREATE INDEX records_found ON records (kind) WHERE kind IN ('judged', 'run_accepted');
"""
"""Schedules; what retention and ``find`` need so that they do not walk the file."""

_VERSION_5 = """
CREATE TABLE output_uses (                    -- which run's records name which large outputs
    run INTEGER NOT NULL REFERENCES runs (id),
    digest BLOB NOT NULL,                     -- SHA-256 of its bytes, the name of its file
    bytes INTEGER NOT NULL,
    PRIMARY KEY (run, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX output_uses_digest ON output_uses (digest, bytes);
CREATE TABLE packed_outputs (                 -- those that have no file: of a run that was packed
    digest BLOB NOT NULL PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
"""
"""Large outputs: who names them, so that what nobody names can go."""

_VERSION_6 = """
CREATE INDEX runs_named ON runs (name, created_at_ns, run_id);
CREATE INDEX runs_ended_badly ON runs (status, created_at_ns, run_id)
    WHERE finished_at_ns IS NOT NULL AND status <> 'completed';
"""
"""Runs by name, and the few among many that failed. Those that completed are most of all, and are
found by going through the newest; those that have not ended have ``runs_unfinished``."""

FOUND = "kind IN ('judged', 'run_accepted')"
"""The kinds that ``records_found`` has; a query that says so, in these words, may use it."""

MIGRATIONS: tuple[str, ...] = (
    _VERSION_1,
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
    _VERSION_5,
    _VERSION_6,
)
"""Script ``n`` brings a file from version ``n`` to ``n + 1``."""

SCHEMA_VERSION = len(MIGRATIONS)
"""The version that this program reads and writes."""


def version_of(connection: apsw.Connection, path: Path) -> int:
    """Read which version a file has; 0 for an empty one.

    Raises: JournalError if it is another program's file or was written by a newer Tandem.
    """
    version = int(connection.pragma("user_version"))
    application = int(connection.pragma("application_id"))
    if application not in (0, APPLICATION_ID) or (application == 0 and _has_tables(connection)):
        raise JournalError(
            f"{path} is an SQLite file of another program (application_id {application:#x}); "
            "give the journal a path of its own"
        )
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"journal {path} has version {version} and was written by a newer Tandem; this one "
            f"knows up to version {SCHEMA_VERSION}: update Tandem, or use another journal"
        )
    return version


def _has_tables(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0])


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring a file to ``SCHEMA_VERSION``, each version in one transaction.

    Raises: JournalError as ``version_of``; apsw.Error.
    """
    while (version := version_of(connection, path)) < SCHEMA_VERSION:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            if version_of(connection, path) == version:
                connection.execute(MIGRATIONS[version])
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", version + 1)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
