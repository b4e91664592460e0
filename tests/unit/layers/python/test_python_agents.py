"""Agents and actions as they are declared: names, signatures, payload types, twins."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator import Agent, CommandError, TwinError, offer_agent
from tandem_orchestrator.layers.python import offered
from tandem_orchestrator.layers.python.handler import describe_handler

if TYPE_CHECKING:
    from decimal import Decimal


NAME = re.compile(r"\A[A-Za-z0-9_.-]{1,64}\Z")


@dataclass
class Record:
    x: int


class Keys(TypedDict):
    x: int


class Packed(msgspec.Struct):
    x: int


def plain(payload, ctx):  # what ``module:qualname`` finds, for cpu="process"
    return payload


class Doubling:
    """Can be called; one instance of it is a handler."""

    def __call__(self, payload):
        return payload * 2

    async def later(self, payload):
        return payload

    @classmethod
    def known(cls, payload):
        return payload

    @staticmethod
    def free(payload):
        return payload


class AsyncDoubling:
    async def __call__(self, payload):
        return payload * 2


# --- names ---------------------------------------------------------------------------------------


@given(st.text(st.sampled_from(string.printable), max_size=70) | st.from_regex(NAME))
def test_a_name_is_up_to_64_letters_digits_and_three_signs(name: str) -> None:
    fits = NAME.fullmatch(name) is not None

    for declare in (Agent, lambda n: Agent("a", [n]), lambda n: Agent("a").action(n)):
        if fits:
            declare(name)
        else:
            with pytest.raises(CommandError, match=r"name .*expected"):
                declare(name)


@pytest.mark.parametrize("name", [None, 7, b"bytes", "a b", "a/b", "", "a" * 65, "a\n"])
def test_what_is_no_name_is_refused_wherever_one_is_given(name: Any) -> None:
    handle = Agent("a").action("do")(lambda payload: payload)

    for declare in (Agent, lambda n: Agent("a", [n]), Agent("a").action):
        with pytest.raises(CommandError, match="name"):
            declare(name)
    with pytest.raises(TwinError, match="name"):
        handle.twin(name)


def test_capabilities_are_a_list_each_once_and_announced_without_a_handler() -> None:
    agent = Agent("a", ["fly", "swim", "fly"])
    agent.action("swim")(lambda payload: payload)

    assert agent.capabilities == ("fly", "swim")
    entries = {entry.name: entry for entry in agent.catalogue_entries()}
    assert entries.keys() == {"swim", "fly"}
    assert entries["fly"].implementations == ()
    with pytest.raises(CommandError, match=r"capabilities='fly', expected a list"):
        Agent("a", "fly")


@pytest.mark.parametrize("bound", [0, -1, 1.5, "3", True])
def test_a_bound_that_nothing_could_run_under_is_refused(bound: Any) -> None:
    with pytest.raises(CommandError, match="max_concurrency"):
        Agent("a", max_concurrency=bound)
    with pytest.raises(CommandError, match="max_concurrency"):
        Agent("a").action("do", max_concurrency=bound)


@pytest.mark.parametrize(
    ("option", "value"), [("effects", "maybe"), ("cpu", "gpu"), ("batch", "rows")]
)
def test_an_option_that_is_no_choice_is_refused_with_the_choices(option: str, value: str) -> None:
    with pytest.raises(CommandError, match=f"a.do: {option}='{value}', expected"):
        Agent("a").action("do", **{option: value})  # type: ignore[arg-type]


# --- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "takes"),
    [
        (lambda: 0, 0),
        (lambda payload: 0, 1),
        (lambda payload, ctx: 0, 2),
        (lambda payload, ctx=None: 0, 2),
        (lambda payload, context=None: 0, 2),
        (lambda payload, verbose=False: 0, 1),
        (lambda payload=None, verbose=False: 0, 1),
        (lambda *args: 0, 2),
        (lambda payload, *rest: 0, 2),
        (lambda payload, **rest: 0, 1),
        (lambda payload, *, verbose=False: 0, 1),
        (lambda payload, ctx, more=1: 0, 2),
        (Doubling(), 1),
        (Doubling.known, 1),
        (len, 1),
    ],
)
def test_a_handler_gets_what_its_signature_takes(handler: Callable[..., Any], takes: int) -> None:
    assert describe_handler("python", handler, None, "native").takes == takes


@pytest.mark.parametrize(
    "handler",
    [
        lambda a, b, c: 0,
        lambda payload, *, must: 0,
        dict,  # its signature cannot be read
        "no function",
        None,
    ],
)
def test_a_handler_that_could_not_be_called_is_refused(handler: Any) -> None:
    with pytest.raises(CommandError, match="handler"):
        Agent("a").action("do")(handler)


def test_where_a_handler_runs_is_told_by_what_it_is() -> None:
    async def on_the_loop(payload):
        return payload

    def kind(handler: Any, cpu: str | None = None) -> str:
        return describe_handler("python", handler, cpu, "native").kind

    assert kind(on_the_loop) == "async"
    assert kind(AsyncDoubling()) == "async"
    assert kind(Doubling().later) == "async"
    assert kind(plain) == kind(Doubling()) == "thread"
    assert kind(plain, "process") == kind(Doubling.known, "process") == "process"
    assert kind(Doubling.free, "process") == "process"


def test_a_process_handler_must_be_found_by_its_name_alone() -> None:
    def local(payload):
        return payload

    async def later(payload):
        return payload

    for handler in (local, later, lambda payload: payload, Doubling().__call__):
        with pytest.raises(CommandError, match="cpu='process' needs a"):
            describe_handler("python", handler, "process", "native")


def test_an_implementation_says_where_its_source_is() -> None:
    agent = Agent("a")
    agent.action("function")(plain)
    agent.action("object")(Doubling())

    sources = {e.name: e.implementations[0].source for e in agent.catalogue_entries()}
    assert sources == {"function": f"{__name__}:plain", "object": f"{__name__}:Doubling"}


# --- annotations ---------------------------------------------------------------------------------


def test_a_payload_is_converted_to_an_annotated_record_and_to_nothing_else() -> None:
    def record(payload: Record): ...
    def keys(payload: Keys): ...
    def packed(payload: Packed, ctx: object): ...
    def by_name(payload: "Record"): ...  # noqa: UP037
    def a_dict(payload: dict[str, int]): ...
    def a_number(payload: int): ...
    def anything(payload: Any): ...
    def nothing(payload): ...
    def none(): ...
    def for_checkers_only(payload: Decimal): ...
    def another_for_checkers(payload: Record, ctx: Decimal): ...

    def type_of(handler: Any) -> Any:
        return describe_handler("python", handler, None, "native").payload_type

    assert [type_of(each) for each in (record, keys, packed, by_name)] == [
        Record, Keys, Packed, Record,
    ]  # fmt: skip
    for handler in (a_dict, a_number, anything, nothing, none, for_checkers_only):
        assert type_of(handler) is None
    assert type_of(another_for_checkers) is Record


# --- actions and twins ---------------------------------------------------------------------------


def test_an_action_can_still_be_called_and_lists_what_was_said_of_it() -> None:
    agent = Agent("a")

    @agent.action("add", effects="none", deterministic=True, version="3", max_concurrency=4)
    def add(payload):
        """Add two numbers.

        More about it.
        """
        return payload["x"] + payload["y"]

    assert add({"x": 1, "y": 2}) == 3
    [entry] = agent.catalogue_entries()
    assert (entry.agent, entry.name, entry.effects, entry.version) == ("a", "add", "none", "3")
    assert (entry.deterministic, entry.max_concurrency) == (True, 4)
    assert entry.documentation == "Add two numbers."
    assert [(i.name, i.layer, i.rung) for i in entry.implementations] == [
        ("python", "python", "native")
    ]
    assert repr(add) == "<action a.add: python>"


def test_a_twin_in_python_starts_on_the_rung_shadow() -> None:
    agent = Agent("a")
    handle = agent.action("do")(lambda payload: 1)
    before = agent.version

    @handle.twin("fast")
    def fast(payload):
        return 2

    [entry] = agent.catalogue_entries()
    assert [(i.name, i.rung) for i in entry.implementations] == [
        ("python", "native"), ("fast", "shadow"),
    ]  # fmt: skip
    assert (handle(None), fast(None)) == (1, 2)
    assert agent.version > before


@pytest.mark.parametrize("name", ["python", "fast"])
def test_a_twin_cannot_take_a_name_that_is_taken(name: str) -> None:
    handle = Agent("a").action("do")(lambda payload: 1)
    handle.twin("fast")(lambda payload: 2)

    with pytest.raises(TwinError, match=f"a.do: '{name}' is taken already"):
        handle.twin(name)


def test_joining_keeps_what_is_declared_and_takes_over_the_rest() -> None:
    mine, other = Agent("a", ["fly"]), Agent("a", ["fly", "swim"])
    mine.action("do")(lambda payload: "mine")
    other.action("do")(lambda payload: "other")
    shared = other.action("more")(lambda payload: "more")

    mine.join(other)

    assert mine.capabilities == ("fly", "swim")
    assert mine.actions["do"](None) == "mine"
    assert mine.actions["more"] is shared
    before = mine.version, other.version
    shared.twin("late")(lambda payload: "late")
    assert mine.version > before[0] and other.version > before[1]


def test_errors_are_told_to_another_process_by_class_name() -> None:
    handle = Agent("a").action("do", errors={KeyError: "NotFound", "Odd": "Strange"})(plain)

    assert handle.error_names() == {"KeyError": "NotFound", "Odd": "Strange"}


def test_an_offered_agent_is_one_however_often_it_is_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offered, "_agents", {})

    first = offer_agent("painter", ("paint",))
    second = offer_agent("painter", ("draw",))

    assert first is second
    assert first.capabilities == ("paint", "draw")
    assert offered.offered_agents() == (first,)
