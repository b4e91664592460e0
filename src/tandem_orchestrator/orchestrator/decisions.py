"""What somebody asks of a run, on its way through the journal to the run's owner."""

from __future__ import annotations

import asyncio

from tandem_orchestrator.engine import Decision, RunTicket, Wish
from tandem_orchestrator.errors import Busy, CommandError
from tandem_orchestrator.journal import Control, Journal, rfc3339

KIND = "resolve"
"""Of the wishes that carry decisions."""
SETTLED = f"{KIND}: settled"
"""The answer to a decision that was obeyed."""
ANSWER_TRIES, ANSWER_PAUSE_S = 100, 0.1
"""How often, and with what pause in seconds, the answer of a run's owner is looked for."""


ASKED = ("pause", "continue", "approve", "signal", "retry")
"""Kinds of wishes that ``engine.Wish`` says, beside decisions and cancelling."""


def done(kind: str) -> str:
    """Give the answer to a wish that was obeyed."""
    return "cancel: asked to stop" if kind == "cancel" else f"{kind}: done"


def fulfil(ticket: RunTicket, wish: Control) -> str:
    """Do what a wish asks of a run in progress; gives the answer for who asked."""
    try:
        ticket.ask(Wish(wish.kind, wish.body, wish.by, rfc3339(wish.at_ns) or ""))
    except (CommandError, Busy) as error:
        return f"{wish.kind}: {error}"
    return done(wish.kind)


def wish_of(decision: Decision, *, id: str, run_id: str, at_ns: int) -> Control:
    """Give a decision as a wish about a run."""
    given = ("conflict", "step", "pick", "output", "note", "again")
    body = {name: getattr(decision, name) for name in given}
    return Control(id, run_id, KIND, body, decision.by, at_ns)


def obey(ticket: RunTicket, wish: Control) -> str:
    """Do what a wish has decided; gives the answer for who asked."""
    texts = {name: wish.body.get(name) for name in ("conflict", "step", "pick")}
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            return f"{KIND}: {name}={text!r}, expected a text"
    note = str(wish.body.get("note") or "")
    decision = Decision(
        texts["conflict"],
        texts["step"],
        texts["pick"],
        output=wish.body.get("output"),
        by=wish.by,
        note=note,
        again=wish.body.get("again") is True,
    )
    try:
        ticket.settle(decision)
    except CommandError as error:
        return f"{KIND}: {error}"
    return SETTLED


async def ask(journal: Journal, wish: Control) -> bool:
    """Have a wish obeyed by the run's owner, in whichever process that is.

    Returns: False if the owner is dead: the wish is in the journal, and whoever adopts the run
        obeys it.

    Raises: CommandError if there is no such run, it has ended, the owner refuses or is silent.
    """
    await journal.request(wish)
    for _ in range(ANSWER_TRIES):
        seen = await journal.control(wish.id)
        if seen is not None and seen.answer is not None:
            if seen.answer not in (SETTLED, done(wish.kind)):
                raise CommandError(seen.answer.removeprefix(f"{wish.kind}: "))
            return True
        row = await journal.run(wish.run_id)
        if row is not None and row.owner and not journal.is_alive(row.owner):
            return False
        await asyncio.sleep(ANSWER_PAUSE_S)
    seconds = ANSWER_TRIES * ANSWER_PAUSE_S
    raise CommandError(f"its owner has not answered within {seconds:g} s; the wish is kept")
