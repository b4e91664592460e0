"""What to show on: a full screen where there is a terminal, plain text where there is none."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tandem_orchestrator.agents.payload import one_of, read_payload

LAYOUTS = ("split_pane", "single")
"""The first is the default."""
THEMES = ("dark", "light")
"""The first is the default."""
INTERFACES_MAX = 256
"""Runs whose interface is remembered; the oldest is forgotten."""
EXTRA_HINT = "pip install 'tandem-orchestrator[tui]'"

_READERS = {"layout": one_of(*LAYOUTS), "theme": one_of(*THEMES)}


@dataclass(frozen=True, slots=True)
class Interface:
    """How one run shows things."""

    layout: str = "split_pane"
    """``split_pane``: the list beside the page; ``single``: one of them at a time."""
    theme: str = "dark"
    kind: Literal["textual", "text"] = "text"
    reason: str | None = None
    """Why it is plain text; None where it is a screen."""

    # Any: plain values, as they are journaled.
    def to_value(self) -> dict[str, Any]:
        """Give the output of ``tui.create_interface``."""
        return asdict(self)


def make_interface(payload: object) -> Interface:
    """Describe the interface for a payload ``{"layout", "theme"}``, on this terminal.

    Raises: TypeError, ValueError.
    """
    fields = read_payload(payload, _READERS)
    reason = why_no_screen()
    return Interface(
        layout=fields.get("layout", LAYOUTS[0]),
        theme=fields.get("theme", THEMES[0]),
        kind="textual" if reason is None else "text",
        reason=reason,
    )


def why_no_screen() -> str | None:
    """Say why a full screen cannot be shown here and now; None if it can.

    A screen needs the terminal for itself: if standard output goes elsewhere, someone reads it,
    and keys come from standard input.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            is_terminal = stream is not None and stream.isatty()
        except ValueError:  # closed
            is_terminal = False
        if not is_terminal:
            return f"{name} is not a terminal"
    if os.environ.get("TERM", "") in ("", "dumb"):
        return "TERM says that the terminal cannot move its cursor"
    if importlib.util.find_spec("textual") is None:
        return f"textual is not installed: {EXTRA_HINT}"
    if threading.current_thread() is not threading.main_thread():
        return "the orchestrator runs beside the main thread, which alone hears of resizing"
    return None


class Interfaces:
    """The interfaces of the runs of this process; safe to use from any thread.

    A step that displays need not depend on the one that made the interface, so that its output
    may not be among the inputs. What is not remembered, as after a restart, is made anew.
    """

    def __init__(self, most: int = INTERFACES_MAX) -> None:
        """Remember the interfaces of at most ``most`` runs."""
        self._most = most
        self._by_run: OrderedDict[str, Interface] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, run_id: str, interface: Interface) -> None:
        """Keep a run's interface."""
        with self._lock:
            self._by_run[run_id] = interface
            self._by_run.move_to_end(run_id)
            while len(self._by_run) > self._most:
                self._by_run.popitem(last=False)

    def find(self, run_id: str, inputs: Mapping[str, Any]) -> Interface:
        """Give a run's interface: from its inputs, from memory, or a default one."""
        wished = next((value for value in inputs.values() if _is_interface(value)), None)
        if wished is None:
            with self._lock:
                known = self._by_run.get(run_id)
            wished = known.to_value() if known else {}
        # Whether there is a screen is asked here and now: the run may have moved to a process
        # without one since the interface was described.
        return make_interface({key: wished[key] for key in _READERS if key in wished})


def _is_interface(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"layout", "theme", "kind", "reason"}
