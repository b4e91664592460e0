"""From what the C layer said to what the engine is told; nothing is decided here."""

from __future__ import annotations

from tandem_orchestrator.layers.layer import CancelToken, Report, Work
from tandem_orchestrator.layers.native.body import decode_body
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.session import Completion
from tandem_orchestrator.model.outcomes import Failure, Outcome

STATUS_NAMES = (
    "OK",
    "FAILED",
    "TIMED_OUT",
    "CANCELLED",
    "UNKNOWN",
    "NOT_STARTED",
    "NO_AGENT",
    "BUSY",
    "TOO_LARGE",
    "CORRUPT",
)
"""Statuses that travel, by number, as in ``tandem/status.h``; a test compares the two."""

OK, FAILED, TIMED_OUT, CANCELLED, UNKNOWN, NOT_STARTED, NO_AGENT, BUSY, TOO_LARGE, CORRUPT = range(
    len(STATUS_NAMES)
)

ABANDONED = -1
"""Not a status of the wire: the action was asked to stop and its grace is over."""

CRASHED = "AgentCrashed"
"""Type of the failure by which a host's death is told; only hosts can tell it."""

_GONE = "the bridge does not offer it"

_PLAIN: dict[int, tuple[Outcome, str, str]] = {
    TIMED_OUT: (Outcome.TIMED_OUT, "TimeoutError", "the deadline passed in the C layer"),
    CANCELLED: (Outcome.CANCELLED, "Cancelled", "asked to stop, and did"),
    UNKNOWN: (Outcome.UNKNOWN, "OutcomeUnknown", "the bridge died after taking it"),
    # No LayerUnavailable: that would mean that no bridge can be had, and a new one is on its way.
    NOT_STARTED: (Outcome.NOT_STARTED, "NotStarted", "the bridge died before taking it"),
    NO_AGENT: (Outcome.FAILED, "LayerUnavailable", _GONE),
    BUSY: (Outcome.NOT_STARTED, "Busy", "no slot, credit or quota was left"),
    TOO_LARGE: (Outcome.FAILED, "TooLarge", "its payload or output is over the limit"),
    CORRUPT: (Outcome.FAILED, "Corrupt", "its body broke the rules of the wire"),
}


def report_of(work: Work, completion: Completion) -> Report:
    """Translate a completion faithfully."""
    seconds = completion.elapsed_ns / 1e9
    status = completion.status
    if status in (OK, FAILED):
        return _report_of_body(work, completion, seconds)
    if status == ABANDONED:
        text = "asked to stop and gave no answer within its grace; it may be running still"
        failure = Failure("Abandoned", f"{_name(work)}: {text}")
        return Report(Outcome.ABANDONED, failure=failure, seconds=seconds, stopped=False)
    if status == UNKNOWN and completion.body:
        return _report_of_crash(work, completion, seconds)
    if status in _PLAIN:
        outcome, kind, text = _PLAIN[status]
    else:
        outcome, kind, text = Outcome.UNKNOWN, "InternalError", f"status {status} is not known"
    return _failed(work, outcome, kind, text, seconds)


def not_started(work: Work, error: Exception) -> Report:
    """Report that nothing ran, and why."""
    return _failed(work, Outcome.NOT_STARTED, type(error).__name__, str(error))


def refused(work: Work, kind: str, error: Exception) -> Report:
    """Report a payload that cannot travel: repeating it cannot help."""
    return _failed(work, Outcome.FAILED, kind, str(error))


def gone(work: Work, why: str) -> Report:
    """Report that nobody offers the action at this moment, and why if that is known."""
    text = f"{why}; {_GONE}" if why else _GONE
    return _failed(work, Outcome.FAILED, "LayerUnavailable", text)


def never_sent(work: Work, cancel: CancelToken, error: Exception) -> Report:
    """Report an attempt for which no session was there, or not until its cancel."""
    if cancel.requested:
        return cancelled_before(work, cancel.reason)
    return not_started(work, error)


def is_full(report: Report) -> bool:
    """Whether nothing ran only because there was no room; an action's own failure never counts."""
    return (
        report.outcome is Outcome.NOT_STARTED
        and report.failure is not None
        and report.failure.type == "Busy"
    )


def is_gone(report: Report) -> bool:
    """Whether nothing ran since nobody offers the action at this moment."""
    failure = report.failure
    return (
        report.outcome is Outcome.FAILED
        and failure is not None
        and failure.type == "LayerUnavailable"
        and failure.message.endswith(_GONE)
    )


def cancelled_before(work: Work, reason: str) -> Report:
    """Report an attempt that was cancelled before it was sent."""
    return _failed(work, Outcome.CANCELLED, "Cancelled", reason or "cancelled before it started")


def _report_of_body(work: Work, completion: Completion, seconds: float) -> Report:
    try:
        value = decode_body(completion.body)  # strict: C has checked it
    except CodecError as error:
        return _failed(work, Outcome.FAILED, "Corrupt", f"its output: {error}", seconds)
    if completion.status == OK:
        return Report(Outcome.SUCCEEDED, output=value, seconds=seconds)
    if not isinstance(value, dict):
        return _failed(work, Outcome.FAILED, "Corrupt", "its failure is not a map", seconds)
    kind, message = value.get("type"), value.get("message")
    failure = Failure(str(kind or "ActionFailed"), str(message or ""))
    return Report(Outcome.FAILED, failure=failure, seconds=seconds)


def _report_of_crash(work: Work, completion: Completion, seconds: float) -> Report:
    """An agent's process died with the call: the bridge says how, as a failure's map."""
    try:
        value = decode_body(completion.body)
    except CodecError:
        value = None
    said = value if isinstance(value, dict) else {}
    kind, text = said.get("type"), said.get("message")
    return _failed(
        work,
        Outcome.UNKNOWN,
        str(kind or "OutcomeUnknown"),
        str(text or "its agent died after taking it"),
        seconds,
    )


def _failed(work: Work, outcome: Outcome, kind: str, text: str, seconds: float = 0.0) -> Report:
    return Report(outcome, failure=Failure(kind, f"{_name(work)}: {text}"), seconds=seconds)


def _name(work: Work) -> str:
    return f"{work.agent}.{work.action}"
