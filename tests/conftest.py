"""What holds for every test: a home of its own, a limit on time, nothing left behind.

Warnings are errors and 60 s is the limit (pyproject.toml); a test that needs more says so with
``@pytest.mark.timeout``. Nothing a test does may reach the user's journal, configuration or
runtime directory, and nothing it starts may outlive it.
"""

import os
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tandem_orchestrator.testing.postgres_server import PostgresServer, postgres_programs

CHILD_GRACE_S = 3.0
"""How long a child process may take to leave after its test."""
FDS_KEPT_MAX = 8
"""File descriptors that one test may leave open: pools and caches, not leaks."""


def pytest_configure(config: pytest.Config) -> None:
    """Give hypothesis no deadline per example, and in CI the same examples in every run.

    A shell starts what it puts into the background with interrupts ignored, and children would
    inherit that: tests of interrupts need them as they are in a terminal.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if find_spec("hypothesis") is None:
        return
    from hypothesis import settings

    settings.register_profile("tandem", deadline=None)
    settings.register_profile("ci", settings.get_profile("tandem"), derandomize=True)
    settings.load_profile("ci" if os.environ.get("CI") == "true" else "tandem")


def native_is_here() -> bool:
    """Say whether the installed package holds the C layer."""
    spec = find_spec("tandem_orchestrator")
    if spec is None or not spec.submodule_search_locations:
        return False
    return any(
        Path(place, "_native", "bin", "agent_bridge").is_file()
        for place in spec.submodule_search_locations
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the C layer where there is none; in CI let it fail instead."""
    if native_is_here() or os.environ.get("CI") == "true":
        return
    reason = "the C layer is not installed here"
    for item in items:
        if item.get_closest_marker("native"):
            item.add_marker(pytest.mark.skip(reason=reason))


servers: list[PostgresServer] = []
"""The session's PostgreSQL server, once a test asked for it."""


@pytest.fixture(scope="session")
def postgres_here() -> None:
    """Skip where there is no PostgreSQL; in CI let the test fail instead."""
    is_here = postgres_programs() is not None and find_spec("psycopg") is not None
    if not is_here and os.environ.get("CI") != "true":
        pytest.skip("PostgreSQL or psycopg is not installed here: tools/setup dev says why")


@pytest.fixture(scope="session")
def postgres_server(postgres_here: None) -> Iterator[PostgresServer]:
    """Run a PostgreSQL server for the session, started when the first test needs it."""
    server = PostgresServer()
    servers.append(server)
    server.start()
    yield server
    servers.remove(server)
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Give the URL of an empty database; the same one each time, since making one takes a second."""
    yield postgres_server.url()
    postgres_server.empty()


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a home, state, configuration and runtime directory of its own, all empty."""
    # Short, because a Unix socket's path may have 107 bytes at most.
    home = tmp_path_factory.mktemp("h")
    for variable in [name for name in os.environ if name.startswith("TANDEM_")]:
        if variable != "TANDEM_NATIVE_TOOLS":
            monkeypatch.delenv(variable)
    for variable, folder in {
        "HOME": ".",
        "XDG_STATE_HOME": "state",
        "XDG_CONFIG_HOME": "config",
        "XDG_CACHE_HOME": "cache",
        "XDG_RUNTIME_DIR": "run",
    }.items():
        (home / folder).mkdir(mode=0o700, exist_ok=True)
        monkeypatch.setenv(variable, str(home / folder))
    return home


def children() -> set[int]:
    """Return the pids of this process's children that are alive, on Linux; elsewhere nothing."""
    found = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found |= {int(pid) for pid in listing.read_text().split()}
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended between the two calls
    return found


def is_helper(pid: int) -> bool:
    """Say whether a child is of multiprocessing, which keeps it, or the session's PostgreSQL."""
    if any(pid == server.pid for server in servers):
        return True
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True  # gone
    return (
        b"multiprocessing.resource_tracker" in command or b"multiprocessing.forkserver" in command
    )


def open_fds() -> int:
    """Count this process's open file descriptors, on Linux; elsewhere 0."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.fixture(autouse=True)
def nothing_is_left(own_home: Path) -> Iterator[None]:
    """Fail a test that leaves a child process, or more than a few file descriptors, behind."""
    children_before, fds_before = children(), open_fds()
    yield
    give_up_at = time.monotonic() + CHILD_GRACE_S
    while left := {pid for pid in children() - children_before if not is_helper(pid)}:
        if time.monotonic() > give_up_at:
            commands = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in left]
            pytest.fail(f"left behind after {CHILD_GRACE_S} s: {commands}", pytrace=False)
        time.sleep(0.01)  # waiting for the kernel, not for our code: no clock to move
    kept = open_fds() - fds_before
    if kept > FDS_KEPT_MAX:
        pytest.fail(f"{kept} more file descriptors open than before the test", pytrace=False)
