"""``tandem runs list|show`` and ``tandem explain``: what ran before, read from the journal."""

from __future__ import annotations

from typing import Any, TypeVar

from tandem_orchestrator import CommandError, RunStatus, Settings
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.journal_use import with_journal
from tandem_orchestrator.cli.output import (
    print_json,
    print_table,
    print_text,
    show_seconds,
    visible,
)
from tandem_orchestrator.cli.route_text import route_lines, route_value
from tandem_orchestrator.cli.run_names import find_run
from tandem_orchestrator.cli.run_table import last_steps, print_result
from tandem_orchestrator.journal import Journal, RunRow
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.settings import shown_place

NAMED_MAX = 5
"""Actions that are named."""

_T = TypeVar("_T")


def list_runs(settings: Settings, *, status: str | None, limit: int, as_json: bool) -> Exit:
    """List runs, newest first.

    Raises: UsageError if there is no such status.
    """
    words = [word.value for word in RunStatus]
    if status is not None and status not in words:
        raise UsageError(f"--status {status!r}: expected one of {', '.join(words)}")
    rows = with_journal(settings, lambda journal: journal.runs(status=status, limit=limit))
    if as_json:
        print_json([row.to_value() for row in rows])
        return Exit.DONE
    shown = [
        (
            row.run_id,
            row.name,
            row.status,
            row.mode,
            f"{row.steps_done}/{row.steps_total}",
            show_seconds(row.duration),
            str(row.to_value()["created_at"])[:16].replace("T", " "),
        )
        for row in rows
    ]
    columns = ("run", "name", "status", "mode", "steps", "time", "created (UTC)")
    if rows:
        print_table(columns, shown, folds=("name",), may_go=("mode", "time", "steps"))
    elif status is not None:
        print_text(f"no runs with status {status} in {shown_place(settings.journal.path)}")
    else:
        print_text(f"no runs in {shown_place(settings.journal.path)} yet; 'tandem run' makes one")
    return Exit.DONE


def show_run(settings: Settings, run_id: str, *, as_json: bool) -> Exit:
    """Show one run: its row and its result so far.

    Raises: CommandError if there is no such run, or several begin so.
    """
    row, view = with_journal(settings, lambda journal: _read(journal, run_id, settings))
    result = view.result()
    if as_json:
        print_json({**result, **row.to_value()})
        return Exit.DONE
    result["status"] = row.status
    if row.status == RunStatus.INTERRUPTED:
        result["notes"].append(_goes_on(row, view))
    print_result(result, last_steps(view.plan.steps))
    return Exit.DONE


def explain(settings: Settings, run_id: str, step_id: str | None, *, as_json: bool) -> Exit:
    """Say why each step of a run ran where it did.

    Raises: CommandError if there is no such run or step.
    """
    row, view = with_journal(settings, lambda journal: _read(journal, run_id, settings))
    steps = view.plan.steps if step_id is None else [view.plan.step(step_id)]
    if steps == [None]:
        have = ", ".join(step.id for step in view.plan.steps[:20])
        raise CommandError(f"run {row.run_id} has no step {step_id!r}; it has: {have}")
    shown = [_explanation(view, step.id) for step in steps if step is not None]
    if as_json:
        print_json(shown if step_id is None else shown[0])
        return Exit.DONE
    for entry in shown:
        if entry["reason"] == entry["planned_reason"]:
            entry["reason"] = ""  # It ran as planned: once is enough.
        print_text(visible(f"{entry['step']}: {entry['outcome'] or 'not ended'}"))
        for key in (
            "action",
            "planned",
            "planned_reason",
            "ran_as",
            "reason",
            "trial",
            "beside",
            "segment",
            "cores",
            "fallback",
            "lost",
        ):
            if entry[key] not in (None, "", []):
                print_text(visible(f"  {key.replace('_', ' ')}: {_words(entry[key])}"))
        for line in route_lines(entry["route"]):
            print_text(visible(f"  {line}"))
    return Exit.DONE


def _words(value: object) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)


# Any: plain data for JSON.
def _explanation(view: RunView, step_id: str) -> dict[str, Any]:
    step, ended = view.plan.step(step_id), view.steps.get(step_id)
    assert step is not None
    assignment = step.assignment
    moved = [f for f in view.fallbacks if f.step == step_id]
    return {
        "step": step_id,
        "action": f"{step.agent}.{step.action}" if step.agent else step.kind,
        "mode": view.plan.mode,
        "planned": list(assignment.implementations) if assignment else [],
        "planned_reason": assignment.reason if assignment else "",
        "not_compared": assignment.not_compared if assignment else None,
        "forced": assignment.forced if assignment else False,
        "trial": assignment.trial or None if assignment else None,
        "trusted": assignment.trusted or None if assignment else None,
        "beside": list(assignment.shadow) if assignment else [],
        "route": route_value(assignment),
        "segment": step.segment,
        "affinity": step.affinity,
        "cpus": step.cpus,
        "cores": f"{step.cpus or 'the layer’s own'} ({step.placed})" if step.placed else "",
        "outcome": ended.outcome if ended else None,
        "ran_as": ended.implementation or None if ended else None,
        "layer": ended.layer or None if ended else None,
        "reason": ended.reason if ended else "",
        "attempts": ended.attempts if ended else 0,
        "seconds": ended.seconds if ended else None,
        "fallback": [f"{f.left} -> {f.right}: {f.reason}" for f in moved],
        "lost": view.lost.get(step_id, []),
    }


def _goes_on(row: RunRow, view: RunView) -> str:
    """Say how a run goes on whose program died."""
    needs = [
        f"{step.agent}.{step.action}"
        for step in view.plan.steps
        if step.agent and step.id not in view.steps
    ]
    waits = list(dict.fromkeys(row.waiting_for or needs))
    more = f" and {len(waits) - NAMED_MAX} more" if len(waits) > NAMED_MAX else ""
    return (
        "its program died; it goes on in the next program that opens this journal and registers "
        f"what it still needs: {', '.join(waits[:NAMED_MAX])}{more}"
    )


async def _read(journal: Journal, which: str, settings: Settings) -> tuple[RunRow, RunView]:
    row = await find_run(journal, which, settings)
    view = RunView()
    for record in await journal.records(row.run_id):
        view.apply(record.event)
    return row, view
