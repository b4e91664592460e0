"""What the process ends with, and how an error is told to a person or a program."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Any

from tandem_orchestrator import (
    Busy,
    CommandError,
    ConfigError,
    IdempotencyMismatch,
    JournalError,
    LayerUnavailable,
    TandemError,
)
from tandem_orchestrator.cli.output import print_json, visible


class Exit(IntEnum):
    """Exit codes, as ``API`` pins them."""

    DONE = 0
    FAILED = 1
    """Failed, timed out or cancelled."""
    USAGE = 2
    HELD = 3
    INVALID = 4
    REFUSED = 5
    """By a layer, the journal or a bound."""
    INTERRUPTED = 130
    """By SIGINT: 128 and the signal's number, as shells tell it."""
    TERMINATED = 143
    """By SIGTERM."""


class UsageError(Exception):
    """An option that cannot be used; the message says what was expected."""


class Stopped(Exception):
    """A signal ended the command, which has closed what it opened; its run was cancelled."""

    def __init__(self, code: Exit, run_id: str = "") -> None:
        super().__init__("terminated" if code is Exit.TERMINATED else "interrupted")
        self.code = code
        self.run_id = run_id


def exit_of_status(status: str) -> Exit:
    """Give the exit code for how a run ended."""
    return {"completed": Exit.DONE, "held": Exit.HELD}.get(status, Exit.FAILED)


def exit_of_error(error: Exception) -> Exit:
    """Give the exit code for an error."""
    if isinstance(error, UsageError | ConfigError):
        return Exit.USAGE
    if isinstance(error, CommandError | IdempotencyMismatch):
        return Exit.INVALID
    if isinstance(error, LayerUnavailable | JournalError | Busy):
        return Exit.REFUSED
    return Exit.FAILED


def tell_error(error: Exception, *, as_json: bool) -> Exit:
    """Print an error and give its exit code."""
    code = exit_of_error(error)
    faults = error.faults if isinstance(error, TandemError) else ()
    if as_json:
        shown: dict[str, Any] = {
            "status": "invalid" if code is Exit.INVALID else "refused",
            "error": str(error),
            "error_type": type(error).__name__,
            "faults": [
                {
                    "code": fault.code,
                    "path": fault.path,
                    "message": fault.message,
                    "value": fault.value,
                    "nearest": list(fault.nearest),
                }
                for fault in faults
            ],
        }
        print_json(shown)
    elif faults:
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
        where = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        print(f"tandem: {visible(where)}{count}, nothing was run:", file=sys.stderr)
        for fault in faults:
            print(f"  {visible(str(fault))}", file=sys.stderr)
    else:
        print(f"tandem: {visible(str(error))}", file=sys.stderr)
    return code


def tell_stopped(stopped: Stopped, *, as_json: bool) -> Exit:
    """Say which run a signal has cancelled, if there was one, and give the exit code."""
    text = str(stopped)
    if stopped.run_id:
        text += f", run {stopped.run_id} was cancelled"
    if as_json:
        kind = "Terminated" if stopped.code is Exit.TERMINATED else "Interrupted"
        shown = {"status": "cancelled", "error": text, "error_type": kind, "faults": []}
        print_json(shown | ({"run_id": stopped.run_id} if stopped.run_id else {}))
    elif stopped.run_id:
        print(f"tandem: {text}", file=sys.stderr)
    return stopped.code
