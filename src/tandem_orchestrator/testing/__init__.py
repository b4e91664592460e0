"""Fakes that are part of the product: a clock, a layer, a journal's disk, and twins run in tests.

This room may see every other room; none sees it. It never pretends to be the real thing outside of
tests. It hands on ``FakeClock``, ``FakeLayer`` and ``settle``, and ``run_twins`` for exported tests;
the journal's tools and the pytest plugin are modules.
"""

from tandem_orchestrator.testing.clock import FakeClock, settle
from tandem_orchestrator.testing.layer import FakeLayer
from tandem_orchestrator.testing.twin_runs import read_capsule_beside, replay_capsule, run_twins

__all__ = [
    "FakeClock",
    "FakeLayer",
    "read_capsule_beside",
    "replay_capsule",
    "run_twins",
    "settle",
]
