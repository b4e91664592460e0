"""Cutting a plan into segments: connected native steps that C can run in one crossing. Pure.

Every step gets a level that grows along each edge between a native and another step, and behind a
step whose output Python must look at. Native steps of one level that hang together form a
segment. No path leaves a segment and comes back: it would have to come down a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """What cutting needs to know of one step."""

    id: str
    parent: str
    needs: tuple[str, ...]
    native: bool
    """C can run it as a step of a program."""
    ends_segment: bool
    """Python has to see its output before anything follows (``validation_fn``)."""


def cut_segments(cells: Sequence[Cell], *, whole: bool = False) -> tuple[tuple[str, ...], ...]:
    """Cut steps, in an order that respects their dependencies, into segments.

    Args:
        whole: SPEED_CRITICAL: all native steps of a level and of one command set form one segment,
            connected or not.

    Returns: Segments in order of their first step, each with its steps in order.
    """
    by_id = {cell.id: cell for cell in cells}
    position = {cell.id: i for i, cell in enumerate(cells)}
    level: dict[str, int] = {}
    deepest: dict[str, int] = {}
    """Of a group: the highest level of anything in it."""
    leader: dict[str, str] = {}
    first_of_level: dict[tuple[str, int], str] = {}

    def find(step_id: str) -> str:
        while leader[step_id] != step_id:
            leader[step_id] = leader[leader[step_id]]
            step_id = leader[step_id]
        return step_id

    for cell in cells:
        mine = level[cell.parent] + 1 if cell.parent in level else 0
        for other_id in cell.needs:
            other = by_id[other_id]
            step_up = other.native != cell.native or other.ends_segment
            mine = max(mine, deepest.get(other_id, level[other_id]) + step_up)
        level[cell.id] = mine
        around = cell.parent
        while around in level:
            deepest[around] = max(deepest.get(around, 0), mine)
            around = by_id[around].parent
        if not cell.native:
            continue
        leader[cell.id] = cell.id
        joined = [o for o in cell.needs if o in leader and level[o] == mine]
        if whole:
            joined.append(first_of_level.setdefault((cell.parent, mine), cell.id))
        for other_id in joined:
            older, newer = find(other_id), find(cell.id)
            if position[newer] < position[older]:
                older, newer = newer, older
            leader[newer] = older
    segments: dict[str, list[str]] = {}
    for step_id in leader:
        segments.setdefault(find(step_id), []).append(step_id)
    return tuple(tuple(members) for members in segments.values())
