"""A capsule: one conflict kept whole, so that it can be shown, run again and made a test.

It holds what the twins were given, what each gave back, where they differ, and the rules,
versions, builds and surroundings under which they did. Secrets are taken out before anything is
kept, and it never grows beyond a cap: what was cut is named, and a capsule whose input was cut
cannot be run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tandem_orchestrator.errors import CapsuleError
from tandem_orchestrator.twins.kept import encoded_bytes, fitting, kept_side, stub
from tandem_orchestrator.twins.pointers import escape
from tandem_orchestrator.twins.redaction import DEFAULT_HOOKS, Redaction, RedactionHook

CAPSULE_BYTES_MAX = 1024 * 1024
"""Encoded size of a capsule where the settings (``limits.capsule_bytes_max``) do not say."""
CAPSULE_BYTES_MIN = 4096
"""A cap below this has no room for what names a capsule."""
FIELDS_MAX = 100
"""Differing places that a capsule lists."""


class Environment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Under what the twins ran; gathered once a session and handed in."""

    builds: dict[str, str] = {}
    """Part to its build: ``bridge``, plug-ins and libraries by name."""
    cpu: str = ""
    """The processor's own name."""
    cpu_flags: str = ""
    """What it can do, sorted, with spaces between: where a SIMD path makes the difference, this shows it."""
    locale: str = ""
    """As ``de_DE.UTF-8``; where categories have others: ``C, LC_CTYPE=C.UTF-8``."""
    timezone: str = ""
    python: str = ""
    package: str = ""
    """Version of Tandem."""
    platform: str = ""


class Capsule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A conflict kept whole."""

    id: str
    """Unique in a journal: ``RUN.cN``."""
    run: str
    step: str
    item: int | None = None
    """Position in the step's ``for_each``, or in its batch."""
    agent: str
    action: str
    version: str = "1"
    """Of the action."""
    # Any: a payload is any value.
    payload: Any = None
    """What each of them was given, references resolved, secrets taken out."""
    inputs: dict[str, Any] = {}
    """Outputs of the steps before, as ``ctx.inputs`` had them."""
    outcomes: tuple[dict[str, Any], ...] = ()
    """``{implementation, outcome, output, failure, seconds}`` of each, in order of preference."""
    fields: tuple[dict[str, Any], ...] = ()
    """Where they differ: ``{path, left, right}``; at most ``FIELDS_MAX``."""
    fields_total: int = 0
    """How many places differ, those left out counted."""
    rules: dict[str, Any] | None = None
    """The rules of comparison (``CompareRules`` as a value); None: exact."""
    environment: dict[str, Any] = {}
    """``Environment`` as a value."""
    seed: int | None = None
    """What drew the order of starting."""
    at_ns: int = 0
    """Wall clock, nanoseconds since the epoch."""
    redacted: tuple[str, ...] = ()
    """Where secrets were taken out, as JSON Pointers into the capsule."""
    truncated: tuple[str, ...] = ()
    """What was cut to keep the size, as JSON Pointers into the capsule."""
    shrunk_from: str | None = None
    """The capsule whose input this one's was made smaller from."""

    @property
    def implementations(self) -> tuple[str, ...]:
        """Name the twins, in order of preference."""
        return tuple(str(each["implementation"]) for each in self.outcomes)

    @property
    def is_replayable(self) -> bool:
        """Whether its input is there whole."""
        return not any(path.startswith(("/payload", "/inputs")) for path in self.truncated)

    def check_replayable(self) -> None:
        """Refuse to run what is not there.

        Raises: CapsuleError naming what was cut and the setting that decides.
        """
        if not self.is_replayable:
            cut = ", ".join(self.truncated)
            raise CapsuleError(
                f"capsule {self.id} cannot be run again: {cut} was cut to keep it below "
                "limits.capsule_bytes_max"
            )
        if len(self.outcomes) < 2:
            raise CapsuleError(
                f"capsule {self.id} cannot be run again: it names {len(self.outcomes)} "
                "implementation, expected at least 2"
            )

    def to_value(self) -> dict[str, Any]:
        """Give the plain form that events and files hold."""
        value: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(bytes,))
        return value

    @classmethod
    def from_value(cls, value: Any) -> Capsule:
        """Read the plain form back.

        Raises: CapsuleError naming what does not fit.
        """
        try:
            return msgspec.convert(value, cls, builtin_types=(bytes,))
        except msgspec.ValidationError as error:
            raise CapsuleError(f"this is no capsule: {error}") from error


