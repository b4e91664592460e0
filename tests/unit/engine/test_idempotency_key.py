"""One key for a unit, whichever way it runs: C makes an item's out of the step's."""

from tandem_orchestrator.engine.attempt import idempotency_key
from tandem_orchestrator.engine.instructions import UnitKey


def test_an_items_key_is_its_steps_and_its_position():
    whole = idempotency_key("r1", UnitKey("s", None, "c"))
    assert len(bytes.fromhex(whole)) == 16
    assert idempotency_key("r1", UnitKey("s", 7, "c")) == f"{whole}-7"
    assert len(idempotency_key("r1", UnitKey("s", 2**32 - 1, "c"))) <= 64


def test_runs_steps_and_implementations_have_keys_of_their_own():
    units = [UnitKey(step, None, name) for step in ("a", "b") for name in ("c", "python")]
    keys = {idempotency_key(run, unit) for run in ("r1", "r2") for unit in units}
    assert len(keys) == 8
