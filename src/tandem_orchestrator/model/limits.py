"""Limits: how many attempts an agent or an action takes at one time, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.errors import CommandError

RATE_MAX = 1e6
"""Attempts in a second that can be asked for: above it the wait is shorter than a turn."""

# Any: a payload is any plain value; a key is text, a number, a bool or None.
KeyOf = str | Callable[[Any], Any]
"""A field of the payload, or a function of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one agent, or one action, takes."""

    max_concurrency: int | None = None
    """Attempts at one time; with a key, of one key."""
    rate_per_s: float | None = None
    """Starts in a second: each is at least ``1 / rate_per_s`` seconds after the one before."""
    concurrency_key: KeyOf | None = None
    """Attempts of an action with equal keys count together; None: all of them do."""

    @property
    def bind(self) -> bool:
        """Whether an attempt may ever have to wait."""
        return (
            self.max_concurrency is not None
            or self.rate_per_s is not None
            or self.concurrency_key is not None
        )

    def checked(self, label: str) -> Limits:
        """Give itself, unless nothing could run under it. Raises: CommandError, naming the bound."""
        # object: these come from users, whatever their types say.
        bound: object = self.max_concurrency
        rate: object = self.rate_per_s
        key: object = self.concurrency_key
        if bound is not None and (type(bound) is not int or bound < 1):
            raise CommandError(f"{label}: max_concurrency={bound!r}, expected at least 1")
        if rate is not None and not _is_rate(rate):
            text = f"rate_per_s={rate!r}, expected a number above 0, at most {RATE_MAX:g}"
            raise CommandError(f"{label}: {text}")
        if key is not None and not callable(key) and (not isinstance(key, str) or not key):
            text = f"concurrency_key={key!r}, expected a field of the payload or a function of it"
            raise CommandError(f"{label}: {text}")
        return self


def _is_rate(rate: object) -> bool:
    is_number = isinstance(rate, int | float) and not isinstance(rate, bool)
    return is_number and math.isfinite(rate) and 0 < rate <= RATE_MAX  # type: ignore[arg-type, operator]


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """What an attempt of one action has to wait for."""

    agent: Limits
    """Of all actions of its agent together."""
    action: Limits


LimitsOf = Callable[[str, str], AttemptLimits | None]
"""(agent, action) to the limits of this moment; None where nothing ever waits."""


def no_limits(agent: str, action: str) -> AttemptLimits | None:
    """Let everything start at once."""
    return None
