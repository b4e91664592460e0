"""What may be asked of a run in progress, and the event that each wish is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tandem_orchestrator.engine.holding import decide
from tandem_orchestrator.engine.request import Decision, Wish
from tandem_orchestrator.engine.state import ROOT, RunState
from tandem_orchestrator.errors import Busy, CommandError
from tandem_orchestrator.model.events import (
    AnyEvent,
    RunContinued,
    RunPaused,
    SignalReceived,
    StepApproved,
)

NAMED_MAX = 20
"""Steps that an error names."""
NAME_CHARS_MAX = 200
"""Of a signal."""


def event_of(
    state: RunState, wish: Wish, output_bytes_max: int, signals_max: int
) -> AnyEvent | None:
    """Check a wish and give it as an event; None where things are so already.

    Raises: CommandError naming what can be asked. Busy if the run keeps no more signals.
    """
    match wish.kind:
        case "pause":
            if state.cancelled:
                raise CommandError("it is being cancelled")
            return None if state.paused else RunPaused(by=wish.by)
        case "continue":
            queued = not state.groups[ROOT].started
            return RunContinued(by=wish.by, queued=queued) if state.paused else None
        case "approve":
            return _approval(state, wish)
        case "signal":
            return _signal(state, wish, output_bytes_max, signals_max)
        case "retry":
            return _retry(state, wish)
    raise CommandError(f"{wish.kind!r} is nothing that can be asked of a run in progress")


def _text(wish: Wish, name: str) -> str:
    text = wish.body.get(name)
    if not isinstance(text, str) or not text:
        raise CommandError(f"{name}={text!r}, expected a text")
    return text


def _named(steps: Iterable[str]) -> str:
    return ", ".join(repr(step) for step in list(steps)[:NAMED_MAX]) or "none"


def _approval(state: RunState, wish: Wish) -> StepApproved:
    step, approved = _text(wish, "step"), wish.body.get("approved", True)
    if not isinstance(approved, bool):
        raise CommandError(f"approved={approved!r}, expected true or false")
    if state.waiting.get(step) != "":
        waits = _named(name for name, signal in state.waiting.items() if not signal)
        raise CommandError(f"step {step!r} does not wait for an approval; those that do: {waits}")
    note = str(wish.body.get("note") or "")
    return StepApproved(step=step, approved=approved, by=wish.by, note=note, at=wish.at)


def _signal(state: RunState, wish: Wish, output_bytes_max: int, signals_max: int) -> SignalReceived:
    name, payload = _text(wish, "name"), wish.body.get("payload")
    if len(name) > NAME_CHARS_MAX:
        raise CommandError(f"name={name[:40]!r}…: at most {NAME_CHARS_MAX} characters")
    size = _size(payload)
    if size > output_bytes_max:
        text = f"the payload takes {size} bytes, at most {output_bytes_max}"
        raise CommandError(f"signal {name!r}: {text} (limits.output_bytes_max)")
    step = next((step for step, signal in state.waiting.items() if signal == name), None)
    kept = sum(len(payloads) for payloads in state.signals.values())
    if step is None and kept >= signals_max:
        text = f"{kept} signals are kept that no step has waited for (limits.signals_max)"
        raise Busy(f"signal {name!r}: {text}")
    return SignalReceived(name=name, payload=payload, step=step, by=wish.by)


# Any: a payload is any value.
def _size(payload: Any) -> int:
    return len(msgspec.msgpack.encode(payload))


def _retry(state: RunState, wish: Wish) -> AnyEvent:
    held = set(state.held.values())
    step = min(held) if wish.body.get("step") is None and len(held) == 1 else _text(wish, "step")
    mine = [name for name, at in state.held.items() if at == step]
    if not mine:
        text = f"step {step!r} waits for no decision, and the run has not ended"
        raise CommandError(f"{text}; those that wait: {_named(sorted(held))}")
    note = str(wish.body.get("note") or "")
    decision = Decision(mine[0], step, None, by=wish.by, note=note, again=True)
    return decide(state, decision, 0)
