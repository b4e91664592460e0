"""The agent `tui`: show things to whoever sits at the terminal, if anybody does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tandem_orchestrator import Agent
from tandem_orchestrator.agents.payload import read_bool, read_dict, read_payload, read_str
from tandem_orchestrator.agents.tui.interface import (
    EXTRA_HINT,
    Interface,
    Interfaces,
    make_interface,
)
from tandem_orchestrator.agents.tui.plain import (
    is_documentation,
    message_lines,
    result_lines,
    write_lines,
)

agent = Agent("tui")
"""Found by the entry point ``tandem.agents``."""

_interfaces = Interfaces()
_hinted: set[str] = set()


_on_screen: set[Path] = set()
"""The folder whose pages are on the screen, of which a process has one; touched on the loop only."""


# Any, throughout: payload, context and output are the runner's to type; they are checked inside.
@agent.action("create_interface", effects="none")
async def create_interface(payload: Any, ctx: Any) -> dict[str, Any]:
    """Decide how this run shows things, and describe it.

    Args:
        payload: ``layout`` (``split_pane`` or ``single``), ``theme`` (``dark`` or ``light``).
        ctx: Later steps of the same run find the interface by its ``run_id``.

    Returns: ``{"layout", "theme", "kind": "textual" | "text", "reason"}``; the reason says why
        it is text.
    """
    # On the loop, as display_results will be: whether that is the main thread decides.
    interface = make_interface(payload)
    _interfaces.remember(ctx.run_id, interface)
    return interface.to_value()


@agent.action("display", effects="idempotent")
def display(payload: Any) -> dict[str, Any]:
    """Show a message on standard error.

    Args:
        payload: ``message``, and a ``title`` if it has one.

    Returns: ``{"shown": "text" | "nowhere", "lines": n}``.
    """
    fields = read_payload(payload, {"message": read_str, "title": read_str})
    if "message" not in fields:
        raise ValueError("payload.message: is missing, must be a str")
    return write_lines(message_lines(fields["message"], fields.get("title")))


@agent.action("display_results", effects="idempotent")
async def display_results(payload: Any, ctx: Any) -> dict[str, Any]:
    """Show what the steps before gave; documentation on a screen, until the reader quits.

    Args:
        payload: ``interactive`` (default false): use a full screen where there is one;
            ``allow_editing`` (default false): ``e`` opens a page in ``$EDITOR``; ``results``:
            step id to output, in place of the inputs.
        ctx: Its ``inputs`` are what is shown.

    Returns: ``{"shown": "screen", "pages": opened}``, or ``{"shown": "text", "lines": n,
        "reason"}`` where the reason says why there was no screen.
    """
    readers = {"allow_editing": read_bool, "interactive": read_bool, "results": read_dict}
    fields = read_payload(payload, readers)
    results = fields.get("results", dict(ctx.inputs))
    interface = _interfaces.find(ctx.run_id, ctx.inputs)
    documentation = next((value for value in results.values() if is_documentation(value)), None)
    if not fields.get("interactive", False):
        reason: str | None = "not interactive"
    elif documentation is None:
        reason = "no pages among the results"
    else:
        reason = interface.reason
    if documentation is not None and reason is None:
        folder, editing = Path(documentation["directory"]), fields.get("allow_editing", False)
        opened, reason = await _show_screen(folder, interface, editing)
        if reason is None:
            return {"shown": "screen", "pages": opened}
    lines = result_lines(results)
    if reason is not None and EXTRA_HINT in reason and not _hinted:
        _hinted.add(reason)  # once is help, every time is noise
        lines.append(f"A screen instead of this text: {EXTRA_HINT}")
    return {**await asyncio.to_thread(write_lines, lines), "reason": reason}


async def _show_screen(folder: Path, interface: Interface, editing: bool) -> tuple[int, str | None]:
    """Show the pages of a folder; give how many were opened, or why none could be shown."""
    from tandem_orchestrator.agents.tui.pages import find_pages
    from tandem_orchestrator.agents.tui.screen import PagesScreen, show_pages

    pages = await asyncio.to_thread(find_pages, folder)
    if not pages.names:
        return 0, "the folder of pages is empty"
    if _on_screen:
        return 0, "another run is on the screen"
    _on_screen.add(folder)
    try:
        screen = PagesScreen(pages, interface, title="Documentation", allow_editing=editing)
        return await show_pages(screen), None
    finally:
        _on_screen.discard(folder)
