"""What an interrupted run says of an action that has another version by now."""

import pytest

from tandem_orchestrator.engine.recover import recover
from tandem_orchestrator.model.catalogue import Action, Catalogue, Implementation
from tandem_orchestrator.model.events import RunAccepted
from tandem_orchestrator.model.plans import plan_to_value
from tandem_orchestrator.orchestrator.recovery import _missing
from tandem_orchestrator.testing.driver import plan, step

CHANGED = "a.do version 1 (here: 2)"
ENDING = "; 'tandem runs resume' goes on"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("continue", []),
        ("hold", [CHANGED + ENDING]),
        ("restart", [CHANGED + " (on_change=restart is not carried out: it is held)" + ENDING]),
    ],
)
def test_a_policy_that_is_not_carried_out_says_so(policy: str, said: list[str]) -> None:
    the_plan = plan(step("s"), on_change=policy)
    accepted = RunAccepted(
        run_id="r", command_set_id="c", name="n", type="workflow", mode="intelligent",
        priority="medium", durability="group", document={}, plan=plan_to_value(the_plan),
    )  # fmt: skip
    action = Action("a", "do", version="2", implementations=(Implementation("python", "python"),))
    here = Catalogue({("a", "do"): action}, frozenset({"a"}))
    found = recover([accepted])
    (needed,) = found.needs()
    assert list(_missing(needed, here, found, True)) == said
