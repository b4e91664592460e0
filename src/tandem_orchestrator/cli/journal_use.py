"""The journal as commands use it: opened to read and ask only, and closed again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tandem_orchestrator import Settings
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.orchestrator.composition import make_journal

_T = TypeVar("_T")


def with_journal(settings: Settings, use: Callable[[Journal], Awaitable[_T]]) -> _T:
    """Open the journal to read and ask only, and close it again."""

    async def work() -> _T:
        journal = make_journal(settings)
        await journal.open(None)
        try:
            return await use(journal)
        finally:
            await journal.close()

    return run_in_loop(settings, work)
