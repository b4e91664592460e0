"""`docgen.scan_codebase` through a real bridge: the frames in between change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.agents.docgen.scan import scan_codebase
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.model.outcomes import Outcome

pytestmark = pytest.mark.native
WAIT_S = 40.0


@pytest.fixture
async def layer() -> AsyncIterator[NativeLayer]:
    """Give a started C layer with a bridge of its own."""
    made = NativeLayer(Ids().make(), required=True)
    await made.start()
    yield made
    await made.close()


async def scan(
    layer: NativeLayer, payload: Any, cancel: CancelToken | None = None, **fields: Any
) -> Report:
    """Run the C action as an attempt of a step."""
    work = Work("run", "scan", "docgen", "scan_codebase", "c", payload, **fields)
    return await asyncio.wait_for(layer.run(work, cancel or CancelToken()), WAIT_S)


def grow_tree(root: Path, files: int) -> str:
    """Make a tree whose scan takes several fragments and all the helpers there are."""
    for index in range(files):
        folder = root / f"d{index % 40}"
        folder.mkdir(exist_ok=True)
        (folder / f"{index}-{'n' * 60}.py").write_text(f"x = {index}\n" * (index % 50))
    return str(root)


async def test_the_bridge_gives_what_python_gives(layer: NativeLayer, tmp_path: Path) -> None:
    payload = {"path": grow_tree(tmp_path, 4000)}

    report = await scan(layer, payload)

    assert report.outcome is Outcome.SUCCEEDED, report.failure
    assert report.output == scan_codebase(payload)


async def test_a_failure_keeps_its_type_and_words(layer: NativeLayer, tmp_path: Path) -> None:
    report = await scan(layer, {"path": f"{tmp_path}/none"})

    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    assert (report.failure.type, report.failure.message) == (
        "FileNotFoundError",
        f"path='{tmp_path}/none': there is no such directory",
    )


async def test_a_scan_of_a_huge_file_stops_when_asked(layer: NativeLayer, tmp_path: Path) -> None:
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(1 << 38)  # sparse; to read it all would take minutes
    cancel = CancelToken()
    loop = asyncio.get_running_loop()

    def on_progress(done: int, total: int) -> None:  # it is in the middle of the file
        assert (done, total) == (2, 0)
        loop.call_soon_threadsafe(cancel.cancel, "enough")

    report = await scan(layer, {"path": str(tmp_path)}, cancel, on_progress=on_progress)

    assert cancel.requested
    assert report.outcome is Outcome.CANCELLED
    assert report.stopped
