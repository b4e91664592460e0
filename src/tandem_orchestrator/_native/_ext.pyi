"""The C layer's thin client: the manual of ``native/ext``.

Numbers are those of ``tandem/status.h``; times are CLOCK_MONOTONIC nanoseconds. Bytes that come
in are borrowed for the call; bytes that come out are copies that the caller owns. The module does
not load in a sub-interpreter and needs the GIL.
"""

import asyncio
from collections.abc import Callable
from os import PathLike
from typing import Any, Final, final

from typing_extensions import Buffer

OK: Final[int]
FAILED: Final[int]
TIMED_OUT: Final[int]
CANCELLED: Final[int]
UNKNOWN: Final[int]
NOT_STARTED: Final[int]
NO_AGENT: Final[int]
BUSY: Final[int]
TOO_LARGE: Final[int]
CORRUPT: Final[int]
BUILD_ID: Final[str]
"""The build this extension belongs to; a bridge of another build refuses its sessions."""

class NativeError(Exception):
    """The C layer refused. Base of the rest; raised itself where a system call failed."""

    status: int
    """The ``td_status``: 0 and above travel, negative ones are local."""

class Busy(NativeError):
    """No slot, credit or ring room now; nothing was sent."""

class TooLarge(NativeError):
    """A body is over its limit; nothing was sent."""

class Closed(NativeError):
    """The session is over: closed here, or the bridge is dead and everything was drained."""

class Forked(Closed):
    """The client belongs to the parent process. Its descriptors are closed in this one."""

class Refused(NativeError):
    """The bridge refused the handshake; the text is its reason."""

class TimedOut(NativeError):
    """The time limit of the constructor passed."""

class Corrupt(NativeError):
    """Bytes that break the rules of the wire."""

