"""The life of a step: its condition, its items, its twins, its end. Pure."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.engine import comparing, holding, splits, units, verdict, waiting
from tandem_orchestrator.engine.ending import Ending
from tandem_orchestrator.engine.instructions import UnitKey
from tandem_orchestrator.engine.state import Phase, StepState, UnitState
from tandem_orchestrator.engine.turn import Turn, empty_producer, items_of, look_up
from tandem_orchestrator.model.conditions import holds
from tandem_orchestrator.model.events import ConflictSettled, StepEnded
from tandem_orchestrator.model.none_yet import NO_LIST, NONE_YET
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.refs import Missing

ITEMS_AT_ONCE = 64
"""Items of one ``for_each`` that are out at the same time."""


def start(turn: Turn, step: StepState) -> bool:
    """Begin a step whose dependencies have ended.

    Returns: True if it is a group, whose children the caller starts.
    """
    state = turn.state
    if step.phase is not Phase.WAITING:
        _start_due(turn, step)
        return False
    for other in step.plan.depends_on:
        if blocker := state.steps[other].blocked_by:
            step.blocked_by = blocker
            skip(turn, step, f"not started: step {blocker!r} failed")
            return False
    condition = step.plan.when
    if condition is not None and not holds(condition, lambda r: look_up(state, step, None, r)):
        skip(turn, step, "its condition is false")
        return False
    if producer := empty_producer(state, step):
        skip(turn, step, f"it refers to step {producer!r}, which gave no output")
        return False
    if step.plan.is_group:
        turn.state.move(step, Phase.RUNNING)
        return True
    turn.state.move(step, Phase.RUNNING)
    if step.plan.id in state.ran:
        holding.keep_unstarted(turn, step)
    else:
        _begin(turn, step)
    return False


def _begin(turn: Turn, step: StepState) -> None:
    """Give out what a step consists of."""
    if step.plan.waits:
        if (over := waiting.begin(turn, step)) is not None:
            end(turn, step, over.outcome, over.output, over.failure)
    elif step.plan.for_each is None:
        _start_units(turn, step, None)
    else:
        _start_items(turn, step)


def _start_due(turn: Turn, step: StepState) -> None:
    """Try again what a lost segment left, now that the steps before it have ended once more."""
    if step.phase is Phase.RUNNING and any(unit.is_due for unit in step.units.values()):
        blocked = any(turn.state.steps[other].blocked_by for other in step.plan.depends_on)
        if blocked or empty_producer(turn.state, step):
            stop_retrying(turn, step)
        else:
            units.start_due(turn, step)


def skip(turn: Turn, step: StepState, reason: str) -> None:
    """End a step that never starts."""
    step.reason = reason
    end(turn, step, Outcome.SKIPPED)


def end(
    turn: Turn,
    step: StepState,
    outcome: Outcome,
    output: Any = None,
    failure: Failure | None = None,
    *,
    recorded: bool = False,
) -> None:
    """Bring a step to its end and have that recorded, unless its segment's end stands for it."""
    turn.state.move(step, Phase.ENDED)
    step.outcome, step.output, step.failure = outcome, output, failure
    failed = outcome not in (Outcome.SUCCEEDED, Outcome.SKIPPED)
    if failed and not step.plan.can_fail:
        step.blocked_by = step.plan.id
    step.units, step.splits = NONE_YET, NONE_YET
    step.items = None
    step.item_outputs, step.only = NO_LIST, NO_LIST
    turn.ended.append(step.plan.id)
    if recorded:
        return
    turn.record(
        StepEnded(
            step=step.plan.id,
            outcome=outcome.value,
            output=output,
            failure=failure.to_value() if failure else None,
            layer=step.layer,
            implementation=step.implementation,
            attempts=step.attempts,
            seconds=step.seconds,
            reason=step.reason,
            cached=step.cached,
            stopped=step.stopped,
            failed_items=tuple(step.failed_items) or None,
            implementations=step.sides or None,
        )
    )


def unit_ended(
    turn: Turn, step: StepState, item: int | None, part: tuple[int, int] | None = None
) -> None:
    """See whether all twins of a step, an item or a part have ended, and go on from there."""
    mine = _together(step, item, part)
    if step.phase is not Phase.RUNNING or any(unit.phase is not Phase.ENDED for unit in mine):
        return
    assert mine, step.plan.id
    ending = comparing.settle(turn, step, mine)
    if ending is not None:
        _go_on(turn, step, item, part, ending)
    elif step.held and part is None and item is not None and not _is_at_work(step, item):
        _start_next_item(turn, step)  # Others need not wait for the person.
    _pause_if_still(turn, step)


def answered(turn: Turn, event: waiting.Answer) -> None:
    """Take in what a step waited for, or that its time has passed; stale ones change nothing."""
    found = waiting.answer(turn, event)
    if found is not None:
        step, over = found
        end(turn, step, over.outcome, over.output, over.failure)


def settled(turn: Turn, event: ConflictSettled) -> None:
    """Take in what a person decided about a conflict that was held; a stale one changes nothing."""
    if event.again:
        taken = holding.take(turn, event.conflict)
        if taken is not None:
            step, held = taken
            if held.units:
                units.start_all(turn, step, [comparing.again(unit) for unit in held.units])
            else:
                _begin(turn, step)
        return
    found = holding.release(turn, event)
    if found is None:
        return
    step, held, ending = found
    _go_on(turn, step, held.item, held.part, ending)
    _pause_if_still(turn, step)


def _together(step: StepState, item: int | None, part: tuple[int, int] | None) -> list[UnitState]:
    assignment = step.plan.assignment
    if assignment is None or assignment.verdict == "none":
        return [unit for unit in step.units.values() if unit.item == item]
    labels = (UnitKey("", item, name, part).label for name in assignment.implementations)
    return [step.units[label] for label in labels if label in step.units]


