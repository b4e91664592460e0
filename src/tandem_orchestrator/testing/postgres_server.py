"""A PostgreSQL server of one's own for tests: in a new folder, on a Unix socket, gone afterwards.

Needs the server's programs (Debian: ``apt-get install postgresql``), no cluster that runs already, and
no rights: root runs it as another user, since the server refuses root. ``fsync`` stays on. If the
process (the thread, to be exact) that started it dies, the server ends as well.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

START_WAIT_S = 20.0
_POLL_S = 0.01
_PR_SET_PDEATHSIG = 1
_USERS = ("postgres", "nobody")
"""Who runs it where we are root."""
_OPTIONS = {
    "fsync": "on",
    "listen_addresses": "",
    "max_connections": "120",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_min_messages": "warning",
}


def postgres_programs() -> Path | None:
    """Give the folder with ``initdb`` and ``postgres``, the newest there is; None if there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found is not None else []
    versions = Path("/usr/lib/postgresql")  # where Debian puts them, and not into PATH
    if versions.is_dir():
        numbered = [each for each in versions.iterdir() if each.name.isdigit()]
        folders += [each / "bin" for each in sorted(numbered, key=lambda each: -int(each.name))]
    for folder in folders:
        if all((folder / name).is_file() for name in ("initdb", "postgres")):
            return folder
    return None


class PostgresServer:
    """One server with one cluster, from ``start`` to ``remove``.

    Raises: FileNotFoundError if there are no programs of PostgreSQL.
    """

    def __init__(self) -> None:
        programs = postgres_programs()
        if programs is None:
            raise FileNotFoundError("no initdb and postgres: apt-get install postgresql")
        self._programs = programs
        self._user = _user_to_be()
        # Not below a folder that only we may enter: another user has to reach it.
        self._folder = Path(tempfile.mkdtemp(prefix="tandem-pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        try:
            self._run(
                "initdb", "-D", str(self._folder / "data"), "-U", "tandem", "--auth=trust",
                "--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions",
            )  # fmt: skip
        except BaseException:
            self.remove()
            raise

    @property
    def pid(self) -> int | None:
        """Of the first of its processes, which started the others; None while it is down."""
        return None if self._process is None else self._process.pid

    @property
    def data(self) -> Path:
        """The cluster's folder: ``pg_hba.conf`` and ``postgresql.conf`` are there."""
        return self._folder / "data"

    @property
    def log(self) -> str:
        """What it said so far."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def url(self, database: str = "postgres", user: str = "tandem", password: str = "") -> str:
        """Give the URL of a database."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={quote(str(self._folder), safe='')}"

    def start(self) -> None:
        """Start it, and wait until it answers; it ends with the thread that calls this.

        Raises: RuntimeError with its log if it does not answer.
        """
        options = [f"-c{name}={value}" for name, value in _OPTIONS.items()]
        give_up_at = time.monotonic() + START_WAIT_S
        while True:
            self._process = self._popen(
                "postgres", "-D", str(self.data), "-k", str(self._folder), *options
            )
            while self._process.poll() is None and time.monotonic() < give_up_at:
                if self._answers():
                    return
                time.sleep(_POLL_S)
            self.stop(signal.SIGKILL)
            # Processes of one that was killed may still hold its memory, for a moment.
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"PostgreSQL did not start: {self.log[-2000:]}")
            time.sleep(_POLL_S * 10)

    def stop(self, by: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT in good order, SIGQUIT at once and without order, SIGKILL by a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(by)
        try:
            process.wait(START_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(START_WAIT_S)

    def remove(self) -> None:
        """End it and remove its folder; what is in it need not be brought into order."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_database(self) -> str:
        """Make an empty database; gives its URL."""
        self._databases += 1
        name = f"journal_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def empty(self) -> None:
        """Take the journal out of the first database, and end the sessions in it."""
        self.execute(
            "DO $$ BEGIN"
            " PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            "  WHERE datname = current_database() AND pid <> pg_backend_pid();"
            " DROP SCHEMA IF EXISTS tandem CASCADE; END $$"
        )

    def execute(self, statement: str, url: str | None = None) -> None:
        """Carry out one statement in a session of its own."""
        import psycopg

        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            # No text that comes from outside gets here: tests write it.
            connection.execute(statement.encode())

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        user = self._user
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self._programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
                process_group=0,  # an interrupt in the terminal is for us
                preexec_fn=_end_with_parent,
            )

    def _run(self, program: str, *arguments: str) -> None:
        process = self._popen(program, *arguments)
        if process.wait(60) != 0:
            raise RuntimeError(f"{program} failed: {self.log[-2000:]}")


def _user_to_be() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"root cannot run PostgreSQL, and there is no user {' or '.join(_USERS)}")


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
