"""SPEC.md's execution modes, plugins, tuning and metrics, as written apart from paths.

The document's own lines are kept as text and executed, so that no formatter can make them easier
than what a reader types. An ellipsis in them stands for steps, and is replaced by some.
"""

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import tandem_orchestrator
from tandem_orchestrator import (
    CommandStep,
    ExecutionMode,
    InvalidCommandSet,
    Policy,
    Priority,
    TandemOrchestrator,
)

INTELLIGENT = """
# Python orchestrates, C executes atomics
command_set = CommandSet(
    mode=ExecutionMode.INTELLIGENT,
    steps=[...]
)
"""

REDUNDANT = """
# Both layers execute in parallel
command_set = CommandSet(
    mode=ExecutionMode.REDUNDANT,
    priority=Priority.CRITICAL
)
"""

CONSENSUS = """
# Both must agree before proceeding
command_set = CommandSet(
    mode=ExecutionMode.CONSENSUS
)
"""

SPEED_CRITICAL = """
# C layer only for maximum speed
command_set = CommandSet(
    mode=ExecutionMode.SPEED_CRITICAL,
    c_optimized=True
)
"""

PYTHON_ONLY = """
# Python layer only
command_set = CommandSet(
    mode=ExecutionMode.PYTHON_ONLY,
    requires_libraries=["pandas", "torch"]
)
"""

INITIALIZATION = """
orchestrator = TandemOrchestrator()
await orchestrator.initialize()
"""

EXECUTE = """
result = await orchestrator.execute_command_set(my_workflow)
"""

CUSTOM_MODES = '''
class CustomExecutionMode(ExecutionMode):
    """Create custom execution strategies"""
    
    ADAPTIVE = "adaptive"  # Dynamically switch based on load
    LEARNING = "learning"  # Use ML to optimize routing
'''  # noqa: W293

PLUGIN = '''
class TandemPlugin:
    """Base class for orchestrator plugins"""
    
    async def on_command_start(self, command_set: CommandSet):
        """Called before command execution"""
        pass
    
    async def on_command_complete(self, command_set: CommandSet, result: Dict):
        """Called after command execution"""
        pass
    
    async def on_conflict(self, python_result: Dict, c_result: Dict):
        """Called on consensus conflict"""
        pass
'''  # noqa: W293

REGISTER = """
# Register plugin
orchestrator.register_plugin(MyCustomPlugin())
"""

TUNING = """
# Optimize for specific workload
orchestrator.tune_for_workload({
    "workload_type": "high_throughput",
    "optimize_for": "latency",
    "hardware": {
        "prefer_p_cores": True,
        "use_huge_pages": True,
        "numa_aware": True
    }
})
"""

DEBUG = """
import logging
logging.basicConfig(level=logging.DEBUG)
"""

METRICS = {
    "python_msgs_processed": int,
    "c_msgs_processed": int,
    "redundant_agreements": int,
    "redundant_conflicts": int,
    "avg_python_latency": float,
    "avg_c_latency": float,
    "execution_stats": dict,
}
"""Each key that SPEC names, and of what kind its example is."""


