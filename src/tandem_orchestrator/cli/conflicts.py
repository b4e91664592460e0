"""``tandem conflicts``: what twins disagreed about, read from the journal or a capsule file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tandem_orchestrator import CapsuleError, Settings
from tandem_orchestrator.cli import capsule_runs, decide
from tandem_orchestrator.cli.capsule_runs import RerunWish
from tandem_orchestrator.cli.capsule_view import (
    flat_words,
    print_capsule,
    side_words,
    when,
)
from tandem_orchestrator.cli.exits import Exit
from tandem_orchestrator.cli.journal_use import with_journal
from tandem_orchestrator.cli.options import Import, Journal, Json, Limit, Set, end
from tandem_orchestrator.cli.output import print_json, print_table, print_text
from tandem_orchestrator.cli.target import read_settings
from tandem_orchestrator.observe import CapsuleFilter, list_capsules, read_capsule
from tandem_orchestrator.orchestrator.composition import beside_journal
from tandem_orchestrator.settings import shown_place
from tandem_orchestrator.twins import Capsule
from tandem_orchestrator.twins.capsule_file import SUFFIX, capsule_from_text
from tandem_orchestrator.twins.shrink import CALLS_MAX

_T = TypeVar("_T")

app = typer.Typer(
    help="Where twins disagreed: look, run again, shrink, make a test, settle.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
"""The group ``tandem conflicts``."""

CapsuleId = Annotated[
    str,
    typer.Argument(
        metavar="CONFLICT", help="Its id, the beginning of one, 'last', or a capsule file."
    ),
]
"""Which conflict a command is about."""
_Out = Annotated[str, typer.Option(help="The folder to write to.")]
_Timeout = Annotated[float, typer.Option(help="Seconds for one side and one input.", min=0.001)]


@app.command("list")
def list_(
    run: Annotated[str | None, typer.Option(help="Only of this run.")] = None,
    step: Annotated[str | None, typer.Option(help="Only of steps with this id.")] = None,
    action: Annotated[str | None, typer.Option(help="Only of this action: AGENT.ACTION.")] = None,
    limit: Limit = 20,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """List conflicts of all runs, newest first."""
    settings = read_settings([], journal)
    agent, _, name = (action or "").rpartition(".")
    wanted = CapsuleFilter(run, step, agent or None, name or None)
    end(lambda: list_conflicts(settings, wanted, limit=limit, as_json=json))


@app.command()
def show(conflict: CapsuleId, journal: Journal = None, json: Json = False) -> None:
    """Show one conflict: what went in, what each side gave, where they differ."""
    settings = read_settings([], journal)
    end(lambda: show_conflict(settings, conflict, as_json=json))


@app.command()
def replay(
    conflict: CapsuleId,
    import_: Import = None,
    timeout: _Timeout = 30.0,
    set: Set = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Run both sides again on the same input; exit code 1 while they differ."""
    capsule, wish = _again(conflict, import_, timeout, set, journal, json)
    end(lambda: capsule_runs.replay(capsule, wish))


