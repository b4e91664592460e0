"""What running an action does to the world, and so whether it may be run twice."""

from __future__ import annotations

from typing import Literal, get_args

Effects = Literal["none", "idempotent", "external"]
"""``none``: nothing outside changes. ``idempotent``: twice is as good as once. ``external``:
once only, so an attempt that may have run is not repeated unless its retry policy says so."""

EFFECTS: tuple[Effects, ...] = get_args(Effects)
"""Every kind, mildest first."""


def may_repeat(effects: str) -> bool:
    """Say whether work that may have run can be given out again without asking."""
    return effects != "external"
