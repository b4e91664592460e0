"""``tandem config show|check``, and ``tandem config --cflags | --libs | --bridge``."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from tandem_orchestrator import ConfigError, Settings
from tandem_orchestrator.cli import config_flags as config_flags_command
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.options import Journal, Json, Limit, Set, end
from tandem_orchestrator.cli.output import print_json, print_table, print_text, visible
from tandem_orchestrator.cli.target import read_settings
from tandem_orchestrator.settings import KEYS, Key, shown_place

app = typer.Typer(
    help="The settings and where they come from; what a compiler needs for an agent in C.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
"""The group ``tandem config``."""


@app.callback()
def config(
    context: typer.Context,
    cflags: Annotated[bool, typer.Option("--cflags", help="Where the C headers are.")] = False,
    libs: Annotated[bool, typer.Option("--libs", help="What an agent in C links with.")] = False,
    bridge: Annotated[bool, typer.Option("--bridge", help="The program that serves them.")] = False,
) -> None:
    """Show or check the settings, or print what a compiler needs to build an agent in C."""
    if context.invoked_subcommand is not None:
        return
    if not (cflags or libs or bridge):
        raise UsageError("config: say show, check, --cflags, --libs or --bridge")
    end(lambda: config_flags_command.config_flags(cflags=cflags, libs=libs, bridge=bridge))


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A section, or section.key.")
    ] = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only those that are not the default.")
    ] = False,
    set: Set = None,
    journal: Journal = None,
    limit: Limit = 1000,
    json: Json = False,
) -> None:
    """List the settings: each one's value, where that came from, and from when a change counts."""
    settings = read_settings(set or [], journal)
    end(lambda: show_settings(settings, name, changed=changed, limit=limit, as_json=json))


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Instead of the usual places.")
    ] = None,
    json: Json = False,
) -> None:
    """Check environment and configuration file; every fault is told at once."""
    end(lambda: check_settings(file, as_json=json))


def show_settings(
    settings: Settings, name: str | None, *, changed: bool, limit: int, as_json: bool
) -> Exit:
    """List settings in the order of the table.

    Raises: ConfigError if there is no such section or key.
    """
    found = [
        path for path in _named(name) if not changed or settings.get(path) != KEYS[path].default
    ]
    shown = found[:limit]
    if as_json:
        print_json([_row(settings, KEYS[path]) for path in shown])
        return Exit.DONE
    rows = [
        (
            path,
            _text(_value(settings, path)),
            settings.origin(path) + (", no effect yet" if KEYS[path].pending else ""),
            f"next {KEYS[path].counts}",
            KEYS[path].meaning,
        )
        for path in shown
    ]
    columns = ("setting", "value", "from", "counts from", "meaning")
    may_go = ("meaning", "counts from", "from")
    print_table(columns, rows, folds=("value", "from", "meaning"), may_go=may_go)
    if len(shown) < len(found):
        print_text(f"{len(found) - len(shown)} more; --limit shows them")
    return Exit.DONE


def check_settings(file: Path | None, *, as_json: bool) -> Exit:
    """Load the settings as an orchestrator would, and say everything that is wrong with them."""
    faults: list[dict[str, Any]] = []
    notes: list[str] = []
    sources: dict[str, int] = {}
    try:
        settings = Settings.load(file, environ=os.environ, cwd=Path.cwd())
    except ConfigError as error:
        told = [(fault.path, str(fault), list(fault.nearest)) for fault in error.faults]
        faults = [
            {"path": path, "message": text, "nearest": near}
            for path, text, near in told or [("", str(error), [])]
        ]
    else:
        notes = settings.without_effect()
        for path in KEYS:
            # One line for the environment; its variables are what ``show`` lists.
            source = settings.origin(path).split(" TANDEM_")[0]
            sources[source] = sources.get(source, 0) + 1
    if as_json:
        valid = {"valid": not faults, "faults": faults, "notes": notes, "sources": sources}
        print_json(valid)
    else:
        for fault in faults:
            print_text(visible(fault["message"]))
        for note in notes:
            print_text(visible(f"note: {note}"))
        counts = ", ".join(f"{count} by {source}" for source, count in sources.items())
        total = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
        print_text(visible(total if faults else f"no faults; settings: {counts}"))
    return Exit.INVALID if faults else Exit.DONE


def _named(name: str | None) -> list[str]:
    if name is None or name in KEYS:
        return list(KEYS) if name is None else [name]
    found = [path for path, key in KEYS.items() if key.section == name]
    if not found:
        names = [*KEYS, *{key.section for key in KEYS.values()}]
        near = ", ".join(get_close_matches(name, names, n=3, cutoff=0.5))
        hint = f" (did you mean {near}?)" if near else ""
        raise UsageError(f"{name}: no section and no setting{hint}")
    return found


# Any: a setting's own type.
def _row(settings: Settings, key: Key) -> dict[str, Any]:
    return {
        "setting": key.path,
        "value": _value(settings, key.path),
        "from": settings.origin(key.path),
        "default": key.default,
        "counts_from": f"next {key.counts}",
        "variable": (key.env or key.variable) if key.from_environment else None,
        "guarded": key.guarded,
        "waits_for": key.pending or None,
        "meaning": key.meaning,
    }


# Any: a setting's own type.
def _value(settings: Settings, path: str) -> Any:
    value = settings.get(path)
    return shown_place(value) if path == "journal.path" and value is not None else value


# Any: a setting's own type.
def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return ":".join(value) if isinstance(value, tuple) else str(value)
