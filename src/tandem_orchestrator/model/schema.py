"""The published JSON Schema of command-set documents, for editors and for other languages.

It says what a file may look like; what ids, agents and references lead to is checked by
``validate``. ``schemas/command_set.schema.json`` is this, written to a file.
"""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.model.conditions import OPERATORS
from tandem_orchestrator.model.levels import CommandType, HardwareAffinity, Priority
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.shapes import ANNOTATIONS, TYPE_NAMES
from tandem_orchestrator.model.snapshot import (
    DURABILITIES,
    ON_CHANGE,
    ON_FAILURE,
    ON_ITEM_FAILURE,
    RESOLUTIONS,
    TEXT_CHARS_MAX,
    TIMEOUT_S_MAX,
)

SCHEMA_ID = "urn:tandem-orchestrator:command-set"
"""A name, not an address to fetch from."""

_CALLABLE = r"^([A-Za-z_][\w.-]*|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)$"
_MODE = "^[A-Za-z][A-Za-z0-9_-]{0,63}$"


# Any: a JSON Schema is a tree of whatever JSON holds.
def command_set_schema() -> dict[str, Any]:
    """Build the schema (draft 2020-12) of a command-set document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Tandem command set",
        "$ref": "#/$defs/command_set",
        "$defs": {
            "command_set": _object("What to run: steps, their order, how and how urgently.", _SET),
            "step": {
                **_object("One operation, or a nested command set.", _STEP),
                "dependentSchemas": {
                    "command_set": {"properties": {"agent": {"const": ""}, "action": {"const": ""}}}
                },
            },
            "seconds": {
                "type": "number", "exclusiveMinimum": 0, "maximum": TIMEOUT_S_MAX,
            },
            "retry_policy": _object("When a failed attempt is tried again; empty: never.", _RETRY),
            "callable": {
                "type": "string", "pattern": _CALLABLE, "maxLength": 500,
                "description": "A registered name, or module:qualname of an imported module.",
            },
            "reference": {
                "type": "object",
                "description": "A place in an earlier step's output.",
                "properties": {
                    "$ref": {"type": "string", "pattern": "^[^#]+(#(/.*)?)?$"}, "default": True,
                },
                "required": ["$ref"], "additionalProperties": False,
                "examples": [{"$ref": "scan#/files"}, {"$ref": "inputs#/path", "default": "."}],
            },
            "value": _value(),
            "condition": _condition(),
            "shape": _shape(),
            "type_name": {"enum": [*TYPE_NAMES, "None", "bool", "int", "float", "str", "list", "dict"]},
        },
    }  # fmt: skip


def _object(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
    }


def _word(description: str, words: tuple[str, ...], *, null: bool = False) -> dict[str, Any]:
    """A word in any case; JSON Schema's patterns have no flag for that, so it is spelt out."""
    any_case = "|".join(
        "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word) for word in words
    )
    schema: dict[str, Any] = {"type": "string", "pattern": f"^({any_case})$"}
    if null:
        schema["type"] = ["string", "null"]
    return {"description": description, **schema, "examples": list(words)}


def _text(description: str, **more: Any) -> dict[str, Any]:
    schema = {"description": description, "type": "string", "maxLength": TEXT_CHARS_MAX}
    return schema | more


