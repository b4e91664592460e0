"""Measure how much of a tree's public interface is documented.

Counted are modules, public classes and functions, and public methods; in C headers, functions
and types that a file offers to others. A C function counts where it is declared: its definition
is not counted again when a header of the tree declares it, nor is a .c file beside its header.
"""

from __future__ import annotations

from collections.abc import Collection

from tandem_orchestrator.agents.docgen.facts import Facts, Symbol


def coverage(
    facts: Facts, declared_elsewhere: Collection[str] = (), *, as_module: bool = True
) -> dict[str, int]:
    """Count what a module offers: ``{"documented", "total"}``.

    Args:
        declared_elsewhere: C names that a header declares, and that are not counted here.
        as_module: Whether the module itself should say what it is.
    """
    total = int(as_module)
    documented = int(as_module and facts.doc is not None)
    for symbol in facts.symbols:
        if symbol.name in declared_elsewhere:
            continue
        for one in [symbol, *(m for m in symbol.members if m.kind != "attribute")]:
            if is_countable(one):
                total += 1
                documented += one.doc is not None
    return {"documented": documented, "total": total}


def is_countable(symbol: Symbol) -> bool:
    """Tell whether a symbol should be documented: not what only repeats or overloads another."""
    return symbol.countable and not any(
        decorator.split(".")[-1] in ("overload", "setter", "deleter", "@overload", "override")
        or decorator.endswith("@override")
        for decorator in symbol.decorators
    )


def added(counts: Collection[dict[str, int]]) -> dict[str, int]:
    """Add the counts of several modules."""
    return {key: sum(count[key] for count in counts) for key in ("documented", "total")}
