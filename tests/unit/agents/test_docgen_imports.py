"""Names, imports and cycles of small trees, worked out by hand."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.agents.docgen.facts import Facts, Import, Symbol
from tandem_orchestrator.agents.docgen.import_cycles import import_cycles
from tandem_orchestrator.agents.docgen.module_names import (
    ModuleIndex,
    python_name,
    uses_and_outside,
)
from tandem_orchestrator.agents.docgen.python_source import read_python

TREE = frozenset(
    {
        "src/pkg/__init__.py", "src/pkg/a.py", "src/pkg/sub/__init__.py", "src/pkg/sub/b.py",
        "src/pkg/plain/c.py", "src/top.py", "setup.py", "tests/unit/test_a.py",
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("src/pkg/__init__.py", "pkg"),
        ("src/pkg/a.py", "pkg.a"),
        ("src/pkg/sub/b.py", "pkg.sub.b"),
        ("src/pkg/sub/__init__.py", "pkg.sub"),
        ("src/pkg/plain/c.py", "pkg.plain.c"),  # a namespace package inside of src
        ("src/top.py", "top"),
        ("setup.py", "setup"),
        ("tests/unit/test_a.py", "tests.unit.test_a"),
    ],
)
def test_a_module_is_named_as_it_is_imported(path, name):
    assert python_name(path, TREE) == name


def test_a_root_that_is_a_package_gives_its_name():
    paths = frozenset({"__init__.py", "a.py", "sub/__init__.py"})

    assert python_name("a.py", paths, "pkg") == "pkg.a"
    assert python_name("sub/__init__.py", paths, "pkg") == "pkg.sub"
    assert python_name("__init__.py", paths, "pkg") == "pkg"


def tree(**sources):
    """Index a tree whose paths are given with ``__`` for the slash."""
    files = {name.replace("__", "/") + ".py": text for name, text in sources.items()}
    files = {path.replace("INIT", "__init__"): text for path, text in files.items()}
    facts = [read_python(path, text) for path, text in sorted(files.items())]
    return ModuleIndex(facts, frozenset(files))


def test_imports_lead_to_the_modules_that_they_load():
    index = tree(
        p__INIT="from .a import f\nimport p.b",
        p__a="import os.path\nfrom . import b\nfrom .q import c\nfrom .q.c import X\n",
        p__b="def g():\n    from p import a\n",
        p__q__INIT="from .. import a",
        p__q__c="import p.q\nfrom p import missing, b\nfrom ...... import far\nX = 1",
    )
    uses, outside = uses_and_outside(index)

    assert uses == {
        "p/__init__.py": {"p/a.py": "module", "p/b.py": "module"},
        "p/a.py": {"p/b.py": "module", "p/q/c.py": "module"},
        "p/b.py": {"p/a.py": "lazy"},
        "p/q/__init__.py": {"p/a.py": "module"},
        # `missing` is no module, so that importing it loads only the package.
        "p/q/c.py": {"p/__init__.py": "module", "p/b.py": "module", "p/q/__init__.py": "module"},
    }
    assert outside["p/a.py"] == ["os"]
    assert outside["p/b.py"] == []


def test_names_are_followed_through_re_exports_to_where_they_are_defined():
    index = tree(
        p__INIT="from .door import Thing, helper as aid",
        p__door="from .home import Thing\ndef helper(): ...",
        p__home="class Thing: ...",
        user="",
    )

    assert index.owner("user.py", (0, "p.Thing.attribute")) == ("p/home.py", "Thing")
    assert index.owner("user.py", (0, "p.home.Thing")) == ("p/home.py", "Thing")
    assert index.owner("user.py", (0, "p.home")) is None  # a module is no name
    assert index.owner("user.py", (0, "p.unknown")) is None
    assert index.owner("user.py", (0, "os.path")) is None
    assert index.owner("p/home.py", (1, "door.helper")) == ("p/door.py", "helper")


def test_re_exports_that_go_in_circles_end():
    index = tree(a="from b import x", b="from a import x", user="")

    assert index.owner("user.py", (0, "a.x")) is None


def test_a_script_finds_what_lies_beside_it_and_a_module_of_a_package_does_not():
    index = tree(one__aid="", one__run="", two__aid="", pkg__INIT="", pkg__types="", pkg__user="")

    assert index.targets("one/run.py", Import("aid", "module")) == ["one/aid.py"]
    assert index.targets("pkg/user.py", Import("types", "module")) == []


def test_of_two_modules_with_one_name_the_nearer_is_meant():
    index = tree(
        one__pkg__INIT="", one__pkg__a="", one__pkg__b="",
        two__pkg__INIT="", two__pkg__a="", two__pkg__b="",
    )  # fmt: skip

    for tree_name in ("one", "two"):
        found = index.targets(f"{tree_name}/pkg/b.py", Import("pkg.a", "module"))
        assert found == [f"{tree_name}/pkg/a.py"]


def c_index(*paths, symbols=()):
    facts = {path: Facts(path, "c") for path in paths}
    for path, name in symbols:
        facts[path].symbols.append(Symbol("function", name, 1))
    return ModuleIndex(facts.values(), frozenset(paths))


def test_inclusions_are_found_beside_the_file_or_by_the_end_of_their_path():
    index = c_index("src/x.c", "src/x.h", "src/deep/y.h", "include/lib/z.h", "a/n.h", "b/n.h")

    def target(text, level):
        return index.targets("src/x.c", Import(text, "module", level))

    assert target("x.h", 1) == ["src/x.h"]
    assert target("deep/../deep/y.h", 1) == ["src/deep/y.h"]
    assert target("lib/z.h", 1) == ["include/lib/z.h"]
    assert target("lib/z.h", 0) == ["include/lib/z.h"]
    assert target("stdio.h", 0) == []
    assert target("n.h", 0) == []  # two of them, and neither is near


def test_a_c_name_belongs_to_its_header_and_to_nobody_if_two_define_it():
    index = c_index(
        "x.c", "x.h", "one.c", "two.c",
        symbols=[("x.c", "go"), ("x.h", "go"), ("one.c", "main"), ("two.c", "main")],
    )  # fmt: skip

    assert index.owner("one.c", (0, "go")) == ("x.h", "go")
    assert index.owner("x.c", (0, "main")) is None
    assert index.owner("x.c", (0, "printf")) is None


@pytest.mark.parametrize(
    ("graph", "cycles"),
    [
        ({"a": ["b"], "b": []}, []),
        ({"a": ["a"]}, [(["a"], ["a"])]),
        ({"b": ["a"], "a": ["b"]}, [(["a", "b"], ["a", "b"])]),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, [(["a", "b", "c"], ["a", "b", "c"])]),
        # One component of four, in which b and c are the shortest way round.
        (
            {"a": ["b"], "b": ["c"], "c": ["b", "d"], "d": ["a"]},
            [(["a", "b", "c", "d"], ["b", "c"])],
        ),
        # Two components, the larger first, and an edge to nowhere.
        (
            {"x": ["y"], "y": ["x", "a"], "a": ["b"], "b": ["c"], "c": ["a", "gone"]},
            [(["a", "b", "c"], ["a", "b", "c"]), (["x", "y"], ["x", "y"])],
        ),
    ],
)
def test_cycles_and_the_shortest_way_round_them(graph, cycles):
    assert import_cycles(graph) == cycles


GRAPHS = st.integers(1, 6).flatmap(
    lambda n: st.fixed_dictionaries(
        {
            str(i): st.lists(st.sampled_from([str(j) for j in range(n)]), max_size=4)
            for i in range(n)
        }
    )
)


@given(GRAPHS)
def test_cycles_are_those_that_trying_every_path_finds(graph):
    nodes = sorted(graph)
    shortest = {}  # node to the length of the shortest closed walk through it
    for length in range(1, len(nodes) + 1):
        for path in itertools.permutations(nodes, length):
            closed = [*path, path[0]]
            if all(right in graph[left] for left, right in itertools.pairwise(closed)):
                for node in path:
                    shortest.setdefault(node, length)

    cycles = import_cycles(graph)

    assert sorted(m for members, _ in cycles for m in members) == sorted(shortest)
    for members, way in cycles:
        assert set(way) <= set(members)
        assert all(r in graph[left] for left, r in itertools.pairwise([*way, way[0]]))
        assert len(way) == min(shortest[member] for member in members)


def test_a_chain_of_ten_thousand_imports_is_no_recursion():
    chain = {str(i): [str(i + 1)] for i in range(10_000)} | {"10000": ["0"]}

    ((members, way),) = import_cycles(chain)

    assert len(members) == len(way) == 10_001
