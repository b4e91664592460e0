"""What ``run`` and ``validate`` are given: a file or a workflow's name, inputs, settings, modules."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tandem_orchestrator import Agent, CommandSet, Fault, Settings
from tandem_orchestrator.cli.exits import UsageError
from tandem_orchestrator.model.conditions import refs_in
from tandem_orchestrator.model.documents import FORMATS, read
from tandem_orchestrator.model.refs import Ref, find_refs
from tandem_orchestrator.workflows import WORKFLOWS, make_workflow


def read_target(
    target: str, inputs: dict[str, Any]
) -> tuple[CommandSet, dict[str, Any], list[Fault]]:
    """Give the command set that a target means, the inputs its run gets, and a file's faults.

    A file's run gets the inputs; a workflow takes them as its arguments. The faults are for the
    planner to tell together with those that it finds; one of them is an input that nothing in the
    file refers to.

    Raises: InvalidCommandSet, CommandError: the file or the name is not one.
    """
    path = Path(target)
    if path.suffix.lower() in FORMATS or (target not in WORKFLOWS and path.exists()):
        command_set, faults = read(path)
        if not faults:  # What could not be read may have been what refers to them.
            faults = list(_unused_inputs(command_set, inputs))
        return command_set, inputs, faults
    return make_workflow(target, inputs), {}, []


# Any: an input is any value.
def _unused_inputs(command_set: CommandSet, inputs: dict[str, Any]) -> Iterator[Fault]:
    """Tell each input that no reference reaches: a slip in its name would go unnoticed."""
    paths = [ref.path for ref in _refs_of(command_set) if ref.step == "inputs"] if inputs else []
    if () in paths:  # All of them at once.
        return
    known = sorted({path[0] for path in paths})
    for name in inputs:
        if name not in known:
            have = ", ".join(known[:20]) or "no input"
            text = f"nothing in the file refers to inputs#/{name}; it refers to {have}"
            near = tuple(get_close_matches(name, known, n=3, cutoff=0.5))
            yield Fault("bad_reference", f"inputs.{name}", text, name, near)


def _refs_of(command_set: CommandSet) -> Iterator[Ref]:
    for step in command_set.steps:
        for part in (step.payload, step.for_each):
            yield from (ref for _, ref in find_refs(part) if isinstance(ref, Ref))
        if step.when is not None:
            yield from refs_in(step.when)
        if step.command_set is not None:
            yield from _refs_of(step.command_set)


def read_inputs(given: list[str]) -> dict[str, Any]:
    """Read ``NAME=JSON`` options.

    Raises: UsageError naming the option.
    """
    inputs: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--input {text!r}: expected NAME=JSON")
        try:
            inputs[name] = json.loads(value)
        except ValueError as error:
            hint = f"; a string needs quotes: --input '{name}=\"{value}\"'"
            raise UsageError(f"--input {name}={value}: not JSON ({error}){hint}") from error
    return inputs


def read_settings(overrides: list[str], journal: str | None) -> Settings:
    """Put the settings together from ``--set section.key=value``, environment and file.

    Raises: UsageError for a malformed option; ConfigError.
    """
    given: dict[str, str] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r}: expected section.key=value")
        given[key] = value
    if journal is not None:
        given["journal.path"] = journal
    return Settings.load(None, environ=os.environ, cwd=Path.cwd(), overrides=given)


def import_agents(modules: list[str]) -> list[Agent]:
    """Import modules, also from the working directory, and collect the agents in them.

    Raises: UsageError if one cannot be imported.
    """
    if modules and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    agents: list[Agent] = []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise UsageError(f"--import {name}: {type(error).__name__}: {error}") from error
        agents.extend(value for value in vars(module).values() if isinstance(value, Agent))
    return agents
