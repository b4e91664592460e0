"""Conflicts as a run holds them in memory: all are counted, the first ones keep their fields."""

from __future__ import annotations

from typing import Any

FIELDS_KEPT_MAX = 1_000
"""Conflicts of one run that keep their fields in memory and in its result; the journal has all."""


# Any: a conflict as ``API`` shows it.
def bounded(conflict: dict[str, Any], before: int) -> dict[str, Any]:
    """Give a conflict as it is held, ``before`` others being held already.

    Returns: it, or one without its fields, that has ``fields_total`` instead.
    """
    if before < FIELDS_KEPT_MAX or not conflict["fields"]:
        return conflict
    return {**conflict, "fields": [], "fields_total": len(conflict["fields"])}


# Any: a field of a conflict, and what stands on one side of it.
def is_absent(field: dict[str, Any], side: str) -> bool:
    """Say whether nothing stands on a side, ``left`` or ``right``, where the other has something."""
    return field.get("absent") == side
