"""``tandem demo``: small projects that show what Tandem is for, on your own machine."""

from __future__ import annotations

from typing import Annotated

import typer

from tandem_orchestrator.cli import demo_twins
from tandem_orchestrator.cli.options import Json, end

app = typer.Typer(
    help="Small projects that show what Tandem is for.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
"""The group ``tandem demo``."""


@app.callback()
def _main() -> None:
    """Small projects that show what Tandem is for."""


@app.command()
def twins(
    folder: Annotated[
        str, typer.Argument(metavar="[DIR]", help="The folder to make.")
    ] = "twins-demo",
    json: Json = False,
) -> None:
    """Compare a Python function with its twin in C on 4,000 inputs, and find where they differ."""
    end(lambda: demo_twins.demo_twins(folder, as_json=json))
