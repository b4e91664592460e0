"""Fakes that are part of the product: a clock, a layer, a journal's disk, and twins run in tests.

This room may see every other room; none sees it. It never pretends to be the real thing outside of
tests. It hands on ``FakeClock``, ``FakeLayer`` and ``settle``, and ``run_twins`` for exported tests;
the journal's tools and the pytest plugin are modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tandem_orchestrator.testing.clock import FakeClock, settle
    from tandem_orchestrator.testing.layer import FakeLayer
    from tandem_orchestrator.testing.twin_runs import (
        read_capsule_beside,
        replay_capsule,
        run_twins,
    )

__all__ = [
    "FakeClock",
    "FakeLayer",
    "read_capsule_beside",
    "replay_capsule",
    "run_twins",
    "settle",
]

_HOME_OF = {
    "FakeClock": "clock",
    "FakeLayer": "layer",
    "read_capsule_beside": "twin_runs",
    "replay_capsule": "twin_runs",
    "run_twins": "twin_runs",
    "settle": "clock",
}


def __getattr__(name: str) -> object:
    """Import a name at its first use: the pytest plugin lives here, and must cost nothing."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
