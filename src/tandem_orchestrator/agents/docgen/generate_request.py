"""Check the payload of ``docgen.generate_docs``, and find the analysis it is about."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.agents.payload import (
    one_of,
    read_absolute_path,
    read_bool,
    read_dict,
    read_payload,
)

DEFAULT_FOLDER = "tandem-docs"
"""Where pages go without ``output``: a folder of this name in the working directory."""


class NoAnalysis(ValueError):
    """There is nothing to write about: no analysis among the inputs and no ``analysis``."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One checked request."""

    # Any: an output of docgen.analyze_structure, plain values.
    analysis: dict[str, Any]
    output: str
    """Absolute path of the folder for the pages."""
    include_examples: bool
    overwrite: bool
    """Whether pages that someone edited are replaced, too."""


_READERS = {
    "analysis": read_dict,
    "format": one_of("markdown"),
    "include_examples": read_bool,
    "output": read_absolute_path,
    "overwrite": read_bool,
}


def read_generate_request(
    payload: object, inputs: Mapping[str, Any], working_directory: str
) -> GenerateRequest:
    """Check a payload, and take the analysis from it or from the step's inputs.

    Args:
        payload: ``format`` (``markdown``), ``output`` (an absolute path), ``include_examples``
            (default true), ``overwrite`` (default false), ``analysis``.
        inputs: Step id to output.
        working_directory: Absolute; holds ``DEFAULT_FOLDER`` where there is no ``output``.

    Raises: TypeError, ValueError, NoAnalysis.
    """
    fields = read_payload(payload, _READERS)
    if "analysis" in fields:
        analysis = fields["analysis"]
        if not is_analysis(analysis):
            raise ValueError("payload.analysis: must be an output of docgen.analyze_structure")
    else:
        analysis = _analysis_among(inputs)
    output = os.path.normpath(fields.get("output", f"{working_directory}/{DEFAULT_FOLDER}"))
    if output == os.path.normpath(analysis["root"]):
        raise ValueError(f"payload.output='{output}': must not be the documented directory itself")
    return GenerateRequest(
        analysis=analysis,
        output=output,
        include_examples=fields.get("include_examples", True),
        overwrite=fields.get("overwrite", False),
    )


def is_analysis(value: object) -> bool:
    """Tell whether a value looks like an output of ``docgen.analyze_structure``."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("root"), str)
        and isinstance(value.get("modules"), list)
        and {"coverage", "cycles", "files", "totals"} <= value.keys()
    )


def _analysis_among(inputs: Mapping[str, Any]) -> dict[str, Any]:
    found = {step: output for step, output in inputs.items() if is_analysis(output)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        names = ", ".join(sorted(found))
        raise NoAnalysis(f"inputs {names} are all analyses: name one by payload.analysis")
    raise NoAnalysis(
        "no input is an analysis: depend on a step docgen.analyze_structure, or give "
        "payload.analysis"
    )
