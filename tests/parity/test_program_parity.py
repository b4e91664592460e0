"""Random programs end alike in C and in the plain Python interpreter.

``td_programs`` loads what ``compile_program`` writes and runs it with a few test actions; the
oracle runs the planned steps themselves. Budgets and the order in which jobs of the pool come
back are varied: neither may show.
"""

import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator.layers.native.program import compile_program, encode_run
from tandem_orchestrator.layers.native.program_outcome import StepOutcome, decode_outcomes
from tandem_orchestrator.layers.native.program_reference import ActionFailed, run_reference
from tandem_orchestrator.model.plans import PlannedStep
from tandem_orchestrator.model.retry import RetryPolicy

OK = 0


def _fail(payload, inputs):
    if isinstance(payload, dict) and isinstance(payload.get("fail"), str):
        raise ActionFailed("TestError", payload["fail"])
    return payload


def _given(payload, inputs):
    return [payload, inputs]


ACTIONS = {
    ("system", "noop"): lambda payload, inputs: None,
    ("system", "echo"): lambda payload, inputs: payload,
    ("test", "fail"): _fail,
    ("test", "given"): _given,
    ("test", "slow_given"): _given,
    ("test", "slow_fail"): _fail,
    ("test", "far_given"): _given,
    ("test", "far_fail"): _fail,
}
IDS = {name: i + 1 for i, name in enumerate(ACTIONS)}
IDS[("test", "far_given")], IDS[("test", "far_fail")] = 9, 10  # sent away, as to an agent
NAMES = ("a", "b", "c", "0", "1", "x/y", "~", "")
SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, -1, 127, 128, 2**53, 2**53 + 1, 2**63, 2**64 - 1, -(2**63)])
    | st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0**53, 2.0**63, 2.0**64, float("inf")])
    | st.just(float("nan"))
    | st.sampled_from(["", "a", "b", "ab", "é", "zé", "\U0001f600"])
    | st.sampled_from([b"", b"a", b"ab"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = st.lists(st.sampled_from((*NAMES, "01", "-1", "٢", "99999999999")), max_size=2)
FAILURES = st.sampled_from(["no", "é", ""]).map(lambda text: {"fail": text})


def _ref(draw, producers, *, item=False):
    names = [*producers, "inputs", *(["item"] if item else [])]
    name = draw(st.sampled_from(names))
    form = {"$ref": name + "".join("/" + t.replace("~", "~0").replace("/", "~1") for t in path)
            if not (path := draw(PATHS)) else
            name + "#" + "".join("/" + t.replace("~", "~0").replace("/", "~1") for t in path)}  # fmt: skip
    if draw(st.integers(0, 2)) == 0:
        form["default"] = draw(VALUES)
    return form


def _payload(draw, producers, *, item=False, depth=0):
    kind = draw(st.integers(0, 8 if depth < 2 else 4))
    if kind <= 1:
        return draw(VALUES)
    if kind == 2:
        return draw(FAILURES)
    if kind <= 4:
        return _ref(draw, producers, item=item)
    if kind == 5:
        return {"$literal": {"$ref": "nowhere"}}
    if kind == 6:
        count = draw(st.integers(0, 3))
        return [_payload(draw, producers, item=item, depth=depth + 1) for _ in range(count)]
    keys = draw(st.lists(st.sampled_from((*NAMES, "fail")), max_size=3, unique=True))
    return {key: _payload(draw, producers, item=item, depth=depth + 1) for key in keys}


def _condition(draw, producers, depth=0):
    kind = draw(st.integers(0, 6 if depth < 2 else 3))
    if kind == 4:
        return {"not": _condition(draw, producers, depth + 1)}
    if kind >= 5:
        group = "all" if kind == 5 else "any"
        count = draw(st.integers(0, 3))
        return {group: [_condition(draw, producers, depth + 1) for _ in range(count)]}
    operator = draw(st.sampled_from(
        ["eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "exists", "truthy", None]
    ))  # fmt: skip
    condition = {"ref": _ref(draw, producers)}
    if operator is not None:
        condition["op"] = operator
    if operator == "in":
        condition["value"] = draw(st.lists(VALUES, max_size=3) | st.sampled_from(["", "abc"]))
    elif operator not in ("exists", "truthy", None):
        condition["value"] = draw(VALUES)
    return condition


@st.composite
def plans(draw, blocking=False):
    """Give (steps, wanted, inputs, outputs of steps outside)."""
    outers = draw(st.lists(st.sampled_from(["out1", "out2"]), unique=True))
    total = draw(st.integers(1, 7))
    names = sorted(ACTIONS)
    if not blocking:
        names = [name for name in names if not name[1].startswith(("slow", "far"))]
    steps = []
    for i in range(total):
        earlier = [step.id for step in steps]
        needs = draw(st.lists(st.sampled_from([*earlier, *outers]), unique=True, max_size=3)) if (
            earlier or outers
        ) else []  # fmt: skip
        each = None
        if draw(st.integers(0, 3)) == 0:
            each = draw(
                st.lists(VALUES | FAILURES, max_size=4) | st.just(_ref(draw, needs)) | VALUES
            )
        agent, action = draw(st.sampled_from(names))
        retry = draw(st.integers(0, 5)) == 0 and each is None
        steps.append(
            PlannedStep(
                id=f"s{i}",
                agent=agent,
                action=action,
                payload=_payload(draw, needs, item=each is not None),
                depends_on=tuple(needs),
                inputs_from=tuple((n, n) for n in needs if draw(st.booleans())),
                # In the pool the order of ends is not the order of starts: nothing may stop.
                can_fail=blocking or draw(st.integers(0, 2)) > 0,
                retry=RetryPolicy(max_retries=1) if retry and not blocking else RetryPolicy(),
                for_each=each,
                when=_condition(draw, needs) if draw(st.integers(0, 3)) == 0 else None,
                on_item_failure="collect" if blocking else draw(st.sampled_from(["fail", "collect"])),
            )
        )  # fmt: skip
    inputs = draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2))
    outputs = {name: draw(VALUES) for name in outers if draw(st.booleans())}
    wanted = {step.id for step in steps if draw(st.integers(0, 3)) > 0}
    return steps, wanted, inputs, outputs


@pytest.fixture(scope="session")
def native_programs():
    folder = os.environ.get("TANDEM_NATIVE_TOOLS", "")
    program = Path(folder, "td_programs")
    if not folder or not program.is_file():
        reason = f"TANDEM_NATIVE_TOOLS={folder!r} holds no td_programs (`make test` builds it)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    def ask(records, *options):
        asked = b"".join(struct.pack("<I", len(part)) + part for both in records for part in both)
        done = subprocess.run([program, *options], input=asked, capture_output=True, timeout=50,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        assert done.stderr == b""
        lines = [line.split(" ", 1) for line in done.stdout.decode().splitlines()]
        return [(int(status), text) for status, text in lines]

    return ask


def normal(value):
    """Make NaN equal to itself, 1 differ from 1.0 and True, and keep the order of keys."""
    if isinstance(value, dict):
        return ("dict", [(key, normal(item)) for key, item in value.items()])
    if isinstance(value, list):
        return ("list", [normal(item) for item in value])
    return (type(value).__name__, repr(value))


def shown(rows: list[StepOutcome]):
    return [
        (row.code, normal(row.output), row.failure_type, row.failure_message, tuple(row.detail))
        for row in rows
    ]


def in_both(native_programs, plan, *options):
    """Run one plan both ways; gives (C, oracle) in a form that can be compared."""
    steps, wanted, inputs, outputs = plan
    program = compile_program(steps, IDS, wanted)
    body = encode_run(program, inputs, {k: v for k, v in outputs.items() if k in program.outers})
    [(status, text)] = native_programs([(program.data, body)], *options)
    assert status == OK, text
    said = decode_outcomes(program, bytes.fromhex(text))
    expected = run_reference(
        steps, ACTIONS, wanted, inputs=inputs, outputs=outputs, outers=program.outers
    )
    return shown(said), shown(expected)


SLOW = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow,
                HealthCheck.function_scoped_fixture, HealthCheck.data_too_large])  # fmt: skip


