"""``tandem conflicts resolve``: a person settles a conflict that holds a run up."""

from __future__ import annotations

import getpass
import json
import time
from dataclasses import dataclass, replace
from typing import Any

from tandem_orchestrator import CommandError, Settings
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.output import print_json, print_text
from tandem_orchestrator.cli.run_names import run_id_of
from tandem_orchestrator.engine import Decision
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.model.values import to_value
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator.composition import make_journal
from tandem_orchestrator.orchestrator.decisions import ask, wish_of


@dataclass(frozen=True)
class DecisionWish:
    """What the command line asked for."""

    run_id: str
    conflict: str
    pick: str | None
    output: str | None
    """As JSON."""
    by: str | None
    note: str
    as_json: bool


def resolve(wish: DecisionWish, settings: Settings) -> Exit:
    """Settle a conflict.

    Raises: UsageError, CommandError.
    """
    if (wish.pick is None) == (wish.output is None):
        raise UsageError("give either --pick left|right|IMPLEMENTATION or --output JSON")
    value = None
    if wish.output is not None:
        try:
            value = to_value(json.loads(wish.output), where="--output")
        except json.JSONDecodeError as error:
            raise UsageError(f"--output {wish.output!r}: expected JSON ({error})") from error
    wish = replace(wish, run_id=run_id_of(settings, wish.run_id))
    conflict = wish.conflict.removeprefix(f"{wish.run_id}.")
    by = getpass.getuser() if wish.by is None else wish.by
    decision = Decision(conflict, None, wish.pick, value, by, wish.note)

    async def work() -> bool:
        journal = make_journal(settings)
        await journal.open(None)
        try:
            await _check(journal, wish.run_id, conflict, wish.pick)
            control = wish_of(decision, id=Ids().make(), run_id=wish.run_id, at_ns=time.time_ns())
            return await ask(journal, control)
        finally:
            await journal.close()

    obeyed = run_in_loop(settings, work)
    if wish.as_json:
        shown = {"run_id": wish.run_id, "conflict": conflict, "obeyed": obeyed}
        print_json({**shown, "pick": wish.pick, "by": by, "note": wish.note})
    elif obeyed:
        print_text(f"conflict {conflict} of run {wish.run_id} is settled; the run goes on")
    else:
        print_text(
            f"the owner of run {wish.run_id} is gone: the decision is kept, and obeyed when the "
            "run is taken over"
        )
    return Exit.DONE


async def _check(journal: Journal, run_id: str, conflict: str, pick: str | None) -> None:
    """See that there is something to decide, where the run's owner is gone and cannot say so.

    Raises: CommandError naming what waits, or what can be picked.
    """
    row = await journal.run(run_id)
    if row is None or not row.owner or journal.is_alive(row.owner):
        return
    view = RunView()
    for record in await journal.records(run_id):
        view.apply(record.event)
    if view.ended is not None:
        return
    held = {c["id"]: c["implementations"] for c in view.conflicts if _waits(c)}
    if conflict not in held:
        waiting = ", ".join(held) or "none"
        text = f"conflict {conflict!r} does not wait for a decision; those that do: {waiting}"
        raise CommandError(text)
    have = ["left", "right", *held[conflict]]
    if pick is not None and pick not in have:
        raise CommandError(f"conflict {conflict}: pick={pick!r}, expected one of {', '.join(have)}")


def _waits(conflict: dict[str, Any]) -> bool:
    return conflict["resolution"] == "hold" and "by" not in conflict
