"""Find the functions, types, macros, doc comments and inclusions of C source by tree-sitter.

tree-sitter is the extra ``c-analysis``. It parses text that was never preprocessed and goes on
after what it does not understand, so macros that look like nothing in C cost a function or two.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from tandem_orchestrator.agents.docgen.facts import (
    SIGNATURE_CHARS_MAX,
    Doc,
    Facts,
    Import,
    Snippet,
    Symbol,
    bound_members,
    bounded,
    make_doc,
)

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

EXTRA_HINT = "pip install 'tandem-orchestrator[c-analysis]'"
SNIPPET_LINES_MAX = 30
_TYPES = {"struct_specifier": "struct", "union_specifier": "union", "enum_specifier": "enum"}
_CONDITIONS = frozenset(
    {"preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif", "linkage_specification"}
    | {"declaration_list"}
)


class MissingParser(Exception):
    """tree-sitter is not installed; the argument says so and how to get it."""


@lru_cache(maxsize=1)
def c_parser() -> Parser:
    """Give the parser of this process.

    Raises: MissingParser.
    """
    try:
        import tree_sitter
        import tree_sitter_c
    except ImportError as error:
        raise MissingParser(f"C needs tree-sitter ({error}): {EXTRA_HINT}") from error
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))


def read_c(path: str, data: bytes, *, snippets: bool = False) -> Facts:
    """Give what a C file says about itself.

    Args:
        path: Relative to the root; decides, by its ending, what is a header.
        data: The file; bytes that are not UTF-8 are shown as U+FFFD.
        snippets: Whether it is a test or an example, whose functions may be shown.

    Raises: MissingParser.
    """
    facts = Facts(path, "c")
    text = data.decode("utf-8", "replace")
    if "\ufffd" in text:
        facts.problems.append("is not UTF-8; bytes that are not are shown as U+FFFD")
    source = text.replace("\r\n", "\n").encode()
    root = c_parser().parse(source).root_node
    if root.has_error:
        facts.problems.append("has parts that the C parser does not understand (often macros)")
    header = path.endswith((".h", ".hpp", ".hh"))
    nodes = list(_flat(root.children))
    facts.doc = _file_doc(nodes)
    found: dict[tuple[str, str], Symbol] = {}
    for position, node in enumerate(nodes):
        if node.type == "preproc_include":
            facts.imports += _include(node)
            continue
        doc = _doc_above(nodes, position)
        for symbol, public in _symbols(node, doc, header):
            if public:
                first = found.setdefault((symbol.kind, symbol.name), symbol)
                first.doc = first.doc or symbol.doc
            else:
                facts.private += 1
    facts.symbols, facts.symbols_cut = bound_members(list(found.values()))
    for ref in _refs(root):
        facts.refs[ref] += 1
    if snippets:
        facts.snippets = list(_snippets(nodes))
    return facts


def _flat(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield top-level nodes, and those inside ``#if`` and ``extern "C"``."""
    for node in nodes:
        if node.type in _CONDITIONS:
            yield from _flat(node.children)
        else:
            yield node


def _text(node: Node | None) -> str:
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def _line(node: Node) -> int:
    return node.start_point[0] + 1


def _doc_above(nodes: list[Node], position: int) -> Doc | None:
    """Give the comment that ends on the line above a node, if one does."""
    comments: list[Node] = []
    row = nodes[position].start_point[0]
    for index in range(position - 1, max(position - 65, -1), -1):
        node = nodes[index]
        if (
            index
            and nodes[index - 1].end_point[0] == node.start_point[0]
            and (nodes[index - 1].type not in ("comment", "{", "preproc_include"))
        ):
            break  # it stands beside what is before it, and so belongs to that
        touches = node.end_point[0] == row - 1 or (
            node.type == "comment" and node.end_point == (row, 0)
        )
        if node.type != "comment" or not touches:
            break
        comments.append(node)
        row = node.start_point[0]
    return make_doc("\n".join(comment_text(_text(node)) for node in reversed(comments)))


def _file_doc(nodes: list[Node]) -> Doc | None:
    """Give the comment at the head of a file, unless it belongs to the function below it."""
    head: list[Node] = []
    for node in nodes:
        if node.type != "comment":
            directive = node.type.startswith("preproc") or node.type == "#ifndef"
            if head and not directive and node.start_point[0] <= head[-1].end_point[0] + 1:
                return None
            break
        if head and node.start_point[0] > head[-1].end_point[0] + 1:
            break
        head.append(node)
    return make_doc("\n".join(comment_text(_text(node)) for node in head))


def comment_text(comment: str) -> str:
    """Take the comment's marks away, keep its lines and their inner indentation."""
    if comment.startswith("//"):
        return re.sub(r"^//[/!]?<? ?", "", comment)
    body = re.sub(r"^/\*+[!<]*", "", comment)
    body = re.sub(r"\**/$", "", body)
    lines = [re.sub(r"^\s*\*(?!\*) ?", "", line) for line in body.split("\n")[1:]]
    return inspect.cleandoc("\n".join([body.split("\n")[0], *lines])).strip()


def _include(node: Node) -> Iterator[Import]:
    path = node.child_by_field_name("path")
    text = _text(path)
    if path is not None and path.type in ("string_literal", "system_lib_string"):
        yield Import(text[1:-1], "module", int(path.type == "string_literal"), _line(node))


