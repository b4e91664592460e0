"""Objects that are no values, and how they travel: by a codec's encoding, or by reference.

``{"$codec": {"codec": name, "data": value}}`` stands for an object that the codec of that name
made a value of; it is decoded wherever values become Python objects again. ``{"$transient":
{"type", "run", "holder", "number"}}`` stands for an object that the process ``holder`` holds until
its run ends; it is never written anywhere.

Both tables belong to the process, as imported modules do: values are turned into objects in many
places, also in C, and a name has to mean the same in all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from tandem_orchestrator.errors import CommandError, NotAValue

CODECS_MAX = 1_000
HELD_MAX = 100_000
"""Objects of transient outputs that a process holds for runs that have not ended."""


@runtime_checkable
class Codec(Protocol):
    """Makes values of objects that are none, and back."""

    name: str
    """Unique in the process, and the same in every one that reads the journal."""

    # Any: objects of the user's.
    def encode(self, obj: Any) -> Any:
        """Make a value of an object."""

    def decode(self, value: Any) -> Any:
        """Make the object again."""


_HOLDER = os.urandom(8).hex()
"""This process: another one's stand-in with the same number is not ours."""

_codecs: dict[str, Codec] = {}
_held: dict[str, dict[int, Any]] = {}


def register_codec(codec: object, label: str) -> Codec:
    """Make a codec known by its name.

    Raises: CommandError if it is none, or another one has its name.
    """
    name = getattr(codec, "name", None)
    if not isinstance(codec, Codec) or not isinstance(name, str) or not name:
        text = f"codec={codec!r:.80}, expected an object with name, encode(obj) and decode(value)"
        raise CommandError(f"{label}: {text}")
    known = _codecs.get(name)
    if known is not None and known is not codec and type(known) is not type(codec):
        raise CommandError(f"{label}: codec {name!r} is {known!r:.80} already")
    if known is None and len(_codecs) >= CODECS_MAX:
        raise CommandError(f"{label}: {CODECS_MAX} codecs are registered already")
    _codecs[name] = codec
    return codec


# Any: values, and objects of the user's.
def encoded(codec: Codec, obj: Any, plain: Callable[[Any], Any]) -> dict[str, Any]:
    """Make the value that stands for an object; ``plain`` makes a value of what the codec gives.

    Raises: NotAValue if the codec cannot, or what it gives is no value.
    """
    try:
        data = codec.encode(obj)
    except Exception as error:
        text = f"codec {codec.name!r} cannot encode {type(obj).__name__}"
        raise NotAValue(f"{text}: {type(error).__name__}: {error}") from error
    return {"$codec": {"codec": codec.name, "data": plain(data)}}


def held(run_id: str, obj: Any) -> dict[str, Any]:
    """Hold an object until its run ends, and make what stands for it.

    Raises: NotAValue past ``HELD_MAX``.
    """
    if sum(len(objects) for objects in _held.values()) >= HELD_MAX:
        raise NotAValue(f"{HELD_MAX} transient objects are held already; their runs have to end")
    objects = _held.setdefault(run_id, {})
    objects[len(objects)] = obj
    kind = f"{type(obj).__module__}.{type(obj).__qualname__}"
    number = len(objects) - 1
    return {"$transient": {"type": kind, "run": run_id, "holder": _HOLDER, "number": number}}


def release(run_id: str) -> None:
    """Let go of a run's objects: it has ended."""
    _held.pop(run_id, None)


def restored(value: dict[str, Any], strict: bool) -> Any:
    """Give the object that a ``$codec`` or ``$transient`` stands for; itself where there is none.

    Raises: NotAValue, if ``strict``, for one that is not there; if its codec cannot decode it.
    """
    [(key, body)] = value.items()
    if key == "$transient":
        if isinstance(body, dict) and body.get("holder") == _HOLDER:
            objects = _held.get(str(body.get("run")), {})
            if body.get("number") in objects:
                return objects[body["number"]]
        if strict:
            raise NotAValue(f"{body!r:.80}: a transient object of a run or process that has ended")
        return value
    codec = _codecs.get(str(body.get("codec"))) if isinstance(body, dict) else None
    if codec is None:
        if strict:
            raise NotAValue(f"$codec: {body!r:.80}: nobody registered that codec here")
        return value
    try:
        return codec.decode(body.get("data"))
    except Exception as error:
        text = f"codec {codec.name!r} cannot decode its own value"
        raise NotAValue(f"{text}: {type(error).__name__}: {error}") from error


def is_lost(value: Any) -> bool:
    """Say whether a value holds a stand-in for a transient object that is not held here."""
    if type(value) is list:
        return any(is_lost(item) for item in value)
    if type(value) is not dict:
        return False
    if value.keys() == {"$transient"}:
        return restored(value, strict=False) is value
    return value.keys() != {"$literal"} and any(is_lost(item) for item in value.values())
