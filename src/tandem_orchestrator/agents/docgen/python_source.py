"""Find the modules, classes, functions, docstrings and imports of Python source by its syntax tree.

Nothing is imported or run. What a module offers is ``__all__`` where that is a literal, and every
name without a leading underscore otherwise.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from tandem_orchestrator.agents.docgen.facts import (
    Doc,
    Facts,
    Snippet,
    Symbol,
    bound_members,
    bounded,
    make_doc,
)
from tandem_orchestrator.agents.docgen.python_imports import Ref, find_imports, find_refs
from tandem_orchestrator.agents.docgen.signature import class_signature, function_signature, source
from tandem_orchestrator.agents.docgen.source_file import Unreadable

SNIPPET_LINES_MAX = 30
SNIPPET_LINES_MIN = 2

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def read_python(path: str, text: str, *, snippets: bool = False) -> Facts:
    """Give what a Python module says about itself.

    Args:
        path: Relative to the root; only copied into the facts.
        text: The decoded source, lines ended by ``\\n``.
        snippets: Whether it is a test or an example, whose pieces may be shown.

    Raises: Unreadable if it is not Python, with line and reason.
    """
    tree = _parse(text)
    facts = Facts(path, "python", doc=_doc(tree))
    top = list(_flat(tree.body))
    public = _literal_all(top)
    found: dict[str, Symbol] = {}
    for node, following in _pairs(top):
        for symbol in _symbols(node, following):
            if symbol.name == "__all__":
                continue
            if symbol.name in public if public is not None else not symbol.name.startswith("_"):
                _keep(found, symbol)
            else:
                facts.private += 1
    facts.symbols, facts.symbols_cut = bound_members(list(found.values()))
    facts.imports, bindings = find_imports(tree)
    refs = find_refs(tree, bindings)
    facts.refs.update(ref for _, ref in refs)
    if snippets:
        facts.snippets = list(_snippets(tree, text.split("\n"), refs))
    return facts


def _parse(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a wrong escape in someone's string is not our warning
            return ast.parse(text)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise Unreadable(f"is not Python: {where}{error.msg}") from error
    except ValueError as error:  # a NUL
        raise Unreadable(f"is not Python: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise Unreadable("is nested too deep for the parser") from error


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a body, and those under its ``if``, ``try`` and ``with``."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _flat([*node.body, *node.orelse])
        elif isinstance(node, ast.Try | ast.TryStar):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _flat([*node.body, *handlers, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.With):
            yield from _flat(node.body)


def _pairs(nodes: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    yield from itertools.zip_longest(nodes, nodes[1:])


def _keep(found: dict[str, Symbol], symbol: Symbol) -> None:
    """Add a symbol; of overloads, setters and alternatives the first counts, with any docstring."""
    first = found.setdefault(symbol.name, symbol)
    if first is not symbol and first.doc is None and first.kind == symbol.kind:
        first.doc = symbol.doc


def _literal_all(nodes: list[ast.stmt]) -> frozenset[str] | None:
    names: frozenset[str] | None = None
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                value = node.value
                if not isinstance(value, ast.List | ast.Tuple):
                    return None
                strings = {e.value for e in value.elts if isinstance(e, ast.Constant)}
                names = (names or frozenset()) | {s for s in strings if isinstance(s, str)}
    return names


def _symbols(node: ast.stmt, following: ast.stmt | None) -> Iterator[Symbol]:
    if isinstance(node, ast.ClassDef):
        yield _class(node)
    elif isinstance(node, _Function):
        yield _function(node)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        kind = "constant"
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from _variables(node, targets, following, kind)


def _variables(
    node: ast.Assign | ast.AnnAssign,
    targets: Iterable[ast.expr],
    following: ast.stmt | None,
    kind: str,
) -> Iterator[Symbol]:
    doc = None
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
        value = following.value.value
        doc = make_doc(inspect.cleandoc(value)) if isinstance(value, str) else None
    annotation = f": {source(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
    value = f" = {source(node.value)}" if node.value is not None else ""
    for target in targets:
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        for name in names:
            if isinstance(name, ast.Name):
                shown = f"{name.id}{annotation}{value if name is target else ''}"
                yield Symbol(kind, name.id, node.lineno, shown, doc, countable=False)


def _class(node: ast.ClassDef) -> Symbol:
    found: dict[str, Symbol] = {}
    body = list(_flat(node.body))
    for inner, following in _pairs(body):
        for symbol in _members(inner, following):
            if symbol.name == "__init__":
                symbol.countable = False  # what it takes is the class's to explain
                _keep(found, symbol)
            elif not symbol.name.startswith("_"):
                _keep(found, symbol)
    members, cut = bound_members(list(found.values()))
    symbol = Symbol("class", node.name, _first_line(node), class_signature(node), _doc(node))
    symbol.decorators = _decorators(node)
    symbol.members, symbol.members_cut = members, cut
    return symbol


def _members(node: ast.stmt, following: ast.stmt | None) -> Iterator[Symbol]:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from _variables(node, targets, following, "attribute")
    else:
        yield from _symbols(node, following)


def _function(node: _Function) -> Symbol:
    symbol = Symbol("function", node.name, _first_line(node), function_signature(node), _doc(node))
    symbol.decorators = _decorators(node)
    return symbol


def _decorators(node: ast.ClassDef | _Function) -> tuple[str, ...]:
    return tuple("@" + source(decorator) for decorator in node.decorator_list[:16])


def _first_line(node: ast.ClassDef | _Function) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _doc(node: ast.Module | ast.ClassDef | _Function) -> Doc | None:
    return make_doc(ast.get_docstring(node))


def _snippets(tree: ast.Module, lines: list[str], refs: list[tuple[int, Ref]]) -> Iterator[Snippet]:
    """Yield the functions, also of test classes; a short file as a whole instead."""
    if lines and lines[-1] == "":
        lines = lines[:-1]
    pieces: list[tuple[int, int, str]] = []
    if len(lines) <= SNIPPET_LINES_MAX:
        pieces.append((1, len(lines), ""))
    else:
        for node in tree.body:
            for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(inner, _Function) and not inner.name.startswith("_"):
                    last = inner.end_lineno or inner.lineno
                    pieces.append((_first_line(inner), last, inner.name))
    refs = sorted(refs)
    at_line = [line for line, _ in refs]
    for first, last, title in pieces:
        count = last - first + 1
        if SNIPPET_LINES_MIN <= count <= SNIPPET_LINES_MAX:
            start, end = bisect_left(at_line, first), bisect_right(at_line, last)
            used = frozenset(ref for _, ref in refs[start:end])
            if used:
                text = textwrap.dedent("\n".join(lines[first - 1 : last]))
                text = text.encode("utf-8", "backslashreplace").decode()
                yield Snippet(first, bounded(text, SNIPPET_LINES_MAX * 200), count, used, title)
