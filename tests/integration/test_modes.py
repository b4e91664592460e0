"""REDUNDANT and CONSENSUS end to end: twins, conflicts, splitting, votes and decisions."""

import asyncio
import random

import pytest

from tandem_orchestrator import CommandError, CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.errors import InvalidCommandSet
from tandem_orchestrator.twins import Capsule

NO_C = {"c_layer": {"enabled": False}}


def config(tmp_path=None, **redundancy):
    journal = {} if tmp_path is None else {"journal": {"path": str(tmp_path / "j.db")}}
    return {**NO_C, **journal, "redundancy": redundancy}


def pair(tandem, left, right, *more, **declared):
    """An action with these implementations: ``python``, ``second``, ``third`` and so on."""
    agent = tandem.register_agent("a")
    declared.setdefault("effects", "none")
    action = agent.action("do", **declared)(left)
    for name, function in zip(("second", "third", "fourth"), (right, *more), strict=False):
        action.twin(name)(function)


def asking(mode="REDUNDANT", *, payload=None, implementations=None, **fields):
    step = CommandStep(
        id="a", agent="a", action="do", payload=payload or {}, implementations=implementations,
        for_each=fields.pop("for_each", None), timeout=fields.pop("step_timeout", None),
    )  # fmt: skip
    return CommandSet(mode=mode, steps=[step], **fields)


def seventeen():
    """Numbers below 10,000 that the twins below treat differently; nobody else knows them."""
    return sorted(random.Random().sample(range(10_000), 17))


def doubling(odd=()):
    odd = frozenset(odd)
    calls = []

    def one(payload):
        return payload["n"] * 2 + (payload["n"] in odd)

    def batch(payload):
        calls.append(len(payload["items"]))
        return [{"twice": n * 2 + (n in odd)} for n in payload["items"]]

    return one, batch, calls


async def test_exactly_the_items_that_differ_are_conflicts_in_redundant_mode():
    odd = seventeen()
    async with TandemOrchestrator(config()) as tandem:
        pair(tandem, doubling()[0], doubling(odd)[0])
        asked = asking(payload={"n": Ref("item")}, for_each=list(range(10_000)))
        result = await tandem.execute_command_set(asked)
        metrics = tandem.get_metrics()
    assert result["status"] == "completed"
    assert [c["item"] for c in result["conflicts"]] == odd
    assert all(c["winner"] == "python" for c in result["conflicts"])
    assert result["results"]["a"] == [n * 2 for n in range(10_000)]
    assert result["consensus_achieved"] is True, "17 in 10,000 is within the threshold"
    assert (metrics["redundant_agreements"], metrics["redundant_conflicts"]) == (9983, 17)


@pytest.mark.parametrize("mode", ["CONSENSUS", "REDUNDANT"])
async def test_a_whole_batch_is_split_until_each_item_that_differs_stands_alone(mode):
    odd = seventeen()
    (_, left, calls), (_, right, _) = doubling(), doubling(odd)
    async with TandemOrchestrator(config(consensus_retries=1)) as tandem:
        pair(tandem, left, right, batch="items")
        result = await tandem.execute_command_set(
            asking(mode, payload={"items": list(range(10_000))})
        )
        metrics = tandem.get_metrics()
    assert sorted(c["item"] for c in result["conflicts"]) == odd
    for conflict in result["conflicts"]:
        n = conflict["item"]
        assert conflict["fields"] == [{"path": "/0/twice", "left": n * 2, "right": n * 2 + 1}]
    assert (metrics["redundant_agreements"], metrics["redundant_conflicts"]) == (9983, 17)
    assert len(calls) <= 1 + 2 * 17 * 14 + 17, "halves, not single items"
    if mode == "CONSENSUS":
        assert result["status"] == "failed"
        assert result["error_detail"]["type"] == "TwinsDisagree"
        named = result["error_detail"]["message"].rpartition(": ")[2]
        assert (
            [int(n) for n in named.partition("items: ")[2].split(", ")] == odd
            if ("items: " in named)
            else True
        )
        assert all(str(n) in result["error_detail"]["message"] for n in odd)
    else:
        assert result["status"] == "completed"
        assert result["results"]["a"] == [{"twice": n * 2} for n in range(10_000)]


async def test_consensus_of_items_names_every_one_that_differs_and_not_just_the_first():
    odd = [3, 50, 51, 99]
    async with TandemOrchestrator(config(consensus_retries=2)) as tandem:
        pair(tandem, doubling()[0], doubling(odd)[0])
        asked = asking("CONSENSUS", payload={"n": Ref("item")}, for_each=list(range(100)))
        result = await tandem.execute_command_set(asked)
    assert result["status"] == "failed"
    assert sorted(c["item"] for c in result["conflicts"]) == odd
    assert result["error_detail"]["message"].endswith("the twins differ at 4 items: 3, 50, 51, 99")
    assert result["steps"]["a"]["failed_items"] == odd


