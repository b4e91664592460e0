"""``tandem runs cancel|pause|continue|approve|signal|resolve``: what people ask of a run.

Each wish is a row in the journal, which the run's owner takes up within a second, in whichever
process that is; its answer is the command's.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tandem_orchestrator import Settings
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.journal_use import with_journal
from tandem_orchestrator.cli.options import Journal, Json, end
from tandem_orchestrator.cli.output import print_json, print_text, visible
from tandem_orchestrator.cli.run_names import RunName, run_id_of
from tandem_orchestrator.cli.target import read_settings
from tandem_orchestrator.engine import Decision
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import Control
from tandem_orchestrator.journal import Journal as OpenJournal
from tandem_orchestrator.model.values import to_value
from tandem_orchestrator.orchestrator import Run
from tandem_orchestrator.orchestrator.decisions import ask, wish_of

CANCEL_WAIT_S = 10.0
"""How long ``runs cancel`` waits to see what has really stopped."""

_By = Annotated[str | None, typer.Option(help="Who asks; else the user's name.")]
_Note = Annotated[str, typer.Option(help="Why; kept in the journal.")]
_Key = Annotated[str | None, typer.Option(help="Idempotency key: asking again asks once.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``tandem runs``."""
    app.command("cancel")(cancel)
    app.command("pause")(pause)
    app.command("continue")(continue_)
    app.command("approve")(approve)
    app.command("signal")(signal)
    app.command("resolve")(resolve)


def cancel(
    run: RunName,
    step: Annotated[str | None, typer.Argument(metavar="[STEP]", help="Only this step.")] = None,
    by: _By = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for what really stopped.", min=0, max=3600)
    ] = CANCEL_WAIT_S,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Ask a run, or one step of it, to stop, and say whether its work has stopped."""
    settings = read_settings([], journal)
    end(lambda: _cancel(settings, run, step, who(by), wait, as_json=json))


def pause(run: RunName, by: _By = None, journal: Journal = None, json: Json = False) -> None:
    """Start nothing new in a run; what runs is let finish."""
    _ask_and_end(run, "pause", {}, by, journal, "paused", as_json=json)


def continue_(run: RunName, by: _By = None, journal: Journal = None, json: Json = False) -> None:
    """Let a paused run go on."""
    _ask_and_end(run, "continue", {}, by, journal, "it goes on", as_json=json)


def approve(
    run: RunName,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step that waits.")],
    reject: Annotated[bool, typer.Option("--reject", help="Say no: the step fails.")] = False,
    by: _By = None,
    note: _Note = "",
    key: _Key = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Say yes, or no, to a step that waits for an approval."""
    body = {"step": step, "approved": not reject, "note": note}
    said = f"step {step!r} is {'rejected' if reject else 'approved'}"
    _ask_and_end(run, "approve", body, by, journal, said, as_json=json, key=key)


def signal(
    run: RunName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    payload: Annotated[str, typer.Option(help="JSON; the waiting step's output.")] = "null",
    by: _By = None,
    key: _Key = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Give a signal to the step that waits for it, or will."""

    def body() -> dict[str, Any]:
        return {"name": name, "payload": read_json("--payload", payload)}

    _ask_and_end(
        run, "signal", body, by, journal, f"signal {name!r} is given", as_json=json, key=key
    )


def resolve(
    run: RunName,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step that may have run.")],
    output: Annotated[str | None, typer.Option(help="JSON; what the step gave.")] = None,
    pick: Annotated[str | None, typer.Option(help="left, right or an implementation.")] = None,
    by: _By = None,
    note: _Note = "",
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Say what a held step gave; the run goes on."""
    settings = read_settings([], journal)
    end(lambda: _resolve(settings, run, step, output, pick, who(by), note, as_json=json))


def who(by: str | None) -> str:
    """Give the name of who asks."""
    return getpass.getuser() if by is None else by


# Any: what JSON text means.
def read_json(option: str, text: str) -> Any:
    """Read an option's JSON.

    Raises: UsageError naming the option.
    """
    try:
        return to_value(json.loads(text), where=option)
    except json.JSONDecodeError as error:
        raise UsageError(f"{option} {text!r}: expected JSON ({error})") from error


def _ask_and_end(
    run: str,
    kind: str,
    body: dict[str, Any] | Callable[[], dict[str, Any]],
    by: str | None,
    journal: str | None,
    said: str,
    *,
    as_json: bool,
    key: str | None = None,
) -> None:
    settings = read_settings([], journal)

    def command() -> Exit:
        asked = body() if callable(body) else body
        run_id = run_id_of(settings, run)
        wish_id = Ids().make() if key is None else f"{run_id}:{key}"
        wish = Control(wish_id, run_id, kind, asked, who(by), time.time_ns())
        obeyed = with_journal(settings, lambda journal: ask(journal, wish))
        _tell(run_id, {"kind": kind, **asked, "by": wish.by}, said, obeyed=obeyed, as_json=as_json)
        return Exit.DONE

    end(command)


def _tell(run_id: str, asked: dict[str, Any], said: str, *, obeyed: bool, as_json: bool) -> None:
    if as_json:
        print_json({"run_id": run_id, "obeyed": obeyed, **asked})
    elif obeyed:
        print_text(visible(f"run {run_id}: {said}"))
    else:
        print_text(
            f"the owner of run {run_id} is gone: the wish is kept, and obeyed when the run is "
            "taken over"
        )


def _resolve(
    settings: Settings,
    run_id: str,
    step: str,
    output: str | None,
    pick: str | None,
    by: str,
    note: str,
    *,
    as_json: bool,
) -> Exit:
    if (pick is None) == (output is None):
        raise UsageError("give either --output JSON or --pick left|right|IMPLEMENTATION")
    value = None if output is None else read_json("--output", output)
    run_id = run_id_of(settings, run_id)
    decision = Decision(None, step, pick, value, by, note)
    wish = wish_of(decision, id=Ids().make(), run_id=run_id, at_ns=time.time_ns())
    obeyed = with_journal(settings, lambda journal: ask(journal, wish))
    asked = {"kind": "resolve", "step": step, "pick": pick, "by": by, "note": note}
    _tell(run_id, asked, f"step {step!r} is settled", obeyed=obeyed, as_json=as_json)
    return Exit.DONE


def _cancel(
    settings: Settings, run_id: str, step: str | None, by: str, wait_s: float, *, as_json: bool
) -> Exit:
    ids, run_id = Ids(), run_id_of(settings, run_id)

    async def work(journal: OpenJournal) -> Any:
        run = Run(
            run_id,
            journal,
            None,
            None,
            check=lambda: None,
            make_id=ids.make,
            wall_ns=time.time_ns,
        )
        return await run.cancel(step, by=by, wait_s=wait_s)

    answer = with_journal(settings, work)
    if as_json:
        print_json(
            {
                "run_id": run_id,
                "step": step,
                "ended": answer.ended,
                "stopped": answer.stopped,
                "running": list(answer.running),
                "by": by,
            }
        )
        return Exit.DONE
    what = f"run {run_id}" if step is None else f"step {step!r} of run {run_id}"
    if not answer.ended:
        print_text(visible(f"{what} was asked to stop and has not ended within {wait_s:g} s"))
    elif answer.stopped:
        print_text(visible(f"{what} has stopped"))
    else:
        still = ", ".join(answer.running)
        print_text(visible(f"{what} has ended; its work may be running still: {still}"))
    return Exit.DONE


# Any: what the work gives.
