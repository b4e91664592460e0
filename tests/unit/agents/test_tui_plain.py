"""The agent tui where there is no terminal: plain text on standard error."""

import importlib.util
import io
import re
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.agents.tui import actions, interface
from tandem_orchestrator.agents.tui.interface import Interface, Interfaces, make_interface
from tandem_orchestrator.agents.tui.plain import (
    LINE_CHARS_MAX,
    LINES_MAX,
    result_lines,
    write_lines,
)

DOCUMENTATION = {
    "format": "markdown", "directory": "/w/docs", "index": "/w/docs/index.md", "pages": 1200,
    "bytes": 10, "written": 3, "unchanged": 1197, "removed": 0, "kept": ["a.md"], "modules": 900,
}  # fmt: skip


def context(run_id="r", **inputs):
    return SimpleNamespace(run_id=run_id, inputs=inputs)


def test_a_message_goes_to_standard_error_and_nothing_to_standard_output(capsys):
    result = actions.display({"message": "Hello World"})

    out, err = capsys.readouterr()
    assert (out, err) == ("", "Hello World\n")
    assert result == {"shown": "text", "lines": 1}


def test_a_title_stands_above_its_message(capsys):
    actions.display({"message": "one\ntwo\n", "title": "Head"})

    assert capsys.readouterr().err == "Head\n----\none\ntwo\n"


@pytest.mark.parametrize(
    ("payload", "error", "words"),
    [
        ({}, ValueError, "payload.message: is missing"),
        ({"message": 1}, TypeError, "payload.message: must be a str"),
        ({"message": "x", "colour": "red"}, ValueError, "unknown key 'colour', must be one of message, title"),
        ("x", TypeError, "must be a dict"),
    ],
)  # fmt: skip
def test_a_wrong_message_fails_with_what_was_expected(payload, error, words, capsys):
    with pytest.raises(error, match=re.escape(words)):
        actions.display(payload)
    assert capsys.readouterr().err == ""


@given(st.lists(st.text(), max_size=5))
def test_no_control_character_reaches_the_terminal(lines):
    stream, old = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline=""), sys.stderr
    sys.stderr = stream
    try:
        result = write_lines(lines)
    finally:
        sys.stderr = old
    written = stream.buffer.getvalue().decode()

    assert result == {"shown": "text", "lines": len(lines)}
    assert written.count("\n") == len(lines)
    assert all(char.isprintable() or char in "\n\u00a0\u3000" or char.isspace() for char in written)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", written)


def test_what_the_terminal_cannot_spell_is_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)

    write_lines(["größer"])

    assert stream.buffer.getvalue() == b"gr\\xf6\\xdfer\n"


def test_lines_are_bounded_in_number_and_length(capsys):
    result = write_lines(["x" * 10_000, *["y"] * LINES_MAX])

    lines = capsys.readouterr().err.splitlines()
    assert len(lines[0]) == LINE_CHARS_MAX
    assert lines[-1] == "... and 1 more lines"
    assert result["lines"] == len(lines) == LINES_MAX + 1


def test_without_a_standard_error_it_is_shown_nowhere_and_said_so(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)

    assert actions.display({"message": "x"}) == {"shown": "nowhere", "lines": 0}


async def test_results_are_summarised_with_the_place_of_the_pages(capsys):
    result = await actions.display_results({}, context(generate=DOCUMENTATION))

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "1,200 pages of documentation about 900 modules (3 written, 1,197 unchanged, 0 removed)",
        "  start at /w/docs/index.md",
        "  kept as someone edited them: a.md",
    ]
    assert result == {"shown": "text", "lines": 3, "reason": "not interactive"}


async def test_an_interactive_display_without_a_terminal_is_text_and_says_why(capsys):
    payload = {"interactive": True, "allow_editing": True}  # as in SPEC's first example

    result = await actions.display_results(payload, context(generate=DOCUMENTATION))

    assert result["shown"] == "text"
    assert re.fullmatch(r"std(in|out|err) is not a terminal", result["reason"])
    assert "/w/docs/index.md" in capsys.readouterr().err


def test_other_results_are_summarised_in_a_line_each():
    assert result_lines({"b": {"x": 1, "y": [1, 2], "z": {}}, "a": "text", "c": None}) == [
        "a: 'text'",
        "b: x=1, y=<2 items>, z=<0 keys>",
        "c: None",
    ]
    assert result_lines({}) == ["There are no results to show."]


