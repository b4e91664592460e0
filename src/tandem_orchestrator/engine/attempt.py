"""One attempt, from its dispatch to the event that ends it."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine.instructions import Dispatch, UnitKey
from tandem_orchestrator.engine.state import StepState
from tandem_orchestrator.layers.layer import CancelToken, Layer, Report, Work
from tandem_orchestrator.model.comparing import CompareRules
from tandem_orchestrator.model.events import AttemptEnded, AttemptStarted
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.plans import Plan, PlannedStep
from tandem_orchestrator.model.shapes import mismatch
from tandem_orchestrator.model.values import from_value
from tandem_orchestrator.twins import Cleaned, clean

if TYPE_CHECKING:
    from tandem_orchestrator.model.commands import CommandSet


class Caller(Protocol):
    """Runs the user's callables that are no actions; the Python layer is one."""

    async def call(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        cancel: CancelToken,
        where: str,
    ) -> Report:
        """Call a function, sync or async, and report what became of it."""


def idempotency_key(run_id: str, unit: UnitKey) -> str:
    """Give the key that every attempt of a unit shares.

    Returns: 32 hex digits; of an item those of its step, a hyphen and its position, so that C can
        make the keys of items out of the one of the step.
    """
    key = key_of_step(run_id, unit.step, unit.implementation)
    return key if unit.item is None else f"{key}-{unit.item}"


def key_of_step(run_id: str, step: str, implementation: str) -> str:
    """Give the idempotency key of a step that has no items."""
    whole = f"{run_id}/{step}/{implementation}"
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


def make_work(
    run_id: str,
    step: StepState,
    dispatch: Dispatch,
    payload: Any,
    inputs: Mapping[str, Any],
    *,
    plan: Plan,
    lane: int,
    clock: Clock,
    on_progress: Callable[[int, int], None],
    begun: asyncio.Future[Any] | None = None,
) -> Work:
    """Put together what a layer needs to know of one attempt."""
    limit_s = step.plan.timeout_s
    return Work(
        run_id=run_id,
        step_id=step.plan.id,
        agent=step.plan.agent,
        action=step.plan.action,
        implementation=dispatch.unit.implementation,
        payload=payload,
        inputs=inputs,
        item=dispatch.unit.item,
        attempt=dispatch.attempt,
        deadline_ns=0 if limit_s is None else clock.monotonic_ns() + int(limit_s * 1e9),
        idempotency_key=idempotency_key(run_id, dispatch.unit),
        lane=lane,
        cpus=step.plan.cpus,
        version=step.plan.version,
        reusable=is_reusable(step.plan, plan),
        on_progress=on_progress,
        begun=begun,
    )


def is_reusable(step: PlannedStep, plan: Plan) -> bool:
    """Say whether an output may come from a cache.

    Twins that are compared must both really run. Of what can be part of a native program only a
    step that is a whole segment may, and not in a run that may go without the engine: its result
    would say which way it went.
    """
    if not step.deterministic or step.effects != "none" or step.transient:
        return False
    if step.assignment is None or step.assignment.verdict != "none":
        return False
    if step.segment is None:
        return True
    return len(plan.segments[step.segment]) == 1 and plan.durability != "none"


STOPPED = Failure("Cancelled", "asked to stop while it waited for a place")
"""Of an attempt that never entered."""


def never_entered(failure: Failure) -> Report:
    """Report an attempt that was stopped, or refused, while it waited."""
    stopped = failure.type == STOPPED.type
    return Report(Outcome.CANCELLED if stopped else Outcome.FAILED, failure=failure)


def attempt_started(dispatch: Dispatch, effects: str, at_ns: int) -> AttemptStarted:
    """Make the record of an attempt that is about to start."""
    unit = dispatch.unit
    return AttemptStarted(
        at_ns=at_ns,
        step=unit.step,
        item=unit.item,
        part=unit.part,
        implementation=unit.implementation,
        layer=dispatch.layer,
        attempt=dispatch.attempt,
        effects=effects,
        reason=dispatch.reason,
    )


def attempt_ended(
    dispatch: Dispatch, report: Report, cleaned: dict[str, Any] | None, at_ns: int, roll: float
) -> AttemptEnded:
    """Make the record of an attempt that came back.

    Args:
        cleaned: What ``clean_output`` gave.
        roll: A random number in [0, 1) for whatever this leads to.
    """
    unit = dispatch.unit
    return AttemptEnded(
        at_ns=at_ns,
        step=unit.step,
        item=unit.item,
        part=unit.part,
        implementation=unit.implementation,
        layer=dispatch.layer,
        attempt=dispatch.attempt,
        outcome=report.outcome.value,
        output=report.output,
        failure=report.failure.to_value() if report.failure else None,
        seconds=report.seconds,
        stopped=report.stopped,
        cached=report.cached,
        cleaned=cleaned,
        roll=roll,
    )


