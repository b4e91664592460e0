"""Every error a caller can meet.

TandemError
├── CommandError            the request is wrong; repeating it cannot help
│   ├── InvalidCommandSet   (also a ValueError) .faults has every fault with its path
│   ├── NotAValue           a payload or output that cannot travel or be journaled
│   ├── ConfigError         a setting that is unknown, unreadable or out of range
│   ├── TwinError           an implementation that cannot be attached
│   └── CapsuleError        a capsule that is not there, is none, or cannot be run again
├── LayerUnavailable        nothing ran; safe to retry when the layer is back
├── Busy                    a bound was reached; nothing ran; retry later
├── NotInitialized          initialize() comes first
├── WrongLoop               the orchestrator belongs to another event loop
├── Forked                  the orchestrator belongs to the parent process
├── Closed                  the orchestrator has been closed
├── ActionFailed            it ran and did not succeed
├── OutcomeUnknown          it may have run; look before repeating
├── JournalError            the journal cannot be read or written
├── IdempotencyMismatch     the same key came with another body
└── InternalError           our bug; please report it
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FAULT_CODES = (
    "unknown_agent",
    "unknown_action",
    "cycle",
    "duplicate_id",
    "unknown_dependency",
    "self_dependency",
    "missing_library",
    "bad_reference",
    "bad_type",
    "impossible_timeout",
    "bad_level",
    "empty",
    "no_policy",
    "nothing_to_compare",
    "no_native",
    "not_serialisable",
)
"""The codes a fault can carry; a closed list, so that programs may match on it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request."""

    code: str
    """One of ``FAULT_CODES``."""
    path: str
    """Where in the document, as in ``steps[2].payload.files``."""
    message: str
    """One sentence that names the thing, the value and what was expected."""
    # Any: the offending value as the caller gave it, whatever that was.
    value: Any = field(default=None, compare=False)
    nearest: tuple[str, ...] = ()
    """Valid names that look alike, best first; at most three."""

    def __str__(self) -> str:
        hint = f" (did you mean {', '.join(self.nearest)}?)" if self.nearest else ""
        return f"{self.path}: {self.message}{hint}" if self.path else f"{self.message}{hint}"


class TandemError(Exception):
    """Catch this to catch everything that Tandem raises."""

    def __init__(self, message: str = "", *, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class CommandError(TandemError):
    """The request is wrong; repeating it cannot help."""


class InvalidCommandSet(CommandError, ValueError):
    """A command set that cannot run; ``faults`` lists every reason at once."""

    def __init__(self, message: str = "", *, faults: tuple[Fault, ...] = ()) -> None:
        if not message and faults:
            shown = [str(fault) for fault in faults[:20]]
            if len(faults) > len(shown):
                shown.append(f"… and {len(faults) - len(shown)} more")
            count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
            message = f"{count}: " + "; ".join(shown)
        super().__init__(message, faults=faults)


class NotAValue(CommandError):
    """A payload or output that is not a value; the message names step and path."""


class ConfigError(CommandError):
    """A setting that is unknown, does not parse or is out of range."""


class TwinError(CommandError):
    """An implementation that cannot be attached to an action."""


class CapsuleError(CommandError):
    """A capsule that is not there, is none, or cannot be run again."""


class LayerUnavailable(TandemError):
    """A layer that the request needs is not there; nothing ran."""


class Busy(TandemError):
    """A named bound was reached; nothing ran; retry later."""


class NotInitialized(TandemError):
    """``initialize()`` has not been awaited yet."""


class WrongLoop(TandemError):
    """The orchestrator was initialised on another event loop."""


class Forked(TandemError):
    """The orchestrator belongs to the parent process; make a new one in the child."""


class Closed(TandemError):
    """The orchestrator has been closed."""


class ActionFailed(TandemError):
    """An action ran and did not succeed."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message


class OutcomeUnknown(TandemError):
    """It may have run: whoever ran it died before answering."""


class JournalError(TandemError):
    """The journal cannot be read or written; nothing is acknowledged until it can."""


class IdempotencyMismatch(TandemError):
    """An idempotency key that was used before with another body."""


class InternalError(TandemError):
    """Our bug; please report it with the run id."""
