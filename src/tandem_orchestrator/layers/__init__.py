"""Who does it: the Python layer and the C layer behind one seam.

This room knows how to run one attempt, of a step or a segment, and report what became of it. It never knows plans, retries
or modes. It hands on ``Layer``, ``Work``, ``CancelToken`` and ``Report``; the two layers have
rooms of their own in ``python/`` and ``native/``.
"""

from tandem_orchestrator.layers.layer import (
    CancelToken,
    Layer,
    LayerHealth,
    Report,
    SegmentLayer,
    SegmentReport,
    SegmentWork,
    Work,
)

__all__ = [
    "CancelToken",
    "Layer",
    "LayerHealth",
    "Report",
    "SegmentLayer",
    "SegmentReport",
    "SegmentWork",
    "Work",
]
