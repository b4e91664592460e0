"""Rules of comparison: laws that hold for all of them, and each tolerance against an oracle."""

import array
import itertools
import math
import random
import struct
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.errors import TwinError
from tandem_orchestrator.model.comparing import CompareRules, Tolerance
from tandem_orchestrator.model.values import to_value
from tandem_orchestrator.twins import Cleaned, clean, differences, differences_of_cleaned, unordered
from tandem_orchestrator.twins.compare import DIFFERENCES_MAX
from tandem_orchestrator.twins.showing import SHOWN_BYTES_MAX
from tandem_orchestrator.twins.tolerance import numbers_agree

FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, math.nan, math.inf, 0.5])
ATOMS = (
    st.none() | st.booleans() | st.integers(-2, 2) | FLOATS | st.sampled_from(["1", "1.0", "x", ""])
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=10,
)
FLAGS = st.sampled_from([None, True, False])
TOLERANCES = st.builds(
    Tolerance,
    abs=st.sampled_from([None, None, 0.0, 0.5]),
    rel=st.sampled_from([None, None, 1e-9]),
    ulp=st.sampled_from([None, None, 1]),
    places=st.sampled_from([None, None, 1]),
    numeric=FLAGS, signed_zero=FLAGS, unordered=FLAGS, ignore=st.sampled_from([None, None, True, False]),
)  # fmt: skip
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "0", "1"]), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
RULES = st.builds(
    lambda default, fields: CompareRules(default=default, fields=fields),
    TOLERANCES,
    st.dictionaries(PATTERNS, TOLERANCES, max_size=3),
)


def everywhere(**tolerance: Any) -> CompareRules:
    return CompareRules(default=Tolerance(**tolerance))


def agree(left: Any, right: Any, rules: CompareRules | None = None) -> bool:
    return not differences(left, right, rules)


# --- laws ----------------------------------------------------------------------------------------


@given(VALUES, RULES)
def test_a_value_agrees_with_itself_under_any_rules(value, rules):
    assert agree(value, value, rules)


@settings(max_examples=300)
@given(VALUES, VALUES, RULES)
def test_agreement_is_the_same_from_both_sides(left, right, rules):
    assert agree(left, right, rules) == agree(right, left, rules)


@given(VALUES, VALUES)
def test_rules_that_say_nothing_are_no_rules(left, right):
    assert differences(left, right, CompareRules()) == differences(left, right)


@given(VALUES, VALUES, RULES)
def test_what_is_the_same_agrees_under_any_rules(left, right, rules):
    if agree(left, right):
        assert agree(left, right, rules)


@given(VALUES, VALUES)
def test_ignoring_everything_leaves_nothing(left, right):
    assert agree(left, right, everywhere(ignore=True))


@given(VALUES, VALUES, RULES)
def test_differences_are_bounded_and_plain(left, right, rules):
    found = differences([left] * 40, [right] * 41, rules)
    assert len(found) <= DIFFERENCES_MAX
    for one in found:
        to_value(one.to_value())


@given(RULES)
def test_rules_survive_the_journal(rules):
    assert CompareRules.parse(rules.to_value()) == rules


# --- numbers -------------------------------------------------------------------------------------

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64) | st.sampled_from(
    [0.0, 5e-324, 1.7e308, -1.7e308, 1.0, 1.0000001]
)
NUMBERS = FINITE | st.integers(-(2**63), 2**64 - 1)


@given(NUMBERS, NUMBERS, st.sampled_from([0.0, 1e-9, 0.5, 1e300]))
def test_abs_is_the_exact_distance_but_for_the_rounding_of_floats(a, b, limit):
    exact = abs(Fraction(a) - Fraction(b))
    said = numbers_agree(a, b, Tolerance(abs=limit, numeric=True))
    if exact <= Fraction(limit) * (1 - Fraction(2) ** -50):
        assert said
    if exact > Fraction(limit) * (1 + Fraction(2) ** -50) and exact > 0:
        assert not said


@given(FINITE, st.integers(0, 5))
def test_ulp_counts_steps_from_float_to_float(a, steps):
    b = a
    for _ in range(steps):
        b = math.nextafter(b, math.inf)
    if math.isfinite(b):
        assert numbers_agree(a, b, Tolerance(ulp=steps))
        if steps:
            assert not numbers_agree(a, b, Tolerance(ulp=steps - 1))


@given(st.integers(0, 0x7F7F_FFF0), st.integers(1, 4))
def test_ulp_of_a_buffer_counts_steps_of_its_own_width(bits, steps):
    one, other = (struct.unpack("f", struct.pack("I", n))[0] for n in (bits, bits + steps))
    left, right = (to_value(array.array("f", [x])) for x in (one, other))
    assert agree(left, right, everywhere(ulp=steps))
    assert not agree(left, right, everywhere(ulp=steps - 1)) or one == other


