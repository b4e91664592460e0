"""The desk that conflicts pass: each gets its capsule, and who wants to know is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from tandem_orchestrator.engine.instructions import Evidence
from tandem_orchestrator.engine.state import RunState
from tandem_orchestrator.model.events import Judged

_log = logging.getLogger(__name__)

# Any: conflicts, outcomes and capsules are plain values.
OnConflict = Callable[[dict[str, Any], list[dict[str, Any]]], None]
"""Called on the loop with (the conflict as the result shows it, the outcomes of its twins)."""
MakeCapsule = Callable[..., dict[str, Any]]
"""Makes a capsule as a value; called with the keywords of ``twins.make_capsule``."""

CAPSULES_MAX = 1000
"""Conflicts of one run that are kept whole; of those beyond there are only the fields."""


class Desk:
    """What is done about every conflict, whoever decides it.

    Args:
        make_capsule: None: no capsules are made.
        on_conflict: None: nobody is told.
    """

    def __init__(
        self, make_capsule: MakeCapsule | None = None, on_conflict: OnConflict | None = None
    ) -> None:
        self._make_capsule, self._on_conflict = make_capsule, on_conflict

    def with_capsule(
        self, run_id: str, state: RunState, judged: Judged, evidence: Evidence
    ) -> Judged:
        """Give the event with the conflict kept whole."""
        conflict = judged.conflict or {}
        if self._make_capsule is None or len(state.conflicts) > CAPSULES_MAX:
            return judged
        planned = state.steps[judged.step].plan
        capsule = self._make_capsule(
            id=f"{run_id}.{conflict['id']}",
            run=run_id,
            step=judged.step,
            item=judged.item,
            agent=planned.agent,
            action=planned.action,
            version=planned.version,
            payload=evidence.payload,
            inputs=evidence.inputs,
            outcomes=evidence.outcomes,
            fields=conflict["fields"],
            rules=planned.compare.to_value() if planned.compare is not None else None,
            seed=int(state.roll * 2**53),
        )
        return msgspec.structs.replace(judged, capsule=capsule)

    def tell(self, run_id: str, conflict: dict[str, Any], outcomes: list[dict[str, Any]]) -> None:
        """Call whoever wants to know; one that raises is logged and does not hurt the run."""
        if self._on_conflict is None:
            return
        try:
            self._on_conflict({"run_id": run_id, **conflict}, outcomes)
        except Exception:  # noqa: BLE001 - a stranger's code must not hurt the run
            _log.exception("on_conflict raised at conflict %s of run %s", conflict["id"], run_id)
