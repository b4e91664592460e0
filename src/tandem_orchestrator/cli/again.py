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
from tandem_orchestrator.cli.run_table import last_steps, print_result
from tandem_orchestrator.cli.target import import_agents, read_settings
from tandem_orchestrator.orchestrator import Run
from tandem_orchestrator.orchestrator.run_control import NOT_GIVEN

_RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id.")]
_By = Annotated[str | None, typer.Option(help="Who asks; else the user's name.")]

_GoOn = Callable[[TandemOrchestrator], Awaitable[Run]]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``tandem runs``."""
    app.command("retry")(retry)
    app.command("fork")(fork)
    app.command("resume")(resume)


def retry(
    run: _RunId,
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

    async def go_on(tandem: TandemOrchestrator) -> Run:
        again = tandem.run(run)
        await again.retry(step, by=who(by))
        return again

    settings = _settings(set, journal)
    end(lambda: _to_its_end(settings, import_ or [], go_on, as_json=json))


def fork(
    run: _RunId,
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

    async def go_on(tandem: TandemOrchestrator) -> Run:
        value = NOT_GIVEN if payload is None else read_json("--payload", payload)
        forked = await tandem.run(run).fork(step, value, by=who(by))
        assert isinstance(forked, Run)
        return forked

    settings = _settings(set, journal)
    end(lambda: _to_its_end(settings, import_ or [], go_on, as_json=json))


def resume(
    run: _RunId,
    set: Set = None,
    import_: Import = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Go on here with a run whose program died, also where its actions have other versions by now."""
    settings = _settings(set, journal)
    end(
        lambda: _to_its_end(
            settings, import_ or [], lambda tandem: tandem.resume(run), as_json=json
        )
    )


def _settings(given: list[str] | None, journal: str | None) -> Settings:
    # What else was interrupted stays as it is: this process ends with its one run.
    return read_settings(["journal.recover=false", *(given or [])], journal)


def _to_its_end(settings: Settings, modules: list[str], go_on: _GoOn, *, as_json: bool) -> Exit:
    view = ProgressView(quiet=as_json)
    try:
        return run_in_loop(
            settings,
            lambda: _follow(settings, modules, go_on, view, as_json=as_json),
            on_sigterm=True,
        )
    except KeyboardInterrupt as signal:
        raise Stopped(Exit.INTERRUPTED, view.run_id) from signal
    except Terminated as signal:
        raise Stopped(Exit.TERMINATED, view.run_id) from signal


async def _follow(
    settings: Settings, modules: list[str], go_on: _GoOn, view: ProgressView, *, as_json: bool
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
                    if run.is_here:
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