async def follow(text: str, names: dict[str, Any]) -> None:
    """Execute lines of the document, in which ``await`` stands outside of any function."""
    waiting = eval(compile(text, "SPEC.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(waiting):
        await waiting


def public_names() -> dict[str, Any]:
    """What ``from tandem_orchestrator import *`` gives, and what the document takes as known."""
    names: dict[str, Any] = {"Dict": dict}
    exec("from tandem_orchestrator import *", names)
    return names


async def made(text: str, *steps: CommandStep) -> Any:
    """The command set that lines of the document make, with steps where they leave them out."""
    names = public_names() | {"step": list(steps)}
    await follow(text.replace("[...]", "step"), names)
    command_set = names["command_set"]
    command_set.steps = list(steps)
    return command_set


def echo(payload: Any = "hello") -> CommandStep:
    return CommandStep(agent="system", action="echo", payload=payload)


@pytest.fixture
async def orchestrator() -> AsyncIterator[TandemOrchestrator]:
    """What the document's own two lines give: both layers, and a journal on disk."""
    names = public_names()
    await follow(INITIALIZATION, names)
    yield names["orchestrator"]
    await names["orchestrator"].close()


def offer_twins(orchestrator: TandemOrchestrator, *, differ: bool) -> CommandStep:
    """Offer ``shop.price`` twice in Python, and give a step that asks for it."""

    @orchestrator.register_agent("shop").action("price", effects="none")
    async def price(payload: Any) -> Any:
        return {"cents": 1250}

    @price.twin("v2")
    async def price_v2(payload: Any) -> Any:
        return {"cents": 1251 if differ else 1250}

    return CommandStep(agent="shop", action="price")


# --- execution modes ---------------------------------------------------------------------------------


@pytest.mark.native
async def test_intelligent_routes_each_step_where_it_can_run(
    orchestrator: TandemOrchestrator,
) -> None:
    @orchestrator.register_agent("shop").action("price")
    async def price(payload: Any) -> int:
        return 7

    asked = await made(INTELLIGENT, echo(), CommandStep(agent="shop", action="price"))
    result = await orchestrator.execute_command_set(asked)

    assert result["status"] == "completed"
    assert result["results"] == {"s1": "hello", "s2": 7}
    layers = {step: row["layer"] for step, row in result["steps"].items()}
    assert layers == {"s1": "c", "s2": "python"}
    assert all(row["reason"] for row in result["steps"].values())


@pytest.mark.native
async def test_redundant_sends_to_both_layers_and_compares(
    orchestrator: TandemOrchestrator,
) -> None:
    asked = await made(REDUNDANT, echo())
    result = await orchestrator.execute_command_set(asked)

    assert (result["status"], result["consensus_achieved"]) == ("completed", True)
    metrics = orchestrator.get_metrics()
    assert (metrics["python_msgs_processed"], metrics["c_msgs_processed"]) == (1, 1)
    assert (metrics["redundant_agreements"], metrics["redundant_conflicts"]) == (1, 0)


async def test_redundant_and_critical_never_picks_a_side_silently(
    orchestrator: TandemOrchestrator,
) -> None:
    asked = await made(REDUNDANT, offer_twins(orchestrator, differ=True))
    assert asked.priority is Priority.CRITICAL
    result = await orchestrator.execute_command_set(asked)

    assert (result["status"], result["consensus_achieved"]) == ("completed", False)
    [conflict] = result["conflicts"]
    assert conflict["winner"] is None
    assert result["results"] == {"s1": {"cents": 1250}}
    assert orchestrator.get_metrics()["redundant_conflicts"] == 1


@pytest.mark.native
async def test_consensus_completes_where_both_agree(orchestrator: TandemOrchestrator) -> None:
    result = await orchestrator.execute_command_set(await made(CONSENSUS, echo([1, 2])))
    assert (result["status"], result["consensus_achieved"]) == ("completed", True)


async def test_consensus_fails_naming_what_differs_where_they_never_agree(
    orchestrator: TandemOrchestrator,
) -> None:
    asked = await made(CONSENSUS, offer_twins(orchestrator, differ=True))
    result = await orchestrator.execute_command_set(asked)

    assert (result["status"], result["consensus_achieved"]) == ("failed", False)
    assert result["conflicts"][0]["fields"] == [{"path": "/cents", "left": 1250, "right": 1251}]
    assert "/cents" in result["error"]


@pytest.mark.native
async def test_speed_critical_runs_in_c_and_nothing_in_python(
    orchestrator: TandemOrchestrator,
) -> None:
    asked = await made(SPEED_CRITICAL, echo(), echo([2]))
    result = await orchestrator.execute_command_set(asked)

    assert {row["layer"] for row in result["steps"].values()} == {"c"}
    metrics = orchestrator.get_metrics()
    assert (metrics["python_msgs_processed"], metrics["c_msgs_processed"]) == (0, 2)


@pytest.mark.parametrize("installed", [True, False])
async def test_python_only_looks_for_its_libraries_first(
    orchestrator: TandemOrchestrator,
    installed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])  # no library is there but these
    if installed:
        for name in ("pandas", "torch"):
            (tmp_path / f"{name}.py").touch()
    asked = await made(PYTHON_ONLY, echo())
    if installed:
        result = await orchestrator.execute_command_set(asked)
        assert result["steps"]["s1"]["layer"] == "python"
        return
    with pytest.raises(InvalidCommandSet) as refused:
        await orchestrator.execute_command_set(asked)
    assert [(fault.code, fault.value) for fault in refused.value.faults] == [
        ("missing_library", "pandas"),
        ("missing_library", "torch"),
    ]


@pytest.mark.parametrize("text", [REDUNDANT, CONSENSUS, SPEED_CRITICAL, PYTHON_ONLY])
async def test_a_set_without_steps_as_the_document_writes_it_can_be_made_and_is_refused_as_empty(
    orchestrator: TandemOrchestrator, text: str
) -> None:
    with pytest.raises(InvalidCommandSet) as refused:
        await orchestrator.execute_command_set(await made(text))
    assert "empty" in {fault.code for fault in refused.value.faults}


async def test_my_workflow_is_executed_as_the_reference_says(
    orchestrator: TandemOrchestrator,
) -> None:
    names = {"orchestrator": orchestrator}
    names["my_workflow"] = orchestrator.create_command_set("mine", steps=[echo()])
    await follow(EXECUTE, names)
    result: Any = names["result"]
    assert (result["status"], result["mode"]) == ("completed", "intelligent")


# --- custom execution modes --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ADAPTIVE", "LEARNING"])
async def test_the_documents_custom_modes_run(orchestrator: TandemOrchestrator, name: str) -> None:
    names = public_names()
    await follow(CUSTOM_MODES, names)
    mode = getattr(names["CustomExecutionMode"], name)
    assert mode is ExecutionMode(name.lower())
    assert isinstance(mode, ExecutionMode)

    asked = orchestrator.create_command_set("mine", mode=mode, steps=[echo()])
    result = await orchestrator.execute_command_set(asked)

    assert (result["status"], result["mode"]) == ("completed", name.lower())
    assert result["results"] == {"s1": "hello"}
    assert orchestrator.get_metrics()["execution_stats"][name.lower()]["runs"] == 1


async def test_a_custom_mode_of_ones_own_runs_by_the_policy_it_is_given(
    orchestrator: TandemOrchestrator,
) -> None:
    names = public_names()
    await follow(CUSTOM_MODES + '    THIRD = "third_of_the_document"\n', names)
    third = names["CustomExecutionMode"].THIRD
    orchestrator.register_mode(third, Policy(implementations=("python",)))
    asked = orchestrator.create_command_set("mine", mode=third, steps=[echo()])
    result = await orchestrator.execute_command_set(asked)
    assert (result["status"], result["steps"]["s1"]["layer"]) == ("completed", "python")


# --- plugins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["the document's", "ours"])
async def test_a_plugin_as_the_document_writes_it_is_told_of_start_and_end(
    orchestrator: TandemOrchestrator, base: str
) -> None:
    names = public_names() | {"orchestrator": orchestrator}
    if base == "the document's":
        await follow(PLUGIN, names)
        assert names["TandemPlugin"] is not tandem_orchestrator.TandemPlugin
    told: list[Any] = []

    class MyCustomPlugin(names["TandemPlugin"]):  # type: ignore[misc]
        async def on_command_start(self, command_set: Any) -> None:
            told.append(("start", command_set.name))

        async def on_command_complete(self, command_set: Any, result: Any) -> None:
            told.append(("complete", command_set.name, result["results"]))

    names["MyCustomPlugin"] = MyCustomPlugin
    await follow(REGISTER, names)
    await orchestrator.execute_command_set(
        orchestrator.create_command_set("mine", mode="python_only", steps=[echo()])
    )

    assert told == [("start", "mine"), ("complete", "mine", {"s1": "hello"})]


# --- tuning, metrics, debugging ----------------------------------------------------------------------


async def test_tuning_as_the_document_writes_it_changes_the_settings() -> None:
    tandem = TandemOrchestrator()
    before = tandem.settings
    await follow(TUNING, {"orchestrator": tandem})

    assert tandem.settings.hardware.numa_aware
    assert tandem.settings.c_layer.use_huge_pages
    assert tandem.settings.orchestrator.sync_interval_ms == 0
    assert tandem.settings.orchestrator.max_parallel_workflows > (
        before.orchestrator.max_parallel_workflows
    )
    async with tandem:  # with such settings it runs
        result = await tandem.execute_command_set(
            tandem.create_command_set("tuned", steps=[echo()])
        )
    assert result["status"] == "completed"


def test_metrics_have_each_key_of_the_document_before_anything_ran() -> None:
    metrics = TandemOrchestrator().get_metrics()
    for key, kind in METRICS.items():
        assert type(metrics[key]) is kind, key
    assert metrics["execution_stats"] == {}
    assert (metrics["avg_python_latency"], metrics["avg_c_latency"]) == (0.0, 0.0)


def test_debug_logging_is_switched_on_by_both_ways_of_the_document() -> None:
    program = (
        "import asyncio, logging, os\n"
        "from tandem_orchestrator import TandemOrchestrator\n"
        "async def main():\n"
        "    async with TandemOrchestrator({'c_layer': {'enabled': False}}):\n"
        "        log = logging.getLogger('tandem_orchestrator')\n"
        "        print(log.isEnabledFor(logging.DEBUG))\n"
        "asyncio.run(main())\n"
    )

    def shown(lines: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", lines + program],
            env={**os.environ, "TANDEM_JOURNAL": ":memory:", **environment},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    assert shown("") == "False"
    assert shown(DEBUG) == "True"
    assert shown("", TANDEM_DEBUG="true") == "True"
