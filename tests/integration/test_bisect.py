"""Two ways through one set of steps: where they part, with what went in on either side."""

import json
import sys

import pytest

from tandem_orchestrator import CommandError, CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.sync import TandemOrchestrator as Blocking

CONFIG = {"c_layer": {"enabled": False}}
MODULE = """
from tandem_orchestrator import Agent

agent = Agent("maths")


@agent.action("add", effects="none")
def add(payload):
    return {"sum": payload["a"] + payload["b"], "unit": "m"}


@add.twin("fast")
def add_fast(payload):
    return {"sum": payload["a"] + payload["b"], "unit": "m"}


@agent.action("halve", effects="none")
def halve(payload):
    return {"half": payload["n"] / 2}


@halve.twin("fast")
def halve_fast(payload):
    return {"half": payload["n"] // 2 if payload["n"] == 7 else payload["n"] / 2}


@agent.action("show", effects="none")
def show(payload):
    return [str(payload["n"])]


@agent.action("count", effects="none")
def count(payload):
    return {"bits": bin(payload["n"]).count("1")}


@count.twin("fast")
def count_fast(payload):
    if payload["n"] == 4:
        raise OverflowError("too many")
    return {"bits": bin(payload["n"]).count("1")}
"""


@pytest.fixture
def maths(tmp_path, monkeypatch):
    (tmp_path / "maths_for_bisect.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("maths_for_bisect").agent
    del sys.modules["maths_for_bisect"]


def step(step_id, action, payload, **more):
    return CommandStep(id=step_id, agent="maths", action=action, payload=payload, **more)


def chain(a=3, b=4):
    return CommandSet(
        name="chain",
        mode="CONSENSUS",
        steps=[
            step("sum", "add", {"a": a, "b": b}),
            step("half", "halve", {"n": Ref("sum", "sum")}),
            step("shown", "show", {"n": Ref("half", "half")}),
            step("each", "count", {"n": Ref("item")}, for_each=[1, 2, 4]),
        ],
    )


async def test_the_first_step_and_field_are_named_with_what_went_in(maths):
    async with TandemOrchestrator(CONFIG) as tandem:
        tandem.add_agent(maths)
        found = await tandem.bisect(chain(), right="fast")
        assert found.compared == 3, "show has one implementation"
        first = found.first
        assert (first.step, first.action, first.follows) == ("half", "halve", ())
        assert first.fields == [{"path": "/half", "left": 3.5, "right": 3}]
        left, right = found.sides
        assert left.payload == right.payload == {"n": 7}
        assert left.inputs == {"sum": {"sum": 7, "unit": "m"}} == right.inputs
        assert (left.implementation, right.implementation) == ("python", "fast")
        others = {each.step: each.follows for each in found.diverged[1:]}
        assert others == {"shown": ("half",), "each": ()}, "one follows, the other is its own"
        assert "part at step 'half', in /half" in found.line()
        rows = {row.run_id for row in await tandem.runs()}
        assert set(found.runs) <= rows


async def test_ways_that_agree_say_in_how_many_steps(maths):
    command_set = chain(4, 4)
    command_set.steps[3].for_each = [1, 2]
    async with TandemOrchestrator(CONFIG) as tandem:
        tandem.add_agent(maths)
        found = await tandem.bisect(command_set, right="fast")
    assert found.first is None and found.compared == 3
    assert command_set.mode == "CONSENSUS", "the caller's set is left alone"
    assert all(each.implementations is None for each in command_set.steps)


async def test_a_side_that_fails_parts_there_and_an_item_is_narrowed_down(maths):
    asked = CommandSet(steps=[step("each", "count", {"n": Ref("item")}, for_each=[1, 2, 4])])
    async with TandemOrchestrator(CONFIG) as tandem:
        tandem.add_agent(maths)
        found = await tandem.bisect(asked, right="fast")
    assert found.first.fields[0]["right"] == {"outcome": "failed", "type": "OverflowError"}


async def test_external_steps_are_refused_and_so_is_nothing_to_compare(maths):
    async with TandemOrchestrator(CONFIG) as tandem:
        tandem.add_agent(maths)
        tandem.register_agent("bank").action("pay")(lambda p: 1)
        asked = chain()
        asked.steps.append(CommandStep(id="pay", agent="bank", action="pay"))
        with pytest.raises(CommandError, match="'pay'"):
            await tandem.bisect(asked, right="fast")
        only = CommandSet(steps=[step("a", "show", {"n": 1})])
        with pytest.raises(CommandError, match="'fast'"):
            await tandem.bisect(only, right="fast")


def test_the_blocking_one_and_the_command_say_the_same(maths, tmp_path, capsys, monkeypatch):
    from tandem_orchestrator.cli.app import run_app

    with Blocking(CONFIG) as tandem:
        tandem.add_agent(maths)
        line = tandem.bisect(chain(), right="fast").line()
    file = tmp_path / "chain.json"
    steps = [
        {"id": "sum", "agent": "maths", "action": "add", "payload": {"a": 3, "b": 4}},
        {"id": "half", "agent": "maths", "action": "halve",
         "payload": {"n": {"$ref": "sum#/sum"}}},
    ]  # fmt: skip
    file.write_text(json.dumps({"name": "chain", "steps": steps}))
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    asked = ["twins", "bisect", str(file), "--right", "fast", "--import", "maths_for_bisect"]
    assert run_app([*asked, "--journal", ":memory:"]) == 1
    assert "part at step 'half', in /half" in capsys.readouterr().out
    assert "part at step 'half', in /half" in line
    assert run_app([*asked, "--journal", ":memory:", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["agree"] is False and shown["diverged"][0]["step"] == "half"
