"""The modes ADAPTIVE and LEARNING, made of what any user's own mode is made of: a ``Policy``.

ADAPTIVE takes who will answer first by the load of this moment. LEARNING learns it: a contextual
bandit for each action, by size and load.

Source: disjoint LinUCB of L. Li, W. Chu, J. Langford, R. Schapire, "A Contextual-Bandit Approach to
Personalized News Article Recommendation", WWW 2010, algorithm 1; what is old is forgotten as in
Y. Russac, C. Vernade, O. Cappé, "Weighted Linear Bandits for Non-Stationary Environments",
NeurIPS 2019.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from tandem_orchestrator.model.policies import Policy, RouteQuestion

BUSY_AT = 0.8
"""Share of a layer's workers in use from which on it is taken to answer more slowly."""
ALPHA = 0.3
"""How much an implementation's uncertainty counts in its favour."""
FORGET = 0.99
"""What remains of a sample's weight after one more of the same action."""
RIDGE = 0.1
"""Weight of knowing nothing."""
FEATURES = 5
"""Constant, size, its square, load of the own layer, highest load of another."""
ACTIONS_MAX = 4096
"""Actions that are learned about; the one used longest ago goes first."""
FAILED_NEPERS = 5.0
"""How many times slower, in logarithms, than usual a failure counts as."""

Vector = list[float]
"""``FEATURES`` numbers."""


def adaptive_policy() -> Policy:
    """Make the policy of ADAPTIVE."""
    return Policy(route=answers_first)


def learning_policy() -> Policy:
    """Make the policy of LEARNING, which has learned nothing yet."""
    bandit = LinUcb()
    return Policy(route=bandit.route, learn=bandit.learn)


def answers_first(question: RouteQuestion) -> str:
    """Give who is expected to answer first: cost, times how crowded its layer is.

    Where not all costs are known, the least crowded; else, as among equals, C.
    """

    def expected(name: str) -> tuple[float, bool]:
        crowded = max(1.0, question.load.get(question.layers.get(name, name), 0.0) / BUSY_AT)
        cost = question.costs[name] if len(question.costs) == len(question.allowed) else 1.0
        return cost * crowded, name != "c"

    return min(question.allowed, key=expected)


@dataclass(slots=True)
class _Arm:
    matrix: list[Vector] = field(
        default_factory=lambda: [
            [RIDGE * (i == k) for k in range(FEATURES)] for i in range(FEATURES)
        ]
    )
    """Sum of the contexts' outer products, and the ridge."""
    rewards: Vector = field(default_factory=lambda: [0.0] * FEATURES)
    samples: int = 0


@dataclass(slots=True)
class _Model:
    base: float
    """Logarithm of the first seconds; rewards are relative to it."""
    arms: dict[str, _Arm] = field(default_factory=dict)


class LinUcb:
    """One bandit for each action; its arms are the implementations. Belongs to one loop."""

    def __init__(self) -> None:
        self._models: OrderedDict[tuple[str, str], _Model] = OrderedDict()

    def route(self, question: RouteQuestion) -> str:
        """Choose the arm with the highest upper bound; first each gets as many tries as features."""
        model = self._models.get((question.agent, question.action))
        if model is None:
            return "c" if "c" in question.allowed else question.allowed[0]
        fresh = [
            (samples, name)
            for name in question.allowed
            if (samples := model.arms[name].samples if name in model.arms else 0) < FEATURES
        ]
        if fresh:
            return min(fresh)[1]
        return max(
            question.allowed, key=lambda name: _upper_bound(model.arms[name], question, name)
        )

    def learn(self, question: RouteQuestion, name: str, seconds: float | None) -> None:
        """Take in what a choice gave; ``seconds`` is None where it did not succeed."""
        key = (question.agent, question.action)
        model = self._models.get(key)
        if model is None:
            model = self._models[key] = _Model(math.log(max(seconds or 1e-3, 1e-9)))
            if len(self._models) > ACTIONS_MAX:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        reward = -FAILED_NEPERS
        if seconds is not None:
            reward = model.base - math.log(max(seconds, 1e-9))
        for other in model.arms.values():
            _forget(other)
        arm = model.arms.setdefault(name, _Arm())
        context = _context(question, name)
        for i, one in enumerate(context):
            arm.rewards[i] += reward * one
            for k, another in enumerate(context):
                arm.matrix[i][k] += one * another
        arm.samples += 1


def _context(question: RouteQuestion, name: str) -> Vector:
    size = min(math.log2(question.bytes + 1) / 20.0, 2.0)
    layer = question.layers.get(name, name)
    own = min(question.load.get(layer, 0.0), 4.0)
    others = (min(share, 4.0) for each, share in question.load.items() if each != layer)
    return [1.0, size, size * size, own, max(others, default=0.0)]


def _upper_bound(arm: _Arm, question: RouteQuestion, name: str) -> float:
    context = _context(question, name)
    theta, spread = _solve(arm.matrix, arm.rewards), _solve(arm.matrix, context)
    expected = sum(a * b for a, b in zip(theta, context, strict=True))
    variance = sum(a * b for a, b in zip(spread, context, strict=True))
    return expected + ALPHA * math.sqrt(max(variance, 0.0))


def _forget(arm: _Arm) -> None:
    for i in range(FEATURES):
        arm.rewards[i] *= FORGET
        for k in range(FEATURES):
            arm.matrix[i][k] *= FORGET
        arm.matrix[i][i] += (1.0 - FORGET) * RIDGE


def _solve(matrix: list[Vector], right: Vector) -> Vector:
    """Solve a small positive definite system by elimination (the ridge keeps it so)."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(FEATURES):
        pivot = rows[i][i]
        for k in range(i + 1, FEATURES):
            factor = rows[k][i] / pivot
            if factor:
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    solution = [0.0] * FEATURES
    for i in reversed(range(FEATURES)):
        known = sum(rows[i][k] * solution[k] for k in range(i + 1, FEATURES))
        solution[i] = (rows[i][FEATURES] - known) / rows[i][i]
    return solution
