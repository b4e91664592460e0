"""Text from sources can only ever be text; markdown-it is the oracle for how it renders."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tandem_orchestrator.agents.docgen import markdown, mermaid
from tandem_orchestrator.agents.visible import visible

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

# Letters that mean something to Markdown, HTML, tables, terminals or readers, and some that do not.
NASTY = st.text(
    st.one_of(
        st.sampled_from("`*_~[]()<>!|\\#-+=.:$&@\"'{}/1 \n\t\r\x0b\x1b\x00\u202e\u2028\u00a0a"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)
SHAPES = st.sampled_from(
    ["<script>alert(1)</script>", "[x](javascript:1)", "![i](http://h/i)", "# h", "- item", "1. one",
     "1) one", "***", "---", "> quote", "```", "~~~", "    code", "&lt;b&gt;", "| a | b |", "===",
     "http://h.example", "www.h.example", "<http://h>", "a\\", "``a`", "[a]: /b", "~~x~~"]
)  # fmt: skip
RAW = st.one_of(NASTY, SHAPES, st.tuples(NASTY, SHAPES, NASTY).map("".join))

TEXT_TOKENS = {"text", "softbreak", "text_special"}


def tokens_of(source: str) -> list:
    return [inner for token in RENDERER.parse(source) for inner in (token, *(token.children or ()))]


def one_line(raw: str) -> str:
    """What a reader should see: hidden characters as escapes, white space folded."""
    return " ".join(visible(raw, keep="\n\t").split())


@given(RAW)
def test_text_renders_as_itself_and_nothing_else(raw):
    tokens = tokens_of(markdown.text(raw))

    assert {t.type for t in tokens} <= {"paragraph_open", "inline", "paragraph_close", *TEXT_TOKENS}
    shown = "".join(t.content for t in tokens if t.type in TEXT_TOKENS)
    assert shown == one_line(raw)


@given(RAW)
def test_text_in_a_heading_a_list_and_a_table_stays_in_its_place(raw):
    line = markdown.text(raw)
    source = f"# t {line}\n\n- {line}\n\n" + markdown.table(["a", "b"], [[line, "end"]])

    kinds = [t.type for t in tokens_of(source) if t.type not in TEXT_TOKENS]

    assert kinds.count("heading_open") == kinds.count("bullet_list_open") == 1
    assert kinds.count("td_open") == 2
    assert not {"html_block", "html_inline", "link_open", "image", "code_inline", "hr"} & {*kinds}


@given(RAW)
def test_a_code_span_holds_the_whole_name_even_in_a_table(raw):
    for source in (
        markdown.code(raw),
        markdown.table(["a", "b"], [[markdown.code(raw, cell=True), "end"]]),
    ):
        tokens = tokens_of(source)
        spans = [t.content for t in tokens if t.type == "code_inline"]
        assert [s.strip() for s in spans] == [one_line(raw)]
        cells = [t for t in tokens if t.type == "td_open"]
        assert len(cells) in (0, 2)


@given(RAW, RAW)
def test_a_fence_cannot_be_left_from_inside(first, second):
    raw = f"{first}\n```\n{second}\n~~~\n````"
    tokens = RENDERER.parse(markdown.fence(raw, "python") + "\n\nafter")

    assert [t.type for t in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    # markdown-it, as CommonMark asks, has no other line end than \n left by then.
    assert tokens[0].content == visible(raw, keep="\n\t").strip("\n") + "\n"


@given(RAW, st.booleans())
def test_prose_is_text_and_code_spans_only(raw, cell):
    tokens = tokens_of("x " + markdown.prose(raw, cell=cell))

    allowed = {"paragraph_open", "inline", "paragraph_close", "code_inline", *TEXT_TOKENS}
    assert {t.type for t in tokens} <= allowed


@given(st.lists(RAW, max_size=6))
def test_a_docstring_is_paragraphs_and_blocks_of_code_only(blocks):
    tokens = tokens_of(markdown.docstring("\n\n".join(blocks)))

    allowed = {"paragraph_open", "inline", "paragraph_close", "code_inline", "fence", *TEXT_TOKENS}
    assert {t.type for t in tokens} <= allowed


@given(RAW, RAW.filter(lambda raw: "\0" not in raw and raw.strip()))
def test_a_link_leads_to_its_target_only(shown, target):
    tokens = tokens_of(markdown.link(markdown.code(shown), target))

    links = [t for t in tokens if t.type == "link_open"]
    assert len(links) == 1
    href = str(links[0].attrs["href"])
    assert re.fullmatch(r"[A-Za-z0-9/._~%-]*", href)
    assert ":" not in href


@given(RAW)
def test_a_diagram_label_never_leaves_its_quotes(raw):
    label = mermaid.label(raw)

    assert label[0] == label[-1] == '"'
    assert re.fullmatch(r"(?:[A-Za-z0-9 _./-]|#\d+;)*", label[1:-1])


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        ("plain words", "plain words"),
        ("snake_case", "snake\\_case"),
        ("1. first", "1\\. first"),
        ("- dash", "\\- dash"),
        ("a - b", "a - b"),
        ("see http://h/", "see http\\://h/"),
        ("line\nnext", "line next"),
        ("\x1b[31mred", "\\\\u001b\\[31mred"),
    ],
)
def test_text_is_escaped_where_needed_and_only_there(raw, escaped):
    assert markdown.text(raw) == escaped


def test_prose_keeps_code_spans_of_both_spellings():
    assert markdown.prose("give ``a_b`` or `c*d` *now*") == "give `a_b` or `c*d` \\*now\\*"


def test_a_docstring_keeps_its_layout_where_it_has_one():
    raw = "First line\ngoes on.\n\nArgs:\n    x: one\n\n    y: two\n\n>>> f(1)\n2\n\nLast."

    assert markdown.docstring(raw) == (
        "First line goes on.\n\n"
        "**Args:**\n\n- `x`: one\n\n"
        "```text\n    y: two\n```\n\n"
        "```pycon\n>>> f(1)\n2\n```\n\n"
        "Last."
    )


@pytest.mark.parametrize(
    ("raw", "markdown_text"),
    [
        (
            "Args:\n    a_b: one\n        more *x*.\n    *rest: two, as ``c``.",
            "**Args:**\n\n- `a_b`: one more \\*x\\*.\n- `*rest`: two, as `c`.",
        ),
        ("Raises:\n    A, B: never.", "**Raises:**\n\n- `A, B`: never."),
        # Not entries, not indented, no section: as it is laid out.
        ("Args:\n    just words", "```text\nArgs:\n    just words\n```"),
        ("Notes:\n    a: b", "```text\nNotes:\n    a: b\n```"),
        ("Args:\na: b", "```text\nArgs:\na: b\n```"),
    ],
)
def test_sections_of_a_docstring_are_lists(raw, markdown_text):
    assert markdown.docstring(raw) == markdown_text


SECTIONS = st.lists(st.tuples(RAW, RAW), min_size=1, max_size=3).map(
    lambda entries: "Args:\n" + "\n".join(f"    {name}: {text}" for name, text in entries)
)


@given(SECTIONS)
def test_a_section_is_a_list_of_code_and_text_only(raw):
    kinds = {t.type for t in tokens_of(markdown.docstring(raw))}

    allowed = {"paragraph_open", "inline", "paragraph_close", "code_inline", "fence", *TEXT_TOKENS}
    lists = {"bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"}
    assert kinds <= allowed | lists | {"strong_open", "strong_close"}


def test_headings_of_the_same_text_get_anchors_of_their_own():
    headings = markdown.Headings()

    anchors = [headings.add(h) for h in ["Ref", "ref", "Ref.walk", "ref 1", "Ref", "a-b c_d"]]

    assert anchors == ["ref", "ref-1", "refwalk", "ref-1-1", "ref-2", "a-b-c_d"]


def test_a_planted_escape_fault_would_be_seen(monkeypatch):
    monkeypatch.setattr(markdown, "_SPECIAL", re.compile(r"[\\`*_\[\]#|~&$!]"))  # no < and >

    kinds = {t.type for t in tokens_of(markdown.text("<b>"))}

    assert "html_block" in kinds
