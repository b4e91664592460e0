"""A capsule as a pytest file that fails until the twins agree: readable, and complete in itself."""

from __future__ import annotations

import hashlib
import keyword
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from tandem_orchestrator.twins.capsule import Capsule
from tandem_orchestrator.twins.capsule_file import SUFFIX, capsule_to_text
from tandem_orchestrator.twins.story import story

INLINE_CHARS_MAX = 4000
"""A longer input stays in the capsule file, and the test reads it from there."""
SLUG_CHARS_MAX = 40
_LINE_CHARS = 88


@dataclass(frozen=True, slots=True)
class Exported:
    """The two files of one capsule, by name."""

    test_name: str
    test_source: str
    capsule_name: str
    capsule_text: str


def export(capsule: Capsule, modules: tuple[str, ...] = ()) -> Exported:
    """Write a capsule as a test file and a capsule file that lie beside each other. Pure.

    Args:
        modules: What to import so that the agent is there.

    Raises: CapsuleError if the capsule cannot be run again.
    """
    capsule.check_replayable()
    names = list(capsule.implementations)
    claim = _identifier(
        f"{capsule.agent} {capsule.action} {' and '.join(names)} agree on {_slug(capsule.payload)}"
    )
    stem = _identifier(f"{capsule.agent} {capsule.action} {_slug(capsule.payload)}")
    capsule_name = f"{stem}{SUFFIX}"
    found = f"in run {capsule.run}, step {capsule.step!r}"
    if capsule.item is not None:
        found += f", item {capsule.item}"
    if capsule.at_ns:
        found = f"{datetime.fromtimestamp(capsule.at_ns / 1e9, UTC):%Y-%m-%d %H:%M} UTC {found}"
    told = story(
        f"{capsule.agent}.{capsule.action}", capsule.payload, capsule.outcomes, capsule.fields
    )
    head = [f"{capsule.agent}.{capsule.action}: {' and '.join(names)} must agree on this input."]
    head += ["", f"Found {found}:", ""]
    head += ["    " + line if line else "" for line in told.splitlines()[2:]]
    head += ["", f"The test fails until they agree. All that is known is in {capsule_name}."]
    arguments = [
        f'"{capsule.agent}.{capsule.action}"',
        "PAYLOAD",
        f"implementations={literal(tuple(names))}",
    ]
    if capsule.inputs:
        arguments.append("inputs=INPUTS")
    if modules:
        arguments.append(f"modules={literal(modules)}")
    arguments.append("near=__file__")
    tools = ["run_twins"]
    definitions = []
    for constant, value, part in (
        ("PAYLOAD", capsule.payload, "payload"),
        ("INPUTS", capsule.inputs, "inputs"),
    ):
        if constant == "INPUTS" and not capsule.inputs:
            continue
        text = literal(value)
        if len(text) > INLINE_CHARS_MAX:
            text = f'read_capsule_beside(__file__, "{capsule_name}").{part}'
            tools = ["read_capsule_beside", "run_twins"]
        definitions.append(f"{constant} = {text}")
    body = ",\n        ".join(arguments)
    source = "\n".join(
        [
            '"""' + _escaped("\n".join(head)),
            '"""',
            "",
            f"from tandem_orchestrator.testing import {', '.join(tools)}",
            "",
            *definitions,
            "",
            "",
            f"def test_{claim}():",
            f"    both = run_twins(\n        {body},\n    )",
            "",
            "    assert both.agree, both.story",
            "",
        ]
    )
    return Exported(f"test_{stem}.py", source, capsule_name, capsule_to_text(capsule, modules))


# Any below: values of any kind.
def literal(value: Any, indent: int = 0, taken: int = 0) -> str:
    """Write a value as Python source that gives it back, on lines of a readable length.

    Args:
        indent: Characters before the line on which it begins.
        taken: Further characters that stand on that line beside it.
    """
    line = _on_one_line(value)
    fits = len(line) + indent + taken <= _LINE_CHARS
    if fits or not isinstance(value, dict | list) or not value:
        return line
    margin, inside = " " * (indent + 4), indent + 4
    if isinstance(value, dict):
        parts = [
            f"{margin}{_quoted(key)}: {literal(part, inside, len(_quoted(key)) + 3)},\n"
            for key, part in value.items()
        ]
        return "{\n" + "".join(parts) + " " * indent + "}"
    parts = [f"{margin}{literal(part, inside, 1)},\n" for part in value]
    return "[\n" + "".join(parts) + " " * indent + "]"


def _on_one_line(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value!r}")'
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{_quoted(k)}: {_on_one_line(v)}" for k, v in value.items())
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_on_one_line, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_on_one_line, value)) + ("," * (len(value) == 1)) + ")"
    return repr(value)


def _quoted(text: str) -> str:
    """Write a text in double quotes where nothing in it speaks against them."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown


def _slug(value: Any) -> str:
    """Name an input: its words if it is short, else a digest."""
    shown = repr(value)
    text = re.sub(r"[^A-Za-z0-9]+", "_", shown.replace("-", " minus ")).strip("_")
    if text and len(text) <= SLUG_CHARS_MAX:
        return text
    return "input_" + hashlib.sha256(msgspec.msgpack.encode(value)).hexdigest()[:8]


def _identifier(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower()
    return f"{name}_" if keyword.iskeyword(name) else name


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
