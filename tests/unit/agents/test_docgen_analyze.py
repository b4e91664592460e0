"""The analysis of a small tree, with every number counted by hand."""

import hashlib
import os
import sys
from pathlib import Path

import pytest

from tandem_orchestrator.agents.docgen import analyze as analysis_module
from tandem_orchestrator.agents.docgen.analyze import analyze, role_of
from tandem_orchestrator.agents.docgen.analyze_request import NoScan, read_analyze_request
from tandem_orchestrator.agents.docgen.c_source import c_parser

TREE = {
    "pkg/__init__.py": '"""A package."""\nfrom pkg.shape import Square\n',
    "pkg/shape.py": (
        '"""Shapes.\n\nWith corners."""\nimport math\nfrom pkg import unit\n\n'
        'class Square:\n    """A square."""\n    def area(self):\n        """Its area."""\n'
        "    def bare(self): ...\n\ndef undocumented(): ...\n"
    ),
    "pkg/unit.py": "from pkg import shape\nMETRE = 1\n",
    "examples/use.py": "from pkg import Square\n\nprint(Square().area())\n",
    "tests/test_shape.py": (
        "import pkg.shape\n\ndef test_area():\n    square = pkg.shape.Square()\n"
        "    assert square.area() is None\n"
    ),
    "native/go.h": "/* go.h - going. */\n\n/* Go on. */\nint go_on(int steps);\nint go_off(void);\n",
    "native/go.c": '#include "go.h"\nint go_on(int steps) { return steps; }\n',
    "README.md": "# Read me\n",
    "broken.py": "def f(:\n",
}


def plant(root, tree=TREE):
    for path, text in tree.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


