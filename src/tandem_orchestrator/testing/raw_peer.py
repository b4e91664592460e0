"""Speak to a bridge by hand: the socket, the two memfds, the pipes, and nothing that checks.

For tests of hostile peers. The C client refuses to break the rules; this one writes what it is
told, where it is told. ``protocol/handshake.md`` and ``protocol/memory.md`` have the tables.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tandem_orchestrator.layers.native.frame import HEADER_BYTES, Frame, Kind

HELLO = struct.Struct("<8sIIIHHIHHQQQHHI")
"""The head of a peer's first message."""
WELCOME = struct.Struct("<8sIIIHHIIQQQQQIHHHHIQ")
"""The head of the bridge's answer."""
ROW = struct.Struct("<IBBBBHHHBB")
"""The head of one action."""
PAGE_BYTES = 4096
TAIL, HEAD, SLEEP, SPACE = 0, 64, 128, 192
"""Offsets in a control page."""
BLOB = struct.Struct("<8sHHIQQ")
"""A message about a blob: magic, op, status, request, id, bytes; ``protocol/blobs.md``."""
WANT, COMMIT, DROP, GRANTED, COMMITTED, PASSED = range(1, 7)
"""Its ops."""
BLOBS = 1
"""The feature."""
ORCHESTRATOR, AGENT = 1, 2
"""Roles."""
FDS = 4
"""Descriptors that come with WELCOME: down, up, the pipe to hear, the pipe to ring."""


def action_row(
    agent: str, name: str, version: str = "1", *, action_id: int = 0, gone: int = 0
) -> bytes:
    """Encode one row of an action table: short, no effects, deterministic."""
    words = [text.encode() for text in (agent, name, version)]
    return ROW.pack(action_id, 0, 0, 1, gone, *map(len, words), 0, 0) + b"".join(words)


def hello(
    build_id: str,
    *,
    role: int = ORCHESTRATOR,
    name: bytes = b"raw",
    magic: bytes = b"TANDEMHI",
    endian: int = 0x01020304,
    protocols: tuple[int, int] = (1, 1),
    required: int = 0,
    offered: int = 0,
    token: bytes = b"",
    rows: Iterable[bytes] = (),
    message_bytes: int | None = None,
    head_bytes: int = HELLO.size,
    name_bytes: int | None = None,
    token_bytes: int | None = None,
    actions_total: int | None = None,
) -> bytes:
    """Encode HELLO; every field can be made wrong."""
    rows = list(rows)
    tail = name + build_id.encode() + token + b"".join(rows)
    head = HELLO.pack(
        magic,
        HELLO.size + len(tail) if message_bytes is None else message_bytes,
        head_bytes,
        endian,
        *protocols,
        role,
        len(name) if name_bytes is None else name_bytes,
        len(build_id),
        required,
        offered,
        time.monotonic_ns(),
        len(token) if token_bytes is None else token_bytes,
        len(rows) if actions_total is None else actions_total,
        0,
    )
    return head + tail


@dataclass(frozen=True)
class Welcome:
    """What the bridge answered."""

    status: int
    session: int
    slots: int
    ring_bytes: int
    text: str
    rows: tuple[tuple[str, str, int], ...]
    """(agent, action, id)."""
    fds: tuple[int, ...]

    @classmethod
    def parse(cls, data: bytes, fds: Iterable[int]) -> Welcome:
        """Read WELCOME. Raises: ValueError."""
        (magic, _, head_bytes, _, _, status, session, slots, _, _, ring_bytes, _, _, _,
         version_bytes, build_bytes, text_bytes, _, total, _) = WELCOME.unpack_from(data)  # fmt: skip
        if magic != b"TANDEMOK":
            raise ValueError(f"{magic!r}, expected TANDEMOK")
        at = head_bytes + version_bytes + build_bytes
        text = data[at : at + text_bytes].decode()
        at += text_bytes
        rows = []
        for _ in range(total):
            action_id, *_, agent_bytes, name_bytes, last_bytes, _, _ = ROW.unpack_from(data, at)
            at += ROW.size
            agent = data[at : at + agent_bytes].decode()
            name = data[at + agent_bytes : at + agent_bytes + name_bytes].decode()
            at += agent_bytes + name_bytes + last_bytes
            rows.append((agent, name, action_id))
        return cls(status, session, slots, ring_bytes, text, tuple(rows), tuple(fds))


