"""A/A calibration, done: one implementation run twice on the same inputs, through the real layers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.model.catalogue import Action, nearest
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.events import AnyEvent, AttemptEnded
from tandem_orchestrator.twins import Calibration, Ended, clean, learn

if TYPE_CHECKING:
    from tandem_orchestrator.orchestrator.orchestrator import TandemOrchestrator

INPUTS_MAX = 10_000
"""Inputs of one calibration."""
AT_ONCE = 256
"""Inputs that are given out together."""
PAUSE_S = 1.1
"""Between the two passes, where nothing else is said: a stamp in whole seconds has moved on."""
_STEP = "calibrated"


# Any: payloads are values of any kind.
async def calibrate(
    tandem: TandemOrchestrator,
    clock: Clock,
    action: Action,
    payloads: Sequence[Any],
    *,
    implementation: str | None = None,
    timeout_s: float = 30.0,
    pause_s: float = PAUSE_S,
) -> Calibration:
    """Run one side of an action twice on each payload and learn what is noise.

    All inputs are gone through once, then again: a clock has moved on in between, and what runs at
    the same time comes in another order. The cache of results is emptied before each pass.

    Raises: CommandError if the action may not be run twice, or there is nothing to learn from.
    """
    chosen = _choose(action, implementation)
    if not payloads:
        label = f"{action.agent}.{action.name}"
        raise CommandError(f"calibrate: no input for {label}, given or in the journal's runs")
    if len(payloads) > INPUTS_MAX:
        raise CommandError(f"calibrate: {len(payloads)} inputs, at most {INPUTS_MAX}")
    passes = []
    for number in range(2):
        if number:
            await _pause(clock, pause_s)
        tandem.cache.clear()
        passes.append(await _pass(tandem, action, chosen, payloads, timeout_s))
    pairs = list(zip(*passes, strict=True))
    return learn(pairs, action.compare)


def find_action(tandem: TandemOrchestrator, name: str) -> Action:
    """Find an action by ``agent.action``.

    Raises: CommandError with the nearest names.
    """
    actions = {f"{agent}.{action}": entry for (agent, action), entry in _known(tandem).items()}
    if name in actions:
        return actions[name]
    near = nearest(name, actions)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise CommandError(f"{name!r}: no such action, expected AGENT.ACTION{hint}")


def _known(tandem: TandemOrchestrator) -> dict[tuple[str, str], Action]:
    return {k: a for k, a in tandem.catalogue().actions.items() if a.implementations}


def _choose(action: Action, implementation: str | None) -> str:
    label = f"{action.agent}.{action.name}"
    if not may_repeat(action.effects):
        raise CommandError(
            f"{label}: effects={action.effects!r}, so it is not run twice to calibrate it; declare "
            "effects='none' or 'idempotent' if that is what it has"
        )
    names = [i.name for i in action.implementations]
    chosen = implementation or ("python" if "python" in names else names[0])
    if chosen not in names:
        raise CommandError(f"{label} has no implementation {chosen!r}; it has: {', '.join(names)}")
    return chosen


async def _pass(
    tandem: TandemOrchestrator,
    action: Action,
    implementation: str,
    payloads: Sequence[Any],
    timeout_s: float,
) -> list[Ended]:
    ended: list[Ended] = []
    for start in range(0, len(payloads), AT_ONCE):
        part = payloads[start : start + AT_ONCE]
        found: dict[str, AttemptEnded] = {}

        def note(_run: str, event: AnyEvent, into: dict[str, AttemptEnded] = found) -> None:
            if isinstance(event, AttemptEnded) and event.step.startswith(_STEP):
                into[event.step] = event

        steps = [
            CommandStep(
                id=f"{_STEP}{i}",
                agent=action.agent,
                action=action.name,
                payload=payload,
                implementations=[implementation],
                timeout=timeout_s,
                can_fail=True,
            )
            for i, payload in enumerate(part)
        ]
        name = f"calibrate {action.agent}.{action.name}"
        asked = CommandSet(name=name, mode="intelligent", steps=steps, durability="none")
        async with tandem.listening(note):
            result = await (await tandem.submit(asked)).result()
        if len(found) < len(part):
            raise CommandError(f"{name}: {result['error'] or 'not every input was run'}")
        ended.extend(_end(found[step.id], action) for step in steps)
    return ended


def _end(event: AttemptEnded, action: Action) -> Ended:
    """Give how an attempt ended, its output after the action's hooks."""
    kind = event.failure["type"] if event.failure else None
    rules = action.compare
    if event.outcome != "succeeded" or rules is None:
        return Ended(event.outcome, event.output, rules.failure_kind(kind) if rules else kind)
    cleaned = clean(event.output, rules, action.hooks)
    if cleaned.faults:
        raise CommandError("; ".join(cleaned.faults.values()))
    return Ended(event.outcome, cleaned.value)


async def _pause(clock: Clock, seconds: float) -> None:
    if seconds > 0:
        over = asyncio.Event()
        clock.call_later(seconds, over.set)
        await over.wait()
