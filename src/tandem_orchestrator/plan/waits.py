"""Steps that wait for a person or a signal: which they are, and what they cannot have. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.refs import as_ref
from tandem_orchestrator.plan.flatten import FlatStep

_WAITS: dict[tuple[str, str], Literal["approval", "signal"]] = {
    ("system", "approval"): "approval",
    ("system", "wait_signal"): "signal",
}


def waits_of(flat: FlatStep) -> Literal["", "approval", "signal"]:
    """Say what a step waits for in place of running anything."""
    if flat.step.command_set is not None:
        return ""
    return _WAITS.get((flat.step.agent, flat.step.action), "")


def wait_faults(flat: FlatStep) -> Iterator[Fault]:
    """List what a step that waits cannot have."""
    waits, step, path = waits_of(flat), flat.step, flat.path
    if not waits:
        return
    for name in ("for_each", "validation_fn", "expected_output"):
        if getattr(step, name) is not None:
            text = f"system.{step.action} has no {name}; put it on the step after it"
            yield Fault("bad_type", f"{path}.{name}", text)
    if as_ref(step.payload) is not None:
        return
    payload = step.payload if isinstance(step.payload, dict) else {}
    key = "name" if waits == "signal" else "prompt"
    value = payload.get(key)
    if as_ref(value) is not None or (value is None and waits == "approval"):
        return
    if not isinstance(value, str) or not value:
        text = f"system.{step.action} takes {{{key!r}: text}}"
        yield Fault("bad_type", f"{path}.payload.{key}", text, value)
