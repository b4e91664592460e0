"""The parts of one open orchestrator: made from the settings, started together, closed in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine import Engine
from tandem_orchestrator.journal import LosesRuns
from tandem_orchestrator.layers import Layer
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.layers.native.segments import Segments
from tandem_orchestrator.layers.python import PythonLayer, Registry
from tandem_orchestrator.model.events import AnyEvent, Judged
from tandem_orchestrator.orchestrator.cache import OutputCache
from tandem_orchestrator.orchestrator.cached_layer import (
    CachedLayer,
    CachedSegmentLayer,
    NativeBuilds,
    python_builds,
)
from tandem_orchestrator.orchestrator.composition import (
    beside_journal,
    make_journal,
    make_native_layer,
    make_python_layer,
)
from tandem_orchestrator.orchestrator.inventory import Inventory
from tandem_orchestrator.orchestrator.machine import SessionMachine
from tandem_orchestrator.orchestrator.promotion import Promotion
from tandem_orchestrator.orchestrator.routing import Routing
from tandem_orchestrator.orchestrator.shadows import Shadows
from tandem_orchestrator.orchestrator.surroundings import CapsuleMaker, Sources, sources_of
from tandem_orchestrator.orchestrator.watching import Watching
from tandem_orchestrator.orchestrator.wishes import Wishes
from tandem_orchestrator.plugins import Plugins
from tandem_orchestrator.settings import Settings


class Parts:
    """Journal, layers and engine of one session.

    Args:
        owner: Id of this session, as the journal's lease and the bridge's socket carry it.
        on_native_change: Told (kind, detail) when the bridge starts, dies or is restarted.
        cache: Outputs of attempts before, also of an earlier session.
        plugins: Told of conflicts.
        inventory: Agents, actions and policies.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        clock: Clock,
        rng: random.Random,
        watching: Watching,
        owner: str,
        on_native_change: Callable[[str, str], None],
        cache: OutputCache,
        plugins: Plugins,
        inventory: Inventory,
    ) -> None:
        self._owner, self._settings, self._registry = owner, settings, registry
        self.journal = make_journal(settings)
        self.machine = SessionMachine(settings.hardware, clock)
        self.python = make_python_layer(settings, registry, clock, self.machine)
        self.native: NativeLayer | None = None
        if settings.c_layer.enabled:
            self.native = make_native_layer(
                settings, registry, owner, clock, on_native_change, self.machine
            )
        layers: dict[str, Layer] = {
            self.python.name: CachedLayer(self.python, cache, python_builds(registry))
        }
        if self.native is not None:
            builds = NativeBuilds(self.native)
            layers[self.native.name] = CachedSegmentLayer(self.native, cache, builds)
        ladder = beside_journal(settings, "ladder")
        self.promotion = Promotion(settings.twins, ladder, clock, inventory.catalogue)
        inventory.ladder = self.promotion
        self.routing = Routing(
            settings.router,
            clock,
            rng,
            beside_journal(settings, "costs"),
            inventory.policies,
            self.load,
            self.promotion,
        )
        capsules = CapsuleMaker(settings, clock.wall_ns, self._sources)
        self._tell = watching.event
        self.engine = Engine(
            layers,
            self.python,
            self.journal,
            clock,
            rng,
            places=settings.orchestrator.max_parallel_workflows,
            waiting_max=settings.orchestrator.max_queued_runs,
            attempts_max=settings.orchestrator.max_parallel_steps,
            output_bytes_max=settings.limits.output_bytes_max,
            held_max=settings.orchestrator.max_held_runs,
            signals_max=settings.limits.signals_max,
            close_grace_s=settings.orchestrator.close_timeout_s,
            observe=self._observe,
            on_progress=watching.progress,
            on_conflict=plugins.conflict,
            witness=self.routing,
            limits_of=registry.limits_of,
            retries_per_s=settings.limits.retries_per_s,
            ageing_s=settings.orchestrator.ageing_s,
            make_capsule=capsules.make_value,
        )
        self._shadows = Shadows(
            settings.twins,
            clock,
            {layer.name: layer for layer in self.layers},
            self.engine.gates,
            self.python,
            self.promotion,
            capsules.make,
            beside_journal(settings, "shadow"),
            settings.limits.output_bytes_max,
        )
        self.routing.use_shadows(self._shadows)
        self.wishes = Wishes(self.journal, self.engine.tickets)
        if isinstance(self.journal, LosesRuns):
            self.journal.use_lost(self.engine.lose)

    def _sources(self, agent: str, action: str) -> Sources:
        native = () if self.native is None else self.native.actions()
        both = (*self._registry.entries(), *native)
        mine = [entry for entry in both if (entry.agent, entry.name) == (agent, action)]
        return sources_of(mine, self._registry)

    @property
    def layers(self) -> list[PythonLayer | NativeLayer]:
        """The layers that are not switched off."""
        return [self.python] if self.native is None else [self.python, self.native]

    def _observe(self, run_id: str, event: AnyEvent) -> None:
        """Tell everybody; what comparing gave is evidence as well."""
        self._tell(run_id, event)
        if type(event) is Judged:
            self.promotion.judged(run_id, event)

    def load(self) -> dict[str, float]:
        """Give each layer's attempts in progress as a share of its workers."""
        settings = self._settings
        load = {"python": self.python.running / settings.python_layer.async_workers}
        session = None if self.native is None else self.native.session
        if session is not None:
            load["c"] = session.in_flight / settings.c_layer.blocking_workers
        return load

    @property
    def segments(self) -> Segments | None:
        """What runs segments in C; None while nothing does."""
        return None if self.native is None else self.native.segments

    async def start(self) -> None:
        """Open the journal and start everything; what was started is closed if that fails.

        Raises: JournalError if the journal cannot be opened.
        """
        try:
            async with asyncio.TaskGroup() as starting:
                starting.create_task(self.journal.open(self._owner))
                for layer in self.layers:
                    starting.create_task(layer.start())
            self.promotion.start()
            self.routing.start()
            await self.engine.start()
            self.wishes.start()
        except BaseExceptionGroup as group:
            await self.close()
            raise group.exceptions[0] from None
        except BaseException:
            await self.close()
            raise

    async def close(self, *, give_back: bool = False, drain_s: float = 0.0) -> None:
        """End everything in the order in which parts use each other, whatever one of them says.

        ``give_back``, ``drain_s``: see ``Engine.close``.
        """
        errors: list[Exception] = []
        closing: tuple[Callable[[], Awaitable[None]], ...] = (
            self.wishes.close,
            partial(self.engine.close, give_back=give_back, drain_s=drain_s),
            self._shadows.close,
            self.promotion.close,
            self.routing.close,
            *(layer.close for layer in self.layers),
            self.journal.close,
        )
        for close in closing:
            try:
                await close()
            except Exception as error:  # noqa: BLE001 - the others are closed first, then it is raised
                errors.append(error)
        if errors:
            raise errors[0]
