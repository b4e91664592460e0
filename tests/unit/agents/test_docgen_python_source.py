"""Python is read by its syntax tree; `inspect` is the oracle for signatures and docstrings."""

import importlib.util
import inspect

import pytest

from tandem_orchestrator.agents.docgen.python_source import read_python
from tandem_orchestrator.agents.docgen.source_file import (
    SOURCE_BYTES_MAX,
    Unreadable,
    decode_python,
    read_source,
)

SIGNATURES = '''"""Odd signatures."""
import collections.abc as abc

def nothing(): ...
def plain(a, b): ...
def defaults(a, b=1, c="x", d=None, e=(1, 2)): ...
def annotated(a: int, b: str = "x", *rest: float, key: bool = False, **more: bytes) -> list: ...
def positional(a, b=2, /, c=3): ...
def keywords(*, a, b=1): ...
def mixed(a, /, b, *args, c, d=4, **kwargs): ...
def nested(a: dict[str, list[int]] = {}, f=abc.Callable) -> "abc.Mapping": ...
def negative(a=-1, b=1.5, c=1j, d=b"x", e=..., f=not True): ...
'''


@pytest.fixture
def imported(tmp_path):
    def load(text):
        path = tmp_path / "sample_of_docgen.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("sample_of_docgen", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_signatures_are_those_that_inspect_gives(imported):
    module = imported(SIGNATURES)
    # inspect shows values where the source has expressions; these two differ by nature.
    shown_otherwise = {"nested", "negative"}

    for symbol in read_python("m.py", SIGNATURES).symbols:
        expected = f"{symbol.name}{inspect.signature(getattr(module, symbol.name))}"
        if symbol.name not in shown_otherwise:
            assert symbol.signature == expected


def test_expressions_in_signatures_are_shown_as_written():
    symbols = {s.name: s.signature for s in read_python("m.py", SIGNATURES).symbols}

    assert symbols["nested"] == (
        "nested(a: dict[str, list[int]] = {}, f=abc.Callable) -> 'abc.Mapping'"
    )
    assert symbols["negative"] == "negative(a=-1, b=1.5, c=1j, d=b'x', e=..., f=not True)"


def test_docstrings_are_those_that_inspect_gives(imported):
    text = '''
    """Module.

    More.
    """

class Thing:
    """A thing
    over two lines.

        Indented.
    """

    def act(self):
        "Act."
'''.replace('    """Module.', '"""Module.', 1)
    module = imported(text)

    facts = read_python("m.py", text)

    (thing,) = facts.symbols
    assert facts.doc.text == inspect.getdoc(module)
    assert thing.doc.text == inspect.getdoc(module.Thing)
    assert thing.doc.summary == "A thing over two lines."
    assert thing.members[0].doc.text == "Act."


def test_what_a_module_offers_is_all_or_what_has_no_underscore():
    body = "def a(): ...\ndef _b(): ...\nC = 1\nclass D: ...\n"

    assert names(body) == ["a", "C", "D"]
    assert names(body + "__all__ = ['_b', 'D']\n") == ["_b", "D"]
    assert names(body + "__all__ = ['a']\n__all__ += ['C']\n") == ["a", "C"]
    assert names(body + "__all__ = make()\n") == ["a", "C", "D"]  # unknowable: as without


def names(text):
    return [symbol.name for symbol in read_python("m.py", text).symbols]


def test_definitions_under_conditions_count_once():
    text = (
        "import sys\n"
        "if sys.platform == 'x':\n    def f(a): ...\n"
        "else:\n    def f(b):\n        'Say b.'\n"
        "try:\n    import g\nexcept ImportError:\n    class G: ...\n"
        "with open('x') as h:\n    K = 1\n"
    )
    first, *others = read_python("m.py", text).symbols

    assert (first.name, first.signature, first.doc.text) == ("f", "f(a)", "Say b.")
    assert [other.name for other in others] == ["G", "K"]


def test_members_of_a_class_have_their_docstrings():
    text = '''
@dataclass(frozen=True)
class Point(Base, metaclass=Meta):
    """A point."""

    x: float
    """Metres."""
    y: float = 0.0
    _secret = 1

    def __init__(self, x): ...

    @property
    def length(self) -> float:
        """Give the length."""

    @length.setter
    def length(self, value): ...

    def _hidden(self): ...
'''
    (point,) = read_python("m.py", text).symbols

    assert point.signature == "Point(Base, metaclass=Meta)"
    assert point.decorators == ("@dataclass(frozen=True)",)
    assert [(m.kind, m.name) for m in point.members] == [
        ("attribute", "x"), ("attribute", "y"), ("function", "__init__"), ("function", "length"),
    ]  # fmt: skip
    assert point.members[0].doc.text == "Metres."
    assert point.members[1].doc is None
    assert point.members[3].decorators == ("@property",)


