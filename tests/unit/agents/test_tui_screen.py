"""The screen, driven by textual's pilot, and once by a real pseudo-terminal."""

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from tandem_orchestrator.agents.tui.interface import Interface
from tandem_orchestrator.agents.tui.pages import PAGE_BYTES_MAX, find_pages

pytest.importorskip("textual")

from textual.widgets import Markdown, OptionList

from tandem_orchestrator.agents.tui.screen import PagesScreen


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "index.md").write_text(
        "# Index\n\n[a](modules/a.md#act) [out](../x.py) [w](http://h/)\n"
    )
    (tmp_path / "names.md").write_text("# Names\n")
    (tmp_path / "modules" / "a.md").write_text("# a\n\n## act\n\n[back](../index.md)\n")
    (tmp_path / "modules" / "b.md").write_text("# b\n")
    (tmp_path / "deep" / "deeper" / "x.md").write_text("# too deep\n")
    (tmp_path / "link.md").symlink_to("names.md")
    (tmp_path / "notes.txt").write_text("no page")
    return tmp_path


def screen_of(folder, *, allow_editing=False, **interface):
    pages = find_pages(folder)
    wished = Interface(kind="textual", **interface)
    return PagesScreen(pages, wished, title="Pages", allow_editing=allow_editing)


def test_pages_are_those_of_the_folder_with_the_index_first(folder):
    assert find_pages(folder).names == ("index.md", "names.md", "modules/a.md", "modules/b.md")


@pytest.mark.parametrize(
    ("page", "href", "found"),
    [
        ("index.md", "modules/a.md#act", ("modules/a.md", "act")),
        ("modules/a.md", "../index.md", ("index.md", "")),
        ("modules/a.md", "b.md", ("modules/b.md", "")),
        ("modules/a.md", "#act", ("modules/a.md", "act")),
        ("index.md", "../secret.md", None),
        ("index.md", "/etc/passwd", None),
        ("index.md", "http://h/index.md", None),
        ("index.md", "modules/%61.md", ("modules/a.md", "")),
        ("index.md", "notes.txt", None),
    ],
)
def test_links_lead_to_pages_of_the_folder_only(folder, page, href, found):
    assert find_pages(folder).follow(page, href) == found


def test_of_a_long_page_only_the_beginning_is_read(folder):
    (folder / "long.md").write_bytes(b"x" * (PAGE_BYTES_MAX + 10))

    text = find_pages(folder).read("long.md")

    assert text.startswith("x" * PAGE_BYTES_MAX)
    assert text.endswith("*The rest is in the file long.md.*\n")


def test_control_characters_of_an_edited_page_do_not_reach_the_screen(folder):
    (folder / "names.md").write_text("\x1b]0;title\x07\ttext\u202e\n")

    assert find_pages(folder).read("names.md") == "\\u001b]0;title\\u0007\ttext\\u202e\n"


async def test_the_index_is_shown_beside_the_list_and_q_quits(folder):
    screen = screen_of(folder)
    async with screen.run_test() as pilot:
        assert screen.theme == "textual-dark"
        assert screen.query_one("#list", OptionList).option_count == 4
        assert screen.query_one("#list").display
        assert screen.query_one("#text", Markdown).source.startswith("# Index")
        assert screen.sub_title == "index.md"
        await pilot.press("q")

    assert screen.return_value == 1


async def test_a_page_is_chosen_in_the_list_and_b_goes_back(folder):
    screen = screen_of(folder)
    async with screen.run_test() as pilot:
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        chosen = screen.query_one("#text", Markdown).source
        await pilot.press("b")
        await pilot.pause()
        back = screen.sub_title
        await pilot.press("q")

    assert chosen.startswith("# a")
    assert back == "index.md"
    assert screen.return_value == 3


async def test_links_are_followed_inside_and_named_outside(folder):
    screen = screen_of(folder)
    async with screen.run_test(notifications=True) as pilot:
        text = screen.query_one("#text", Markdown)
        text.post_message(Markdown.LinkClicked(text, "modules/a.md#act"))
        await pilot.pause()
        inside = screen.sub_title
        text.post_message(Markdown.LinkClicked(text, "http://h/\x1b[31m"))
        await pilot.pause()
        named = [n.message for n in screen._notifications]
        await pilot.press("q")

    assert inside == "modules/a.md"
    assert named == ["http://h/\\u001b[31m"]


