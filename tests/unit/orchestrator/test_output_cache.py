"""The cache of outputs keeps within its bounds, and never mixes up what differs."""

import dataclasses
import random
import struct
from collections import OrderedDict
from typing import Any

import pytest

from tandem_orchestrator.layers import Work
from tandem_orchestrator.orchestrator.cache import (
    ENTRY_OVERHEAD_BYTES,
    PAYLOAD_BYTES_MAX,
    Bounds,
    OutputCache,
)

WORK = Work("r", "s1", "shop", "price", "python", {"n": 1}, {"before": [1]})


def cache_of(entries: int = 100, size: int = 10**6) -> OutputCache:
    return OutputCache(lambda: Bounds(entries, size))


def key(cache: OutputCache, work: Work = WORK, build: Any = 1, with_inputs: bool = True) -> Any:
    return cache.key_of(work, build, with_inputs=with_inputs)


def test_an_output_comes_back_equal_and_is_a_copy_that_nobody_shares() -> None:
    cache, output = cache_of(), {"list": [1, 2.5, None, b"\0", "ü"]}
    cache.keep(key(cache), output)
    output["list"].append("later")
    first = cache.find(key(cache))
    assert first is not None
    first[0]["list"].clear()

    assert cache.find(key(cache)) == ({"list": [1, 2.5, None, b"\0", "ü"]},)


def test_none_is_an_output_like_any_other() -> None:
    cache = cache_of()
    assert cache.find(key(cache)) is None
    cache.keep(key(cache), None)
    assert cache.find(key(cache)) == (None,)


def test_the_order_of_keys_is_no_difference() -> None:
    cache = cache_of()
    left = dataclasses.replace(WORK, payload={"a": 1, "b": {"c": 2, "d": 3}})
    right = dataclasses.replace(WORK, payload={"b": {"d": 3, "c": 2}, "a": 1})
    assert key(cache, left) == key(cache, right)


NAN_WITH_A_PAYLOAD = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000123))[0]


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 1.0), (1, True), (0, False), (0.0, -0.0), ("1", 1), ("a", b"a"), (None, {}), ([], {}),
     (None, []), ([1, 2], [2, 1]), ({"a": None}, {}), (float("nan"), NAN_WITH_A_PAYLOAD),
     (2**63, -(2**63)), ("é", "e\u0301")],
)  # fmt: skip
def test_payloads_that_python_may_call_equal_have_keys_of_their_own(left: Any, right: Any) -> None:
    cache = cache_of()
    works = [dataclasses.replace(WORK, payload=value) for value in (left, right)]
    assert key(cache, works[0]) != key(cache, works[1])
    assert key(cache, works[0]) == key(cache, works[0])


@pytest.mark.parametrize(
    "change",
    [{"agent": "other"}, {"action": "other"}, {"implementation": "c"}, {"version": "2"},
     {"payload": {"n": 2}}, {"inputs": {"before": [2]}}],
    ids=str,
)  # fmt: skip
def test_whatever_an_output_depends_on_is_in_its_key(change: dict[str, Any]) -> None:
    cache = cache_of()
    assert key(cache, dataclasses.replace(WORK, **change)) != key(cache)


def test_another_build_is_another_key() -> None:
    cache = cache_of()
    assert key(cache, build=1) != key(cache, build=2)


@pytest.mark.parametrize(
    "change",
    [{"run_id": "x"}, {"step_id": "x"}, {"attempt": 2}, {"item": 3}, {"idempotency_key": "k"},
     {"deadline_ns": 5}, {"lane": 0}, {"cpus": "0"}],
    ids=str,
)  # fmt: skip
def test_who_asks_when_and_where_is_no_difference(change: dict[str, Any]) -> None:
    cache = cache_of()
    assert key(cache, dataclasses.replace(WORK, **change)) == key(cache)


def test_inputs_count_only_for_who_can_see_them() -> None:
    cache = cache_of()
    other = dataclasses.replace(WORK, inputs={"before": [2]})
    assert key(cache, other, with_inputs=False) == key(cache, with_inputs=False)
    assert key(cache, with_inputs=False) != key(cache)


def test_the_bounds_hold_and_the_one_used_longest_ago_goes_first() -> None:
    """Against a model: an ordered dict, cut by hand."""
    rng, entries_max, bytes_max = random.Random(7), 12, 20_000
    cache, model = cache_of(entries_max, bytes_max), OrderedDict[int, bytes]()
    hits = misses = 0
    for _ in range(5000):
        number = rng.randrange(30)
        known = key(cache, dataclasses.replace(WORK, payload=number))
        found = cache.find(known)
        expected = model.get(number)
        assert (None if found is None else found[0]) == expected
        if expected is not None:
            hits += 1
            model.move_to_end(number)
            continue
        misses += 1
        output = rng.randbytes(rng.choice([10, 200, 2000, 2600]))
        cache.keep(known, output)
        cost = {n: _encoded_bytes(body) + ENTRY_OVERHEAD_BYTES for n, body in model.items()}
        cost[number] = _encoded_bytes(output) + ENTRY_OVERHEAD_BYTES
        if cost[number] > bytes_max // 8:
            continue
        model[number] = output
        while len(model) > entries_max or sum(cost[n] for n in model) > bytes_max:
            model.popitem(last=False)
        stats = cache.stats()
        assert stats.entries == len(model) <= entries_max
        assert stats.bytes == sum(cost[n] for n in model) <= bytes_max
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (hits, misses)
    assert stats.evicted > 0
    assert stats.too_large > 0


def _encoded_bytes(body: bytes) -> int:
    """MessagePack's bin 8 and bin 16 have heads of two and three bytes."""
    return len(body) + (2 if len(body) < 256 else 3)


def test_keeping_twice_counts_once() -> None:
    cache = cache_of()
    cache.keep(key(cache), 1)
    before = cache.stats()
    cache.keep(key(cache), 2)
    assert (cache.stats().entries, cache.stats().bytes) == (1, before.bytes)
    assert cache.find(key(cache)) == (2,)


def test_clearing_forgets_outputs_and_keeps_counting() -> None:
    cache = cache_of()
    cache.keep(key(cache), 1)
    cache.find(key(cache))
    cache.clear()
    assert cache.find(key(cache)) is None
    stats = cache.stats()
    assert (stats.entries, stats.bytes, stats.hits, stats.misses) == (0, 0, 1, 1)


@pytest.mark.parametrize("bounds", [Bounds(0, 10**6), Bounds(100, 0)])
def test_a_bound_of_none_switches_it_off(bounds: Bounds) -> None:
    assert key(OutputCache(lambda: bounds)) is None


def test_a_bound_that_shrinks_is_kept_with_the_next_output() -> None:
    bounds = [Bounds(100, 10**6)]
    cache = OutputCache(lambda: bounds[0])
    for number in range(50):
        cache.keep(key(cache, dataclasses.replace(WORK, payload=number)), number)
    bounds[0] = Bounds(3, 10**6)
    cache.keep(key(cache), "new")
    assert cache.stats().entries == 3


def test_large_work_is_not_looked_up_and_counted() -> None:
    cache = cache_of()
    assert key(cache, dataclasses.replace(WORK, payload=b"x" * PAYLOAD_BYTES_MAX)) is None
    assert cache.stats().too_large == 1
