"""The pages of a tree: every link and anchor is checked by a Markdown parser of its own."""

import json
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tandem_orchestrator.agents.docgen.analyze import analyze
from tandem_orchestrator.agents.docgen.analyze_request import read_analyze_request
from tandem_orchestrator.agents.docgen.generate import generate, make_pages, sources_from
from tandem_orchestrator.agents.docgen.generate_request import NoAnalysis, read_generate_request
from tandem_orchestrator.agents.docgen.mermaid import EDGES_MAX, NODES_MAX, flowchart
from tandem_orchestrator.agents.docgen.module_page import wrapped
from tandem_orchestrator.agents.docgen.site_map import make_site_map

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

TREE = {
    "src/pkg/__init__.py": '"""A package | of <b>things</b>."""\nfrom pkg.a import Thing\n',
    "src/pkg/a.py": (
        '"""Module a."""\nfrom pkg import b\nLIMIT = 3\n"""Most."""\n'
        "class Thing:\n    'A thing.'\n    size: int\n    def act(self, x: int | None = None):\n"
        "        'Act.'\n"
        "def thing(): 'Same word, other case.'\n"
    ),
    "src/pkg/b.py": "from pkg import a\ndef helper(): ...\n",
    "examples/show.py": "from pkg import Thing\nThing().act(1)\n",
    "include/lib.h": "/* lib.h - a library. */\n\n/* Go. */\nint lib_go(void);\n",
    "odd name [x](y) #1/we`ird.py": "def f(): '''[link](http://x) <script>'''\n",
    "UPPER.py": "A = 1\n",
    "upper.py": "B = 2\n",
    "notes/x.md": "# hi\n",
    "broken.py": "(",
}


def plant(root, tree):
    for path, text in tree.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


def analysis_of(root):
    return analyze(read_analyze_request({"path": str(root)}, {}))


def slug_of(heading_text):
    """GitHub's rule, written a second time: lower, drop all but letters, digits, -, _, spaces."""
    kept = [c for c in heading_text.lower() if c.isalnum() or c in "-_ "]
    return "".join(kept).replace(" ", "-")


def anchors_and_links(page):
    anchors, links, seen = set(), [], {}
    tokens = RENDERER.parse(page)
    for position, token in enumerate(tokens):
        for child in token.children or ():
            if child.type == "link_open":
                links.append(str(child.attrs["href"]))
        if token.type == "heading_open":
            inline = tokens[position + 1]
            base = slug_of("".join(child.content for child in inline.children))
            anchor, number = base, 0
            while anchor in seen:
                number += 1
                anchor = f"{base}-{number}"
            seen[anchor] = True
            anchors.add(anchor)
    return anchors, links, tokens


def wrong_links(pages, root=None, output=None):
    """List every link that does not lead to a page, an anchor, or a line of a source file."""
    found = {name: anchors_and_links(text) for name, text in pages.items()}
    wrong = []
    for name, (_, links, _) in found.items():
        for href in links:
            path, anchor = (unquote(part) for part in href.partition("#")[::2])
            target = (
                posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
            )
            if target in found:
                if anchor and anchor not in found[target][0]:
                    wrong.append((name, href, "anchor"))
            elif root is None or not (source := (output / target).resolve()).is_file():
                wrong.append((name, href, "target"))
            elif not source.is_relative_to(root):
                wrong.append((name, href, "outside"))
            elif anchor:
                lines = source.read_bytes().count(b"\n") + 1
                if not (re.fullmatch(r"L\d+", anchor) and 1 <= int(anchor[1:]) <= lines):
                    wrong.append((name, href, "line"))
    return wrong


@pytest.fixture
def site(tmp_path):
    root = plant(tmp_path / "root", TREE)
    output = root / "build" / "docs"
    return root, output, make_pages(analysis_of(root), sources_from(str(output), str(root)))


def test_every_link_and_every_anchor_leads_somewhere(site):
    root, output, pages = site

    assert sum(len(anchors_and_links(text)[1]) for text in pages.values()) > 80
    assert wrong_links(pages, root, output) == []


def test_a_planted_broken_link_and_anchor_are_seen(site):
    root, output, pages = site
    pages["index.md"] += (
        "\n[x](modules/none.md) [y](imports.md#none) [z](../../src/pkg/a.py#L999)\n"
    )

    assert [kind for _, _, kind in wrong_links(pages, root, output)] == ["target", "anchor", "line"]


def test_every_page_can_be_reached_from_the_index(site):
    _, _, pages = site
    reached, queue = {"index.md"}, ["index.md"]
    while queue:
        name = queue.pop()
        for href in anchors_and_links(pages[name])[1]:
            path = posixpath.normpath(
                posixpath.join(posixpath.dirname(name), unquote(href.split("#")[0]))
            )
            if path in pages and path not in reached:
                reached.add(path)
                queue.append(path)

    assert reached == set(pages)


