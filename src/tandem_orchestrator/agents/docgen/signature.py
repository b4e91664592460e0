"""Write the signature of a Python function or class from its syntax tree, as `inspect` would."""

from __future__ import annotations

import ast

from tandem_orchestrator.agents.docgen.facts import SIGNATURE_CHARS_MAX, bounded

DEFAULT_CHARS_MAX = 80
"""Longer defaults and values are cut: they are data, not interface."""


def function_signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Give ``[async ]name(parameters)[ -> result]``, at most ``SIGNATURE_CHARS_MAX`` characters."""
    start = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    result = f" -> {source(node.returns, SIGNATURE_CHARS_MAX)}" if node.returns else ""
    return bounded(f"{start}{node.name}({parameters(node.args)}){result}", SIGNATURE_CHARS_MAX)


def class_signature(node: ast.ClassDef) -> str:
    """Give ``name[(bases, keyword=value)]``."""
    bases = [source(base) for base in node.bases]
    bases += [
        f"{keyword.arg}={source(keyword.value)}" if keyword.arg else f"**{source(keyword.value)}"
        for keyword in node.keywords
    ]
    return bounded(node.name + (f"({', '.join(bases)})" if bases else ""), SIGNATURE_CHARS_MAX)


def parameters(arguments: ast.arguments) -> str:
    """Give what stands between the parentheses."""
    positional = [*arguments.posonlyargs, *arguments.args]
    without_default = len(positional) - len(arguments.defaults)
    shown = [
        _parameter(
            arg, arguments.defaults[index - without_default] if index >= without_default else None
        )
        for index, arg in enumerate(positional)
    ]
    if arguments.posonlyargs:
        shown.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        shown.append("*" + _parameter(arguments.vararg, None))
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [
        _parameter(arg, default)
        for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        shown.append("**" + _parameter(arguments.kwarg, None))
    return ", ".join(shown)


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    name = arg.arg
    if arg.annotation is None:
        return name if default is None else f"{name}={source(default)}"
    name += f": {source(arg.annotation, SIGNATURE_CHARS_MAX)}"
    return name if default is None else f"{name} = {source(default)}"


def source(node: ast.expr, chars_max: int = DEFAULT_CHARS_MAX) -> str:
    """Write an expression on one line; one nested too deep or too long is an ellipsis."""
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):  # ValueError: an int of more than 4300 digits
        return "…"
    return bounded(" ".join(text.split()) if "\n" in text else text, chars_max)
