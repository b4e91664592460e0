"""A/A calibration: one side run twice tells which fields are noise, and so what to excuse in a twin.

A field that differs between two runs of the same implementation on the same input says nothing
about a twin. What came out of it is a suggestion that a person pastes, never a rule that holds by
itself: a field that should not have changed is a bug that has just been found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tandem_orchestrator.model.comparing import FIELDS_MAX, CompareRules, Tolerance
from tandem_orchestrator.twins.compare import differences
from tandem_orchestrator.twins.noise import Noise, looks_like, noise_between
from tandem_orchestrator.twins.showing import shown

ROUNDS_MAX = 4
"""Times that what is left over under the rules so far is learned from."""
_ROUNDING_MARGIN = 10.0
"""The tolerance suggested is at least so many times what was seen: a few inputs are not all."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one attempt ended."""

    outcome: str
    # Any: an output is any value.
    output: Any = None
    failure: str | None = None
    """Type of the failure."""


@dataclass(frozen=True, slots=True)
class NoisyField:
    """One place that is noise, and what to do about it."""

    pattern: str
    kind: str
    """``volatile``, ``order`` or ``rounding``."""
    seen: int
    """Inputs on which it came out differently."""
    # Any: examples, whatever stood there; cut where they are large.
    left: Any
    right: Any
    tolerance: Tolerance
    looks_like: str = ""

    def to_value(self) -> dict[str, Any]:
        """Give the plain form."""
        return {
            "pattern": self.pattern,
            "kind": self.kind,
            "seen": self.seen,
            "left": self.left,
            "right": self.right,
            "looks_like": self.looks_like,
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """What two runs of one side on the same inputs have shown."""

    inputs: int
    noisy: tuple[NoisyField, ...]
    """Sorted by pattern."""
    unstable: tuple[int, ...] = ()
    """Positions of inputs that succeeded once and failed once, or failed in two ways."""
    failed: int = 0
    """Inputs that failed both times in the same way: they have shown nothing."""
    left_over: tuple[int, ...] = ()
    """Positions of inputs that differ even under the rules suggested."""
    rules: CompareRules = field(default_factory=CompareRules)
    """Those the action has, and what was learned."""

    @property
    def compared(self) -> int:
        """Inputs that gave two outputs."""
        return self.inputs - self.failed - len(self.unstable)

    @property
    def miss_rate(self) -> float:
        """Below this share of inputs, noise may have been missed (95 %: the rule of three)."""
        return min(1.0, 3.0 / self.compared) if self.compared else 1.0

    @property
    def ignores_everything(self) -> bool:
        """Whether the rules suggested would leave nothing to compare."""
        return bool(self.rules.fields.get("", Tolerance()).ignore)

    @property
    def source(self) -> str:
        """Give the argument to paste, as Python source; empty where exact comparison will do."""
        return f"compare={rules_source(self.rules)}" if self.rules != CompareRules() else ""

    def to_value(self) -> dict[str, Any]:
        """Give the plain form, for ``--json``."""
        return {
            "inputs": self.inputs,
            "compared": self.compared,
            "failed": self.failed,
            "unstable": list(self.unstable),
            "left_over": list(self.left_over),
            "miss_rate": self.miss_rate,
            "ignores_everything": self.ignores_everything,
            "fields": [each.to_value() for each in self.noisy],
            "rules": self.rules.to_value(),
            "compare": self.source,
        }


def learn(pairs: Sequence[tuple[Ended, Ended]], rules: CompareRules | None = None) -> Calibration:
    """Learn from pairs of ends, each of one implementation on one input.

    Args:
        pairs: One for each input; outputs after the action's hooks.
        rules: What the action excuses already; hooks by name, they are not run.
    """
    base = rules or CompareRules()
    found: dict[str, list[tuple[int, Noise]]] = {}
    unstable = [i for i, (a, b) in enumerate(pairs) if _kind(a) != _kind(b)]
    outputs = [
        (i, a.output, b.output)
        for i, (a, b) in enumerate(pairs)
        if a.outcome == b.outcome == "succeeded"
    ]
    learned = base
    noisy: tuple[NoisyField, ...] = ()
    left_over = _differing(outputs, learned)
    for _ in range(ROUNDS_MAX):
        before = sum(len(seen) for seen in found.values())
        for i, left, right in outputs:
            if i in left_over:
                for noise in noise_between(left, right):
                    if noise.pattern not in base.fields:
                        found.setdefault(noise.pattern, []).append((i, noise))
        noisy = _fields(found)
        learned = _with(base, noisy)
        left_over = _differing(outputs, learned)
        if not left_over or sum(len(seen) for seen in found.values()) == before:
            break
    failed = len(pairs) - len(outputs) - len(unstable)
    return Calibration(
        len(pairs), noisy, tuple(unstable), failed, tuple(sorted(left_over)), learned
    )


def rules_source(rules: CompareRules) -> str:
    """Write rules as Python source; hooks by name."""
    parts = []
    if rules.default != Tolerance():
        parts.append(f"default={_tolerance_source(rules.default)}")
    if rules.fields:
        lines = [
            f"    {pattern!r}: {_tolerance_source(tolerance)},"
            for pattern, tolerance in rules.fields.items()
        ]
        parts.append("\n".join(["fields={", *lines, "}"]))
    if rules.clean is not None:
        parts.append(f"clean={rules.clean!r}")
    if rules.errors:
        parts.append(f"errors={rules.errors!r}")
    return f"CompareRules({', '.join(parts)})"


def _tolerance_source(tolerance: Tolerance) -> str:
    names = Tolerance.__struct_fields__
    said = [(n, v) for n in names if (v := getattr(tolerance, n)) is not None]
    return f"Tolerance({', '.join(f'{name}={value!r}' for name, value in said)})"


def _kind(end: Ended) -> tuple[str, str | None]:
    return end.outcome, end.failure


def _differing(outputs: Sequence[tuple[int, Any, Any]], rules: CompareRules) -> set[int]:
    bare = rules.without_hooks()
    return {i for i, left, right in outputs if differences(left, right, bare)}


def _fields(found: dict[str, list[tuple[int, Noise]]]) -> tuple[NoisyField, ...]:
    """Make one field of all that was seen at a pattern; what is ignored hides what is below it."""
    fields: list[NoisyField] = []
    hidden: list[str] = []
    for pattern in sorted(found, key=lambda p: (p.count("/"), p)):
        if any(pattern.startswith(f"{above}/") for above in hidden):
            continue
        seen = found[pattern]
        kinds = {noise.kind for _, noise in seen}
        first = seen[0][1]
        if "volatile" in kinds:
            kind, tolerance = "volatile", Tolerance(ignore=True)
            hidden.append(pattern)
        elif "order" in kinds:
            kind, tolerance = "order", Tolerance(unordered=True)
        else:
            kind, tolerance = "rounding", Tolerance(rel=_margin(max(n.rel for _, n in seen)))
        fields.append(
            NoisyField(
                pattern,
                kind,
                len({i for i, _ in seen}),
                shown(first.left),
                shown(first.right),
                tolerance,
                looks_like(first.left) if kind == "volatile" else "",
            )
        )
    return tuple(fields[:FIELDS_MAX])


def _margin(rel: float) -> float:
    """Give the power of ten that is at least ``_ROUNDING_MARGIN`` times what was seen."""
    power = math.ceil(math.log10(max(rel, 1e-17) * _ROUNDING_MARGIN))
    return float(f"1e{power}")


def _with(base: CompareRules, noisy: Sequence[NoisyField]) -> CompareRules:
    learned = {each.pattern: each.tolerance for each in noisy}
    room = FIELDS_MAX - len(base.fields)
    fields = {**base.fields, **dict(list(learned.items())[:room])}
    return CompareRules(default=base.default, fields=fields, clean=base.clean, errors=base.errors)
