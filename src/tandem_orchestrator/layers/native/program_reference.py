"""Run the steps of a program in plain Python: the oracle that C is held against.

It works on planned steps and values, not on compiled bytes, and says what ``engine/steps.py`` says
about conditions, empty producers, items and failures for ``on_failure="stop"``. Steps run one
after another in the order in which they became ready.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from tandem_orchestrator.layers.native import codec
from tandem_orchestrator.layers.native import program_outcome as codes
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.program_layout import FROM_SLOT, FROM_STEP
from tandem_orchestrator.layers.native.program_outcome import StepOutcome
from tandem_orchestrator.model.conditions import holds
from tandem_orchestrator.model.plans import PlannedStep
from tandem_orchestrator.model.refs import NO_DEFAULT, Missing, Ref, as_ref, find_refs, substitute

# Any below: payloads and outputs are any plain values.
ReferenceAction = Callable[[Any, dict[str, Any]], Any]
"""Called with (payload, inputs); raises ``ActionFailed`` to fail."""


class ActionFailed(Exception):
    """What ``td_fail(type, message)`` is: ``args`` are the two."""


def run_reference(
    steps: Sequence[PlannedStep],
    actions: Mapping[tuple[str, str], ReferenceAction],
    wanted: Container[str],
    *,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    outers: Sequence[str] = (),
) -> list[StepOutcome]:
    """Run steps as a program would; times are 0.

    Args:
        steps: As for ``compile_program``.
        actions: What stands for the bridge's actions.
        wanted: Ids whose outputs are in the outcomes.
        inputs: The run's own inputs.
        outputs: Of steps outside that gave one.
        outers: ``Program.outers``, which only number the causes of skipped steps.
    """
    run = _Run(steps, actions, dict(inputs or {}), dict(outputs or {}), outers)
    run.to_the_end()
    ended = [run.ended.get(step.id, StepOutcome(codes.NOT_STARTED)) for step in steps]
    return [
        row if step.id in wanted else StepOutcome(
            row.code, 0, 0, None, row.failure_type, row.failure_message, row.detail
        )
        for step, row in zip(steps, ended, strict=True)
    ]  # fmt: skip


class _Run:
    def __init__(
        self,
        steps: Sequence[PlannedStep],
        actions: Mapping[tuple[str, str], ReferenceAction],
        inputs: dict[str, Any],
        outputs: dict[str, Any],
        outers: Sequence[str],
    ) -> None:
        self.steps = {step.id: step for step in steps}
        self.actions = actions
        self.inputs = inputs
        self.outputs = outputs
        self.numbers = {step.id: (FROM_STEP, i) for i, step in enumerate(steps)}
        self.numbers |= {name: (FROM_SLOT, i + 1) for i, name in enumerate(outers)}
        self.ended: dict[str, StepOutcome] = {}
        self.stopped = False

    def to_the_end(self) -> None:
        """Run what is ready until nothing is."""
        missing = {
            step.id: {i for i in step.depends_on if i in self.steps} for step in self.steps.values()
        }
        ready = deque(step_id for step_id, others in missing.items() if not others)
        while ready and not self.stopped:
            step = self.steps[ready.popleft()]
            outcome = self.ended[step.id] = self.run_step(step)
            tolerated = step.can_fail and not step.retry.max_retries
            if outcome.code in (codes.SUCCEEDED, codes.SKIPPED) or tolerated:
                for other, others in missing.items():
                    if step.id in others:
                        others.remove(step.id)
                        if not others:
                            ready.append(other)
            else:
                self.stopped = True

    def run_step(self, step: PlannedStep) -> StepOutcome:
        """Run one step whose dependencies have ended."""
        if step.when is not None and not holds(step.when, lambda r: self.look_up(step, None, r)):
            return StepOutcome(codes.SKIPPED, detail=(codes.SKIP_CONDITION,))
        for part in (step.payload, step.for_each):
            for _, ref in find_refs(part):
                if isinstance(ref, Ref) and ref.step not in ("item", "inputs"):
                    name = step.scope + ref.step
                    if not ref.has_default and self.gave_nothing(name):
                        return StepOutcome(
                            codes.SKIPPED, detail=(codes.SKIP_NO_OUTPUT, *self.numbers[name])
                        )
        if step.for_each is None:
            return self.call(step, None)
        return self.run_items(step)

    def run_items(self, step: PlannedStep) -> StepOutcome:
        """Run a ``for_each``."""
        try:
            ref = as_ref(step.for_each)
            items = (
                self.look_up(step, None, ref)
                if ref is not None
                else substitute(step.for_each, lambda r: self.look_up(step, None, r))
            )
        except Missing as missing:
            return _failed("BadReference", f"for_each: there is no {missing.args[0]}")
        if not isinstance(items, list):
            return _failed("TypeError", f"for_each: expected a list, got {type(items).__name__}")
        outputs: list[Any] = []
        failed: list[int] = []
        first: StepOutcome | None = None
        for position, item in enumerate(items):
            outcome = self.call(step, item)
            outputs.append(outcome.output)
            if outcome.code != codes.SUCCEEDED:
                failed.append(position)
                first = first or StepOutcome(
                    outcome.code, 0, 0, None, outcome.failure_type,
                    f"item {position}: {outcome.failure_message}",
                )  # fmt: skip
                if step.on_item_failure == "fail":
                    return StepOutcome(
                        first.code, 0, 0, None, first.failure_type, first.failure_message,
                        tuple(failed),
                    )  # fmt: skip
        return StepOutcome(codes.SUCCEEDED, 0, 0, outputs, detail=tuple(failed))

    def call(self, step: PlannedStep, item: Any) -> StepOutcome:
        """Call the action once."""
        try:
            payload = substitute(step.payload, lambda ref: self.look_up(step, item, ref))
        except Missing as missing:
            text = f"the payload refers to {missing.args[0]}, which is not there"
            return _failed("BadReference", text)
        inputs = {name: self.output_of(source) for name, source in step.inputs_from}
        try:
            codec.encode(payload)
            codec.encode(inputs)
        except CodecError:
            text = "its payload or inputs are nested deeper than 32 containers"
            return _failed("NotAValue", f"{step.agent}.{step.action}: {text}")
        try:
            output = self.actions[step.agent, step.action](payload, inputs)
        except ActionFailed as failure:
            return _failed(*failure.args)
        return StepOutcome(codes.SUCCEEDED, 0, 0, output)

    def look_up(self, step: PlannedStep, item: Any, ref: Ref) -> Any:
        """Find what a reference means now. Raises Missing."""
        if ref.step == "item":
            source = item
        elif ref.step == "inputs":
            source = self.inputs
        else:
            source = self.output_of(step.scope + ref.step)
        try:
            return ref.walk(source)
        except Missing:
            if ref.default is NO_DEFAULT:
                raise
            return ref.default

    def output_of(self, step_id: str) -> Any:
        """Give a step's output, or None."""
        if step_id in self.steps:
            return None if self.gave_nothing(step_id) else self.ended[step_id].output
        return self.outputs.get(step_id)

    def gave_nothing(self, step_id: str) -> bool:
        """Whether a step ended without an output."""
        if step_id in self.steps:
            return self.ended[step_id].code != codes.SUCCEEDED
        return step_id not in self.outputs


def _failed(kind: str, message: str) -> StepOutcome:
    return StepOutcome(codes.FAILED, 0, 0, None, kind, message)
