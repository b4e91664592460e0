"""Options that many commands share, and how each command ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from tandem_orchestrator.cli.exits import Exit, Stopped

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
"""For programs: one JSON text on stdout."""
Limit = Annotated[int, typer.Option(help="At most so many entries.", min=1, max=100_000)]
"""Of a listing."""
Journal = Annotated[
    str | None, typer.Option(help="The journal's file, :memory:, or a postgresql:// URL.")
]
"""Instead of the settings' own."""
Set = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, above all else.")]
"""Settings, above all else."""
Input = Annotated[list[str] | None, typer.Option("--input", help="NAME=JSON; may be repeated.")]
"""What a run is given."""
Import = Annotated[
    list[str] | None, typer.Option("--import", help="A module whose agents are registered.")
]
"""Modules with agents, also from the working directory."""


def end(command: Callable[[], Exit]) -> NoReturn:
    """Do a command's work and end with its code."""
    try:
        code = command()
    except KeyboardInterrupt as signal:
        raise Stopped(Exit.INTERRUPTED) from signal
    raise typer.Exit(int(code))
