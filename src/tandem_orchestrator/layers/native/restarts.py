"""When a dead bridge may start again: back-off, a cap, and a breaker. Pure; the time is passed in.

Each death in a row doubles the wait up to the cap. More than ``deaths_max`` deaths within
``window_s`` open the breaker: nothing starts for ``cooldown_s``, then one trial start is allowed;
if it dies as well, the breaker opens again at once. A bridge that stayed up for ``window_s`` has
proved itself, and the count starts anew.

Source: the circuit breaker of M. Nygard, "Release It!", 2007; the window as in Erlang/OTP's
supervisor (intensity and period).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """How patient the supervisor is."""

    first_delay_s: float = 0.05
    """Wait after the first death, in seconds; above 0."""
    delay_max_s: float = 5.0
    """Cap of every wait but the breaker's, in seconds; at least ``first_delay_s``."""
    deaths_max: int = 5
    """Deaths allowed within ``window_s``; one more opens the breaker."""
    window_s: float = 60.0
    """Seconds over which deaths count."""
    cooldown_s: float = 30.0
    """Seconds for which an open breaker starts nothing."""

    def __post_init__(self) -> None:
        if not 0 < self.first_delay_s <= self.delay_max_s:
            raise ValueError(
                f"first_delay_s={self.first_delay_s}, delay_max_s={self.delay_max_s}: "
                "need 0 < first_delay_s <= delay_max_s"
            )
        if self.deaths_max < 1 or self.window_s <= 0 or self.cooldown_s <= 0:
            raise ValueError(f"{self}: deaths_max, window_s and cooldown_s must be above 0")


@dataclass(frozen=True, slots=True)
class RestartDecision:
    """What to do after a death."""

    delay_s: float
    """Seconds to wait before the next start."""
    breaker_open: bool
    """Whether this wait is the breaker's."""


class RestartPolicy:
    """Count deaths and say how long to wait before the next start."""

    def __init__(self, limits: RestartLimits) -> None:
        self.limits = limits
        self.deaths_total = 0
        self.breaker_open = False
        self._recent_s: deque[float] = deque(maxlen=limits.deaths_max + 1)

    def note_death(self, now_s: float) -> RestartDecision:
        """Count a death (or a start that failed) at ``now_s``, monotonic seconds."""
        self.deaths_total += 1
        while self._recent_s and now_s - self._recent_s[0] >= self.limits.window_s:
            self._recent_s.popleft()
        self._recent_s.append(now_s)
        in_a_row = len(self._recent_s)
        # While open, the one trial start that was allowed has just died.
        self.breaker_open = self.breaker_open or in_a_row > self.limits.deaths_max
        if self.breaker_open:
            return RestartDecision(self.limits.cooldown_s, True)
        delay_s = self.limits.first_delay_s * 2.0 ** (in_a_row - 1)
        return RestartDecision(min(delay_s, self.limits.delay_max_s), False)

    def note_steady(self) -> None:
        """The bridge has been up for ``window_s``: forget what was."""
        self.breaker_open = False
        self._recent_s.clear()
