"""Tandem: an embedded, durable workflow orchestrator whose steps may have twins in Python and C.

The names below are the public ones. Rooms inside may change; these do not without notice. What is
handed on here is everything that agents, doors and programs use.

Each name is imported when it is first used (PEP 562): a program that only catches a ``TandemError``
or writes down a ``CommandSet`` does not pay for the engine, and ``import tandem_orchestrator`` stays
in the noise. Type checkers see the plain imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tandem_orchestrator.errors import (
        ActionFailed,
        Busy,
        CapsuleError,
        Closed,
        CommandError,
        ConfigError,
        Fault,
        Forked,
        IdempotencyMismatch,
        InternalError,
        InvalidCommandSet,
        JournalError,
        LayerUnavailable,
        NotAValue,
        NotInitialized,
        OutcomeUnknown,
        TandemError,
        TwinError,
        WrongLoop,
    )
    from tandem_orchestrator.layers.python import ActionHandle, Agent, Context, offer_agent
    from tandem_orchestrator.model.carried import Codec
    from tandem_orchestrator.model.commands import CommandSet, CommandStep
    from tandem_orchestrator.model.comparing import CompareRules, Tolerance
    from tandem_orchestrator.model.levels import CommandType, HardwareAffinity, Priority
    from tandem_orchestrator.model.modes import ExecutionMode
    from tandem_orchestrator.model.outcomes import Outcome, RunStatus
    from tandem_orchestrator.model.policies import Policy, RouteQuestion
    from tandem_orchestrator.model.refs import Ref
    from tandem_orchestrator.orchestrator import Run, TandemOrchestrator
    from tandem_orchestrator.plugins import TandemPlugin
    from tandem_orchestrator.settings import Settings
    from tandem_orchestrator.twins import Bisection, Calibration
    from tandem_orchestrator.workflows import StandardWorkflows

__version__ = "0.1.0"

_HOMES = {
    "errors": (
        "ActionFailed Busy CapsuleError Closed CommandError ConfigError Fault Forked "
        "IdempotencyMismatch InternalError InvalidCommandSet JournalError LayerUnavailable "
        "NotAValue NotInitialized OutcomeUnknown TandemError TwinError WrongLoop"
    ),
    "layers.python": "ActionHandle Agent Context offer_agent",
    "model.carried": "Codec",
    "model.commands": "CommandSet CommandStep",
    "model.comparing": "CompareRules Tolerance",
    "model.levels": "CommandType HardwareAffinity Priority",
    "model.modes": "ExecutionMode",
    "model.outcomes": "Outcome RunStatus",
    "model.policies": "Policy RouteQuestion",
    "model.refs": "Ref",
    "orchestrator": "Run TandemOrchestrator",
    "plugins": "TandemPlugin",
    "settings": "Settings",
    "twins": "Bisection Calibration",
    "workflows": "StandardWorkflows",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "ActionFailed",
    "ActionHandle",
    "Agent",
    "Bisection",
    "Busy",
    "Calibration",
    "CapsuleError",
    "Closed",
    "Codec",
    "CommandError",
    "CommandSet",
    "CommandStep",
    "CommandType",
    "CompareRules",
    "ConfigError",
    "Context",
    "ExecutionMode",
    "Fault",
    "Forked",
    "HardwareAffinity",
    "IdempotencyMismatch",
    "InternalError",
    "InvalidCommandSet",
    "JournalError",
    "LayerUnavailable",
    "NotAValue",
    "NotInitialized",
    "Outcome",
    "OutcomeUnknown",
    "Policy",
    "Priority",
    "Ref",
    "RouteQuestion",
    "Run",
    "RunStatus",
    "Settings",
    "StandardWorkflows",
    "TandemError",
    "TandemOrchestrator",
    "TandemPlugin",
    "Tolerance",
    "TwinError",
    "WrongLoop",
    "offer_agent",
]


def __getattr__(name: str) -> object:
    """Import a public name at its first use."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
