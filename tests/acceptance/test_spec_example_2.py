"""SPEC.md's second example, with agents that there are: both layers run a critical step."""

import asyncio
import shutil
import subprocess

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    ExecutionMode,
    LayerUnavailable,
    Priority,
    TandemOrchestrator,
)

pytestmark = pytest.mark.native
LIBRARY = """
#include <stdint.h>
uint64_t twice(uint64_t n) { return n * 2 + (n == 7); }
uint64_t hang(uint64_t n) { for (volatile uint64_t i = 0;; i++) n += i; return n; }
"""


@pytest.fixture
def library(tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    (tmp_path / "odd.c").write_text(LIBRARY)
    made = tmp_path / "libodd.so"
    subprocess.run(["cc", "-shared", "-fPIC", tmp_path / "odd.c", "-o", made], check=True)
    return str(made)


def offered(tandem, library):
    """An action whose C twin is wrong about 7, and one whose C twin never ends."""
    agent = tandem.register_agent("odd")
    twice = agent.action("twice", effects="none")(lambda payload: payload["n"] * 2)
    twice.twin("c", library=library, symbol="twice", signature="u64(u64 n)")
    hang = agent.action("hang", effects="none")(lambda payload: payload["n"])
    hang.twin("c", library=library, symbol="hang", signature="u64(u64 n)")


def asking(action, n, **fields):
    limit = fields.pop("step_timeout", None)
    step = CommandStep(id="a", agent="odd", action=action, payload={"n": n}, timeout=limit)
    return CommandSet(mode=ExecutionMode.REDUNDANT, steps=[step], **fields)


@pytest.fixture
async def tandem():
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as made:
        yield made


async def test_the_example_runs_in_both_layers_and_they_agree(tandem, tmp_path):
    (tmp_path / "one.py").write_text("import os\n\n\nclass A:\n    pass\n")
    workflow = CommandSet(
        name="Critical Security Audit",
        mode=ExecutionMode.REDUNDANT,  # Both layers execute
        priority=Priority.CRITICAL,
        steps=[
            CommandStep(agent="docgen", action="scan_codebase", payload={"path": str(tmp_path)}),
            CommandStep(agent="system", action="echo", payload={"targets": ["network", "memory"]}),
        ],
    )
    result = await tandem.execute_command_set(workflow)

    assert result["status"] == "completed"
    if result.get("consensus_achieved"):
        shown = "Both layers agree - results reliable"
    else:
        shown = f"Conflict detected - manual review needed: {result['conflicts']}"
    assert shown == "Both layers agree - results reliable"
    for step in result["steps"].values():
        assert set(step["implementations"]) == {"python", "c"}
        assert all(side["seconds"] > 0 for side in step["implementations"].values())
    assert tandem.get_metrics()["redundant_agreements"] == 2


async def test_a_critical_conflict_asks_for_a_review_and_picks_no_side(tandem, library):
    offered(tandem, library)
    result = await tandem.execute_command_set(asking("twice", 7, priority=Priority.CRITICAL))
    assert result["status"] == "completed"
    assert not result.get("consensus_achieved"), "Conflict detected - manual review needed"
    (conflict,) = result["conflicts"]
    assert conflict["winner"] is None
    assert conflict["fields"] == [{"path": "", "left": 14, "right": 15}]
    assert result["results"]["a"] == 14, "python's"


async def test_consensus_between_the_layers_ends_in_a_failure_and_not_in_a_loop(tandem, library):
    offered(tandem, library)
    asked = asking("twice", 7)
    asked.mode = ExecutionMode.CONSENSUS
    result = await asyncio.wait_for(tandem.execute_command_set(asked), 60)
    assert result["status"] == "failed"
    assert result["error_detail"]["type"] == "TwinsDisagree"
    assert result["steps"]["a"]["attempts"] == 4, "one try and redundancy.consensus_retries more"
    assert any("twins bisect" in note for note in result["notes"])
    fine = asking("twice", 8)
    fine.mode = ExecutionMode.CONSENSUS
    assert (await tandem.execute_command_set(fine))["results"] == {"a": 16}


async def test_a_c_side_that_hangs_is_killed_at_the_steps_limit_and_pythons_counts(tandem, library):
    offered(tandem, library)
    asked = asking("hang", 1, step_timeout=0.5)
    result = await asyncio.wait_for(tandem.execute_command_set(asked), 60)
    assert result["status"] == "completed" and result["results"]["a"] == 1
    (conflict,) = result["conflicts"]
    assert conflict["winner"] == "python"
    assert conflict["fields"][0]["right"]["outcome"] == "timed_out"


async def test_without_one_the_runs_limit_ends_it_and_names_the_c_side(tandem, library):
    offered(tandem, library)
    result = await asyncio.wait_for(tandem.execute_command_set(asking("hang", 1, timeout=0.7)), 60)
    assert result["status"] == "timed_out"
    assert "step 'a': c had not ended, python had" in result["error"]


async def test_the_pair_without_its_layer_is_refused():
    config = {"journal": {"path": ":memory:"}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        step = CommandStep(agent="system", action="echo", payload={})
        for mode in ("REDUNDANT", "CONSENSUS"):
            with pytest.raises(LayerUnavailable, match=mode):
                await tandem.execute_command_set(CommandSet(mode=mode, steps=[step]))
