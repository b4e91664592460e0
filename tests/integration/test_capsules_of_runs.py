"""A run that compares keeps each conflict in a capsule: whole, in the journal, without secrets."""

from pathlib import Path

import pytest

from tandem_orchestrator import (
    Agent,
    CommandSet,
    CommandStep,
    CompareRules,
    Ref,
    TandemOrchestrator,
    Tolerance,
)
from tandem_orchestrator.journal import sqlite_journal
from tandem_orchestrator.model.events import Judged
from tandem_orchestrator.observe import list_capsules
from tandem_orchestrator.orchestrator.replay import replaying
from tandem_orchestrator.orchestrator.surroundings import CapsuleMaker
from tandem_orchestrator.settings import Settings
from tandem_orchestrator.testing.journal_events import accepted
from tandem_orchestrator.twins import REDACTED

SECRET = "hunter2-is-not-a-good-one"
RULES = CompareRules(fields={"/note": Tolerance(ignore=True)})


def agent() -> Agent:
    sums = Agent("sums")

    @sums.action("double", effects="none", compare=RULES, version="7")
    def double(payload, ctx):
        return {"twice": 2 * payload["n"] + ctx.inputs["offset"], "note": "python"}

    @double.twin("shift")
    def shift(payload, ctx):
        if payload["n"] == 5:
            raise OverflowError("five is too much")
        odd = payload["n"] == 3
        return {"twice": (payload["n"] << 1) + ctx.inputs["offset"] + odd, "note": "shift"}

    return sums


def command_set() -> CommandSet:
    steps = [
        CommandStep(id="offset", agent="system", action="echo", payload=100),
        CommandStep(
            id="all", agent="sums", action="double", payload={"n": Ref("item")},
            for_each=list(range(8)), on_item_failure="collect",
        ),
    ]  # fmt: skip
    return CommandSet(mode="redundant", steps=steps, dependencies={"all": ["offset"]})


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def test_each_conflict_of_a_run_is_kept_and_differs_when_it_is_replayed(journal_path):
    async with TandemOrchestrator({"journal": {"path": str(journal_path)}}) as tandem:
        tandem.add_agent(agent())
        result = await tandem.execute_command_set(command_set())
    assert [c["item"] for c in result["conflicts"]] == [3, 5]

    journal = sqlite_journal(journal_path)
    await journal.open(None)
    five, three = await list_capsules(journal)
    await journal.close()

    assert three.id == f"{result['run_id']}.c1"
    assert (three.step, three.item, three.action, three.version) == ("all", 3, "double", "7")
    assert (three.payload, three.inputs) == ({"n": 3}, {"offset": 100})
    assert [o["output"]["twice"] for o in three.outcomes] == [106, 107]
    assert three.fields == ({"path": "/twice", "left": 106, "right": 107},)
    assert CompareRules.parse(three.rules or {}) == RULES
    assert three.environment["python"] and three.at_ns and three.seed is not None
    assert five.outcomes[1]["failure"]["type"] == "OverflowError"

    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        tandem.add_agent(agent())
        async with replaying(tandem) as replay:
            for capsule in (three, five):
                again = await replay.run(capsule)
                assert again.fields == capsule.fields
                outcomes = [(o["implementation"], o["outcome"]) for o in capsule.outcomes]
                assert [(o["implementation"], o["outcome"]) for o in again.outcomes] == outcomes
            assert (await replay.run(three, {"n": 4})).agree
            found, smallest = await replay.shrink(five, calls_max=100, seconds_max=10)
            assert (smallest.payload, found.finished) == ({"n": 5}, True)
            ticks = iter(range(100))
            found, smallest = await replay.shrink(
                three, calls_max=100, seconds_max=2.5, now_s=lambda: float(next(ticks))
            )
            assert (found.finished, found.calls, smallest.agree) == (False, 2, False)


@pytest.mark.parametrize("redacts", [True, False])
async def test_a_secret_does_not_reach_the_journals_file_in_a_capsule(journal_path, redacts):
    hooks = {} if redacts else {"hooks": ()}
    maker = CapsuleMaker(Settings(), **hooks)
    outcomes = [
        {"implementation": name, "outcome": "failed", "output": None, "seconds": 0.0,
         "failure": {"type": kind, "message": f"no login with {SECRET}", "traceback": SECRET}}
        for name, kind in (("python", "Denied"), ("c", "Refused"))
    ]  # fmt: skip
    capsule = maker.make_value(
        id="r.c1", run="r", step="s", agent="a", action="b",
        payload={"user": "ada", "password": SECRET}, inputs={"before": [SECRET]},
        outcomes=outcomes, fields=[{"path": f"/{SECRET}", "left": 1, "right": {SECRET: 2}}],
    )  # fmt: skip

    journal = sqlite_journal(journal_path)
    await journal.open("owner")
    judged = Judged(step="s", verdict="conflict", conflict={"id": "c1"}, capsule=capsule)
    await journal.append("r", [accepted("r"), judged], "sync").durable()
    await journal.close()
    files = [path.read_bytes() for path in journal_path.parent.rglob("*") if path.is_file()]

    assert any(SECRET.encode() in body for body in files) is not redacts
    if redacts:
        assert capsule["payload"] == {"user": "ada", "password": REDACTED}
