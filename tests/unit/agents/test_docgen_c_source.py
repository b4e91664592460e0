"""C is read by tree-sitter; what is expected is worked out from the source by hand."""

import sys

import pytest

from tandem_orchestrator.agents.docgen import c_source
from tandem_orchestrator.agents.docgen.c_source import MissingParser, comment_text, read_c

HEADER = b"""/* geo.h - areas of shapes.
 *
 * Threads: any.
 */
#ifndef GEO_H
#define GEO_H

#include <stddef.h>
#include "base/num.h"

#define GEO_MAX 16
#define GEO_TWICE(x) ((x) * 2)

/* A point.
   Two lines. */
typedef struct geo_point {
    double x; /* metres */
    double y;
    int *tags[4]; // labels
} geo_point;

enum geo_kind { GEO_ROUND = 1, GEO_SQUARE };

/** Area of a circle.
 *
 * Errors: NaN for a negative radius.
 */
double geo_area(double radius);

extern "C" {
#if 1
const char *
geo_name(const geo_point *point, size_t bytes);
#endif
}

static inline int geo_sign(int x)
{
    return x < 0 ? -1 : x > 0;
}

double (*geo_hook)(double);
extern int geo_count;

#endif
"""


def test_a_header_offers_its_functions_types_and_macros():
    facts = read_c("include/geo.h", HEADER)

    assert [(s.kind, s.name, s.signature) for s in facts.symbols] == [
        ("macro", "GEO_MAX", "#define GEO_MAX 16"),
        ("macro", "GEO_TWICE", "#define GEO_TWICE(x)"),
        ("typedef", "geo_point", "typedef struct geo_point {…} geo_point"),
        ("enum", "geo_kind", "enum geo_kind"),
        ("function", "geo_area", "double geo_area(double radius)"),
        ("function", "geo_name", "const char * geo_name(const geo_point *point, size_t bytes)"),
        ("function", "geo_sign", "static inline int geo_sign(int x)"),
    ]
    assert facts.problems == []


def test_doc_comments_belong_to_what_is_right_below_them():
    symbols = {s.name: s for s in read_c("geo.h", HEADER).symbols}

    assert symbols["geo_area"].doc.text == "Area of a circle.\n\nErrors: NaN for a negative radius."
    assert symbols["geo_point"].doc.summary == "A point. Two lines."
    assert symbols["geo_sign"].doc is None
    assert symbols["geo_area"].line == 28


def test_fields_have_the_comment_beside_them_and_not_their_neighbours():
    symbols = {s.name: s for s in read_c("geo.h", HEADER).symbols}
    point = symbols["geo_point"].members

    assert [(m.signature, m.doc and m.doc.text) for m in point] == [
        ("double x", "metres"),
        ("double y", None),
        ("int *tags[4]", "labels"),
    ]
    assert [m.signature for m in symbols["geo_kind"].members] == ["GEO_ROUND = 1", "GEO_SQUARE"]


def test_the_comment_at_the_head_is_about_the_file():
    assert read_c("geo.h", HEADER).doc.summary == "geo.h - areas of shapes."
    # One that touches a function is about the function.
    touching = read_c("x.c", b"/* About f. */\nint f(void) { return 1; }\n")
    assert touching.doc is None
    assert touching.symbols[0].doc.summary == "About f."


def test_inclusions_keep_their_kind():
    assert [(i.target, i.level) for i in read_c("geo.h", HEADER).imports] == [
        ("stddef.h", 0),
        ("base/num.h", 1),
    ]


def test_a_source_file_offers_what_is_not_static_and_repeats_no_prototype():
    text = b"""
    int elsewhere(int);
    static int own(int x) { return x; }
    struct local { int x; };
    /* Open it. */
    int open_it(void) { return own(elsewhere(1)); }
    """
    facts = read_c("x.c", text)

    assert [(s.name, s.doc.text) for s in facts.symbols] == [("open_it", "Open it.")]
    assert facts.private == 2
    assert facts.refs[0, "own"] == facts.refs[0, "elsewhere"] == 1


def test_what_the_parser_does_not_understand_is_reported_and_the_rest_is_read():
    facts = read_c(
        "x.c", b"int f(void) { return 1; }\n@@ what ( is this\nint g(void) { return 2; }\n"
    )

    assert "f" in [s.name for s in facts.symbols]
    assert facts.problems == ["has parts that the C parser does not understand (often macros)"]


def test_bytes_that_are_not_utf_8_are_reported():
    facts = read_c("x.c", b"/* \xe4 */\n\nint f(void);\n")

    assert facts.doc.text == "\ufffd"
    assert "not UTF-8" in facts.problems[0]


def test_functions_of_a_test_are_snippets():
    text = b'#include "geo.h"\nstatic void areas_hold(void)\n{\n    CHECK(geo_area(1.0) > 3);\n}\n'

    (snippet,) = read_c("geo_test.c", text, snippets=True).snippets

    assert (snippet.title, snippet.line, snippet.lines) == ("areas_hold", 2, 4)
    assert (0, "geo_area") in snippet.refs


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        ("/* one */", "one"),
        ("// one", "one"),
        ("///< one", "one"),
        ("/**\n * one\n *   two\n */", "one\n  two"),
        ("/* one\n   two\n     three */", "one\ntwo\n  three"),
        ("/*** one **/", "one"),
        ("/**/", ""),
    ],
)
def test_comments_lose_their_marks_and_keep_their_lines(comment, text):
    assert comment_text(comment) == text


def test_without_tree_sitter_the_reason_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    c_source.c_parser.cache_clear()

    with pytest.raises(MissingParser, match=r"pip install 'tandem-orchestrator\[c-analysis\]'"):
        read_c("x.c", b"int x;")

    c_source.c_parser.cache_clear()