def scan_of(root):
    files = []
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
        data = path.read_bytes()
        files.append(
            {
                "path": str(path.relative_to(root)),
                "bytes": len(data),
                "lines": data.count(b"\n"),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    return {"root": str(root), "files": files, "errors": [], "totals": {}}


def analyzed(root, **payload):
    return analyze(read_analyze_request(payload, {"scan": scan_of(root)}))


@pytest.fixture
def result(tmp_path):
    return analyzed(plant(tmp_path))


def module(result, path):
    return next(m for m in result["modules"] if m["path"] == path)


def test_totals_are_counted(result):
    assert result["totals"]["files"] == 9
    assert result["totals"]["modules"] == {"c": 2, "python": 6}
    assert result["totals"]["roles"] == {"example": 1, "source": 6, "test": 1}
    assert result["totals"]["bytes"] == sum(len(text) for text in TREE.values())


def test_coverage_counts_modules_classes_functions_and_methods_once(result):
    counts = {m["path"]: m["coverage"] for m in result["modules"]}

    assert counts["pkg/__init__.py"] == {"documented": 1, "total": 1}
    # Module, Square, area are documented; bare and undocumented are not.
    assert counts["pkg/shape.py"] == {"documented": 3, "total": 5}
    assert counts["pkg/unit.py"] == {"documented": 0, "total": 1}
    assert counts["native/go.h"] == {"documented": 2, "total": 3}
    assert counts["native/go.c"] == {"documented": 0, "total": 0}  # all of it is the header's
    assert counts["broken.py"] == {"documented": 0, "total": 1}
    # 1/1 + 3/5 + 0/1 + 2/3 + 0/0 + 0/1; the test and the example do not count.
    assert result["coverage"] == {"documented": 6, "total": 11}


def test_uses_cycles_and_what_is_outside(result):
    assert module(result, "pkg/shape.py")["uses"] == [{"module": "pkg/unit.py", "kind": "module"}]
    assert module(result, "pkg/shape.py")["outside"] == ["math"]
    assert module(result, "native/go.c")["uses"] == [{"module": "native/go.h", "kind": "module"}]
    assert result["cycles"] == [
        {"members": ["pkg/shape.py", "pkg/unit.py"], "shortest": ["pkg/shape.py", "pkg/unit.py"]}
    ]


def test_most_used_names_are_counted_where_they_are_defined(result):
    # Square by the example (through the package) and by the test; neither import counts.
    assert result["most_used"] == [
        {"name": "Square", "module": "pkg/shape.py", "uses": 2, "modules": 2}
    ]


def test_examples_come_from_examples_first_and_name_what_they_show(result):
    examples = module(result, "pkg/shape.py")["examples"]

    assert [(e["path"], e["names"]) for e in examples] == [
        ("examples/use.py", ["Square"]),
        ("tests/test_shape.py", ["Square"]),
    ]
    assert examples[0]["text"] + "\n" == TREE["examples/use.py"]


def test_a_file_with_an_error_is_reported_and_the_rest_is_analysed(result):
    assert result["problems"] == [
        {"path": "broken.py", "message": "is not Python: line 1: invalid syntax"}
    ]
    assert module(result, "broken.py")["symbols"] == []


def test_ai_is_never_claimed(tmp_path):
    plant(tmp_path)

    asked = analyzed(tmp_path, use_ai=True)["ai"]
    not_asked = analyzed(tmp_path)["ai"]

    assert asked["used"] is not_asked["used"] is False
    assert "no AI provider is configured" in asked["reason"]
    assert "not asked" in not_asked["reason"]


def test_each_depth_says_more(tmp_path):
    plant(tmp_path)

    overview, standard = analyzed(tmp_path, depth="overview"), analyzed(tmp_path, depth="standard")

    assert "symbols" not in module(overview, "pkg/shape.py")
    assert module(overview, "pkg/shape.py")["summary"] == "Shapes."
    assert [s["name"] for s in module(standard, "pkg/shape.py")["symbols"]] == [
        "Square", "undocumented",
    ]  # fmt: skip
    assert module(standard, "pkg/shape.py")["examples"] == []
    assert standard["most_used"] == []
    assert overview["cycles"] == standard["cycles"] != []


def test_without_tree_sitter_c_files_are_listed_and_the_result_says_how_to_get_it(
    tmp_path, monkeypatch
):
    plant(tmp_path)
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    c_parser.cache_clear()

    result = analyzed(tmp_path)

    c_parser.cache_clear()
    assert [n for n in result["notes"] if "pip install 'tandem-orchestrator[c-analysis]'" in n]
    assert module(result, "native/go.h")["symbols"] == []
    assert module(result, "pkg/shape.py")["symbols"] != []


def test_a_file_that_changed_or_vanished_since_the_scan_is_reported(tmp_path):
    scan = scan_of(plant(tmp_path))
    (tmp_path / "pkg" / "unit.py").write_text("METRE = 2\n")
    (tmp_path / "pkg" / "shape.py").unlink()

    result = analyze(read_analyze_request({"scan": scan}, {}))

    messages = {p["path"]: p["message"] for p in result["problems"]}
    assert "changed since the scan" in messages["pkg/unit.py"]
    assert "cannot be opened" in messages["pkg/shape.py"]


def test_generated_pages_are_not_documented_again(tmp_path):
    plant(tmp_path)
    before = analyzed(tmp_path)
    plant(tmp_path, {"docs/out/.tandem-docs.json": "{}", "docs/out/modules/x.md": "# x\n"})

    after = analyzed(tmp_path)

    assert after["files"] == before["files"]
    assert (before["own_pages"], after["own_pages"]) == (0, 2)


def test_names_that_are_not_utf_8_are_shown_with_escapes(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.py")).write_text("X = 1\n")
    scan = {"root": str(tmp_path), "files": [{"path": "\ufffd.py", "path_raw": b"\xff.py"}]}

    (found,) = analyze(read_analyze_request({"scan": scan}, {}))["modules"]

    assert found["path"] == "\\xff.py"
    assert [s["name"] for s in found["symbols"]] == ["X"]


def test_what_does_not_fit_is_counted(tmp_path, monkeypatch):
    plant(tmp_path)
    monkeypatch.setattr(analysis_module, "TEXT_CHARS_MAX", 0)
    monkeypatch.setattr(analysis_module, "FILES_MAX", 2)
    monkeypatch.setattr(analysis_module, "PROBLEMS_MAX", 0)

    result = analyzed(tmp_path)

    # The broken file and the example offer nothing, and so fit into nothing.
    assert result["cut"] == {"files": 7, "module_details": 6, "problems": 1}
    assert len(result["files"]) == 2


def test_a_tree_that_is_too_deep_or_too_large_is_cut_and_counted(tmp_path, monkeypatch):
    plant(tmp_path, {"a.py": "", "b.py": "", "c.txt": "", "/".join(["d"] * 64) + "/e.py": ""})
    monkeypatch.setattr(analysis_module, "MODULES_MAX", 2)
    scan = scan_of(tmp_path)
    scan["files"].append({"path": "f/" * 100_000 + "g.py"})  # deeper than any call stack

    result = analyze(read_analyze_request({"scan": scan}, {}))

    assert result["cut"] == {"modules": 1, "too_deep": 1}
    assert [f["path"] for f in result["files"]] == ["a.py", "b.py", "c.txt"]


def test_the_analysis_is_the_same_each_time(tmp_path):
    plant(tmp_path)

    assert analyzed(tmp_path) == analyzed(tmp_path)


def test_it_stops_when_asked(tmp_path):
    class Stop(Exception):
        pass

    def poll(done, total):
        raise Stop

    with pytest.raises(Stop):
        analyze(read_analyze_request({"scan": scan_of(plant(tmp_path))}, {}), poll)


@pytest.mark.parametrize(
    ("payload", "error", "words"),
    [
        ({"deep": 1}, ValueError, "unknown key 'deep'"),
        ({"depth": "deepest"}, ValueError, "overview, standard, comprehensive"),
        ({"depth": 3}, TypeError, "payload.depth: must be a str"),
        ({"use_ai": "yes"}, TypeError, "payload.use_ai: must be a bool"),
        ({"scan": {"files": []}}, ValueError, "must be an output of docgen.scan_codebase"),
        ({"path": "relative"}, ValueError, "must be an absolute path"),
        ({"path": "/x", "scan": {}}, ValueError, "both 'scan' and 'path'"),
        ([], TypeError, "must be a dict"),
        ({}, NoScan, "depend on a step docgen.scan_codebase"),
    ],
)
def test_a_wrong_payload_fails_with_the_key_and_what_was_expected(payload, error, words):
    with pytest.raises(error, match=words):
        read_analyze_request(payload, {})


def test_the_scan_is_the_one_input_that_looks_like_one(tmp_path):
    scan = scan_of(plant(tmp_path))
    other = {"layout": "split_pane"}

    assert read_analyze_request({}, {"ui": other, "s": scan}).root == bytes(tmp_path)
    with pytest.raises(NoScan, match="a, b are all scans"):
        read_analyze_request({}, {"b": scan, "a": scan})


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("src/pkg/a.py", "source"), ("src/pkg/testing/a.py", "source"), ("src/contest.py", "source"),
        ("tests/conftest.py", "test"), ("pkg/test_a.py", "test"), ("native/ring_test.c", "test"),
        ("examples/a.py", "example"), ("tests/examples/a.py", "example"),
    ],
)  # fmt: skip
def test_roles_follow_folders_and_names(path, role):
    assert role_of(path) == role
