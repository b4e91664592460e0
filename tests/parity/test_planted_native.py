"""Planted differences between Python and real C: plain functions of a library, called as they are."""

import array
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    CompareRules,
    Ref,
    TandemOrchestrator,
    Tolerance,
)

pytestmark = pytest.mark.native
SOURCE = Path(__file__).parents[1] / "fixtures" / "library" / "planted.c"
NAN = math.nan


@dataclass(frozen=True)
class Native:
    """A function in C, the Python that it should equal, and on which inputs it does not."""

    symbol: str
    signature: str
    python: Callable[[dict[str, Any]], Any]
    inputs: list[dict[str, Any]]
    differ: set[int] = field(default_factory=set)
    rules: CompareRules | None = None
    name: str = ""


def cents(p: dict[str, Any]) -> float:
    """Round as a book-keeper does."""
    return float(Decimal(str(p["v"])).quantize(Decimal("0.01"), ROUND_HALF_UP))


def check(p: dict[str, Any]) -> int:
    """Refuse what is below zero."""
    if p["n"] < 0:
        raise ValueError(p["n"])
    return 0


def values(*numbers: float) -> dict[str, Any]:
    """Give a payload with an array."""
    return {"x": array.array("d", numbers)}


SUMS = [values(1.0, 2.0), values(0.1, 0.2, 0.3), values(1e16, 1.0, -1e16)]
PAIRS = [
    Native("planted_money", "f64(f64 v)", cents, [{"v": v} for v in (1.005, 2.5, 0.125, 8.675)], {0}),
    Native("planted_add", "i32(i32 a, i32 b)", lambda p: p["a"] + p["b"], [{"a": 1, "b": 2}, {"a": 2**31 - 1, "b": 1}], {1}),
    Native("planted_half", "i64(i64 n)", lambda p: p["n"] // 2, [{"n": n} for n in (7, -7, -8)], {1}),
    Native("planted_remainder", "f64(f64 a, f64 b)", lambda p: p["a"] % p["b"], [{"a": 5.0, "b": 3.0}, {"a": -5.0, "b": 3.0}], {1}),
    Native("planted_sum", "f64(buf<f64> x)", lambda p: math.fsum(p["x"]), SUMS, {1, 2}, name="32-bit sum"),
    Native("planted_sum", "f64(buf<f64> x)", lambda p: math.fsum(p["x"]), SUMS, {2}, CompareRules(default=Tolerance(rel=1e-6)), name="32-bit sum, tolerated"),
    Native("planted_sum_f64", "f64(buf<f64> x)", lambda p: math.fsum(p["x"]), SUMS[:2], set(), CompareRules(default=Tolerance(ulp=2))),
    Native("planted_length", "u64(str s)", lambda p: len(p["s"]), [{"s": "abc"}, {"s": "é"}], {1}),
    Native("planted_checksum", "i32(bytes b)", lambda p: sum(p["b"]), [{"b": b"abc"}, {"b": b"\x80"}], {1}),
    Native("planted_small", "bool(i32 n)", lambda p: p["n"] < 10, [{"n": n} for n in (9, 10, 11)], {1}),
    Native("planted_larger", "f64(f64 a, f64 b)", lambda p: max(p["a"], p["b"]), [{"a": 1.0, "b": 2.0}, {"a": NAN, "b": 1.0}], {1}),
    Native("planted_negate", "f64(f64 v)", lambda p: -p["v"], [{"v": 1.0}, {"v": 0.0}], {1}),
    Native("planted_negate", "f64(f64 v)", lambda p: -p["v"], [{"v": 0.0}], set(), CompareRules(default=Tolerance(signed_zero=False)), name="zeros allowed"),
    Native("planted_check", "err(i32 n)", check, [{"n": 1}, {"n": -1}], {1}),
    Native("planted_check", "err(i32 n)", check, [{"n": 1}, {"n": -1}], set(), CompareRules(errors={ValueError: "refused", "ErrorCode": "refused"}), name="failures mapped"),
    Native("planted_length_of", "f64(f64 x, f64 y)", lambda p: math.hypot(p["x"], p["y"]), [{"x": 3.0, "y": 4.0}, {"x": 1e200, "y": 1e200}], {1}, CompareRules(default=Tolerance(ulp=1))),
    Native("planted_scale", "err(buf<f64> x, f64 by, out buf<f64>[len(x)] y)", lambda p: {"return": 0, "y": array.array("d", [v * p["by"] for v in p["x"]])}, [{**values(1.0, 2.0), "by": 3.0}, {**values(1.0, 0.0), "by": 3.0}], {0}),
    Native("planted_whole", "i32(f64 v)", lambda p: round(p["v"]), [{"v": v} for v in (1.2, 1.7, -1.7)], {1, 2}),
]  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("planted") / "libplanted.so"
    flags = ["-std=c11", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, str(SOURCE), "-lm", "-o", str(made)], check=True)
    return made


async def test_what_c_does_otherwise_is_found_and_nothing_else(library: Path) -> None:
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        agent = tandem.register_agent("planted")
        steps = []
        for i, pair in enumerate(PAIRS):
            handle = agent.action(f"a{i}", effects="none", compare=pair.rules)(
                lambda payload, pair=pair: pair.python(payload)
            )
            handle.twin("c", library=library, symbol=pair.symbol, signature=pair.signature)
            steps.append(
                CommandStep(
                    id=f"s{i}",
                    agent="planted",
                    action=f"a{i}",
                    for_each=pair.inputs,
                    payload=Ref("item"),
                    on_item_failure="collect",
                )
            )
        asked = CommandSet(mode="REDUNDANT", steps=steps, parallel_allowed=False)
        result = await tandem.execute_command_set(asked)
    assert result["status"] == "completed", result["error"]
    found: dict[str, set[int]] = {step.id: set() for step in steps}
    for conflict in result["conflicts"]:
        assert conflict["implementations"] == ["python", "c"]
        found[conflict["step"]].add(conflict["item"])
    expected = {f"s{i}": pair.differ for i, pair in enumerate(PAIRS)}
    names = {f"s{i}": pair.name or pair.symbol for i, pair in enumerate(PAIRS)}
    wrong = {names[s]: (found[s], expected[s]) for s in expected if found[s] != expected[s]}
    assert wrong == {}
