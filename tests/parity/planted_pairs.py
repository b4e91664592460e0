"""Pairs of twins that are known to differ, or known to agree, on given inputs.

Each is the kind of divergence that a rewrite brings, and by construction it is known on which of
its inputs it shows; ``differ`` holds their positions, with the path of the difference.
"""

from __future__ import annotations

import array
import functools
import math
import operator
import struct
import unicodedata
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tandem_orchestrator import CompareRules, Tolerance

Twin = Callable[[Any], Any]
NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Pair:
    """Two implementations of one thing, and what is known about them."""

    name: str
    left: Twin
    right: Twin
    inputs: list[Any]
    differ: Mapping[int, str] = field(default_factory=dict)
    """Position of each input on which they differ, to the path of its first difference."""
    rules: CompareRules | None = None


def everywhere(**tolerance: Any) -> CompareRules:
    """Give rules that hold for the whole output."""
    return CompareRules(default=Tolerance(**tolerance))


def at(path: str, **tolerance: Any) -> CompareRules:
    """Give rules for one place."""
    return CompareRules(fields={path: Tolerance(**tolerance)})


def wrap(bits: int, signed: bool = True) -> Callable[[int], int]:
    """Give what storing an int in so many bits does to it."""

    def wrapped(number: int) -> int:
        number %= 1 << bits
        return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number

    return wrapped


def f32(number: float) -> float:
    """Round to the nearest 32-bit float."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def cents(value: float) -> str:
    """Round money as a book-keeper does."""
    return str(Decimal(str(value)).quantize(Decimal("0.01"), ROUND_HALF_UP))


def failing(kind: type[Exception], text: str = "bad") -> Twin:
    """Give a twin that raises on inputs below zero and gives others back."""

    def twin(value: float) -> float:
        if value < 0:
            raise kind(text)
        return value

    return twin


def plain_sum(numbers: list[float]) -> float:
    """Add from left to right, as C does."""
    return functools.reduce(operator.add, numbers, 0.0)


def is_leap(year: int) -> bool:
    """Say whether a year has a 29 February."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def days_in_february(year: int) -> int:
    """Count the days by the calendar itself."""
    return (date(year, 3, 1) - date(year, 2, 1)).days


def in_zone(hours: int) -> Twin:
    """Give a twin that tells the date of a moment somewhere."""
    zone = timezone(timedelta(hours=hours))
    return lambda seconds: datetime.fromtimestamp(seconds, zone).date().isoformat()


def nfc(text: str) -> str:
    """Compose a text; a ``clean`` hook that can be named."""
    return unicodedata.normalize("NFC", text)


def unix_lines(text: str) -> str:
    """Make every line end in LF alone."""
    return text.replace("\r\n", "\n")


def sorted_by_score(*, ties_reversed: bool) -> Twin:
    """Give a twin that ranks, with ties in one order or the other."""

    def rank(rows: list[dict[str, Any]]) -> list[str]:
        given = reversed(rows) if ties_reversed else rows
        return [row["id"] for row in sorted(given, key=lambda row: -row["score"])]

    return rank


class Counter:
    """A twin that stamps what it gives with a number no other call gives."""

    calls = 0

    def __call__(self, value: Any) -> Any:
        """Give the value with its stamp."""
        Counter.calls += 1
        return {"value": value, "meta": {"stamp": Counter.calls, "size": len(value)}}


def floats(numbers: list[float], code: str = "f") -> array.array[float]:
    """Make a typed buffer."""
    return array.array(code, numbers)


def next_f32(number: float) -> float:
    """Give the 32-bit float after a positive one."""
    bits = struct.unpack("I", struct.pack("f", number))[0]
    return float(struct.unpack("f", struct.pack("I", bits + 1))[0])


def same(value: Any) -> Any:
    """Give the value back."""
    return value