def _maybe(name: str, description: str) -> dict[str, Any]:
    return {"description": description, "anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}


def _names(description: str, **items: Any) -> dict[str, Any]:
    return {"description": description, "type": "array", "items": {"type": "string"} | items}


_RETRY: dict[str, Any] = {
    "max_retries": {"type": "integer", "minimum": 0, "maximum": 1000, "default": 0},
    "backoff": {"type": "number", "minimum": 1, "maximum": 100, "default": 2},
    "initial_delay": {"type": "number", "minimum": 0, "maximum": 86_400, "default": 0.1},
    "max_delay": {"type": "number", "minimum": 0, "maximum": 604_800, "default": 30},
    "jitter": {"type": "boolean", "default": True},
    "retry_on": {
        "description": "Failure types, or outcomes such as timed_out and unknown.",
        "anyOf": [
            {"type": "array", "items": {"type": "string"}}, {"type": "string"}, {"type": "null"},
        ],
    },
}  # fmt: skip

_SET: dict[str, Any] = {
    "id": _text("A label; made up if not given."),
    "name": _text("For people."),
    "type": _word("The level.", tuple(level.value for level in CommandType)),
    "mode": {
        "description": "How steps are given to implementations; any registered mode, in any case.",
        "type": ["string", "null"],
        "pattern": _MODE,
        "examples": [*[mode.value for mode in ExecutionMode][:5], "adaptive", "learning"],
    },
    "priority": {
        "anyOf": [
            _word("How urgent it is.", tuple(map(str, Priority)), null=True),
            {"type": "integer", "minimum": min(Priority), "maximum": max(Priority)},
        ]
    },
    "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "maxItems": 10_000},
    "dependencies": {
        "description": "Step id to the ids of the steps it waits for.",
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    },
    "parallel_allowed": {"type": "boolean", "default": True},
    "timeout": _maybe("seconds", "Seconds for the whole run."),
    "retry_policy": _maybe("retry_policy", "For every step that has none of its own."),
    "python_handler": _maybe("callable", "Gets the command set in place of its steps being run."),
    "requires_libraries": _names(
        "Import names that must be found first.", pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
    ),
    "c_optimized": {"type": "boolean", "default": False},
    "hardware_affinity": _word("Which cores are wished for.", tuple(a.value for a in HardwareAffinity)),
    "durability": _word("How safe before acknowledged.", DURABILITIES, null=True),
    "idempotency_key": {**_text("The same key, the same run.", minLength=1), "type": ["string", "null"]},
    "on_failure": _word("What a failed step means for other branches.", ON_FAILURE, null=True),
    "on_change": _word("When an unfinished step meets another version.", ON_CHANGE, null=True),
    "conflict_resolution": _word("What settles its conflicts.", RESOLUTIONS, null=True),
}  # fmt: skip

_STEP: dict[str, Any] = {
    "id": _text("Unique in its set; not 'inputs' or 'item'.", pattern="^[^#]*$"),
    "action": _text("What to do."),
    "agent": _text("Who does it."),
    "payload": {"description": "Any value; may hold references.", "$ref": "#/$defs/value"},
    "expected_output": {
        "description": "The shape that the output must have.",
        "anyOf": [{"type": "object", "$ref": "#/$defs/shape"}, {"type": "null"}],
    },
    "validation_fn": _maybe("callable", "Called with the output; false fails the attempt."),
    "can_fail": {"type": "boolean", "default": False},
    "timeout": _maybe("seconds", "Seconds for one attempt."),
    "retry_policy": _maybe("retry_policy", "In place of the set's."),
    "for_each": {
        "description": "Run once for each item; output is a list in the same order.",
        "anyOf": [
            {"type": "array", "items": {"$ref": "#/$defs/value"}},
            {"$ref": "#/$defs/reference"},
            {"type": "null"},
        ],
    },
    "when": _maybe("condition", "False means skipped."),
    "command_set": _maybe("command_set", "A nested command set in place of agent and action."),
    "implementations": {
        "anyOf": [
            {**_names("Implementations to use.", minLength=1), "minItems": 1}, {"type": "null"},
        ]
    },
    "on_item_failure": _word("What a failed item of for_each does.", ON_ITEM_FAILURE, null=True),
}  # fmt: skip


def _value() -> dict[str, Any]:
    value = {"$ref": "#/$defs/value"}
    looks_like_a_reference = {
        "type": "object",
        "required": ["$ref"],
        "propertyNames": {"enum": ["$ref", "default"]},
    }
    literal = {"type": "object", "required": ["$literal"], "maxProperties": 1}
    return {
        "description": "Any value, in which a reference is well formed; $literal is left alone.",
        "if": {"anyOf": [looks_like_a_reference, literal]},
        "then": {"anyOf": [literal, {"$ref": "#/$defs/reference"}]},
        "else": {"additionalProperties": value, "items": value},
    }


def _condition() -> dict[str, Any]:
    sub = {"$ref": "#/$defs/condition"}
    listed = {"type": "array", "items": sub}
    groups = {"all": listed, "any": listed, "not": sub}
    unary = ["exists", "truthy"]
    compare = {
        "type": "object",
        "properties": {
            "ref": {
                "anyOf": [
                    {"type": "string", "pattern": "^[^#]+(#(/.*)?)?$"},
                    {"$ref": "#/$defs/reference"},
                ]
            },
            "op": {"enum": list(OPERATORS), "default": "truthy"},
            "value": {"$ref": "#/$defs/value", "not": {"$ref": "#/$defs/reference"}},
        },
        "required": ["ref"],
        "additionalProperties": False,
        "if": {"properties": {"op": {"enum": unary}}},
        "then": {"properties": {"value": False}},
        "else": {"required": ["value"]},
        "allOf": [
            {
                "if": {"properties": {"op": {"const": "in"}}, "required": ["op"]},
                "then": {"properties": {"value": {"type": ["array", "string"]}}},
            }
        ],
    }
    return {
        "description": "A condition: {ref, op, value}, or all, any, not of conditions.",
        "oneOf": [
            compare,
            *(
                {
                    "type": "object",
                    "properties": {key: body},
                    "required": [key],
                    "additionalProperties": False,
                }
                for key, body in groups.items()
            ),
        ],
        "examples": [{"ref": "scan#/total", "op": "gt", "value": 0}],
    }


def _shape() -> dict[str, Any]:
    shape = {"$ref": "#/$defs/shape"}
    name = {"$ref": "#/$defs/type_name"}
    count, number = {"type": "integer", "minimum": 0}, {"type": "number"}
    shapes = {"type": "array", "items": shape, "minItems": 1}
    long = _object(
        "Keywords, a subset of JSON Schema.",
        {
            "type": {"anyOf": [name, {"type": "array", "items": name, "minItems": 1}]},
            "enum": {"type": "array", "minItems": 1},
            "const": True,
            "anyOf": shapes,
            "allOf": shapes,
            "not": shape,
            "properties": {"type": "object", "additionalProperties": shape},
            "required": {"type": "array", "items": {"type": "string"}},
            "additionalProperties": shape,
            "items": shape,
            "uniqueItems": {"type": "boolean"},
            **dict.fromkeys(("minItems", "maxItems", "minLength", "maxLength"), count),
            **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), number),
            **dict.fromkeys(sorted(ANNOTATIONS), True),
        },
    )
    keywords = {"enum": list(long["properties"])}
    short = {
        "description": "Keys that the output must have, with the names of their types.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": keywords},
        "additionalProperties": name,
    }
    return {"anyOf": [{"type": "boolean"}, name, long, short]}