@pytest.mark.parametrize(
    ("left", "right", "tolerance", "expected"),
    [
        (1, 1.0, {}, False),
        (1, 1.0, {"abs": 5.0}, False),
        (1, 1.0, {"numeric": True}, True),
        (True, 1, {"numeric": True}, False),
        (2**63, float(2**63), {"numeric": True}, True),
        (2**63 + 1, float(2**63), {"numeric": True}, False),
        (10, 12, {"abs": 2}, True),
        (10, 12, {"rel": 0.1}, False),
        (100, 109, {"rel": 0.1}, True),
        (149, 151, {"places": -2}, True),
        (0.0, -0.0, {}, False),
        (0.0, -0.0, {"signed_zero": False}, True),
        (0.0, -0.0, {"ulp": 0}, True),
        (math.nan, math.nan, {}, True),
        (math.nan, math.nan, {"nan_equal": False}, False),
        (math.nan, 1.0, {"abs": 1e300}, False),
        (math.inf, math.inf, {"rel": 0.1}, True),
        (math.inf, 1.7e308, {"ulp": 2**52}, False),
        (-1.7e308, 1.7e308, {"abs": 1e308}, False),
        ("1.50", "1.5", {}, False),
        ("1.50", "1.5", {"numeric": True}, True),
        ("1.50", 1.5, {"numeric": True, "places": 2}, True),
        ("1e999", 1.0, {"numeric": True, "rel": 0.5}, False),
        ("٣", 3, {"numeric": True}, False),
        ("nan", math.nan, {"numeric": True}, False),
        (b"a", "a", {}, False),
        (None, False, {}, False),
    ],
)
def test_known_numbers(left, right, tolerance, expected):
    assert agree(left, right, everywhere(**tolerance)) is expected
    assert agree({"x": left}, {"x": right}, everywhere(**tolerance)) is expected


# --- places --------------------------------------------------------------------------------------


def one_of(fields: dict[str, dict[str, Any]], **default: Any) -> CompareRules:
    return CompareRules(
        default=Tolerance(**default), fields={p: Tolerance(**t) for p, t in fields.items()}
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"/a": {"abs": 1.0}}, True),
        ({"/a/0": {"abs": 1.0}}, False),
        ({"/a/*": {"abs": 1.0}}, True),
        ({"/*/1/x": {"abs": 1.0}}, True),
        ({"/a": {"abs": 1.0}, "/a/1/x": {"abs": 0.0}}, False),
        ({"/a/1/*": {"abs": 0.0}, "/a/*/x": {"abs": 1.0}}, False),
        ({"/*/*/x": {"abs": 0.0}, "/a/*/*": {"abs": 1.0}}, True),
        ({"": {"abs": 1.0}}, True),
        ({"/a/1/y": {"abs": 1.0}}, False),
    ],
)
def test_the_pattern_that_tells_most_counts(fields, expected):
    left, right = {"a": [0, {"x": 1.0}]}, {"a": [0, {"x": 1.5}]}
    assert agree(left, right, one_of(fields)) is expected


def test_a_key_with_a_slash_is_escaped():
    assert agree({"a/b": 1, "c~d": 1}, {"a/b": 2, "c~d": 2}, one_of({"/a~1b": {"ignore": True}, "/c~0d": {"ignore": True}}))  # fmt: skip


def test_what_a_place_does_not_say_it_has_from_further_out():
    rules = one_of({"/a": {"unordered": True}, "/a/*": {"numeric": True}}, abs=0.1)
    assert agree({"a": [1.0, 2.0]}, {"a": [2, 1]}, rules)
    assert agree({"a": [1.0, 2.0]}, {"a": [2.05, 1.05]}, rules)
    assert not agree({"b": [1.0]}, {"b": [1]}, rules)


# --- multisets -----------------------------------------------------------------------------------

ITEMS = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.integers(0, 6).map(lambda n: n / 10), st.integers(0, 3)
    ).map(lambda row: {"id": row[0], "at": [row[1], row[2] / 10]}),
    max_size=5,
)


@settings(max_examples=300)
@given(ITEMS, ITEMS, st.sampled_from([0.0, 0.101, 0.25]))
def test_unordered_finds_a_partner_for_each_exactly_if_some_order_does(left, right, limit):
    inner = everywhere(abs=limit)
    expected = len(left) == len(right) and any(
        all(agree(a, b, inner) for a, b in zip(left, order, strict=True))
        for order in itertools.permutations(right)
    )
    assert agree(left, right, one_of({"": {"unordered": True}}, abs=limit)) is expected


