"""A layer behind the cache of outputs: an attempt is answered from there, or runs and is kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from tandem_orchestrator.layers import (
    CancelToken,
    Layer,
    LayerHealth,
    Report,
    SegmentLayer,
    SegmentReport,
    SegmentWork,
    Work,
)
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.layers.python import Registry
from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.orchestrator.cache import OutputCache


class Build(NamedTuple):
    """Which build of an implementation work would meet now."""

    token: Hashable
    sees_inputs: bool
    """Whether it can see the outputs of the steps it depends on."""


BuildOf = Callable[[Work], Build | None]
"""Tells builds apart; None where that cannot be told, and nothing is kept."""


class CachedLayer:
    """A layer whose attempts may be answered from the cache. Segments always run.

    Args:
        layer: The layer itself.
        cache: Where outputs are kept.
        build_of: See ``BuildOf``.
    """

    def __init__(self, layer: Layer, cache: OutputCache, build_of: BuildOf) -> None:
        self._layer, self._cache, self._build_of = layer, cache, build_of
        self.name = layer.name

    async def start(self) -> None:
        """Make the layer ready."""
        await self._layer.start()

    async def close(self) -> None:
        """Close the layer."""
        await self._layer.close()

    @property
    def away(self) -> str:
        """Why the layer is not there."""
        return self._layer.away

    def actions(self) -> tuple[Action, ...]:
        """List what the layer offers."""
        return self._layer.actions()

    def health(self) -> LayerHealth:
        """Describe the layer."""
        return self._layer.health()

    async def run(self, work: Work, cancel: CancelToken) -> Report:
        """Give a kept output, or run the attempt and keep what it gives."""
        build = self._build_of(work) if work.reusable else None
        if build is None:
            return await self._layer.run(work, cancel)
        key = self._cache.key_of(work, build.token, with_inputs=build.sees_inputs)
        if key is None:
            return await self._layer.run(work, cancel)
        found = self._cache.find(key)
        if found is not None:
            return Report(Outcome.SUCCEEDED, found[0], cached=True)
        report = await self._layer.run(work, cancel)
        # The build may have changed while it ran, as by a restart: nobody knows which one ran.
        if report.outcome is Outcome.SUCCEEDED and self._build_of(work) == build:
            self._cache.keep(key, report.output)
        return report


class CachedSegmentLayer(CachedLayer):
    """The same of a layer that runs segments."""

    def __init__(self, layer: SegmentLayer, cache: OutputCache, build_of: BuildOf) -> None:
        super().__init__(layer, cache, build_of)
        self._segment_layer = layer

    async def run_segment(self, work: SegmentWork, cancel: CancelToken) -> SegmentReport:
        """Run the segment."""
        return await self._segment_layer.run_segment(work, cancel)


class _Same:
    """Equal to itself alone, whatever the object in it says of itself; keeps that alive."""

    __slots__ = ("_object",)

    def __init__(self, thing: object) -> None:
        self._object = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._object is self._object

    def __hash__(self) -> int:
        return id(self._object)


def python_builds(registry: Registry) -> BuildOf:
    """Tell handlers apart: one that is defined anew is another build."""

    def build_of(work: Work) -> Build | None:
        found = registry.find(work.agent, work.action, work.implementation)
        return None if found is None else Build(_Same(found[2].handler), found[2].takes > 1)

    return build_of


class NativeBuilds:
    """Tells sessions with the bridge apart, and what they offer: any change is another build.

    That forgets more than it must. What a restarted host has loaded, nobody here can know.
    """

    def __init__(self, layer: NativeLayer) -> None:
        self._layer = layer
        self._offered: object = None
        self._changes = 0

    def __call__(self, work: Work) -> Build | None:
        """Give the build; None while there is no session."""
        session = self._layer.session
        if session is None:
            return None
        if session.actions is not self._offered:
            self._offered = session.actions
            self._changes += 1
        library = self._layer.library_of(work.agent, work.action, work.implementation)
        return Build((self._changes, library), True)
