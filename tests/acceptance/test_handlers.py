"""Handlers: what they are given, what they may give back, and that nothing of the caller's changes."""

import contextvars
import copy
import dataclasses
import datetime
import logging
import math
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pytest

from tandem_orchestrator import (
    CommandError,
    CommandSet,
    CommandStep,
    Context,
    InvalidCommandSet,
    Ref,
    TandemOrchestrator,
)


@dataclasses.dataclass
class Parcel:
    """A payload as a dataclass."""

    kilos: float
    tags: list[str] = dataclasses.field(default_factory=list)


class ParcelDict(TypedDict):
    """A payload as a TypedDict."""

    kilos: float


class ParcelStruct(msgspec.Struct):
    """A payload as a Struct."""

    kilos: float
    at: datetime.datetime


class Colour(Enum):
    """An enumeration with plain values."""

    RED = "red"


async def run_one(
    tandem: TandemOrchestrator, handler: Any, payload: Any = None, **fields: Any
) -> dict[str, Any]:
    """Run one step of a handler and give the run's result."""
    tandem.register_agent("t").action("do", effects="none")(handler)
    step = CommandStep(id="a", agent="t", action="do", payload=payload, **fields)
    return await tandem.execute_command_set(CommandSet(steps=[step]))


# --- what a handler is given ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        (Parcel, {"kilos": 2}, Parcel(2.0, [])),
        (Parcel, Parcel(1.5, ["x"]), Parcel(1.5, ["x"])),
        (ParcelDict, {"kilos": 2.5}, {"kilos": 2.5}),
        (
            ParcelStruct,
            {"kilos": 1.0, "at": datetime.datetime(2025, 1, 18, 12, tzinfo=datetime.UTC)},
            ParcelStruct(1.0, datetime.datetime(2025, 1, 18, 12, tzinfo=datetime.UTC)),
        ),
    ],
    ids=["dataclass from a dict", "dataclass from itself", "TypedDict", "Struct"],
)
async def test_an_annotated_payload_is_converted(
    tandem: TandemOrchestrator, kind: type, payload: Any, expected: Any
) -> None:
    seen = []

    def handler(payload):
        seen.append(payload)

    handler.__annotations__ = {"payload": kind}
    result = await run_one(tandem, handler, payload)

    assert result["status"] == "completed", result["error"]
    assert seen == [expected]
    assert type(seen[0]) is type(expected)


async def test_a_payload_that_does_not_fit_its_annotation_fails_naming_the_field(
    tandem: TandemOrchestrator,
) -> None:
    def handler(payload: Parcel) -> None:
        raise AssertionError("never called")

    result = await run_one(tandem, handler, {"kilos": "heavy"})

    assert result["status"] == "failed"
    assert result["error_detail"]["type"] == "ValidationError"
    assert "kilos" in result["error"]


async def test_a_context_tells_run_step_attempt_inputs_and_key(tandem: TandemOrchestrator) -> None:
    seen: list[Context] = []
    agent = tandem.register_agent("t")

    @agent.action("flaky", effects="none")
    async def flaky(payload: Any, ctx: Context) -> str:
        seen.append(ctx)
        if ctx.attempt == 1:
            raise ValueError("once")
        return "out"

    steps = [
        CommandStep(
            id="a", agent="t", action="flaky", retry_policy={"max_retries": 1, "initial_delay": 0}
        ),
        CommandStep(
            id="b", agent="t", action="flaky", retry_policy={"max_retries": 1, "initial_delay": 0}
        ),
    ]
    result = await tandem.execute_command_set(CommandSet(steps=steps, dependencies={"b": ["a"]}))

    assert [(c.step_id, c.attempt) for c in seen] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert {c.run_id for c in seen} == {result["run_id"]}
    assert [dict(c.inputs) for c in seen] == [{}, {}, {"a": "out"}, {"a": "out"}]
    keys = [c.idempotency_key for c in seen]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert 0 < len(keys[0]) <= 64
    assert not seen[0].cancelled()


async def test_items_have_their_position_and_keys_of_their_own(tandem: TandemOrchestrator) -> None:
    seen: dict[int | None, str] = {}

    async def handler(payload: Any, ctx: Context) -> None:
        seen[ctx.item] = ctx.idempotency_key

    await run_one(tandem, handler, for_each=["x", "y", "z"])

    assert sorted(seen) == [0, 1, 2]
    assert len(set(seen.values())) == 3


