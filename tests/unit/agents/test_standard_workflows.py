"""The workflows that come with Tandem."""

import dataclasses

import pytest

from tandem_orchestrator.errors import CommandError, InvalidCommandSet
from tandem_orchestrator.workflows import WORKFLOWS, StandardWorkflows, make_workflow


def test_document_generation_is_the_first_example_of_the_specification(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    workflow = StandardWorkflows.create_document_generation_workflow()

    assert [(step.id, step.agent, step.action) for step in workflow.steps] == [
        ("ui_setup", "tui", "create_interface"),
        ("scan", "docgen", "scan_codebase"),
        ("analyze", "docgen", "analyze_structure"),
        ("generate", "docgen", "generate_docs"),
        ("display", "tui", "display_results"),
    ]
    assert workflow.dependencies == {
        "scan": ["ui_setup"],
        "analyze": ["scan"],
        "generate": ["analyze"],
        "display": ["generate"],
    }
    assert (workflow.name, str(workflow.mode)) == ("document_generation", "intelligent")


def test_paths_are_made_absolute_where_the_workflow_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    payloads = {
        step.id: step.payload
        for step in StandardWorkflows.create_document_generation_workflow("src/../lib").steps
    }
    elsewhere = StandardWorkflows.create_document_generation_workflow("/a", "b/c").steps

    assert payloads["scan"]["path"] == f"{tmp_path}/lib"
    assert payloads["generate"]["output"] == f"{tmp_path}/tandem-docs"
    assert elsewhere[1].payload["path"] == "/a"
    assert elsewhere[3].payload["output"] == f"{tmp_path}/b/c"


def test_arguments_reach_their_steps():
    workflow = StandardWorkflows.create_document_generation_workflow(
        "/a", extensions=(".c",), interactive=True, allow_editing=True, include_examples=False
    )
    payloads = {step.id: step.payload for step in workflow.steps}

    assert payloads["scan"]["extensions"] == [".c"]
    assert payloads["display"] == {"interactive": True, "allow_editing": True}
    assert payloads["generate"]["include_examples"] is False


def test_each_call_makes_a_workflow_of_its_own():
    first, second = make_workflow("document_generation"), make_workflow("document_generation")

    first.steps[1].payload["extensions"].append(".x")

    assert ".x" not in second.steps[1].payload["extensions"]
    assert dataclasses.replace(first, id="", steps=[]) == dataclasses.replace(
        second, id="", steps=[]
    )


def test_every_workflow_of_the_table_bears_its_name():
    assert {name: make_workflow(name).name for name in WORKFLOWS} == {
        name: name for name in WORKFLOWS
    }


def test_an_unknown_workflow_is_refused_with_the_nearest_name():
    with pytest.raises(
        CommandError, match=r"'document_generator' .*did you mean document_generation"
    ):
        make_workflow("document_generator")
    with pytest.raises(CommandError, match="there are document_generation"):
        make_workflow("zzz")


def test_every_wrong_input_is_reported_at_once():
    inputs = {"paht": "/x", "interactive": "yes", "extensions": ".py", "output": None, "path": 3}

    with pytest.raises(InvalidCommandSet) as caught:
        make_workflow("document_generation", inputs)

    assert [(fault.path, fault.code, fault.nearest) for fault in caught.value.faults] == [
        ("inputs.paht", "bad_reference", ("path",)),
        ("inputs.interactive", "bad_type", ()),
        ("inputs.extensions", "bad_type", ()),
        ("inputs.path", "bad_type", ()),
    ]
