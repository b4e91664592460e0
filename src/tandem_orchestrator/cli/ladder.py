"""``tandem twins status|promote|demote``: how far each twin is trusted, by which evidence."""

from __future__ import annotations

import getpass
import time
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
import typer

from tandem_orchestrator import Settings
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.options import Journal, Json, Limit, Set, end
from tandem_orchestrator.cli.output import print_json, print_text, visible
from tandem_orchestrator.cli.target import read_settings
from tandem_orchestrator.model.catalogue import RUNGS
from tandem_orchestrator.orchestrator.composition import beside_journal
from tandem_orchestrator.orchestrator.ladder_file import Climbs, LadderFile
from tandem_orchestrator.twins import ladder
from tandem_orchestrator.twins.bounds import count_text, upper_bound
from tandem_orchestrator.twins.ladder import Change, Climb

_Which = Annotated[str, typer.Argument(metavar="AGENT.ACTION[:IMPL]", help="Which twin.")]
_Some = Annotated[
    str | None, typer.Argument(metavar="[AGENT.ACTION[:IMPL]]", help="Which; else all.")
]
_Why = Annotated[str | None, typer.Option(help="A note for the history.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command()(status)
    app.command()(promote)
    app.command()(demote)


def status(
    which: _Some = None,
    limit: Limit = 100,
    set: Set = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Show each twin's rung, what its evidence is worth, and why it fell if it did."""
    settings = read_settings(set or [], journal)
    end(lambda: show_status(settings, which, limit=limit, as_json=json))


def promote(
    which: _Which,
    force: Annotated[
        bool, typer.Option("--force", help="Whatever the rules say; that is recorded.")
    ] = False,
    set: Set = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Move a twin up one rung, if its evidence allows it."""
    settings = read_settings(set or [], journal)
    end(lambda: promote_one(settings, which, force=force, as_json=json))


def demote(
    which: _Which,
    why: _Why = None,
    set: Set = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Move a twin down to shadow, and begin to count anew."""
    settings = read_settings(set or [], journal)
    end(lambda: demote_one(settings, which, why or "asked for", as_json=json))


def show_status(settings: Settings, which: str | None, *, limit: int, as_json: bool) -> Exit:
    """Show twins, the one that was first compared last first.

    Raises: UsageError if nothing is known of the one that is asked for.
    """
    climbs = _file(settings).read()
    found = list(climbs.values())[::-1] if which is None else _matching(climbs, which)
    shown = found[:limit]
    if as_json:
        print_json([_value(climb, settings) for climb in shown])
        return Exit.DONE
    if not found:
        print_text(
            "no twin has been compared yet: one that is registered with @action.twin(NAME) begins "
            f"in shadow, beside {settings.twins.shadow_share:.3g} of the runs"
        )
    for climb in shown:
        for line in _lines(climb, settings):
            print_text(visible(line))
    if len(shown) < len(found):
        print_text(f"{len(found) - len(shown)} more; --limit shows them")
    return Exit.DONE


def promote_one(settings: Settings, which: str, *, force: bool, as_json: bool) -> Exit:
    """Move a twin up one rung; exit code 1 where the rules object.

    Raises: UsageError for a twin that nothing is known of; Busy.
    """

    def move(climbs: Climbs) -> tuple[Climb, Change | None, list[str]]:
        climb = _one(climbs, which)
        against = ladder.objections(climb, settings.twins)
        change = ladder.promote(
            climb, settings.twins, time.time(), by=getpass.getuser(), force=force
        )
        return climb, change, against

    (climb, change, against), _ = _file(settings).change(move)
    if as_json:
        print_json(
            {"promoted": change is not None, "objections": against} | _value(climb, settings)
        )
    elif change is None:
        print_text(visible(f"{climb.name} stays on the rung {climb.rung}: {'; '.join(against)}"))
        if climb.rung != "native":
            print_text("--force promotes it all the same, and records that")
    else:
        print_text(visible(f"{climb.name}: {change.left} -> {change.right}; {change.why}"))
    return Exit.DONE if change is not None else Exit.FAILED


def demote_one(settings: Settings, which: str, why: str, *, as_json: bool) -> Exit:
    """Move a twin down to shadow.

    Raises: UsageError for a twin that nothing is known of; Busy.
    """

    def move(climbs: Climbs) -> tuple[Climb, Change | None]:
        climb = _one(climbs, which)
        return climb, ladder.demote(climb, time.time(), by=getpass.getuser(), why=why)

    (climb, change), _ = _file(settings).change(move)
    if as_json:
        print_json({"demoted": change is not None} | _value(climb, settings))
    elif change is None:
        print_text(visible(f"{climb.name} was in shadow already; its count begins anew"))
    else:
        print_text(visible(f"{climb.name}: {change.left} -> shadow; {change.why}"))
    return Exit.DONE


def _file(settings: Settings) -> LadderFile:
    return LadderFile(beside_journal(settings, "ladder"))


def _matching(climbs: Climbs, which: str) -> list[Climb]:
    found = [
        climb for climb in climbs.values() if which in (climb.name, climb.name.rpartition(":")[0])
    ]
    if not found:
        names = [climb.name for climb in climbs.values()]
        near = get_close_matches(which, names, n=1, cutoff=0.6)
        hint = f" (did you mean {near[0]}?)" if near else ""
        known = ", ".join(names[:10]) or "none"
        raise UsageError(f"{which}: nothing is known of such a twin; known: {known}{hint}")
    return found


def _one(climbs: Climbs, which: str) -> Climb:
    found = _matching(climbs, which)
    if len(found) > 1:
        names = ", ".join(climb.name for climb in found)
        raise UsageError(f"{which}: there are several twins: {names}; name one")
    return found[0]


# Any: plain data for JSON.
def _value(climb: Climb, settings: Settings) -> dict[str, Any]:
    counted = climb.agreements + climb.conflicts
    at_s = climb.last_conflict_s
    return {
        "agent": climb.agent,
        "action": climb.action,
        "implementation": climb.implementation,
        "version": climb.version,
        "rung": climb.rung,
        "agreements": climb.agreements,
        "conflicts": climb.conflicts,
        "distinct_inputs": len(climb.inputs),
        "speedup": climb.speedup,
        "bound": climb.bound,
        "rate_below": upper_bound(climb.conflicts, counted) if counted else None,
        "compared_total": climb.compared_total,
        "conflicts_total": climb.conflicts_total,
        "errors": climb.errors,
        "dropped": climb.dropped,
        "last_conflict": climb.last_conflict,
        "last_conflict_at": _when(at_s) if at_s else None,
        "next": None if climb.rung == "native" else RUNGS[RUNGS.index(climb.rung) + 1],
        "objections": ladder.objections(climb, settings.twins),
        "history": [
            {**msgspec.structs.asdict(change), "at": _when(change.at_s)} for change in climb.history
        ],
    }


def _lines(climb: Climb, settings: Settings) -> list[str]:
    is_all = climb.compared_total <= climb.agreements + climb.conflicts
    since = "" if is_all else "since its last conflict or change of rung: "
    lines = [f"{climb.name}: {climb.rung}", f"  {since}{climb.bound}"]
    pace = "" if climb.speedup is None else f"; {climb.speedup:.2f} times as fast"
    if climb.inputs or pace:
        lines.append(f"  {ladder.inputs_text(climb)}{pace}")
    if not is_all:
        ever = count_text(climb.conflicts_total, climb.compared_total)
        lines.append(f"  ever, on all rungs: {ever}")
    if climb.errors or climb.dropped:
        lines.append(f"  shadow runs: {climb.errors:,} came to nothing, {climb.dropped:,} dropped")
    if climb.last_conflict_s:
        capsule = f", {climb.last_conflict}" if climb.last_conflict else ""
        lines.append(f"  last conflict: {_when(climb.last_conflict_s)}{capsule}")
    if climb.rung != "native":
        against = ladder.objections(climb, settings.twins)
        ready = "may be promoted" if not against else f"not yet: {'; '.join(against)}"
        lines.append(f"  {RUNGS[RUNGS.index(climb.rung) + 1]}: {ready}")
    for change in climb.history[::-1]:
        forced = " (forced)" if change.forced else ""
        capsule = f"; conflict {change.capsule}" if change.capsule else ""
        lines.append(
            f"  {_when(change.at_s)} {change.left} -> {change.right} by {change.by}{forced}: "
            f"{change.why}{capsule}"
        )
    return lines


def _when(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
