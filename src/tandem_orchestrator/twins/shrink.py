"""Make an input smaller as long as the twins still differ on it.

Delta debugging: chunks of a list, dict, text or bytes are left out, large ones first, then single
parts are made simpler, then two whole numbers together, again and again until nothing smaller still
differs. What is found is locally minimal: leaving out one more part, or making one part, or two whole
numbers beside each other, one step simpler, ends the difference. Deterministic, and it never tries
the same input twice.

Source: A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE
Transactions on Software Engineering 28(2), 2002; the order of simplicity of numbers and texts is
that of Hypothesis (D. MacIver et al.): fewer digits, smaller, positive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import msgspec

CALLS_MAX = 2000
"""Inputs that are tried where nothing else is said."""
TOGETHER_MAX = 8
"""Whole numbers of one list or dict, the first ones, that are made smaller in pairs."""

# Any below: an input is a value of any kind.
Search = Generator[Any, bool, Any]
"""Gives inputs to try, is sent whether the twins still differ, and returns the smallest."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What a search came to."""

    value: Any
    """The smallest input found on which the twins still differ."""
    calls: int
    """Inputs that were tried."""
    finished: bool
    """False where a bound ended it: something smaller may still differ."""


class Shrinking:
    """One search: ask for ``candidate``, try it, ``tell`` whether it still differs.

    Args:
        value: An input on which the twins differ.
        calls_max: Inputs to try at most.
    """

    def __init__(self, value: Any, *, calls_max: int = CALLS_MAX) -> None:
        self._search = _fixpoint(value)
        self._calls_max = calls_max
        self._known: dict[bytes, bool] = {_key(value): True}
        self._best = value
        self.calls = 0
        self.candidate: Any = None
        """The next input to try; only while ``result`` is None."""
        self.result: Shrunk | None = None
        self._advance(None)

    def tell(self, still_differs: bool) -> None:
        """Say how the twins took ``candidate``, and go on to the next one."""
        if self.result is not None:
            raise ValueError("the search is over")
        self.calls += 1
        self._known[_key(self.candidate)] = still_differs
        if still_differs:
            self._best = self.candidate
        if self.calls >= self._calls_max:
            self.stop()
        else:
            self._advance(still_differs)

    def stop(self) -> Shrunk:
        """End the search with the best so far, as when its time is over."""
        if self.result is None:
            self.result = Shrunk(self._best, self.calls, False)
        return self.result

    def _advance(self, answer: bool | None) -> None:
        """Go on to the next input whose answer is not known yet."""
        try:
            while True:
                wanted = next(self._search) if answer is None else self._search.send(answer)
                answer = self._known.get(_key(wanted))
                if answer is None:
                    self.candidate = wanted
                    return
        except StopIteration as over:
            self.result = Shrunk(over.value, self.calls, True)


def shrink(
    value: Any, still_differs: Callable[[Any], bool], *, calls_max: int = CALLS_MAX
) -> Shrunk:
    """Find the smallest input for which a plain function says that the twins still differ."""
    search = Shrinking(value, calls_max=calls_max)
    while search.result is None:
        search.tell(still_differs(search.candidate))
    return search.result


_encoder = msgspec.msgpack.Encoder()


def _key(value: Any) -> bytes:
    return _encoder.encode(value)


def _fixpoint(value: Any) -> Search:
    """Go over the whole value until a round changes nothing. Each change makes it simpler."""
    while True:
        smaller = yield from _smaller(value)
        if _key(smaller) == _key(value):
            return smaller
        value = smaller


def _inside(search: Search, rebuild: Callable[[Any], Any]) -> Search:
    """Run the search for one part, trying each candidate where the part stands."""
    try:
        candidate = next(search)
        while True:
            candidate = search.send((yield rebuild(candidate)))
    except StopIteration as over:
        return over.value


