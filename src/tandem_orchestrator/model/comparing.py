"""Rules of comparison: what counts as equal where twins are compared. Plain data.

An action declares them (``@agent.action(..., compare=CompareRules(...))``). Without any, two outputs
agree exactly if their canonical bytes are equal: 1 and 1.0 differ, 0.0 and -0.0 differ, every NaN
equals every NaN, the order of a dict's keys means nothing, the order of a list's items everything.

In the journal, and so in a plan, a ``clean`` hook stands by its name; ``named`` makes that form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tandem_orchestrator.errors import TwinError
from tandem_orchestrator.model.callables import is_callable_name, name_of

FIELDS_MAX = 256
"""Patterns of one set of rules."""
PATTERN_PARTS_MAX = 64
"""Keys and indexes of one pattern."""
ULP_MAX = 2**52
"""Representable numbers between two that may still count as equal: more is no tolerance."""
PLACES_MIN, PLACES_MAX = -18, 18
"""Decimal places; below 0 they count tens, hundreds, …"""
LOCAL_HOOK = "$clean:"
"""Begins the name of a hook that has none of its own, as ``$clean:shop.rate/total``."""


def pattern_parts(pattern: object) -> tuple[str, ...]:
    """Split a pattern into its keys, indexes and ``*``.

    Raises: TwinError if it is not a JSON Pointer (RFC 6901), or is longer than one may be.
    """
    if not isinstance(pattern, str) or (pattern and not pattern.startswith("/")):
        text = f"compare.fields: {pattern!r:.80}, expected a JSON Pointer such as '/items/*/total'"
        raise TwinError(text)
    parts = pattern.split("/")[1:]
    if len(parts) > PATTERN_PARTS_MAX:
        raise TwinError(f"compare.fields: {pattern!r:.80}: over {PATTERN_PARTS_MAX} parts")
    return tuple([part.replace("~1", "/").replace("~0", "~") for part in parts])


def _check_figure(name: str, figure: object, least: float, below: float, expected: str) -> None:
    if figure is None:
        return
    if (
        isinstance(figure, bool)
        or not isinstance(figure, int | float)
        or not least <= figure < below
    ):
        raise TwinError(f"Tolerance: {name}={figure!r}, expected {expected}")


def _check_whole(name: str, figure: object, least: int, most: int) -> None:
    if figure is None:
        return
    if isinstance(figure, bool) or not isinstance(figure, int) or not least <= figure <= most:
        raise TwinError(f"Tolerance: {name}={figure!r}, expected an int from {least} to {most}")


def _check_hook(label: str, hook: object) -> None:
    if hook is None or callable(hook):
        return
    if not isinstance(hook, str) or not (is_callable_name(hook) or hook.startswith(LOCAL_HOOK)):
        raise TwinError(f"{label}={hook!r:.80}: expected a function, or a name of one")


def _check_tolerance(label: str, tolerance: object) -> None:
    if not isinstance(tolerance, Tolerance):
        raise TwinError(f"compare.{label}: {tolerance!r:.60}, expected a Tolerance")


def _error_name(kind: object) -> str:
    if isinstance(kind, str) and kind:
        return kind
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return kind.__name__
    raise TwinError(f"compare.errors: {kind!r:.80}, expected an exception class or its name")


class Tolerance(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True
):
    """How far two values may be apart in one place; what is None is inherited from further out.

    ``abs``, ``rel``, ``ulp`` and ``places`` go together: a place that sets one of them sets all
    four. Two numbers agree if any that is set lets them. Under each, 0.0 and -0.0 agree.
    Raises: TwinError for a figure that is no tolerance.
    """

    abs: float | None = None
    """|left - right| at most this; finite, 0 or more. Also for ints."""
    rel: float | None = None
    """|left - right| at most this share of the larger of the two; at least 0, below 1."""
    ulp: int | None = None
    """At most so many steps from one representable float to the next; in a buffer of its dtype."""
    places: int | None = None
    """|left - right| at most half a unit of this decimal place; -18 to 18."""
    numeric: bool | None = None
    """Numbers are compared as numbers: 1 and 1.0 agree, so do a Decimal's ``"1.50"`` and ``"1.5"``,
    and buffers of other dtype or kind. False without a word; a bool is never a number."""
    nan_equal: bool | None = None
    """Whether NaN agrees with NaN. True without a word."""
    signed_zero: bool | None = None
    """Whether 0.0 and -0.0 differ where no figure is set. True without a word."""
    unordered: bool | None = None
    """Lists here are compared as multisets; lists within their items are not, unless a pattern
    says so. In ``CompareRules.default``: every list."""
    ignore: bool | None = None
    """Whatever stands here agrees, also nothing; False takes a place out of a larger one."""
    # Any: Callable[[value], value], or its name.
    clean: Any = None
    """Applied to the value here on either side before comparing. It must give the type it got, and
    depend on nothing else; what it does not, is a difference that names it."""

    def __post_init__(self) -> None:
        _check_figure("abs", self.abs, 0.0, math.inf, "finite, 0 or more")
        _check_figure("rel", self.rel, 0.0, 1.0, "at least 0 and below 1")
        _check_whole("ulp", self.ulp, 0, ULP_MAX)
        _check_whole("places", self.places, PLACES_MIN, PLACES_MAX)
        _check_hook("clean", self.clean)

    @property
    def has_figure(self) -> bool:
        """Whether it sets any of ``abs``, ``rel``, ``ulp`` and ``places``."""
        return not (
            self.abs is None and self.rel is None and self.ulp is None and self.places is None
        )

    def within(self, outer: Tolerance) -> Tolerance:
        """Fill in from further out what this one leaves open; ``clean`` is never inherited."""
        inherited = {
            name: getattr(self, name) if getattr(self, name) is not None else getattr(outer, name)
            for name in ("numeric", "nan_equal", "signed_zero", "unordered", "ignore")
        }
        figures = self if self.has_figure else outer
        four = {name: getattr(figures, name) for name in ("abs", "rel", "ulp", "places")}
        return Tolerance(**inherited, **four, clean=self.clean)


class CompareRules(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True
):
    """What counts as equal for the outputs, and the failures, of one action's twins.

    Raises: TwinError for a pattern, hook or mapping that cannot be used.
    """

    default: Tolerance = Tolerance()
    """For every place that no pattern is about."""
    fields: dict[str, Tolerance] = {}
    """JSON Pointer with ``*`` for any one key or index to what holds there and below. Where several
    match, the one that reaches further down counts; of equally long ones that which has a literal
    where the other, read from the left, first has ``*``."""
    # Any: Callable[[value], value], or its name.
    clean: Any = None
    """As ``Tolerance.clean``, for the whole output, before any other."""
    errors: dict[str, str] = {}
    """Failure type to the type that it is compared as. Classes may be given; their names are kept."""

    def __post_init__(self) -> None:
        if len(self.fields) > FIELDS_MAX:
            raise TwinError(f"compare: {len(self.fields)} patterns, at most {FIELDS_MAX}")
        for pattern, tolerance in self.fields.items():
            pattern_parts(pattern)
            _check_tolerance(f"fields[{pattern!r}]", tolerance)
        _check_tolerance("default", self.default)
        if self.default.clean is not None:
            raise TwinError("compare.default: clean belongs to a field, or to the rules themselves")
        _check_hook("compare.clean", self.clean)
        names = {_error_name(kind): shared for kind, shared in self.errors.items()}
        for shared in names.values():
            _error_name(shared)
        msgspec.structs.force_setattr(self, "errors", names)

    @property
    def has_hooks(self) -> bool:
        """Whether anything is cleaned."""
        return self.clean is not None or any(t.clean is not None for t in self.fields.values())

    def with_errors(self, errors: Mapping[Any, str]) -> CompareRules:
        """Add an action's own mapping of failure types; what is said here already stays.

        A type that others are mapped to stays as it is: it may have been mapped before.
        """
        given = {_error_name(kind): shared for kind, shared in errors.items()}
        shared_names = set(given.values())
        added = {k: v for k, v in given.items() if k not in shared_names and k not in self.errors}
        return msgspec.structs.replace(self, errors={**added, **self.errors}) if added else self

    @property
    def tells_nan(self) -> bool:
        """Whether NaN may differ from NaN somewhere, so that being the same is not enough."""
        return self.default.nan_equal is False or any(
            tolerance.nan_equal is False for tolerance in self.fields.values()
        )

    def failure_kind(self, type: str | None) -> str | None:
        """Give what a failure's type is compared as."""
        return None if type is None else self.errors.get(type, type)

    def named(
        self, owner: str, registered: Mapping[str, Callable[..., Any]] | None = None
    ) -> tuple[CompareRules, dict[str, Callable[..., Any]]]:
        """Give the form for plans and journal, and the callables by the names it uses.

        Args:
            owner: ``agent.action``; makes the name of a hook that has none, such as a lambda.
            registered: Names that the program registered.
        """
        table: dict[str, Callable[..., Any]] = {}

        def name(hook: Any, pattern: str) -> str | None:
            if hook is None or isinstance(hook, str):
                return hook
            known = name_of(hook, registered) or f"{LOCAL_HOOK}{owner}{pattern}"
            table[known] = hook
            return known

        if not self.has_hooks:
            return self, table
        fields = {
            pattern: msgspec.structs.replace(tolerance, clean=name(tolerance.clean, pattern))
            for pattern, tolerance in self.fields.items()
        }
        whole = name(self.clean, "")
        return CompareRules(
            default=self.default, fields=fields, clean=whole, errors=self.errors
        ), table

    def without_hooks(self) -> CompareRules:
        """Give the same rules for values that have been cleaned already."""
        if not self.has_hooks:
            return self
        fields = {
            pattern: msgspec.structs.replace(tolerance, clean=None)
            for pattern, tolerance in self.fields.items()
        }
        return CompareRules(default=self.default, fields=fields, errors=self.errors)

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> CompareRules:
        """Read rules from plain data, as ``--json`` and the journal hold them.

        Raises: TwinError saying where and what was expected.
        """
        try:
            return msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            raise TwinError(f"compare: {error}") from error

    def to_value(self) -> dict[str, Any]:
        """Give the plain form; hooks must be names (``named``)."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        return value
