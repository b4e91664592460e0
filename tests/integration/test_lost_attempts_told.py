"""``tandem explain`` tells which attempts of a step were lost, and why."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.cli.app import run_app


async def program(journal: Path, *, ends: bool) -> TandemOrchestrator:
    tandem = TandemOrchestrator({"journal": {"path": str(journal)}, "c_layer": {"enabled": False}})
    agent = tandem.register_agent("work")

    @agent.action("wait", effects="none")
    async def wait(payload: Any) -> str:
        if not ends:
            await asyncio.Event().wait()
        return "done"

    await tandem.initialize()
    return tandem


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """A journal with a run whose program closed in the middle, and whom another one ended."""
    path = tmp_path / "j.db"
    tandem = await program(path, ends=False)
    steps = [CommandStep(id="s", agent="work", action="wait")]
    run = await tandem.submit(CommandSet(name="long", steps=steps))
    while (view := await tandem.view(run.id)) is None or "s" not in view.running:
        await asyncio.sleep(0.01)
    await tandem.close(give_back=True)
    tandem = await program(path, ends=True)
    async with asyncio.timeout(30):
        assert (await tandem.run(run.id).result())["status"] == "completed"
    await tandem.close()
    return path


def test_explain_names_the_attempts_that_were_lost(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "attempt 1 (python) was lost: HandedOver: its program closed and gave the run back"
    assert run_app(["explain", "last", "s", "--journal", str(journal)]) == 0
    assert f"lost: {said}" in capsys.readouterr().out
    assert run_app(["explain", "last", "s", "--json", "--journal", str(journal)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["lost"], told["attempts"]) == ([said], 2)
