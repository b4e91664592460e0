"""Shrinking: the result still differs, is locally minimal, and is found within its bound."""

import math
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.twins.shrink import Shrinking, shrink

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-20, 20)
    | st.floats()
    | st.floats(-100, 100).map(lambda x: round(x, 3))
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


def atoms_of(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for part in value.values():
            yield from atoms_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from atoms_of(part)
    else:
        yield value


def nodes(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(nodes(part) for part in parts)


DIFFERENCES: dict[str, Callable[[Any], bool]] = {
    "a large int": lambda v: any(type(a) is int and a > 1000 for a in atoms_of(v)),
    "an odd negative int": lambda v: any(
        type(a) is int and a < 0 and a % 2 == 1 for a in atoms_of(v)
    ),
    "NaN": lambda v: any(type(a) is float and math.isnan(a) for a in atoms_of(v)),
    "a float that is no whole number": lambda v: any(
        type(a) is float and math.isfinite(a) and a != math.trunc(a) for a in atoms_of(v)
    ),
    "a text with two chars": lambda v: any(type(a) is str and len(a) >= 2 for a in atoms_of(v)),
    "a byte over 7": lambda v: any(type(a) is bytes and any(b > 7 for b in a) for a in atoms_of(v)),
    "two atoms that are true": lambda v: sum(bool(a) for a in atoms_of(v)) >= 2,
    "three nodes": lambda v: nodes(v) >= 3,
    "anything": lambda v: True,
}


WITNESSES: dict[str, Any] = {
    "a large int": st.integers(1001, 2**64 - 1),
    "an odd negative int": st.integers(-(2**62), -1).map(lambda n: 2 * n + 1),
    "NaN": st.just(math.nan),
    "a float that is no whole number": st.floats(-1e6, 1e6).filter(lambda x: x % 1 != 0),
    "a text with two chars": st.text(min_size=2, max_size=9),
    "a byte over 7": st.binary(max_size=5).map(lambda b: b + b"\x63" + b),
    "two atoms that are true": st.just([1, "a"]),
    "three nodes": st.just([1, 2, 3]),
    "anything": st.none(),
}
"""For each difference, values that have it: put beside any other value, the whole has it."""


def steps_down(value: Any) -> Iterator[Any]:
    """Give every value that is one plain step simpler; written apart from the code under test."""
    if value is True:
        yield False
    elif type(value) is int and value:
        yield 0
        yield value - (1 if value > 0 else -1)
    elif type(value) is float:
        if value != 0 or math.isnan(value):
            yield 0.0
        if math.isfinite(value) and value != math.trunc(value):
            yield float(math.trunc(value))
    elif type(value) in (str, bytes):
        for i in range(len(value)):
            yield value[:i] + value[i + 1 :]
    elif type(value) is list:
        for i, part in enumerate(value):
            yield value[:i] + value[i + 1 :]
            yield from ([*value[:i], new, *value[i + 1 :]] for new in steps_down(part))
    elif type(value) is dict:
        for key, part in value.items():
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: new} for new in steps_down(part))


@pytest.mark.parametrize("name", DIFFERENCES)
@given(data=st.data())
@settings(max_examples=60)
def test_the_result_still_differs_and_no_step_down_does(name, data):
    differs = DIFFERENCES[name]
    value = data.draw(VALUES)
    if not differs(value):
        value = data.draw(st.permutations([value, data.draw(WITNESSES[name])]))

    found = shrink(value, differs, calls_max=100_000)

    assert found.finished
    assert differs(found.value)
    assert [one for one in steps_down(found.value) if differs(one)] == []
    assert nodes(found.value) <= nodes(value)


@given(VALUES, st.randoms(use_true_random=False), st.integers(1, 200))
@settings(max_examples=100)
def test_it_ends_within_its_bound_whatever_differs(value, random, calls_max):
    answers: dict[bytes, bool] = {}

    def differs(candidate: Any) -> bool:
        key = msgspec.msgpack.encode(candidate)
        assert key not in answers, "the same input was tried twice"
        return answers.setdefault(key, random.random() < 0.3)

    found = shrink(value, differs, calls_max=calls_max)

    assert found.calls == len(answers) <= calls_max
    key = msgspec.msgpack.encode(found.value)
    assert answers.get(key, key == msgspec.msgpack.encode(value))


