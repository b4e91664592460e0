"""The tables of programs say what C and Python do."""

import re
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native import program_layout as layout
from tandem_orchestrator.layers.native import program_outcome as outcome

ROOT = Path(__file__).parents[2]
HEADER = (ROOT / "native/src/program/format.h").read_text()


def rows(name):
    lines = (ROOT / "protocol" / name).read_text().splitlines()
    head, *body = [line.split("\t") for line in lines if not line.startswith("#")]
    return [dict(zip(head, row, strict=True)) for row in body]


def plain(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def test_every_field_of_c_is_in_the_table_at_its_offset():
    found = []
    for row, fields in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", plain(HEADER), re.DOTALL):
        offset = 0
        for bits, names in re.findall(r"uint(\d+)_t ([^;]+);", fields):
            for name in names.split(","):
                part = re.fullmatch(r"\s*(\w+)(?:\[(\d+)\])?", name)
                count = int(part[2] or 1)
                kind = f"u{bits}" + (f"[{count}]" if count > 1 else "")
                found.append((row, str(offset), kind, part[1]))
                offset += int(bits) // 8 * count
    assert [tuple(row.values()) for row in rows("program.tsv")] == found


def test_every_number_of_c_is_in_the_table():
    numbers = {}
    for body in re.findall(r"enum \{(.*?)\};", plain(HEADER), re.DOTALL):
        value = -1
        for part in filter(None, map(str.strip, body.split(","))):
            name, _, given = part.partition("=")
            value = int(given, 0) if given else value + 1
            numbers[name.strip()] = value
    assert {row["name"]: int(row["value"]) for row in rows("program_numbers.tsv")} == numbers


@pytest.mark.parametrize(
    ("prefix", "module", "names"),
    [
        ("TDI_STEP_", layout, ["WANTED", "CAN_FAIL", "FOR_EACH", "COLLECT"]),
        ("TDI_", layout, ["FROM_STEP", "FROM_SLOT", "FROM_ITEM"]),
        ("TDI_", layout, ["PIECE_LITERAL", "PIECE_REF", "PIECE_SLOT"]),
        ("TDI_", layout, ["RUN_MAGIC", "RUN_KEYED_MAGIC", "RUN_KEY_BYTES"]),
        ("TDI_PROGRAM_", layout, ["MAGIC", "VERSION"]),
        (
            "TDI_OUTCOME_",
            outcome,
            [
                "SUCCEEDED",
                "FAILED",
                "TIMED_OUT",
                "CANCELLED",
                "SKIPPED",
                "NOT_STARTED",
                "PACKED",
                "UNKNOWN",
            ],
        ),
        ("TDI_", outcome, ["SKIP_CONDITION", "SKIP_NO_OUTPUT"]),
    ],
)
def test_python_has_the_same_numbers(prefix, module, names):
    table = {row["name"]: int(row["value"]) for row in rows("program_numbers.tsv")}
    assert {name: getattr(module, name) for name in names} == {
        name: table[prefix + name] for name in names
    }


def test_operators_are_numbered_in_order():
    table = {row["name"]: int(row["value"]) for row in rows("program_numbers.tsv")}
    assert [table[f"TDI_WHEN_{name.upper()}"] for name in layout.OPERATORS] == list(range(13))
