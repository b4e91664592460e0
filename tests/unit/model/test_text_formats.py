"""YAML, JSON and TOML: what is read, what is left out, and what it costs to say no."""

import json
import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.errors import InvalidCommandSet
from tandem_orchestrator.model.file_limits import FILE_DEPTH_MAX, FILE_STEPS_MAX
from tandem_orchestrator.model.json_text import parse_json
from tandem_orchestrator.model.toml_text import parse_toml
from tandem_orchestrator.model.yaml_subset import parse_yaml, resolve_plain

PRINTABLE = st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | PRINTABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
LETTERS = st.text("abcdefgh", min_size=1, max_size=5)


@given(VALUES)
def test_yaml_reads_json_as_json_does(value):
    text = json.dumps(value, ensure_ascii=False)

    assert parse_yaml(text) == (value, [])
    assert parse_json(text) == (value, [])


@given(
    st.recursive(
        st.booleans() | st.none() | st.integers() | LETTERS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LETTERS, inner, max_size=4),
    )
)
def test_yaml_in_block_style_gives_back_what_was_written(value):
    class NoAliases(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    assert parse_yaml(yaml.dump(value, Dumper=NoAliases)) == (value, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("Yes", "Yes"),
        ("true", True), ("True", True), ("FALSE", False), ("tRue", "tRue"),
        ("null", None), ("Null", None), ("~", None), ("", None), ("nul", "nul"),
        ("12", 12), ("-12", -12), ("+3", 3), ("007", 7), ("0o17", 15), ("0x1F", 31),
        ("0b11", "0b11"), ("1_000", "1_000"), ("0o8", "0o8"), ("-0o7", "-0o7"), ("12:30", "12:30"),
        ("1e3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-1.5E-2", -0.015), (".", "."), ("1e", "1e"),
        (".inf", math.inf), ("-.INF", -math.inf), ("+.Inf", math.inf), ("inf", "inf"),
        ("2025-01-18", "2025-01-18"), ("=", "="), ("<<", "<<"), ("0o17x", "0o17x"), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_the_core_schema(text, value):
    found = resolve_plain(text)

    assert found == value
    assert type(found) is type(value)


def test_nan_is_not_a_number():
    assert math.isnan(resolve_plain(".nan"))
    assert resolve_plain("nan") == "nan"


def test_quoted_scalars_are_strings_whatever_they_say():
    assert parse_yaml("a: 'true'\nb: \"1\"\nc: |\n  12\n") == (
        {"a": "true", "b": "1", "c": "12\n"},
        [],
    )


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("a: &x 1\n", "a", "anchor '&x'"),
        ("a: 1\nb: [1, *x]\n", "b[1]", "alias '*x'"),
        ("a: !!python/object:os.system x\n", "a", "tag"),
        ("a: !local {}\n", "a", "tag"),
        ("a: ! 12\n", "a", "tag"),
        ("steps:\n- {}\n- payload: {<<: {b: 1}}\n", "steps[1].payload", "merge key"),
        ("a: 1\nb: 2\na: 3\n", "", "'a' is there twice"),
        ("a: {x: 1, x: 2}\n", "a", "'x' is there twice"),
        ("a: {1: x}\n", "a", "'1' is not a string"),
        ("a: {true: x}\n", "a", "'true' is not a string"),
        ("a: {~: x}\n", "a", "'~' is not a string"),
        ("a: " + "9" * 5000, "a", "a number of 5000 characters"),
    ],
)
def test_what_the_yaml_subset_leaves_out_is_a_fault_with_path_and_line(text, path, says):
    try:
        _, faults = parse_yaml(text)
    except InvalidCommandSet as error:
        faults = error.faults

    assert [fault.path for fault in faults] == [path]
    assert says in faults[0].message
    assert faults[0].message.startswith("line ")


def test_everything_that_is_left_out_is_listed_at_once():
    document, faults = parse_yaml("a: &x 1\nb: !t 2\nc: 3\nc: 4\n<<: {}\n2: 3\nd: *x\n")

    assert len(faults) == 6
    assert document == {"a": 1, "b": "2", "c": 3, "d": None}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1\n", "line 2"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("%YAML 1.1\n---\na: 1\n", "1.2"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "%TAG"),
        ("? [a]\n: 1\n", "key that is not a string"),
        ("a: \x01\n", "not YAML"),
        ("[" * 100_000, "nested deeper"),
        ("- " * 100_000, "nested deeper"),
        ("[" * 33 + "]" * 33, "nested deeper"),
    ],
)
def test_a_text_that_is_no_yaml_or_over_a_limit_is_refused(text, says):
    with pytest.raises(InvalidCommandSet, match=says):
        parse_yaml(text)


def test_a_version_directive_of_what_is_read_is_welcome():
    assert parse_yaml("%YAML 1.2\n---\na: yes\n") == ({"a": "yes"}, [])


@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
def test_the_deepest_allowed_document_is_read_and_one_deeper_is_not(parse):
    def nested(depth):
        return "[" * depth + "]" * depth

    parse(nested(FILE_DEPTH_MAX))
    parse("[" + "[]," * 100 + "{}]")
    with pytest.raises(InvalidCommandSet, match="nested deeper"):
        parse(nested(FILE_DEPTH_MAX + 1))
    with pytest.raises(InvalidCommandSet, match="nested deeper"):
        parse("[" * 900_000 if parse is parse_json else "[" * 3_000)