NUMBERS = [
    Pair("decimal ties", cents, lambda v: f"{v:.2f}", [1.005, 2.675, 0.125, 1.1], {0: "", 1: "", 2: ""}),
    Pair("money by the usual idiom in C", lambda v: float(cents(v)), lambda v: math.floor(v * 100 + 0.5) / 100, [1.005, 0.125, 2.5], {0: ""}),
    Pair("ties to even", round, lambda v: math.floor(v + 0.5), [0.5, 1.5, 2.5, 3.7], {0: "", 2: ""}),
    Pair("32-bit sum", sum, lambda v: wrap(32)(sum(v)), [[2**31 - 1, 1], [2**31 - 1, 0], [-(2**31), -1]], {0: "", 2: ""}),
    Pair("64-bit product", lambda v: float(v * v), lambda v: float(wrap(64)(v * v)), [2**31, 2**32, 3_037_000_500], {1: "", 2: ""}),
    Pair("signed bytes", lambda v: list(v), lambda v: [wrap(8)(b) for b in v], [b"\x7f", b"\x80", b"abc\xff"], {1: "/0", 2: "/3"}),
    Pair("signed checksums", zlib.crc32, lambda v: wrap(32)(zlib.crc32(v)), [b"a", b"b", b""], {0: ""}),
    Pair("unsigned loop counters", lambda v: v - 1, lambda v: wrap(32, False)(v - 1), [1, 0], {1: ""}),
    Pair("NaN agrees with NaN", lambda v: v - v, lambda v: v * 0.0, [INF, -INF]),
    Pair("NaN told from NaN", lambda v: {"x": v - v}, lambda v: {"x": v - v}, [INF, 1.0], {0: "/x"}, at("/x", nan_equal=False)),
    Pair("NaN or null", lambda v: v - v, lambda v: None if v == INF else 0.0, [INF, 1.0], {0: ""}),
    Pair("NaN in a maximum", lambda v: max(v), lambda v: max(x for x in v if x == x), [[NAN, 1.0], [1.0, NAN]], {0: ""}),
    Pair("negative zero", lambda v: v * 0.0, lambda v: abs(v * 0.0), [-1.0, 1.0], {0: ""}),
    Pair("negative zero allowed", lambda v: v * 0.0, lambda v: abs(v * 0.0), [-1.0, 1.0], {}, everywhere(signed_zero=False)),
    Pair("negative zero under a tolerance", lambda v: v * 0.0, lambda v: abs(v * 0.0), [-1.0], {}, everywhere(abs=1e-12)),
    Pair("order of summation", math.fsum, plain_sum, [[0.1] * 10, [1.0, 2.0], [1e16, 1.0, -1e16]], {0: "", 2: ""}),
    Pair("order of summation, tolerated", math.fsum, plain_sum, [[0.1] * 10, [1e16, 1.0, -1e16]], {1: ""}, everywhere(rel=1e-9)),
    Pair("32-bit floats", same, f32, [0.5, 0.1, 16777217.0], {1: "", 2: ""}),
    Pair("32-bit floats, tolerated", same, f32, [0.1, 1e10, 3.14159], {}, everywhere(rel=1e-6)),
    Pair("one ulp", same, lambda v: math.nextafter(v, INF), [1.0, 1e300, 5e-324], {}, everywhere(ulp=1)),
    Pair("two ulps where one is allowed", same, lambda v: math.nextafter(math.nextafter(v, INF), INF), [1.0, -1.0], {0: "", 1: ""}, everywhere(ulp=1)),
    Pair("ints above 2**53 through a float", same, lambda v: int(float(v)), [2**53, 2**53 + 1], {1: ""}),
    Pair("division of negatives", lambda v: v // 2, lambda v: int(v / 2), [7, -7, -8], {1: ""}),
    Pair("sign of the remainder", lambda v: v % 3, lambda v: int(math.fmod(v, 3)), [4, -4, -3], {1: ""}),
    Pair("int or float", same, float, [1, 0], {0: "", 1: ""}),
    Pair("int or float, as numbers", same, float, [1, 2**53], {}, everywhere(numeric=True)),
    Pair("bool or int", lambda v: v > 1, lambda v: int(v > 1), [1, 2], {0: "", 1: ""}),
    Pair("bool or int is no number", lambda v: v > 1, lambda v: int(v > 1), [2], {0: ""}, everywhere(numeric=True)),
    Pair("infinity or the largest", lambda v: v * 10, lambda v: min(v * 10, 1.7e308), [1e308, 1.0], {0: ""}, everywhere(rel=0.5)),
    Pair("within half a cent", same, lambda v: v + 0.004, [1.25, 10.0], {}, everywhere(places=2)),
    Pair("a cent apart", same, lambda v: v + 0.01, [1.25], {0: ""}, everywhere(places=2)),
    Pair("a decimal or a double", lambda v: Decimal(str(v)).quantize(Decimal("0.00")), same, [1.5, 2.25, 7.125], {2: ""}, everywhere(numeric=True)),
]  # fmt: skip

TEXTS = [
    Pair("decimal comma", lambda v: f"{v:.1f}", lambda v: f"{v:.1f}".replace(".", ","), [1.5], {0: ""}),
    Pair("Turkish lower case", str.lower, lambda v: v.replace("I", "ı").lower(), ["TANDEM", "FILE"], {1: ""}),
    Pair("composed or not", nfc, lambda v: unicodedata.normalize("NFD", v), ["cafe", "café"], {1: ""}),
    Pair("composed or not, cleaned", nfc, lambda v: unicodedata.normalize("NFD", v), ["café", "Ångström"], {}, CompareRules(clean=nfc)),
    Pair("CRLF", same, unix_lines, ["a\nb", "a\r\nb"], {1: ""}),
    Pair("CRLF, cleaned", lambda v: {"body": v}, lambda v: {"body": unix_lines(v)}, ["a\r\nb"], {}, at("/body", clean=unix_lines)),
    Pair("a buffer of 255", same, lambda v: v[:255], ["x" * 255, "x" * 256], {1: ""}),
    Pair("length in UTF-16", len, lambda v: len(v.encode("utf-16-le")) // 2, ["é", "😀"], {1: ""}),
    Pair("bytes cut in a character", same, lambda v: v.encode()[:4].decode(errors="replace"), ["abcd", "abcé"], {1: ""}),
    Pair("spaces that only Unicode knows", str.strip, lambda v: v.strip(" \t\r\n"), [" a ", "\xa0a"], {1: ""}),
    Pair("digits that only Unicode knows", str.isdigit, lambda v: v.isascii() and v.isdigit(), ["12", "١٢"], {1: ""}),
    Pair("sharp s", str.upper, lambda v: "".join(c.upper() if c.isascii() else c for c in v), ["mass", "maß"], {1: ""}),
    Pair("%g or repr", repr, lambda v: f"{v:g}", [0.5, 0.1 + 0.2, 1234567.0], {1: "", 2: ""}),
    Pair("text or bytes", same, str.encode, ["a"], {0: ""}),
    Pair("a line end at the end", same, lambda v: v.rstrip("\n"), ["a", "a\n"], {1: ""}),
    Pair("C strings end at NUL", same, lambda v: v.split("\0")[0], ["ab", "a\0b"], {1: ""}),
]  # fmt: skip

TIMES = [
    Pair("the date elsewhere", in_zone(0), in_zone(1), [1_700_000_000, 1_700_050_000], {}),
    Pair("the date elsewhere, near midnight", in_zone(0), in_zone(1), [86400 * 19_000 - 60, 86400 * 19_000], {0: ""}),
    Pair("Z or +00:00", lambda v: datetime.fromtimestamp(v, UTC).isoformat(), lambda v: datetime.fromtimestamp(v, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), [0], {0: ""}),
    Pair("leap centuries", is_leap, lambda y: y % 4 == 0, [1900, 2000, 2023, 2024, 2100], {0: "", 4: ""}),
    Pair("leap years, done right", lambda y: 28 + is_leap(y), days_in_february, [1900, 2000, 2023, 2024, 2100]),
    Pair("a year after 29 February", lambda v: (date.fromisoformat(v) + timedelta(days=365)).isoformat(), lambda v: f"{int(v[:4]) + 1}{v[4:]}", ["2022-05-01", "2024-02-29"], {1: ""}),
    Pair("weeks of the year", lambda v: date.fromisoformat(v).isocalendar().week, lambda v: int(date.fromisoformat(v).strftime("%W")), ["2024-01-01", "2023-01-01"], {1: ""}),
    Pair("a stamp that is noise", Counter(), Counter(), ["a", "bc"], {}, at("/meta/stamp", ignore=True)),
    Pair("a stamp that nobody excused", Counter(), Counter(), ["a"], {0: "/meta/stamp"}),
]  # fmt: skip

SHAPES = [
    Pair("order of keys", lambda v: dict.fromkeys(v, 1), lambda v: dict.fromkeys(reversed(v), 1), [["a", "b"], ["b"]]),
    Pair("order of a list", sorted, lambda v: sorted(v, reverse=True), [[1, 2], [1, 1]], {0: "/0"}),
    Pair("order of a list is noise", sorted, lambda v: sorted(v, reverse=True), [[1, 2, 2], ["b", "a"]], {}, everywhere(unordered=True)),
    Pair("how often counts in a multiset", lambda v: v, lambda v: [*v[1:], v[-1]], [[1, 2, 2], [2, 2]], {0: "/0"}, everywhere(unordered=True)),
    Pair("unordered rows with rounding", lambda v: [{"id": i, "x": i * 0.1} for i in v], lambda v: [{"id": i, "x": f32(i * 0.1)} for i in reversed(v)], [[1, 2, 3]], {}, CompareRules(fields={"": Tolerance(unordered=True), "/*/x": Tolerance(rel=1e-6)})),
    Pair("unordered rows, one of them wrong", lambda v: [{"id": i, "x": i * 0.1} for i in v], lambda v: [{"id": i, "x": i * 0.1 + (i == 2)} for i in reversed(v)], [[1, 2, 3], [1, 3]], {0: "/1/x"}, CompareRules(fields={"": Tolerance(unordered=True), "/*/x": Tolerance(rel=1e-6)})),
    Pair("lists within unordered rows keep their order", same, lambda v: [row[::-1] for row in reversed(v)], [[[1, 2], [3, 4]], [[1, 1]]], {0: "/0"}, at("", unordered=True)),
    Pair("ties in a ranking", sorted_by_score(ties_reversed=False), sorted_by_score(ties_reversed=True), [[{"id": "a", "score": 1}, {"id": "b", "score": 1}], [{"id": "a", "score": 1}, {"id": "b", "score": 2}]], {0: "/0"}),
    Pair("an edge of a range", lambda v: "small" if v < 10 else "large", lambda v: "small" if v <= 10 else "large", [9, 10, 11], {1: ""}),
    Pair("the last item is left out", same, lambda v: v[: len(v) - (len(v) > 2)], [[1, 2], [1, 2, 3]], {1: "/2"}),
    Pair("empty or null", same, lambda v: v or None, [[1], [], ""], {1: "", 2: ""}),
    Pair("absent or null", lambda v: {"x": v}, lambda v: {} if v is None else {"x": v}, [1, None], {1: "/x"}),
    Pair("absent is excused", lambda v: {"x": v, "y": 1}, lambda v: {"y": 1}, [1, None], {}, at("/x", ignore=True)),
    Pair("one place within an excused one", lambda v: {"m": {"a": v, "b": v}}, lambda v: {"m": {"a": 0, "b": v % 10}}, [1, 11], {1: "/m/b"}, CompareRules(fields={"/m": Tolerance(ignore=True), "/m/b": Tolerance(ignore=False)})),
    Pair("duplicates removed in another order", lambda v: list(dict.fromkeys(v)), lambda v: list(dict.fromkeys(reversed(v))), [["a", "a"], ["a", "b"]], {1: "/0"}),
    Pair("a deep field", lambda v: {"rows": [{"cells": [v, 1]}]}, lambda v: {"rows": [{"cells": [v, 2 if v else 1]}]}, [0, 1], {1: "/rows/0/cells/1"}),
    Pair("tolerances by place", lambda v: {"rows": [{"x": v, "y": v}]}, lambda v: {"rows": [{"x": v + 0.01, "y": v + (v > 1) * 0.01}]}, [1.0, 2.0], {1: "/rows/0/y"}, at("/rows/*/x", abs=0.1)),
    Pair("buffers, one element", floats, lambda v: floats([*v[:-1], v[-1] + 1]), [[1.0, 2.0, 3.0]], {0: "/$buffer/data/2"}),
    Pair("buffers, an ulp of 32 bits", floats, lambda v: floats([next_f32(x) for x in v]), [[1.0, 0.1], [1e30]], {}, everywhere(ulp=1)),
    Pair("buffers, an ulp of 32 bits is many of 64", lambda v: floats(v, "d"), lambda v: floats([next_f32(x) for x in v], "d"), [[1.0]], {0: "/$buffer/data/0"}, everywhere(ulp=1)),
    Pair("buffers of another width", floats, lambda v: floats(v, "d"), [[1.0, 0.5]], {0: "/$buffer/dtype"}),
    Pair("buffers of another width, as numbers", floats, lambda v: floats(v, "d"), [[1.0, 0.5]], {}, everywhere(numeric=True)),
]  # fmt: skip

FAILURES = [
    Pair("one side fails", lambda v: 1 / v, lambda v: 1 / v if v else INF, [1.0, 0.0], {1: ""}),
    Pair("failures of other types", failing(KeyError), failing(ValueError), [1, -1], {1: ""}),
    Pair("failures that say other things", failing(ValueError, "a"), failing(ValueError, "b"), [1, -1]),
    Pair("failures that mean the same", failing(KeyError), failing(LookupError), [1, -1], {}, CompareRules(errors={"KeyError": "missing", "LookupError": "missing"})),
    Pair("an error code or an exception", failing(ValueError), lambda v: v if v >= 0 else -22, [1, -1], {1: ""}),
]  # fmt: skip


def _breaks(value: Any) -> Any:
    raise RuntimeError("planted")


def _changes_type(value: Any) -> Any:
    return str(value)


HOOKS = [
    Pair("a hook that raises", lambda v: {"x": v}, lambda v: {"x": v}, [1], {0: "/x"}, at("/x", clean=_breaks)),
    Pair("a hook that changes the type", lambda v: {"x": v}, lambda v: {"x": v}, [1], {0: "/x"}, at("/x", clean=_changes_type)),
    Pair("a hook that nobody has", same, same, [1], {0: ""}, CompareRules(clean="no.such.module:hook")),
    Pair("a hook that takes out what matters", lambda v: {"x": v}, lambda v: {"x": v + 1}, [1], {}, at("/x", clean=lambda v: 0)),
]  # fmt: skip

PAIRS = [*NUMBERS, *TEXTS, *TIMES, *SHAPES, *FAILURES, *HOOKS]
