"""Documents: files in, command sets out, and back to plain data."""

import json
import os
import sys
import time
import types
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from tandem_orchestrator.errors import InvalidCommandSet
from tandem_orchestrator.model.callables import find_callable, is_callable_name, name_of
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.documents import from_document, load, read, to_document
from tandem_orchestrator.model.levels import CommandType, Priority
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.model.snapshot import snapshot

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(p for p in EXAMPLES.iterdir() if p.suffix in (".yaml", ".json", ".toml"))

DOCUMENT = {
    "id": "same",
    "name": "Same in all",
    "type": "Sequence",
    "mode": "CONSENSUS",
    "priority": "high",
    "timeout": 60,
    "steps": [
        {"id": "a", "agent": "system", "action": "echo", "payload": {"x": [1, 2.5, True, "s"]}},
        {
            "id": "b",
            "command_set": {
                "id": "inner",
                "type": "atomic",
                "steps": [
                    {"agent": "system", "action": "echo", "payload": {"r": {"$ref": "a#/x/0"}}}
                ],
            },
            "when": {"ref": "a#/x", "op": "contains", "value": 1},
        },
    ],
    "dependencies": {"b": ["a"]},
}
YAML = """
id: same
name: Same in all
type: Sequence
mode: CONSENSUS
priority: high
timeout: 60
steps:
- id: a
  agent: system
  action: echo
  payload: {x: [1, 2.5, true, s]}
- id: b
  command_set:
    id: inner
    type: atomic
    steps:
    - {agent: system, action: echo, payload: {r: {$ref: a#/x/0}}}
  when: {ref: a#/x, op: contains, value: 1}
dependencies: {b: [a]}
"""
TOML = """
id = "same"
name = "Same in all"
type = "Sequence"
mode = "CONSENSUS"
priority = "high"
timeout = 60
dependencies = {b = ["a"]}
[[steps]]
id = "a"
agent = "system"
action = "echo"
payload = {x = [1, 2.5, true, "s"]}
[[steps]]
id = "b"
when = {ref = "a#/x", op = "contains", value = 1}
[steps.command_set]
id = "inner"
type = "atomic"
steps = [{agent = "system", action = "echo", payload = {r = {"$ref" = "a#/x/0"}}}]
"""


def is_fine(output):
    return bool(output)


def test_yaml_json_and_toml_give_the_same_command_set(tmp_path):
    for name, text in (("a.yaml", YAML), ("a.json", json.dumps(DOCUMENT)), ("a.TOML", TOML)):
        (tmp_path / name).write_text(text)
    sets = [load(tmp_path / name) for name in ("a.yaml", "a.json", "a.TOML")]
    sets += [
        load(YAML),
        load(json.dumps(DOCUMENT).encode()),
        load(TOML, "toml"),
        from_document(DOCUMENT),
    ]

    assert all(each == sets[0] for each in sets)
    assert sets[0].type is CommandType.SEQUENCE
    assert sets[0].mode is ExecutionMode.CONSENSUS
    assert sets[0].priority is Priority.HIGH
    assert sets[0].steps[1].command_set.steps[0].payload == {"r": {"$ref": "a#/x/0"}}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_example_loads_and_survives_the_way_to_a_document_and_back(path):
    command_set = load(path)
    document = to_document(command_set)

    assert document.resumable
    assert from_document(document.body) == command_set
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(document.body)) == document.body


def test_all_faults_of_a_file_are_given_at_once_whatever_noticed_them():
    with pytest.raises(InvalidCommandSet) as caught:
        load(
            """
            nmae: x
            type: workflw
            timeout: 0
            steps:
            - {agent: &a system, action: echo, payload: {x: {$ref: '#'}}}
            - agent: system
              action: echo
              timout: 5
              retry_policy: {max_retries: many}
              when: {ref: a, op: like, value: 1}
            - 5
            - command_set: {stpes: []}
            """
        )

    faults = {fault.path: fault for fault in caught.value.faults}
    assert {path: fault.code for path, fault in faults.items()} == {
        "nmae": "bad_type",
        "type": "bad_level",
        "timeout": "impossible_timeout",
        "steps[0].agent": "bad_type",
        "steps[0].payload.x": "bad_reference",
        "steps[1].timout": "bad_type",
        "steps[1].retry_policy.max_retries": "bad_type",
        "steps[1].when.op": "bad_type",
        "steps[2]": "bad_type",
        "steps[3].command_set.stpes": "bad_type",
    }
    assert faults["nmae"].nearest[0] == "name"
    assert faults["steps[1].timout"].nearest[0] == "timeout"
    assert faults["steps[3].command_set.stpes"].nearest[0] == "steps"


