"""Results of runs that went well in one go: what they have in common is made once for a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tandem_orchestrator.model.events import AnyEvent
from tandem_orchestrator.observe import RunView


class ResultTemplate:
    """The result of any run of one plan all of whose steps succeeded, but for its own values.

    Args:
        events: Those of a made-up run of the plan: its view says what all have in common.
    """

    def __init__(self, events: Iterable[AnyEvent]) -> None:
        view = RunView()
        for event in events:
            view.apply(event)
        self._common = view.result()
        self._steps = tuple(self._common["steps"].items())

    # Any: outputs are any values; the result as API pins it.
    def fill(
        self,
        run_id: str,
        names: tuple[str, str],
        outputs: dict[str, Any],
        seconds: Sequence[float],
        duration_s: float,
    ) -> dict[str, Any]:
        """Build a result.

        Args:
            names: Id and name of the command set.
            outputs: By step, in the plan's order.
            seconds: What each step took, in the plan's order.
        """
        steps = {}
        for (step_id, common), took_s in zip(self._steps, seconds, strict=True):
            shown = steps[step_id] = common.copy()
            shown["seconds"] = took_s
            shown["failed_items"] = []
        result = self._common.copy()
        result["results"] = outputs
        result["run_id"] = run_id
        result["command_set_id"], result["name"] = names
        result["duration"] = duration_s
        result["steps"] = steps
        result["notes"] = list(result["notes"])
        return result
