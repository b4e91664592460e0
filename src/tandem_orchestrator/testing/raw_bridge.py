"""Be a bridge by hand: hand out any WELCOME, any descriptors, and any frames.

For tests of what a client does when its bridge is hostile. It serves one connection at a time, from
a thread; ``protocol/handshake.md`` and ``protocol/memory.md`` have the tables.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from tandem_orchestrator.layers.native.frame import Frame
from tandem_orchestrator.testing.raw_peer import (
    HEAD,
    ORCHESTRATOR,
    PAGE_BYTES,
    SLEEP,
    TAIL,
    WELCOME,
    action_row,
)

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
"""What keeps a peer from resizing memory."""
RING_BYTES, SLOTS = 128 << 10, 256
"""What WELCOME says unless told otherwise."""


def welcome(
    build_id: str,
    *,
    magic: bytes = b"TANDEMOK",
    message_bytes: int | None = None,
    head_bytes: int = WELCOME.size,
    endian: int = 0x01020304,
    protocol: int = 1,
    status: int = 0,
    slots: int = SLOTS,
    ring_bytes: int = RING_BYTES,
    version_bytes: int | None = None,
    text: bytes = b"",
    text_bytes: int | None = None,
    rows: bytes = action_row("system", "echo", action_id=1),
    actions_total: int = 1,
) -> bytes:
    """Encode WELCOME; every field can be made wrong."""
    version = b"0"
    tail = version + build_id.encode() + text + rows
    return WELCOME.pack(
        magic,
        WELCOME.size + len(tail) if message_bytes is None else message_bytes,
        head_bytes,
        endian,
        protocol,
        status,
        1,
        slots,
        0,
        0,
        ring_bytes,
        1 << 28,
        64 << 20,
        4096,
        len(version) if version_bytes is None else version_bytes,
        len(build_id),
        len(text) if text_bytes is None else text_bytes,
        0,
        actions_total,
        0,
    ) + tail  # fmt: skip


def memory(data_offset: int, *, bytes_more: int = 0, seals: int = SEALS | fcntl.F_SEAL_SEAL) -> int:
    """Make a memfd for a ring of ``RING_BYTES`` behind ``data_offset``."""
    fd = os.memfd_create("raw", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, data_offset + RING_BYTES + bytes_more)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


class RawBridge:
    """One session's worth of a bridge; its memory is ours to spoil."""

    def __init__(self, path: Path, build_id: str, *, role: int = ORCHESTRATOR) -> None:
        """Listen."""
        self.path, self.build_id = path, build_id
        words = -(-16 * SLOTS // PAGE_BYTES) * PAGE_BYTES
        cancel = -(-4 * SLOTS // PAGE_BYTES) * PAGE_BYTES
        self.role = role
        down, up = (words, cancel) if role == ORCHESTRATOR else (cancel, words)
        self.down_data, self.up_data = PAGE_BYTES + down, PAGE_BYTES + up
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.settimeout(20.0)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.fds: list[int] = []
        self.socket: socket.socket | None = None
        self.at = self.read_at = 0

    def make_fds(self) -> list[int]:
        """Make down, up, the peer's end to hear, the peer's end to ring; keep ours.

        An orchestrator gets a fifth, for the page of statistics.
        """
        down, up = memory(self.down_data), memory(self.up_data)
        hear, self.ring_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.hear_fd, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.fds = [down, up, hear, ring, self.ring_fd, self.hear_fd]
        pages = [memory(0)] if self.role == ORCHESTRATOR else []
        self.fds += pages
        self.down = mmap.mmap(down, self.down_data + RING_BYTES)
        self.up = mmap.mmap(up, self.up_data + RING_BYTES)
        return [down, up, hear, ring, *pages]

    def answer(self, reply: bytes, change: Callable[[list[int]], list[int]] = list) -> None:
        """Accept one connection, take its HELLO, send WELCOME with (changed) descriptors."""
        self.socket, _ = self.listener.accept()
        self.socket.settimeout(20.0)
        self.socket.recv(65536)
        passed = change(self.make_fds())
        self.fds += [fd for fd in passed if fd not in self.fds]
        socket.send_fds(self.socket, [reply], passed)

    def answering(
        self, reply: bytes, change: Callable[[list[int]], list[int]] = list
    ) -> threading.Thread:
        """Start a thread that answers one connection."""
        thread = threading.Thread(target=self.answer, args=(reply, change))
        thread.start()
        return thread

    def place(self, data: bytes) -> None:
        """Write bytes into the ring to the peer."""
        start = self.down_data + self.at % RING_BYTES
        self.down[start : start + len(data)] = data
        self.at += len(data)

    def push(self, **fields: object) -> None:
        """Place a sound frame; not shown yet."""
        self.place(Frame(seq=self.at // 64 & 0xFFFFFFFF, **fields).pack())  # type: ignore[arg-type]

    def show(self, tail: int | None = None) -> None:
        """Publish and ring."""
        self.store(TAIL, self.at if tail is None else tail)
        self.store(SLEEP, self.load(SLEEP) + 2 | 1)
        try:
            os.write(self.ring_fd, b"!")
        except (BlockingIOError, BrokenPipeError):
            return

    def store(self, offset: int, value: int, size: int = 8) -> None:
        """Store a number into the own control page."""
        self.down[offset : offset + size] = value.to_bytes(size, "little")

    def load(self, offset: int) -> int:
        """Load a number of the own control page."""
        return int.from_bytes(self.down[offset : offset + 4], "little")

    def take(self) -> Frame:
        """Read the peer's next frame, which must be there."""
        start = self.up_data + self.read_at % RING_BYTES
        frame = Frame.unpack(self.up[start : start + RING_BYTES // 8])
        self.read_at += len(frame.pack())
        self.store(HEAD, self.read_at)
        return frame

    def close(self) -> None:
        """Let go of everything."""
        for fd in self.fds:
            os.close(fd)
        if self.fds:
            self.down.close()
            self.up.close()
        if self.socket is not None:
            self.socket.close()
        self.listener.close()
