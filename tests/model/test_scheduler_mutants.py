"""The model proof can fail: each of these bugs is planted, and the machine finds it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from scheduler_machine import SchedulerMachine
from test_scheduler_model import SHORT

from tandem_orchestrator.engine import gates, recover, steps, units
from tandem_orchestrator.engine.ageing import Ageing
from tandem_orchestrator.engine.gates import FREE, Gates
from tandem_orchestrator.engine.recover import Recovered
from tandem_orchestrator.errors import TandemError
from tandem_orchestrator.journal import MemoryStore
from tandem_orchestrator.model.events import AttemptEnded, CancelRequested
from tandem_orchestrator.orchestrator import recovery

HUNT = settings(SHORT, max_examples=400, phases=[Phase.generate], report_multiple_bugs=False)
"""As the short proof, but longer, and it stops at the first failure."""

Plant = Callable[[pytest.MonkeyPatch], None]


def after_recovery(change: Callable[[Recovered], None]) -> Plant:
    """Plant a bug in what is left of a run when its program has died."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real = recover.recover

        def planted(events: Sequence[Any], **more: Any) -> Recovered:
            found = real(events, **more)
            change(found)
            return found

        monkeypatch.setattr(recovery, "recover", planted)

    return plant


def without(kind: type, *, outcome: str | None = None) -> Plant:
    """Let recovery overlook the last event of a kind, and what followed from it."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real = recover.recover

        def planted(events: Sequence[Any], **more: Any) -> Recovered:
            places = [
                i
                for i, event in enumerate(events)
                if isinstance(event, kind) and outcome in (None, getattr(event, "outcome", None))
            ]
            return real(events[: places[-1]] if places else events, **more)

        monkeypatch.setattr(recovery, "recover", planted)

    return plant


def forget_tries(found: Recovered) -> None:
    for step in found.state.steps.values():
        for unit in step.units.values():
            unit.retries = 0


def forget_pause(found: Recovered) -> None:
    found.state.paused = False


def forget_signals(found: Recovered) -> None:
    found.state.signals = {}


def forget_deadlines(found: Recovered) -> None:
    found.waits.clear()


def age_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ageing, "rank", lambda self, priority, waited_ns=0: -priority)


def age_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Ageing.rank
    monkeypatch.setattr(Ageing, "rank", lambda self, priority, waited_ns=0: real(self, priority))


def keys_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryStore.append

    def planted(self: MemoryStore, *given: Any) -> Any:
        refusal = real(self, *given)
        self._keys.clear()
        return refusal

    monkeypatch.setattr(MemoryStore, "append", planted)


def limits_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def enter(self: Gates, *given: Any) -> gates.Passage:
        return FREE

    monkeypatch.setattr(Gates, "enter", enter)


def conditions_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "holds", lambda condition, look_up: True)


def effects_are_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "may_repeat", lambda effects: True)


QUICK: dict[str, Plant] = {
    "a step that succeeded runs again after recovery": without(AttemptEnded, outcome="succeeded"),
    "a cancel is lost with its program": without(CancelRequested),
    "a pause is lost with its program": after_recovery(forget_pause),
    "who waits does not age": age_is_nothing,
    "who waits is young again after recovery": age_begins_anew,
    "a key that was used makes a second run": keys_are_forgotten,
    "limits by key are not kept": limits_are_forgotten,
    "external steps that may have run are repeated": effects_are_repeated,
}


RARE: dict[str, Plant] = {
    "retries are counted anew after recovery": after_recovery(forget_tries),
    "kept signals are lost with their program": after_recovery(forget_signals),
    "deadlines are lost with their program": after_recovery(forget_deadlines),
    "conditions are not looked at": conditions_are_true,
}
"""They need more histories."""


@pytest.mark.parametrize("name", QUICK)
def test_the_machine_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hunt(QUICK[name], monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RARE)
def test_the_machine_finds_in_the_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hunt(RARE[name], monkeypatch)


def hunt(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, TandemError)):  # the first rule or invariant that breaks
        run_state_machine_as_test(SchedulerMachine, settings=HUNT)
