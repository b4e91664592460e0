"""The orchestrator, blocking: each method goes to the private loop and waits."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import Closed, Fault, Forked, NotInitialized
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import JournalHealth, RunRow
from tandem_orchestrator.layers import LayerHealth
from tandem_orchestrator.layers.python import Agent
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.levels import CommandType
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.model.policies import Policy
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator import TandemOrchestrator as AsyncTandemOrchestrator
from tandem_orchestrator.orchestrator import Tuning, new_event_loop
from tandem_orchestrator.orchestrator.calibrating import PAUSE_S
from tandem_orchestrator.plugins import PluginHealth
from tandem_orchestrator.settings import Settings
from tandem_orchestrator.sync.handles import PreparedPlan, Run, take_in
from tandem_orchestrator.sync.loop_thread import LoopThread, call
from tandem_orchestrator.sync.message_doors import MessageDoors
from tandem_orchestrator.sync.schedules import Schedules
from tandem_orchestrator.twins import Bisection, Calibration

_T = TypeVar("_T")


class TandemOrchestrator(MessageDoors):
    """``tandem_orchestrator.TandemOrchestrator``, blocking; any thread may use it.

    ``with TandemOrchestrator() as tandem: …``, or ``initialize()`` and ``close()``. Works where a
    loop runs already, as in notebooks. Async handlers run on its own loop, not on the caller's.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | str | os.PathLike[str] | Settings | None = None,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._tandem = AsyncTandemOrchestrator(config, clock=clock, ids=ids, rng=rng)
        self.config = self._tandem.config
        """As at the async class."""
        self.cache = self._tandem.cache
        """As at the async class."""
        self.binary_bridge = self._tandem.binary_bridge
        """As at the async class; it blocks there, too."""
        self.schedules = Schedules(self._tandem.schedules, self._usable)
        """As at the async class, blocking."""
        self._thread: LoopThread | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def settings(self) -> Settings:
        """The settings at this moment, immutable."""
        return self._tandem.settings

    def initialize(self) -> None:
        """See the async class. Repeating it does nothing."""
        self._here()
        with self._lock:
            if self._thread is not None:
                return
            if self._is_closed:
                raise Closed("this orchestrator was closed; make a new one")
            thread = LoopThread(new_event_loop(self.settings))
            try:
                thread.wait(self._tandem.initialize())
            except BaseException:
                thread.close()
                raise
            self._thread = thread

    def close(self, *, give_back: bool = False, drain_s: float = 0.0) -> None:
        """See the async class. Calls that wait in other threads end with ``Closed``."""
        self._here()
        with self._lock:
            thread, self._thread, self._is_closed = self._thread, None, True
            if thread is None:
                return
            try:
                thread.wait(self._tandem.close(give_back=give_back, drain_s=drain_s))
            finally:
                thread.wait(thread.end_calls())
                thread.close()

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def register_agent(
        self,
        name: str,
        capabilities: Iterable[str] = (),
        *,
        max_concurrency: int | None = None,
        rate_per_s: float | None = None,
    ) -> Agent:
        """See the async class."""
        return self._do(
            lambda: self._tandem.register_agent(
                name, capabilities, max_concurrency=max_concurrency, rate_per_s=rate_per_s
            )
        )

    def add_agent(self, agent: Agent) -> Agent:
        """See the async class."""
        return self._do(lambda: self._tandem.add_agent(agent))

    def register_mode(self, mode: ExecutionMode | str, policy: Policy) -> ExecutionMode:
        """See the async class."""
        return self._do(lambda: self._tandem.register_mode(mode, policy))

    # Any: any object with hooks.
    def register_plugin(self, plugin: Any, *, name: str | None = None) -> None:
        """See the async class; hooks that are coroutines run on the orchestrator's own loop."""
        self._do(lambda: self._tandem.register_plugin(plugin, name=name))

    # Any: wishes are a user's own dict.
    def tune_for_workload(self, workload: Mapping[str, Any]) -> Tuning:
        """See the async class."""
        return self._do(lambda: self._tandem.tune_for_workload(workload))

    # Any: what was registered.
    def unregister_plugin(self, plugin: Any) -> None:
        """See the async class."""
        self._do(lambda: self._tandem.unregister_plugin(plugin))

    def plugin_health(self) -> dict[str, PluginHealth]:
        """See the async class."""
        return self._do(self._tandem.plugin_health)

    def create_command_set(
        self,
        name: str,
        type: CommandType | str = CommandType.WORKFLOW,
        mode: ExecutionMode | str | None = ExecutionMode.INTELLIGENT,
        steps: list[CommandStep] | None = None,
    ) -> CommandSet:
        """See the async class."""
        self._here()
        return self._tandem.create_command_set(name, type, mode, steps)

    def catalogue(self) -> Catalogue:
        """See the async class."""
        return self._do(self._tandem.catalogue)

    def validate(
        self,
        command_set: CommandSet,
        *,
        inputs: Mapping[str, Any] | None = None,
        faults: Iterable[Fault] = (),
    ) -> Plan:
        """See the async class."""
        return self._do(lambda: self._tandem.validate(command_set, inputs=inputs, faults=faults))

    def submit(self, command_set: CommandSet, *, inputs: Mapping[str, Any] | None = None) -> Run:
        """See the async class; handlers run in a copy of the calling thread's contextvars."""
        return take_in(lambda: self._tandem.submit(command_set, inputs=inputs), self._usable())

    def prepare(self, command_set: CommandSet) -> PreparedPlan:
        """See the async class; ``plan.run(inputs={…})`` blocks, too."""
        thread = self._usable()
        return PreparedPlan(thread.wait(self._tandem.prepare(command_set)), thread)

    # Any: results hold values of any kind.
    def execute_command_set(
        self, command_set: CommandSet, *, inputs: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """See the async class; an interrupt (Ctrl-C) cancels the run."""
        return self._usable().wait(self._tandem.execute_command_set(command_set, inputs=inputs))

    # Any: payloads are values of any kind.
    def calibrate(
        self,
        action: str,
        payloads: Sequence[Any] | int,
        *,
        implementation: str | None = None,
        timeout_s: float = 30.0,
        pause_s: float = PAUSE_S,
    ) -> Calibration:
        """See the async class."""
        asked = self._tandem.calibrate(
            action, payloads, implementation=implementation, timeout_s=timeout_s, pause_s=pause_s
        )
        return self._usable().wait(asked)

    # Any: inputs are values of any kind.
    def bisect(
        self,
        command_set: CommandSet,
        *,
        left: str = "python",
        right: str = "c",
        inputs: Mapping[str, Any] | None = None,
    ) -> Bisection:
        """See the async class."""
        asked = self._tandem.bisect(command_set, left=left, right=right, inputs=inputs)
        return self._usable().wait(asked)

    def run(self, run_id: str) -> Run:
        """See the async class."""
        thread = self._usable()
        return Run(thread.wait(call(lambda: self._tandem.run(run_id))), thread)

    def resume(self, run_id: str) -> Run:
        """See the async class."""
        thread = self._usable()
        return Run(thread.wait(self._tandem.resume(run_id)), thread)

    def runs(
        self, *, status: str | None = None, name: str | None = None, limit: int = 100
    ) -> list[RunRow]:
        """See the async class."""
        return self._usable().wait(self._tandem.runs(status=status, name=name, limit=limit))

    def view(self, run_id: str) -> RunView | None:
        """See the async class."""
        return self._usable().wait(self._tandem.view(run_id))

    def get_metrics(self) -> dict[str, Any]:
        """See the async class."""
        return self._do(self._tandem.get_metrics)

    def layer_health(self) -> dict[str, LayerHealth]:
        """See the async class."""
        return self._do(self._tandem.layer_health)

    def journal_health(self) -> JournalHealth:
        """See the async class."""
        return self._do(self._tandem.journal_health)

    @contextmanager
    def listening(
        self,
        on_event: Callable[[str, Any], None] | None = None,
        on_progress: Callable[[str, str, int | None, int, int], None] | None = None,
    ) -> Iterator[None]:
        """See the async class; listeners are called on the loop's thread, and must not block."""
        thread = self._usable()
        listening = self._tandem.listening(on_event, on_progress)
        thread.wait(listening.__aenter__())
        try:
            yield
        finally:
            thread.wait(listening.__aexit__(None, None, None))

    def _do(self, function: Callable[[], _T]) -> _T:
        """Call a method that does not wait: on the loop's thread once there is one."""
        self._here()
        thread = self._thread
        return function() if thread is None else thread.wait(call(function))

    def _usable(self) -> LoopThread:
        self._here()
        if (thread := self._thread) is not None:
            return thread
        if self._is_closed:
            raise Closed("this orchestrator was closed")
        raise NotInitialized("call initialize() first, or use 'with'")

    def _here(self) -> None:
        if self._thread is not None and os.getpid() != self._pid:
            raise Forked("this orchestrator belongs to the parent process; make one in the child")
