"""Splitting a batch whose twins differ, by halves, until every differing item stands alone. Pure.

The action declared ``batch="items"``: ``payload["items"]`` is a list, the output one of equal
length and order. So a part can be run by itself, and the parts' outputs make the whole one.
Where the twins differ on a part and agree on its halves, the part itself is where they differ.
"""

from __future__ import annotations

from collections.abc import Sequence

from tandem_orchestrator.engine import units, verdict
from tandem_orchestrator.engine.ending import Ending
from tandem_orchestrator.engine.instructions import UnitKey
from tandem_orchestrator.engine.state import DoubtState, SplitState, StepState, UnitState
from tandem_orchestrator.engine.turn import Turn, resolve_payload
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.refs import Missing

PARTS_AT_ONCE = 8
"""Parts of one batch that are out at the same time, each in all its implementations."""


def divide(turn: Turn, step: StepState, mine: Sequence[UnitState]) -> bool:
    """Give out the halves of what twins differ on; False where nothing can be split.

    Args:
        mine: Ended twins of a batch, or of a part of one.
    """
    if step.plan.batch != "items" or mine[0].whole:
        return False
    item, part = mine[0].item, mine[0].part
    place = UnitKey(step.plan.id, item, "").place
    split = step.splits.get(place)
    if part is None:
        made = _begin(turn, step, item)
        if made is None:
            return False
        split, part = made, (0, len(made.outputs))
        step.splits = step.splits or {}
        step.splits[place] = split
        split.open = 1
    assert split is not None
    low, high = part
    if high - low < 2:
        return False
    middle = (low + high) // 2
    split.open -= 1
    split.doubts.append(DoubtState(low, high, list(mine), high - low))
    split.waiting += [(middle, high), (low, middle)]
    _give_out(turn, step, item, split)
    return True


def part_ended(
    turn: Turn, step: StepState, item: int | None, part: tuple[int, int], ending: Ending
) -> None:
    """Take in a part's ending, and give out more."""
    split = step.splits[UnitKey(step.plan.id, item, "").place]
    low, high = part
    split.open -= 1
    _count(split, low, high, high - low)
    if ending.disagrees:
        split.differing.extend(range(low, high))
    elif ending.outcome is not Outcome.SUCCEEDED:
        _failed(split, low, ending)
    elif isinstance(ending.output, list) and len(ending.output) == high - low:
        split.outputs[low:high] = ending.output
    else:
        given = ending.output
        shown = f"a list of {len(given)}" if isinstance(given, list) else type(given).__name__
        text = f"it declares batch='items' and gave {shown} for {high - low} items"
        _failed(split, low, Ending(Outcome.FAILED, failure=Failure("NotABatch", text)))
    _give_out(turn, step, item, split)


def ended(turn: Turn, step: StepState, item: int | None) -> Ending | None:
    """Give the ending of the whole batch once nothing of it is left."""
    place = UnitKey(step.plan.id, item, "").place
    split = step.splits[place]
    if _moves(split):
        return None
    del step.splits[place]
    return _whole(turn, step, split)


def explain(step: StepState, key: UnitKey) -> None:
    """Note that a conflict was found in a part: it is why those around it differed."""
    split = step.splits.get(UnitKey(key.step, key.item, "").place)
    if split is not None and key.part is not None:
        low, high = key.part
        split.doubts[:] = [d for d in split.doubts if not (d.low <= low and high <= d.high)]


def doubted(turn: Turn, step: StepState, item: int | None) -> DoubtState | None:
    """Take the smallest part on which the twins differ though nothing in it does; None: none.

    Where nothing more of the batch will be run, also one in which that is not known yet.
    """
    split = step.splits[UnitKey(step.plan.id, item, "").place]
    is_over = is_lost(turn, step, item) and not _moves(split)
    found = [doubt for doubt in split.doubts if is_over or not doubt.left]
    if not found:
        return None
    doubt = min(found, key=lambda doubt: doubt.high - doubt.low)
    split.doubts.remove(doubt)
    for unit in doubt.units:
        unit.whole = doubt.high - doubt.low
    return doubt