def test_reading_goes_on_behind_a_fault_so_that_others_can_find_more():
    command_set, faults = read("name: 5\nsteps:\n- {agent: gone, action: x, timeout: soon}\n")

    assert [fault.path for fault in faults] == ["name", "steps[0].timeout"]
    assert command_set.name == ""
    assert command_set.steps == [CommandStep(agent="gone", action="x")]


@pytest.mark.parametrize("document", [None, [], "x", 5, {1: 2}, {"steps": {}}, {"steps": [None]}])
def test_a_document_of_another_shape_is_invalid(document):
    with pytest.raises(InvalidCommandSet):
        from_document(document)


@pytest.mark.parametrize("text", ["", "[]", "5", "# nothing\n"])
def test_a_text_without_a_command_set_is_invalid(text):
    with pytest.raises(InvalidCommandSet, match="expected a command set"):
        load(text)


def test_a_file_that_cannot_be_read_is_invalid_and_named(tmp_path):
    with pytest.raises(InvalidCommandSet, match=r"gone\.yaml"):
        load(tmp_path / "gone.yaml")
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(InvalidCommandSet, match="a directory"):
        load(tmp_path / "d.yaml")
    with pytest.raises(InvalidCommandSet, match="ending in"):
        load(tmp_path / "x.txt")


def test_a_file_over_the_size_limit_or_not_in_utf8_is_refused(tmp_path):
    big = tmp_path / "big.yaml"
    with big.open("wb") as file:
        os.truncate(file.fileno(), 8 * 2**20 + 1)

    with pytest.raises(InvalidCommandSet, match="more than 8388608 bytes"):
        load(big)
    with pytest.raises(InvalidCommandSet, match="not UTF-8 at byte 6"):
        load(b"name: \xff")
    with pytest.raises(InvalidCommandSet, match="not UTF-8"):
        load("name: x".encode("utf-16"))
    assert load(b"\xef\xbb\xbfname: x\nsteps: []").name == "x"


def test_an_unknown_format_is_the_programmers_mistake():
    with pytest.raises(ValueError, match="expected yaml, json or toml"):
        load("x", "xml")


@pytest.mark.parametrize("format", ["json", "toml", "yaml"])
def test_steps_are_limited_in_every_format(format):
    texts = {
        "json": json.dumps({"steps": [{}] * 10_001}),
        "toml": "[[steps]]\n" * 10_001,
        "yaml": "steps:\n" + "- {}\n" * 10_001,
    }

    with pytest.raises(InvalidCommandSet, match="more than 10000 steps") as caught:
        load(texts[format], format)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("format", ["json", "yaml", "toml"])
def test_ten_thousand_steps_load_well_within_the_two_seconds_of_validation(format):
    steps = [
        {"id": f"s{i}", "agent": "system", "action": "echo", "payload": {"n": i, "text": "x" * 20}}
        for i in range(10_000)
    ]
    texts = {
        "json": json.dumps({"steps": steps}),
        "yaml": "steps:\n" + "".join(
            f"- id: s{i}\n  agent: system\n  action: echo\n  payload:\n    n: {i}\n    text: {'x' * 20}\n"
            for i in range(10_000)
        ),
        "toml": "".join(
            f"[[steps]]\nid = 's{i}'\nagent = 'system'\naction = 'echo'\n"
            f"[steps.payload]\nn = {i}\ntext = '{'x' * 20}'\n"
            for i in range(10_000)
        ),
    }  # fmt: skip
    started = time.process_time()
    command_set = load(texts[format], format)

    assert time.process_time() - started < 2
    assert command_set.steps[9_999].payload == {"n": 9_999, "text": "x" * 20}


def test_a_document_leaves_defaults_out_and_holds_only_plain_values():
    given = CommandSet(
        id="x", mode=ExecutionMode.REDUNDANT, priority=Priority.LOW, type=CommandType.ATOMIC,
        steps=[CommandStep(agent="a", action="b", payload={"r": Ref("inputs", "x", 1)})],
    )  # fmt: skip
    clean, faults = snapshot(given)
    assert faults == []

    document = to_document(clean)

    assert document.body == {
        "id": "x", "type": "atomic", "mode": "redundant", "priority": "low",
        "steps": [{"agent": "a", "action": "b", "payload": {"r": {"$ref": "inputs#/x", "default": 1}}}],
    }  # fmt: skip
    assert all(type(value) in (str, list) for value in document.body.values()), (
        "enumerations are words, not their subclasses"
    )


