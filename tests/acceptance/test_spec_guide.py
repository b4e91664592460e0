"""SPEC.md's Integration Guide, steps 1 to 3, exactly as written apart from paths.

The guide's own lines are kept as text and executed, so that no formatter and no import sorter can
make them easier than what a reader types.
"""

import ast
import asyncio
import inspect
from typing import Any

import pytest

from tandem_orchestrator import TandemOrchestrator

STEP_1 = """
import sys
sys.path.append('{path}')

from tandem_orchestrator import (
    TandemOrchestrator,
    CommandSet,
    CommandStep,
    CommandType,
    ExecutionMode,
    Priority
)

# Initialize orchestrator
orchestrator = TandemOrchestrator()
await orchestrator.initialize()
"""

STEP_2 = """
# Simple workflow
simple_workflow = CommandSet(
    name="Simple Task",
    mode=ExecutionMode.INTELLIGENT,
    steps=[
        CommandStep(
            agent="tui",
            action="display",
            payload={"message": "Hello World"}
        )
    ]
)

# Complex workflow with dependencies
complex_workflow = CommandSet(
    name="Complex Pipeline",
    mode=ExecutionMode.INTELLIGENT,
    steps=[
        CommandStep(id="s1", agent="director", action="plan"),
        CommandStep(id="s2", agent="architect", action="design"),
        CommandStep(id="s3", agent="constructor", action="build"),
        CommandStep(id="s4", agent="tester", action="test")
    ],
    dependencies={
        "s2": ["s1"],  # s2 depends on s1
        "s3": ["s2"],  # s3 depends on s2
        "s4": ["s3"]   # s4 depends on s3
    }
)
"""

STEP_3 = """
# Execute workflow
result = await orchestrator.execute_command_set(simple_workflow)

# Check results
if result.get("status") == "completed":
    print(f"Success: {result['results']}")
else:
    print(f"Failed: {result.get('error')}")

# Get metrics
metrics = orchestrator.get_metrics()
print(f"Performance: {metrics}")
"""

DIRECT_INTEGRATION = """
# Agent registers itself with orchestrator
orchestrator.register_agent("my_agent", capabilities=["process", "analyze"])
"""

AUTO_INTEGRATION = """
from auto_integrate import integrate_with_claude_agent_system
agent = integrate_with_claude_agent_system("my_agent")
"""

METRICS = {
    "python_msgs_processed",
    "c_msgs_processed",
    "redundant_agreements",
    "redundant_conflicts",
    "avg_python_latency",
    "avg_c_latency",
    "execution_stats",
    "c_layer",  # beyond the guide's: the bridge's counters
    "cache",  # and what the cache of outputs was good for
    "plugins",  # and the calls of hooks
    "journal",  # and what its large outputs take
}


