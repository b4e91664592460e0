"""The promotion ladder as a user meets it: a twin in shadow, evidence, rungs, and a fall."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, CompareRules, Ref, TandemOrchestrator
from tandem_orchestrator.orchestrator.ladder_file import LadderFile
from tandem_orchestrator.testing import FakeClock
from tandem_orchestrator.twins.capsule_file import capsule_from_text
from tandem_orchestrator.twins.ladder import Climb

ALWAYS = {
    "min_agreements": 20,
    "min_distinct_inputs": 5,
    "min_speedup": 0.0,
    "shadow_share": 1.0,
    "shadow_time_share": 1.0,
}


def config(tmp_path: Path, **twins: Any) -> dict[str, Any]:
    return {
        "journal": {"path": str(tmp_path / "journal.db")},
        "c_layer": {"enabled": False},
        "twins": {**ALWAYS, **twins},
    }


class Pair:
    """An action ``t.double`` with a twin ``v2`` that is wrong for the inputs in ``wrong``."""

    def __init__(self, tandem: TandemOrchestrator, effects: Any = "none") -> None:
        self.wrong: set[int] = set()
        self.calls = Counter[str]()
        self.fails = False

        @tandem.register_agent("t").action("double", effects=effects)
        async def double(payload: int) -> int:
            self.calls["python"] += 1
            return 2 * payload

        @double.twin("v2")
        async def v2(payload: int) -> int:
            self.calls["v2"] += 1
            if self.fails:
                raise RuntimeError("not today")
            return 2 * payload + (payload in self.wrong)


def asked(n: int, **fields: Any) -> CommandSet:
    return CommandSet(
        steps=[CommandStep(id="d", agent="t", action="double", payload=n)],
        durability="none",
        **fields,
    )


@asynccontextmanager
async def opened(tmp_path: Path, **twins: Any) -> AsyncIterator[tuple[TandemOrchestrator, Pair]]:
    async with TandemOrchestrator(config(tmp_path, **twins)) as tandem:
        yield tandem, Pair(tandem)


async def drained(tandem: TandemOrchestrator) -> Climb | None:
    """Let the shadows finish and give what the ladder knows of ``v2``."""
    parts = tandem._parts
    assert parts is not None
    while parts._shadows._tasks:
        await asyncio.wait(parts._shadows._tasks)
    parts.promotion.flush()
    while parts.promotion._handed:  # Another writer held the file.
        parts.promotion.flush()
    return parts.promotion._climbs.get(("t", "double", "v2"))


async def run(tandem: TandemOrchestrator, numbers: Any) -> list[dict[str, Any]]:
    results = [await tandem.execute_command_set(asked(n)) for n in numbers]
    assert all(result["status"] == "completed" for result in results)
    assert [r["results"]["d"] for r in results] == [2 * n for n in numbers]
    return results


def promote(tmp_path: Path, rung: str) -> None:
    """Put ``v2`` on a rung, as another process would."""
    LadderFile(tmp_path / "journal.db.ladder").change(
        lambda climbs: climbs.update(
            {
                ("t", "double", "v2"): Climb(
                    agent="t", action="double", implementation="v2", rung=rung
                )
            }
        )
    )


async def test_a_twin_in_shadow_runs_beside_and_gathers_evidence(tmp_path: Path) -> None:
    async with opened(tmp_path) as (tandem, pair):
        results = await run(tandem, range(30))
        climb = await drained(tandem)

    assert {r["steps"]["d"]["implementation"] for r in results} == {"python"}
    assert pair.calls == {"python": 30, "v2": 30}
    assert climb is not None
    assert (climb.rung, climb.agreements, climb.conflicts_total) == ("shadow", 30, 0)
    assert len(climb.inputs) == 30 and climb.speedup is not None and climb.errors == 0
    assert climb.bound.startswith("0 conflicts in 30 comparisons: rate below ")


async def test_only_a_share_of_the_runs_has_a_shadow(tmp_path: Path) -> None:
    async with opened(tmp_path, shadow_share=0.2) as (tandem, pair):
        plan = await tandem.prepare(asked(3))
        for _ in range(300):
            await plan.run()
            await drained(tandem)
        assert 20 <= pair.calls["v2"] <= 120
        before = pair.calls["v2"]
        for _ in range(300):
            await tandem.execute_command_set(asked(3))
            await drained(tandem)

    assert 20 <= pair.calls["v2"] - before <= 120


async def test_a_difference_in_shadow_hurts_no_run_and_makes_a_capsule(tmp_path: Path) -> None:
    async with opened(tmp_path) as (tandem, pair):
        pair.wrong = {7}
        results = await run(tandem, range(10))
        climb = await drained(tandem)

    assert all("conflicts" not in result for result in results)
    assert climb is not None
    assert (climb.agreements, climb.conflicts_total) == (2, 1), "the count begins anew behind it"
    assert climb.last_conflict is not None
    capsule, _ = capsule_from_text(Path(climb.last_conflict).read_text())
    assert (capsule.payload, capsule.implementations) == (7, ("python", "v2"))
    assert [dict(each) for each in capsule.fields] == [{"path": "", "left": 14, "right": 15}]


async def test_a_shadow_that_raises_where_the_primary_does_not_differs(tmp_path: Path) -> None:
    async with opened(tmp_path) as (tandem, pair):
        pair.fails = True
        await run(tandem, range(3))
        climb = await drained(tandem)

    assert climb is not None and climb.conflicts_total == 3


async def test_external_steps_have_no_shadow(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        pair = Pair(tandem, effects="external")
        await run(tandem, range(5))
        await drained(tandem)

    assert pair.calls == {"python": 5}


async def test_when_too_many_wait_they_are_dropped_and_counted(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path, shadow_queue_max=2)) as tandem:
        gate = asyncio.Event()

        @tandem.register_agent("t").action("double", effects="none")
        async def double(payload: int) -> int:
            return 2 * payload

        @double.twin("v2")
        async def v2(payload: int) -> int:
            await gate.wait()
            return 2 * payload

        await run(tandem, range(10))
        gate.set()
        climb = await drained(tandem)

    assert climb is not None and climb.agreements + climb.dropped == 10 and climb.dropped >= 7


async def test_closing_ends_shadows_that_never_would(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:

        @tandem.register_agent("t").action("double", effects="none")
        async def double(payload: int) -> int:
            return 2 * payload

        @double.twin("v2")
        async def v2(payload: int) -> int:
            await asyncio.Event().wait()
            return 0

        await run(tandem, range(4))

    [climb] = LadderFile(tmp_path / "journal.db.ladder").read().values()
    assert climb.errors + climb.dropped == 4 and climb.compared_total == 0


@pytest.mark.parametrize(("rung", "answers"), [("verify", "python"), ("canary", "v2")])
async def test_on_the_path_both_run_and_where_they_agree_one_answers(
    tmp_path: Path, rung: str, answers: str
) -> None:
    promote(tmp_path, rung)
    async with opened(tmp_path, canary_share=1.0) as (tandem, pair):
        results = await run(tandem, range(10))
        climb = await drained(tandem)

    assert {r["steps"]["d"]["implementation"] for r in results} == {answers}
    assert pair.calls == {"python": 10, "v2": 10}
    assert climb is not None and (climb.rung, climb.agreements) == (rung, 10)
    assert climb.speedup is not None
    assert (
        f"{rung} of v2: both run, python answers where they differ"
        in (results[0]["steps"]["d"]["reason"])
    )


@pytest.mark.parametrize("rung", ["verify", "canary", "native"])
async def test_a_conflict_is_answered_by_the_trusted_one_and_demotes_at_once(
    tmp_path: Path, rung: str, caplog: pytest.LogCaptureFixture
) -> None:
    promote(tmp_path, rung)
    shares = {"canary_share": 1.0, "audit_share": 1.0, "shadow_share": 0.0}
    async with opened(tmp_path, **shares) as (tandem, pair):
        plan = await tandem.prepare(asked(7))
        pair.wrong = {7}
        results = []
        with caplog.at_level(logging.WARNING):
            for _ in range(30):
                results.append(await plan.run())
        climb = await drained(tandem)

    if rung == "native":  # Until it was compared for the first time, it was trusted.
        assert results[-1]["results"]["d"] == 14
    else:
        assert all(result["results"]["d"] == 14 for result in results)
    conflicts = [result["conflicts"] for result in results if result.get("conflicts")]
    assert len(conflicts) == 1, "after the first one it is in shadow"
    assert climb is not None and climb.rung == "shadow"
    [change] = climb.history
    assert (change.left, change.right, change.by) == (rung, "shadow", "the rules")
    assert change.capsule is not None and change.capsule.endswith(".c1")
    assert f"demoted from {rung} to shadow" in caplog.text and change.capsule in caplog.text


async def test_it_climbs_to_native_by_itself_where_that_is_wished(tmp_path: Path) -> None:
    twins = {"auto_promote": True, "canary_share": 1.0, "audit_share": 0.0}
    async with opened(tmp_path, **twins) as (tandem, _):
        for _ in range(6):
            await run(tandem, range(25))
            climb = await drained(tandem)
        assert climb is not None
        assert [change.right for change in climb.history] == ["verify", "canary", "native"]
        for n in range(20):
            [result] = await run(tandem, [n % 8])
            reason = result["steps"]["d"]["reason"]
            # The router chooses by cost from now on; how often it tries is a matter of the costs.
            assert "fastest by measurement (" in reason or "is tried" in reason, reason


async def test_rungs_outlast_the_session_and_another_version_begins_anew(tmp_path: Path) -> None:
    promote(tmp_path, "canary")
    async with opened(tmp_path, canary_share=1.0) as (tandem, _):
        [result] = await run(tandem, [1])
        assert result["steps"]["d"]["implementation"] == "v2"

    async with TandemOrchestrator(config(tmp_path, canary_share=1.0)) as tandem:
        handle = tandem.register_agent("t").action("double", effects="none", version="2")
        double = handle(lambda payload: 2 * payload)
        double.twin("v2")(lambda payload: 2 * payload)
        [result] = await run(tandem, [1])
        assert result["steps"]["d"]["implementation"] == "python"


async def test_what_another_process_promotes_counts_here_within_a_second(tmp_path: Path) -> None:
    async with opened(tmp_path, canary_share=1.0) as (tandem, _):
        plan = await tandem.prepare(asked(3))
        assert (await plan.run())["steps"]["d"]["implementation"] == "python"
        await drained(tandem)
        promote(tmp_path, "canary")
        assert tandem._parts is not None
        tandem._parts.promotion._look()

        assert (await plan.run())["steps"]["d"]["implementation"] == "v2"


async def test_forced_implementations_override_the_ladder_and_say_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as (tandem, pair):
        step = CommandStep(id="d", agent="t", action="double", payload=4, implementations=["v2"])
        result = await tandem.execute_command_set(CommandSet(steps=[step], durability="none"))

    assert result["steps"]["d"]["implementation"] == "v2"
    assert "overrid" in result["steps"]["d"]["reason"]
    assert pair.calls == {"v2": 1}


async def test_redundant_runs_are_evidence_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as (tandem, _):
        for n in range(12):
            result = await tandem.execute_command_set(asked(n, mode="redundant"))
            assert result["consensus_achieved"]
        climb = await drained(tandem)

    assert climb is not None and climb.agreements == 12 and len(climb.inputs) == 12


async def test_what_validation_refuses_is_no_difference(tmp_path: Path) -> None:
    async with opened(tmp_path) as (tandem, pair):
        step = CommandStep(
            id="d", agent="t", action="double", payload=1, can_fail=True,
            validation_fn=lambda output: False,
        )  # fmt: skip
        await tandem.execute_command_set(CommandSet(steps=[step], durability="none"))
        climb = await drained(tandem)

    assert climb is None and pair.calls == {"python": 1}


async def test_each_item_of_a_for_each_is_compared(tmp_path: Path) -> None:
    promote(tmp_path, "verify")
    async with opened(tmp_path, max_conflicts=5) as (tandem, pair):
        pair.wrong = {2}
        step = CommandStep(
            id="d", agent="t", action="double", payload=Ref("item"), for_each=list(range(6))
        )
        result = await tandem.execute_command_set(CommandSet(steps=[step]))
        climb = await drained(tandem)

    assert result["results"]["d"] == [0, 2, 4, 6, 8, 10]
    assert [conflict["item"] for conflict in result["conflicts"]] == [2]
    assert climb is not None
    assert (climb.rung, climb.agreements, climb.conflicts, len(climb.inputs)) == ("verify", 5, 1, 6)


async def test_clean_hooks_are_run_over_a_shadows_output(tmp_path: Path) -> None:
    async with TandemOrchestrator(config(tmp_path)) as tandem:
        rules = CompareRules(clean=lambda output: {**output, "at": None})

        @tandem.register_agent("t").action("stamp", effects="none", compare=rules)
        async def stamp(payload: int) -> dict[str, Any]:
            return {"n": payload, "at": 1}

        @stamp.twin("v2")
        async def v2(payload: int) -> dict[str, Any]:
            return {"n": payload + (payload == 3), "at": 2}

        for n in range(5):
            step = CommandStep(id="s", agent="t", action="stamp", payload=n)
            await tandem.execute_command_set(CommandSet(steps=[step], durability="none"))
        parts = tandem._parts
        assert parts is not None
        while parts._shadows._tasks:
            await asyncio.wait(parts._shadows._tasks)
        parts.promotion.flush()
        climb = parts.promotion._climbs["t", "stamp", "v2"]

    assert (climb.conflicts_total, climb.compared_total) == (1, 5)


async def test_a_shadow_keeps_to_the_limits_of_its_action(tmp_path: Path) -> None:
    running = most = 0
    async with TandemOrchestrator(config(tmp_path, shadow_parallel=8)) as tandem:

        async def one(payload: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return 2 * payload

        action = tandem.register_agent("t").action("double", effects="none", max_concurrency=1)
        action(one).twin("v2")(one)
        await asyncio.gather(*(run(tandem, [n]) for n in range(20)))
        climb = await drained(tandem)

    assert climb is not None and climb.agreements == 20
    assert most == 1


async def test_shadows_take_no_more_than_their_share_of_the_time(tmp_path: Path) -> None:
    clock, began, ended = FakeClock(), list[int](), list[int]()
    settings = config(tmp_path, shadow_time_share=0.1)
    async with TandemOrchestrator(settings, clock=clock) as tandem:

        @tandem.register_agent("t").action("double", effects="none")
        async def double(payload: int) -> int:
            return 2 * payload

        @double.twin("v2")
        async def v2(payload: int) -> int:
            began.append(clock.monotonic_ns())
            await clock.advance(2.0)
            ended.append(clock.monotonic_ns())
            return 2 * payload

        await run(tandem, range(3))
        for _ in range(300):
            await clock.advance(1.0)
            if len(began) > 1:
                break

    pause_s = (began[1] - ended[0]) / 1e9
    assert pause_s >= 18.0, "after two seconds of work it pauses for eighteen"
