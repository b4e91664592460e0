"""Fakes that are part of the product: a clock, a layer, a journal's disk, for anyone's tests.

This room may see every other room; none sees it. It never pretends to be the real thing outside of
tests. It hands on ``FakeClock``, ``FakeLayer`` and ``settle``; the journal's tools are modules.
"""

from tandem_orchestrator.testing.clock import FakeClock, settle
from tandem_orchestrator.testing.layer import FakeLayer

__all__ = ["FakeClock", "FakeLayer", "settle"]
