"""Typed buffers, compared element by element: ``{"$buffer": {dtype, shape, data, kind}}``."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from tandem_orchestrator.model.comparing import Tolerance
from tandem_orchestrator.twins.tolerance import EXACT, numbers_agree

BUFFER_DIFFERENCES_MAX = 10
"""Elements of one buffer that are listed; the first ones."""
CHUNK_BYTES = 4096
"""What is passed over at once where both sides have the same bytes."""
_CODES = {
    "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u8": "B", "u16": "H", "u32": "I",
    "u64": "Q", "f16": "e", "f32": "f", "f64": "d",
}  # fmt: skip
_WIDTHS = {"b": 1, "B": 1, "h": 2, "H": 2, "e": 2, "i": 4, "I": 4, "f": 4, "q": 8, "Q": 8, "d": 8}


def buffer_body(value: Any) -> dict[str, Any] | None:
    """Give what is in a well-formed buffer, or None."""
    body = value.get("$buffer") if type(value) is dict and len(value) == 1 else None
    if type(body) is not dict or type(body.get("data")) is not bytes:
        return None
    code = _CODES.get(body.get("dtype", ""))
    if code is None or type(body.get("shape")) is not list or len(body["data"]) % _WIDTHS[code]:
        return None
    return body


def buffer_differences(
    left: dict[str, Any], right: dict[str, Any], tolerance: Tolerance
) -> Iterator[tuple[str, Any, Any]]:
    """Give (path below the buffer's, left, right) for what differs in two well-formed ones.

    A shape that differs stands for all the rest, as does a dtype unless the tolerance says
    ``numeric``; of the elements the first ``BUFFER_DIFFERENCES_MAX`` are given.
    """
    parts = ("shape",) if tolerance.numeric else ("shape", "dtype", "kind")
    for part in parts:
        if left.get(part) != right.get(part):
            yield f"/$buffer/{part}", left.get(part), right.get(part)
            if part != "kind":
                return
    for count, (index, a, b) in enumerate(_elements(left, right, tolerance), start=1):
        yield f"/$buffer/data/{index}", a, b
        if count == BUFFER_DIFFERENCES_MAX:
            return


def _elements(
    left: dict[str, Any], right: dict[str, Any], tolerance: Tolerance
) -> Iterator[tuple[int, Any, Any]]:
    one, other = left["data"], right["data"]
    code, code_b = _CODES[left["dtype"]], _CODES[right["dtype"]]
    width, width_b = _WIDTHS[code], _WIDTHS[code_b]
    length, length_b = len(one) // width, len(other) // width_b
    if length != length_b:
        yield min(length, length_b), f"{length} elements", f"{length_b} elements"
        return
    per_chunk = CHUNK_BYTES // 8
    bits = 8 * max(width, width_b)
    by_bits = tolerance == EXACT
    for start in range(0, length, per_chunk):
        end = min(start + per_chunk, length)
        a, b = one[start * width : end * width], other[start * width_b : end * width_b]
        if a == b and code == code_b and tolerance.nan_equal:
            continue
        pairs = zip(_numbers(code, a), _numbers(code_b, b), strict=True)
        for i, (x, y) in enumerate(pairs):
            if by_bits:
                agree = a[i * width : (i + 1) * width] == b[i * width : (i + 1) * width]
            else:
                agree = numbers_agree(x, y, tolerance, bits)
            if not agree:
                yield start + i, x, y


def _numbers(code: str, data: bytes) -> tuple[Any, ...]:
    return struct.unpack(f"={len(data) // _WIDTHS[code]}{code}", data)
