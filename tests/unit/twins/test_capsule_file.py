"""A capsule file holds what the capsule holds, exactly, and refuses what is none."""

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.errors import CapsuleError
from tandem_orchestrator.twins import Capsule, make_capsule
from tandem_orchestrator.twins.capsule_file import capsule_from_text, capsule_to_text

KEYS = st.text("ab", max_size=2) | st.sampled_from(["$bytes", "$float", "$object", "$literal"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
    | st.text(max_size=5) | st.binary(max_size=5)
    | st.sampled_from([-0.0, math.inf, -math.inf, "nan"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def exact(value: Any) -> Any:
    """Give a form in which equal means the same to the last bit."""
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else struct.pack("<d", value))
    if isinstance(value, dict):
        return {key: exact(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [exact(part) for part in value]
    return (type(value), value)


def made(payload: Any) -> Capsule:
    return make_capsule(
        id="r.c1", run="r", step="s", agent="a", action="b", payload=payload, outcomes=[],
        fields=[], hooks=(),
    )  # fmt: skip


@given(VALUES)
def test_what_is_written_is_read_back_to_the_last_bit(payload):
    text = capsule_to_text(made(payload), ("money",))
    capsule, modules = capsule_from_text(text)

    assert exact(capsule.to_value()) == exact(made(payload).to_value())
    assert modules == ("money",)
    assert capsule_to_text(capsule, modules) == text
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "tandem_capsule"),
        ('{"a": 1}', "tandem_capsule"),
        ('{"tandem_capsule": 2}', "format 2"),
        ('{"tandem_capsule": 1, "modules": "os"}', "modules"),
        ('{"tandem_capsule": 1, "capsule": {"id": "x"}}', "run"),
        ('{"tandem_capsule": 1, "capsule": {"$bytes": "é"}}', "base64"),
        ('{"tandem_capsule": 1, "capsule": {"$float": "1"}}', r"\$float"),
        ('{"tandem_capsule": 1, "capsule": ' + "[" * 400 + "]" * 400 + "}", "too deep"),
    ],
)
def test_what_is_no_capsule_file_is_refused(text, told):
    with pytest.raises(CapsuleError, match=told):
        capsule_from_text(text)
