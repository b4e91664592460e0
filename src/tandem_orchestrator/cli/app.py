"""The words and options of ``tandem``; each command translates and delegates."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from tandem_orchestrator import TandemError, __version__
from tandem_orchestrator.cli import (
    again,
    config,
    conflicts,
    control,
    demo,
    run_commands,
    runs_commands,
    schedules,
    twins,
)
from tandem_orchestrator.cli import agent_new as agent_new_command
from tandem_orchestrator.cli import doctor as doctor_command
from tandem_orchestrator.cli import journal as journal_command
from tandem_orchestrator.cli import quarantine as quarantine_command
from tandem_orchestrator.cli import serve as serve_command
from tandem_orchestrator.cli import topology as topology_command
from tandem_orchestrator.cli.exits import Exit, Stopped, UsageError, tell_error, tell_stopped
from tandem_orchestrator.cli.options import Import, Input, Journal, Json, Limit, Set, end
from tandem_orchestrator.cli.run_commands import RunWish
from tandem_orchestrator.cli.run_names import RunName
from tandem_orchestrator.cli.serve import ServeWish
from tandem_orchestrator.cli.target import read_settings

# Any: what typer raises for words it cannot read has no public name but that of its subclass.
_Unreadable: Any = typer.BadParameter.__base__

_app = typer.Typer(
    name="tandem",
    help="Run command sets whose steps may have twins in Python and C, durably.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_runs = typer.Typer(
    help="What ran before, and what runs now.", no_args_is_help=True, rich_markup_mode=None
)
_app.add_typer(_runs, name="runs")
_agent = typer.Typer(
    help="Begin an agent of your own; release what was quarantined.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_app.add_typer(_agent, name="agent")

_app.add_typer(config.app, name="config")
_app.add_typer(conflicts.app, name="conflicts")
_app.add_typer(twins.app, name="twins")
_app.add_typer(demo.app, name="demo")
_app.add_typer(journal_command.app, name="journal")
_app.add_typer(schedules.app, name="schedules")

_Mode = Annotated[str | None, typer.Option(help="Execution mode, instead of the set's own.")]
_Target = Annotated[str, typer.Argument(help="A YAML, JSON or TOML file, or a workflow's name.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tandem {__version__}")
        raise typer.Exit


@_app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Run command sets whose steps may have twins in Python and C, durably."""


