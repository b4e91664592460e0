"""Do they agree: the comparison of what twins gave, and a conflict kept whole.

This room knows values, the rules under which two of them count as equal, how they differ, and how
to keep that. It never knows who made them, when, or what will be done about a difference. It hands
on ``differences``, what it takes to compute it from values that were cleaned before, and capsules
with secrets taken out.
"""

from tandem_orchestrator.twins.bisection import Bisection, Divergence, Side
from tandem_orchestrator.twins.calibration import Calibration, Ended, NoisyField, learn
from tandem_orchestrator.twins.capsule import (
    CAPSULE_BYTES_MAX,
    Capsule,
    Environment,
    make_capsule,
)
from tandem_orchestrator.twins.cleaning import Cleaned, clean
from tandem_orchestrator.twins.compare import Difference, differences, differences_of_cleaned
from tandem_orchestrator.twins.kinds import Kinds, is_same_kind, kinds_of
from tandem_orchestrator.twins.redaction import DEFAULT_HOOKS, REDACTED, Named, RedactionHook
from tandem_orchestrator.twins.showing import shown
from tandem_orchestrator.twins.shrink import Shrinking, Shrunk
from tandem_orchestrator.twins.story import story

__all__ = [
    "CAPSULE_BYTES_MAX",
    "DEFAULT_HOOKS",
    "REDACTED",
    "Bisection",
    "Calibration",
    "Capsule",
    "Cleaned",
    "Difference",
    "Divergence",
    "Ended",
    "Environment",
    "Kinds",
    "Named",
    "NoisyField",
    "RedactionHook",
    "Shrinking",
    "Shrunk",
    "Side",
    "clean",
    "differences",
    "differences_of_cleaned",
    "is_same_kind",
    "kinds_of",
    "learn",
    "make_capsule",
    "shown",
    "story",
]
