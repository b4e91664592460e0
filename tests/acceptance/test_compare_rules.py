"""Rules of comparison in whole runs: declared with an action, kept in the plan, judged again alike."""

import threading
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandError,
    CommandSet,
    CommandStep,
    CompareRules,
    TandemOrchestrator,
    Tolerance,
)
from tandem_orchestrator.engine import RunState
from tandem_orchestrator.engine.advance import replay
from tandem_orchestrator.model.events import AttemptEnded, RunAccepted
from tandem_orchestrator.model.plans import plan_from_value
from tandem_orchestrator.testing import FakeClock

ASKED = CommandSet(
    mode="REDUNDANT", steps=[CommandStep(id="s", agent="shop", action="rate", timeout=5.0)]
)


def offer(tandem: TandemOrchestrator, left: Any, right: Any, rules: Any, **options: Any) -> None:
    """Register twins that give these outputs."""
    declare = tandem.register_agent("shop").action("rate", effects="none", compare=rules, **options)
    declare(lambda payload: left).twin("other")(lambda payload: right)


async def conflicts(tandem: TandemOrchestrator) -> list[dict[str, Any]]:
    result = await tandem.execute_command_set(ASKED)
    assert result["status"] == "completed", result["error"]
    found: list[dict[str, Any]] = result["conflicts"]
    return found


async def test_what_the_rules_excuse_is_no_conflict_and_the_winner_s_output_is_whole(
    tandem: TandemOrchestrator,
) -> None:
    rules = CompareRules(fields={"/at": Tolerance(ignore=True), "/x": Tolerance(abs=0.01)})
    offer(tandem, {"at": 1, "x": 1.0}, {"at": 2, "x": 1.001}, rules)
    result = await tandem.execute_command_set(ASKED)
    assert result["conflicts"] == []
    assert result["consensus_achieved"] is True
    assert result["results"]["s"] == {"at": 1, "x": 1.0}


async def test_rules_are_in_the_plan_and_a_run_folded_again_is_judged_alike_without_its_hooks(
    tandem: TandemOrchestrator,
) -> None:
    calls: list[Any] = []

    def drop_host(value: dict[str, Any]) -> dict[str, Any]:
        calls.append(value)
        return {key: value[key] for key in value if key != "host"}

    rules = CompareRules(clean=drop_host, fields={"/x": Tolerance(rel=1e-6)})
    offer(tandem, {"host": "a", "x": 1.0}, {"host": "b", "x": 2.0}, rules)
    run = await tandem.submit(ASKED)
    result = await run.result()
    assert [field["path"] for field in result["conflicts"][0]["fields"]] == ["/x"]
    assert len(calls) == 2

    events = [record.event for record in await tandem._usable()[1].records(run.id)]
    accepted = next(event for event in events if isinstance(event, RunAccepted))
    kept = accepted.plan["steps"][0]["compare"]
    assert kept == {"fields": {"/x": {"rel": 1e-6}}, "clean": "$clean:shop.rate"}
    ends = [event for event in events if isinstance(event, AttemptEnded)]
    assert sorted(end.cleaned["value"]["x"] for end in ends if end.cleaned) == [1.0, 2.0]
    state = replay(RunState.of(plan_from_value(accepted.plan)), events)
    assert [conflict["fields"] for conflict in state.conflicts] == [
        conflict["fields"] for conflict in result["conflicts"]
    ]
    assert len(calls) == 2, "no hook runs while a run is folded"


async def test_hooks_run_only_where_something_is_compared(tandem: TandemOrchestrator) -> None:
    calls: list[Any] = []
    offer(tandem, {"x": 1}, {"x": 1}, CompareRules(clean=lambda v: calls.append(v) or v))
    asked = CommandSet(mode="INTELLIGENT", steps=ASKED.steps)
    result = await tandem.execute_command_set(asked)
    assert result["status"] == "completed"
    assert calls == []


async def test_a_hook_that_comes_to_no_end_is_a_difference_and_the_run_goes_on(
    clocked: TandemOrchestrator, clock: FakeClock
) -> None:
    let_go = threading.Event()

    def hangs(value: Any) -> Any:
        let_go.wait(30.0)
        return value

    offer(clocked, 1, 1, CompareRules(clean=hangs))
    try:
        run = await clocked.submit(ASKED)
        for _ in range(40):
            await clock.advance(1.0)
        result = await run.result()
    finally:
        let_go.set()
    (field,) = result["conflicts"][0]["fields"]
    assert "came to no end" in field["reason"]


async def test_rules_of_another_type_are_refused(tandem: TandemOrchestrator) -> None:
    with pytest.raises(CommandError, match="expected CompareRules"):
        offer(tandem, 1, 1, {"/a": {"abs": 1}})


async def test_failures_that_the_action_maps_are_compared_as_what_it_maps_them_to(
    tandem: TandemOrchestrator,
) -> None:
    rules = CompareRules(errors={KeyError: "missing", "LookupError": "missing"})

    @tandem.register_agent("shop").action("rate", effects="none", compare=rules)
    def rate(payload: Any) -> None:
        raise KeyError("x")

    @rate.twin("other")
    def other(payload: Any) -> None:
        raise LookupError("y")

    result = await tandem.execute_command_set(ASKED)
    assert result["status"] == "failed"
    assert result["conflicts"] == []
    assert result["steps"]["s"]["outcome"] == "failed"


async def test_what_an_action_maps_of_its_own_failures_counts_for_every_twin(
    tandem: TandemOrchestrator,
) -> None:
    agent = tandem.register_agent("shop")
    handle = agent.action("rate", effects="none", errors={KeyError: "Missing", "ENOENT": "Missing"})

    @handle
    def rate(payload: Any) -> None:
        raise KeyError("x")

    entry = agent.actions["rate"].entry
    assert entry.compare == CompareRules(errors={"KeyError": "Missing", "ENOENT": "Missing"})
    assert entry.compare.failure_kind("ENOENT") == entry.compare.failure_kind("Missing")
    swapped = CompareRules().with_errors({KeyError: "IndexError", IndexError: "KeyError"})
    assert swapped == CompareRules(), "a mapping in a circle is applied once, where it is reported"


async def test_hooks_that_give_too_much_are_a_difference(open_tandem: Any) -> None:
    tandem = open_tandem({"limits": {"output_bytes_max": 2_000}})
    await tandem.initialize()
    offer(tandem, {"x": 1}, {"x": 1}, CompareRules(clean=lambda value: {"x": "y" * 5_000}))
    (conflict,) = await conflicts(tandem)
    assert "at most 2000 (limits.output_bytes_max)" in conflict["fields"][0]["reason"]


class Table:
    """An object that is no value."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows


class TableCodec:
    """Writes a table down, and with it whatever was at hand."""

    name = "compared-table"

    def encode(self, table: Table) -> Any:
        return {"rows": table.rows, "at": id(table)}

    def decode(self, value: Any) -> Table:
        return Table(value["rows"])


@pytest.mark.parametrize(("other", "differs"), [([1, 2], False), ([1, 3], True)])
async def test_objects_of_a_codec_are_compared_by_what_a_hook_makes_of_them(
    tandem: TandemOrchestrator, other: list[int], differs: bool
) -> None:
    rules = CompareRules(clean=lambda table: table.rows)
    offer(tandem, Table([1, 2]), Table(other), rules, codec=TableCodec())
    found = await conflicts(tandem)
    assert [f["path"] for c in found for f in c["fields"]] == (["/1"] if differs else [])