@given(VALUES)
@settings(max_examples=50)
def test_the_same_input_shrinks_the_same_way(value):
    def calls() -> list[bytes]:
        seen: list[bytes] = []

        def differs(candidate: Any) -> bool:
            seen.append(msgspec.msgpack.encode(candidate))
            return nodes(candidate) >= 2

        shrink(value, differs)
        return seen

    assert calls() == calls()


def test_a_thousand_items_come_down_to_the_one_that_matters():
    items = [{"id": i, "price": i * 1.25, "name": f"item {i}"} for i in range(1000)]

    found = shrink({"items": items, "currency": "EUR"}, lambda v: any(
        isinstance(i, dict) and i.get("price") == 801.25 for i in v.get("items", [])
    ))  # fmt: skip

    assert found.value == {"items": [{"price": 801.25}]}
    assert found.calls < 200


def test_money_that_is_rounded_comes_down_to_half_a_cent():
    def by_decimal(v: float) -> float:
        return float(Decimal(repr(v)).quantize(Decimal("0.01"), ROUND_HALF_UP))

    def differs(v: dict[str, float]) -> bool:
        return "v" in v and by_decimal(v["v"]) != round(v["v"] * 100) / 100

    assert differs({"v": 73.125})
    found = shrink({"v": 73.125}, differs)

    assert found.value == {"v": 0.005}


@pytest.mark.parametrize("start", [0.575, 1.005, 99.52499999999999, 82.02499999999999])
def test_whatever_price_it_begins_with_it_ends_at_the_simplest(start):
    def differs(v: float) -> bool:
        by_decimal = float(Decimal(repr(v)).quantize(Decimal("0.01"), ROUND_HALF_UP))
        return by_decimal != math.floor(v * 100 + 0.5) / 100

    assert differs(start)
    assert shrink(start, differs).value == 0.145


@pytest.mark.parametrize(
    ("value", "differs", "smallest"),
    [
        ("abcXdef", lambda v: "X" in v, "X"),
        ("straße!", lambda v: "ß" in v, "ß"),
        (b"\x00\xff\x10", lambda v: any(b >= 0x10 for b in v), b"\x10"),
        (-987654, lambda v: v < -7, -8),
        (2**63, lambda v: v >= 2**31, 2**31),
        (-math.inf, lambda v: v < 0, -1.0),
        (math.nan, lambda v: v != v, math.nan),
        (-0.0, lambda v: math.copysign(1, v) < 0, -0.0),
        ([[[[1]]]], lambda v: bool(v), [0]),
        ({"a": {"a": {"b": 5}}}, lambda v: "b" in str(v), {"b": 0}),
        (
            {"$buffer": {"dtype": "u8", "shape": [6], "data": b"abcxyz", "kind": "array"}},
            lambda v: b"x" in v["$buffer"]["data"],
            {"$buffer": {"dtype": "u8", "shape": [1], "data": b"x", "kind": "array"}},
        ),
        (
            {"lo": -34, "hi": 19},  # // goes down and / to 0: only an odd sum below 0 differs
            lambda v: len(v) == 2 and sum(v.values()) < 0 and sum(v.values()) % 2 == 1,
            {"lo": -1, "hi": 0},
        ),
        ([70, 68], lambda v: len(v) == 2 and v[0] - v[1] == 2, [2, 0]),
        ([10**12, -(10**12), 5], lambda v: len(v) == 3 and sum(v) == 5, [0, 0, 5]),
        (True, lambda v: v is True, True),
        (None, lambda v: True, None),
    ],
)
def test_smallest_inputs_that_are_known(value, differs, smallest):
    found = shrink(value, differs)

    assert repr(found.value) == repr(smallest)
    assert found.finished


def test_a_search_that_is_stopped_gives_the_best_so_far():
    search = Shrinking([1, 2, 3, 4])
    assert search.candidate == []
    search.tell(False)
    search.tell(True)

    found = search.stop()

    assert (found.value, found.calls, found.finished) == ([3, 4], 2, False)
    with pytest.raises(ValueError, match="over"):
        search.tell(True)


def test_a_planted_fault_in_the_search_is_noticed(monkeypatch):
    """A shrinker that drops chunks but never single parts must fail the proof of minimality."""
    from tandem_orchestrator.twins import shrink as module

    def only_halves(parts, rebuild):
        half = parts[len(parts) // 2 :]
        if len(parts) > 1 and (yield rebuild(half)):
            return half
        return parts

    monkeypatch.setattr(module, "_without_chunks", only_halves)
    differs = DIFFERENCES["a large int"]
    found = shrink([1, 2000, 3], differs)

    assert [one for one in steps_down(found.value) if differs(one)] != []
