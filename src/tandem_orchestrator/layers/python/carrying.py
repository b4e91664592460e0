"""Outputs of actions with a codec, or that are transient: objects in them become stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tandem_orchestrator.errors import NotAValue
from tandem_orchestrator.layers.python.agents import ActionHandle
from tandem_orchestrator.model.carried import encoded, held
from tandem_orchestrator.model.refs import RESERVED_KEYS
from tandem_orchestrator.model.values import DEPTH_MAX, to_value


# Any: outputs are whatever the handler gives.
def output_value(output: Any, handle: ActionHandle | None, run_id: str, where: str) -> Any:
    """Make a value of a handler's output, by its action's codec or by reference where need be.

    Raises: NotAValue, naming the path.
    """
    codec = None if handle is None else handle.codec
    if codec is not None:
        plain = codec

        def stand_in(obj: Any) -> Any:
            return encoded(plain, obj, lambda data: to_value(data, where=where))

        return _carry(output, stand_in, where, 0)
    if handle is not None and handle.entry.transient and run_id:  # a message has no run that ends
        return _carry(output, lambda obj: held(run_id, obj), where, 0)
    return to_value(output, where=where)


def _carry(obj: Any, stand_in: Callable[[Any], Any], where: str, depth: int) -> Any:
    """Convert what can be; what cannot gets a stand-in, as far out as an object of its own."""
    try:
        return to_value(obj, where=where)
    except NotAValue:
        if depth >= DEPTH_MAX:
            raise
    if type(obj) in (list, tuple):
        return [_carry(o, stand_in, f"{where}[{i}]", depth + 1) for i, o in enumerate(obj)]
    if type(obj) is dict and all(type(key) is str for key in obj):
        result = {
            key: _carry(item, stand_in, f"{where}.{key}", depth + 1) for key, item in obj.items()
        }
        if len(result) <= 2 and not RESERVED_KEYS.isdisjoint(result):
            return {"$literal": result}
        return result
    return stand_in(obj)