def test_imports_say_when_they_happen():
    text = (
        "import a.b, c as d\n"
        "from . import e\n"
        "from ..f.g import h as i, j\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import k\n"
        "def f():\n    import l\n"
        "class M:\n    import n\n"
        "try:\n    import o\nexcept ImportError:\n    o = None\n"
    )
    imports = read_python("m.py", text).imports

    assert [(i.level, i.target, i.names, i.kind) for i in imports] == [
        (0, "a.b", (), "module"),
        (0, "c", (), "module"),
        (1, "", ("e",), "module"),
        (2, "f.g", ("h", "j"), "module"),
        (0, "typing", ("TYPE_CHECKING",), "module"),
        (0, "k", (), "typing"),
        (0, "l", (), "lazy"),
        (0, "n", (), "module"),
        (0, "o", (), "module"),
    ]


def test_uses_of_imported_names_are_counted_by_what_they_stand_for():
    text = (
        "import p.q as pq\nimport r.s\nfrom t import u as v\nfrom . import w\n"
        "pq.f(pq.g)\nr.s.h()\nv()\nv.x.y\nw.z\nunknown.f()\nf()[0].attribute\n"
    )

    assert read_python("m.py", text).refs == {
        (0, "p.q.f"): 1, (0, "p.q.g"): 1, (0, "r.s.h"): 1, (0, "t.u"): 1, (0, "t.u.x.y"): 1,
        (1, "w.z"): 1,
    }  # fmt: skip


def test_a_short_file_is_one_snippet_and_a_long_one_is_its_functions():
    short = "import m\n\ndef test_it():\n    assert m.f()\n"
    filler = "\n".join(f"X{i} = {i}" for i in range(40)) + "\n"
    helper = (
        "\ndef _own():\n    return m.f()\n\nclass TestIt:\n    def test_in(self):\n        m.g()\n"
    )

    whole = read_python("test_m.py", short, snippets=True).snippets
    parts = read_python("test_m.py", short + filler + helper, snippets=True).snippets

    assert [(s.line, s.lines, s.text + "\n") for s in whole] == [(1, 4, short)]
    assert [(s.title, s.line, s.text) for s in parts] == [
        ("test_it", 3, "def test_it():\n    assert m.f()"),
        ("test_in", 50, "def test_in(self):\n    m.g()"),
    ]
    assert parts[1].refs == {(0, "m.g")}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(:\n", "line 1"),
        ("x = 1\nif x:\n", "line 2"),
        ("x = '\0'\n", "null bytes"),
        ("(" * 300 + ")" * 300, "too many nested parentheses"),
    ],
)
def test_what_is_not_python_says_why(text, reason):
    with pytest.raises(Unreadable, match="is not Python") as caught:
        read_python("m.py", text)
    assert reason in str(caught.value)


def test_an_expression_nested_too_deep_is_no_crash():
    text = "x = " + "-" * 50_000 + "1\n"

    with pytest.raises(Unreadable, match="nested too deep"):
        read_python("m.py", text)


def test_a_wrong_escape_in_a_string_is_no_warning_of_ours():
    assert names("x = '\\d'\n") == ["x"]


def test_a_docstring_with_a_lone_surrogate_can_travel():
    (symbol,) = read_python("m.py", "def f():\n    '\\ud800 here'\n").symbols

    assert symbol.doc.text.encode() == b"\\ud800 here"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"x = '\xc3\xa4'\n", "x = 'ä'\n"),
        (b"\xef\xbb\xbfx = 1\n", "x = 1\n"),
        (b"# -*- coding: latin-1 -*-\nx = '\xe4'\n", "# -*- coding: latin-1 -*-\nx = 'ä'\n"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n'\x80'", "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n'€'"),
        (b"x = 1\r\ny = 2\r", "x = 1\ny = 2\n"),
    ],
)  # fmt: skip
def test_source_is_decoded_as_pep_263_says(data, text):
    assert decode_python(data) == text


@pytest.mark.parametrize(
    "data",
    [
        b"x = '\xe4'\n",  # no declaration, and not UTF-8
        b"# coding: no-such-thing\n",
        b"# coding: hex\n",  # a codec, and not one of text
        b"\xef\xbb\xbf# coding: latin-1\n",  # mark and declaration disagree
    ],
)
def test_source_in_no_known_encoding_says_so(data):
    with pytest.raises(Unreadable, match="cannot be decoded"):
        decode_python(data)


def test_a_file_is_read_only_from_inside_of_the_root_and_never_through_a_link(tmp_path):
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "secret.py").write_text("secret")
    (tmp_path / "root" / "sub" / "a.py").write_text("fine")
    (tmp_path / "root" / "link.py").symlink_to(tmp_path / "secret.py")
    (tmp_path / "root" / "way").symlink_to(tmp_path)
    root = bytes(tmp_path / "root")

    assert read_source(root, b"sub/a.py") == b"fine"
    for path in (b"../secret.py", b"/etc/passwd", b"link.py", b"way/secret.py", b"sub", b"gone.py"):
        with pytest.raises(Unreadable):
            read_source(root, path)


def test_a_huge_file_is_not_parsed(tmp_path):
    with (tmp_path / "big.py").open("wb") as file:
        file.truncate(SOURCE_BYTES_MAX + 1)

    with pytest.raises(Unreadable, match=f"{SOURCE_BYTES_MAX + 1} bytes"):
        read_source(bytes(tmp_path), b"big.py")
