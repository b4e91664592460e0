"""The registry: a name is one agent, and a broken package hurts nobody else."""

from pathlib import Path

import pytest

from tandem_orchestrator import Agent, CommandError, ConfigError
from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.layers.python import PythonLayer, PythonLimits, Registry, registry

GROUP = "tandem.agents.for-a-test"


def test_a_name_registered_twice_is_one_agent_with_both_lists() -> None:
    agents = Registry()

    first = agents.register("a", ["fly"], None)
    second = agents.register("a", ["swim"], 3)

    assert first is second
    assert (first.capabilities, first.max_concurrency) == (("fly", "swim"), 3)
    assert agents.register("a", [], None).max_concurrency == 3
    assert list(agents.agents) == [first]


def test_a_name_or_a_bound_that_cannot_be_used_changes_nothing() -> None:
    agents = Registry()
    known = agents.register("a", ["fly"], 2)

    for name, capabilities, bound in (("a b", [], None), ("a", ["s w"], None), ("a", [], 0)):
        with pytest.raises(CommandError):
            agents.register(name, capabilities, bound)

    assert (known.capabilities, known.max_concurrency) == (("fly",), 2)
    assert list(agents.agents) == [known]


def test_an_agent_built_elsewhere_joins_the_one_that_is_here() -> None:
    agents = Registry()
    here, there = Agent("a"), Agent("a")
    here.action("do")(lambda payload: "here")
    there.action("do")(lambda payload: "there")
    there.action("more")(lambda payload: "more")

    assert agents.add(here) is here
    assert agents.add(here) is here
    assert agents.add(there) is here
    found = agents.find("a", "do", "python")
    assert found is not None and found[2].handler(None) == "here"
    assert agents.find("a", "more", "python") is not None


def test_what_is_not_there_is_not_found() -> None:
    agents = Registry()
    agents.register("a", ["announced"], None).action("do")(lambda payload: 1)

    for name in (("b", "do", "python"), ("a", "don't", "python"), ("a", "do", "c")):
        assert agents.find(*name) is None
    assert agents.find("a", "announced", "python") is None


def test_the_version_changes_with_everything_that_is_added() -> None:
    agents, versions = Registry(), []

    def note() -> None:
        versions.append(agents.version)

    note()
    agent = agents.register("a", [], None)
    note()
    handle = agent.action("do")(lambda payload: 1)
    note()
    handle.twin("other")(lambda payload: 2)
    note()
    agents.register("a", ["fly"], None)
    note()
    agents.register("b", [], None)
    note()

    assert versions == sorted(set(versions))


def test_the_number_of_agents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "AGENTS_MAX", 2)
    agents = Registry()
    agents.register("a", [], None)
    agents.register("b", [], None)

    with pytest.raises(ConfigError, match="agent 'c': 2 agents are registered already"):
        agents.register("c", [], None)
    assert agents.register("a", ["fly"], None).capabilities == ("fly",)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package that offers good agents and all kinds of bad ones."""
    info = tmp_path / "offering-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\n"
        "good = offering_good:agent\n"
        "absent = offering_absent:agent\n"
        "nameless = offering_good:missing\n"
        "raises = offering_raises:agent\n"
        "exits = offering_exits:agent\n"
        "other = offering_good:no_agent\n"
        "zuletzt = offering_good:last\n"
    )
    (tmp_path / "offering_good.py").write_text(
        "from tandem_orchestrator import Agent\n"
        "agent, last, no_agent = Agent('good', ['fly']), Agent('last'), {'name': 'other'}\n"
    )
    (tmp_path / "offering_raises.py").write_text("1 / 0\n")
    (tmp_path / "offering_exits.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("package")
async def test_a_broken_entry_point_is_listed_with_its_reason_and_hurts_nobody() -> None:
    agents = Registry()

    agents.add_offered(GROUP)

    assert [agent.name for agent in agents.agents] == ["good", "last"]
    assert agents.broken == {
        "absent": "offering_absent:agent: ModuleNotFoundError: No module named 'offering_absent'",
        "nameless": "offering_good:missing: AttributeError: "
        "module 'offering_good' has no attribute 'missing'",
        "raises": "offering_raises:agent: ZeroDivisionError: division by zero",
        "exits": "offering_exits:agent: SystemExit: 3",
        "other": "offering_good:no_agent is dict, expected an Agent",
    }
    health = PythonLayer(agents, SystemClock(), PythonLimits()).health()
    assert health.healthy
    assert "entry point raises: offering_raises:agent: ZeroDivisionError" in health.reason


@pytest.mark.usefixtures("package")
def test_the_users_own_agent_wins_over_one_that_a_package_offers() -> None:
    agents = Registry()
    mine = agents.register("good", ["swim"], None)

    agents.add_offered(GROUP)

    assert next(iter(agents.agents)) is mine
    assert mine.capabilities == ("swim", "fly")