CROSSED = (
    [{"a": 0.0, "b": 1.0}, {"a": 0.4, "b": 0.0}],
    [{"a": 0.2, "b": 0.0}, {"a": 0.3, "b": 1.0}],
)


def test_items_that_no_sorting_brings_together_find_their_partners(monkeypatch):
    rules = one_of({"": {"unordered": True}}, abs=0.5)
    assert agree(*CROSSED, rules)
    monkeypatch.setattr(unordered, "_augment", lambda *given: None)
    assert not agree(*CROSSED, rules), "the search for partners is what finds them"


def test_a_large_multiset_costs_what_its_items_cost(monkeypatch):
    rng = random.Random(3)
    left = [{"id": i, "x": rng.random()} for i in range(2_000)]
    right = [{"id": row["id"], "x": row["x"] + 1e-9} for row in left]
    rng.shuffle(right)
    spent: list[int] = []
    real = unordered.Budget.spend
    monkeypatch.setattr(unordered.Budget, "spend", lambda self, n: spent.append(n) or real(self, n))
    assert agree(left, right, one_of({"": {"unordered": True}}, abs=1e-6))
    assert sum(spent) < 10 * len(left)


def test_a_search_that_would_not_end_stops_and_says_they_differ(monkeypatch):
    monkeypatch.setattr(unordered, "MATCHING_STEPS_MAX", 2_000)
    monkeypatch.setattr(unordered.Budget.__init__, "__defaults__", (2_000,))
    rng = random.Random(5)
    left = [[rng.random() for _ in range(4)] for _ in range(300)]
    right = [[rng.random() for _ in range(4)] for _ in range(300)]
    looked = []
    real = unordered.Budget.spend
    monkeypatch.setattr(
        unordered.Budget, "spend", lambda self, n: looked.append(n) or real(self, n)
    )
    assert not agree(left, right, one_of({"": {"unordered": True}}, abs=0.05))
    assert len(looked) < 4_000 + 2 * 300


def test_the_one_item_without_partner_is_looked_into():
    rules = one_of({"": {"unordered": True}})
    (found,) = differences([{"a": 1, "b": 1}, 7], [7, {"a": 1, "b": 2}], rules)
    assert (found.path, found.left, found.right) == ("/0/b", 1, 2)


# --- hooks ---------------------------------------------------------------------------------------


def test_hooks_run_over_copies_the_outermost_first():
    output = {"a": [{"t": " x "}], "b": 1}
    rules = CompareRules(
        clean=lambda whole: {"a": whole["a"]},
        fields={
            "/a/*/t": Tolerance(clean=str.strip),
            "/a": Tolerance(clean=lambda a: [*a, {"t": "y "}]),
        },
    )
    assert clean(output, rules) == Cleaned({"a": [{"t": "x"}, {"t": "y"}]})
    assert output == {"a": [{"t": " x "}], "b": 1}


def test_a_hook_gets_what_a_handler_would_get():
    seen = []
    rules = CompareRules(clean=lambda value: seen.append(type(value)) or value)
    clean(to_value(array.array("d", [1.0])), rules)
    assert seen == [array.array]


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (lambda v: v / 0, "raised ZeroDivisionError"),
        (lambda v: str(v), "gave str, expected int"),
        (lambda v: object(), "object is not a value"),
        (lambda v: {}["x"], "raised KeyError"),
        ("nowhere.at.all:hook", "is not here"),
    ],
)
def test_what_a_hook_does_wrong_is_a_difference_that_names_it(hook, text):
    rules = CompareRules(fields={"/a": Tolerance(clean=hook)})
    (found,) = differences({"a": 1}, {"a": 1}, rules)
    assert found.path == "/a"
    assert "clean hook" in found.reason
    assert text in found.reason
    assert found.reason.isprintable()


def test_a_hook_that_failed_on_one_side_says_on_which():
    left, right = Cleaned({"a": 1}, {"/a": "clean hook f raised E"}), Cleaned({"a": 1})
    (found,) = differences_of_cleaned(left, right)
    assert (found.left, found.right) == ("clean hook f raised E", "cleaned")


def test_hooks_by_name_are_found_again():
    rules, table = CompareRules(clean=lambda v: 0, fields={"/a": Tolerance(clean=len)}).named("s.r")
    assert sorted(table) == ["$clean:s.r", "$clean:s.r/a"]
    assert CompareRules.parse(rules.to_value()) == rules
    assert clean(5, CompareRules(clean=rules.clean), table) == Cleaned(0)


