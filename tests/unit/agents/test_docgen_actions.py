"""The actions of docgen, called as a runner calls them."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tandem_orchestrator import Agent
from tandem_orchestrator.agents.docgen import actions


def context(cancelled=False, **inputs):
    heard = []
    return SimpleNamespace(
        inputs=inputs, run_id="r", cancelled=lambda: cancelled, heard=heard,
        progress=lambda done, total: heard.append((done, total)),
    )  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text('"""Module a."""\n')
    (tmp_path / "src" / "b.py").write_text("import a\n")
    return tmp_path / "src"


def test_the_three_actions_feed_each_other_by_their_inputs_alone(tree, tmp_path):
    scan = actions.scan_codebase({"path": str(tree), "extensions": [".py"]}, context())
    ctx = context(ui_setup={"layout": "split_pane"}, scan=scan)
    analysis = actions.analyze_structure({"use_ai": True, "depth": "comprehensive"}, ctx)
    payload = {"format": "markdown", "include_examples": True, "output": str(tmp_path / "docs")}
    result = actions.generate_docs(payload, context(analyze=analysis))

    assert ctx.heard[0] == (0, 2)
    assert ctx.heard[-1] == (2, 2)
    assert (tmp_path / "docs" / "index.md").is_file()
    # Two modules, one folder, index and imports; nothing is used by name, so no page of names.
    assert result["pages"] == 5


def test_pages_go_to_the_working_directory_and_the_result_says_so(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    analysis = actions.analyze_structure({"path": str(tree)}, context())

    result = actions.generate_docs({}, context(analyze=analysis))

    assert result["directory"] == str(tmp_path / "tandem-docs")
    assert result["index"] == str(tmp_path / "tandem-docs" / "index.md")


def test_a_second_run_over_a_tree_with_its_own_pages_gives_the_same_pages(tree):
    def run():
        scan = actions.scan_codebase({"path": str(tree)}, context())
        analysis = actions.analyze_structure({}, context(scan=scan))
        return actions.generate_docs({"output": f"{tree}/docs/api"}, context(analyze=analysis))

    first, second = run(), run()

    assert second["pages"] == second["unchanged"] == first["pages"]


@pytest.mark.parametrize("action", ["analyze_structure", "generate_docs"])
def test_an_action_that_is_asked_to_stop_stops(tree, tmp_path, action):
    analysis = actions.analyze_structure({"path": str(tree)}, context())
    payload = {"path": str(tree)} if action == "analyze_structure" else {"output": f"{tmp_path}/o"}

    with pytest.raises(actions.Cancelled, match="stopped after 0 of"):
        getattr(actions, action)(payload, context(cancelled=True, analyze=analysis))
    assert not (tmp_path / "o").exists()


def test_the_actions_declare_what_they_do_to_the_world():
    entries = {action.name: action for action in actions.agent.catalogue_entries()}

    assert {name: entry.effects for name, entry in entries.items()} == {
        "scan_codebase": "none", "analyze_structure": "none", "generate_docs": "idempotent",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["system", "docgen", "tui"])
def test_each_room_hands_on_an_agent_of_its_name(name):
    agent = importlib.import_module(f"tandem_orchestrator.agents.{name}").agent

    assert isinstance(agent, Agent)
    assert agent.name == name
    assert agent.actions


def test_agents_import_nothing_heavy():
    program = (
        "import sys, tandem_orchestrator\nbefore = set(sys.modules)\n"
        "from tandem_orchestrator.agents import docgen, system, tui\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    heavy = {"tree_sitter", "tree_sitter_c", "textual", "rich", "markdown_it", "pathspec"}
    assert not heavy & set(result.stdout.strip("[]\n").replace("'", "").split(", "))