async def follow(text: str, names: dict[str, Any]) -> None:
    """Execute lines of the guide, in which ``await`` stands outside of any function."""
    code = compile(text, "SPEC.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(code, names)
    if inspect.isawaitable(waiting):
        await waiting


@pytest.fixture
async def guide(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Names after steps 1 and 2 of the guide."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {}
    await follow(STEP_1.replace("{path}", str(tmp_path)), names)
    await follow(STEP_2, names)
    yield names
    await names["orchestrator"].close()


async def test_the_simple_workflow_succeeds_as_the_guide_prints_it(
    guide: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    await follow(STEP_3, guide)

    shown = capsys.readouterr()
    assert guide["result"]["status"] == "completed"
    assert "Hello World" in shown.err
    assert "Success: {'s1': " in shown.out
    assert "Performance: {'python_msgs_processed': 1" in shown.out
    assert set(guide["metrics"]) == METRICS
    assert guide["metrics"]["execution_stats"]["intelligent"]["completed"] == 1


async def test_the_complex_workflow_runs_its_four_agents_in_order(guide: dict[str, Any]) -> None:
    order: list[str] = []
    for agent, action in (
        ("director", "plan"),
        ("architect", "design"),
        ("constructor", "build"),
        ("tester", "test"),
    ):

        @guide["orchestrator"].register_agent(agent).action(action)
        async def work(payload: Any, ctx: Any, agent: str = agent) -> dict[str, Any]:
            order.append(agent)
            return {"by": agent, "after": sorted(ctx.inputs)}

    result = await guide["orchestrator"].execute_command_set(guide["complex_workflow"])

    assert result["status"] == "completed"
    assert order == ["director", "architect", "constructor", "tester"]
    assert result["results"]["s1"] == {"by": "director", "after": []}
    assert result["results"]["s4"] == {"by": "tester", "after": ["s3"]}


async def test_the_complex_workflow_without_its_agents_is_refused_naming_each(
    guide: dict[str, Any],
) -> None:
    from tandem_orchestrator import InvalidCommandSet

    with pytest.raises(InvalidCommandSet) as refused:
        await guide["orchestrator"].execute_command_set(guide["complex_workflow"])

    assert [(fault.code, fault.value) for fault in refused.value.faults] == [
        ("unknown_agent", name) for name in ("director", "architect", "constructor", "tester")
    ]
    assert await guide["orchestrator"].runs() == []


async def test_a_capability_without_a_handler_is_an_error_when_called(
    guide: dict[str, Any],
) -> None:
    from tandem_orchestrator import CommandSet, CommandStep, InvalidCommandSet

    await follow(DIRECT_INTEGRATION, guide)
    asked = CommandSet(steps=[CommandStep(agent="my_agent", action="analyze")])

    with pytest.raises(InvalidCommandSet, match="announces 'analyze' and has no handler"):
        await guide["orchestrator"].execute_command_set(asked)


async def test_an_agent_made_by_auto_integration_is_known_to_later_orchestrators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tandem_orchestrator import CommandSet, CommandStep
    from tandem_orchestrator.layers.python import offered

    monkeypatch.setattr(offered, "_agents", {})  # what is offered lasts as long as the process
    names: dict[str, Any] = {}
    await follow(AUTO_INTEGRATION, names)

    @names["agent"].action("greet")
    async def greet(payload: dict[str, str]) -> str:
        return f"hello {payload['name']}"

    asked = CommandSet(
        steps=[CommandStep(agent="my_agent", action="greet", payload={"name": "you"})]
    )
    config = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}
    async with TandemOrchestrator(config) as tandem:
        result = await tandem.execute_command_set(asked)

    assert result["results"] == {"s1": "hello you"}


async def test_health_can_be_asked_before_initialize_as_in_the_guide() -> None:
    orchestrator = TandemOrchestrator()

    python_health = await orchestrator.python_orchestrator.health_check()
    metrics = orchestrator.get_metrics()

    assert python_health
    assert set(metrics) == METRICS
    assert metrics["avg_python_latency"] == metrics["avg_c_latency"] == 0.0


@pytest.mark.native
async def test_the_bridge_answers_a_connection_test_before_initialize() -> None:
    orchestrator = TandemOrchestrator()

    c_health = await asyncio.to_thread(orchestrator.binary_bridge.test_connection)

    assert c_health, c_health.reason


async def test_a_connection_test_with_no_bridge_behind_the_socket_is_falsy_with_a_reason(
    tmp_path: Any,
) -> None:
    orchestrator = TandemOrchestrator({"c_layer": {"socket": str(tmp_path / "nobody")}})

    c_health = await asyncio.to_thread(orchestrator.binary_bridge.test_connection, 0.2)

    assert not c_health
    assert c_health.reason


async def test_create_command_set_takes_what_the_reference_says() -> None:
    from tandem_orchestrator import CommandStep, CommandType, ExecutionMode

    orchestrator = TandemOrchestrator()
    step = CommandStep(agent="system", action="noop")

    made = orchestrator.create_command_set("mine", steps=[step])

    assert (made.name, made.type, made.mode) == (
        "mine",
        CommandType.WORKFLOW,
        ExecutionMode.INTELLIGENT,
    )
    assert made.steps == [step]
