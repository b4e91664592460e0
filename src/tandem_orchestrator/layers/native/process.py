"""One ``agent_bridge`` process: started, watched, stopped, reaped.

Its death is learned through a pidfd, ours by the bridge through EOF on the *lifeline*, a socket
pair whose far end it inherits; a process number alone proves nothing. The lifeline is closed in
forked children too, else a child would keep an orphaned bridge alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.native.waiting import settled_within

_log = logging.getLogger("tandem_orchestrator.bridge")

WORDS_LINES_MAX = 20
"""Lines of the bridge's stderr kept for the reason of its death."""
LINE_CHARS_MAX = 500
"""Longest line of its stderr that is kept or logged."""
KILL_WAIT_S = 2.0
"""Seconds a killed process may take to vanish before it is left to the kernel."""


class Spawn(Protocol):
    """Start a program; tests pass their own."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        pass_fds: Sequence[int],
        stderr: int,
    ) -> subprocess.Popen[bytes]:
        """Start ``argv[0]`` (an absolute path) in a session of its own."""


def spawn_program(
    argv: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int], stderr: int
) -> subprocess.Popen[bytes]:
    """Start a program by absolute path, without a shell, with only the descriptors named."""
    return subprocess.Popen(
        argv,
        executable=argv[0],
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=pass_fds,
        close_fds=True,
        start_new_session=True,
    )


class BridgeProcess:
    """A running bridge; make one with ``start``.

    Attributes:
        pid: For people and for reading ``/proc``; signals go through the pidfd.
        ready: Resolves with whether it listens: False when it ended before it could.
        died: Resolves with how it ended, as in ``killed by SIGKILL``, once it was reaped.
    """

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        lifeline: socket.socket,
        pidfd: int,
        ready_fd: int,
        stderr_fd: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._popen = popen
        self._lifeline = lifeline
        self._pidfd = pidfd
        self._ready_fd = ready_fd
        self._stderr_fd = stderr_fd
        self._stderr_tail = b""
        self._words: deque[str] = deque(maxlen=WORDS_LINES_MAX)
        self.pid = popen.pid
        self.ready: asyncio.Future[bool] = self._loop.create_future()
        self.died: asyncio.Future[str] = self._loop.create_future()
        try:
            self._loop.add_reader(pidfd, self._reap)
            self._loop.add_reader(ready_fd, self._read_ready)
            self._loop.add_reader(stderr_fd, self._read_stderr)
        except OSError:
            for fd in (pidfd, ready_fd, stderr_fd):
                self._loop.remove_reader(fd)
            raise
        _lifelines.add(lifeline)

    @classmethod
    def start(
        cls,
        argv_of: Callable[[int, int], Sequence[str]],
        *,
        env: Mapping[str, str],
        spawn: Spawn = spawn_program,
        more_fds: Sequence[int] = (),
    ) -> BridgeProcess:
        """Start the program on the running loop.

        Args:
            argv_of: Makes the arguments, given the numbers of two inherited descriptors: the
                lifeline, and a pipe that gets ``ready`` and a newline once it listens.
            env: Its whole environment.
            spawn: How to start it.
            more_fds: Further descriptors that it inherits; they stay the caller's.

        Raises: LayerUnavailable when the system refuses.
        """
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            try:
                near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                undo.callback(near.close)
                theirs.callback(far.close)
                stderr_read, stderr_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                undo.callback(os.close, stderr_read)
                theirs.callback(os.close, stderr_write)
                ready_read, ready_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                undo.callback(os.close, ready_read)
                theirs.callback(os.close, ready_write)
            except OSError as error:
                raise LayerUnavailable(f"no descriptors for a bridge: {error}") from error
            passed = (far.fileno(), ready_write)
            argv = argv_of(*passed)
            try:
                popen = spawn(argv, env=env, pass_fds=(*passed, *more_fds), stderr=stderr_write)
            except OSError as error:
                raise LayerUnavailable(f"cannot start {argv[0]}: {error}") from error
            theirs.close()
            near.setblocking(False)
            try:
                # Not reaped yet, so the number still means this process.
                pidfd = os.pidfd_open(popen.pid)
                undo.callback(os.close, pidfd)
                made = cls(popen, near, pidfd, ready_read, stderr_read)
            except OSError as error:
                popen.kill()
                popen.wait(KILL_WAIT_S)
                raise LayerUnavailable(f"bridge {popen.pid} cannot be watched: {error}") from error
            undo.pop_all()
            return made

    def last_words(self) -> str:
        """Give the end of its stderr as one line; empty when it said nothing."""
        return " | ".join(self._words)

    def kill(self) -> None:
        """Kill it, also while it is stopped; harmless when it is gone."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to leave by SIGTERM; harmless when it is gone."""
        self._signal(signal.SIGTERM)

    def hang_up(self) -> None:
        """Close the lifeline: a healthy bridge leaves at once."""
        _lifelines.discard(self._lifeline)
        self._lifeline.close()

    async def stop(self, grace_s: float, clock: Clock) -> bool:
        """Hang up, wait at most ``grace_s`` seconds, then kill.

        Returns: Whether it left by itself.
        """
        self.hang_up()
        if await settled_within(self.died, grace_s, clock):
            return True
        self.kill()
        if not await settled_within(self.died, KILL_WAIT_S, clock):
            _log.error("bridge %d did not vanish %.1f s after SIGKILL", self.pid, KILL_WAIT_S)
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _reap(self) -> None:
        """The pidfd is readable: the process is dead and waits to be reaped."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._read_ready()
        self._close_ready(False)
        self._read_stderr()
        if self._stderr_fd >= 0:
            self._close_stderr()
        self.hang_up()
        self._popen.wait(KILL_WAIT_S)  # a zombie already: returns at once
        if not self.died.done():
            self.died.set_result(_ending(self._popen.returncode))

    def _read_ready(self) -> None:
        if self._ready_fd < 0:
            return
        with contextlib.suppress(BlockingIOError):
            self._close_ready(os.read(self._ready_fd, 16) == b"ready\n")

    def _close_ready(self, listens: bool) -> None:
        if self._ready_fd >= 0:
            self._loop.remove_reader(self._ready_fd)
            os.close(self._ready_fd)
            self._ready_fd = -1
        if not self.ready.done():
            self.ready.set_result(listens)

    def _read_stderr(self) -> None:
        while self._stderr_fd >= 0:
            try:
                data = os.read(self._stderr_fd, 4096)
            except BlockingIOError:
                return
            *lines, tail = (self._stderr_tail + data).split(b"\n")
            if not data:
                lines, tail = [*lines, tail], b""
            self._stderr_tail = tail[:LINE_CHARS_MAX]
            for line in lines:
                self._keep_line(line)
            if not data:
                self._close_stderr()

    def _keep_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")[:LINE_CHARS_MAX]
        text = "".join(c if c.isprintable() else "?" for c in text).strip()
        if text:
            self._words.append(text)
            _log.info("bridge %d: %s", self.pid, text)

    def _close_stderr(self) -> None:
        self._loop.remove_reader(self._stderr_fd)
        os.close(self._stderr_fd)
        self._stderr_fd = -1


def _ending(returncode: int) -> str:
    if returncode < 0:
        try:
            return f"killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"killed by signal {-returncode}"
    return f"exit status {returncode}"


# State of the process, as fork() is: every lifeline that a forked child must let go of.
_lifelines: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_lifelines_in_child() -> None:
    for lifeline in list(_lifelines):
        lifeline.close()
    _lifelines.clear()


os.register_at_fork(after_in_child=_close_lifelines_in_child)