async def test_both_sides_run_at_the_same_time_and_both_are_timed():
    meeting = asyncio.Barrier(2)

    async def left(payload):
        await meeting.wait()
        return 1

    async def right(payload):
        await meeting.wait()
        return 1

    async with TandemOrchestrator(config()) as tandem:
        pair(tandem, left, right)
        result = await asyncio.wait_for(tandem.execute_command_set(asking()), 20)
    assert result["consensus_achieved"] is True
    sides = result["steps"]["a"]["implementations"]
    assert set(sides) == {"python", "second"}
    assert all(side["attempts"] == 1 and side["seconds"] > 0 for side in sides.values())


async def test_either_side_starts_first_now_and_then():
    first = set()
    begun = []

    async def left(payload):
        begun.append("left")

    async def right(payload):
        begun.append("right")

    async with TandemOrchestrator(config()) as tandem:
        pair(tandem, left, right)
        for _ in range(60):
            begun.clear()
            await tandem.execute_command_set(asking())
            first.add(begun[0])
    assert first == {"left", "right"}


async def test_an_external_step_beside_a_compared_one_runs_once_and_says_so():
    ran = []
    async with TandemOrchestrator(config()) as tandem:
        pair(tandem, lambda p: 1, lambda p: 1)
        agent = tandem.register_agent("b")
        action = agent.action("pay")(lambda p: ran.append("python"))
        action.twin("second")(lambda p: ran.append("second"))
        asked = asking()
        asked.steps.append(CommandStep(id="b", agent="b", action="pay"))
        result = await tandem.execute_command_set(asked)
    assert ran == ["python"]
    assert result["steps"]["b"]["not_compared"] == "external"
    assert result["consensus_achieved"] is True


async def test_a_set_in_which_nothing_can_be_compared_is_refused_with_what_to_declare():
    async with TandemOrchestrator(config()) as tandem:
        agent = tandem.register_agent("b")
        agent.action("pay")(lambda p: 1)
        agent.action("look", effects="none")(lambda p: 1)
        steps = [
            CommandStep(id="pay", agent="b", action="pay"),
            CommandStep(id="look", agent="b", action="look", implementations=["python"]),
        ]
        with pytest.raises(InvalidCommandSet) as caught:
            await tandem.execute_command_set(CommandSet(mode="REDUNDANT", steps=steps))
        (fault,) = caught.value.faults
    assert fault.code == "nothing_to_compare"
    assert "effects='none'" in fault.message and "implementations=" in fault.message


async def test_a_conflict_is_kept_whole_and_plugins_are_told():
    told = []

    class Plugin:
        async def on_conflict(self, python_result, c_result):
            told.append((python_result["conflict"], python_result["output"], c_result["output"]))

    async with TandemOrchestrator(config()) as tandem:
        tandem.register_plugin(Plugin())
        pair(tandem, lambda p: p["n"], lambda p: -p["n"])
        result = await tandem.execute_command_set(asking(payload={"n": 5}))
        events = [e async for e in tandem.run(result["run_id"]).events()]
    (judged,) = (event for event in events if event["kind"] == "judged")
    capsule = Capsule.from_value(judged["capsule"])
    assert capsule.id == f"{result['run_id']}.c1" and capsule.payload == {"n": 5}
    assert [each["output"] for each in capsule.outcomes] == [5, -5]
    assert capsule.implementations == ("python", "second")
    assert told == [("c1", 5, -5)]


# --- votes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "values", "winner", "output"),
    [
        ({"vote": "majority"}, (1, 2, 2), "second", 2),
        ({"vote": "majority"}, (1, 2, 3), None, 1),
        ({"vote": "weighted", "vote_weights": ["python=3"]}, (1, 2, 2), "python", 1),
        ({"vote": "weighted", "vote_weights": ["third=0", "second=1"]}, (1, 2, 2), None, 1),
        ({"vote": "median"}, (1, 30, 2), "third", 2),
        ({"vote": "median"}, ({"a": 1, "b": 9}, {"a": 2, "b": 8}, {"a": 3, "b": 7}),
         "second", {"a": 2, "b": 8}),
        ({"vote": "median"}, ("x", "y", "z"), None, "x"),
        ({"vote": "median"}, (1, 2, 3, 4), None, 1),
    ],
)  # fmt: skip
async def test_three_and_more_vote_and_a_tie_elects_nobody(settings, values, winner, output):
    async with TandemOrchestrator(config(conflict_resolution="vote", **settings)) as tandem:
        pair(tandem, *[lambda p, value=value: value for value in values])
        result = await tandem.execute_command_set(asking())
    assert result["status"] == "completed"
    assert result["results"]["a"] == output
    (conflict,) = result["conflicts"]
    assert conflict["winner"] == winner
    assert conflict["implementations"] == ["python", "second", "third", "fourth"][: len(values)]


