"""Printing: JSON for programs, tables for people, and no control character of a stranger's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console


# Any: results hold values of any kind.
def to_json(value: Any) -> str:
    """Encode as indented JSON; bytes become base64 text, NaN and infinities null."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2).decode()


def _plain(obj: Any) -> Any:
    """Show what JSON has no form for."""
    if isinstance(obj, memoryview):
        return bytes(obj)
    if hasattr(obj, "tolist"):
        return obj.tolist()
    return repr(obj)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    print_text(to_json(value))


def print_text(text: str) -> None:
    """Print on stdout; a reader that has left (``| head``) ends the program quietly."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def visible(text: str) -> str:
    """Replace what a terminal would act on by its escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def console(*, stderr: bool = False) -> Console:
    """Make a console that leaves user text alone: no markup, no emoji, no highlighting."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # A file or a pipe has no width of its own; what is read by programs should not be folded.
    width = None if stream.isatty() else 160
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; the last column takes what room there is."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    for row in rows:
        table.add_row(*(visible(str(cell)) for cell in row))
    console().print(table)


def show_seconds(seconds: float | None) -> str:
    """Give a duration in the unit that reads best."""
    if seconds is None:
        return ""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.2f} s"
