"""How the router's record of one decision is shown: by ``tandem explain``, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tandem_orchestrator.model.plans import Assignment
from tandem_orchestrator.model.routing import bucket_text
from tandem_orchestrator.plan.router import seconds_text


# Any: plain data for JSON.
def route_value(assignment: Assignment | None) -> dict[str, Any] | None:
    """Give what a choice went by; None where there was nothing to choose."""
    route = None if assignment is None else assignment.route
    if route is None:
        return None
    return {
        "bytes": route.bytes,
        "bucket": route.bucket,
        "bucket_text": bucket_text(route.bucket),
        "explored": route.explored,
        "asked": route.asked or None,
        "load": route.load,
        "alternatives": [
            {
                "implementation": option.implementation,
                "layer": option.layer,
                "rung": option.rung,
                "seconds": option.seconds,
                "samples": option.samples,
                "excluded": option.excluded or None,
            }
            for option in route.options
        ],
    }


def route_lines(route: dict[str, Any] | None) -> Iterator[str]:
    """Write the same for people."""
    if route is None:
        return
    tried = ", tried to learn its cost" if route["explored"] else ""
    yield f"payload: {route['bytes']} B, bucket {route['bucket_text']}{tried}"
    for option in route["alternatives"]:
        cost = "not measured here"
        if option["seconds"] is not None:
            cost = f"{seconds_text(option['seconds'])} by {option['samples']} samples"
        out = f"; not to choose: {option['excluded']}" if option["excluded"] else ""
        yield f"  {option['implementation']} ({option['layer']}, {option['rung']}): {cost}{out}"
    if route["load"]:
        shares = ", ".join(f"{layer} {share:.0%}" for layer, share in route["load"].items())
        yield f"load: {shares}"
