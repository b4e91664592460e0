"""Measure what comparing twins costs: two equal outputs of 1 KiB, and where they differ.

The outputs are decoded separately, so that no object is shared and the walk has to look at all of
both. Beside each stands what one would do without it: both sides written as sorted MessagePack and
compared, and both as sorted JSON. One run of each comes first and is thrown away. Exits 1 when a
median misses its bar.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from figure import Figure, report
from machine import this_machine

RUNS_MIN = 7
CALLS = 2_000
BAR_US = 5.0
ORDER = {
    "id": "0191c6a2-7f2e-7c41-9b5a-3f6d8f1f8c11",
    "customer": {"name": "Ada Lovelace", "city": "København", "since": "2019-04-01"},
    "lines": [
        {"sku": f"A-{1000 + i}", "count": i % 7 + 1, "price": 12.5 + i / 8, "gift": i % 3 == 0}
        for i in range(21)
    ],
    "total": 1804.25,
    "notes": None,
}
"""As MessagePack 1 KiB, give or take 5 %."""


def pair() -> tuple[dict[str, object], dict[str, object]]:
    """Make two equal outputs that share no object."""
    body = msgspec.msgpack.encode(ORDER)
    if not 972 <= len(body) <= 1076:
        raise SystemExit(f"the output has {len(body)} bytes, expected 1 KiB")
    return msgspec.msgpack.decode(body), msgspec.msgpack.decode(body)


def per_call_us(call: Callable[[object, object], object], left: object, right: object) -> float:
    """Microseconds of one call, over ``CALLS`` of them."""
    begin_ns = time.perf_counter_ns()
    for _ in range(CALLS):
        call(left, right)
    return (time.perf_counter_ns() - begin_ns) / 1e3 / CALLS


def measured(runs: int) -> list[Figure]:
    """Take every figure ``runs`` times, peers right beside it."""
    from tandem_orchestrator.layers.native.sameness import compare_in_c
    from tandem_orchestrator.twins import differences

    compare_in_c()
    left, right = pair()
    reordered = dict(reversed(list(right.items())))
    other = json.loads(json.dumps(ORDER))
    other["lines"][-1]["price"] += 1
    if differences(left, right) or differences(left, reordered) or not differences(left, other):
        raise SystemExit("the comparison is wrong; its speed means nothing")
    encode = msgspec.msgpack.Encoder(order="sorted").encode

    def by_json(a: object, b: object) -> bool:
        return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)

    def by_msgpack(a: object, b: object) -> bool:
        return encode(a) == encode(b)

    what = {
        "equal": (differences, right),
        "reordered": (differences, reordered),
        "different": (differences, other),
        "msgspec": (by_msgpack, right),
        "json": (by_json, right),
    }
    values: dict[str, list[float]] = {name: [] for name in what}
    for run in range(runs + 1):
        for name, (call, against) in what.items():
            took_us = per_call_us(call, left, against)
            if run:
                values[name].append(took_us)
    peers = (
        ("msgspec, sorted, written twice", tuple(values["msgspec"])),
        ("json.dumps, sorted, written twice", tuple(values["json"])),
    )
    return [
        Figure("equal 1 KiB outputs compared", "us", BAR_US, tuple(values["equal"]), peers=peers),
        Figure("the same, keys in another order", "us", BAR_US, tuple(values["reordered"])),
        Figure("one field differs, and is named", "us", None, tuple(values["different"])),
    ]


def main() -> int:
    """Read the arguments, measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help=f"runs of each kind, from {RUNS_MIN}")
    parser.add_argument("--output", type=Path, default=Path("build/bench/twins.json"))
    asked = parser.parse_args()
    if asked.runs < RUNS_MIN:
        parser.error(f"--runs {asked.runs}: a spread needs at least {RUNS_MIN}")

    machine = this_machine()
    figures = measured(asked.runs)
    command = f"python benchmarks/twins.py --runs {asked.runs}"
    return report(figures, command=command, machine=machine, output=asked.output)


if __name__ == "__main__":
    sys.exit(main())
