"""Run twins in a test: what exported tests call."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tandem_orchestrator import Agent, CapsuleError, Settings, TandemOrchestrator
from tandem_orchestrator.orchestrator.replay import TIMEOUT_S, Replayed, replaying
from tandem_orchestrator.twins import Capsule
from tandem_orchestrator.twins.capsule_file import capsule_from_text

FOLDERS_UP = 3
"""Folders above a test in which its modules are looked for."""


# Any below: payloads and inputs are values of any kind.
def run_twins(
    action: str,
    payload: Any,
    *,
    implementations: Sequence[str],
    inputs: dict[str, Any] | None = None,
    modules: Iterable[str] = (),
    near: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Replayed:
    """Run implementations of ``AGENT.ACTION`` on one input, through the real layers, and compare.

    Args:
        implementations: At least two names.
        inputs: Outputs of steps before, as ``ctx.inputs`` has them.
        modules: What offers the agent; imported.
        near: ``__file__``: modules are looked for in its folder and those above as well.

    Raises: CapsuleError if they cannot be run; ImportError.
    """
    agent, _, name = action.rpartition(".")
    capsule = Capsule(
        id=action,
        run="",
        step="",
        agent=agent,
        action=name,
        payload=payload,
        inputs=inputs or {},
        outcomes=tuple({"implementation": each} for each in implementations),
    )
    return replay_capsule(capsule, modules, near=near, timeout_s=timeout_s)


def replay_capsule(
    capsule: Capsule,
    modules: Iterable[str] = (),
    *,
    near: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Replayed:
    """Run a capsule's twins again in an orchestrator of its own. Raises: as ``run_twins``."""
    agents = [agent for module in modules for agent in agents_of(module, near)]

    async def work() -> Replayed:
        async with TandemOrchestrator(replay_settings()) as tandem:
            for agent in agents:
                tandem.add_agent(agent)
            async with replaying(tandem, timeout_s=timeout_s) as replay:
                return await replay.run(capsule)

    return asyncio.run(work())


def replay_settings(settings: Settings | None = None) -> Settings:
    """Give settings, else the usual ones, with a journal in memory and no conflict that waits."""
    import os

    return Settings.load(
        settings,
        environ=os.environ,
        cwd=Path.cwd(),
        overrides={
            "journal.path": ":memory:",
            "redundancy.conflict_resolution": "python_preferred",
        },
    )


def agents_of(module: str, near: str | None = None) -> list[Agent]:
    """Import a module and give the agents in it.

    Raises: ImportError; CapsuleError if there is none in it.
    """
    places = [Path.cwd()]
    if near is not None:
        places += Path(near).resolve().parents[:FOLDERS_UP]
    file = module.replace(".", "/")
    for place in places:
        offers = (place / f"{file}.py").exists() or (place / file / "__init__.py").exists()
        if offers and str(place) not in sys.path:
            sys.path.insert(0, str(place))
            break
    found = vars(importlib.import_module(module)).values()
    agents = [value for value in found if isinstance(value, Agent)]
    if not agents:
        raise CapsuleError(f"module {module!r} has no agent; expected an Agent at its top level")
    return agents


def read_capsule_beside(file: str, name: str) -> Capsule:
    """Read a capsule file that lies beside a test. Raises: CapsuleError, OSError."""
    capsule, _ = capsule_from_text(Path(file).with_name(name).read_text(encoding="utf-8"))
    return capsule