def connect(path: Path, timeout_s: float = 10.0) -> socket.socket:
    """Connect and say nothing; waits while the bridge's queue is full. Raises: OSError."""
    give_up_at = time.monotonic() + timeout_s
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(timeout_s)
    while True:
        try:
            made.connect(str(path))
        except BlockingIOError:
            if time.monotonic() < give_up_at:
                time.sleep(0.001)
                continue
            made.close()
            raise
        except OSError:
            made.close()
            raise
        return made


def answer(peer: socket.socket) -> Welcome | None:
    """Wait for WELCOME; None: the bridge closed without a word. Raises: TimeoutError."""
    try:
        data, fds, _, _ = socket.recv_fds(peer, 65536, FDS)
    except ConnectionResetError:
        return None
    return Welcome.parse(data, fds) if data else None


class RawPeer:
    """A session whose memory is ours to spoil."""

    def __init__(self, peer: socket.socket, welcome: Welcome, role: int) -> None:
        """Map what came with an accepting WELCOME."""
        self.socket = peer
        self.welcome = welcome
        self.ring_bytes = welcome.ring_bytes
        cancel = -(-4 * welcome.slots // PAGE_BYTES) * PAGE_BYTES
        progress = -(-16 * welcome.slots // PAGE_BYTES) * PAGE_BYTES
        down, up = (progress, cancel) if role == ORCHESTRATOR else (cancel, progress)
        self.down_data, self.up_data = PAGE_BYTES + down, PAGE_BYTES + up
        self.down_fd, self.up_fd, self.hear_fd, self.ring_fd = welcome.fds
        self.down = mmap.mmap(self.down_fd, self.down_data + self.ring_bytes, prot=mmap.PROT_READ)
        self.up = mmap.mmap(self.up_fd, self.up_data + self.ring_bytes)
        self.at = 0
        self.read_at = 0

    @classmethod
    def join(
        cls,
        path: Path,
        build_id: str,
        *,
        role: int = ORCHESTRATOR,
        name: bytes = b"raw",
        actions: Iterable[str] = ("do",),
        offered: int = 0,
    ) -> RawPeer:
        """Shake hands properly. Raises: ConnectionError with the bridge's reason."""
        rows = [action_row(name.decode(), each) for each in actions] if role == AGENT else []
        peer = connect(path)
        peer.send(hello(build_id, role=role, name=name, rows=rows, offered=offered))
        welcome = answer(peer)
        if welcome is None or welcome.status != 0:
            peer.close()
            raise ConnectionError("closed" if welcome is None else welcome.text)
        return cls(peer, welcome, role)

    def action(self, agent: str, name: str) -> int:
        """Find an action's id in WELCOME."""
        return {(row[0], row[1]): row[2] for row in self.welcome.rows}[agent, name]

    def place(self, data: bytes, at: int | None = None) -> None:
        """Write bytes into the own ring at a cursor (default: the next), wrapping nowhere."""
        start = (self.at if at is None else at) % self.ring_bytes
        self.up[self.up_data + start : self.up_data + start + len(data)] = data
        if at is None:
            self.at += len(data)

    def push(self, **fields: object) -> None:
        """Place a sound frame with the right ``seq``; PAD at the lap's end. Not shown yet."""
        data = self.packed(**fields)
        rest = self.ring_bytes - self.at % self.ring_bytes
        if len(data) > rest:
            self.place(self.packed(kind=Kind.PAD, body=bytes(rest - HEADER_BYTES)))
            data = self.packed(**fields)
        self.place(data)

    def packed(self, **fields: object) -> bytes:
        """Pack a frame with the ``seq`` of the next place."""
        return Frame(seq=self.at // 64 & 0xFFFFFFFF, **fields).pack()  # type: ignore[arg-type]

    def store(self, offset: int, value: int, size: int = 8) -> None:
        """Store a number into the own control page or words."""
        self.up[offset : offset + size] = value.to_bytes(size, "little")

    def load(self, offset: int, size: int = 8) -> int:
        """Load a number of the bridge's memory."""
        return int.from_bytes(self.down[offset : offset + size], "little")

    def show(self, tail: int | None = None, *, rings: int = 1) -> None:
        """Publish (up to ``tail``, by default all that was placed) and ring."""
        self.store(TAIL, self.at if tail is None else tail)
        self.ring(rings)

    def ring(self, times: int = 1) -> int:
        """Write bytes into the bridge's pipe. Returns how many it took."""
        try:
            return os.write(self.ring_fd, bytes(times))
        except (BlockingIOError, BrokenPipeError):
            return 0

    def take(self, timeout_s: float = 10.0) -> Frame:
        """Wait for the bridge's next frame. Raises: TimeoutError."""
        give_up_at = time.monotonic() + timeout_s
        while self.load(TAIL) == self.read_at:
            if time.monotonic() > give_up_at:
                raise TimeoutError("no frame")
            # An odd ticket asks to be rung; the look above is repeated in any case.
            self.store(SLEEP, self.load_own(SLEEP) + 1 | 1, 4)
            select.select([self.hear_fd], [], [], 0.001)
        start = self.down_data + self.read_at % self.ring_bytes
        end = min(start + self.ring_bytes // 8, self.down_data + self.ring_bytes)
        frame = Frame.unpack(self.down[start:end])
        if frame.kind == Kind.PAD:
            self.read_at += self.ring_bytes - self.read_at % self.ring_bytes
            self.store(HEAD, self.read_at)
            return self.take(timeout_s)
        self.read_at += (
            -(-(HEADER_BYTES + len(frame.extension.pack()) + len(frame.body)) // 64) * 64
        )
        self.store(HEAD, self.read_at)
        return frame

    def load_own(self, offset: int, size: int = 4) -> int:
        """Load a number of the own control page."""
        return int.from_bytes(self.up[offset : offset + size], "little")

    def wait_for_room(self, wanted: int, timeout_s: float = 1.0) -> bool:
        """Wait until the bridge has released so many bytes of the own ring; False: it has not."""
        give_up_at = time.monotonic() + timeout_s
        while self.ring_bytes - (self.at - self.load(HEAD)) < wanted:
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.001)
        return True

    def say_blob(self, op: int, request: int = 0, blob_id: int = 0, size: int = 0) -> None:
        """Send one message about a blob."""
        self.socket.send(BLOB.pack(b"TANDEMBL", op, 0, request, blob_id, size))

    def hear_blob(self, timeout_s: float = 10.0) -> tuple[int, int, int, int, int, list[int]]:
        """Wait for one: (op, status, request, id, bytes, fds). Raises: TimeoutError."""
        self.socket.settimeout(timeout_s)
        data, fds, _, _ = socket.recv_fds(self.socket, 64, 4)
        return (*BLOB.unpack(data)[1:], fds)

    def blob(self, content: bytes) -> tuple[int, int]:
        """Have one made, fill and commit it, as an honest peer does: (id, the open fd)."""
        self.say_blob(WANT, 1, size=len(content))
        op, status, _, blob_id, _, (fd,) = self.hear_blob()
        os.pwrite(fd, content, 0)
        self.say_blob(COMMIT, 2, blob_id)
        if (op, status) != (GRANTED, 0) or self.hear_blob()[:2] != (COMMITTED, 0):
            raise ConnectionError("the bridge made no blob")
        return blob_id, fd

    def goodbye(self, timeout_s: float = 10.0) -> str:
        """Wait until the bridge ends the session, and return its reason ("": none given)."""
        self.socket.settimeout(timeout_s)
        reason = ""
        while True:
            try:
                data = self.socket.recv(4096)
            except ConnectionResetError:
                return reason
            if not data:
                return reason
            reason = data.removeprefix(b"TANDEMBY").decode()

    def close(self) -> None:
        """Let go of everything, as a death does."""
        self.down.close()
        self.up.close()
        for fd in self.welcome.fds:
            os.close(fd)
        self.socket.close()

    def __enter__(self) -> RawPeer:
        """Enter a block that closes the peer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the peer."""
        self.close()
