"""``tandem schedules add|list|remove``: what runs at which times, kept in the journal."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import typer

from tandem_orchestrator import CommandError, Settings, TandemOrchestrator
from tandem_orchestrator.cli.exits import Exit
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.options import Import, Json, Limit, Set, end
from tandem_orchestrator.cli.options import Journal as JournalOption
from tandem_orchestrator.cli.output import print_json, print_table, print_text, visible
from tandem_orchestrator.cli.target import import_agents, read_settings, read_target
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.model.schedules import Schedule
from tandem_orchestrator.orchestrator.composition import make_journal
from tandem_orchestrator.orchestrator.schedules import keep, listed
from tandem_orchestrator.settings import shown_place

_T = TypeVar("_T")
_Name = Annotated[str, typer.Argument(help="The schedule's name.")]

app = typer.Typer(
    help="Command sets that run at set times.", no_args_is_help=True, rich_markup_mode=None
)
"""The group ``tandem schedules``."""


@dataclass(frozen=True)
class AddWish:
    """What the command line asked for."""

    name: str
    target: str
    cron: str | None
    every_s: float | None
    timezone: str
    overlap: str
    catch_up: str
    jitter_s: float
    modules: list[str]
    settings: list[str]
    as_json: bool


@app.command("add")
def _add(
    name: _Name,
    target: Annotated[str, typer.Argument(help="A YAML, JSON or TOML file, or a workflow's name.")],
    cron: Annotated[
        str | None, typer.Option(help="Minute, hour, day of month, month, day of week.")
    ] = None,
    every: Annotated[float | None, typer.Option(help="Seconds, in place of --cron.")] = None,
    timezone: Annotated[str, typer.Option(help="The zone of --cron.")] = "UTC",
    overlap: Annotated[str, typer.Option(help="skip, queue or allow.")] = "skip",
    catch_up: Annotated[
        str, typer.Option("--catch-up", help="Of what was missed: none, one or all.")
    ] = "none",
    jitter: Annotated[float, typer.Option(help="Start up to so many seconds late.")] = 0.0,
    import_: Import = None,
    set: Set = None,
    journal: JournalOption = None,
    json: Json = False,
) -> None:
    """Keep a schedule; programs that have the journal open fire it."""
    wish = AddWish(
        name, target, cron, every, timezone, overlap, catch_up, jitter, import_ or [],
        set or [], json,
    )  # fmt: skip
    end(lambda: add(wish, read_settings(wish.settings, journal)))


@app.command("list")
def _list(limit: Limit = 100, journal: JournalOption = None, json: Json = False) -> None:
    """List schedules by name, and how far each is."""
    end(lambda: list_schedules(read_settings([], journal), limit=limit, as_json=json))


@app.command("remove")
def _remove(name: _Name, journal: JournalOption = None, json: Json = False) -> None:
    """Drop a schedule; its runs go on."""
    end(lambda: remove(read_settings([], journal), name, as_json=json))


def add(wish: AddWish, settings: Settings) -> Exit:
    """Check the command set as a program would, and keep the schedule.

    Raises: CommandError, InvalidCommandSet naming what is wrong.
    """
    schedule = run_in_loop(settings, lambda: _checked(wish))
    was_added = _with_journal(settings, lambda journal: keep(journal, schedule, time.time_ns()))
    found = _with_journal(settings, listed)
    shown = next(one.to_value() for one in found if one.schedule.name == wish.name)
    if wish.as_json:
        print_json(shown)
    else:
        word = "kept" if was_added else "was there already"
        print_text(visible(f"schedule {wish.name} {word}; next at {shown['next_at']}"))
        print_text("a program that has this journal open fires it")
    return Exit.DONE


async def _checked(wish: AddWish) -> Schedule:
    """Plan the set in an orchestrator of its own, which has a journal in memory."""
    agents = import_agents(wish.modules)
    command_set, _, faults = read_target(wish.target, {})
    async with TandemOrchestrator(read_settings(wish.settings, ":memory:")) as tandem:
        for agent in agents:
            tandem.add_agent(agent)
        if faults:
            tandem.validate(command_set, faults=faults)
        added = await tandem.schedules.add(
            wish.name,
            command_set,
            cron=wish.cron,
            every_s=wish.every_s,
            timezone=wish.timezone,
            overlap=wish.overlap,
            catch_up=wish.catch_up,
            jitter_s=wish.jitter_s,
        )
        return added.schedule


def list_schedules(settings: Settings, *, limit: int, as_json: bool) -> Exit:
    """List schedules by name."""
    rows = [one.to_value() for one in _with_journal(settings, listed)[:limit]]
    if as_json:
        print_json(rows)
        return Exit.DONE
    if not rows:
        print_text(f"no schedules in {shown_place(settings.journal.path)}")
        return Exit.DONE
    shown = [
        (
            row["name"],
            row["cron"] or f"every {row['every_s']:g} s",
            row["timezone"],
            str(row["next_at"] or "not known here")[:19].replace("T", " "),
            row["fired"],
            row["left_out"],
            row["last_run"] or "",
        )
        for row in rows
    ]
    columns = ("name", "when", "zone", "next (UTC)", "fired", "left out", "last run")
    print_table(columns, shown, folds=("name",), may_go=("left out", "fired", "last run", "zone"))
    return Exit.DONE


def remove(settings: Settings, name: str, *, as_json: bool) -> Exit:
    """Drop a schedule.

    Raises: CommandError if there is none.
    """
    if not _with_journal(settings, lambda journal: journal.remove_schedule(name)):
        raise CommandError(f"schedule '{name}' is not in the journal; see 'tandem schedules list'")
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        print_text(visible(f"schedule {name} is removed"))
    return Exit.DONE


def _with_journal(settings: Settings, use: Callable[[Journal], Awaitable[_T]]) -> _T:
    async def work() -> _T:
        journal = make_journal(settings)
        await journal.open(None)
        try:
            return await use(journal)
        finally:
            await journal.close()

    return run_in_loop(settings, work)
