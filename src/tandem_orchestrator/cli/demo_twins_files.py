"""The files of the project that ``tandem demo twins`` writes."""

from __future__ import annotations

INPUTS = 4000
"""Prices that are compared: ``k / 4000 * 100`` for each k below."""

_MONEY_PY = '''\
"""Rounding money: as it is meant, in Python; and a fast way in C that somebody wrote later."""

from decimal import ROUND_HALF_UP, Decimal

from tandem_orchestrator import Agent

money = Agent("money")


@money.action("prices", effects="none", deterministic=True)
def prices(payload):
    """Give {"count": n} prices from 0 up to 100."""
    count = payload["count"]
    return [k / count * 100 for k in range(count)]


@money.action("round", effects="none", deterministic=True)
def round_price(payload):
    """Round {"v": price} to whole cents, half up, as on an invoice."""
    cents = Decimal(str(payload["v"])).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return float(cents)


round_price.twin("c", library="libmoney.so", symbol="round_price", signature="f64(f64 v)")
'''

_MONEY_C = """\
/* The usual idiom. It looks right. */
#include <math.h>

double round_price(double v)
{
    return round(v * 100) / 100;
}
"""

_DIGITS_C = """\
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The decimal digits that people see: the fewest that still mean this double. */
static void shortest(double v, char *text, size_t bytes)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, bytes, "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v)
            break;
    }
}

"""

_FIXED_C = (
    "/* Rounds what is written, not what is stored: 0.575 is stored as 0.57499999999999996. */\n"
    + _DIGITS_C
    + """\
double round_price(double v)
{
    if (!isfinite(v) || fabs(v) >= 1e13)
        return v;
    char text[40], digits[40];
    shortest(fabs(v), text, sizeof text);
    const int exponent = atoi(strchr(text, 'e') + 1);
    size_t total = 0;
    for (const char *at = text; *at != 'e'; at++)
        if (*at != '.')
            digits[total++] = *at;
    /* Digits before this place are whole cents; the one at it decides. */
    const long place = exponent + 3L;
    double cents = 0;
    for (long i = 0; i < place; i++)
        cents = cents * 10 + (i < (long)total ? digits[i] - '0' : 0);
    if (place >= 0 && place < (long)total && digits[place] >= '5')
        cents += 1;
    return copysign(cents / 100, v);
}
"""
)

_REGRESSION_C = _FIXED_C.replace(
    "/* Rounds what is written, not what is stored: 0.575 is stored as 0.57499999999999996. */",
    "/* Somebody made it faster: 15 digits are enough for everybody. */",
).replace("digits <= 17", "digits <= 15")

_MAKEFILE = """\
libmoney.so: money.c
\t$(CC) -O2 -Wall -shared -fPIC -o $@ $< -lm
"""

_COMPARE = f"""\
# Both implementations on each price; where they differ, a conflict with a capsule.
name: compare
mode: redundant
steps:
  - id: prices
    agent: money
    action: prices
    payload: {{count: {INPUTS}}}
  - id: rounded
    agent: money
    action: round
    for_each: {{$ref: prices}}
    payload: {{v: {{$ref: item}}}}
dependencies: {{rounded: [prices]}}
"""

_USE = _COMPARE.replace(
    "# Both implementations on each price; where they differ, a conflict with a capsule.",
    "# As in production: one implementation does the work, the ladder says which.",
).replace("name: compare\nmode: redundant", "name: use\nmode: intelligent")

_CONFIG = """\
{
  "journal": {"path": "journal.db"},
  "twins": {"canary_share": 1.0, "min_speedup": 0.0}
}
"""

_TEST_MONEY = '''\
"""The project's own tests. They call Python, and know nothing of the twin in C."""

from money import round_price


def test_half_a_cent_goes_up():
    assert round_price({"v": 0.145}) == 0.15


def test_less_than_half_a_cent_goes_down():
    assert round_price({"v": 0.144}) == 0.14
'''

FILES = {
    "money.py": _MONEY_PY,
    "money.c": _MONEY_C,
    "fixed.c": _FIXED_C,
    "regression.c": _REGRESSION_C,
    "test_money.py": _TEST_MONEY,
    "Makefile": _MAKEFILE,
    "compare.yaml": _COMPARE,
    "use.yaml": _USE,
    "tandem_config.json": _CONFIG,
}
"""File name to text."""
