"""Printing: JSON for programs, tables for people, and no control character of a stranger's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def stdout_for_the_result() -> Iterator[None]:
    """Send what actions and their children print to stderr meanwhile.

    stdout carries the result and nothing else; a ``print`` in a handler must not break ``--json``.
    """
    try:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        yield  # Closed, or replaced by something without a descriptor: nothing to keep apart.
        return
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def visible(text: str) -> str:
    """Replace what a terminal would act on by its escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def console(*, stderr: bool = False) -> Console:
    """Make a console that leaves user text alone: no markup, no emoji, no highlighting."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # A file or a pipe has no width of its own; what is read by programs should not be folded.
    asked = os.environ.get("COLUMNS", "")
    width = None if stream.isatty() else int(asked) if asked.isdecimal() and int(asked) else 160
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


FOLDED_CHARS_MIN = 28
"""A column that folds gets at least so many characters, or a column that may go goes."""
GAP_CHARS = 3
"""Between two columns of a table."""


def table_width() -> int:
    """Give the characters of a line on stdout."""
    return console().width


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    folds: Sequence[str] = (),
    may_go: Sequence[str] = (),
) -> None:
    """Print a table on stdout that fits the line; nothing in it is cut off.

    Args:
        columns: Their headings.
        rows: As many cells in each.
        folds: Columns whose cells may take several lines; by default the last.
        may_go: Columns to leave out on a narrow terminal, the first one first.
    """
    from rich import box
    from rich.table import Table

    folds = folds or columns[-1:]
    shown = [[visible(str(cell)) for cell in row] for row in rows]
    widths = {
        name: max([len(name), *(len(row[i]) for row in shown)]) for i, name in enumerate(columns)
    }
    left = _columns_that_fit(columns, widths, folds, may_go)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in left:
        if name in folds:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, no_wrap=True, min_width=widths[name])
    places = [columns.index(name) for name in left]
    for row in shown:
        table.add_row(*(row[place] for place in places))
    screen = console()
    with screen.capture() as captured:
        screen.print(table)
    print_text("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _columns_that_fit(
    columns: Sequence[str], widths: dict[str, int], folds: Sequence[str], may_go: Sequence[str]
) -> list[str]:
    """Leave out what may go, one by one, until the rest fits."""
    left, width = list(columns), table_width()
    for candidate in may_go:
        needed = (len(left) - 1) * GAP_CHARS + sum(
            min(widths[name], FOLDED_CHARS_MIN) if name in folds else widths[name] for name in left
        )
        if needed <= width:
            break
        left.remove(candidate)
    return left


def show_took(seconds: float | None, attempts: int, within_s: float | None) -> str:
    """Write a step's time; of items that ran side by side what each took, not their sum.

    Args:
        within_s: How long the run took: a step's sum beyond it is of more than one at a time.
    """
    if seconds is None or within_s is None or attempts < 2 or seconds <= within_s:
        return show_seconds(seconds)
    return f"{show_seconds(seconds / attempts)} each"


def show_seconds(seconds: float | None) -> str:
    """Give a duration in the unit that reads best."""
    if seconds is None:
        return ""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.2f} s"
