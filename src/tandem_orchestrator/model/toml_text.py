"""TOML, with its depth known before anything is parsed (the parser itself recurses)."""

from __future__ import annotations

import re
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.file_limits import FILE_DEPTH_MAX, NUMBER_CHARS_MAX, refuse
from tandem_orchestrator.model.json_text import check_nesting

# Strings and comments, each ending at the latest where the line or the text does.
_STRING_OR_COMMENT = re.compile(
    r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*(?:"""|\\?\Z)'
    r"|'''[^']*(?:'(?!'')[^']*)*(?:'''|\Z)"
    r'|"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*",
    re.DOTALL,
)
# Each starts only where a word does, and no two parts of it can match the same character: linear.
# (No possessive quantifiers: Python 3.11.2, Debian 12's, matches some of them wrongly.)
_PART = r"[\w-]+[ \t]*\.[ \t]*"
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}){{{FILE_DEPTH_MAX}}}")
_LONG_WORD = re.compile(rf"(?<![\w.+-])[\w.+-]{{{NUMBER_CHARS_MAX + 1}}}")


def parse_toml(text: str) -> tuple[Any, list[Fault]]:
    """Read one TOML document.

    Returns: The document, and no faults: what TOML refuses keeps the rest from being read.

    Raises: InvalidCommandSet if it is no TOML, or over a limit.
    """
    import tomllib

    bare = _STRING_OR_COMMENT.sub("s", text)
    check_nesting(bare)
    # A dotted key opens a table for each part, and the parser's cost grows with their square.
    if _LONG_KEY.search(bare):
        refuse(f"a dotted key of over {FILE_DEPTH_MAX} parts")
    if _LONG_WORD.search(bare):
        refuse(f"a number or bare word of over {NUMBER_CHARS_MAX} characters")
    try:
        return tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        refuse(f"not TOML: {str(error)[:200]}")
    except (ValueError, RecursionError) as error:
        refuse(f"not TOML: {str(error)[:200]}")
