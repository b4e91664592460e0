"""``tandem run``, ``tandem validate``, ``tandem agents``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tandem_orchestrator import Fault, InvalidCommandSet, Settings, TandemOrchestrator
from tandem_orchestrator.cli.exits import Exit, Stopped, exit_of_status
from tandem_orchestrator.cli.loop import Terminated, run_in_loop
from tandem_orchestrator.cli.output import (
    print_json,
    print_table,
    print_text,
    stdout_for_the_result,
)
from tandem_orchestrator.cli.progress import ProgressView
from tandem_orchestrator.cli.run_table import print_result
from tandem_orchestrator.cli.target import (
    import_agents,
    read_inputs,
    read_settings,
    read_target,
)
from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.orchestrator.composition import make_quarantine


@dataclass(frozen=True, slots=True)
class RunWish:
    """The options of ``run`` and ``validate``, as they were typed."""

    target: str
    inputs: list[str] = field(default_factory=list)
    mode: str | None = None
    durability: str | None = None
    settings: list[str] = field(default_factory=list)
    journal: str | None = None
    modules: list[str] = field(default_factory=list)
    key: str | None = None
    as_json: bool = False


def run(wish: RunWish) -> Exit:
    """Run a target to its end.

    Raises: Stopped when the user gave up and at SIGTERM; the run has been cancelled then.
    """
    # What a schedule starts here would be cancelled when this run has ended.
    # What others left behind, or planned, is theirs: this program ends with its own run.
    own = ["journal.recover=false", "journal.schedules=false"]
    settings = read_settings([*own, *wish.settings], wish.journal)
    view = ProgressView(quiet=wish.as_json)
    try:
        return run_in_loop(settings, lambda: _run(wish, settings, view), on_sigterm=True)
    except InvalidCommandSet as error:
        raise _named(error, wish) from error.__cause__
    except KeyboardInterrupt as signal:
        raise Stopped(Exit.INTERRUPTED, view.run_id) from signal
    except Terminated as signal:
        raise Stopped(Exit.TERMINATED, view.run_id) from signal


async def _run(wish: RunWish, settings: Settings, view: ProgressView) -> Exit:
    inputs = read_inputs(wish.inputs)
    agents = import_agents(wish.modules)
    command_set, run_inputs, faults = read_target(wish.target, inputs)
    if wish.mode is not None:
        command_set.mode = wish.mode
    if wish.durability is not None:
        command_set.durability = wish.durability
    if wish.key is not None:
        command_set.idempotency_key = wish.key
    with stdout_for_the_result():
        async with TandemOrchestrator(settings) as tandem:
            for agent in agents:
                tandem.add_agent(agent)
            if faults:  # Raises, with what else is wrong: one round is enough.
                tandem.validate(command_set, inputs=run_inputs, faults=faults)
            with view:
                async with tandem.listening(view.on_event, view.on_progress):
                    result = await tandem.execute_command_set(command_set, inputs=run_inputs)
    if wish.as_json:
        print_json(result)
    else:
        print_result(result, view.last_steps)
    return exit_of_status(result["status"])


def validate(wish: RunWish) -> Exit:
    """Check a target and show its plan; nothing runs."""
    settings = read_settings(wish.settings, ":memory:")
    try:
        return run_in_loop(settings, lambda: _validate(wish, settings))
    except InvalidCommandSet as error:
        raise _named(error, wish) from error.__cause__


def _named(error: InvalidCommandSet, wish: RunWish) -> InvalidCommandSet:
    """Say where agents come from, and in which file the faults are; they tell paths inside it."""
    hinted = tuple(_with_hint(fault) for fault in error.faults)
    if hinted != error.faults and not wish.modules:
        error = InvalidCommandSet(faults=hinted)
    if Path(wish.target).is_file():
        error.add_note(wish.target)
    return error


def _with_hint(fault: Fault) -> Fault:
    if fault.code != "unknown_agent" or fault.nearest or not fault.value:
        return fault
    hint = "--import MODULE registers those of a module of yours"
    return replace(fault, message=f"{fault.message}; {hint}")


async def _validate(wish: RunWish, settings: Settings) -> Exit:
    inputs = read_inputs(wish.inputs)
    agents = import_agents(wish.modules)
    command_set, run_inputs, faults = read_target(wish.target, inputs)
    if wish.mode is not None:
        command_set.mode = wish.mode
    async with TandemOrchestrator(settings) as tandem:
        for agent in agents:
            tandem.add_agent(agent)
        plan = tandem.validate(command_set, inputs=run_inputs, faults=faults)
    if wish.as_json:
        steps = [
            {
                "id": step.id,
                "agent": step.agent,
                "action": step.action,
                "depends_on": list(step.depends_on),
                "implementations": list(step.assignment.implementations) if step.assignment else [],
                "reason": step.assignment.reason if step.assignment else "",
                "segment": step.segment,
            }
            for step in plan.steps
        ]
        print_json({"status": "valid", "name": plan.name, "mode": plan.mode, "steps": steps})
        return Exit.DONE
    rows = [
        (
            step.id,
            f"{step.agent}.{step.action}" if step.agent else step.kind,
            " ".join(step.assignment.implementations) if step.assignment else "",
            ", ".join(step.depends_on),
            step.assignment.reason if step.assignment else "",
        )
        for step in plan.steps[:200]
    ]
    columns = ("step", "action", "runs as", "after", "reason")
    print_table(columns, rows, folds=("step", "after", "reason"), may_go=("reason",))
    cut = f" (the first {len(rows)} are shown)" if len(plan.steps) > len(rows) else ""
    steps_total = f"{len(plan.steps)} step{'' if len(plan.steps) == 1 else 's'}"
    print_text(f"valid: {steps_total}{cut}, mode {plan.mode}, priority {plan.priority}")
    return Exit.DONE


def agents(modules: list[str], *, limit: int, as_json: bool) -> Exit:
    """List agents and what they can do."""
    settings = read_settings([], ":memory:")
    actions, state = run_in_loop(settings, lambda: _actions(modules, settings))
    if held := len(make_quarantine(read_settings([], None), SystemClock()).held()):
        state.append(f"{held} inputs are quarantined; `tandem agent quarantined` lists them")
    shown = actions[:limit]
    if as_json:
        print_json([_describe(action) for action in shown])
        return Exit.DONE
    rows = [
        (
            action.agent,
            action.name,
            ", ".join(_name(i.name, i.rung) for i in action.implementations) or "no handler",
            action.effects,
            action.version,
            action.documentation,
        )
        for action in shown
    ]
    columns = ("agent", "action", "implementations", "effects", "version", "what")
    print_table(columns, rows, may_go=("version", "effects"))
    if len(shown) < len(actions):
        print_text(f"{len(actions) - len(shown)} more; --limit shows them")
    for line in state:
        print_text(line)
    return Exit.DONE


async def _actions(modules: list[str], settings: Settings) -> tuple[list[Action], list[str]]:
    """Give the actions, and what is wrong with the layers, if anything."""
    found = import_agents(modules)
    async with TandemOrchestrator(settings) as tandem:
        for agent in found:
            tandem.add_agent(agent)
        actions = sorted(tandem.catalogue().actions.values(), key=lambda a: (a.agent, a.name))
        health = tandem.layer_health()
        return actions, [f"{name}: {one.reason}" for name, one in health.items() if one.reason]


def _name(name: str, rung: str) -> str:
    return name if rung == "native" else f"{name} ({rung})"


# Any: plain data for JSON.
def _describe(action: Action) -> dict[str, Any]:
    return {
        "agent": action.agent,
        "action": action.name,
        "effects": action.effects,
        "deterministic": action.deterministic,
        "version": action.version,
        "documentation": action.documentation,
        "implementations": [
            {"name": i.name, "layer": i.layer, "rung": i.rung, "source": i.source}
            for i in action.implementations
        ],
    }