@pytest.mark.parametrize("blocking", [False, True], ids=["coroutine", "thread"])
async def test_the_submitters_contextvars_reach_handlers_and_stay_as_they_were(
    tandem: TandemOrchestrator, blocking: bool
) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    def read(payload: Any) -> str:
        before = user.get()
        user.set("changed inside")
        return before

    async def read_async(payload: Any) -> str:
        return read(payload)

    user.set("ada")
    result = await run_one(tandem, read if blocking else read_async)

    assert result["results"] == {"a": "ada"}
    assert user.get() == "ada"


async def test_progress_is_heard_from_the_loop_and_from_threads(tandem: TandemOrchestrator) -> None:
    heard: list[tuple[str, int | None, int, int]] = []

    def blocking(payload: Any, ctx: Context) -> None:
        ctx.progress(1, 2)
        ctx.progress(2, 2)

    async with tandem.listening(
        on_progress=lambda run, step, item, done, total: heard.append((step, item, done, total))
    ):
        await run_one(tandem, blocking)

    assert heard == [("a", None, 1, 2), ("a", None, 2, 2)]


async def test_a_log_line_inside_a_handler_carries_run_step_and_attempt(
    tandem: TandemOrchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(payload: Any, ctx: Context) -> None:
        ctx.log.warning("weighing %s", payload)

    with caplog.at_level(logging.INFO):
        result = await run_one(tandem, handler, 3)

    [record] = [r for r in caplog.records if r.message == "weighing 3"]
    assert (record.run_id, record.step_id, record.attempt) == (result["run_id"], "a", 1)


# --- values --------------------------------------------------------------------------------------

ATOMS: dict[str, Any] = {
    "none": None,
    "true": True,
    "big": 2**64 - 1,
    "small": -(2**63),
    "minus zero": -0.0,
    "infinity": math.inf,
    "text": "żółć \u0000 🚀",
    "bytes": b"\x00\xff",
    "deep": [[{"a": [{}]}]],
    "looks like a reference": {"$literal": {"$ref": "nobody"}},
}


@pytest.mark.parametrize("name", ATOMS)
async def test_a_value_comes_back_as_it_went_in(tandem: TandemOrchestrator, name: str) -> None:
    given = ATOMS[name]
    expected = given["$literal"] if name.startswith("looks") else given

    async def handler(payload: Any) -> Any:
        assert payload == expected and type(payload) is type(expected)
        return payload

    result = await run_one(tandem, handler, given)

    assert result["status"] == "completed", result["error"]
    got = result["results"]["a"]
    assert got == expected and type(got) is type(expected)
    if isinstance(expected, float):
        assert math.copysign(1, got) == math.copysign(1, expected)


async def test_nan_comes_back_as_nan(tandem: TandemOrchestrator) -> None:
    result = await run_one(tandem, lambda payload: [payload, float("nan")], math.nan)

    assert all(math.isnan(number) for number in result["results"]["a"])


async def test_rich_objects_become_values_by_the_table(tandem: TandemOrchestrator) -> None:
    rich = {
        "dataclass": Parcel(1.0, ["x"]),
        "struct": ParcelStruct(2.0, datetime.datetime(2025, 1, 18, tzinfo=datetime.UTC)),
        "datetime": datetime.datetime(2025, 1, 18, 12, 30, tzinfo=datetime.UTC),
        "date": datetime.date(2025, 1, 18),
        "span": datetime.timedelta(minutes=1.5),
        "decimal": Decimal("0.10"),
        "uuid": UUID(int=1),
        "path": Path("/a/b"),
        "not utf-8": Path("/a/\udcff"),
        "enum": Colour.RED,
        "tuple": (1, (2,)),
        "bytearray": bytearray(b"x"),
    }
    plain = {
        "dataclass": {"kilos": 1.0, "tags": ["x"]},
        "struct": {"kilos": 2.0, "at": "2025-01-18T00:00:00+00:00"},
        "datetime": "2025-01-18T12:30:00+00:00",
        "date": "2025-01-18",
        "span": 90.0,
        "decimal": "0.10",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "path": "/a/b",
        "not utf-8": {"path": "/a/\ufffd", "path_raw": b"/a/\xff"},
        "enum": "red",
        "tuple": [1, [2]],
        "bytearray": b"x",
    }
    seen = []

    async def handler(payload: Any) -> Any:
        seen.append(payload)
        return rich

    result = await run_one(tandem, handler, rich)

    assert seen == [plain]
    assert result["results"]["a"] == plain


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"x": [1, object()]}, ".x[1]"),
        ({"x": {1: "one"}}, ".x"),
        (2**64, ""),
        ({"bad": "\ud800"}, ".bad"),
        ({1, 2}, ""),
    ],
    ids=["object", "key that is no str", "int too big", "lone surrogate", "set"],
)
async def test_what_is_no_value_is_refused_naming_step_and_path(
    tandem: TandemOrchestrator, value: Any, path: str
) -> None:
    with pytest.raises(InvalidCommandSet) as refused:
        await run_one(tandem, lambda payload: None, value)
    result = await run_one(tandem, lambda payload: value)

    [fault] = refused.value.faults
    assert (fault.code, fault.path.removeprefix("steps[0].payload")) == ("not_serialisable", path)
    assert result["status"] == "failed"
    assert result["error_detail"]["type"] == "NotAValue"
    assert f"step 'a' output{path}: " in result["error_detail"]["message"]