async def test_a_command_set_may_settle_its_conflicts_otherwise_than_the_settings():
    async with TandemOrchestrator(config(conflict_resolution="fail")) as tandem:
        pair(tandem, lambda p: 1, lambda p: 2)
        assert (await tandem.execute_command_set(asking()))["status"] == "failed"
        kept = await tandem.execute_command_set(asking(conflict_resolution="python_preferred"))
        assert kept["results"] == {"a": 1} and kept["conflicts"][0]["winner"] == "python"
        held = await tandem.execute_command_set(asking(conflict_resolution="hold"))
        assert held["status"] == "held"
        nested = CommandSet(
            mode="REDUNDANT",
            steps=[CommandStep(id="in", command_set=asking(conflict_resolution="hold"))],
        )
        with pytest.raises(InvalidCommandSet, match="outermost"):
            tandem.validate(nested)


async def test_a_vote_of_two_is_refused_and_the_refusal_says_what_to_add():
    async with TandemOrchestrator(config(conflict_resolution="vote")) as tandem:
        pair(tandem, lambda p: 1, lambda p: 2)
        with pytest.raises(InvalidCommandSet, match=r"three implementations.*@action.twin"):
            await tandem.execute_command_set(asking())


async def test_more_than_one_other_twin_has_to_be_named():
    async with TandemOrchestrator(config()) as tandem:
        pair(tandem, lambda p: 1, lambda p: 2, lambda p: 3)
        with pytest.raises(InvalidCommandSet, match="implementations="):
            await tandem.execute_command_set(asking())
        named = asking(implementations=["second", "third"])
        result = await tandem.execute_command_set(named)
    assert result["conflicts"][0]["implementations"] == ["second", "third"]


# --- decisions by a person ----------------------------------------------------------------------


async def test_a_held_run_is_given_back_and_goes_on_with_what_a_person_picks():
    async with TandemOrchestrator(config(conflict_resolution="hold")) as tandem:
        pair(tandem, lambda p: 1, lambda p: 2)
        tandem.register_agent("b").action("echo")(lambda p: p)
        asked = asking()
        asked.steps += [
            CommandStep(id="beside", agent="b", action="echo"),
            CommandStep(id="after", agent="b", action="echo", payload={"got": Ref("a")}),
        ]
        asked.dependencies = {"beside": [], "a": [], "after": ["a"]}
        held = await asyncio.wait_for(tandem.execute_command_set(asked), 20)
        assert held["status"] == "held" and held["error"] is None
        assert held["consensus_achieved"] is False
        assert held["steps"]["beside"]["outcome"] == "succeeded", "what can move does"
        assert "after" not in held["steps"]
        (conflict,) = held["conflicts"]
        assert conflict["id"] == "c1" and conflict["winner"] is None
        assert "conflicts resolve" in "".join(held["notes"])
        run = tandem.run(held["run_id"])
        with pytest.raises(CommandError, match="expected one of left, right, python, second"):
            await run.resolve("a", pick="third")
        with pytest.raises(CommandError, match=r"c9.*c1"):
            await run.resolve(conflict="c9", pick="left")
        await run.resolve("a", pick="right", by="me", note="seen")
        result = await asyncio.wait_for(run.result(), 20)
    assert result["status"] == "completed"
    assert result["results"]["a"] == 2 and result["results"]["after"] == {"got": 2}
    assert result["conflicts"][0]["winner"] == "second"
    assert (result["conflicts"][0]["by"], result["conflicts"][0]["note"]) == ("me", "seen")


async def test_items_of_a_batch_are_held_one_by_one_and_take_outputs_from_outside():
    (_, left, _), (_, right, _) = doubling(), doubling([2, 5])
    async with TandemOrchestrator(config(conflict_resolution="hold")) as tandem:
        pair(tandem, left, right, batch="items")
        held = await tandem.execute_command_set(asking(payload={"items": list(range(8))}))
        assert sorted(c["item"] for c in held["conflicts"]) == [2, 5]
        run = tandem.run(held["run_id"])
        with pytest.raises(CommandError, match="name one"):
            await run.resolve("a", pick="left")
        ids = {c["item"]: c["id"] for c in held["conflicts"]}
        await run.resolve(conflict=ids[5], output={"twice": "ten"})
        await run.resolve("a", pick="right")
        result = await asyncio.wait_for(run.result(), 20)
    assert [item["twice"] for item in result["results"]["a"]] == [0, 2, 5, 6, 8, "ten", 12, 14]