@final
class Client:
    """One session with a bridge. One thread at a time; another gets ``RuntimeError``.

    Args:
        socket_path: The bridge's socket.
        name: Shown in the bridge's health.
        timeout_s: For connect and handshake together; above 0, at most 1e9.
        spin_ns: How long ``wait`` and ``ask`` spin before they sleep; at most 1e9.
        build_id: The build to claim; for tests of the refusal.

    Releases the GIL while it connects.

    Raises: Refused, TimedOut, Corrupt, NativeError (a system call failed, its text says which);
        ValueError or TypeError for arguments.
    """

    def __new__(
        cls,
        socket_path: str | bytes | PathLike[str] | PathLike[bytes],
        name: str,
        timeout_s: float = 5.0,
        spin_ns: int = 2000,
        *,
        build_id: str = ...,
    ) -> Client: ...
    def call(
        self,
        action_id: int,
        body: Buffer,
        *,
        inputs: Buffer | None = None,
        attempt: int = 1,
        lane: int = 2,
        deadline_ns: int = 0,
        reply_bytes_max: int = 0,
        idempotency_key: Buffer | None = None,
        kind: int = 1,
        hold: int = 0,
        cpus: Buffer | None = None,
    ) -> int:
        """Push one call; never waits.

        ``hold`` 1 lets the bridge see it at the next look only, together with others.

        ``kind`` 4 loads a program (``body``), 5 runs the program ``action_id``.

        Args:
            action_id: From ``actions()``.
            body: The payload as strict MessagePack, at most 64 MiB.
            inputs: A strict MessagePack map (step id to output), or None.
            attempt: Counted from 1; at most 65,535.
            lane: 0 (most urgent) to 3.
            deadline_ns: When C ends the call as TIMED_OUT; 0 is never.
            reply_bytes_max: Largest reply accepted; 0 is the session's default.
            idempotency_key: At most 64 bytes.
            cpus: Where to run it: a bit for each CPU, CPU 0 first; up to 128 bytes by eights.

        Returns: The call id: one completion with it will be drained, unless the bridge dies.

        Raises: Busy, TooLarge, Closed, Corrupt; ValueError or TypeError for arguments.
        """

    def cancel(self, call_id: int) -> None:
        """Ask the action to stop; its completion still comes. ValueError: no such call."""

    def progress(self, call_id: int) -> tuple[int, int]:
        """Read (done, total) as last reported; (0, 0) before. ValueError: no such call."""

    def fate(self, call_id: int) -> int:
        """After the bridge's death: NOT_STARTED (never taken) or UNKNOWN (may have run)."""

    def drain(self, max: int, /) -> tuple[list[tuple[int, int, int, int, bytes]], bool]:
        """Take completions without waiting, and arm the doorbell when nothing is left.

        Args:
            max: Most completions to take; above 0.

        Returns: ``[(call_id, status, started_ns, elapsed_ns, body)]`` and whether more wait.
            Bodies of OK and FAILED were checked: one strict MessagePack value; others are empty.

        Raises: Closed once the bridge is dead and everything it sent was drained. MemoryError:
            completions may be lost; close the client.
        """

    def poll(self, max: int, /) -> tuple[list[tuple[int, int, int, int, bytes]], bool]:
        """As ``drain``, but the doorbell stays silent: for a caller that looks again at once.

        The last look before sleeping must be a ``drain``.
        """

    def take_logs(self) -> list[tuple[int, int, int, int, int, int, bytes]]:
        """Take the lines that agents logged for calls of this client and that drains have met.

        Returns: ``[(call_id, action_id, part, level, attempt, dropped, text)]``: ``part`` is the
            program's step + 1, 0 where the call is no program; ``dropped`` lines before this one
            were lost; ``text`` is UTF-8 or meant to be, at most 4 KiB, and empty
            where there is only the count to tell.
        """

    @property
    def statistics_fd(self) -> int:
        """The bridge's statistics page, as long as the client is open; not yours to close."""

    @property
    def logs_waiting(self) -> bool:
        """Whether ``take_logs`` has something."""

    def wait(self, timeout_s: float, /) -> bool:
        """Block, without the GIL, until something can be drained; False when the time is over.

        Signals are handled about every 100 ms. Raises: Closed.
        """

    # Any: payloads, outputs and hooks are any Python objects.
    def prepare(
        self,
        loop: asyncio.AbstractEventLoop | None,
        future_type: type[asyncio.Future[Any]],
        make_error: Callable[[int, int, bytes], Exception],
        make_body: Callable[[Any, bool], bytes],
        revive: Callable[[Any], Any],
        timestamp: Callable[[int, int], Any],
        wake: Callable[[], None],
        /,
    ) -> None:
        """Give the hooks of messages, before the first one.

        Args:
            loop: Where Futures belong; None if only ``ask`` is used.
            future_type: ``asyncio.Future``; made with ``loop=``.
            make_error: (action_id, status, body) to an exception.
            make_body: (payload, encoded) to a body, for what C cannot write; raises otherwise.
            revive: Gets outputs in which a map has a key that starts with ``$``.
            timestamp: Makes a moment of (seconds, nanoseconds).
            wake: Called by the first message of a way after a look: another is due.
        """

    def way(self, action_id: int, lane: int, /) -> Way:
        """Make the short way to one action. Raises: Closed; RuntimeError before ``prepare``."""

    def send(
        self, action_id: int, payload: Any, lane: int, timeout_s: float | None, flags: int, /
    ) -> asyncio.Future[Any]:
        """Push one message; its Future is settled in a later ``drain`` or ``poll``.

        ``flags``: 1 the payload is an encoded body, 2 the answer is wanted as one. Raises: Busy,
        TooLarge, Closed, Corrupt; ValueError or TypeError for arguments; what make_body raises.
        """

    def send_many(
        self,
        action_id: int,
        payloads: tuple[Any, ...],
        lane: int,
        timeout_s: float | None,
        flags: int,
        /,
    ) -> asyncio.Future[list[Any]]:
        """Push many, 1,024 at one time; one Future gets outputs and exceptions, in order."""

    def ask(
        self, action_id: int, payload: Any, lane: int, timeout_s: float | None, flags: int, /
    ) -> Any:
        """Send one message and block, without the GIL, until its answer; else raise its error.

        After anything but an answer the client is to be closed.
        """

    def sweep(self, grace_s: float, /) -> int:
        """End messages that were cancelled, or whose deadline passed longer ago; how many."""

    def end_messages(self, known: bool, /) -> None:
        """The session is over: settle every message by its fate, or (not known) as UNKNOWN."""

    def message_stats(self) -> dict[str, int]:
        """Read settled, failed, elapsed_ns, dropped, late, waiting; also after ``close``."""

    @property
    def settled(self) -> int:
        """Messages answered so far."""

    @property
    def waiting(self) -> bool:
        """Whether a message or a batch waits for an answer."""

    def actions(self) -> list[tuple[str, str, str, int, int, int, bool, bool]]:
        """List ``(agent, name, version, action_id, effects, runs, deterministic, in_programs)``.

        effects: 0 none, 1 idempotent, 2 external. runs: 0 short, 1 blocking.
        """

    def stats(self) -> dict[str, int]:
        """Read the session's counters: calls, completions, bytes_out, bytes_in, doorbells_rung,
        doorbells_taken, rescues, in_flight, slots."""

    def close(self) -> None:
        """End the session; may be repeated. The bridge cancels what is in flight."""

    @property
    def fd(self) -> int:
        """Readable when completions may wait; owned by the client."""

    @property
    def socket_fd(self) -> int:
        """Readable at the bridge's death; owned by the client."""

    @property
    def actions_version(self) -> int:
        """How often ``actions()`` has changed since the connection, as far as it was drained."""

    @property
    def bridge_pid(self) -> int:
        """The bridge's process id when it answered: for people, never for signals."""

    @property
    def notes(self) -> str:
        """What the system refused the bridge, a line each, as it said in WELCOME."""

    @property
    def spin_ns(self) -> int:
        """As the constructor got it."""

    @property
    def closed(self) -> bool:
        """Whether the client can no longer be used: closed, or inherited by a fork."""

@final
class Way:
    """One action of one client: ``way(payload, timeout_s)``, in one call from Python."""

    def __call__(self, payload: Any, timeout_s: float | None, /) -> asyncio.Future[Any] | None:
        """Push one message; None if ``send`` would refuse it, which then says why.

        None also on another loop than the one of ``prepare``, and for a timeout that is no float.

        Raises: what make_body raises; MemoryError.
        """

def strict_check(body: Buffer, /) -> None:
    """Check that the bytes are exactly one strict MessagePack value. Raises: Corrupt."""

def encode(value: Any, /) -> bytes | None:
    """Write a plain value as strict MessagePack; None for what is not plain."""

def same(left: Any, right: Any, /) -> bool | None:
    """Say whether two plain values have the same canonical bytes; None: met what is not plain.

    One walk over both, which makes nothing and runs no Python code.
    """

def decode(body: Buffer, timestamp: Callable[[int, int], Any], /) -> Any:
    """Read one strict value; moments are made by ``timestamp``. Raises: Corrupt."""

def crc32c(body: Buffer, /) -> int:
    """Compute the CRC32C (Castagnoli, reflected, as in iSCSI) of the bytes."""