async def test_the_callers_objects_are_never_written_to(tandem: TandemOrchestrator) -> None:
    async def spoil(payload: Any, ctx: Context) -> Any:
        payload["list"].append("spoilt")
        payload["new"] = 1
        return payload

    tandem.register_agent("t").action("spoil", effects="none")(spoil)
    nested = CommandSet(
        mode="INTELLIGENT", steps=[CommandStep(agent="t", action="spoil", payload={"list": []})]
    )
    asked = CommandSet(
        type="Campaign",
        priority="high",
        steps=[
            CommandStep(agent="t", action="spoil", payload={"list": [1]}),
            CommandStep(agent="t", action="spoil", payload={"list": Ref("s1", "list")}),
            CommandStep(command_set=nested),
        ],
        retry_policy={"max_retries": 0},
    )
    before = copy.deepcopy(asked)
    inputs = {"list": [1]}

    first = await tandem.execute_command_set(asked, inputs=inputs)
    second = await tandem.execute_command_set(asked, inputs=inputs)

    assert first["status"] == "completed", first["error"]
    assert asked == before
    assert [step.id for step in asked.steps] == ["", "", ""]
    assert inputs == {"list": [1]}
    assert first["results"] == second["results"]
    assert first["results"]["s2"]["list"] == [1, "spoilt", "spoilt"]
    assert first["results"]["s1"]["list"] == [1, "spoilt"]


async def test_changing_the_set_after_submitting_changes_nothing(
    tandem: TandemOrchestrator,
) -> None:
    payload = {"x": [1]}
    tandem.register_agent("t").action("do")(lambda payload: payload)
    asked = CommandSet(steps=[CommandStep(id="a", agent="t", action="do", payload=payload)])

    run = await tandem.submit(asked)
    payload["x"].append(2)
    asked.steps.clear()

    assert (await run.result())["results"] == {"a": {"x": [1]}}


async def test_a_result_may_be_changed_without_changing_what_others_see(
    tandem: TandemOrchestrator,
) -> None:
    tandem.register_agent("t").action("do")(lambda payload: {"list": [1]})
    run = await tandem.submit(CommandSet(steps=[CommandStep(agent="t", action="do")]))
    first = await run.result()
    first["results"]["s1"]["list"].append(2)

    assert (await run.result())["results"] == {"s1": {"list": [1]}}
    assert (await tandem.run(run.id).result())["results"] == {"s1": {"list": [1]}}


# --- declaring -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda a: a.action("a b")(lambda p: p), "expected letters, digits"),
        (lambda a: a.action("x", effects="some")(lambda p: p), "effects='some', expected none"),
        (lambda a: a.action("x")(lambda a, b, c: a), r"expected \(payload\) or \(payload, ctx\)"),
        (lambda a: a.action("x", cpu="process")(lambda p: p), "importable|imported as"),
        (lambda a: a.action("x", max_concurrency=0)(lambda p: p), "expected at least 1"),
    ],
)
def test_what_cannot_be_an_action_is_refused_when_it_is_declared(declare: Any, words: str) -> None:
    agent = TandemOrchestrator().register_agent("t")

    with pytest.raises(CommandError, match=words):
        declare(agent)


async def test_a_handler_can_be_called_as_the_function_it_is() -> None:
    agent = TandemOrchestrator().register_agent("t")

    @agent.action("double")
    def double(payload: int) -> int:
        return payload * 2

    assert double(21) == 42


async def test_max_concurrency_bounds_an_action_over_all_runs(tandem: TandemOrchestrator) -> None:
    running, most = [], []

    async def handler(payload: Any) -> None:
        running.append(payload)
        most.append(len(running))
        for _ in range(5):
            await _turn()
        running.remove(payload)

    tandem.register_agent("t").action("do", max_concurrency=2)(handler)
    step = CommandStep(agent="t", action="do", payload=Ref("item"), for_each=list(range(9)))

    result = await tandem.execute_command_set(CommandSet(steps=[step]))

    assert result["status"] == "completed"
    assert max(most) == 2


async def _turn() -> None:
    import asyncio

    await asyncio.sleep(0)
