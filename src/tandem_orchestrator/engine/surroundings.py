"""What every run of one engine shares."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine.attempt import Caller
from tandem_orchestrator.engine.desk import Desk
from tandem_orchestrator.engine.gates import Gates
from tandem_orchestrator.engine.places import Places
from tandem_orchestrator.engine.request import Observer, ProgressObserver, Witness
from tandem_orchestrator.engine.retry_pace import RetryPace
from tandem_orchestrator.journal.journal import Journal
from tandem_orchestrator.layers.layer import Layer

Spawner = Callable[[Coroutine[Any, Any, None], Any], object]
"""Starts a task that has a parent: (coroutine, context)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every run of one engine shares."""

    layers: Mapping[str, Layer]
    caller: Caller
    journal: Journal
    clock: Clock
    rng: random.Random
    attempts: Places
    """Bounds the attempts in progress, over all runs."""
    output_bytes_max: int
    """Size of one output as the journal keeps it."""
    signals_max: int
    """Signals that one run keeps until somebody waits for them."""
    spawn: Spawner
    observe: Observer
    on_progress: ProgressObserver
    desk: Desk
    gates: Gates
    """Where attempts wait for the limits of their agents and actions."""
    retries: RetryPace
    """Where retries wait for the budgets of their agents."""
    witness: Witness | None = None
