"""A full screen that shows pages: their list on the left, the chosen one on the right.

Imports textual, and so is itself imported only where a screen is shown.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Header, Markdown, OptionList
from textual.widgets.option_list import Option

from tandem_orchestrator.agents.tui.interface import Interface
from tandem_orchestrator.agents.tui.pages import Pages
from tandem_orchestrator.agents.visible import visible

HISTORY_MAX = 100
LIST_CHARS = 32
"""Characters of a name that fit beside the page; its end tells more than its beginning."""


class ScreenFailed(RuntimeError):
    """The screen ended by an error of its own; the terminal shows its traceback."""


async def show_pages(screen: PagesScreen) -> int:
    """Show a screen until the reader quits, and give how many pages were opened.

    Raises:
        asyncio.CancelledError: The task was cancelled; the terminal is as it was before.
        ScreenFailed: See there.
    """
    opened = await screen.run_async()
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError  # textual ends quietly when it is cancelled
    if opened is None:
        raise ScreenFailed(f"the screen ended with status {screen.return_code}")
    return opened


class PagesScreen(App[int]):
    """Shows pages until the reader quits; gives how many were opened."""

    CSS = """
    #list { width: 38; height: 1fr; border: none; border-right: solid $primary; }
    #list.alone { width: 1fr; }
    #page { width: 1fr; height: 1fr; padding: 0 1; }
    .away { display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("l", "toggle_list", "List"),
        Binding("b", "back", "Back"),
        Binding("i", "index", "Index"),
        Binding("e", "edit", "Edit"),
    ]

    def __init__(
        self, pages: Pages, interface: Interface, *, title: str, allow_editing: bool = False
    ) -> None:
        """Prepare to show pages; at least one."""
        super().__init__()
        self.title = title
        self._pages = pages
        self._interface = interface
        self._allow_editing = allow_editing
        self._page = pages.names[0]
        self._history: list[str] = []
        self._opened = 0

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Header()
        with Horizontal():
            yield OptionList(
                *(Option(_short(visible(name.removesuffix(".md")))) for name in self._pages.names),
                id="list",
                markup=False,
            )
            with VerticalScroll(id="page"):
                yield Markdown(id="text", open_links=False)
        yield Footer()

    async def on_mount(self) -> None:
        """Show the first page."""
        self.theme = f"textual-{self._interface.theme}"
        if self._interface.layout == "single":
            self.query_one("#list").add_class("away")
        await self._open(self._page)
        self.query_one("#list" if self._interface.layout == "split_pane" else "#page").focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer editing only where it is allowed."""
        return self._allow_editing if action == "edit" else True

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open the page that was chosen in the list."""
        await self._go(self._pages.names[event.option_index])

    async def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Follow a link to another page; name where any other link leads."""
        event.stop()
        found = self._pages.follow(self._page, event.href)
        if found is None:
            self.notify(visible(event.href), title="Not a page", markup=False)
            return
        page, anchor = found
        if page != self._page:
            await self._go(page)
        if anchor:
            self.query_one("#text", Markdown).goto_anchor(anchor)

    def action_toggle_list(self) -> None:
        """Show or hide the list; in the layout ``single`` it takes the whole screen."""
        listing, page = self.query_one("#list"), self.query_one("#page")
        listing.toggle_class("away")
        if self._interface.layout == "single":
            hidden = listing.has_class("away")
            listing.set_class(not hidden, "alone")
            page.set_class(not hidden, "away")
        (page if listing.has_class("away") else listing).focus()

    async def action_back(self) -> None:
        """Return to the page before."""
        if self._history:
            await self._open(self._history.pop())

    async def action_index(self) -> None:
        """Go to the first page."""
        await self._go(self._pages.names[0])

    async def action_quit(self) -> None:
        """End the screen."""
        self.exit(self._opened)

    async def action_edit(self) -> None:
        """Open the page in ``$VISUAL`` or ``$EDITOR``, then show what became of it."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            self.notify("Set VISUAL or EDITOR to edit pages.", severity="warning")
            return
        command = [*shlex.split(editor), str(self._pages.folder / self._page)]
        try:
            with self.suspend():
                # Awaited, so that the loop, which runs more than this screen, goes on meanwhile.
                process = await asyncio.create_subprocess_exec(*command)
                status = await process.wait()
        except OSError as error:
            self.notify(visible(f"{command[0]}: {error.strerror}"), severity="error", markup=False)
            return
        if status:
            self.notify(
                visible(f"{command[0]} ended with {status}"), severity="error", markup=False
            )
        await self._open(self._page)

    async def _go(self, page: str) -> None:
        self._history = [*self._history, self._page][-HISTORY_MAX:]
        if self._interface.layout == "single" and not self.query_one("#list").has_class("away"):
            self.action_toggle_list()
        await self._open(page)

    async def _open(self, page: str) -> None:
        try:
            text = await asyncio.to_thread(self._pages.read, page)
        except OSError as error:
            text = f"This page cannot be read: {error.strerror}"
        self._page = page
        self._opened += 1
        self.sub_title = visible(page)
        listing = self.query_one("#list", OptionList)
        listing.highlighted = self._pages.names.index(page)
        await self.query_one("#text", Markdown).update(text)
        self.query_one("#page").scroll_home(animate=False)


def _short(name: str) -> str:
    return name if len(name) <= LIST_CHARS else "…" + name[-(LIST_CHARS - 1) :]