def test_this_repository_has_no_wrong_link():
    root = Path(__file__).resolve().parents[3]
    output = root / "build" / "docs"

    pages = make_pages(analysis_of(root), sources_from(str(output), str(root)))

    assert wrong_links(pages, root, output) == []


def test_a_module_page_tells_what_the_module_offers(site):
    _, _, pages = site
    page = pages["modules/src.pkg.a.py.md"]
    _, links, tokens = anchors_and_links(page)

    headings = [
        (tokens[i].tag, "".join(c.content for c in tokens[i + 1].children))
        for i, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    assert headings == [
        ("h1", "pkg.a"), ("h2", "Contents"),
        ("h2", "Classes"), ("h3", "Thing"), ("h4", "Thing.act"),
        ("h2", "Functions"), ("h3", "thing"),
        ("h2", "Constants"), ("h2", "Examples"),
    ]  # fmt: skip
    fences = [token.content for token in tokens if token.type == "fence"]
    assert "def act(self, x: int | None = None)\n" in fences
    assert TREE["examples/show.py"] in fences
    assert "../../../src/pkg/a.py#L5" in links
    assert {"#thing", "#thing-1", "#constants"} <= set(links)
    assert "- Used by: [`pkg`](src.pkg.__init__.py.md), [`pkg.b`](src.pkg.b.py.md)\n" in page


def test_names_that_differ_only_in_case_get_pages_that_differ_more():
    site = make_site_map(["UPPER.py", "upper.py", "a/b.c", "a.b/c", "x" * 300], ["a/b.c"])

    pages = list(site.modules.values())
    assert len({page.lower() for page in pages}) == len(pages)
    assert all(len(posixpath.basename(page)) < 200 for page in pages)


@given(st.sets(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), max_size=8))  # fmt: skip
def test_page_names_are_plain_and_their_own(paths):
    pages = list(make_site_map(paths, paths).modules.values())

    assert len({page.lower() for page in pages}) == len(paths)
    assert all(re.fullmatch(r"modules/[A-Za-z0-9_][A-Za-z0-9._-]*\.md", page) for page in pages)


