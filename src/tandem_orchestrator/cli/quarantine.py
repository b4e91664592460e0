"""``tandem agent quarantined|release``: inputs that keep crashing the host of their plug-in."""

from __future__ import annotations

import time

import msgspec

from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.output import print_json, print_table, print_text
from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.orchestrator.composition import make_quarantine
from tandem_orchestrator.settings import Settings


def quarantined(settings: Settings, *, limit: int, as_json: bool) -> Exit:
    """List the inputs that are refused, the last to crash first."""
    held = make_quarantine(settings, SystemClock()).held()
    shown = held[:limit]
    if as_json:
        print_json([msgspec.to_builtins(suspect) for suspect in shown])
        return Exit.DONE
    if not held:
        print_text("no input is quarantined")
        return Exit.DONE
    rows = [
        (
            suspect.digest[:16],
            f"{suspect.agent}.{suspect.action}",
            str(suspect.crashes),
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(suspect.last_at_s)),
            suspect.last_words,
        )
        for suspect in shown
    ]
    print_table(("digest", "action", "crashes", "last", "last words"), rows, may_go=("last words",))
    if len(shown) < len(held):
        print_text(f"{len(held) - len(shown)} more; --limit shows them")
    return Exit.DONE


def release(settings: Settings, digest: str) -> Exit:
    """Let a quarantined input start again.

    Raises: UsageError for a digest that is too short or names no quarantined input.
    """
    try:
        released = make_quarantine(settings, SystemClock()).release(digest)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not released:
        raise UsageError(f"{digest}: no quarantined input has a digest that begins so")
    print_text(f"released {released}")
    return Exit.DONE
