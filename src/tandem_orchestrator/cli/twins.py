"""``tandem twins``: what is known about an action's twins, and what may be done with it."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from tandem_orchestrator import Calibration, Settings, TandemOrchestrator
from tandem_orchestrator.cli import bisect, ladder
from tandem_orchestrator.cli.capsule_view import first_words
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.options import Import, Input, Journal, Json, Set, end
from tandem_orchestrator.cli.output import (
    print_json,
    print_table,
    print_text,
    stdout_for_the_result,
    visible,
)
from tandem_orchestrator.cli.target import import_agents, read_settings

app = typer.Typer(
    help="How twins are compared, and how far they are trusted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
"""The group ``tandem twins``."""
ladder.add_to(app)

_SAMPLES = 100
"""Recorded inputs that are used where neither option is given."""
_INPUT_FILE_BYTES_MAX = 256 * 1024 * 1024


@app.command()
def calibrate(
    action: Annotated[str, typer.Argument(metavar="AGENT.ACTION", help="Whose output is noisy.")],
    inputs: Annotated[
        str | None, typer.Option(help="A JSON file with a list of payloads, or JSON lines.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Take so many inputs of earlier runs.", min=1, max=10_000)
    ] = None,
    implementation: Annotated[str | None, typer.Option(help="Which side; else python.")] = None,
    pause: Annotated[float, typer.Option(help="Seconds between the two passes.", min=0.0)] = 1.1,
    timeout: Annotated[float, typer.Option(help="Seconds for one attempt.", min=0.001)] = 30.0,
    import_: Import = None,
    set: Set = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Run one side twice, and say which fields are noise and what to declare about them."""
    if inputs is not None and samples is not None:
        raise UsageError("--inputs and --samples: give one of them")
    settings = read_settings(set or [], journal)
    # Any: payloads are values of any kind.
    asked: list[Any] | int = read_payloads(inputs) if inputs else samples or _SAMPLES
    options = {"implementation": implementation, "pause_s": pause, "timeout_s": timeout}
    end(lambda: _calibrate(settings, import_ or [], action, asked, options, as_json=json))


@app.command("bisect")
def bisect_(
    target: Annotated[str, typer.Argument(help="A file or a workflow's name, as for run.")],
    left: Annotated[str, typer.Option(help="One implementation.")] = "python",
    right: Annotated[str, typer.Option(help="The other one.")] = "c",
    input: Input = None,
    import_: Import = None,
    set: Set = None,
    journal: Journal = None,
    json: Json = False,
) -> None:
    """Run a set in one implementation, then in the other, and say at which step they part."""
    settings = read_settings(set or [], journal)
    wish = bisect.BisectWish(target, left, right, input or [], import_ or [], json)
    end(lambda: bisect.bisect(wish, settings))


def read_payloads(file: str) -> list[Any]:
    """Read payloads: a JSON list, or one JSON text on each line.

    Raises: UsageError naming the file and the line.
    """
    path = Path(file)
    try:
        if path.stat().st_size > _INPUT_FILE_BYTES_MAX:
            raise UsageError(f"{file}: larger than {_INPUT_FILE_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        whole = json_text.loads(text)
    except ValueError:
        payloads = [_line(file, n, line) for n, line in enumerate(text.splitlines(), 1) if line]
    else:
        payloads = whole if isinstance(whole, list) else [whole]
    return [{"$literal": payload} for payload in payloads]


def _line(file: str, number: int, line: str) -> Any:
    try:
        return json_text.loads(line)
    except ValueError as error:
        raise UsageError(f"{file}: line {number}: {error}") from error


def _calibrate(
    settings: Settings,
    modules: list[str],
    action: str,
    asked: list[Any] | int,
    options: dict[str, Any],
    *,
    as_json: bool,
) -> Exit:
    async def work() -> Calibration:
        agents = import_agents(modules)
        with stdout_for_the_result():
            async with TandemOrchestrator(settings) as tandem:
                for agent in agents:
                    tandem.add_agent(agent)
                return await tandem.calibrate(action, asked, **options)

    found = run_in_loop(settings, work)
    if as_json:
        print_json(found.to_value())
    else:
        _print(action, found)
    return Exit.FAILED if found.unstable or found.left_over else Exit.DONE


def _print(action: str, found: Calibration) -> None:
    print_text(visible(f"{action}: {found.compared} of {found.inputs} inputs gave two outputs"))
    if found.noisy:
        rows = [
            (
                f.pattern or "(all)",
                f.kind,
                str(f.seen),
                first_words(f.left, 40),
                first_words(f.right, 40),
            )
            for f in found.noisy
        ]
        print_table(("field", "noise", "inputs", "first", "second"), rows, may_go=("second",))
    if found.unstable:
        shown = ", ".join(map(str, found.unstable[:10]))
        print_text(f"ended in two ways on inputs {shown}: no rule excuses that")
    if found.left_over:
        shown = ", ".join(map(str, found.left_over[:10]))
        print_text(f"differs on inputs {shown} even so; write a clean hook for what is left")
    if found.ignores_everything:
        print_text("the whole output is noise: there is nothing that twins could agree on")
    elif found.compared:
        rate = (
            f"noise in fewer than {found.miss_rate:.2g} of inputs may have been missed (95 %)"
            if found.miss_rate < 1.0
            else "these are too few inputs to say what may have been missed"
        )
        print_text(rate if found.noisy else f"no noise; {rate}")
    if found.source and found.noisy and not found.ignores_everything:
        print_text("")
        print_text(found.source)
