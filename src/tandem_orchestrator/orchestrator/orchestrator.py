"""``TandemOrchestrator``: where a program meets Tandem."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tandem_orchestrator.clock import Clock, SystemClock
from tandem_orchestrator.engine import Engine
from tandem_orchestrator.errors import (
    Closed,
    Fault,
    Forked,
    IdempotencyMismatch,
    NotInitialized,
    WrongLoop,
)
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import Journal, KeyTaken, request_digest
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.layers.python import Agent, PythonLayer, Registry, offered_agents
from tandem_orchestrator.model.catalogue import Action, Catalogue
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.events import LayerChanged
from tandem_orchestrator.model.levels import CommandType
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.model.policies import Policy
from tandem_orchestrator.orchestrator.afterwards import Afterwards
from tandem_orchestrator.orchestrator.ahead import NOTHING_AHEAD, Ahead
from tandem_orchestrator.orchestrator.cache import OutputCache
from tandem_orchestrator.orchestrator.composition import (
    announce,
    cache_bounds,
    quarantine_of,
)
from tandem_orchestrator.orchestrator.express import Express
from tandem_orchestrator.orchestrator.intake import Intake, request_of
from tandem_orchestrator.orchestrator.inventory import Inventory
from tandem_orchestrator.orchestrator.message_doors import MessageDoors
from tandem_orchestrator.orchestrator.messages import Messages
from tandem_orchestrator.orchestrator.parts import Parts
from tandem_orchestrator.orchestrator.planning import Planning
from tandem_orchestrator.orchestrator.plugin_doors import PluginDoors
from tandem_orchestrator.orchestrator.prepared import PreparedPlan
from tandem_orchestrator.orchestrator.probes import BinaryBridge, PythonOrchestrator
from tandem_orchestrator.orchestrator.prompt import Prompt
from tandem_orchestrator.orchestrator.recovery import Recovery
from tandem_orchestrator.orchestrator.retention import Retention
from tandem_orchestrator.orchestrator.run import Run
from tandem_orchestrator.orchestrator.run_doors import RunDoors
from tandem_orchestrator.orchestrator.schedules import Schedules
from tandem_orchestrator.orchestrator.setting_doors import SettingDoors
from tandem_orchestrator.orchestrator.shown_doors import ShownDoors
from tandem_orchestrator.orchestrator.twin_doors import TwinDoors
from tandem_orchestrator.orchestrator.watching import Watching
from tandem_orchestrator.orchestrator.ways import Ways
from tandem_orchestrator.plugins import Plugins
from tandem_orchestrator.settings import Settings


class TandemOrchestrator(MessageDoors, PluginDoors, RunDoors, SettingDoors, ShownDoors, TwinDoors):
    """Runs command sets in both layers and keeps what happened in a journal.

    ``async with TandemOrchestrator() as tandem: …``, or ``await initialize()`` and ``close()``.
    It belongs to the loop that initialised it; several in one process are fine.

    Args:
        config: None (the usual places), a dict shaped like ``tandem_config.json``, the path of
            such a file, or ``Settings``.
        clock, ids, rng: Time, ids and randomness, for tests.

    Raises: ConfigError if a setting is unknown or out of range.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | str | os.PathLike[str] | Settings | None = None,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        rng: random.Random | None = None,
    ) -> None:
        settings = Settings.load(config, environ=os.environ, cwd=Path.cwd())
        self.config = settings.as_config()
        """The settings, section by section; assignment is checked and counts from the next run."""
        self._clock = clock or SystemClock()
        self._ids = ids or Ids(self._clock.wall_ns)
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._registry = Registry()
        self._inventory = Inventory(self._registry, self._native_actions, self._away)
        self._planning = Planning(self.catalogue, lambda: self.settings, lambda: self._parts)
        self._watching = Watching()
        self._plugins = Plugins(
            self._clock,
            lambda: self.settings.orchestrator.plugin_timeout_s,
            self._watching.hearers,
        )
        self.cache = OutputCache(lambda: cache_bounds(self.settings))
        """Outputs of deterministic actions: ``clear()`` and ``stats()``."""
        self._state = "new"
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parts: Parts | None = None
        self._quick: Ways | None = None
        self._recovery: Recovery | None = None
        self._afterwards: Afterwards | None = None
        self._retention: Retention | None = None
        self._changing = asyncio.Lock()
        """Held while it opens or closes."""
        self._closing: asyncio.Future[None] | None = None
        self._make_run = partial(
            Run,
            check=self._here,
            make_id=self._ids.make,
            wall_ns=self._clock.wall_ns,
            look_again=self._look_for_runs,
            retry=self._retry,
            fork=self._fork,
        )
        self._messages = Messages(
            self._open_parts,
            self.catalogue,
            self._registry,
            lambda: (self._python_layer(), self._native_layer()),
            lambda: self._open_parts().engine.gates,
        )
        self._ways = self._messages.ways
        self.schedules = Schedules(
            lambda: self._usable()[1],
            partial(self._planning.take_in, inputs=None, runs=False),
            self.submit,
            self._clock,
        )
        """What runs at which times: ``add``, ``list`` and ``remove``."""
        self.python_orchestrator = PythonOrchestrator(self._python_layer, self._messages)
        self.binary_bridge = BinaryBridge(
            self._bridge_socket,
            self._messages,
            lambda: quarantine_of(self._native_layer(), self.settings, self._clock),
        )

    @property
    def settings(self) -> Settings:
        """The settings at this moment, immutable."""
        return self.config.settings

    # --- life ------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open the journal, start the layers and the engine. Repeating it does nothing.

        Raises: JournalError if the journal cannot be opened. Closed after ``close``.
        """
        self._here()
        async with self._changing:
            if self._state == "open":
                self._usable()
                return
            if self._state == "closed":
                raise Closed("this orchestrator was closed; make a new one")
            await self._open()

    async def _open(self) -> None:
        settings, owner = self.settings, self._ids.make()
        announce(settings)
        self._inventory.add_usual_modes()
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        for agent in offered_agents():
            self._registry.add_copy(agent)
        if settings.orchestrator.entry_points:
            self._registry.add_offered()
            self._plugins.add_offered()
        self._parts = Parts(
            settings,
            self._registry,
            self._clock,
            self._rng,
            self._watching,
            owner,
            self._native_changed,
            self.cache,
            self._plugins,
            self._inventory,
        )
        await self._parts.start()
        self._quick = self._make_ways(self._parts)
        self._messages.start()
        self._recovery = Recovery(
            self._parts.journal,
            self._parts.engine,
            self._clock,
            self.catalogue,
            self._inventory.stamp,
            self._watching.resume,
            self._with_hooks,
            self._planning,
        )
        self._afterwards = Afterwards(
            self._parts.journal,
            self._parts.engine,
            self._recovery,
            self._planning,
            self._watching.resume,
            self._with_hooks,
        )
        self._parts.wishes.use_retry(self._afterwards.retry)
        if settings.journal.recover:
            self._recovery.start()
        self._retention = Retention(self._parts.journal, lambda: self.settings, self._clock)
        self._retention.start()
        if settings.journal.schedules:
            self.schedules.start()
        self._state = "open"
        self.config.session_open = True

    async def close(self, *, give_back: bool = False, drain_s: float = 0.0) -> None:
        """End what runs, flush the journal, end every process. Repeating it does nothing.

        Runs that were submitted here are cancelled; runs that were taken over from a program that
        died are given back: they are ``interrupted``, and the next program that opens the journal
        and has their agents goes on with them. What waits for somebody, or is paused, stays as it
        is.

        Args:
            give_back: Give back what was submitted here, too, where it is ``resumable`` and durable.
                Work with effects outside may finish first, within ``orchestrator.close_timeout_s``.
            drain_s: Before anything of that, runs that have begun get so many seconds to end.

        Raises: Forked, WrongLoop.
        """
        self._here()
        if self._state == "open":
            self._usable()
        # A task of its own: who stops waiting for the end does not stop the end, and whoever
        # calls next waits for the same one.
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(give_back, drain_s))
        await asyncio.shield(self._closing)

    async def _close(self, give_back: bool, drain_s: float) -> None:
        async with self._changing:
            was_open, self._state = self._state == "open", "closed"
            self.config.session_open = False
            if was_open and self._parts is not None:
                self._messages.close()
                try:
                    for task in (self.schedules, self._retention, self._recovery):
                        if task is not None:
                            await task.close()
                    await self._parts.close(give_back=give_back, drain_s=drain_s)
                finally:
                    await self._plugins.close()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # --- what can be done ------------------------------------------------------------------------

    def register_agent(
        self,
        name: str,
        capabilities: Iterable[str] = (),
        *,
        max_concurrency: int | None = None,
        rate_per_s: float | None = None,
    ) -> Agent:
        """Register an agent, and give the object to hang its handlers on.

        A capability without a handler is an error when a step asks for it. A name that is
        registered already gives that agent, with the capabilities added.

        Raises: CommandError if a name cannot be used.
        """
        self._here()
        return self._registry.register(name, capabilities, max_concurrency, rate_per_s)

    def add_agent(self, agent: Agent) -> Agent:
        """Register an agent that was built elsewhere."""
        self._here()
        return self._registry.add(agent)

    def register_mode(self, mode: ExecutionMode | str, policy: Policy) -> ExecutionMode:
        """Give a mode its policy.

        Raises: CommandError if the mode has one already, or ``policy`` is none.
        """
        self._here()
        return self._inventory.register_mode(mode, policy)

    def create_command_set(
        self,
        name: str,
        type: CommandType | str = CommandType.WORKFLOW,
        mode: ExecutionMode | str | None = ExecutionMode.INTELLIGENT,
        steps: list[CommandStep] | None = None,
    ) -> CommandSet:
        """Make a command set; nothing is checked before it is used."""
        self._here()
        return CommandSet(name=name, type=type, mode=mode, steps=list(steps or ()))

    def catalogue(self) -> Catalogue:
        """Give every action that can be asked for at this moment."""
        self._here()
        return self._inventory.catalogue()

    # --- runs ------------------------------------------------------------------------------------

    def validate(
        self,
        command_set: CommandSet,
        *,
        inputs: Mapping[str, Any] | None = None,
        faults: Iterable[Fault] = (),
    ) -> Plan:
        """Check and plan a command set without running anything.

        ``faults`` are those that whoever made the set has found already; they come with the rest.

        Raises: InvalidCommandSet with every fault at once. LayerUnavailable.
        """
        self._usable()
        return self._planning.take_in(command_set, inputs, faults, runs=False).plan

    async def submit(
        self, command_set: CommandSet, *, inputs: Mapping[str, Any] | None = None
    ) -> Run:
        """Take a run in; under ``sync`` and ``group`` it is durable on return.

        Raises: InvalidCommandSet with every fault at once; LayerUnavailable; Busy naming the
            bound; JournalError; IdempotencyMismatch if the key came with another body before.
        """
        self._usable()
        return await self._submit(self._planning.take_in(command_set, inputs))

    async def _submit(self, intake: Intake, ahead: Ahead = NOTHING_AHEAD) -> Run:
        engine, journal = self._usable()
        request = request_of(intake, ahead.run_id or self._ids.make(), ahead)
        view = self._watching.begin(request.run_id, intake.plan)
        try:
            ticket = engine.submit(self._with_hooks(request, intake.command_set, view))
            try:
                await asyncio.shield(ticket.accepted)
            except asyncio.CancelledError:
                ticket.cancel(None, "its submitter was cancelled")  # Nobody has its handle.
                raise
        except KeyTaken as taken:
            self._watching.forget(request.run_id)
            if taken.digest != request_digest(intake.document, intake.inputs):
                raise IdempotencyMismatch(
                    f"idempotency key {taken.key!r} was used for run {taken.run_id} with another body"
                ) from taken
            assert self._recovery is not None
            await self._recovery.take_over(taken.run_id)  # Whoever asks for it again means it.
            return self.run(taken.run_id)
        except BaseException:
            if request.run_id not in engine.active:
                self._watching.forget(request.run_id)
            raise
        return self._make_run(request.run_id, journal, ticket, view)

    async def execute_command_set(
        self, command_set: CommandSet, *, inputs: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run a command set to its end and give its result.

        Cancelling the caller cancels the run. Once there is a ``run_id``, failure is in the
        result (``status``, ``error``) and never raised.

        Raises: what ``submit`` raises, and JournalError if the end could not be made durable.
        """
        return await self._ways_now().execute(command_set, inputs)

    def _ways_now(self) -> Ways:
        self._usable()
        assert self._quick is not None
        return self._quick

    async def prepare(self, command_set: CommandSet) -> PreparedPlan:
        """Check and plan a command set once, to run it often: ``await plan.run(inputs={…})``.

        Raises: InvalidCommandSet with every fault at once. LayerUnavailable.
        """
        self._usable()
        return PreparedPlan(
            self._planning.prepare(command_set),
            self._inventory.stamp(),
            stamp_of_now=self._inventory.stamp,
            plan_again=self._planning.again,
            watch=self._planning.watch,
            submit=self._submit,
            ways=self._ways_now,
        )

    # --- inside ----------------------------------------------------------------------------------

    def _make_ways(self, parts: Parts) -> Ways:
        shared = (self._watching.metrics, self._watching.hearers, self._ids, self._clock)
        limits_of = self._registry.limits_of
        express = Express(parts.engine, parts.journal, parts.native, *shared, parts.routing)
        prompt = Prompt(
            parts.engine,
            parts.journal,
            parts.python,
            *shared,
            lambda agent, action: limits_of(agent, action) is not None,
            self._watching.progress,
        )
        return Ways(
            express,
            prompt,
            self._planning,
            lambda: parts.segments,
            lambda: (
                self._inventory.stamp_without_native(),
                self.config.settings,
                parts.machine.is_busy,
            ),
            self._submit,
        )

    def _usable(self) -> tuple[Engine, Journal]:
        """Refuse every call from the wrong place or at the wrong time."""
        parts = self._open_parts()
        if asyncio._get_running_loop() not in (None, self._loop):
            raise WrongLoop("this orchestrator belongs to the event loop that initialised it")
        return parts.engine, parts.journal

    def _open_parts(self) -> Parts:
        """Refuse at the wrong time; the loop does not matter."""
        self._here()
        if self._state == "new" or self._parts is None:
            raise NotInitialized("await initialize() first, or use 'async with'")
        if self._state == "closed":
            raise Closed("this orchestrator was closed")
        return self._parts

    def _here(self) -> None:
        """Refuse every call from a forked child, which has neither our threads nor our locks."""
        if self._state != "new" and os.getpid() != self._pid:
            raise Forked("this orchestrator belongs to the parent process; make one in the child")

    def _python_layer(self) -> PythonLayer | None:
        self._here()
        return None if self._parts is None else self._parts.python

    def _native_layer(self) -> NativeLayer | None:
        return None if self._parts is None else self._parts.native

    def _native_actions(self) -> tuple[Action, ...]:
        native = self._native_layer()
        return () if native is None else native.actions()

    def _away(self) -> dict[str, str]:
        native = self._native_layer()
        if native is None:
            enabled = self.settings.c_layer.enabled
            return {"c": "not started yet" if enabled else "switched off (c_layer.enabled)"}
        away = native.away
        return {"c": away} if away else {}

    def _bridge_socket(self) -> str:
        """Where a bridge listens that is known to this orchestrator; empty if none does."""
        native = self._native_layer()
        if native is not None and not native.away:
            return native.socket_path
        return self.settings.c_layer.socket or ""

    def _native_changed(self, kind: str, detail: str) -> None:
        """The supervisor's word; on the loop."""
        self._messages.forget_ways()
        if self._parts is not None and self._state == "open":
            self._parts.engine.tell_all(LayerChanged(layer="c", change=kind, detail=detail))
