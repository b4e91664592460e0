"""Do they agree: the comparison of what twins gave, and a conflict kept whole.

This room knows values, how two of them differ, and how to keep that. It never knows who made
them, when, or what will be done about a difference. It hands on ``differences``, and capsules
with secrets taken out.
"""

from tandem_orchestrator.twins.capsule import (
    CAPSULE_BYTES_MAX,
    Capsule,
    Environment,
    make_capsule,
)
from tandem_orchestrator.twins.compare import Difference, differences
from tandem_orchestrator.twins.redaction import DEFAULT_HOOKS, REDACTED, RedactionHook

__all__ = [
    "CAPSULE_BYTES_MAX",
    "DEFAULT_HOOKS",
    "REDACTED",
    "Capsule",
    "Difference",
    "Environment",
    "RedactionHook",
    "differences",
    "make_capsule",
]