def is_lost(turn: Turn, step: StepState, item: int | None) -> bool:
    """Say whether the batch will have no output, whatever comes of its parts."""
    split = step.splits[UnitKey(step.plan.id, item, "").place]
    return split.failure is not None or turn.state.is_halted(step)


def reopen(step: StepState, item: int | None, doubt: DoubtState) -> None:
    """Have a part be at work again that was thought to be settled by its halves."""
    place = UnitKey(step.plan.id, item, "").place
    if doubt.units[0].part is None:
        del step.splits[place]
        return
    split = step.splits[place]
    split.open += 1
    _count(split, doubt.low, doubt.high, doubt.low - doubt.high)


def part_held(turn: Turn, step: StepState, item: int | None) -> None:
    """Note that a part waits for a person; the others go on."""
    split = step.splits[UnitKey(step.plan.id, item, "").place]
    split.open -= 1
    split.held += 1
    _give_out(turn, step, item, split)


def part_released(step: StepState, item: int | None) -> None:
    """Note that a part waits for nobody any more; its ending follows."""
    split = step.splits[UnitKey(step.plan.id, item, "").place]
    split.held -= 1
    split.open += 1


def _moves(split: SplitState) -> bool:
    return bool(split.open or split.held or split.waiting)


def _count(split: SplitState, low: int, high: int, items: int) -> None:
    split.done += items
    for doubt in split.doubts:
        if doubt.low <= low and high <= doubt.high:
            doubt.left -= items


def _begin(turn: Turn, step: StepState, item: int | None) -> SplitState | None:
    try:
        payload = resolve_payload(turn.state, step, item)
    except Missing:
        return None
    items = payload.get("items") if isinstance(payload, dict) else None
    if not isinstance(items, list) or len(items) < 2:
        return None
    return SplitState(payload, [None] * len(items))


def _give_out(turn: Turn, step: StepState, item: int | None, split: SplitState) -> None:
    assignment = step.plan.assignment
    assert assignment is not None
    if turn.state.is_halted(step):
        split.waiting.clear()
    while split.waiting and split.open < PARTS_AT_ONCE:
        part = split.waiting.pop()
        split.open += 1
        pairs = zip(assignment.implementations, assignment.layers, strict=True)
        made = [UnitState(name, layer, item, assignment.reason, part=part) for name, layer in pairs]
        units.start_all(turn, step, made)


def _failed(split: SplitState, first: int, ending: Ending) -> None:
    split.failed.append(first)
    if split.failure is None:
        text = ending.failure.message if ending.failure else ending.outcome.value
        kind = ending.failure.type if ending.failure else ending.outcome.value
        split.outcome, split.failure = ending.outcome, Failure(kind, f"item {first}: {text}")


def _whole(turn: Turn, step: StepState, split: SplitState) -> Ending:
    if split.done < len(split.outputs) and split.failure is None:
        timed_out = any(group.timed_out for group in turn.state.around(step.plan.parent))
        text = f"{split.done} of {len(split.outputs)} items were compared"
        return Ending.stopped("timed_out" if timed_out else "cancelled", text)
    collects = step.plan.on_item_failure == "collect" and step.plan.for_each is None
    if split.differing and collects and split.failure is None:
        step.failed_items = sorted(split.differing)
        return Ending(Outcome.SUCCEEDED, split.outputs)
    if split.differing:
        where = f"step {step.plan.id!r}"
        failure = verdict.items_disagreement(where, sorted(split.differing))
        return Ending(Outcome.FAILED, failure=failure, disagrees=True)
    if split.failure is not None:
        return Ending(split.outcome or Outcome.FAILED, failure=split.failure)
    return Ending(Outcome.SUCCEEDED, split.outputs)
