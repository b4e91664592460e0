"""Retry policies: how often, and how long to wait in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt is tried again."""

    max_retries: int = 0
    """Attempts after the first; 0 to 1,000."""
    backoff: float = 2.0
    """Each wait's ceiling is this many times the one before; 1.0 to 100."""
    initial_delay: float = 0.1
    """Ceiling of the first wait, seconds; 0 or more."""
    max_delay: float = 30.0
    """Ceiling of every wait, seconds; at least ``initial_delay``."""
    jitter: bool = True
    """Draw each wait from [0, ceiling] ("full jitter") instead of waiting for the ceiling."""
    retry_on: tuple[str, ...] | None = None
    """Failure types, or outcomes such as ``timed_out`` and ``unknown``; None: failed,
    timed_out and abandoned, whatever the type. ``unknown`` must be named to be retried."""

    def delay_s(self, attempt: int, roll: float) -> float:
        """Give the wait before the next attempt.

        Args:
            attempt: Attempts made so far, counted from 1.
            roll: A random number in [0, 1), passed in so that a run can be replayed.

        Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        # Past 2**60 growth would only overflow; the cap decides long before that.
        growth = min(self.backoff ** min(attempt - 1, 60), 2.0**60)
        ceiling_s = min(self.max_delay, self.initial_delay * growth)
        return ceiling_s * roll if self.jitter else ceiling_s

    def wants(self, outcome: str, failure_type: str | None) -> bool:
        """Say whether this way of failing is one to retry."""
        if self.retry_on is None:
            return outcome in ("failed", "timed_out", "abandoned")
        return outcome in self.retry_on or failure_type in self.retry_on

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> RetryPolicy:
        """Read SPEC's ``retry_policy`` dict; nothing in it gives ``NO_RETRY`` itself.

        Raises: ValueError naming the key, the value and what was expected.
        """
        if not given:
            return NO_RETRY
        unknown = given.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"retry_policy: unknown key {min(unknown)!r}, expected {known}")
        retry_on = given.get("retry_on")
        if isinstance(retry_on, str):
            retry_on = (retry_on,)
        if retry_on is not None and not (
            isinstance(retry_on, list | tuple) and all(isinstance(name, str) for name in retry_on)
        ):
            raise ValueError(f"retry_policy.retry_on: {retry_on!r}, expected a list of names")
        numbers: dict[str, Any] = {}
        for key, low, high, kind in (
            ("max_retries", 0, 1000, int),
            ("backoff", 1.0, 100.0, float),
            ("initial_delay", 0.0, 86_400.0, float),
            ("max_delay", 0.0, 604_800.0, float),
        ):
            if key not in given:
                continue
            value = given[key]
            if isinstance(value, bool) or not isinstance(
                value, int if kind is int else (int, float)
            ):
                raise ValueError(f"retry_policy.{key}: {value!r}, expected a number")
            if not low <= value <= high:
                raise ValueError(f"retry_policy.{key}: {value!r}, expected {low} to {high}")
            numbers[key] = kind(value)
        jitter = given.get("jitter", True)
        if not isinstance(jitter, bool):
            raise ValueError(f"retry_policy.jitter: {jitter!r}, expected true or false")
        if "max_delay" not in numbers:
            numbers["max_delay"] = max(30.0, numbers.get("initial_delay", 0.0))
        policy = cls(
            jitter=jitter, retry_on=None if retry_on is None else tuple(retry_on), **numbers
        )
        if policy.max_delay < policy.initial_delay:
            raise ValueError(
                f"retry_policy.max_delay: {policy.max_delay}, expected at least initial_delay "
                f"({policy.initial_delay})"
            )
        return policy


NO_RETRY = RetryPolicy()
"""What goes for most steps: one attempt. One for all of them; a plan leaves it out when written."""