async def perform(
    layer: Layer,
    work: Work,
    step: StepState,
    caller: Caller,
    validation: Callable[..., Any] | None,
    cancel: CancelToken,
) -> Report:
    """Run an attempt and look at what it gave; never raises but for the loop's own end."""
    try:
        report = await layer.run(work, cancel)
        return await look_at(report, step.plan, caller, validation, cancel)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - a layer that raises is our bug; say so and go on
        text = f"the {layer.name} layer raised {type(error).__name__}: {error}"
        return Report(Outcome.FAILED, failure=Failure("InternalError", text))


async def look_at(
    report: Report,
    step: PlannedStep,
    caller: Caller,
    validation: Callable[..., Any] | None,
    cancel: CancelToken,
) -> Report:
    """Let an attempt fail whose output has not the shape, or not the approval, that was asked for."""
    if report.outcome is not Outcome.SUCCEEDED:
        return report
    shape = step.expected_output
    if shape is not None and (text := mismatch(shape, report.output)) is not None:
        return _refused(report, "UnexpectedOutput", text)
    if validation is None:
        return report
    where = f"step {step.id!r} validation_fn"
    verdict = await caller.call(validation, (from_value(report.output),), cancel, where)
    return _validated(report, verdict, step.validation or "validation_fn")


async def clean_output(
    report: Report,
    step: PlannedStep,
    callables: Mapping[str, Callable[..., Any]],
    caller: Caller,
    output_bytes_max: int,
    cancel: CancelToken,
) -> dict[str, Any] | None:
    """Run the ``clean`` hooks over an output that will be compared.

    Here and not where it is judged: a hook is foreign code, and what it gave has to be recorded.

    Returns: ``twins.Cleaned`` as a value; None where there is nothing to clean.
    """
    rules, assignment = step.compare, step.assignment
    compared = assignment is not None and assignment.verdict != "none"
    if rules is None or not compared or report.outcome is not Outcome.SUCCEEDED:
        return None
    if not rules.has_hooks:
        return None
    where = f"step {step.id!r} clean hooks"
    cleaned = await cleaned_of(
        report.output, rules, callables, caller, output_bytes_max, cancel, where
    )
    return cleaned.to_value()


# Any: an output is any value.
async def cleaned_of(
    output: Any,
    rules: CompareRules,
    callables: Mapping[str, Callable[..., Any]],
    caller: Caller,
    output_bytes_max: int,
    cancel: CancelToken,
    where: str,
) -> Cleaned:
    """Run the ``clean`` hooks of rules over an output; what went wrong is in what is given.

    Args:
        where: Whose hooks they are, for people.
    """
    given: list[Cleaned] = []

    def work() -> None:
        given.append(clean(output, rules, callables))

    verdict = await caller.call(work, (), cancel, where)
    if given and verdict.outcome is Outcome.SUCCEEDED:
        size = len(msgspec.msgpack.encode(given[0].value))
        if size <= output_bytes_max:
            return given[0]
        limit = f"at most {output_bytes_max} (limits.output_bytes_max)"
        return Cleaned(None, {"": f"the clean hooks gave {size} bytes, {limit}"})
    why = verdict.failure.line() if verdict.failure else str(verdict.outcome)
    return Cleaned(output, {"": f"the clean hooks came to no end: {why}"})


async def perform_handler(
    caller: Caller, function: Callable[..., Any], command_set: CommandSet, cancel: CancelToken
) -> Report:
    """Run a ``python_handler`` over a copy of its command set: what it changes is its own."""
    return await caller.call(function, (copy.deepcopy(command_set),), cancel, "python_handler")


def bounded(report: Report, output_bytes_max: int) -> Report:
    """Refuse an output that is larger than one may be (``limits.output_bytes_max``)."""
    if report.output is None:
        return report
    size = len(msgspec.msgpack.encode(report.output))
    if size <= output_bytes_max:
        return report
    text = f"the output takes {size} bytes, at most {output_bytes_max} (limits.output_bytes_max)"
    return _refused(report, "TooLarge", text)


def _validated(report: Report, verdict: Report, name: str) -> Report:
    if verdict.outcome is Outcome.SUCCEEDED:
        # None counts as a yes: a validation that only raises has nothing to give back.
        if verdict.output is None or verdict.output:
            return report
        return _refused(report, "ValidationFailed", f"{name} said no ({verdict.output!r})")
    if verdict.outcome is Outcome.FAILED and verdict.failure is not None:
        text = f"{name} raised {verdict.failure.line()}"
        return _refused(report, "ValidationFailed", text, verdict.failure.traceback)
    return Report(
        verdict.outcome, failure=verdict.failure, seconds=report.seconds, stopped=verdict.stopped
    )


def _refused(report: Report, type: str, text: str, traceback: str | None = None) -> Report:
    failure = Failure(type, text, traceback)
    return Report(Outcome.FAILED, failure=failure, seconds=report.seconds)
