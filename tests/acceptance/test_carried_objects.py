"""Outputs that are no values: by a codec, or by reference within a run."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    ActionFailed,
    CommandError,
    CommandSet,
    CommandStep,
    Ref,
    TandemOrchestrator,
    TwinError,
)
from tandem_orchestrator.model import carried

CONFIG: dict[str, Any] = {"journal": {"path": ":memory:"}, "c_layer": {"enabled": False}}


class Money:
    """No value: nothing in the table converts it."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


class MoneyCodec:
    """Makes a value of it."""

    name = "money"

    def encode(self, obj: Any) -> Any:
        if not isinstance(obj, Money):
            raise TypeError(f"{type(obj).__name__} is no Money")
        return {"cents": obj.cents}

    def decode(self, value: Any) -> Money:
        return Money(value["cents"])


CODEC = MoneyCodec()


@pytest.fixture
async def tandem() -> AsyncIterator[TandemOrchestrator]:
    async with TandemOrchestrator(CONFIG) as made:
        yield made


def chain(first: str, then: str, payload: Any) -> CommandSet:
    return CommandSet(
        name="chain",
        steps=[
            CommandStep(id="first", agent="bank", action=first),
            CommandStep(id="then", agent="bank", action=then, payload=payload),
        ],
        dependencies={"then": ["first"]},
    )


async def test_a_codec_carries_objects_from_step_to_step_and_out(
    tandem: TandemOrchestrator,
) -> None:
    bank = tandem.register_agent("bank")

    @bank.action("pay", effects="none", codec=CODEC)
    def pay(payload: Any) -> Any:
        return {"total": Money(150), "parts": [Money(100), Money(50)], "note": "two", "n": 2}

    @bank.action("add", effects="none")
    def add(payload: Any, ctx: Any) -> Any:
        assert isinstance(payload["one"], Money)
        return payload["one"].cents + ctx.inputs["first"]["total"].cents

    result = await tandem.execute_command_set(chain("pay", "add", {"one": Ref("first", "parts/0")}))

    assert result["status"] == "completed", result["error"]
    assert result["results"]["then"] == 250
    first = result["results"]["first"]
    assert (first["note"], first["n"]) == ("two", 2)
    assert [part.cents for part in [first["total"], *first["parts"]]] == [150, 100, 50]


async def test_what_the_journal_keeps_is_the_codecs_value(tmp_path: Path) -> None:
    config = {**CONFIG, "journal": {"path": str(tmp_path / "j.db")}}
    async with TandemOrchestrator(config) as tandem:
        bank = tandem.register_agent("bank")
        bank.action("pay", effects="none", codec=CODEC)(lambda payload: Money(7))
        run = await tandem.submit(
            CommandSet(name="p", steps=[CommandStep(agent="bank", action="pay")])
        )
        assert (await run.result())["results"]["s1"].cents == 7
        view = await tandem.view(run.id)
        assert view is not None
        assert view.steps["s1"].output == {"$codec": {"codec": "money", "data": {"cents": 7}}}


async def test_a_codec_that_cannot_fails_the_attempt(tandem: TandemOrchestrator) -> None:
    bank = tandem.register_agent("bank")
    bank.action("odd", effects="none", codec=CODEC)(lambda payload: {"x": object()})
    result = await tandem.execute_command_set(
        CommandSet(name="o", steps=[CommandStep(agent="bank", action="odd")])
    )
    assert result["status"] == "failed"
    assert "NotAValue" in result["error"]
    assert "codec 'money' cannot encode object: TypeError: object is no Money" in result["error"]


async def test_messages_are_carried_by_a_codec_too(tandem: TandemOrchestrator) -> None:
    bank = tandem.register_agent("bank")
    bank.action("pay", effects="none", codec=CODEC)(lambda payload: Money(9))
    assert (await tandem.send("bank", "pay", None)).cents == 9


async def test_an_output_that_looks_like_a_stand_in_stays_what_it_is(
    tandem: TandemOrchestrator,
) -> None:
    bank = tandem.register_agent("bank")
    alike = {"$codec": {"codec": "money", "data": {"cents": 1}}}
    bank.action("pay", effects="none")(lambda payload: alike)
    result = await tandem.execute_command_set(
        CommandSet(name="p", steps=[CommandStep(agent="bank", action="pay")])
    )
    assert result["results"]["s1"] == alike


async def test_a_transient_object_goes_by_reference_and_is_let_go_with_its_run(
    tandem: TandemOrchestrator,
) -> None:
    bank = tandem.register_agent("bank")
    made: list[weakref.ref[Money]] = []
    seen: list[bool] = []

    @bank.action("open", effects="none", transient=True)
    async def open_one(payload: Any) -> Any:
        money = Money(5)
        made.append(weakref.ref(money))
        return {"handle": money, "plain": 1}

    @bank.action("use", effects="none")
    async def use(payload: Any) -> Any:
        seen.append(payload["it"] is made[0]())
        return payload["it"].cents

    result = await tandem.execute_command_set(chain("open", "use", {"it": Ref("first", "handle")}))

    assert result["status"] == "completed", result["error"]
    assert seen == [True]
    assert result["results"]["then"] == 5
    first = result["results"]["first"]
    assert first["plain"] == 1
    assert list(first["handle"]) == ["$transient"]
    assert first["handle"]["$transient"]["type"].endswith("Money")
    await asyncio.sleep(0)
    gc.collect()
    assert made[0]() is None
    assert carried._held == {}


async def test_a_transient_object_has_no_way_into_a_message(tandem: TandemOrchestrator) -> None:
    bank = tandem.register_agent("bank")
    bank.action("open", effects="none", transient=True)(lambda payload: Money(5))
    with pytest.raises(ActionFailed, match="is not a value"):
        await tandem.send("bank", "open", None)
    assert carried._held == {}


async def test_a_stand_in_whose_object_is_gone_fails_the_step_that_wants_it(
    tandem: TandemOrchestrator,
) -> None:
    bank = tandem.register_agent("bank")
    bank.action("use", effects="none")(lambda payload: payload)
    for stand_in, reason in [
        ({"$transient": {"type": "x", "run": "gone", "number": 0}}, "transient object of a run"),
        ({"$codec": {"codec": "unknown", "data": 1}}, "nobody registered that codec"),
    ]:
        result = await tandem.execute_command_set(
            CommandSet(
                name="u", steps=[CommandStep(agent="bank", action="use", payload={"it": stand_in})]
            )
        )
        assert result["status"] == "failed"
        assert reason in result["error"]


def test_what_cannot_be_carried_is_refused_where_it_is_declared() -> None:
    bank = TandemOrchestrator(CONFIG).register_agent("bank")
    nameless = type("Nameless", (), {"encode": lambda s, o: o, "decode": lambda s, v: v})()
    other = type("Other", (MoneyCodec,), {})()
    bank.action("first", codec=CODEC)
    for options, reason in [
        ({"codec": object()}, r"bank\.x: codec=.*expected an object with name, encode"),
        ({"codec": nameless}, "expected an object with name, encode"),
        ({"codec": other}, "codec 'money' is .* already"),
        ({"transient": True}, "effects none or idempotent"),
        ({"transient": True, "effects": "none", "codec": CODEC}, "exclude each other"),
        ({"transient": True, "effects": "none", "cpu": "process"}, "cannot leave a worker"),
    ]:
        with pytest.raises(CommandError, match=reason):
            bank.action("x", **options)
    transient = bank.action("t", effects="none", transient=True)(lambda payload: None)
    with pytest.raises(TwinError, match="cannot be compared"):
        transient.twin("other")