def _is_at_work(step: StepState, item: int) -> bool:
    return bool(_together(step, item, None)) or UnitKey("", item, "").place in step.splits


def _go_on(
    turn: Turn, step: StepState, item: int | None, part: tuple[int, int] | None, ending: Ending
) -> None:
    """Let an ending count: for the batch it is a part of, for the item, for the step."""
    if part is not None:
        splits.part_ended(turn, step, item, part, ending)
        while (doubt := splits.doubted(turn, step, item)) is not None:
            if splits.is_lost(turn, step, item):
                comparing.settle_whole(turn, step, doubt, is_over=True)
                continue
            splits.reopen(step, item, doubt)
            again = comparing.settle_whole(turn, step, doubt)
            if again is not None:
                _go_on(turn, step, item, doubt.units[0].part, again)
            return
        whole = splits.ended(turn, step, item)
        if whole is None:
            return
        ending = whole
    if item is None:
        end(turn, step, ending.outcome, ending.output, ending.failure)
    else:
        _item_ended(turn, step, item, ending)


def _pause_if_still(turn: Turn, step: StepState) -> None:
    if step.held and step.phase is Phase.RUNNING and not step.units:
        turn.state.pause(step, paused=True)


def stop(turn: Turn, step: StepState, reason: str, text: str) -> None:
    """Ask everything of a running step to stop; see ``units.stop``. What waits for a person ends."""
    _give_up_waiting(turn, step, reason, text)
    for unit in list(step.units.values()):
        was_retrying = unit.phase is Phase.RETRYING
        units.stop(turn, step, unit, reason, text)
        if was_retrying:
            unit_ended(turn, step, unit.item, unit.part)
    for held in list(step.held.values()):
        holding.forget(turn, step, held)
        where = f"conflict {held.conflict} waited for a decision: {text}"
        _go_on(turn, step, held.item, held.part, Ending.stopped(reason, where))


def stop_retrying(turn: Turn, step: StepState) -> None:
    """Let what runs finish, but try nothing again, and wait for nobody."""
    _give_up_waiting(turn, step, "cancelled", "what it waited for has no use any more")
    for unit in list(step.units.values()):
        if unit.phase is Phase.RETRYING:
            units.give_up_retrying(turn, step, unit)
            unit_ended(turn, step, unit.item, unit.part)


def _give_up_waiting(turn: Turn, step: StepState, reason: str, text: str) -> None:
    if waiting.forget(turn, step):
        over = Ending.stopped(reason, text)
        end(turn, step, over.outcome, failure=over.failure)


def _start_units(turn: Turn, step: StepState, item: int | None) -> None:
    assignment = step.plan.assignment
    assert assignment is not None, step.plan.id
    pairs = zip(assignment.implementations, assignment.layers, strict=True)
    made = [UnitState(name, layer, item, assignment.reason) for name, layer in pairs]
    units.start_all(turn, step, made)


def _start_items(turn: Turn, step: StepState) -> None:
    step.reason = step.plan.assignment.reason if step.plan.assignment else ""
    try:
        items = items_of(turn.state, step)
    except Missing as missing:
        text = f"for_each: there is no {missing.args[0]}"
        end(turn, step, Outcome.FAILED, failure=Failure("BadReference", text))
        return
    if not isinstance(items, list):
        text = f"for_each: expected a list, got {type(items).__name__}"
        end(turn, step, Outcome.FAILED, failure=Failure("TypeError", text))
        return
    step.items = items
    if len(step.item_outputs) != len(items):
        step.only, step.item_outputs = NO_LIST, [None] * len(items)
    step.failed_items, step.differing = [], []
    step.items_left = len(step.only) or len(items)
    if not items:
        end(turn, step, Outcome.SUCCEEDED, [])
        return
    for _ in range(min(ITEMS_AT_ONCE, step.items_left)):
        _start_next_item(turn, step)


def _start_next_item(turn: Turn, step: StepState) -> None:
    assert step.items is not None
    if step.next_item < (len(step.only) or len(step.items)):
        item = step.only[step.next_item] if step.only else step.next_item
        step.next_item += 1
        _start_units(turn, step, item)


def _item_ended(turn: Turn, step: StepState, item: int, ending: Ending) -> None:
    step.items_left -= 1
    step.item_outputs[item] = ending.output
    if ending.disagrees:
        step.differing.append(item)
        step.failed_items.append(item)
    elif ending.outcome is not Outcome.SUCCEEDED:
        step.failed_items.append(item)
        if step.failure is None:
            failure = ending.failure
            text = f"item {item}: {failure.message if failure else ending.outcome.value}"
            step.failure = Failure(failure.type if failure else ending.outcome.value, text)
            step.outcome = ending.outcome
    # Where the twins differ all items are compared: the failure names each that does.
    gives_up = step.failure is not None and step.plan.on_item_failure == "fail"
    halted = step.cancel_asked or any(g.stopped for g in turn.state.around(step.plan.parent))
    if (gives_up or halted) and step.items is not None:
        # Items that never started do not start any more.
        total = len(step.only) or len(step.items)
        step.items_left -= total - step.next_item
        step.next_item = total
    else:
        _start_next_item(turn, step)
    if step.items_left:
        return
    step.failed_items.sort()
    collects = step.plan.on_item_failure == "collect"
    if step.differing and not halted and not collects:
        failure = verdict.items_disagreement(f"step {step.plan.id!r}", sorted(step.differing))
        end(turn, step, Outcome.FAILED, failure=failure)
    elif gives_up or halted:
        end(turn, step, step.outcome or Outcome.CANCELLED, failure=step.failure)
    else:
        end(turn, step, Outcome.SUCCEEDED, step.item_outputs)
