"""Which run people mean: by its id, the beginning of it, or ``last``."""

from __future__ import annotations

from typing import Annotated

import typer

from tandem_orchestrator import CommandError, Settings
from tandem_orchestrator.cli.journal_use import with_journal
from tandem_orchestrator.journal import Journal, RunRow
from tandem_orchestrator.settings import shown_place

LAST = "last"
"""Stands for the newest run where an id is asked for."""
LOOKED_AT_MAX = 10_000
"""Runs, the newest first, among which the beginning of an id is looked for."""
NAMED_MAX = 5
"""Runs that begin alike and that an error names."""

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its beginning, or last.")]
"""Of every command about one run."""


async def find_run(journal: Journal, which: str, settings: Settings) -> RunRow:
    """Find a run by its id, the beginning of it if that is unique, or ``last``.

    Raises: CommandError naming those that begin so, or that there is none.
    """
    row = await journal.run(which)
    if row is not None:
        return row
    if which == LAST:
        found = await journal.runs(limit=1)
    else:
        rows = await journal.runs(limit=LOOKED_AT_MAX)
        found = [row for row in rows if which and row.run_id.startswith(which)]
    if len(found) > 1:
        begin_so = ", ".join(row.run_id for row in found[:NAMED_MAX])
        more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
        raise CommandError(f"run {which!r}: several begin so: {begin_so}{more}; give the whole id")
    if not found:
        raise CommandError(
            f"run {which!r}: there is no such run in the journal {shown_place(settings.journal.path)}; "
            "see 'tandem runs list'"
        )
    return found[0]


def run_id_of(settings: Settings, which: str) -> str:
    """Give the whole id of the run that is meant.

    Raises: as ``find_run``.
    """
    return with_journal(settings, lambda journal: find_run(journal, which, settings)).run_id
