"""How often twins may differ at most, given how often they did: exact bounds at 95 %.

Without a conflict the bound is close to 3/n, the rule of three (J. A. Hanley, A. Lippman-Hand, "If
Nothing Goes Wrong, Is Everything All Right?", JAMA 249, 1983). In general it is the upper limit of
C. J. Clopper and E. S. Pearson, "The Use of Confidence or Fiducial Limits", Biometrika 26, 1934,
one-sided. It holds where inputs are drawn as those to come will be.
"""

from __future__ import annotations

import math

CONFIDENCE = 0.95
"""How sure a bound is."""


def upper_bound(conflicts: int, comparisons: int) -> float:
    """Give the rate of conflicts that is not exceeded, at 95 %; 1.0 where nothing was compared.

    Raises: ValueError if there are more conflicts than comparisons, or fewer than none.
    """
    if not 0 <= conflicts <= comparisons:
        raise ValueError(f"conflicts={conflicts}: expected 0 to comparisons={comparisons}")
    if conflicts == comparisons:
        return 1.0
    if conflicts == 0:
        return -math.expm1(math.log1p(-CONFIDENCE) / comparisons)
    low, high = conflicts / comparisons, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(conflicts, comparisons, middle) > 1.0 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def count_text(conflicts: int, comparisons: int) -> str:
    """State how often twins differed, as ``1 conflict in 3,000 comparisons``."""
    return (
        f"{conflicts:,} conflict{'' if conflicts == 1 else 's'} in {comparisons:,} "
        f"comparison{'' if comparisons == 1 else 's'}"
    )


def bound_text(conflicts: int, comparisons: int) -> str:
    """State a bound for people, as ``0 conflicts in 3,000 comparisons: rate below 0.1 % at 95 %``."""
    counted = count_text(conflicts, comparisons)
    if not comparisons:
        return f"{counted}: nothing is known of the rate"
    percent = 100.0 * upper_bound(conflicts, comparisons)
    digits = max(0, 1 - math.floor(math.log10(percent)))
    shown = f"{math.ceil(percent * 10**digits - 1e-9) / 10**digits:.{digits}f}"
    shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return f"{counted}: rate below {shown} % at 95 %"


def _at_most(conflicts: int, comparisons: int, rate: float) -> float:
    """Give the chance of at most so many conflicts at a rate: 1 - I_rate(k + 1, n - k)."""
    return 1.0 - _incomplete_beta(conflicts + 1.0, float(comparisons - conflicts), rate)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (DLMF 8.17.22, Lentz)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    tiny = 1e-300
    c, d = 1.0, 1.0 / max(1.0 - (a + b) * x / (a + 1.0), tiny)
    fraction = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return math.exp(log_front) * fraction / a