async def test_a_wrong_display_fails_with_the_key(capsys):
    with pytest.raises(TypeError, match=r"payload\.interactive: must be a bool"):
        await actions.display_results({"interactive": 1}, context())
    with pytest.raises(ValueError, match="unknown key 'editing'"):
        await actions.display_results({"editing": True}, context())


# --- the interface -------------------------------------------------------------------------------


def pretend_terminal(monkeypatch):
    """Make it look as if everything were a terminal; pytest puts its streams in after fixtures."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", "xterm-256color")


async def test_an_interface_describes_what_there_is(monkeypatch):
    pretend_terminal(monkeypatch)
    made = await actions.create_interface({"layout": "split_pane", "theme": "dark"}, context())

    assert made == {"layout": "split_pane", "theme": "dark", "kind": "textual", "reason": None}


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_each_stream_must_be_a_terminal_for_a_screen(monkeypatch, name):
    pretend_terminal(monkeypatch)
    monkeypatch.setattr(sys, name, SimpleNamespace(isatty=lambda: False))

    assert make_interface({}).kind == "text"
    assert make_interface({}).reason == f"{name} is not a terminal"


def test_a_dumb_terminal_has_no_screen(monkeypatch):
    pretend_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")

    assert "TERM" in make_interface({}).reason


@pytest.mark.parametrize(
    ("page", "on_screen", "reason"),
    [
        (None, (), "the folder of pages is empty"),
        ("index.md", ("/other",), "another run is on the screen"),
    ],
)
async def test_where_a_screen_has_nothing_to_show_or_is_taken_it_is_text(
    tmp_path, monkeypatch, capsys, page, on_screen, reason
):
    pytest.importorskip("textual")
    monkeypatch.setattr(interface, "why_no_screen", lambda: None)
    monkeypatch.setattr(actions, "_on_screen", set(on_screen))
    if page:
        (tmp_path / page).write_text("# x\n")
    documentation = {**DOCUMENTATION, "directory": str(tmp_path)}

    result = await actions.display_results({"interactive": True}, context(g=documentation))

    assert (result["shown"], result["reason"]) == ("text", reason)
    assert actions._on_screen == set(on_screen)


async def test_without_textual_it_is_text_and_the_way_to_get_it_is_told_once(monkeypatch, capsys):
    reason = f"textual is not installed: {interface.EXTRA_HINT}"
    monkeypatch.setattr(interface, "why_no_screen", lambda: reason)
    monkeypatch.setattr(actions, "_hinted", set())

    results = [
        await actions.display_results({"interactive": True}, context(g=DOCUMENTATION))
        for _ in range(2)
    ]

    assert [result["reason"] for result in results] == [reason, reason]
    assert capsys.readouterr().err.count("pip install 'tandem-orchestrator[tui]'") == 1


def test_textual_is_missed_where_it_is_not_installed(monkeypatch):
    pretend_terminal(monkeypatch)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "textual" else find(name)
    )

    assert make_interface({}).reason == f"textual is not installed: {interface.EXTRA_HINT}"


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"layout": "three"}, "split_pane, single"),
        ({"theme": "pink"}, "dark, light"),
        ({"x": 1}, "'x'"),
    ],
)
def test_a_wrong_interface_is_refused(payload, words):
    with pytest.raises(ValueError, match=words):
        make_interface(payload)


def test_a_run_finds_its_interface_by_inputs_then_by_memory_then_a_default():
    interfaces = Interfaces()
    interfaces.remember("r", Interface(layout="single", theme="light"))
    given_value = Interface(layout="single", theme="dark").to_value()

    assert (interfaces.find("r", {"ui": given_value}).layout, interfaces.find("r", {}).theme) == (
        "single", "light",
    )  # fmt: skip
    assert interfaces.find("other", {}).layout == "split_pane"


def test_only_so_many_interfaces_are_remembered():
    interfaces = Interfaces(most=2)
    for run_id in ("a", "b", "a", "c"):  # b is the one that was not heard of for longest
        interfaces.remember(run_id, Interface(theme="light"))

    assert [interfaces.find(run_id, {}).theme for run_id in "abc"] == ["light", "dark", "light"]
