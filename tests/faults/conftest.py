"""A bridge of one's own, watched from outside: its log, descriptors, memory, threads, CPU time."""

import importlib.resources
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native import find_native_files
from tandem_orchestrator.layers.native.environment import child_environment

UNDER_TEST = os.environ.get("TANDEM_BRIDGE_UNDER_TEST", "")
"""Another ``agent_bridge`` to try, as one built with sanitizers; of the same sources."""
SANITIZERS = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
WAIT_S = 20.0
RSS_KEPT_MAX_KB = 4096
"""What a heap may keep after a hostile peer; a session of the first kind has 4 MiB of rings."""

BECOME_NOBODY = """
import array, mmap, os, socket, struct, sys, threading, time
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
"""
END_WITH_US = """
import threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
"""


def nobodys_python() -> list[str]:
    """The start of a command that runs Python source, which then becomes uid 65534."""
    if os.geteuid() == 0:
        return [sys.executable, "-I", "-c"]
    sudo = shutil.which("sudo")
    if (
        sudo
        and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return [sudo, "-n", sys.executable, "-I", "-c"]
    reason = "needs root, or sudo without a password, to become another uid"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class WatchedBridge:
    """A real bridge, started by hand, and a good client that was there before."""

    def __init__(self, folder: Path, *options: str, fds_max: int = 0) -> None:
        """Start it and wait until it listens."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self.socket_path = folder / "bridge.sock"
        self.log_path = folder.parent / f"{folder.name}.log"
        ready, ready_write = os.pipe()
        program = UNDER_TEST or str(find_native_files().bridge_path)
        command = [program, "--socket", str(self.socket_path), "--ready-fd", str(ready_write)]
        if fds_max:
            command = ["prlimit", f"--nofile={fds_max}", *command]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *options],
                env=child_environment(os.environ) | SANITIZERS,
                pass_fds=[ready_write],
                stderr=log,
            )
        os.close(ready_write)
        assert os.read(ready, 100) == b"ready\n", self.log
        os.close(ready)
        from tandem_orchestrator._native import _ext

        self.ext = _ext
        self.client = _ext.Client(str(self.socket_path), "good", WAIT_S, 2000)
        self.echo_with(self.client)
        self.before = self.fds(), self.threads(), self.rss_kb()

    @property
    def build_id(self) -> str:
        """What HELLO must name."""
        return str(self.ext.BUILD_ID)

    @property
    def log(self) -> str:
        """Everything it said."""
        return self.log_path.read_text(errors="replace")

    def proc(self, name: str) -> Path:
        """A file of its folder in /proc."""
        return Path(f"/proc/{self.process.pid}/{name}")

    def fds(self) -> int:
        """Count its open descriptors."""
        return len(list(self.proc("fd").iterdir()))

    def threads(self) -> int:
        """Count its threads."""
        return len(list(self.proc("task").iterdir()))

    def rss_kb(self) -> int:
        """Read its resident memory."""
        found = re.search(r"VmRSS:\s+(\d+)", self.proc("status").read_text())
        assert found
        return int(found[1])

    def cpu_s(self) -> float:
        """Read the CPU time it has used."""
        words = self.proc("stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def echo_with(self, client, body: bytes = b"\xa2hi") -> float:
        """One round trip through the built-in echo; returns its seconds."""
        ids = {(row[0], row[1]): row[3] for row in client.actions()}
        began = time.perf_counter()
        call_id = client.call(ids["system", "echo"], body)
        give_up_at = time.monotonic() + WAIT_S
        while True:
            assert time.monotonic() < give_up_at, f"no echo within {WAIT_S} s: {self.log}"
            client.wait(0.1)
            for found, status, _, _, came in client.drain(1000)[0]:
                if found == call_id:
                    assert (status, came) == (0, body)
                    return time.perf_counter() - began

    def serves(self) -> None:
        """The client from before is served, and so is one that comes now."""
        self.echo_with(self.client)
        newcomer = self.ext.Client(str(self.socket_path), "newcomer", WAIT_S, 2000)
        try:
            self.echo_with(newcomer)
        finally:
            newcomer.close()

    def eventually(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for the other process: there is no clock of ours to move."""
        give_up_at = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}\n{self.log}"
            assert self.process.poll() is None, self.log
            time.sleep(0.002)

    def said(self, text: str) -> None:
        """Wait until its log holds a line that matches."""
        self.eventually(lambda: re.search(text, self.log) is not None, f"a log line: {text}")

    def is_unhurt(self, *, rss_kept_max_kb: int = RSS_KEPT_MAX_KB) -> None:
        """It serves, and has the descriptors, threads and memory it had before."""
        assert self.process.poll() is None, self.log
        self.serves()
        fds, threads, rss_kb = self.before
        self.eventually(lambda: self.fds() == fds, f"fds back to {fds}, now {self.fds()}")
        assert self.threads() == threads
        if not UNDER_TEST:  # a sanitizer keeps what was freed
            self.eventually(
                lambda: self.rss_kb() <= rss_kb + rss_kept_max_kb,
                f"memory back to {rss_kb} kB, now {self.rss_kb()} kB",
            )

    def stop(self) -> None:
        """End it, and see that it ended well: a sanitizer's finding is an exit code."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(WAIT_S)
        assert code == 0, self.log
        for finding in ("AddressSanitizer", "LeakSanitizer", "runtime error", "timed look"):
            assert finding not in self.log, self.log


@pytest.fixture
def start_bridge(own_home: Path) -> Iterator[Callable[..., WatchedBridge]]:
    """Start bridges with options; each must end well."""
    started: list[WatchedBridge] = []

    def start(*options: str, fds_max: int = 0, folder: Path | None = None) -> WatchedBridge:
        folder = folder or own_home / "run" / f"b{len(started)}"
        started.append(WatchedBridge(folder, *options, fds_max=fds_max))
        return started[-1]

    yield start
    for bridge in started:
        try:
            bridge.stop()
        finally:
            bridge.process.kill()
            bridge.process.wait(WAIT_S)


@pytest.fixture
def watched(start_bridge: Callable[..., WatchedBridge]) -> WatchedBridge:
    """A bridge with the usual settings."""
    return start_bridge()


@pytest.fixture
def as_nobody() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run Python source under uid 65534; needs root or sudo, which CI has."""

    def run(source: str) -> subprocess.CompletedProcess[str]:
        # The interpreter may lie where only we can read, so it becomes nobody once it runs.
        return subprocess.run(
            [*nobodys_python(), BECOME_NOBODY + source],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
            cwd="/",
        )

    return run


@pytest.fixture
def nobody_starts() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start Python source under uid 65534; needs root or sudo, which CI has."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str) -> subprocess.Popen[str]:
        command = [*nobodys_python(), BECOME_NOBODY + END_WITH_US + source]
        ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, cwd="/", **ends))
        return started[-1]

    yield start
    for process in started:
        process.communicate(timeout=WAIT_S)  # the end of its input is its end


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everyone can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plug-in whose agent ``bad`` crashes, loops and eats memory when asked to."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("bad") / "bad.so"
    source = Path(__file__).parents[2] / "native" / "src" / "host" / "bad_test_plugin.c"
    include = importlib.resources.files("tandem_orchestrator._native") / "include"
    subprocess.run(
        ["cc", "-std=c11", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(made)],
        check=True,
    )
    return made
