"""Values: what payloads and outputs are made of, and how Python objects become them.

A value is None, bool, an int in [-2**63, 2**64), float, str (valid UTF-8), bytes, list, or dict
with str keys. Conversion copies; nothing a caller holds is shared with a run.

| Python object                          | value                                              |
|----------------------------------------|----------------------------------------------------|
| dataclass, msgspec Struct              | dict of its fields                                 |
| datetime, date, time                   | ISO 8601 string                                    |
| timedelta                              | seconds, float                                     |
| Decimal, UUID                          | str                                                |
| Path                                   | str; if not UTF-8 ``{"path", "path_raw"}``         |
| Enum                                   | its value, converted                               |
| tuple                                  | list                                               |
| bytearray                              | bytes                                              |
| NumPy array, ``array``, ``memoryview`` | ``{"$buffer": {dtype, shape, data, kind}}``        |
| NumPy scalar                           | int, float or bool                                 |
| any, by an action's codec              | ``{"$codec": {codec, data}}``, in outputs only     |
| any, of a transient action             | ``{"$transient": {type, run, …}}``, likewise       |
| ``Ref``                                | ``{"$ref": "step#/path"}``, in payloads only       |
"""

from __future__ import annotations

import array
import datetime
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from tandem_orchestrator.errors import NotAValue
from tandem_orchestrator.model.carried import restored
from tandem_orchestrator.model.refs import RESERVED_KEYS, Ref

INT_MIN, INT_MAX = -(2**63), 2**64 - 1
DEPTH_MAX = 32
"""Containers within containers; the wire's own limit."""

_ATOMS = frozenset({type(None), bool, float, bytes})


def to_value(obj: Any, *, where: str = "", payload: bool = False) -> Any:
    """Copy a Python object into a plain value.

    Args:
        obj: Anything in the table above.
        where: Path for the error message, as ``step 'scan' payload``.
        payload: True for payloads, in which references and reserved forms keep their meaning;
            False for outputs, in which a look-alike is wrapped in ``$literal``.

    Raises: NotAValue, naming the path, the type and what was expected.
    """
    return _convert(obj, where, payload, 0)


def _convert(obj: Any, where: str, payload: bool, depth: int) -> Any:
    kind = type(obj)
    if kind in _ATOMS:
        return obj
    if kind is str:
        return _checked_str(obj, where)
    if kind is int:
        return _checked_int(obj, where)
    if depth >= DEPTH_MAX:
        raise NotAValue(f"{where}: nested deeper than {DEPTH_MAX} levels")
    if kind is dict:
        return _convert_dict(obj, where, payload, depth)
    if kind is list or kind is tuple:
        return [_convert(o, f"{where}[{i}]", payload, depth + 1) for i, o in enumerate(obj)]
    return _convert_rich(obj, where, payload, depth)


def _convert_dict(obj: Mapping[Any, Any], where: str, payload: bool, depth: int) -> Any:
    result = {}
    for key, item in obj.items():
        if not isinstance(key, str):
            raise NotAValue(f"{where}: key {key!r} is {type(key).__name__}, expected str")
        key = _checked_str(str(key), where)
        result[key] = _convert(item, f"{where}.{key}", payload, depth + 1)
    if not payload and len(result) <= 2 and not RESERVED_KEYS.isdisjoint(result):
        if depth + 1 >= DEPTH_MAX:
            raise NotAValue(f"{where}: nested deeper than {DEPTH_MAX} levels, its $literal counted")
        return {"$literal": result}
    return result


def _convert_rich(obj: Any, where: str, payload: bool, depth: int) -> Any:
    if isinstance(obj, Ref):
        if not payload:
            raise NotAValue(f"{where}: a Ref belongs in a payload, not in an output")
        return (
            Ref(obj.step, obj.path, _convert(obj.default, where, False, depth + 1)).to_value()
            if (obj.has_default)
            else obj.to_value()
        )
    if isinstance(obj, Enum):
        return _convert(obj.value, where, payload, depth)
    if isinstance(obj, bool | float):
        return type(obj).__mro__[-2](obj) if isinstance(obj, bool) else float(obj)
    if isinstance(obj, int):
        return _checked_int(int(obj), where)
    if isinstance(obj, str):
        return _checked_str(str.__str__(obj), where)
    if isinstance(obj, bytes | bytearray):
        return bytes(obj)
    if isinstance(obj, datetime.datetime | datetime.date | datetime.time):
        return obj.isoformat()
    if isinstance(obj, datetime.timedelta):
        return obj.total_seconds()
    if isinstance(obj, Decimal | UUID):
        return str(obj)
    if isinstance(obj, PurePath):
        return path_value(os.fsencode(obj))
    if is_dataclass(obj) and not isinstance(obj, type):
        named = {f.name: getattr(obj, f.name) for f in fields(obj)}
        return _convert_dict(named, where, payload, depth)
    if hasattr(type(obj), "__struct_fields__"):
        named = {name: getattr(obj, name) for name in obj.__struct_fields__}
        return _convert_dict(named, where, payload, depth)
    if isinstance(obj, Mapping):
        return _convert_dict(obj, where, payload, depth)
    if isinstance(obj, list | tuple):
        return _convert(list(obj), where, payload, depth)
    buffer = _buffer_value(obj, where)
    if buffer is not None:
        return buffer
    raise NotAValue(
        f"{where or 'value'}: {type(obj).__name__} is not a value; expected None, bool, int, float, "
        "str, bytes, list, dict, or a type that converts"
    )