@app.command()
def shrink(
    conflict: CapsuleId,
    import_: Import = None,
    out: _Out = capsule_runs.FOLDER,
    calls: Annotated[int, typer.Option(help="Inputs to try.", min=1, max=1_000_000)] = CALLS_MAX,
    seconds: Annotated[float, typer.Option(help="Time for all of them.", min=0.1)] = 60.0,
    timeout: _Timeout = 30.0,
    set: Set = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Find the smallest input on which they still differ; a new capsule file."""
    capsule, wish = _again(conflict, import_, timeout, set, journal, json)
    end(lambda: capsule_runs.shrink(capsule, wish, out=out, calls_max=calls, seconds_max=seconds))


@app.command()
def export(
    conflict: CapsuleId,
    import_: Import = None,
    out: _Out = capsule_runs.FOLDER,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Write a pytest file that fails until the twins agree."""
    capsule, modules = find_capsule(read_settings([], journal), conflict)
    names = import_ or list(modules)
    end(lambda: capsule_runs.export_capsule(capsule, names, out=out, as_json=json))


@app.command()
def resolve(
    run: Annotated[str, typer.Argument(help="The held run: its id, its beginning, or last.")],
    conflict: Annotated[str, typer.Argument(help="Its conflict, as c1.")],
    pick: Annotated[
        str | None, typer.Option(help="left, right or an implementation: its end counts.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="Or this JSON counts.")] = None,
    by: Annotated[str | None, typer.Option(help="Who decides; else the user's name.")] = None,
    note: Annotated[str, typer.Option(help="Why; kept with the run.")] = "",
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Settle a conflict that holds a run up; the run goes on."""
    wish = decide.DecisionWish(run, conflict, pick, output, by, note, json)
    settings = read_settings([], journal)
    end(lambda: decide.resolve(wish, settings))


def _again(
    conflict: str,
    modules: list[str] | None,
    timeout_s: float,
    overrides: list[str] | None,
    journal: str | None,
    as_json: bool,
) -> tuple[Capsule, RerunWish]:
    """Find the capsule, and make ready to run it with a journal that is gone afterwards."""
    capsule, named = find_capsule(read_settings(overrides or [], journal), conflict)
    wanted = ["redundancy.conflict_resolution=python_preferred", *(overrides or [])]
    settings = read_settings(wanted, ":memory:")
    return capsule, RerunWish(settings, modules or list(named), timeout_s, as_json)


def list_conflicts(settings: Settings, wanted: CapsuleFilter, *, limit: int, as_json: bool) -> Exit:
    """List capsules, newest first."""
    folder = beside_journal(settings, "shadow")
    found = with_journal(settings, lambda at: list_capsules(at, wanted, limit=limit, folder=folder))
    if as_json:
        print_json([_row(capsule) for capsule in found])
        return Exit.DONE
    if not found:
        print_text(
            f"no conflicts in {shown_place(settings.journal.path)}; a comparing run makes them"
        )
        return Exit.DONE
    rows = [
        (
            capsule.id,
            f"{capsule.agent}.{capsule.action}",
            capsule.step if capsule.item is None else f"{capsule.step}[{capsule.item}]",
            flat_words(capsule.payload),
            _difference(capsule),
            when(capsule.at_ns),
        )
        for capsule in found
    ]
    columns = ("conflict", "action", "step", "input", "difference", "when (UTC)")
    print_table(
        columns, rows, folds=("input", "difference"), may_go=("when (UTC)", "step", "action")
    )
    return Exit.DONE


def show_conflict(settings: Settings, conflict: str, *, as_json: bool) -> Exit:
    """Show one capsule."""
    capsule, _ = find_capsule(settings, conflict)
    if as_json:
        print_json(capsule.to_value())
    else:
        print_capsule(capsule)
    return Exit.DONE


def find_capsule(settings: Settings, conflict: str) -> tuple[Capsule, tuple[str, ...]]:
    """Give the capsule that a word means, and the modules that a capsule file names.

    Raises: CapsuleError if there is none.
    """
    if conflict.endswith(".json"):
        try:
            text = Path(conflict).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CapsuleError(
                f"{conflict}: cannot be read ({error}); expected a file NAME{SUFFIX}"
            ) from error
        return capsule_from_text(text)
    folder = beside_journal(settings, "shadow")
    return with_journal(settings, lambda at: read_capsule(at, conflict, folder=folder)), ()


# Any: plain data for JSON.
def _row(capsule: Capsule) -> dict[str, Any]:
    return {
        "id": capsule.id,
        "run_id": capsule.run,
        "step": capsule.step,
        "item": capsule.item,
        "action": f"{capsule.agent}.{capsule.action}",
        "version": capsule.version,
        "implementations": list(capsule.implementations),
        "fields": list(capsule.fields),
        "fields_total": capsule.fields_total,
        "at_ns": capsule.at_ns,
        "replayable": capsule.is_replayable,
        "redacted": list(capsule.redacted),
        "truncated": list(capsule.truncated),
    }


def _difference(capsule: Capsule) -> str:
    if not capsule.fields:
        return ""
    first = capsule.fields[0]
    place = f"{first['path']}: " if first["path"] else ""
    more = f" (+{capsule.fields_total - 1})" if capsule.fields_total > 1 else ""
    left, right = side_words(first, "left", 24), side_words(first, "right", 24)
    return f"{place}{left} / {right}{more}"
