"""Pack and unpack the 64-byte frame in plain Python: the oracle, and the way to read one by eye.

A frame is 64-aligned: header, ``ext_units`` x 8 bytes of extension, body, zero padding to 64.
All little-endian. ``body_crc`` covers extension and body and travels end to end; ``header_crc``
covers the header before it. The table is ``protocol/frame.tsv``; the C twin is
``native/src/wire/frame.c``; ``tests/parity`` compares the three.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.crc32c import crc32c
from tandem_orchestrator.layers.native.extension import EXT_UNITS_MAX, Extension

MAGIC = 0x4454
VERSION = 1
HEADER_BYTES = 64
ALIGN_BYTES = 64
LANES = 4

HEADER = struct.Struct("<HBBHBBIIQQIIIHHIIII")
"""The fields in the order of ``protocol/frame.tsv``; 64 bytes, no gaps."""


class Kind(IntEnum):
    """What a frame is for; the numbers are ``TDI_KIND_*`` in C."""

    CALL = 1
    COMPLETION = 2
    CONT = 3
    LOAD = 4
    RUN = 5
    EVENT = 6
    CREDIT = 7
    REGISTER = 8
    LOG = 9
    PAD = 255


class Flag(IntFlag):
    """Bits of ``flags``; the numbers are ``TDI_FLAG_*`` in C."""

    MORE = 1
    BLOB = 2
    WANT_REPLY = 4
    PROGRAM = 8
    ELAPSED_US = 16


FLAGS_KNOWN = 31
NO_FLAGS = Flag(0)
"""No flag set."""
NO_EXTENSION = Extension()
"""No extension records."""


class Status(IntEnum):
    """How a call ended (``aux`` of a COMPLETION); the numbers are ``td_status`` in C."""

    OK = 0
    FAILED = 1
    TIMED_OUT = 2
    CANCELLED = 3
    UNKNOWN = 4
    NOT_STARTED = 5
    NO_AGENT = 6
    BUSY = 7
    TOO_LARGE = 8
    CORRUPT = 9


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. Magic, version, lengths and both CRCs are made by ``pack``."""

    kind: Kind
    flags: Flag = NO_FLAGS
    lane: int = 0
    """0 (most urgent) to 3."""
    seq: int = 0
    """Low 32 bits of (ring position / 64)."""
    call_id: int = 0
    """Slot (low 32 bits) + generation (high 32 bits, from 1)."""
    time_ns: int = 0
    """CALL: deadline, CLOCK_MONOTONIC, 0 = none. COMPLETION: started."""
    source: int = 0
    """Session that sent it, stamped by the bridge."""
    destination: int = 0
    """Session or agent."""
    action_id: int = 0
    attempt: int = 0
    """From 1."""
    tenant: int = 0
    aux: int = 0
    """CALL: reply_bytes_max. COMPLETION: status. CREDIT: slots. CONT: index, from 1."""
    aux2: int = 0
    """COMPLETION: elapsed ns, or µs with ELAPSED_US. CREDIT: bytes."""
    extension: Extension = NO_EXTENSION
    body: bytes = field(default=b"", repr=False)
    """Strict MessagePack, or a part of one in a fragment; not checked here."""

    def pack(self) -> bytes:
        """Write header, extension, body and padding.

        Raises: CodecError if a field does not fit its place.
        """
        if not 0 <= self.lane < LANES:
            raise CodecError(f"lane {self.lane}, must be 0 to {LANES - 1}")
        if not 0 <= self.flags <= FLAGS_KNOWN:
            raise CodecError(f"flags {int(self.flags):#x}, known are {FLAGS_KNOWN:#x}")
        tail = self.extension.pack()
        units = len(tail) // 8
        tail += self.body
        # One field a line of frame.tsv, in its order.
        fields = (
            MAGIC, VERSION, self.kind, self.flags, self.lane, units, len(self.body), self.seq,
            self.call_id, self.time_ns, self.source, self.destination, self.action_id,
            self.attempt, self.tenant, self.aux, self.aux2, crc32c(tail), 0,
        )  # fmt: skip
        try:
            header = HEADER.pack(*fields)[:-4]
        except struct.error as error:
            raise CodecError(f"{self!r}: a field does not fit ({error})") from error
        packed = header + crc32c(header).to_bytes(4, "little") + tail
        return packed + bytes(-len(packed) % ALIGN_BYTES)

    @classmethod
    def unpack(cls, data: bytes, *, seq: int | None = None) -> Frame:
        """Read the frame at the front of ``data``; what follows it is not looked at.

        A PAD frame covers what is left of its lap: only its header is read.

        Args:
            data: At least one frame, padding included.
            seq: The sequence number it must have; None takes any.

        Raises: CodecError for anything that breaks a rule of ``protocol/frame.tsv``.
        """
        if len(data) < HEADER_BYTES:
            raise CodecError(f"{len(data)} bytes, a header has {HEADER_BYTES}")
        (
            magic, version, kind, flags, lane, units, body_bytes, found_seq, call_id, time_ns,
            source, destination, action_id, attempt, tenant, aux, aux2, body_crc, header_crc,
        ) = HEADER.unpack_from(data)  # fmt: skip
        if magic != MAGIC or version != VERSION:
            raise CodecError(f"magic {magic:#06x} version {version}, expected 0x4454 version 1")
        if header_crc != crc32c(data[: HEADER_BYTES - 4]):
            raise CodecError("header CRC differs", offset=0x3C)
        if seq is not None and found_seq != seq:
            raise CodecError(f"seq {found_seq}, expected {seq}", offset=0x0C)
        if kind not in Kind.__members__.values():
            raise CodecError(f"kind {kind} is unknown", offset=0x03)
        if flags & ~FLAGS_KNOWN:
            raise CodecError(f"flags {flags:#x}, known are {FLAGS_KNOWN:#x}", offset=0x04)
        if lane >= LANES or units > EXT_UNITS_MAX:
            raise CodecError(f"lane {lane}, ext_units {units}: at most 3 and 32", offset=0x06)
        extension, body = NO_EXTENSION, b""
        if kind != Kind.PAD:
            if frame_span_bytes(units, body_bytes) > len(data):
                raise CodecError(f"body of {body_bytes} bytes is cut off", offset=0x08)
            middle = HEADER_BYTES + 8 * units
            if body_crc != crc32c(data[HEADER_BYTES : middle + body_bytes]):
                raise CodecError("body CRC differs", offset=0x38)
            extension = Extension.unpack(data[HEADER_BYTES:middle])
            body = bytes(data[middle : middle + body_bytes])
        return cls(
            kind=Kind(kind), flags=Flag(flags), lane=lane, seq=found_seq, call_id=call_id,
            time_ns=time_ns, source=source, destination=destination, action_id=action_id,
            attempt=attempt, tenant=tenant, aux=aux, aux2=aux2, extension=extension, body=body,
        )  # fmt: skip


def frame_span_bytes(ext_units: int, body_bytes: int) -> int:
    """Tell how many bytes of a ring a frame takes: header, extension, body, rounded up to 64."""
    return -(-(HEADER_BYTES + 8 * ext_units + body_bytes) // ALIGN_BYTES) * ALIGN_BYTES
