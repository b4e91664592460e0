"""protocol/*.tsv, the C headers and the Python constants name the same things by the same numbers."""

import re
import struct
from pathlib import Path

from tandem_orchestrator.layers.native import codec, extension, frame
from tandem_orchestrator.model import values

NATIVE = Path(__file__).parents[2] / "native"
C_TYPES = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t"}
STRUCT_CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q"}


def c_constants(path, prefix):
    """Read ``PREFIX_NAME = number`` of the enumerations in a header."""
    text = (NATIVE / path).read_text()
    found = re.findall(rf"\b{prefix}(\w+) = (0x[0-9A-Fa-f]+|-?\d+)", text)
    assert found, f"no {prefix}* in {path}"
    return {name: int(number, 0) for name, number in found}


def header_fields(table):
    return [row for row in table("frame.tsv") if row["offset"].startswith("0x")]


def named_numbers(text):
    """Read ``NAME 1, OTHER 2`` up to the first semicolon."""
    return {name: int(n) for name, n in re.findall(r"([A-Z_]+) (\d+)", text.split(";")[0])}


def test_the_header_has_the_same_fields_at_the_same_offsets(table):
    offset = 0
    for row in header_fields(table):
        assert int(row["offset"], 16) == offset, row["name"]
        offset += int(row["type"][1:]) // 8
    assert offset == frame.HEADER_BYTES == frame.HEADER.size
    codes = "".join(STRUCT_CODES[row["type"]] for row in header_fields(table))
    assert frame.HEADER.format == "<" + codes
    assert struct.calcsize("=" + codes) == struct.calcsize("@" + codes), "C would see gaps"


def test_the_c_header_declares_the_same_fields_in_the_same_order(table):
    text = (NATIVE / "src/wire/frame.h").read_text()
    body = re.search(r"typedef struct tdi_frame \{(.*?)\} tdi_frame;", text, re.DOTALL).group(1)
    declared = re.findall(r"(uint\d+_t) (\w+);", body)
    assert declared == [(C_TYPES[row["type"]], row["name"]) for row in header_fields(table)]


def test_kinds_and_flags_have_the_same_numbers_everywhere(table):
    meaning = {row["name"]: row["meaning"] for row in header_fields(table)}
    python_kinds = {kind.name: kind.value for kind in frame.Kind}
    python_flags = {flag.name: flag.value for flag in frame.Flag}
    assert named_numbers(meaning["kind"]) == python_kinds
    assert c_constants("src/wire/frame.h", "TDI_KIND_") == python_kinds
    assert named_numbers(meaning["flags"]) == python_flags
    assert c_constants("src/wire/frame.h", "TDI_FLAG_") == python_flags
    assert sum(python_flags.values()) == frame.FLAGS_KNOWN
    assert c_constants("src/wire/frame.h", "TDI_FLAGS_")["KNOWN"] == frame.FLAGS_KNOWN


def test_frame_limits_are_the_same_in_c_and_python():
    c = c_constants("src/wire/frame.h", "TDI_")
    assert c["FRAME_MAGIC"] == frame.MAGIC
    assert c["FRAME_VERSION"] == frame.VERSION
    assert c["FRAME_BYTES"] == frame.HEADER_BYTES
    assert c["EXT_UNITS_MAX"] == extension.EXT_UNITS_MAX
    assert c["LANES"] == frame.LANES
    assert c["KEY_BYTES_MAX"] == extension.KEY_BYTES_MAX


def test_extension_records_have_the_same_numbers_everywhere(table):
    told = {int(row["offset"]): row["name"] for row in table("frame.tsv") if row["type"] == "ext"}
    python = {kind.name: kind.value for kind in extension.RecordType}
    c = c_constants("src/wire/extension.h", "TDI_EXT_")
    assert c.pop("CRITICAL") == extension.CRITICAL
    assert c.pop("KNOWN_MAX") == max(told)
    assert c == python
    long_names = {"KEY": "idempotency_key", "FENCE": "fencing_token", "TOTAL": "total_bytes"}
    assert told == {n: long_names.get(name, name.lower()) for name, n in python.items()}


def test_statuses_have_the_same_numbers_everywhere(table):
    told = {row["name"]: int(row["value"]) for row in table("statuses.tsv")}
    assert told == {status.name: status.value for status in frame.Status}
    c = c_constants("include/tandem/status.h", "TD_")
    assert {name: number for name, number in c.items() if number >= 0} == told
    assert all(name.startswith("ERR_") for name, number in c.items() if number < 0)


def test_the_depth_limit_is_the_same_in_c_the_codec_and_the_model():
    text = (NATIVE / "include/tandem/message.h").read_text()
    depth = int(re.search(r"#define TD_DEPTH_MAX (\d+)", text).group(1))
    assert depth == codec.DEPTH_MAX == values.DEPTH_MAX
    assert (codec.INT_MIN, codec.INT_MAX) == (values.INT_MIN, values.INT_MAX)