# Any: payloads, outputs and rules are any values.
def make_capsule(
    *,
    id: str,
    run: str,
    step: str,
    item: int | None = None,
    agent: str,
    action: str,
    version: str = "1",
    payload: Any,
    inputs: Mapping[str, Any] | None = None,
    outcomes: Sequence[Mapping[str, Any]],
    fields: Sequence[Mapping[str, Any]],
    rules: Mapping[str, Any] | None = None,
    environment: Environment | Mapping[str, Any] | None = None,
    seed: int | None = None,
    at_ns: int = 0,
    shrunk_from: str | None = None,
    bytes_max: int = CAPSULE_BYTES_MAX,
    hooks: Iterable[RedactionHook] = DEFAULT_HOOKS,
) -> Capsule:
    """Keep a conflict: secrets out, then cut to size. Pure; what it is given is not changed.

    Args:
        id: ``RUN.cN``, N the conflict's number in its run.
        outcomes: ``{implementation, outcome, output, failure, seconds}`` of each twin.
        fields: ``{path, left, right}``, paths into the outputs.
        environment: What ``read_environment`` gave for this session.
        bytes_max: Cap on the encoded capsule, at least ``CAPSULE_BYTES_MIN``.
        hooks: What claims a part as secret; empty keeps everything.

    Raises: ValueError if ``bytes_max`` is too small.
    """
    if bytes_max < CAPSULE_BYTES_MIN:
        raise ValueError(f"bytes_max={bytes_max}: must be at least {CAPSULE_BYTES_MIN}")
    surroundings = (
        msgspec.to_builtins(environment)
        if isinstance(environment, Environment)
        else dict(environment or {})
    )
    odd: list[str] = []
    parts = _fitted(payload, inputs or {}, outcomes, fields[:FIELDS_MAX], odd, bytes_max)
    redaction = Redaction(hooks)
    # In what was given, not in what is kept of it: a secret in a part that was cut is one as well.
    redaction.find("/payload", payload)
    redaction.find("/inputs", dict(inputs or {}))
    for i, outcome in enumerate(outcomes):
        redaction.find(f"/outcomes/{i}", dict(outcome))
    clean = _redacted(parts, redaction)
    capsule = Capsule(
        id=id,
        run=run,
        step=step,
        item=item,
        agent=agent,
        action=action,
        version=version,
        payload=clean["payload"],
        inputs=clean["inputs"],
        outcomes=tuple(clean["outcomes"]),
        fields=tuple(clean["fields"]),
        fields_total=len(fields),
        rules=dict(rules) if rules is not None else None,
        environment=surroundings,
        seed=seed,
        at_ns=at_ns,
        redacted=tuple(redaction.paths),
        truncated=tuple(map(redaction.clean_pointer, odd)),
        shrunk_from=shrunk_from,
    )
    return _cut(capsule, bytes_max)


# Any: as above.
def _fitted(
    payload: Any,
    inputs: Mapping[str, Any],
    outcomes: Sequence[Mapping[str, Any]],
    fields: Sequence[Mapping[str, Any]],
    odd: list[str],
    bytes_max: int,
) -> dict[str, Any]:
    """Give what is kept of each part; ``odd`` gets the paths of what had to be cut."""
    return {
        "payload": fitting(payload, "/payload", odd, bytes_max),
        "inputs": {
            name: fitting(output, f"/inputs/{escape(name)}", odd, bytes_max)
            for name, output in inputs.items()
        },
        "outcomes": [
            {
                key: fitting(part, f"/outcomes/{i}/{escape(key)}", odd, bytes_max)
                for key, part in each.items()
            }
            for i, each in enumerate(outcomes)
        ],
        "fields": [
            {"path": str(each.get("path", ""))}
            | {side: kept_side(each.get(side), f"/fields/{i}/{side}", odd) for side in _SIDES}
            | ({"absent": each["absent"]} if each.get("absent") else {})
            for i, each in enumerate(fields)
        ],
    }