@SLOW
@given(plans())
def test_random_programs_end_as_the_interpreter_says(native_programs, plan):
    said, expected = in_both(native_programs, plan)
    assert said == expected


@SLOW
@given(plans(), st.sampled_from(["1", "3"]))
def test_a_program_that_pauses_after_every_step_ends_the_same(native_programs, plan, budget):
    said, expected = in_both(native_programs, plan, budget)
    assert said == expected


@SLOW
@given(plans(blocking=True), st.sampled_from(["oldest", "newest"]))
def test_jobs_and_remote_calls_may_come_back_in_any_order(native_programs, plan, order):
    said, expected = in_both(native_programs, plan, "1", order)
    assert said == expected


EDGES = [
    None, False, True, 0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63),
    0.0, -0.0, 1.0, 1.5, -1.5, 2.0**53, 2.0**63, 2.0**64, -(2.0**63), float("inf"), float("-inf"),
    float("nan"), "", "a", "ab", "é", b"", b"a", [], [1], [1.0, "a"], {}, {"a": 1}, {"a": 1, "b": 2},
    {"b": 2.0, "a": 1}, {"a": 1, "b": 3}, [{"b": 2, "a": True}, float("nan")],
]  # fmt: skip


def test_every_comparison_of_edge_values_is_the_same(native_programs):
    operators = ("eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "truthy", "exists")
    steps = []
    for left in range(len(EDGES)):
        for op in operators:
            for right in EDGES if op not in ("truthy", "exists") else [None]:
                if op == "in" and not isinstance(right, list | str):
                    continue
                when = {"ref": f"inputs#/v/{left}", "op": op}
                if op not in ("truthy", "exists"):
                    when["value"] = right
                steps.append(
                    PlannedStep(id=f"s{len(steps)}", agent="system", action="noop", when=when)
                )
    said, expected = in_both(native_programs, (steps, set(), {"v": EDGES}, {}))
    wrong = [step.when for step, c, py in zip(steps, said, expected, strict=True) if c != py]
    assert wrong == []
    assert 1000 < sum(row[0] == 0 for row in said) < len(steps) - 1000


@pytest.mark.parametrize(
    "token", ["0", "1", "2", "3", "-1", "01", "٢", "4294967295", "99999999999"]
)
def test_a_list_ends_where_it_ends(native_programs, token):
    ref = {"$ref": f"inputs#/v/{token}", "default": "none"}
    step = PlannedStep(id="a", agent="system", action="echo", payload=[ref, ref])
    said, expected = in_both(native_programs, ([step], {"a"}, {"v": [7, [8]], "w": 9}, {}))
    assert said == expected


@pytest.mark.parametrize("action", ["given", "slow_given", "far_given"])
def test_an_action_sees_its_inputs_in_order_and_null_for_what_gave_nothing(native_programs, action):
    steps = [
        PlannedStep(id="z", agent="system", action="echo", payload={"k": [1]}),
        PlannedStep(id="a", agent="test", action="fail", payload={"fail": "no"}, can_fail=True),
        PlannedStep(
            id="b", agent="test", action=action, payload=1, depends_on=("z", "a"),
            inputs_from=(("z", "z"), ("a", "a"), ("o", "out")),
        ),
    ]  # fmt: skip
    said, expected = in_both(native_programs, (steps, {"b"}, {}, {"out": "outer"}))
    assert said == expected
    assert said[2][1] == normal([1, {"z": {"k": [1]}, "a": None, "o": "outer"}])


@pytest.mark.parametrize("depth", [27, 28, 29, 30, 31, 32])
def test_depth_is_bounded_alike_in_payloads_inputs_and_outputs(native_programs, depth):
    deep = 0
    for _ in range(depth):
        deep = [deep]
    steps = [
        PlannedStep(id="a", agent="system", action="echo", payload=deep),
        PlannedStep(id="b", agent="system", action="echo", payload=[{"$ref": "a"}, 1],
                    depends_on=("a",), can_fail=True),
        PlannedStep(id="c", agent="system", action="echo", depends_on=("a",),
                    inputs_from=(("a", "a"),), can_fail=True),
    ]  # fmt: skip
    said, expected = in_both(native_programs, (steps, {"a", "b", "c"}, {}, {}))
    assert said == expected
