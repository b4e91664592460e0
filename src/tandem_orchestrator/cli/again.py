"""``tandem runs retry|fork|resume``: runs that go on in this process, to their end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from tandem_orchestrator import Settings, TandemOrchestrator
from tandem_orchestrator.cli.control import read_json, who
from tandem_orchestrator.cli.exits import Exit, Stopped, exit_of_status
from tandem_orchestrator.cli.loop import Terminated, run_in_loop
from tandem_orchestrator.cli.options import Import, Journal, Json, Set, end
from tandem_orchestrator.cli.output import (
    print_json,
    print_text,
    stdout_for_the_result,
    visible,
)
from tandem_orchestrator.cli.progress import ProgressView
from tandem_orchestrator.cli.run_names import RunName, run_id_of
from tandem_orchestrator.cli.run_table import last_steps, print_result
from tandem_orchestrator.cli.target import import_agents, read_settings
from tandem_orchestrator.orchestrator import Run
from tandem_orchestrator.orchestrator.run_control import NOT_GIVEN

_By = Annotated[str | None, typer.Option(help="Who asks; else the user's name.")]

_GoOn = Callable[[TandemOrchestrator, str], Awaitable[Run]]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``tandem runs``."""
    app.command("retry")(retry)
    app.command("fork")(fork)
    app.command("resume")(resume)


def retry(
    run: RunName,
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="From here; else what failed.")
    ] = None,
    by: _By = None,
    set: Set = None,
    import_: Import = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Let a run that has ended go on from a step, or do a step once more that may have run."""

    async def go_on(tandem: TandemOrchestrator, run_id: str) -> Run:
        again = tandem.run(run_id)
        await again.retry(step, by=who(by))
        return again

    settings = _settings(set, journal)
    end(lambda: _to_its_end(settings, import_ or [], run, go_on, as_json=json))


def fork(
    run: RunName,
    step: Annotated[str, typer.Argument(metavar="STEP", help="From here on it is on its own.")],
    payload: Annotated[
        str | None, typer.Option(help="JSON; the step's payload instead of its own.")
    ] = None,
    by: _By = None,
    set: Set = None,
    import_: Import = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Make another run of one that has ended, from a step on with another payload."""

    async def go_on(tandem: TandemOrchestrator, run_id: str) -> Run:
        value = NOT_GIVEN if payload is None else read_json("--payload", payload)
        forked = await tandem.run(run_id).fork(step, value, by=who(by))
        assert isinstance(forked, Run)
        return forked

    settings = _settings(set, journal)
    end(lambda: _to_its_end(settings, import_ or [], run, go_on, as_json=json))


def resume(
    run: RunName,
    set: Set = None,
    import_: Import = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Go on here with a run whose program died, also where its actions have other versions by now."""
    settings = _settings(set, journal)
    end(lambda: _to_its_end(settings, import_ or [], run, TandemOrchestrator.resume, as_json=json))


def _settings(given: list[str] | None, journal: str | None) -> Settings:
    # What else was interrupted, or is planned, is others': this process ends with its one run.
    own = ["journal.recover=false", "journal.schedules=false"]
    return read_settings([*own, *(given or [])], journal)


def _to_its_end(
    settings: Settings, modules: list[str], run: str, go_on: _GoOn, *, as_json: bool
) -> Exit:
    view, run_id = ProgressView(quiet=as_json), run_id_of(settings, run)
    try:
        return run_in_loop(
            settings,
            lambda: _follow(
                settings, modules, lambda tandem: go_on(tandem, run_id), view, as_json=as_json
            ),
            on_sigterm=True,
        )
    except KeyboardInterrupt as signal:
        raise Stopped(Exit.INTERRUPTED, view.run_id) from signal
    except Terminated as signal:
        raise Stopped(Exit.TERMINATED, view.run_id) from signal


async def _follow(
    settings: Settings,
    modules: list[str],
    go_on: Callable[[TandemOrchestrator], Awaitable[Run]],
    view: ProgressView,
    *,
    as_json: bool,
) -> Exit:
    agents = import_agents(modules)
    # Any: a result holds values of any kind.
    result: dict[str, Any] | None = None
    with stdout_for_the_result():
        async with TandemOrchestrator(settings) as tandem:
            for agent in agents:
                tandem.add_agent(agent)
            with view:
                async with tandem.listening(view.on_event, view.on_progress):
                    run = await go_on(tandem)
                    known = await tandem.view(run.id)
                    view.run_id = run.id
                    view.last_steps = last_steps(known.plan.steps if known else ())
                    if run.was_here:
                        result = await run.result_or_cancel(held=True)
    if result is None:
        if as_json:
            print_json({"run_id": run.id, "obeyed": True})
        else:
            print_text(visible(f"run {run.id} goes on in the process that has it"))
        return Exit.DONE
    if as_json:
        print_json(result)
    else:
        print_result(result, view.last_steps)
    return exit_of_status(result["status"])
