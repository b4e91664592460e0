"""What a worker process and its parent say to each other: length, then one MessagePack map.

Both ends decode into these types, so a message of another shape is refused where it arrives. What
comes from a worker is input: a handler may have written anything into its process.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

HEAD = struct.Struct("<I")
"""Length of the message that follows, in bytes."""
MESSAGE_BYTES_MAX = 256 * 2**20
"""One message, either way; a longer one is not read."""


class Setup(msgspec.Struct, tag_field="kind", tag="setup"):
    """Parent, first: what the worker has to know of its parent."""

    sys_path: list[str]
    main_path: str | None
    """The user's script, if handlers may live in it."""


class Job(msgspec.Struct, tag_field="kind", tag="job"):
    """Parent: one attempt."""

    number: int
    """Comes back with everything the attempt says, so that nothing late is taken for another's."""
    module: str
    qualname: str
    implementation: str
    # Any: payloads and outputs are any plain values.
    payload: Any
    inputs: dict[str, Any]
    run_id: str
    step_id: str
    attempt: int
    item: int | None
    idempotency_key: str
    errors: dict[str, str] = {}
    """Exception class name to the failure type that twins share."""
    log_level: int = 0
    """Log records below it are not wanted."""
    traceback_chars_max: int = 16_384
    cpus: str = ""
    """Where to run it, as ``0-3,8``; empty: where the worker was started."""


class Cancel(msgspec.Struct, tag_field="kind", tag="cancel"):
    """Parent: the job is asked to stop."""

    number: int


class Ready(msgspec.Struct, tag_field="kind", tag="ready"):
    """Worker, first: it listens."""


class Progress(msgspec.Struct, tag_field="kind", tag="progress"):
    """Worker: how far the job is."""

    number: int
    done: int
    total: int


class Said(msgspec.Struct, tag_field="kind", tag="said"):
    """Worker: one log record, as text."""

    number: int
    name: str
    level: int
    text: str
    created: float
    path: str = ""
    line: int = 0
    function: str = ""
    traceback: str = ""
    pid: int = 0


class Done(msgspec.Struct, tag_field="kind", tag="done"):
    """Worker, last of a job: its output."""

    number: int
    output: Any


class Failed(msgspec.Struct, tag_field="kind", tag="failed"):
    """Worker, last of a job: why it failed."""

    number: int
    type: str
    message: str
    traceback: str | None = None


ToWorker = Setup | Job | Cancel
"""What a parent says."""
FromWorker = Ready | Progress | Said | Done | Failed
"""What a worker says."""


def pack(message: ToWorker | FromWorker) -> bytes:
    """Encode a message with its length.

    Raises: ValueError if it is longer than ``MESSAGE_BYTES_MAX``; what msgspec raises.
    """
    body = msgspec.msgpack.encode(message)
    if len(body) > MESSAGE_BYTES_MAX:
        raise ValueError(f"{len(body)} bytes between processes, at most {MESSAGE_BYTES_MAX}")
    return HEAD.pack(len(body)) + body