# Any: as above.
def _redacted(parts: dict[str, Any], redaction: Redaction) -> dict[str, Any]:
    """Give the parts without the secrets that were found, and those that the fields show."""
    for field in parts["fields"]:
        for side in _SIDES:  # As they stand in the outputs, under the same names.
            redaction.find(field["path"], field.get(side))
    clean = {n: redaction.apply(f"/{n}", part) for n, part in parts.items() if n != "fields"}
    clean["fields"] = [
        {"path": redaction.clean_pointer(field["path"])}
        | {
            side: redaction.apply(field["path"], field.get(side), f"/fields/{i}/{side}")
            for side in _SIDES
        }
        | ({"absent": field["absent"]} if "absent" in field else {})
        for i, field in enumerate(parts["fields"])
    ]
    return clean


_SIDES = ("left", "right")
_encoder = msgspec.msgpack.Encoder()


def _cut(capsule: Capsule, bytes_max: int) -> Capsule:
    """Cut what is needed least first, until it fits: traces, outputs, fields; then the input."""
    size = len(_encoder.encode(capsule))
    if size <= bytes_max:
        return capsule
    truncated = [*capsule.truncated]
    outcomes = [dict(each) for each in capsule.outcomes]
    for i, each in enumerate(outcomes):
        failure = each.get("failure")
        if isinstance(failure, dict) and failure.get("traceback"):
            each["failure"] = {**failure, "traceback": None}
            truncated.append(f"/outcomes/{i}/failure/traceback")
    capsule = _with(capsule, truncated, outcomes=tuple(outcomes))
    steps = [(f"/outcomes/{i}/output", i) for i in range(len(outcomes))]
    for path, i in sorted(steps, key=lambda s: -encoded_bytes(outcomes[s[1]].get("output"))):
        if len(_encoder.encode(capsule)) <= bytes_max:
            return capsule
        outcomes[i]["output"] = stub(outcomes[i].get("output"))
        truncated.append(path)
        capsule = _with(capsule, truncated, outcomes=tuple(outcomes))
    for name in ("fields", "inputs", "payload", "rules", "environment", "outcomes"):
        if len(_encoder.encode(capsule)) <= bytes_max:
            return capsule
        truncated.append(f"/{name}")
        capsule = _with(capsule, truncated, **{name: _stub_of(capsule, name)})
    return _with(
        capsule,
        sorted({path[:100] for path in truncated})[:20],
        redacted=tuple(path[:100] for path in capsule.redacted[:10]),
    )


def _stub_of(capsule: Capsule, name: str) -> Any:
    value = getattr(capsule, name)
    match name:
        case "fields":
            return tuple(
                {
                    "path": str(field["path"])[:100],
                    "left": stub(field["left"]),
                    "right": stub(field["right"]),
                }
                for field in value[:5]
            )
        case "outcomes":
            return tuple(
                {
                    "implementation": str(each.get("implementation", ""))[:64],
                    "outcome": str(each.get("outcome", ""))[:32],
                    "output": None,
                    "failure": None,
                    "seconds": each.get("seconds", 0.0),
                }
                for each in value[:8]
            )
        case "payload":
            return stub(value)
        case "rules":
            return None
        case _:
            return {}


def _with(capsule: Capsule, truncated: Sequence[str], **changes: Any) -> Capsule:
    return msgspec.structs.replace(capsule, truncated=tuple(dict.fromkeys(truncated)), **changes)
