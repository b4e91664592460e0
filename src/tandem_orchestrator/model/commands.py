"""Command sets and steps: what a user asks for.

Both are plain mutable requests that check nothing; ``validate``, ``prepare``, ``submit`` and
``execute_command_set`` check everything at once and work on a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tandem_orchestrator.ids import Ids
from tandem_orchestrator.model.levels import CommandType, HardwareAffinity, Priority
from tandem_orchestrator.model.modes import ExecutionMode

_labels = Ids()


@dataclass
class CommandStep:
    """One operation: an agent, an action, a payload."""

    id: str = ""
    """Unique in its set; an empty one becomes ``s1, s2, …`` by position, in the plan."""
    action: str = ""
    """What to do."""
    agent: str = ""
    """Who does it."""
    # Any: a payload is any value, and may hold references.
    payload: Any = field(default_factory=dict)
    """A value; may hold ``Ref``s to the outputs of steps this one depends on."""
    expected_output: dict[str, Any] | None = None
    """A shape (``shapes.py``) that the output must have, or the attempt fails."""
    validation_fn: Callable[..., Any] | str | None = None
    """Called with the output, sync or async; false or an exception fails the attempt."""
    can_fail: bool = False
    """Whether the run goes on when this step fails for good."""
    timeout: float | None = field(default=None, kw_only=True)
    """Seconds for one attempt; above 0. None: no limit of its own."""
    retry_policy: dict[str, Any] | None = field(default=None, kw_only=True)
    """As on the set; None: the set's."""
    for_each: Any = field(default=None, kw_only=True)
    """A Ref or a list: run once for each item, ``Ref("item")`` inside; output is a list."""
    when: dict[str, Any] | None = field(default=None, kw_only=True)
    """A condition (``conditions.py``); false means ``skipped``."""
    command_set: CommandSet | None = field(default=None, kw_only=True)
    """A nested command set in place of agent and action."""
    implementations: tuple[str, ...] | list[str] | None = field(default=None, kw_only=True)
    """Names of the implementations to use, overriding mode and router."""
    on_item_failure: str = field(default="fail", kw_only=True)
    """``fail`` or ``collect``: what a failed item of a ``for_each`` does."""


@dataclass
class CommandSet:
    """What a user asks for: steps, their order, how and how urgently to run them."""

    id: str = field(default_factory=_labels.make)
    """A label, made up if not given; the run has an id of its own."""
    name: str = ""
    """For people."""
    type: CommandType | str = CommandType.WORKFLOW
    """The level."""
    mode: ExecutionMode | str | None = None
    """None: the configured default."""
    priority: Priority | str | None = None
    """None: the configured default."""
    steps: list[CommandStep] = field(default_factory=list)
    """The operations."""
    dependencies: dict[str, list[str]] = field(default_factory=dict)
    """Step id to the ids of the steps it waits for."""
    parallel_allowed: bool = True
    """Whether independent steps may run at the same time."""
    timeout: float | None = None
    """Seconds for the whole run; above 0."""
    retry_policy: dict[str, Any] = field(default_factory=dict)
    """``max_retries, backoff, initial_delay, max_delay, jitter, retry_on``; empty: no retry."""
    python_handler: Callable[..., Any] | str | None = None
    """Gets the whole command set in place of its steps being run; its value is ``results``."""
    requires_libraries: list[str] = field(default_factory=list)
    """Import names that must be found before anything runs."""
    c_optimized: bool = False
    """A hint that native implementations exist; with SPEED_CRITICAL a requirement."""
    hardware_affinity: HardwareAffinity | str = HardwareAffinity.AUTO
    """Which cores are wished for."""
    durability: str | None = field(default=None, kw_only=True)
    """``sync | group | async | none``; None: the mode's default."""
    idempotency_key: str | None = field(default=None, kw_only=True)
    """The same key with the same body gives the same run."""
    on_failure: str = field(default="stop", kw_only=True)
    """``stop`` or ``drain``: what a failed step means for branches that do not depend on it."""
    on_change: str = field(default="hold", kw_only=True)
    """``continue | restart | hold``: when an unfinished step meets another action version."""
    conflict_resolution: str | None = field(default=None, kw_only=True)
    """What settles its conflicts; None: the setting ``redundancy.conflict_resolution``."""
