"""Check the payload of ``docgen.analyze_structure``, and find the scan it is about."""

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

DEPTHS = ("overview", "standard", "comprehensive")
"""How much an analysis holds, least first; see `AnalyzeRequest.depth`."""


class NoScan(ValueError):
    """There is nothing to analyse: no scan among the inputs, no ``scan`` and no ``path``."""


@dataclass(frozen=True, slots=True)
class AnalyzeRequest:
    """One checked request."""

    root: bytes
    """The scanned directory."""
    files: tuple[tuple[bytes, dict[str, Any]], ...]
    """Path relative to the root, and the scan's entry."""
    scan_errors: int
    """How many entries the scan could not list."""
    depth: str
    """``overview``: modules and imports; ``standard``: also what they offer; ``comprehensive``:
    also examples and the most-used names."""
    use_ai: bool


_READERS = {
    "depth": one_of(*DEPTHS),
    "path": read_absolute_path,
    "scan": read_dict,
    "use_ai": read_bool,
}


def read_analyze_request(payload: object, inputs: Mapping[str, Any]) -> AnalyzeRequest:
    """Check a payload, and take the scan from it or from the step's inputs.

    Args:
        payload: ``scan`` (an output of ``docgen.scan_codebase``), or ``path`` (a directory to scan
            here and now), or neither if exactly one input is a scan; ``depth``, ``use_ai``.
        inputs: Step id to output.

    Raises: TypeError, ValueError, NoScan; what the scan raises, with ``path``.
    """
    fields = read_payload(payload, _READERS)
    if "scan" in fields and "path" in fields:
        raise ValueError("payload: has both 'scan' and 'path', must have one")
    if "path" in fields:
        scan = _scan_here(fields["path"])
    elif "scan" in fields:
        scan = fields["scan"]
        if not is_scan(scan):
            raise ValueError("payload.scan: must be an output of docgen.scan_codebase")
    else:
        scan = _scan_among(inputs)
    files = tuple((_raw(entry, "path"), entry) for entry in scan["files"])
    errors = scan.get("errors")
    return AnalyzeRequest(
        root=_raw(scan, "root"),
        files=files,
        scan_errors=len(errors) if isinstance(errors, list) else 0,
        depth=fields.get("depth", "comprehensive"),
        use_ai=fields.get("use_ai", False),
    )


def is_scan(value: object) -> bool:
    """Tell whether a value looks like an output of ``docgen.scan_codebase``."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("root"), str)
        and isinstance(value.get("files"), list)
        and all(isinstance(e, dict) and isinstance(e.get("path"), str) for e in value["files"])
    )


def _scan_among(inputs: Mapping[str, Any]) -> dict[str, Any]:
    scans = {step: output for step, output in inputs.items() if is_scan(output)}
    if len(scans) == 1:
        return next(iter(scans.values()))
    if scans:
        raise NoScan(f"inputs {', '.join(sorted(scans))} are all scans: name one by payload.scan")
    raise NoScan(
        "no input is a scan: depend on a step docgen.scan_codebase, or give payload.path or "
        "payload.scan"
    )


def _scan_here(path: str) -> dict[str, Any]:
    from tandem_orchestrator.agents.docgen.scan import scan_codebase

    return scan_codebase({"path": path})


def _raw(entry: Mapping[str, Any], key: str) -> bytes:
    raw = entry.get(f"{key}_raw")
    return raw if isinstance(raw, bytes) else os.fsencode(entry[key])