def _smaller(value: Any) -> Search:
    """Choose by type; what has no smaller form comes back as it is."""
    if isinstance(value, bool):
        return (yield from _first(iter([False] if value else []), value))
    if isinstance(value, int):
        return (yield from _smaller_int(value))
    if isinstance(value, float):
        return (yield from _smaller_float(value))
    if isinstance(value, str):
        return (yield from _smaller_text(value))
    if isinstance(value, bytes):
        return (yield from _smaller_bytes(value))
    if isinstance(value, list):
        return (yield from _smaller_list(value))
    if isinstance(value, dict):
        if len(value) == 1 and "$buffer" in value:
            return (yield from _smaller_buffer(value))
        return (yield from _smaller_dict(value))
    return value


def _first(candidates: Iterator[Any], value: Any) -> Search:
    """Take the first candidate that still differs, or leave the value."""
    for candidate in candidates:
        if (yield candidate):
            return candidate
    return value


def _without_chunks(parts: list[Any], rebuild: Callable[[list[Any]], Any]) -> Search:
    """Leave out chunks, all first, then halves, …, single parts; gives the parts that are left."""
    size = len(parts)
    while size >= 1:
        start = 0
        while start < len(parts):
            left = parts[:start] + parts[start + size :]
            if (yield rebuild(left)):
                parts = left
            else:
                start += size
        size = min(size, len(parts) + 1) // 2
    return parts


def _smaller_list(value: list[Any]) -> Search:
    parts = yield from _without_chunks(value, lambda left: left)
    for child in parts:
        if isinstance(child, list) and (yield child):
            return child
    for i in range(len(parts)):
        rebuild = _replacing(parts, i)
        parts = rebuild((yield from _inside(_smaller(parts[i]), rebuild)))
    return (yield from _smaller_pairs(parts, range(len(parts)), list))


def _replacing(parts: list[Any], i: int) -> Callable[[Any], list[Any]]:
    return lambda new: [*parts[:i], new, *parts[i + 1 :]]


def _smaller_dict(value: dict[str, Any]) -> Search:
    keys = yield from _without_chunks(list(value), lambda left: {k: value[k] for k in left})
    parts = {key: value[key] for key in keys}
    for child in parts.values():
        if isinstance(child, dict) and not _is_marked(child) and (yield child):
            return child
    for key in keys:
        rebuild = _replacing_key(parts, key)
        parts = rebuild((yield from _inside(_smaller(parts[key]), rebuild)))
    return (yield from _smaller_pairs(parts, parts, dict))


def _smaller_pairs(parts: Any, places: Iterable[Any], copy: Callable[[Any], Any]) -> Search:
    """Move two whole numbers towards 0 together: where their sum matters, neither can go alone."""
    ints = [at for at in places if type(parts[at]) is int][:TOGETHER_MAX]
    for one, other in combinations(ints, 2):
        step = min(abs(parts[one]), abs(parts[other]))
        while step:
            step = min(step, abs(parts[one]), abs(parts[other]))
            smaller = copy(parts)
            for at in (one, other):
                smaller[at] -= step if smaller[at] > 0 else -step
            if step and (yield smaller):
                parts = smaller
            else:
                step //= 2
    return parts


def _replacing_key(parts: dict[str, Any], key: str) -> Callable[[Any], dict[str, Any]]:
    return lambda new: {**parts, key: new}


