"""Connections: how a journal file is made, opened, and what its errors mean."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.lease import lease_folder
from tandem_orchestrator.journal.sqlite.log_tail import COMMITS_TORN_MAX, unread_commits
from tandem_orchestrator.journal.sqlite.schema import SCHEMA_VERSION, migrate, version_of

SQLITE_OLDEST = (3, 51, 3)
"""The first without the bug that can corrupt a WAL when it is reset."""

_SETUP_WAIT_S = 30.0
_SETUP_POLL_S = 0.01
_WAL_BYTES_KEPT = 64 * 2**20


def require_sqlite(version: str) -> None:
    """Refuse an SQLite that can corrupt its own write-ahead log.

    Raises: JournalError naming the version found and the one needed.
    """
    if tuple(int(part) for part in version.split(".")) < SQLITE_OLDEST:
        oldest = ".".join(map(str, SQLITE_OLDEST))
        raise JournalError(
            f"SQLite {version} can corrupt a journal when its log is reset; {oldest} or newer is "
            "needed: install apsw from its wheel, which carries its own SQLite"
        )


def journal_error(path: Path, error: BaseException, doing: str) -> JournalError:
    """Say what an SQLite error means for the journal and what to do about it."""
    match error:
        case JournalError():
            return error
        case (
            apsw.NotADBError()
            | apsw.CorruptError()
            | apsw.FormatError()
            | ValueError()
            | TypeError()
            | msgspec.MsgspecError()
        ):
            advice = (
                "the file is damaged; keep a copy of it with its -wal file, then move it "
                "away to start a new one"
            )
        case _ if means_full(error):
            advice = "the disk is full; make room: a journal that is open goes on then"
        case apsw.BusyError() | apsw.LockedError():
            advice = "another process holds the file; see who with `fuser`, then open it again"
        case (
            apsw.ReadOnlyError()
            | apsw.PermissionsError()
            | apsw.CantOpenError()
            | PermissionError()
            | NotADirectoryError()
            | FileNotFoundError()
            | FileExistsError()
            | OSError(errno=errno.EROFS | errno.ELOOP)
        ):
            advice = "it must be a file in a folder that this user may write"
        case _:
            advice = "nothing more is acknowledged; open the journal again to read what is there"
    return JournalError(f"journal {path}: {doing}: {type(error).__name__}: {error}; {advice}")


def means_full(error: BaseException) -> bool:
    """Tell whether something failed for want of room alone."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # SHMSIZE is what SQLite says when there is no room for the index of its log.
    code = getattr(error, "extendedresult", None)
    return isinstance(error, apsw.FullError) or code == apsw.SQLITE_IOERR_SHMSIZE


def make_file(path: Path) -> None:
    """Make the journal's file, readable by its user alone, where there is none; and its folder."""
    folder = path.parent
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
    folder_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_descriptor)  # else a power cut could take the name with all acknowledged
    finally:
        os.close(folder_descriptor)


def prepare(path: Path, vfs: str | None) -> None:
    """Make or migrate the file, one process at a time.

    Raises: JournalError naming the file and what to do.
    """
    require_sqlite(apsw.sqlite_lib_version())
    try:
        make_file(path)
        folder = lease_folder(path)
        folder.mkdir(mode=0o700, exist_ok=True)
        with alone(folder / "setup.lock"):
            connection = connect_writer(path, vfs, _SETUP_WAIT_S)
            try:
                version = version_of(connection, path)
                _refuse_a_damaged_log(connection, path)
                if version < SCHEMA_VERSION:
                    migrate(connection, path)
                # Read one row of each table: a damaged file shows now, not at the first run.
                for table in (
                    *("leases", "runs", "records", "controls", "schedules"),
                    *("output_uses", "packed_outputs"),
                ):
                    select(connection, f"SELECT * FROM {table} LIMIT 1")  # noqa: S608
            finally:
                connection.close()
    except (apsw.Error, OSError, UnicodeDecodeError) as error:
        raise journal_error(path, error, "cannot open it") from error


def _refuse_a_damaged_log(connection: apsw.Connection, path: Path) -> None:
    unread = unread_commits(connection, path)
    if unread > COMMITS_TORN_MAX:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # else it would be gone
        raise JournalError(
            f"journal {path}: cannot open it: its log (-wal) was changed or damaged, and what was "
            "written after that cannot be read; the file is damaged; keep a copy of it with its "
            "-wal file, then move it away to start a new one, or let 'tandem journal repair' keep "
            "what stands before the damage"
        )
    if unread:
        # Of a commit that a crash tore: a new log has new salts, and no trace of it.
        with suppress(apsw.BusyError, apsw.LockedError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a file lock, so that processes that start together do not race to set up the file."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + _SETUP_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise JournalError(
                        f"{lock} was locked for {_SETUP_WAIT_S:.0f} s: another process hangs "
                        "while it sets up the journal"
                    ) from None
                time.sleep(_SETUP_POLL_S)
        yield
    finally:
        os.close(descriptor)


def connect_writer(path: Path, vfs: str | None, lock_wait_s: float) -> apsw.Connection:
    """Open the connection that writes: WAL, and a commit returns after its fsync.

    It checkpoints only when told to, so that a commit never pays for it.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    try:
        connection.set_busy_handler(waits_for(lock_wait_s))
        if connection.pragma("journal_mode") != "wal":
            version_of(connection, path)  # never turn another program's file into a WAL file
            # Counts in a file that has no page yet; an older file keeps its size (see the docs).
            connection.pragma("auto_vacuum", "incremental")
            mode = connection.pragma("journal_mode", "wal")
            if mode != "wal":
                raise JournalError(f"journal {path}: this file system allows no WAL ({mode})")
        connection.pragma("synchronous", "full")
        connection.pragma("journal_size_limit", _WAL_BYTES_KEPT)
        connection.pragma("foreign_keys", 1)
        connection.wal_autocheckpoint(0)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, vfs: str | None) -> apsw.Connection:
    """Open a connection that only reads."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    connection.set_busy_handler(waits_for(5.0))
    return connection


def waits_for(lock_wait_s: float) -> Callable[[int], bool]:
    """Make a busy handler that tries again, at random moments, for ``lock_wait_s`` seconds.

    SQLite's own waits in fixed steps of up to 100 ms, which starves a process now and then when
    eight of them write short batches.
    """
    began = 0.0

    def handler(tries: int) -> bool:
        nonlocal began
        now = time.monotonic()
        if tries == 0:
            began = now
        time.sleep(random.uniform(0.0002, min(0.001 * (tries + 1), 0.01)))  # noqa: S311
        return now - began < lock_wait_s

    return handler


def select(
    connection: apsw.Connection, query: str, values: Sequence[apsw.SQLiteValue] = ()
) -> list[tuple[Any, ...]]:
    """Give all rows of a query. What a column holds is known to whoever wrote the query."""
    return connection.execute(query, values).fetchall()
