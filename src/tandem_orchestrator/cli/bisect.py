"""``tandem twins bisect``: the first step at which two implementations of a whole set part."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_orchestrator import Bisection, Settings, TandemOrchestrator
from tandem_orchestrator.cli.capsule_view import first_words, print_fields
from tandem_orchestrator.cli.exits import Exit
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.output import (
    print_json,
    print_table,
    print_text,
    stdout_for_the_result,
    visible,
)
from tandem_orchestrator.cli.target import import_agents, read_inputs, read_target


@dataclass(frozen=True)
class BisectWish:
    """What the command line asked for."""

    target: str
    left: str
    right: str
    inputs: list[str]
    modules: list[str]
    as_json: bool


def bisect(wish: BisectWish, settings: Settings) -> Exit:
    """Run a target in two implementations and say where they part; exit code 1 if they do."""

    async def work() -> Bisection:
        agents = import_agents(wish.modules)
        command_set, inputs, faults = read_target(wish.target, read_inputs(wish.inputs))
        with stdout_for_the_result():
            async with TandemOrchestrator(settings) as tandem:
                for agent in agents:
                    tandem.add_agent(agent)
                if faults:
                    tandem.validate(command_set, inputs=inputs, faults=faults)
                return await tandem.bisect(
                    command_set, left=wish.left, right=wish.right, inputs=inputs
                )

    found = run_in_loop(settings, work)
    if wish.as_json:
        print_json(found.to_value())
    else:
        _print(found)
    return Exit.DONE if found.first is None else Exit.FAILED


def _print(found: Bisection) -> None:
    print_text(visible(found.line()))
    if found.first is None or found.sides is None:
        return
    print_fields(found.first.fields, found.implementations)
    for side in found.sides:
        print_text(visible(f"  {side.implementation} was given {first_words(side.payload, 60)}"))
    if len(found.diverged) > 1:
        rows = [
            (each.step, str(len(each.fields)), ", ".join(each.follows) or "itself")
            for each in found.diverged[1:]
        ]
        print_text("")
        print_table(("step", "fields", "because of"), rows, folds=("because of",))
