"""The C half of the parity tests: one program that says what the C layer makes of bytes."""

import os
import struct
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native.codec import (
    CodecError,
    Timestamp,
    canonical,
    decode,
    decode_pair,
)
from tandem_orchestrator.layers.native.frame import Frame, Kind

REPOSITORY = Path(__file__).parents[2]
OK, FAILED, CORRUPT = 0, 1, 9
"""``td_status`` in the program's answers."""


@pytest.fixture(scope="session")
def native_verdicts() -> Callable[[str, Iterable[bytes]], list[str]]:
    """Ask C about many records at once: ``native_verdicts("body" or "frame", records)``."""
    folder = os.environ.get("TANDEM_NATIVE_TOOLS", "")
    program = Path(folder, "td_verdicts")
    if not folder or not program.is_file():
        reason = (
            f"TANDEM_NATIVE_TOOLS={folder!r} holds no td_verdicts; "
            "`tools/test-native plain` builds it, `make test` does both"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    def ask(kind: str, records: Iterable[bytes]) -> list[str]:
        asked = b"".join(struct.pack("<I", len(record)) + record for record in records)
        done = subprocess.run(
            [program, kind], input=asked, capture_output=True, timeout=50, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        assert done.stderr == b""
        return done.stdout.decode().splitlines()

    return ask


def dump(value: object) -> str:
    """Show a value as ``native/fuzz/dump.h`` does."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{'u' if value >= 0 else 'i'}{value}"
    if isinstance(value, float):
        return "f" + struct.pack(">d", value).hex()
    if isinstance(value, str):
        return "s" + _quoted(value.encode())
    if isinstance(value, bytes):
        return "b" + _quoted(value)
    if isinstance(value, Timestamp):
        return f"t{value.seconds}.{value.nanoseconds:09}"
    if isinstance(value, list):
        return "[" + "".join(f" {dump(item)}" for item in value) + " ]"
    assert isinstance(value, dict)
    return "{" + "".join(f" {dump(k)} {dump(v)}" for k, v in value.items()) + " }"


def _quoted(data: bytes) -> str:
    plain = (chr(b) if 0x20 <= b < 0x7F and b not in b'"\\' else f"\\x{b:02x}" for b in data)
    return '"' + "".join(plain) + '"'


def body_verdict(data: bytes) -> str:
    """Say about a body, by the reference codec, what ``td_verdicts body`` says."""
    try:
        decode_pair(data)
        pair = OK
    except CodecError:
        pair = CORRUPT
    try:
        value = decode(data)
    except CodecError:
        return f"{CORRUPT} {pair} {CORRUPT} 0 - -"
    sorted_body = canonical(value)
    order = OK if sorted_body == data else FAILED
    return f"{OK} {pair} {order} 1 {sorted_body.hex()} {dump(value)}"


def frame_verdict(data: bytes) -> str:
    """Say about a frame, by the reference frame, what ``td_verdicts frame`` says."""
    try:
        frame = Frame.unpack(data)
    except CodecError:
        return f"{CORRUPT} -"
    return f"{OK} {frame_dump(frame, data)}"


def frame_dump(frame: Frame, data: bytes) -> str:
    """Show a frame as ``native/fuzz/frame_dump.h`` does."""
    extension = frame.extension
    # Two fields are no part of a Frame, which has the bytes themselves.
    body_bytes = int.from_bytes(data[8:12], "little")
    shown = [
        f"kind={int(frame.kind)} flags={int(frame.flags)} lane={frame.lane} ext_units={data[7]}",
        f"body_bytes={body_bytes} seq={frame.seq} call_id={frame.call_id}",
        f"time_ns={frame.time_ns} source={frame.source} destination={frame.destination}",
        f"action_id={frame.action_id} attempt={frame.attempt} tenant={frame.tenant}",
        f"aux={frame.aux} aux2={frame.aux2}",
    ]
    if extension.trace is not None:
        shown.append(f"trace={extension.trace.hex()}")
    if extension.key is not None:
        shown.append(f"key={extension.key.hex()}")
    if extension.fence is not None:
        shown.append(f"fence={extension.fence}")
    if extension.total_bytes is not None:
        shown.append(f"total_bytes={extension.total_bytes}")
    if extension.blob is not None:
        shown.append("blob")
    if extension.run_step is not None:
        shown.append("run_step")
    if extension.inputs:
        shown.append("inputs")
    if extension.cpus is not None:
        shown.append(f"cpus={extension.cpus.hex()}")
    if frame.kind != Kind.PAD and frame.body:
        shown.append(f"body={frame.body.hex()}")
    return " ".join(shown)


def table(path: str) -> list[dict[str, str]]:
    """Read a tab-separated table of ``protocol/``; the first line that is no comment names it."""
    lines = (REPOSITORY / "protocol" / path).read_text().splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    names = lines[0].split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]
    assert rows, path
    return rows


@pytest.fixture(scope="session", name="table")
def table_fixture() -> Callable[[str], list[dict[str, str]]]:
    """Give tests ``table(path)``."""
    return table


@pytest.fixture(scope="session", name="body_verdict")
def body_verdict_fixture() -> Callable[[bytes], str]:
    """Give tests ``body_verdict(data)``."""
    return body_verdict


@pytest.fixture(scope="session", name="frame_verdict")
def frame_verdict_fixture() -> Callable[[bytes], str]:
    """Give tests ``frame_verdict(data)``."""
    return frame_verdict
