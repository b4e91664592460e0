"""Two functions of a C library beside their Python originals, compared; nothing else is written."""

import asyncio
import statistics
from typing import Any

from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator

shapes = Agent("shapes")


@shapes.action("area", effects="none")
def area(payload: dict[str, float]) -> float:
    """Give the area of a rectangle."""
    return payload["w"] * payload["h"]


@shapes.action("mean", effects="none")
def mean(payload: dict[str, Any]) -> float:
    """Give the mean of some numbers."""
    return statistics.fmean(payload["x"])


area.twin("c", library="libgeo.so", symbol="area", signature="f64(f64 w, f64 h)")
mean.twin("c", library="libgeo.so", symbol="mean", signature="f64(buf<f64> x)")


async def main() -> None:
    """Run each pair once, and show where they differ."""
    steps = [
        CommandStep(id="area", agent="shapes", action="area", payload={"w": 3.0, "h": 2.5}),
        CommandStep(id="mean", agent="shapes", action="mean", payload={"x": [1.0, 2.0, 6.0]}),
    ]
    async with TandemOrchestrator() as tandem:
        tandem.add_agent(shapes)
        result = await tandem.execute_command_set(
            CommandSet(name="compare", mode="redundant", steps=steps)
        )
    print(result["status"], result["results"])
    for conflict in result["conflicts"]:
        for field in conflict["fields"]:
            print(f"{conflict['step']}: python {field['left']}, c {field['right']}")


asyncio.run(main())
