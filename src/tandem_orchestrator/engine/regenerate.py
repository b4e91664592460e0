"""Transient objects of a run that another process began: their producers run again.

A transient output is journaled as a stand-in, and its object died with the process that held it.
Before an attempt that depends on such a step starts here, the step is run once more, with the
payload and inputs it had; what it gives takes the stand-in's place in this process's memory. Nothing
is journaled: by its record the step has succeeded, and a transient step may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine.attempt import make_work
from tandem_orchestrator.engine.instructions import Dispatch, UnitKey
from tandem_orchestrator.engine.state import RunState, StepState
from tandem_orchestrator.engine.turn import inputs_of, items_of, resolve_payload
from tandem_orchestrator.layers.layer import CancelToken, Layer
from tandem_orchestrator.model.carried import is_lost
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.plans import Plan


def _tell_nobody(done: int, total: int) -> None:
    """The step has ended, as far as anybody can see."""


class Regenerator:
    """Runs lost producers of one run again, each once however many wait for it."""

    def __init__(
        self, run_id: str, plan: Plan, state: RunState, layers: Mapping[str, Layer], clock: Clock
    ) -> None:
        self._run_id, self._plan, self._state = run_id, plan, state
        self._layers, self._clock = layers, clock
        self._lock = asyncio.Lock()
        self._may_lose = any(step.transient for step in plan.steps)

    async def restore(self, step: StepState, lane: int, cancel: CancelToken) -> Failure | None:
        """Have the objects that a step depends on; the failure of the step if one cannot be had."""
        if not self._may_lose or not self._lost_before(step):
            return None
        async with self._lock:  # one at a time: a chain of them is made from its beginning
            for producer in self._lost_before(step):
                failure = await self._again(producer, lane, cancel)
                if failure is not None:
                    return failure
        return None

    def _lost_before(self, step: StepState) -> list[StepState]:
        names = dict.fromkeys([*step.plan.depends_on, *(of for _, of in step.plan.inputs_from)])
        before = [self._state.steps[name] for name in names]
        return [one for one in before if one.plan.transient and is_lost(one.output)]

    async def _again(self, producer: StepState, lane: int, cancel: CancelToken) -> Failure | None:
        for earlier in self._lost_before(producer):
            failure = await self._again(earlier, lane, cancel)
            if failure is not None:
                return failure
        if producer.plan.for_each is None:
            producer.output, failure = await self._run(producer, None, lane, cancel)
            return failure
        outputs = list(producer.output)
        producer.items = items_of(self._state, producer)  # they were let go of with its end
        try:
            failure = await self._items_again(producer, outputs, lane, cancel)
        finally:
            producer.items = None
        producer.output = outputs
        return failure

    # Any: outputs are any plain values.
    async def _items_again(
        self, producer: StepState, outputs: list[Any], lane: int, cancel: CancelToken
    ) -> Failure | None:
        for item, output in enumerate(outputs):
            if is_lost(output):
                outputs[item], failure = await self._run(producer, item, lane, cancel)
                if failure is not None:
                    return failure
        return None

    # Any: an output is any plain value.
    async def _run(
        self, producer: StepState, item: int | None, lane: int, cancel: CancelToken
    ) -> tuple[Any, Failure | None]:
        before = producer.output if item is None else producer.output[item]
        assignment = producer.plan.assignment
        assert assignment is not None, producer.plan.id
        name, layer_name = assignment.implementations[0], assignment.layers[0]
        unit = UnitKey(producer.plan.id, item, name)
        dispatch = Dispatch(unit, layer_name, 1, "its object was lost with its process")
        work = make_work(
            self._run_id,
            producer,
            dispatch,
            resolve_payload(self._state, producer, item),
            inputs_of(self._state, producer),
            plan=self._plan,
            lane=lane,
            clock=self._clock,
            on_progress=_tell_nobody,
        )
        report = await self._layers[layer_name].run(work, cancel)
        if report.outcome is Outcome.SUCCEEDED:
            return report.output, None
        why = report.outcome.value if report.failure is None else report.failure.line()
        text = f"step {producer.plan.id!r} was run again for its transient output: {why}"
        return before, Failure("TransientLost", text)
