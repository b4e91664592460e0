"""Find what a Python module imports, when it does so, and where it uses what it imported."""

from __future__ import annotations

import ast

from tandem_orchestrator.agents.docgen.facts import Import

Ref = tuple[int, str]
"""What a name stands for: leading dots of a relative import, dotted name."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def find_imports(tree: ast.Module) -> tuple[list[Import], dict[str, Ref]]:
    """Give the imports of a module in their order, and what the names they bind stand for."""
    stack: list[tuple[ast.AST, str]] = [(tree, "module")]
    found: list[Import] = []
    bindings: dict[str, Ref] = {}
    while stack:
        node, kind = stack.pop()
        if isinstance(node, ast.Import):
            found += [Import(alias.name, kind, 0, node.lineno) for alias in node.names]
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                bindings[alias.asname or whole] = (0, whole)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            found.append(Import(node.module or "", kind, node.level, node.lineno, names))
            base = f"{node.module}." if node.module else ""
            for alias in node.names:
                bindings[alias.asname or alias.name] = (node.level, base + alias.name)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            stack += [(inner, "typing") for inner in node.body]
            stack += [(inner, kind) for inner in node.orelse]
        elif isinstance(node, ast.stmt | ast.Module | ast.ExceptHandler | ast.match_case):
            inside = "lazy" if isinstance(node, _Function) and kind == "module" else kind
            stack += [(inner, inside) for inner in _inner_statements(node)]
    bindings.pop("*", None)
    return sorted(found, key=lambda one: (one.line, one.level, one.target)), bindings


def _inner_statements(node: ast.AST) -> list[ast.AST]:
    inner: list[ast.AST] = []
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        inner += getattr(node, name, ())
    return inner


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def find_refs(tree: ast.Module, bindings: dict[str, Ref]) -> list[tuple[int, Ref]]:
    """Give (line, what is used) for each use of an imported name: its longest dotted chain.

    Scopes are not told apart: a local name that hides an imported one is taken for it.
    """
    if not bindings:
        return []
    found: list[tuple[int, Ref]] = []
    stack: list[ast.AST] = [tree]
    # Written out rather than by ast.walk: this visits every node of every file, and ast.walk
    # takes three times as long.
    while stack:
        node = stack.pop()
        kind = node.__class__
        if kind is ast.Name or kind is ast.Attribute:
            chain: list[str] = []
            inner: ast.AST = node
            while isinstance(inner, ast.Attribute):
                chain.append(inner.attr)
                inner = inner.value
            if not isinstance(inner, ast.Name):
                stack.append(inner)
            elif inner.id in bindings:
                level, base = bindings[inner.id]
                found.append((inner.lineno, (level, ".".join([base, *reversed(chain)]))))
        elif kind is not ast.Constant:
            for field in node._fields:
                value = getattr(node, field, None)
                if value.__class__ is list:
                    stack += [one for one in value if isinstance(one, ast.AST)]
                elif isinstance(value, ast.AST) and field != "ctx":
                    stack.append(value)
    return found