async def test_another_orchestrator_settles_a_held_conflict_through_the_journal(tmp_path):
    settings = config(tmp_path, conflict_resolution="hold")
    async with TandemOrchestrator(settings) as owner, TandemOrchestrator(settings) as other:
        pair(owner, lambda p: 1, lambda p: 2)
        held = await owner.execute_command_set(asking())
        assert (await owner.runs())[0].status == "held"
        elsewhere = other.run(held["run_id"])
        with pytest.raises(CommandError, match="does not wait"):
            await elsewhere.resolve(conflict="c7", pick="left")
        await elsewhere.resolve(conflict="c1", output={"n": 3}, by="the other one")
        result = await asyncio.wait_for(owner.run(held["run_id"]).result(), 20)
        assert (await elsewhere.result())["results"] == {"a": {"n": 3}}
    assert result["status"] == "completed" and result["results"]["a"] == {"n": 3}


async def test_a_held_run_can_be_cancelled_and_its_time_limit_counts():
    async with TandemOrchestrator(config(conflict_resolution="hold")) as tandem:
        pair(tandem, lambda p: 1, lambda p: 2)
        held = await tandem.execute_command_set(asking())
        await tandem.run(held["run_id"]).cancel()
        result = await asyncio.wait_for(tandem.run(held["run_id"]).result(), 20)
        assert result["status"] == "cancelled"
        late = await tandem.submit(asking(timeout=0.2))
        result = await asyncio.wait_for(late.result(), 20)
        assert result["status"] == "timed_out"
        assert "c1" in result["steps"]["a"]["error"]


async def test_a_held_run_takes_no_place_and_stays_held_when_its_owner_closes(tmp_path):
    settings = config(tmp_path, conflict_resolution="hold")
    settings["orchestrator"] = {"max_parallel_workflows": 1}
    async with TandemOrchestrator(settings) as tandem:
        pair(tandem, lambda p: 1, lambda p: 2)
        held = await tandem.execute_command_set(asking())
        noop = CommandSet(steps=[CommandStep(agent="system", action="noop")])
        done = await asyncio.wait_for(tandem.execute_command_set(noop), 20)
        assert done["status"] == "completed"
    async with TandemOrchestrator(config(tmp_path)) as later:
        rows = {row.run_id: row.status for row in await later.runs()}
    assert rows[held["run_id"]] == "held"


# --- sides that hang ----------------------------------------------------------------------------


async def test_a_side_that_hangs_is_stopped_by_the_steps_limit_and_the_other_one_counts():
    async def hang(payload):
        await asyncio.Event().wait()

    async with TandemOrchestrator(config()) as tandem:
        pair(tandem, lambda p: 1, hang)
        asked = asking(step_timeout=0.1)
        result = await asyncio.wait_for(tandem.execute_command_set(asked), 20)
    assert result["status"] == "completed" and result["results"]["a"] == 1
    assert result["conflicts"][0]["fields"][0]["right"]["outcome"] == "timed_out"


async def test_without_a_steps_limit_the_runs_limit_ends_it_and_names_the_side():
    async def hang(payload):
        await asyncio.Event().wait()

    async with TandemOrchestrator(config()) as tandem:
        pair(tandem, lambda p: 1, hang)
        result = await asyncio.wait_for(tandem.execute_command_set(asking(timeout=0.2)), 20)
    assert result["status"] == "timed_out"
    assert "second" in result["error"] and "'a'" in result["error"]


async def test_consensus_ends_at_the_runs_limit_however_often_it_may_try():
    async def slow(payload):
        await asyncio.sleep(0.01)
        return object.__hash__(payload) if False else id(payload)

    async with TandemOrchestrator(config(consensus_retries=100)) as tandem:
        pair(tandem, lambda p: 1, slow)
        asked = asking("CONSENSUS", timeout=0.2)
        result = await asyncio.wait_for(tandem.execute_command_set(asked), 20)
    assert result["status"] == "timed_out"


# --- SPEC.md's second example -------------------------------------------------------------------


@pytest.mark.parametrize("agrees", [True, False])
async def test_critical_in_redundant_mode_never_picks_a_side_silently(agrees):
    async with TandemOrchestrator(config(conflict_resolution="c_preferred")) as tandem:
        pair(tandem, lambda p: {"findings": 3}, lambda p: {"findings": 3 if agrees else 4})
        result = await tandem.execute_command_set(asking(priority="CRITICAL"))
    assert result["status"] == "completed"
    assert result["results"]["a"] == {"findings": 3}, "python's"
    assert result["consensus_achieved"] is agrees
    assert [c["winner"] for c in result["conflicts"]] == ([] if agrees else [None])
