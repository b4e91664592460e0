"""SPEC.md's examples and execution modes, as a user would run them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    ExecutionMode,
    InvalidCommandSet,
    LayerUnavailable,
    Priority,
    TandemOrchestrator,
)

EXAMPLE_1 = '''
import asyncio, json
from tandem_orchestrator import *

async def interactive_documentation():
    """Interactive documentation generation with TUI"""

    orchestrator = TandemOrchestrator()
    await orchestrator.initialize()

    # Create workflow
    workflow = CommandSet(
        name="Interactive Documentation",
        mode=ExecutionMode.INTELLIGENT,
        priority=Priority.HIGH,
        steps=[
            # Python: Complex UI logic
            CommandStep(
                id="ui_setup",
                agent="tui",
                action="create_interface",
                payload={
                    "layout": "split_pane",
                    "theme": "dark"
                }
            ),
            # C: Fast file scanning
            CommandStep(
                id="scan",
                agent="docgen",
                action="scan_codebase",
                payload={
                    "path": "{path}",
                    "extensions": [".py", ".c", ".md"]
                }
            ),
            # Python: AI-powered analysis
            CommandStep(
                id="analyze",
                agent="docgen",
                action="analyze_structure",
                payload={
                    "use_ai": True,
                    "depth": "comprehensive"
                }
            ),
            # C: Fast generation
            CommandStep(
                id="generate",
                agent="docgen",
                action="generate_docs",
                payload={
                    "format": "markdown",
                    "include_examples": True
                }
            ),
            # Python: Interactive display
            CommandStep(
                id="display",
                agent="tui",
                action="display_results",
                payload={
                    "interactive": True,
                    "allow_editing": True
                }
            )
        ],
        dependencies={
            "scan": ["ui_setup"],
            "analyze": ["scan"],
            "generate": ["analyze"],
            "display": ["generate"]
        }
    )

    # Execute
    result = await orchestrator.execute_command_set(workflow)
    return result

print(json.dumps(asyncio.run(interactive_documentation())))
'''


@pytest.mark.native
def test_example_1_documents_a_tree_and_leaves_no_process_although_it_never_closes(
    tmp_path: Path, own_home: Path
) -> None:
    tree = tmp_path / "agents"
    tree.mkdir()
    (tree / "brain.py").write_text('"""Think."""\n\n\ndef think() -> int:\n    """Answer."""\n')
    (tree / "muscle.c").write_text("/* Lift. */\nint lift(void) { return 42; }\n")
    (tree / "image.png").write_bytes(b"\x89PNG")
    script = tmp_path / "example_1.py"
    script.write_text(EXAMPLE_1.replace("{path}", str(tree)))

    done = subprocess.run(
        [sys.executable, "-P", str(script)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "completed", result
    assert result["error"] is None
    assert list(result["steps"]) == ["ui_setup", "scan", "analyze", "generate", "display"]
    assert result["steps"]["scan"]["layer"] == "c"
    assert [entry["path"] for entry in result["results"]["scan"]["files"]] == [
        "brain.py",
        "muscle.c",
    ]
    assert {"python", "c"} >= {step["layer"] for step in result["steps"].values()}
    pages = list((tmp_path / "tandem-docs").rglob("*.md"))
    assert any("Think." in page.read_text() for page in pages)
    assert not list((own_home / "run").rglob("*.sock*"))


# --- modes ---------------------------------------------------------------------------------------


@pytest.fixture
async def both() -> Any:
    """An orchestrator with both layers."""
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as made:
        yield made


def echo(mode: ExecutionMode, **fields: Any) -> CommandSet:
    """Ask for one echo."""
    step = CommandStep(agent="system", action="echo", payload={"x": [1, 2.5, None, b"\0"]})
    return CommandSet(mode=mode, steps=[step], **fields)


@pytest.mark.native
@pytest.mark.parametrize("mode", [ExecutionMode.REDUNDANT, ExecutionMode.CONSENSUS])
async def test_both_layers_run_an_echo_and_agree(both: Any, mode: ExecutionMode) -> None:
    result = await both.execute_command_set(echo(mode, priority=Priority.CRITICAL))

    assert result["status"] == "completed"
    assert result["consensus_achieved"] is True
    assert result["conflicts"] == []
    assert result["results"] == {"s1": {"x": [1, 2.5, None, b"\0"]}}
    metrics = both.get_metrics()
    assert (metrics["python_msgs_processed"], metrics["c_msgs_processed"]) == (1, 1)
    assert (metrics["redundant_agreements"], metrics["redundant_conflicts"]) == (1, 0)


@pytest.mark.native
async def test_speed_critical_runs_in_c_alone(both: Any) -> None:
    result = await both.execute_command_set(echo(ExecutionMode.SPEED_CRITICAL, c_optimized=True))

    assert result["status"] == "completed"
    assert result["steps"]["s1"]["layer"] == "c"
    assert result["durability"] == "async"
    assert "consensus_achieved" not in result
    assert both.get_metrics()["python_msgs_processed"] == 0
    assert both.get_metrics()["avg_c_latency"] > 0


@pytest.mark.native
async def test_speed_critical_with_a_step_that_has_no_c_is_refused_as_no_native(both: Any) -> None:
    asked = CommandSet(
        mode=ExecutionMode.SPEED_CRITICAL,
        steps=[CommandStep(agent="tui", action="display", payload={"message": "no"})],
    )

    with pytest.raises(InvalidCommandSet, match=r"tui\.display has no c implementation") as refused:
        await both.execute_command_set(asked)

    assert [fault.code for fault in refused.value.faults] == ["no_native"]


@pytest.mark.parametrize(
    "mode", [ExecutionMode.SPEED_CRITICAL, ExecutionMode.REDUNDANT, ExecutionMode.CONSENSUS]
)
async def test_modes_that_need_c_are_refused_while_it_is_away(
    tandem: TandemOrchestrator, mode: ExecutionMode
) -> None:
    with pytest.raises(LayerUnavailable, match="needs the c layer, which is away: switched off"):
        await tandem.execute_command_set(echo(mode))

    assert await tandem.runs() == []


async def test_intelligent_completes_in_python_while_c_is_away_and_says_so(
    tandem: TandemOrchestrator,
) -> None:
    result = await tandem.execute_command_set(echo(ExecutionMode.INTELLIGENT))

    assert result["status"] == "completed"
    assert result["steps"]["s1"]["layer"] == "python"
    assert "the C layer is away" in result["steps"]["s1"]["reason"]
    assert any("the C layer is away" in note for note in result["notes"])


async def test_two_python_twins_that_differ_are_shown_and_the_first_is_taken(
    tandem: TandemOrchestrator,
) -> None:
    agent = tandem.register_agent("quotes")

    @agent.action("rate", effects="none")
    async def rate(payload: Any) -> Any:
        return {"price": 1.0, "currency": "EUR"}

    @rate.twin("v2")
    async def rate_v2(payload: Any) -> Any:
        return {"price": 1.5, "currency": "EUR"}

    asked = CommandSet(mode="redundant", steps=[CommandStep(agent="quotes", action="rate")])
    result = await tandem.execute_command_set(asked)

    assert result["status"] == "completed"
    assert result["consensus_achieved"] is False
    assert result["results"]["s1"]["price"] == 1.0
    [conflict] = result["conflicts"]
    assert set(conflict) >= {"id", "step", "item", "implementations", "fields"}
    assert set(conflict) >= {"resolution", "winner"}
    assert conflict["implementations"] == ["python", "v2"]
    assert conflict["fields"] == [{"path": "/price", "left": 1.0, "right": 1.5}]
    assert (conflict["resolution"], conflict["winner"]) == ("python_preferred", "python")


async def test_critical_twins_that_differ_have_no_winner_and_the_output_is_pythons(
    tandem: TandemOrchestrator,
) -> None:
    agent = tandem.register_agent("quotes")

    @agent.action("rate", effects="none")
    async def rate(payload: Any) -> Any:
        return 1

    @rate.twin("v2")
    async def rate_v2(payload: Any) -> Any:
        return 2

    asked = CommandSet(
        mode="redundant",
        priority="critical",
        steps=[CommandStep(agent="quotes", action="rate")],
    )
    result = await tandem.execute_command_set(asked)

    assert (result["status"], result["results"]) == ("completed", {"s1": 1})
    assert result["consensus_achieved"] is False
    assert result["conflicts"][0]["winner"] is None


async def test_consensus_that_is_not_reached_fails_naming_every_part_that_differs(
    tandem: TandemOrchestrator,
) -> None:
    agent = tandem.register_agent("quotes")
    calls = []

    @agent.action("rate", effects="none")
    async def rate(payload: Any) -> Any:
        calls.append("python")
        return {"a": 1, "b": [1, 2], "c": 3}

    @rate.twin("v2")
    async def rate_v2(payload: Any) -> Any:
        calls.append("v2")
        return {"a": 2, "b": [1, 3], "c": 3}

    asked = CommandSet(mode="consensus", steps=[CommandStep(agent="quotes", action="rate")])
    result = await tandem.execute_command_set(asked)

    assert result["status"] == "failed"
    assert result["consensus_achieved"] is False
    assert "/a" in result["error"] and "/b/1" in result["error"]
    assert calls.count("python") == calls.count("v2") == 1 + 3  # consensus_retries


# --- Example 3 -----------------------------------------------------------------------------------


@pytest.fixture
def fake_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small stand-ins for torch and transformers that can be imported."""
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "transformers.py").write_text(
        "class AutoModel:\n"
        "    @classmethod\n"
        "    def from_pretrained(cls, name):\n"
        "        return lambda text: {'model': name, 'words': len(text.split())}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("torch", "transformers"):
        monkeypatch.delitem(sys.modules, name, raising=False)


async def ml_handler(command_set):
    import torch  # noqa: F401
    import transformers

    # Load model
    model = transformers.AutoModel.from_pretrained("bert-base-uncased")

    # Process data
    results = []
    for step in command_set.steps:
        if step.action == "inference":
            output = model(step.payload["input"])
            results.append(output)

    return {"predictions": results}


def ml_workflow() -> CommandSet:
    """SPEC.md's Example 3."""
    return CommandSet(
        name="ML Inference Pipeline",
        mode=ExecutionMode.PYTHON_ONLY,
        requires_libraries=["torch", "transformers"],
        python_handler=ml_handler,
        steps=[
            CommandStep(
                action="inference",
                payload={"input": "Sample text for classification"},
            )
        ],
    )


async def test_example_3_gives_what_its_python_handler_returns(
    tandem: TandemOrchestrator, fake_libraries: None
) -> None:
    result = await tandem.execute_command_set(ml_workflow())

    assert result["status"] == "completed"
    assert result["results"] == {"predictions": [{"model": "bert-base-uncased", "words": 4}]}
    for name in ("torch", "transformers"):
        sys.modules.pop(name, None)


async def test_example_3_without_its_libraries_names_each_and_calls_nothing(
    tandem: TandemOrchestrator,
) -> None:
    asked = ml_workflow()
    asked.requires_libraries = ["no_such_torch", "json", "no_such.transformers"]
    called = []
    asked.python_handler = lambda command_set: called.append(command_set)

    with pytest.raises(InvalidCommandSet) as refused:
        await tandem.execute_command_set(asked)

    assert [(fault.code, fault.path, fault.value) for fault in refused.value.faults] == [
        ("missing_library", "requires_libraries[0]", "no_such_torch"),
        ("missing_library", "requires_libraries[2]", "no_such.transformers"),
    ]
    assert called == []


async def test_a_python_handler_that_raises_fails_the_run_with_its_error(
    tandem: TandemOrchestrator,
) -> None:
    def handler(command_set: CommandSet) -> None:
        raise LookupError("no model")

    result = await tandem.execute_command_set(CommandSet(python_handler=handler))

    assert result["status"] == "failed"
    assert result["error_detail"]["type"] == "LookupError"
    assert "no model" in result["error"]
    assert "in handler" in result["error_detail"]["traceback"]
