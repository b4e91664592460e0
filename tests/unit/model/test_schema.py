"""The published JSON Schema: valid itself, current, and of one mind with the loader."""

import copy
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tandem_orchestrator
from tandem_orchestrator.errors import InvalidCommandSet
from tandem_orchestrator.model.documents import from_document
from tandem_orchestrator.model.schema import command_set_schema
from tandem_orchestrator.model.yaml_subset import parse_yaml

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(p for p in EXAMPLES.iterdir() if p.suffix in (".yaml", ".json", ".toml"))
VALIDATOR = jsonschema.Draft202012Validator(command_set_schema())


def read(path: Path):
    match path.suffix:
        case ".yaml":
            return parse_yaml(path.read_text())[0]
        case ".json":
            return json.loads(path.read_text())
        case _:
            return tomllib.loads(path.read_text())


def loads(document) -> bool:
    try:
        from_document(document)
    except InvalidCommandSet:
        return False
    return True


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(command_set_schema())


def test_the_shipped_file_is_the_schema():
    shipped = Path(tandem_orchestrator.__file__).parent / "schemas" / "command_set.schema.json"

    assert json.loads(shipped.read_text(encoding="utf-8")) == command_set_schema()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_example_is_valid(path):
    VALIDATOR.validate(read(path))


FULL = {
    "id": "x", "name": "n", "type": "WorkFlow", "mode": "adaptive", "priority": "High",
    "steps": [
        {
            "id": "a", "agent": "system", "action": "echo",
            "payload": {"x": [1, {"$ref": "b#/y", "default": 3}], "y": {"$literal": {"$ref": 5}}},
            "expected_output": {"type": "object", "properties": {"x": "integer"}, "required": ["x"]},
            "validation_fn": "rules:is_fine", "can_fail": True, "timeout": 1.5,
            "retry_policy": {"max_retries": 3, "backoff": 2, "initial_delay": 0, "max_delay": 5,
                             "jitter": False, "retry_on": ["timed_out"]},
            "for_each": [1, 2],
            "when": {"any": [{"ref": "b#/x", "op": "in", "value": [1]},
                             {"not": {"ref": {"$ref": "b", "default": None}}}]},
            "implementations": ["python", "c"], "on_item_failure": "Collect",
        },
        {"id": "b", "command_set": {"type": "atomic", "steps": [{"agent": "s", "action": "e"}]}},
        {"agent": "s", "action": "e", "expected_output": {"x": "int"}, "for_each": {"$ref": "b"}},
    ],
    "dependencies": {"a": ["b"]}, "parallel_allowed": False, "timeout": 60,
    "retry_policy": {}, "python_handler": None, "requires_libraries": ["json"],
    "c_optimized": True, "hardware_affinity": "P_core", "durability": "sync",
    "idempotency_key": "k", "on_failure": "drain", "on_change": "restart",
    "conflict_resolution": "Vote",
}  # fmt: skip


def test_a_document_with_every_field_is_valid_for_both():
    VALIDATOR.validate(FULL)
    assert loads(FULL)


def places(node, path=()):
    yield path
    if isinstance(node, dict):
        for key, item in node.items():
            yield from places(item, (*path, key))
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from places(item, (*path, i))


JUNK = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 10**12, "", "junk", "no such word!", "a#b", "#", [], ["x"], [5],
     [None], {}, {"x": 1}, {"$ref": "a"}, {"$ref": 5}, {"ref": "a"}, {"steps": []}, {"agent": "a"},
     "item", "sync", "atomic", "c", {"type": "strin"}, {"max_retries": 1}]
)  # fmt: skip


@given(st.sampled_from(sorted(places(FULL), key=str)), JUNK)
@settings(max_examples=600)
def test_schema_and_loader_agree_on_documents_with_junk_somewhere(path, junk):
    document = copy.deepcopy(FULL)
    if not path:
        document = junk
    else:
        owner = document
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = junk

    assert VALIDATOR.is_valid(document) is loads(document), (path, junk)


@given(st.sampled_from(sorted(places(FULL), key=str)), st.sampled_from(["x", "stepz", "ref", "type", "op"]))  # fmt: skip
def test_schema_and_loader_agree_on_documents_with_a_key_too_many(path, key):
    document = copy.deepcopy(FULL)
    owner = document
    for part in path:
        owner = owner[part]
    if isinstance(owner, dict):
        owner.setdefault(key, "atomic")

    assert VALIDATOR.is_valid(document) is loads(document), (path, key)