NAMES = st.text(
    st.one_of(st.sampled_from("`*_[]()<>|#!\\ .-&;:\"'"), st.characters(codec="utf-8", exclude_characters="\0/")),
    min_size=1, max_size=12,
).filter(lambda name: name not in (".", ".."))  # fmt: skip


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4), st.text(max_size=80))
def test_no_path_and_no_docstring_can_break_a_page(paths, doc):
    """A tree of hostile names, described as an analysis describes it."""
    modules = [
        {
            "path": f"{folder}/{name}.py", "name": f"{folder}.{name}", "language": "python",
            "role": "source", "bytes": 1, "lines": 1, "summary": doc or None, "private": 0,
            "problems": [doc], "coverage": {"documented": 1, "total": 2},
            "uses": [], "outside": [name],
            "symbols": [
                {"kind": kind, "name": name, "line": 1, "signature": f"{name}(x)", "decorators": [doc],
                 **({"doc": {"summary": doc, "text": doc, "cut": True}} if doc else {}), "members": []}
                for kind in ("class", "function", "constant")
            ],
            "symbols_cut": 0,
            "examples": [{"path": "e.py", "line": 1, "title": name, "language": "python",
                          "text": doc, "names": [name]}],
        }
        for folder, name in dict.fromkeys(paths)
    ]  # fmt: skip
    for module in modules:
        module["uses"] = [{"module": modules[0]["path"], "kind": "module"}]
    members = [module["path"] for module in modules]
    analysis = {
        "root": f"/{paths[0][0]}", "depth": "comprehensive",
        "totals": {"files": 1, "bytes": 1, "lines": 1, "modules": {}, "roles": {}, "symbols": {}},
        "coverage": {"documented": 0, "total": 0}, "modules": modules,
        "files": [{"path": p, "bytes": 1, "lines": 1, "role": "source", "module": True} for p in members],
        "cycles": [{"members": members, "shortest": members}],
        "most_used": [{"name": m["symbols"][0]["name"], "module": m["path"], "uses": 1, "modules": 1} for m in modules],
        "problems": [{"path": p, "message": doc} for p in members], "notes": [doc],
        "ai": {"used": False, "reason": doc}, "cut": {},
    }  # fmt: skip

    pages = make_pages(analysis)

    assert wrong_links(pages) == []
    for text in pages.values():
        _, _, tokens = anchors_and_links(text)
        kinds = {t.type for token in tokens for t in (token, *(token.children or ()))}
        assert not kinds & {"html_block", "html_inline", "image", "hr", "code_block", "s_open"}
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_the_same_tree_gives_the_same_bytes_in_every_process(tmp_path):
    root = plant(tmp_path / "root", TREE)
    program = (
        "import json, sys\n"
        "from tandem_orchestrator.agents.docgen.analyze import analyze\n"
        "from tandem_orchestrator.agents.docgen.analyze_request import read_analyze_request\n"
        "from tandem_orchestrator.agents.docgen.generate import make_pages\n"
        "a = analyze(read_analyze_request({'path': sys.argv[1]}, {}))\n"
        "print(json.dumps([a, make_pages(a, '..')]))\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, str(root)],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True, timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip

    assert outputs[0] == outputs[1]
    assert len(json.loads(outputs[0])[1]) > 10


def test_no_page_names_the_place_of_the_tree_on_this_machine(site):
    root, _, pages = site

    assert not [name for name, text in pages.items() if str(root) in text]


def test_sources_are_linked_only_from_pages_inside_of_the_tree():
    assert sources_from("/r/build/docs", "/r") == "../.."
    assert sources_from("/elsewhere", "/r") is None
    assert sources_from("/root-other", "/r") is None
    assert sources_from("/docs", "/") == ".."


def test_without_examples_there_are_none(tmp_path):
    root = plant(tmp_path, TREE)
    analysis = analysis_of(root)

    assert "## Examples" in make_pages(analysis)["modules/src.pkg.a.py.md"]
    assert "## Examples" not in make_pages(analysis, examples=False)["modules/src.pkg.a.py.md"]


def test_cycles_are_shown_as_a_way_round(site):
    line = next(ln for ln in site[2]["imports.md"].split("\n") if "→" in ln)

    assert re.findall(r"`([^`]+)`", line) == ["pkg.a", "pkg.b", "pkg.a"]


def test_an_overview_without_any_module_is_still_a_set_of_pages(tmp_path):
    pages = make_pages(analysis_of(plant(tmp_path, {"only.md": "# x\n"})))

    assert set(pages) == {"index.md", "imports.md", "folders/root.md"}
    assert wrong_links(pages) == []


def test_a_diagram_of_many_modules_is_bounded_and_says_what_is_missing():
    nodes = [f"m{i:03}" for i in range(NODES_MAX + 40)]
    edges = {(a, b): 1 for a in nodes[:30] for b in nodes[:30] if a < b}

    chart, nodes_cut, edges_cut = flowchart(nodes, edges)

    assert nodes_cut == 40
    assert edges_cut == 30 * 29 // 2 - EDGES_MAX
    assert len(re.findall(r"-->", chart)) == EDGES_MAX


def test_a_long_signature_is_broken_between_its_parameters_only():
    signature = (
        "f(" + ", ".join(f"name_{i}: dict[str, int] = g('a, b', 1)" for i in range(4)) + ") -> x"
    )

    lines = wrapped(signature).split("\n")

    assert lines[0] == "f("
    assert lines[1] == "    name_0: dict[str, int] = g('a, b', 1),"
    assert lines[-1] == ") -> x"
    assert len(lines) == 6
    assert wrapped("short(x)") == "short(x)"


def test_generation_tells_where_the_pages_are(tmp_path):
    root = plant(tmp_path / "root", TREE)
    output = tmp_path / "out"
    request = read_generate_request({"output": str(output)}, {"a": analysis_of(root)}, "/nowhere")

    first, second = generate(request), generate(request)

    on_disk = [path for path in output.rglob("*") if path.is_file() and path.suffix == ".md"]
    assert first["directory"] == str(output)
    assert first["index"] == str(output / "index.md")
    assert first["pages"] == first["written"] == len(on_disk) == second["unchanged"]
    assert first["bytes"] == sum(path.stat().st_size for path in on_disk)
    assert second["written"] == 0


@pytest.mark.parametrize(
    ("payload", "error", "words"),
    [
        ({"format": "html"}, ValueError, "payload.format='html': must be one of markdown"),
        ({"formats": "x"}, ValueError, "unknown key 'formats'"),
        ({"include_examples": 1}, TypeError, "payload.include_examples: must be a bool"),
        ({"output": "docs"}, ValueError, "must be an absolute path"),
        ({"output": "/a\0b"}, ValueError, "NUL"),
        ({"analysis": {"modules": []}}, ValueError, "an output of docgen.analyze_structure"),
        ({}, NoAnalysis, "depend on a step docgen.analyze_structure"),
    ],
)
def test_a_wrong_payload_fails_with_the_key_and_what_was_expected(payload, error, words):
    with pytest.raises(error, match=words):
        read_generate_request(payload, {}, "/nowhere")


def test_pages_go_into_a_folder_of_the_working_directory_by_default(tmp_path):
    analysis = analysis_of(plant(tmp_path, TREE))

    assert read_generate_request({}, {"a": analysis}, "/w").output == "/w/tandem-docs"
    with pytest.raises(ValueError, match="must not be the documented directory itself"):
        read_generate_request({"output": f"{tmp_path}/x/.."}, {"a": analysis}, "/w")