# --- refusals and excerpts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tolerance(abs=-1.0),
        lambda: Tolerance(abs=math.nan),
        lambda: Tolerance(abs=math.inf),
        lambda: Tolerance(abs=True),
        lambda: Tolerance(rel=1.0),
        lambda: Tolerance(ulp=1.5),
        lambda: Tolerance(places=19),
        lambda: Tolerance(clean="not a name"),
        lambda: CompareRules(fields={"a": Tolerance()}),
        lambda: CompareRules(fields={7: Tolerance()}),
        lambda: CompareRules(fields={"/a": {"abs": 1}}),
        lambda: CompareRules(fields={"/a" * 65: Tolerance()}),
        lambda: CompareRules(fields={f"/{i}": Tolerance() for i in range(257)}),
        lambda: CompareRules(default=Tolerance(clean=len)),
        lambda: CompareRules(errors={int: "x"}),
        lambda: CompareRules(errors={"A": ""}),
        lambda: CompareRules.parse({"fields": {"/a": {"abbs": 1}}}),
    ],
)
def test_rules_that_cannot_be_used_are_refused_when_they_are_made(make):
    with pytest.raises(TwinError):
        make()


def test_large_values_are_shown_in_excerpts_around_what_differs():
    (found,) = differences("x" * 10_000 + "a" + "y" * 900, "x" * 10_000 + "b" + "y" * 900)
    assert "differs at character 10000 of 10901" in found.left
    (found,) = differences({"a": list(range(10_000))}, {})
    assert len(found.left) <= SHOWN_BYTES_MAX
    assert "10000 items" in found.left


def test_of_a_buffer_the_first_elements_that_differ_are_listed():
    left = to_value(array.array("d", range(100_000)))
    right = to_value(array.array("d", [x + (x % 1000 == 7) for x in range(100_000)]))
    found = differences(left, right)
    assert [d.path for d in found] == [f"/$buffer/data/{i * 1000 + 7}" for i in range(10)]
    assert (found[0].left, found[0].right) == (7.0, 8.0)


@pytest.mark.parametrize(
    ("left", "right", "rules", "expected"),
    [
        # The first finds its partner only if the second gives it up for another.
        ([[0.0, 0.6], [0.1, 0.0]], [[0.3, 0.3], [0.35, 0.9]], {"abs": 0.5}, True),
        ([0.0, 1.0], [1.0, -0.0], {}, False),
        ([0.0, 1.0], [1.0, -0.0], {"signed_zero": False}, True),
        ([math.nan, 1.0], [1.0, math.nan], {}, True),
        ([math.nan, 1.0, 0.0], [1.0, 0.0, math.nan], {"abs": 0.1}, True),
        ([1, "1", True], [True, 1, "1"], {}, True),
        ([1, 1], [1, True], {}, False),
    ],
)
def test_known_multisets(left, right, rules, expected):
    assert agree(left, right, one_of({"": {"unordered": True}}, **rules)) is expected
    assert agree(right, left, one_of({"": {"unordered": True}}, **rules)) is expected


@pytest.mark.parametrize("swapped", [False, True])
def test_one_item_too_many_in_a_large_multiset_is_the_one_difference(swapped):
    few = [{"x": i * 0.1} for i in range(1, 3_000)]
    more = [{"x": 0.0}, *({"x": i * 0.1 * (1 + 1e-12)} for i in range(1, 3_000))]
    rules = one_of({"": {"unordered": True}}, rel=1e-9)
    assert len(differences(*((more, few) if swapped else (few, more)), rules)) == 1


def test_a_place_whose_hook_failed_is_reported_once():
    left, right = (
        Cleaned({"a": 1, "b": 1}, {"/a": "clean hook f raised E"}),
        Cleaned({"a": 2, "b": 2}),
    )
    assert [d.path for d in differences_of_cleaned(left, right)] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("left", "right"), [({"m": 1}, {"m": 2}), ({"m": 1}, {}), ({"m": [1]}, {"m": {}})]
)
def test_an_excused_place_agrees_also_where_what_is_not_excused_in_it_cannot_be(left, right):
    assert agree(left, right, one_of({"/m": {"ignore": True}, "/m/b": {"ignore": False}}))


def test_buffers_of_another_kind_differ_unless_they_are_compared_as_numbers():
    left, right = (
        to_value(kind) for kind in (array.array("d", [1.0]), memoryview(array.array("d", [1.0])))
    )
    assert [d.path for d in differences(left, right)] == ["/$buffer/kind"]
    assert [d.path for d in differences(left, right, everywhere(abs=1.0))] == ["/$buffer/kind"]
    assert agree(left, right, everywhere(numeric=True))
    shaped = {"$buffer": {**left["$buffer"], "shape": [1, 1]}}
    assert [d.path for d in differences(left, shaped, everywhere(numeric=True))] == [
        "/$buffer/shape"
    ]