def _checked_int(number: int, where: str) -> int:
    if not INT_MIN <= number <= INT_MAX:
        raise NotAValue(f"{where}: {number} is outside [-2**63, 2**64)")
    return number


def _checked_str(text: str, where: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotAValue(f"{where}: {text!r} is not valid UTF-8 ({error.reason})") from None
    return text


def path_value(raw: bytes) -> str | dict[str, Any]:
    """Show a file's name as a value: a str, or ``{"path", "path_raw"}`` if it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"path": raw.decode(errors="replace"), "path_raw": raw}


def _buffer_value(obj: Any, where: str) -> dict[str, Any] | None:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(obj, numpy.generic):
        item = obj.item()
        return None if isinstance(item, numpy.generic) else _convert(item, where, False, 0)
    kind = "numpy" if numpy is not None and isinstance(obj, numpy.ndarray) else type(obj).__name__
    if kind not in ("numpy", "array", "memoryview"):
        return None
    view = memoryview(obj)
    code = view.format.lstrip("@=<")
    if code not in _DTYPES:
        raise NotAValue(f"{where}: buffer items of format {view.format!r} have no dtype here")
    dtype = f"{_DTYPES[code]}{view.itemsize * 8}"
    body = {"dtype": dtype, "shape": list(view.shape or ()), "data": view.tobytes(), "kind": kind}
    return {"$buffer": body}


_DTYPES = {"b": "i", "h": "i", "i": "i", "l": "i", "q": "i", "B": "u", "H": "u", "I": "u"} | {
    "L": "u", "Q": "u", "f": "f", "d": "f", "e": "f"
}  # fmt: skip
_CODES = {"i8": "b", "i16": "h", "i32": "i", "i64": "q"} | {
    "u8": "B", "u16": "H", "u32": "I", "u64": "Q", "f32": "f", "f64": "d", "f16": "e"
}  # fmt: skip


def from_value(value: Any, strict: bool = False) -> Any:
    """Give back Python objects: buffers as the kind that went in, ``$literal`` unwrapped.

    Args:
        strict: Refuse a ``$codec`` or ``$transient`` whose object cannot be had here; without it
            such a stand-in stays what it is, for people to see.

    Raises: NotAValue if a ``$buffer`` is malformed or needs NumPy and NumPy is not there.
    """
    if type(value) is dict:
        if len(value) == 1:
            if "$literal" in value:
                inner = value["$literal"]
                return (
                    {k: from_value(v, strict) for k, v in inner.items()}
                    if isinstance(inner, dict)
                    else inner
                )
            if "$buffer" in value:
                return _from_buffer(value["$buffer"])
            if "$codec" in value or "$transient" in value:
                return restored(value, strict)
        return {key: from_value(item, strict) for key, item in value.items()}
    if type(value) is list:
        return [from_value(item, strict) for item in value]
    return value


def _from_buffer(body: Any) -> Any:
    if not isinstance(body, dict) or not {"dtype", "shape", "data"} <= body.keys():
        raise NotAValue(f"$buffer: expected dtype, shape and data, got {body!r:.80}")
    code = _CODES.get(body["dtype"])
    if code is None:
        raise NotAValue(f"$buffer: dtype {body['dtype']!r}, expected one of {', '.join(_CODES)}")
    kind, data, shape = body.get("kind", "memoryview"), body["data"], body["shape"]
    if kind == "numpy":
        try:
            import numpy  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise NotAValue("$buffer: a NumPy array came in, and numpy is not installed") from error
        return numpy.frombuffer(data, dtype=numpy.dtype(code)).reshape(shape).copy()
    if kind == "array":
        result = array.array(code)
        result.frombytes(data)
        return result
    view: Any = memoryview(data).cast("B")
    # Any: the stubs know each format letter by itself, not one that is looked up.
    return view.cast(code, shape) if shape else view
