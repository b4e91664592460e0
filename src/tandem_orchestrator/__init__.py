"""Tandem: an embedded, durable workflow orchestrator whose steps may have twins in Python and C.

The names below are the public ones. Rooms inside may change; these do not without notice. What is
handed on here is everything that agents, doors and programs use.
"""

from tandem_orchestrator.errors import (
    ActionFailed,
    Busy,
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
from tandem_orchestrator.layers.python import ActionHandle, Agent, Context
from tandem_orchestrator.layers.python import offer as offer_agent
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.levels import CommandType, HardwareAffinity, Priority
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.outcomes import Outcome, RunStatus
from tandem_orchestrator.model.policies import Policy, RouteQuestion
from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.orchestrator import Run, TandemOrchestrator
from tandem_orchestrator.settings import Settings
from tandem_orchestrator.workflows import StandardWorkflows

__version__ = "0.1.0"

__all__ = [
    "ActionFailed",
    "ActionHandle",
    "Agent",
    "Busy",
    "Closed",
    "CommandError",
    "CommandSet",
    "CommandStep",
    "CommandType",
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
    "TwinError",
    "WrongLoop",
    "offer_agent",
]
