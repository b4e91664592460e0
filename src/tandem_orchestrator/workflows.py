"""Workflows that come with Tandem, as factories of command sets.

A factory takes plain values and gives a fresh command set; ``WORKFLOWS`` names them for
``tandem run NAME``, whose ``--input`` values are the factory's arguments.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tandem_orchestrator.errors import CommandError, Fault, InvalidCommandSet
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.levels import CommandType, Priority
from tandem_orchestrator.model.modes import ExecutionMode

DEFAULT_EXTENSIONS = (".py", ".pyi", ".c", ".h", ".md", ".rst", ".toml", ".yaml", ".yml", ".json")
"""What is listed in a code base when nothing else is asked for."""
DEFAULT_OUTPUT = "tandem-docs"
"""The folder for pages, in the working directory, when none is named."""


class StandardWorkflows:
    """Ready-made workflows; each method gives a new command set that may be changed freely."""

    @staticmethod
    def create_document_generation_workflow(
        path: str | os.PathLike[str] = ".",
        output: str | os.PathLike[str] | None = None,
        extensions: Sequence[str] | None = None,
        interactive: bool = False,
        allow_editing: bool = False,
        include_examples: bool = True,
    ) -> CommandSet:
        """Document a code base: scan it, analyse it, write Markdown pages, show them.

        Relative paths are taken from the working directory of the caller, here and now, so that
        a run that is resumed elsewhere still means the same places.

        Args:
            path: The root of the code base.
            output: The folder for the pages; ``tandem-docs`` in the working directory by default.
            extensions: Endings of the files to list, each with its dot; by default those of
                ``DEFAULT_EXTENSIONS``.
            interactive: Show the pages on a full screen, where there is a terminal.
            allow_editing: There, let ``e`` open a page in ``$EDITOR``.
            include_examples: Show pieces of tests and examples on the pages.

        Returns: A command set with the steps ``ui_setup, scan, analyze, generate, display``.
        """
        root = _absolute(path)
        target = _absolute(DEFAULT_OUTPUT if output is None else output)
        return CommandSet(
            name="document_generation",
            type=CommandType.WORKFLOW,
            mode=ExecutionMode.INTELLIGENT,
            priority=Priority.HIGH,
            steps=[
                CommandStep(
                    id="ui_setup",
                    agent="tui",
                    action="create_interface",
                    payload={"layout": "split_pane", "theme": "dark"},
                ),
                CommandStep(
                    id="scan",
                    agent="docgen",
                    action="scan_codebase",
                    payload={
                        "path": root,
                        "extensions": list(
                            DEFAULT_EXTENSIONS if extensions is None else extensions
                        ),
                    },
                ),
                CommandStep(
                    id="analyze",
                    agent="docgen",
                    action="analyze_structure",
                    payload={"use_ai": True, "depth": "comprehensive"},
                ),
                CommandStep(
                    id="generate",
                    agent="docgen",
                    action="generate_docs",
                    payload={
                        "format": "markdown",
                        "include_examples": include_examples,
                        "output": target,
                    },
                ),
                CommandStep(
                    id="display",
                    agent="tui",
                    action="display_results",
                    payload={"interactive": interactive, "allow_editing": allow_editing},
                ),
            ],
            dependencies={
                "scan": ["ui_setup"],
                "analyze": ["scan"],
                "generate": ["analyze"],
                "display": ["generate"],
            },
        )


WORKFLOWS: dict[str, Callable[..., CommandSet]] = {
    "document_generation": StandardWorkflows.create_document_generation_workflow,
}
"""Name for ``tandem run`` to the factory."""


# Any: an input may be any value; the factory and the actions check it.
def make_workflow(name: str, inputs: Mapping[str, Any] | None = None) -> CommandSet:
    """Make a standard workflow by its name.

    Args:
        name: A key of ``WORKFLOWS``.
        inputs: The factory's arguments by name.

    Raises:
        CommandError: There is no such workflow; the message names those that look alike.
        InvalidCommandSet: An input that the workflow does not take, or of the wrong type; all of
            them at once, as ``faults``.
    """
    factory = WORKFLOWS.get(name)
    if factory is None:
        alike = nearest(name, WORKFLOWS)
        hint = f"did you mean {', '.join(alike)}?" if alike else f"there are {', '.join(WORKFLOWS)}"
        raise CommandError(f"workflow {name!r} is not known ({hint})")
    faults = _input_faults(factory, inputs or {})
    if faults:
        raise InvalidCommandSet(faults=tuple(faults))
    return factory(**(inputs or {}))


def _input_faults(factory: Callable[..., CommandSet], inputs: Mapping[str, Any]) -> list[Fault]:
    parameters = inspect.signature(factory).parameters
    faults = []
    for key, value in inputs.items():
        path = f"inputs.{key}"
        if key not in parameters:
            text = f"the workflow takes no input {key!r}, only {', '.join(parameters)}"
            faults.append(Fault("bad_reference", path, text, value, nearest(key, parameters)))
        elif fault := _type_fault(str(parameters[key].annotation), value):
            faults.append(Fault("bad_type", path, f"{key}={value!r:.80}: expected {fault}", value))
    return faults


# Any: whatever a caller gave.
def _type_fault(annotation: str, value: Any) -> str | None:
    """Say what was expected, for the few types that factories take; None if it fits."""
    if "None" in annotation and value is None:
        return None
    if annotation.startswith("bool"):
        return None if isinstance(value, bool) else "true or false"
    if annotation.startswith("Sequence[str]"):
        strings = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        return None if strings else "a list of strings"
    return None if isinstance(value, str | os.PathLike) else "a string"


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.normpath(Path.cwd() / path)