def test_brackets_in_strings_and_comments_are_not_depth():
    brackets = "[{" * 100

    assert parse_json(json.dumps({"a": brackets + '"\\'})) == ({"a": brackets + '"\\'}, [])
    text = f'a = "{brackets}\\"" # {brackets}\nb = \'{brackets}\'\nc = """{brackets}\n""{brackets}"""\n'
    text += f"d = '''{brackets}\n''{brackets}'''\n"
    document, _ = parse_toml(text)
    assert set(document) == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ('{"a": 1, "a": 2}', "", "'a' is there twice"),
        (
            '{"steps": [{}, {"payload": {"x": 1, "x": 1}}]}',
            "steps[1].payload",
            "'x' is there twice",
        ),
    ],
)
def test_duplicate_keys_in_json_are_faults_with_their_path(text, path, says):
    _, faults = parse_json(text)

    assert [fault.path for fault in faults] == [path]
    assert says in faults[0].message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1, column 2"),
        ("", "not JSON"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "Infinity"),
        ("[" + "9" * 5000 + "]", "5000 characters"),
        ('{"a": 1} x', "Extra data"),
        ("[" + "0," * 1_000_001 + "0]", "more than 1000000 values"),
    ],
)
def test_a_text_that_is_no_json_is_refused(text, says):
    with pytest.raises(InvalidCommandSet, match=says):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = ", "not TOML"),
        ("a = 1\na = 2", "not TOML"),
        ("a = " + "[" * 40 + "]" * 40, "nested deeper"),
        (".".join("a" * 100_000) + " = 1", "dotted key"),
        ("a = " + "9" * 5000, "over 400 characters"),
        ("a = " + "[" * 500_000, "nested deeper"),
    ],
)
def test_a_text_that_is_no_toml_or_over_a_limit_is_refused(text, says):
    with pytest.raises(InvalidCommandSet, match=says):
        parse_toml(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_json, '"' + '\\"' * 2_000_000),
        (parse_json, '"' * 1_000_001),
        (parse_json, "[]" * 500_000),
        (parse_json, '"\\' * 1_000_000 + "\\"),
        (parse_toml, "'" * 1_000_001),
        (parse_toml, '"""' + '""\\"' * 500_000),
        (parse_toml, '"' + "\\" * 2_000_000),
        (parse_toml, "a " * 1_000_000),
        (parse_toml, ("a." * 31 + "a ") * 30_000),
        (parse_toml, ("b" * 399 + " ") * 5_000),
        (parse_yaml, "[" * 1_000_000),
        (parse_yaml, "{" * 1_000_000),
        (parse_yaml, "a: " * 100_000),
        (parse_yaml, "? " * 100_000),
        (parse_yaml, "- [" + "a, " * 200_000),
    ],
)
def test_saying_no_to_a_hostile_text_takes_time_linear_in_its_length(parse, text):
    started = time.perf_counter()
    with pytest.raises(InvalidCommandSet):
        parse(text)
    assert time.perf_counter() - started < 8


def test_steps_are_counted_while_they_are_read():
    body = "\n".join(["- {}"] * FILE_STEPS_MAX)
    parse_yaml("steps:\n" + body)
    parse_yaml("payload:\n" + body + "\n- {}")

    with pytest.raises(InvalidCommandSet, match="more than 10000 steps"):
        parse_yaml("steps:\n" + body + "\n- {}")
    nested = "steps:\n- command_set:\n    steps:\n" + "\n".join(["    - {}"] * FILE_STEPS_MAX)
    with pytest.raises(InvalidCommandSet, match="more than 10000 steps"):
        parse_yaml(nested)


def test_a_billion_laughs_are_one_fault_each_and_no_memory():
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]

    document, faults = parse_yaml("\n".join(lines))

    assert len(faults) == 30 + 29 * 9
    assert document["a29"] == [None] * 9


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, yes, 'no', \"x\", .inf, 0o17, ~]\nb: {c: |\n    text\n  }\n",
        "a: 1\nb: {c: >-\n    folded\n    text}\n",
        "- &a x\n- *a\n- !t y\n- ! 12\n- {<<: {}}\n- {1: 2}\n- {k: 1, k: 2}\n",
        "plain multi\n  line: value # comment\n",
        "? key\n: value\n",
        "a: [",
        "a: 1\n---\nb: 2\n",
        "%YAML 1.1\n---\na: 1\n",
        "\ta: 1",
        "'unfinished",
        "[" * 40,
    ],
)
def test_with_and_without_libyaml_the_same_is_read_and_refused(text, monkeypatch):
    def read():
        try:
            document, faults = parse_yaml(text)
        except InvalidCommandSet as error:
            return "refused", [fault.path for fault in error.faults]
        return document, [(fault.path, fault.message) for fault in faults]

    with_libyaml = read()
    monkeypatch.setattr(yaml, "__with_libyaml__", False)

    assert read() == with_libyaml