def _is_marked(value: dict[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith("$")


def _smaller_int(value: int) -> Search:
    """Go to 0 by halves of the way, then one by one; positive rather than negative."""
    if value == 0 or (yield 0):
        return 0
    if value < 0 and -value < 2**64 and (yield -value):
        value = -value
    sign = -1 if value < 0 else 1
    step = abs(value) // 2
    while step:
        # One more and one less as well: only odd numbers, or even ones, may differ.
        for way in (step, step + 1, step - 1):
            if 0 < way < abs(value) and (yield value - sign * way):
                value -= sign * way
                step = min(step, abs(value) // 2)
                break
        else:
            step //= 2
    return value


def _float_rank(value: float) -> tuple[int, int, float, bool]:
    """Rank floats: whole, fewer digits, nearer to 0, positive; infinities and NaN last."""
    if not math.isfinite(value):
        return (2 + math.isnan(value), 0, 0.0, value < 0)
    is_whole = value == math.trunc(value)
    return (not is_whole, len(repr(abs(value))), abs(value), math.copysign(1, value) < 0)


def _smaller_float(value: float) -> Search:
    while True:
        rank = _float_rank(value)
        fitting = (one for one in _simpler_floats(value) if _float_rank(one) < rank)
        simpler = yield from _first(fitting, value)
        if _key(simpler) == _key(value):
            return value
        value = simpler


TIE_CHARS_MIN = 5
"""A float that is written with so many characters is tried as each of the simple ties as well."""
_TIES = tuple(
    float(f"0.{lead:0{places}d}5") if places else 0.5
    for places in range(3)
    for lead in range(10**places)
)
"""0.5, 0.05, 0.15, …, 0.995: half way between two decimals, where roundings differ."""


def _simpler_floats(value: float) -> Iterator[float]:
    yield from (0.0, 1.0, -0.0, -1.0)
    if math.isnan(value):
        return
    yield -value
    if math.isinf(value):
        yield math.copysign(1.7976931348623157e308, value)
        return
    yield float(math.trunc(value))
    for places in range(17):
        yield round(value, places)
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    for i, char in enumerate(mantissa):
        if char.isdigit():
            rest = mantissa[i + 1 :]
            yield float((mantissa[:i] + rest or "0").replace("-.", "-0.") + e + exponent)
            for digit in range(int(char)):
                yield float(f"{mantissa[:i]}{digit}{rest}{e}{exponent}")
    if len(text) >= TIE_CHARS_MIN:
        yield from _TIES
    if e:
        yield float(mantissa)
        yield float(f"{mantissa}e{int(int(exponent) / 2)}")
        yield float(f"{mantissa}e{int(exponent) - (1 if int(exponent) > 0 else -1)}")
    yield value / 2


_SIMPLE = "0123456789abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_RANKS = {char: rank for rank, char in enumerate(_SIMPLE)}


def _char_rank(char: str) -> int:
    return _RANKS.get(char, len(_SIMPLE) + ord(char))


def _smaller_text(value: str) -> Search:
    chars = yield from _without_chunks(list(value), "".join)
    for i in range(len(chars)):
        rank = _char_rank(chars[i])
        lower = (char for char in ("0", "1", "5", "a", "b", " ", "A") if _char_rank(char) < rank)
        just_below = [_SIMPLE[rank - 1]] if 0 < rank < len(_SIMPLE) else []
        search = _first(iter((*lower, *just_below)), chars[i])
        rebuild = _replacing(chars, i)
        chars = rebuild((yield from _inside(search, _then("".join, rebuild))))
    return "".join(chars)


def _smaller_bytes(value: bytes) -> Search:
    parts = yield from _without_chunks(list(value), bytes)
    for i in range(len(parts)):
        rebuild = _replacing(parts, i)
        parts = rebuild((yield from _inside(_smaller_int(parts[i]), _then(bytes, rebuild))))
    return bytes(parts)


def _then(last: Callable[[Any], Any], first: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda new: last(first(new))


def _smaller_buffer(value: dict[str, Any]) -> Search:
    """Leave out items of a one-dimensional buffer; its items stay as they are."""
    body = value["$buffer"]
    shape = body.get("shape") if isinstance(body, dict) else None
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, bytes) or not isinstance(shape, list) or len(shape) != 1:
        return value
    if not shape[0] or len(data) % shape[0]:
        return value
    width = len(data) // shape[0]

    def rebuild(items: list[bytes]) -> dict[str, Any]:
        return {"$buffer": {**body, "shape": [len(items)], "data": b"".join(items)}}

    items = [data[i : i + width] for i in range(0, len(data), width)]
    return rebuild((yield from _without_chunks(items, rebuild)))