def _symbols(node: Node, doc: Doc | None, header: bool) -> Iterator[tuple[Symbol, bool]]:
    """Yield the symbols that a top-level node declares, each with whether it is public."""
    if node.type == "function_definition":
        declarator = _function_declarator(node)
        if declarator is not None:
            public = header or not _is_static(node)
            yield _function(node, declarator, doc), public
    elif node.type == "declaration":
        declarator = _function_declarator(node)
        if declarator is not None:
            # A prototype in a .c file is of something defined elsewhere.
            if header:
                yield _function(node, declarator, doc), True
        else:
            yield from _types(node, doc, header)
    elif node.type == "type_definition":
        name = _declared_name(node.child_by_field_name("declarator"))
        if name:
            yield _type("typedef", name, node, doc), header
    elif node.type in _TYPES:
        yield from _types(node, doc, header)
    elif node.type in ("preproc_def", "preproc_function_def"):
        name = _text(node.child_by_field_name("name"))
        guard = node.child_by_field_name("value") is None and node.type == "preproc_def"
        if name and not guard:
            parameters = _text(node.child_by_field_name("parameters"))
            value = "" if parameters else f" {_one_line(_text(node.child_by_field_name('value')))}"
            shown = bounded(f"#define {name}{_one_line(parameters)}{value}", SIGNATURE_CHARS_MAX)
            yield Symbol("macro", name, _line(node), shown, doc, countable=False), header


def _types(node: Node, doc: Doc | None, header: bool) -> Iterator[tuple[Symbol, bool]]:
    specifier = node if node.type in _TYPES else node.child_by_field_name("type")
    if specifier is None or specifier.type not in _TYPES:
        return
    name = _text(specifier.child_by_field_name("name"))
    if name and specifier.child_by_field_name("body") is not None:
        yield _type(_TYPES[specifier.type], name, specifier, doc), header


def _type(kind: str, name: str, node: Node, doc: Doc | None) -> Symbol:
    specifier = node.child_by_field_name("type") if kind == "typedef" else node
    body = specifier.child_by_field_name("body") if specifier is not None else None
    head = f"{kind} {name}" if kind != "typedef" else _one_line(_text(node))
    if kind == "typedef" and body is not None and specifier is not None:
        inner = _TYPES.get(specifier.type, "struct")
        tag = _text(specifier.child_by_field_name("name"))
        head = " ".join(filter(None, ["typedef", inner, tag, "{…}", name]))
    symbol = Symbol(kind, name, _line(node), bounded(head.rstrip("; "), SIGNATURE_CHARS_MAX), doc)
    if body is not None:
        symbol.members, symbol.members_cut = bound_members(list(_fields(body)))
    return symbol


def _fields(body: Node) -> Iterator[Symbol]:
    nodes = list(_flat(body.children))
    for position, node in enumerate(nodes):
        if node.type not in ("field_declaration", "enumerator"):
            continue
        name = _text(node.child_by_field_name("name")) or _declared_name(
            node.child_by_field_name("declarator")
        )
        shown = bounded(_one_line(_text(node)).rstrip(";"), SIGNATURE_CHARS_MAX)
        doc = _doc_beside(nodes, position) or _doc_above(nodes, position)
        yield Symbol("attribute", name, _line(node), shown, doc, countable=False)


def _doc_beside(nodes: list[Node], position: int) -> Doc | None:
    row = nodes[position].end_point[0]
    for node in nodes[position + 1 : position + 3]:
        if node.type == "comment" and node.start_point[0] == row:
            return make_doc(comment_text(_text(node)))
    return None


def _function(node: Node, declarator: Node, doc: Doc | None) -> Symbol:
    body = node.child_by_field_name("body")
    whole = _text(node)
    if body is not None:
        whole = (node.text or b"")[: body.start_byte - node.start_byte].decode("utf-8", "replace")
    signature = bounded(_one_line(whole).rstrip("; {"), SIGNATURE_CHARS_MAX)
    name = _declared_name(declarator)
    return Symbol("function", name, _line(node), signature, doc)


def _function_declarator(node: Node) -> Node | None:
    """Find the function that a declaration is of; None for variables and pointers to functions."""
    inner = node.child_by_field_name("declarator")
    while inner is not None and inner.type in ("pointer_declarator", "attributed_declarator"):
        inner = inner.child_by_field_name("declarator") or (
            inner.named_children[0] if inner.named_children else None
        )
    if inner is None or inner.type != "function_declarator":
        return None
    named = inner.child_by_field_name("declarator")
    return inner if named is not None and named.type == "identifier" else None


def _declared_name(node: Node | None) -> str:
    while node is not None and node.type not in (
        "identifier",
        "field_identifier",
        "type_identifier",
        "primitive_type",
    ):
        inner = node.child_by_field_name("declarator")
        node = inner or next((n for n in node.named_children if "declarator" in n.type), None)
    return _text(node)


def _is_static(node: Node) -> bool:
    return any(
        child.type == "storage_class_specifier" and _text(child) == "static"
        for child in node.children
    )


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL).split())


def _refs(root: Node) -> Iterator[tuple[int, str]]:
    """Yield the names of called functions and of types, once for each use."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.type == "call_expression":
            function = node.child_by_field_name("function")
            if function is not None and function.type == "identifier":
                yield 0, _text(function)
        elif node.type == "type_identifier":
            yield 0, _text(node)
        stack += node.children


def _snippets(nodes: list[Node]) -> Iterator[Snippet]:
    for node in nodes:
        count = node.end_point[0] - node.start_point[0] + 1
        if node.type == "function_definition" and 2 <= count <= SNIPPET_LINES_MAX:
            refs = frozenset(_refs(node))
            if refs:
                declarator = _function_declarator(node)
                title = _declared_name(declarator) if declarator is not None else ""
                text = bounded(_text(node), SNIPPET_LINES_MAX * 200)
                yield Snippet(_line(node), text, count, refs, title)
