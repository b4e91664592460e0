"""What the simulated programs do: actions with a known answer, and command sets drawn by seed.

The answer of an action depends on its payload alone, so that every output can be checked whoever
made it. What an action did to the outside world is counted in ``Effects``, which no crash touches.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.agents import system

PURE, IDEM, EXT = "pure", "idem", "ext"
EFFECTS = {PURE: "none", IDEM: "idempotent", EXT: "external"}
FOREVER_S = 50.0
"""A step that sleeps so long has a time limit."""


def answer(x: Any) -> dict[str, Any]:
    """Give an action's output."""
    return {"y": (x * 7 + 3) % 10_007 if isinstance(x, int) else -1}


class Effects:
    """What happened outside, by run, step and item; and with which attempts."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.times: Counter[tuple[str, str, int | None]] = Counter()
        self.attempts: defaultdict[tuple[str, str, int | None], list[int]] = defaultdict(list)
        self.watch: Callable[[str], None] = lambda run_id: None
        """Told of every run that does something, by whom it is done."""

    def happens(self, run_id: str, step: str, item: int | None, attempt: int, where: str) -> None:
        """Count one effect of an external action."""
        self._say(f"effect {run_id} {step} {item} attempt {attempt} {where}")
        self.times[run_id, step, item] += 1
        self.attempts[run_id, step, item].append(attempt)


def register(tandem: TandemOrchestrator, effects: Effects) -> None:
    """Register the Python side of agent ``sim``, and agents ``py`` and ``system``."""
    tandem.add_agent(system.agent)
    for name in ("sim", "py"):
        agent = tandem.register_agent(name)
        for action, kind in EFFECTS.items():

            async def handler(payload: Any, ctx: Any, action: str = action) -> Any:
                seconds = payload.get("s", 0.0)
                effects.watch(ctx.run_id)
                await asyncio.sleep(seconds * payload.get("at", 0.5))
                if action == EXT:
                    effects.happens(ctx.run_id, ctx.step_id, ctx.item, ctx.attempt, "python")
                await asyncio.sleep(seconds * (1 - payload.get("at", 0.5)))
                if ctx.attempt <= payload.get("fail", 0):
                    raise ValueError("told to fail")
                return answer(payload.get("x"))

            agent.action(action, effects=kind)(handler)


@dataclass(frozen=True)
class Wanted:
    """One command set that a program will ask for, and when."""

    name: str
    at_s: float
    command_set: CommandSet
    cancel_s: float | None = None
    pause_s: float | None = None


def draw(rng: random.Random, name: str, span_s: float) -> Wanted:
    """Draw one command set and the moment at which it is asked for."""
    count = rng.choice((1, 2, 2, 3, 4, 6))
    retry: dict[str, Any] = {}
    if rng.random() < 0.5:
        retry = {"max_retries": rng.randint(1, 3), "initial_delay": rng.choice((0.05, 1.0))}
        if rng.random() < 0.3:
            retry["retry_on"] = ["failed", "unknown", "timed_out"]
    steps: list[CommandStep] = []
    dependencies: dict[str, list[str]] = {}
    for i in range(count):
        step_id = f"s{i}"
        before = [f"s{n}" for n in range(i) if rng.random() < 0.5]
        if before:
            dependencies[step_id] = before
        steps.append(_step(rng, step_id, before, [step.id for step in steps if _gives_y(step)]))
    mode = rng.choice(("intelligent", "intelligent", "python_only", "redundant"))
    if mode == "redundant" and not any(s.agent == "sim" and s.action != EXT for s in steps):
        mode = "intelligent"
    if mode != "intelligent":
        for step in steps:
            step.implementations = None
            if step.agent == "nat":
                step.agent = "sim"
    made = CommandSet(
        id=name,
        name=name,
        mode=mode,
        priority=rng.choice(("background", "low", "medium", "high", "critical")),
        steps=steps,
        dependencies=dependencies,
        timeout=rng.choice((None, None, None, 20.0)),
        retry_policy=retry,
        durability=rng.choice(("group", "group", "group", "sync", "async")),
        idempotency_key=f"key-{name}" if rng.random() < 0.4 else None,
        on_failure=rng.choice(("stop", "stop", "drain")),
        conflict_resolution=None,
    )
    return Wanted(
        name,
        rng.random() * span_s,
        made,
        rng.random() * span_s if rng.random() < 0.12 else None,
        rng.random() * span_s if rng.random() < 0.08 else None,
    )


def _gives_y(step: CommandStep) -> bool:
    return step.agent != "system" and step.for_each is None


def _step(rng: random.Random, step_id: str, before: list[str], sources: list[str]) -> CommandStep:
    kind = rng.random()
    if kind < 0.05:
        payload: dict[str, Any] = {"prompt": "?"}
        return CommandStep(id=step_id, agent="system", action="approval", payload=payload)
    if kind < 0.09:
        payload = {"name": rng.choice(("go", "stop"))}
        return CommandStep(id=step_id, agent="system", action="wait_signal", payload=payload)
    refs = [name for name in before if name in sources]
    x: Any = rng.randint(0, 999)
    if refs and rng.random() < 0.7:
        x = Ref(rng.choice(refs), "y", default=5)
    payload = {"x": x, "s": rng.choice((0.0, 0.001, 0.02, 0.3, 1.5)), "at": rng.random()}
    if rng.random() < 0.2:
        payload["fail"] = rng.randint(1, 2)
    timeout = None
    if rng.random() < 0.12:
        timeout = rng.choice((0.2, 1.0))
        if rng.random() < 0.5:
            payload["s"] = FOREVER_S
    items = None
    if rng.random() < 0.15:
        items = [rng.randint(0, 99) for _ in range(rng.randint(0, 4))]
        payload["x"] = Ref("item")
    when = None
    if refs and rng.random() < 0.15:
        when = {"ref": Ref(rng.choice(refs), "y"), "op": "gt", "value": 5_000}
    agent = rng.choice(("sim", "sim", "py", "nat", "nat"))
    return CommandStep(
        id=step_id,
        agent=agent,
        action=rng.choice((PURE, PURE, IDEM, EXT, EXT)),
        payload=payload,
        can_fail=rng.random() < 0.3,
        timeout=timeout,
        for_each=items,
        when=when,
        on_item_failure=rng.choice(("fail", "collect")),
        implementations=("c",) if agent == "sim" and rng.random() < 0.4 else None,
    )
