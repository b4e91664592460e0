"""Extension records between a frame's header and its body, in plain Python.

A record is ``{u16 type, u16 bytes, data, zero padding to 8}``, little-endian. The top bit of the
type, ``CRITICAL``, means "refuse if unknown"; an unknown type without it is stepped over. Each
known type comes at most once. The table is ``protocol/frame.tsv``; the C twin is
``native/src/wire/extension.c``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from tandem_orchestrator.layers.native.codec import CodecError

EXT_UNITS_MAX = 32
"""Length of all records of a frame, in units of 8 bytes."""
KEY_BYTES_MAX = 64
"""Length of an idempotency key."""
CPUS_BYTES_MAX = 128
"""Length of a mask of CPUs."""
CRITICAL = 0x8000


class RecordType(IntEnum):
    """What a record is about; the numbers are ``TDI_EXT_*`` in C."""

    TRACE = 1
    KEY = 2
    FENCE = 3
    TOTAL = 4
    BLOB = 5
    RUN_STEP = 6
    INPUTS = 7
    CPUS = 8


_BYTES = {
    RecordType.TRACE: 25,
    RecordType.FENCE: 8,
    RecordType.TOTAL: 8,
    RecordType.BLOB: 16,
    RecordType.RUN_STEP: 24,
    RecordType.INPUTS: 0,
}
"""Length of the data, for each type that has a fixed one."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The records of one frame; None or False means not there."""

    trace: bytes | None = None
    """Trace id (16), span id (8), flags (1)."""
    key: bytes | None = None
    """Idempotency key, 1 to ``KEY_BYTES_MAX`` bytes."""
    fence: int | None = None
    """Fencing token, u64."""
    total_bytes: int | None = None
    """Length of the whole body; on the first frame of a fragmented one."""
    blob: tuple[int, int] | None = None
    """(id, bytes), both u64."""
    run_step: tuple[bytes, int] | None = None
    """(run id of 16 bytes, step index u32)."""
    inputs: bool = False
    """The body is the 2-array [payload, inputs]; always sent as critical."""
    cpus: bytes | None = None
    """CPUs to run on, one bit each, CPU 0 first; 8 to ``CPUS_BYTES_MAX`` bytes, by eights."""

    def pack(self) -> bytes:
        """Write the records in the order of their types, a multiple of 8 bytes.

        Raises: CodecError if a field has a length that its record cannot have, or if all
        together are longer than ``EXT_UNITS_MAX`` units.
        """
        try:
            packed = b"".join(self._records())
        except struct.error as error:
            raise CodecError(f"{self!r}: a number does not fit ({error})") from error
        if len(packed) > 8 * EXT_UNITS_MAX:
            raise CodecError(f"extension of {len(packed)} bytes, at most {8 * EXT_UNITS_MAX}")
        return packed

    def _records(self) -> Iterator[bytes]:
        if self.trace is not None:
            yield _record(RecordType.TRACE, self.trace)
        if self.key is not None:
            yield _record(RecordType.KEY, self.key)
        if self.fence is not None:
            yield _record(RecordType.FENCE, struct.pack("<Q", self.fence))
        if self.total_bytes is not None:
            yield _record(RecordType.TOTAL, struct.pack("<Q", self.total_bytes))
        if self.blob is not None:
            yield _record(RecordType.BLOB, struct.pack("<QQ", *self.blob))
        if self.run_step is not None:
            run, step = self.run_step
            if len(run) != 16:
                raise CodecError(f"run id of {len(run)} bytes, must be 16")
            yield _record(RecordType.RUN_STEP, run + struct.pack("<II", step, 0))
        if self.inputs:
            yield _record(RecordType.INPUTS, b"", critical=True)
        if self.cpus is not None:
            yield _record(RecordType.CPUS, self.cpus)

    @classmethod
    def unpack(cls, data: bytes) -> Extension:
        """Read records that fill ``data`` exactly.

        Raises: CodecError for a length or padding that does not fit, a known type that comes
        twice, and an unknown one that is critical.
        """
        found: dict[RecordType, bytes] = {}
        at = 0
        while at < len(data):
            if len(data) - at < 8:
                raise CodecError("half a record", offset=at)
            number, length = struct.unpack_from("<HH", data, at)
            span = -(-(4 + length) // 8) * 8
            if span > len(data) - at:
                raise CodecError(f"record of {span} bytes, {len(data) - at} left", offset=at)
            body, padding = data[at + 4 : at + 4 + length], data[at + 4 + length : at + span]
            if any(padding):
                raise CodecError("padding is not zero", offset=at + 4 + length)
            _keep(found, number, body, at)
            at += span
        return cls._of(found)

    @classmethod
    def _of(cls, found: dict[RecordType, bytes]) -> Extension:
        fence, total = found.get(RecordType.FENCE), found.get(RecordType.TOTAL)
        blob, run_step = found.get(RecordType.BLOB), found.get(RecordType.RUN_STEP)
        return cls(
            trace=found.get(RecordType.TRACE),
            key=found.get(RecordType.KEY),
            fence=None if fence is None else int.from_bytes(fence, "little"),
            total_bytes=None if total is None else int.from_bytes(total, "little"),
            blob=None if blob is None else struct.unpack("<QQ", blob),
            run_step=None
            if run_step is None
            else (run_step[:16], int.from_bytes(run_step[16:20], "little")),
            inputs=RecordType.INPUTS in found,
            cpus=found.get(RecordType.CPUS),
        )


def _record(kind: RecordType, data: bytes, *, critical: bool = False) -> bytes:
    _check_bytes(kind, len(data), None)
    head = struct.pack("<HH", kind | (CRITICAL if critical else 0), len(data))
    return head + data + bytes(-(4 + len(data)) % 8)


def _check_bytes(kind: RecordType, length: int, offset: int | None) -> None:
    if kind is RecordType.KEY:
        if not 1 <= length <= KEY_BYTES_MAX:
            message = f"idempotency key of {length} bytes, must be 1 to {KEY_BYTES_MAX}"
            raise CodecError(message, offset=offset)
    elif kind is RecordType.CPUS:
        if not 8 <= length <= CPUS_BYTES_MAX or length % 8:
            message = f"mask of {length} bytes, must be 8 to {CPUS_BYTES_MAX} by eights"
            raise CodecError(message, offset=offset)
    elif length != _BYTES[kind]:
        raise CodecError(f"{kind.name}: {length} bytes, must be {_BYTES[kind]}", offset=offset)


def _keep(found: dict[RecordType, bytes], number: int, data: bytes, offset: int) -> None:
    critical, plain = bool(number & CRITICAL), number & ~CRITICAL
    if plain == 0:
        raise CodecError("record of type 0", offset=offset)
    if plain not in RecordType.__members__.values():
        if critical:
            raise CodecError(f"record of unknown type {number:#06x}", offset=offset)
        return
    kind = RecordType(plain)
    if kind in found:
        raise CodecError(f"record {kind.name} comes twice", offset=offset)
    _check_bytes(kind, len(data), offset)
    if kind is RecordType.INPUTS and not critical:
        raise CodecError("record INPUTS must be critical", offset=offset)
    found[kind] = data