def test_a_named_function_travels_by_name_and_a_lambda_makes_the_run_unresumable():
    loose = lambda output: True  # noqa: E731
    named = CommandSet(id="n", steps=[CommandStep(agent="a", action="b", validation_fn=is_fine)])
    nameless = CommandSet(
        id="l",
        python_handler=is_fine,
        steps=[
            CommandStep(
                command_set=CommandSet(
                    id="i", steps=[CommandStep(agent="a", action="b", validation_fn=loose)]
                )
            )
        ],
    )

    by_name = to_document(named, {"fine": is_fine})
    assert by_name.resumable
    assert by_name.body["steps"][0]["validation_fn"] == "fine"

    document = to_document(nameless, {"fine": is_fine})
    place = "steps[0].command_set.steps[0].validation_fn"
    assert not document.resumable
    assert document.callables == {place: loose}
    assert from_document(document.body, callables=document.callables).steps[0].command_set == (
        nameless.steps[0].command_set
    )
    with pytest.raises(InvalidCommandSet) as caught:
        from_document(document.body)
    assert [(f.code, f.path) for f in caught.value.faults] == [("not_serialisable", place)]


@pytest.fixture
def module(monkeypatch):
    """A module that the program imported, with things to name in it."""
    made = types.ModuleType("shop.rules")
    source = (
        "class Rule:\n"
        "    @staticmethod\n"
        "    def fixed(output): return True\n"
        "    def method(self, output): return True\n"
        "def is_fine(output): return True\n"
        "def outer():\n"
        "    def inner(output): return True\n"
        "    return inner\n"
        "closure = outer()\n"
        "from os import system\n"
        "from json import dumps\n"
        "alias = is_fine\n"
    )
    exec(source, made.__dict__)
    monkeypatch.setitem(sys.modules, "shop.rules", made)
    return made


def test_functions_of_imported_modules_are_found_by_the_name_they_have(module):
    for function in (module.is_fine, module.Rule, module.Rule.fixed, module.Rule.method):
        name = name_of(function)
        assert name is not None
        assert find_callable(name) == function


def test_what_has_no_lasting_name_has_none(module):
    for function in (
        module.closure,
        lambda: 1,
        print,
        len,
        "x".upper,
        module.Rule().method,
        json.dumps,
    ):
        assert name_of(function) is None


@pytest.mark.parametrize(
    "name",
    [
        "shop.rules:gone",
        "shop.rules:closure",
        "shop.rules:alias",
        "shop.rules:system",
        "shop.rules:dumps",
        "shop.rules:is_fine.__globals__",
        "shop.rules:__builtins__",
        "shop.gone:x",
        "os:system",
        "subprocess:run",
        "builtins:eval",
        "not registered",
        "loose",
        "a:b:c",
        "",
    ],
)
def test_data_cannot_name_what_the_program_did_not_offer(module, name):
    with pytest.raises(LookupError):
        find_callable(name)


def test_nothing_is_imported_to_find_a_callable():
    assert "this" not in sys.modules
    with pytest.raises(LookupError):
        find_callable("antigravity:geohash")
    with pytest.raises(LookupError, match="has not been imported"):
        find_callable("tandem_orchestrator_not_there:x")
    assert "antigravity" not in sys.modules


def test_a_registered_name_comes_first(module):
    assert find_callable("fine", {"fine": is_fine}) is is_fine
    assert name_of(module.is_fine, {"fine": module.is_fine}) == "fine"
    assert is_callable_name("shop.rules:Rule.fixed")
    assert not is_callable_name("rm -rf /")
    assert not is_callable_name("x" * 501)


def test_the_page_about_files_names_every_field_and_its_example_loads():
    page = (EXAMPLES.parent / "docs" / "command-sets.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    of_set, of_step = page.split("## Fields of a step")

    assert load(example).steps[1].when == {"ref": "scan#/files", "op": "truthy"}
    for field in fields(CommandSet):
        assert f"`{field.name}`" in of_set, field.name
    for field in fields(CommandStep):
        assert f"`{field.name}`" in of_step, field.name


def test_dates_in_toml_become_text():
    command_set = load(
        "[[steps]]\nagent = 'a'\naction = 'b'\npayload = {at = 2025-01-18T10:00:00Z}", "toml"
    )

    assert command_set.steps[0].payload == {"at": "2025-01-18T10:00:00+00:00"}
