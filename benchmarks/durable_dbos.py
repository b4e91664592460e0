"""The diamond of ``durable.py`` in DBOS, on SQLite: prints runs a second, then p50 of one alone in ms.

    build/dbos/bin/python benchmarks/durable_dbos.py RUNS

It needs the package ``dbos`` and nothing of Tandem; ``durable.py`` starts it where that is
installed in ``build/dbos`` (``tools/setup dbos``), and names what is missing where it is not.
"""

import asyncio
import logging
import statistics
import sys
import tempfile
import time

from dbos import DBOS, SetWorkflowID  # type: ignore[import-not-found,unused-ignore]

IN_FLIGHT = 64
ALONE = 30
"""Runs one at a time."""


@DBOS.step()
async def no_op(number: int) -> int:
    """Be a step."""
    return number


@DBOS.workflow()
async def diamond(number: int) -> int:
    """Run ten steps: one, four, four, one."""
    await no_op(number)
    await asyncio.gather(*(no_op(number) for _ in range(4)))
    await asyncio.gather(*(no_op(number) for _ in range(4)))
    return int(await no_op(number))


async def main(runs: int) -> None:
    """Measure, 64 in flight and then one at a time."""
    numbers = iter(range(runs))

    async def worker() -> None:
        for number in numbers:
            with SetWorkflowID(f"run-{number}"):
                assert await diamond(number) == number

    await diamond(0)
    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    rate = runs / (time.perf_counter() - began)
    took = []
    for number in range(ALONE):
        began = time.perf_counter()
        await diamond(number)
        took.append((time.perf_counter() - began) * 1e3)
    print(rate, statistics.median(took))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/dbos.sqlite"
        DBOS(config={"name": "diamonds", "system_database_url": url, "log_level": "ERROR"})
        logging.disable(logging.INFO)
        DBOS.launch()
        try:
            asyncio.run(main(int(sys.argv[1])))
        finally:
            DBOS.destroy()
