"""Exported tests are Python that says what it claims, and their values come back exactly."""

import ast
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.errors import CapsuleError
from tandem_orchestrator.twins import Capsule, make_capsule
from tandem_orchestrator.twins.capsule_file import capsule_from_text
from tandem_orchestrator.twins.export import INLINE_CHARS_MAX, export, literal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=6)
    | st.dictionaries(st.text(max_size=9), inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


def made(payload: Any, **more: Any) -> Capsule:
    outcomes = [
        {"implementation": name, "outcome": "succeeded", "output": n, "failure": None,
         "seconds": 0.0}
        for n, name in enumerate(("python", "c"))
    ]  # fmt: skip
    given: dict[str, Any] = {
        "id": "r.c1", "run": "r", "step": "s", "agent": "money", "action": "round",
        "payload": payload, "outcomes": outcomes,
        "fields": [{"path": "", "left": 0, "right": 1}],
    }  # fmt: skip
    return make_capsule(**given | more)


def bits(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    if isinstance(value, dict):
        return [(key, bits(part)) for key, part in value.items()]
    return [bits(part) for part in value] if isinstance(value, list) else (type(value), value)


@given(VALUES)
def test_a_literal_gives_the_value_back(value):
    assert bits(eval(literal(value))) == bits(value)


@given(VALUES)
def test_lines_are_of_a_readable_length_where_values_can_be_parted(value):
    lines = literal({"a": value, "b": [1] * 60}).splitlines()

    assert len(lines) > 2
    assert all(len(line) <= 88 or not line.strip().startswith(("[", "{")) for line in lines), lines


@pytest.mark.parametrize(
    "payload",
    [{"v": 0.005}, {"v": -0.0}, None, [], "", '"""', "\\", "class", {"x": math.nan}, b"\x00",
     {"note": "line\nline"}, {"long": ["word"] * 5000}],
    ids=repr,
)  # fmt: skip
def test_a_test_file_is_python_and_names_its_claim(payload):
    files = export(made(payload), ("money",))
    tree = ast.parse(files.test_source)
    (test,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]

    assert files.test_name.startswith("test_money_round") and files.test_name.endswith(".py")
    assert test.name.startswith("test_money_round_python_and_c_agree_on")
    assert "run_twins" in files.test_source
    assert bits(capsule_from_text(files.capsule_text)[0].payload) == bits(made(payload).payload)


def test_an_input_that_is_short_stands_in_the_test_and_names_it():
    files = export(made({"v": 0.005}), ("money",))

    assert 'PAYLOAD = {"v": 0.005}' in files.test_source
    assert "def test_money_round_python_and_c_agree_on_v_0_005():" in files.test_source
    assert files.capsule_name == "money_round_v_0_005.capsule.json"


def test_an_input_that_is_long_is_read_from_the_capsule_beside():
    files = export(made(["x" * INLINE_CHARS_MAX]), ())

    assert f'read_capsule_beside(__file__, "{files.capsule_name}").payload' in files.test_source
    assert len(files.test_source) < INLINE_CHARS_MAX


def test_a_capsule_without_its_input_is_not_exported():
    with pytest.raises(CapsuleError, match="cannot be run again"):
        export(made("x" * 9000, bytes_max=4096), ())