async def test_the_layout_single_shows_the_list_or_the_page(folder):
    screen = screen_of(folder, layout="single", theme="light")
    async with screen.run_test() as pilot:
        listing, page = screen.query_one("#list"), screen.query_one("#page")
        seen = [(listing.display, page.display)]
        await pilot.press("l")
        seen.append((listing.display, page.display))
        await pilot.press("down", "enter")
        await pilot.pause()
        seen.append((listing.display, page.display))
        theme, shown = screen.theme, screen.sub_title
        await pilot.press("q")

    assert seen == [(False, True), (True, False), (False, True)]
    assert (theme, shown) == ("textual-light", "names.md")


async def test_editing_is_offered_only_where_it_is_allowed(folder, monkeypatch):
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    answers = {}
    for allowed in (False, True):
        screen = screen_of(folder, allow_editing=allowed)
        async with screen.run_test(notifications=True) as pilot:
            await pilot.press("e")
            await pilot.pause()
            answers[allowed] = [n.message for n in screen._notifications]
            await pilot.press("q")

    assert answers == {False: [], True: ["Set VISUAL or EDITOR to edit pages."]}


async def test_a_page_that_vanished_says_so(folder):
    screen = screen_of(folder)
    (folder / "names.md").unlink()
    async with screen.run_test() as pilot:
        await pilot.press("down", "enter")
        await pilot.pause()
        text = screen.query_one("#text", Markdown).source
        await pilot.press("q")

    assert text == "This page cannot be read: No such file or directory"


PROGRAM = """
import asyncio, json, signal, sys, termios
from types import SimpleNamespace
from tandem_orchestrator.agents.tui import actions

folder, result = sys.argv[1:]
documentation = {"directory": folder, "index": folder + "/index.md", "pages": 4}
ctx = SimpleNamespace(run_id="r", inputs={"generate": documentation})

async def main():
    made = await actions.create_interface({"theme": "light"}, ctx)
    task = asyncio.ensure_future(
        actions.display_results({"interactive": True, "allow_editing": True}, ctx)
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, task.cancel)
    try:
        return [made, await task]
    except asyncio.CancelledError:
        return [made, "cancelled"]

before = termios.tcgetattr(0)
answer = asyncio.run(main())
with open(result, "w") as file:
    json.dump([*answer, termios.tcgetattr(0)[3] == before[3]], file)
"""


CANCEL = b""


def run_in_terminal(folder, result, keys, editor="/bin/true"):
    """Run PROGRAM in a pseudo-terminal; press keys once the footer is there; give its result."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(result)],
        stdin=child, stdout=child, stderr=child, start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "EDITOR": editor, "COLUMNS": "100", "LINES": "30"},
    )  # fmt: skip
    os.close(child)
    output, pending, deadline = b"", list(keys), time.monotonic() + 40
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([parent], [], [], 0.25)
            if ready:
                try:
                    output += os.read(parent, 65536)
                except OSError:  # the other end is closed: the program has ended
                    break
            elif pending and b"Quit" in output:
                key = pending.pop(0)
                if key is CANCEL:
                    process.send_signal(signal.SIGUSR1)
                else:
                    os.write(parent, key)
            if process.poll() is not None and not ready:
                break
        process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert process.returncode == 0, output[-2000:]
    return json.loads(result.read_text()), output


def test_in_a_terminal_a_screen_is_shown_until_q_and_an_editor_can_be_opened(folder, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\necho '# Edited' > \"$1\"\n")
    editor.chmod(0o755)

    (made, shown, restored), output = run_in_terminal(
        folder, tmp_path / "result", [b"e", b"q"], editor=str(editor)
    )

    assert made == {"layout": "split_pane", "theme": "light", "kind": "textual", "reason": None}
    assert shown == {"shown": "screen", "pages": 2}
    assert (folder / "index.md").read_text() == "# Edited\n"
    assert restored
    assert b"\x1b[?1049h" in output  # the alternate screen was entered
    assert output.rindex(b"\x1b[?1049l") > output.rindex(b"\x1b[?1049h")  # and left for good


def test_a_cancelled_screen_is_cancelled_and_gives_the_terminal_back(folder, tmp_path):
    (_, shown, restored), output = run_in_terminal(folder, tmp_path / "result", [CANCEL])

    assert shown == "cancelled"
    assert restored
    assert output.rindex(b"\x1b[?1049l") > output.rindex(b"\x1b[?1049h")


async def test_asyncio_is_left_with_no_task_of_ours(folder):
    before = asyncio.all_tasks()
    screen = screen_of(folder)
    async with screen.run_test() as pilot:
        await pilot.press("q")

    assert asyncio.all_tasks() == before