@_app.command()
def run(
    target: _Target,
    input: Input = None,
    mode: _Mode = None,
    durability: Annotated[
        str | None, typer.Option(help="sync, group, async or none, instead of the set's own.")
    ] = None,
    set: Set = None,
    journal: Journal = None,
    import_: Import = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same gives the same run.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a file or a workflow; the result goes to stdout, progress to stderr."""
    wish = RunWish(
        target, input or [], mode, durability, set or [], journal, import_ or [], key, json
    )
    end(lambda: run_commands.run(wish))


@_app.command()
def validate(
    target: _Target,
    input: Input = None,
    mode: _Mode = None,
    set: Set = None,
    import_: Import = None,
    json: Json = False,
) -> None:
    """Check a file or a workflow and show its plan; nothing runs."""
    wish = RunWish(target, input or [], mode, None, set or [], None, import_ or [], None, json)
    end(lambda: run_commands.validate(wish))


@_app.command()
def serve(
    app: Annotated[
        list[str] | None,
        typer.Option(help="MODULE:OBJECT, an agent, a list, or a function; may be repeated."),
    ] = None,
    import_: Import = None,
    drain: Annotated[
        float, typer.Option(help="Seconds in which runs may end after a signal.", min=0, max=3600)
    ] = 10.0,
    status_every: Annotated[
        float, typer.Option(help="Seconds between two lines of figures.", min=0.1, max=86400)
    ] = 60.0,
    set: Set = None,
    journal: Journal = None,
) -> None:
    """Stay for a journal: fire schedules, take over interrupted runs. It opens no port."""
    wish = ServeWish(app or [], import_ or [], set or [], journal, drain, status_every)
    end(lambda: serve_command.serve(wish))


@_app.command()
def agents(import_: Import = None, limit: Limit = 1000, json: Json = False) -> None:
    """List agents, their actions and implementations."""
    end(lambda: run_commands.agents(import_ or [], limit=limit, as_json=json))


@_app.command()
def explain(
    run_id: RunName,
    step: Annotated[str | None, typer.Argument(metavar="[STEP]", help="A step's id.")] = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Say why the steps of a run ran where they did."""
    settings = read_settings([], journal)
    end(lambda: runs_commands.explain(settings, run_id, step, as_json=json))


@_app.command()
def doctor(set: Set = None, journal: Journal = None, json: Json = False) -> None:
    """Show what works on this machine, what is degraded and why."""
    settings = read_settings(set or [], journal)
    end(lambda: doctor_command.doctor(settings, as_json=json))


@_app.command()
def topology(
    sysfs: Annotated[
        Path | None, typer.Option(help="A copy of another machine's /sys to draw instead.")
    ] = None,
    set: Set = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """Draw this machine's cores, caches and nodes, and what a wish for cores means here."""
    settings = read_settings(set or [], None)
    end(lambda: topology_command.topology(settings, sysfs, limit=limit, as_json=json))


@_runs.command("list")
def runs_list(
    status: Annotated[str | None, typer.Option(help="Only runs of this status.")] = None,
    limit: Limit = 20,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """List runs, newest first."""
    settings = read_settings([], journal)
    end(lambda: runs_commands.list_runs(settings, status=status, limit=limit, as_json=json))


@_runs.command("show")
def runs_show(run_id: RunName, journal: Journal = None, json: Json = False) -> None:
    """Show one run: its steps, result and error."""
    settings = read_settings([], journal)
    end(lambda: runs_commands.show_run(settings, run_id, as_json=json))


@_runs.command("pack")
def runs_pack(
    run_id: RunName,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A new file; RUN.pack without it.")
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also a run that has not ended.")
    ] = False,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Copy one run to a file that another machine can open with --journal."""
    settings = read_settings([], journal)
    end(lambda: journal_command.pack(settings, run_id, file, unfinished=unfinished, as_json=json))


control.add_to(_runs)
again.add_to(_runs)


@_agent.command("new")
def agent_new(
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and _; the folder has this name.")],
    lang: Annotated[str, typer.Option(help="c or python.")] = "python",
) -> None:
    """Make a folder with a small agent that builds and runs."""
    end(lambda: agent_new_command.agent_new(name, lang))


@_agent.command("quarantined")
def agent_quarantined(journal: Journal = None, limit: Limit = 100, json: Json = False) -> None:
    """List inputs that are refused since they keep crashing their plug-in's host."""
    settings = read_settings([], journal)
    end(lambda: quarantine_command.quarantined(settings, limit=limit, as_json=json))


@_agent.command("release")
def agent_release(
    digest: Annotated[str, typer.Argument(help="The input's digest, or its first digits.")],
    journal: Journal = None,
) -> None:
    """Let a quarantined input start again."""
    settings = read_settings([], journal)
    end(lambda: quarantine_command.release(settings, digest))


def run_app(arguments: list[str]) -> int:
    """Run the command line; gives the exit code and never raises for a user's mistake."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    as_json = "--json" in arguments
    try:
        code = _app(arguments, prog_name="tandem", standalone_mode=False)
    except SystemExit as wish:
        return wish.code if isinstance(wish.code, int) else int(Exit.USAGE)
    except _Unreadable as error:
        if as_json:
            return tell_error(UsageError(error.format_message()), as_json=True)
        error.show()
        return int(Exit.USAGE)
    except typer.Abort:
        return tell_error(TandemError("stopped: an input was at its end"), as_json=as_json)
    except (TandemError, UsageError) as error:
        return tell_error(error, as_json=as_json)
    except Stopped as stopped:
        return tell_stopped(stopped, as_json=as_json)
    if code == Exit.INTERRUPTED:  # Before the command's own work began.
        return tell_stopped(Stopped(Exit.INTERRUPTED), as_json=as_json)
    return code if isinstance(code, int) else int(Exit.DONE)
