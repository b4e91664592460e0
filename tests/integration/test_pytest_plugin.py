"""The pytest plugin, as a project uses it: each test below runs pytest in a process of its own."""

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import tandem_orchestrator
from tandem_orchestrator.twins import make_capsule
from tandem_orchestrator.twins.capsule_file import capsule_to_text

pytest_plugins = "pytester"

SOURCES = str(Path(tandem_orchestrator.__file__).parents[1])
MONEY = """
from decimal import ROUND_HALF_UP, Decimal
from tandem_orchestrator import Agent

agent = Agent("money")


@agent.action("round", effects="none")
def round_(payload):
    return float(Decimal(repr(payload["v"])).quantize(Decimal("0.01"), ROUND_HALF_UP))


@round_.twin("quick")
def quick(payload):
    return round(payload["v"] * 100) / 100


@agent.action("late", effects="none")
async def late(payload, ctx):
    return payload["n"] * ctx.inputs.get("factor", 1)


@late.twin("later")
async def later(payload, ctx):
    return payload["n"] * ctx.inputs.get("factor", 1) + (payload["n"] == 7)


@agent.action("sent", effects="external")
def sent(payload):
    return 1


@sent.twin("other")
def sent_other(payload):
    return 2


@agent.action("alone", effects="none")
def alone(payload):
    return 1
"""


@pytest.fixture
def project(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> pytest.Pytester:
    """A project with agents whose twins differ on some inputs."""
    pytester.makepyfile(money=MONEY)
    pytester.makeini("[pytest]\nasyncio_mode = auto\npythonpath = .\n")
    path = [SOURCES, os.environ.get("PYTHONPATH", "")]
    if "tandem" not in {point.name for point in entry_points(group="pytest11")}:
        path.insert(0, installed_beside(tmp_path_factory.mktemp("site")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    return pytester


def installed_beside(folder: Path) -> str:
    """Offer the plugin by entry point, as an installation of this tree would."""
    about = folder / "tandem_of_this_tree-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tandem-of-this-tree\nVersion: 0\n"
    )
    point = "tandem_orchestrator.testing.pytest_plugin"
    (about / "entry_points.txt").write_text(f"[pytest11]\ntandem = {point}\n")
    return str(folder)


def run(project: pytest.Pytester, *words: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-q", "-p", "no:cacheprovider", *words)


def write_capsule(
    project: pytest.Pytester, name: str, v: float, modules=("money",), **more
) -> None:
    folder = project.path / "capsules"
    folder.mkdir(exist_ok=True)
    given = {
        "id": f"r.{name}", "run": "r", "step": "s", "agent": "money", "action": "round",
        "payload": {"v": v}, "fields": [{"path": "", "left": 1, "right": 2}],
        "outcomes": [{"implementation": n, "outcome": "succeeded"} for n in ("python", "quick")],
    }  # fmt: skip
    text = capsule_to_text(make_capsule(**given | more), modules)
    (folder / f"{name}.capsule.json").write_text(text)


# --- capsules ------------------------------------------------------------------------------------


def test_each_capsule_in_a_folder_is_a_test(project):
    write_capsule(project, "differs", 0.005)
    write_capsule(project, "agrees", 0.25)
    project.makepyfile(test_own="def test_own(): pass")

    result = run(project, "--tandem-capsules", "capsules", "-rA")

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*money.round: python and quick differ", "*input   {'v': 0.005}", "*quick   0.0",
         "FAILED capsules/differs.capsule.json::agree*"]
    )  # fmt: skip
    assert "replay_capsule" not in result.stdout.str(), "our own stack is of no use to them"


def test_capsules_can_be_chosen_as_tests_are(project):
    write_capsule(project, "differs", 0.005)
    write_capsule(project, "agrees", 0.25)

    result = run(project, "--tandem-capsules", "capsules", "-k", "agrees")

    result.assert_outcomes(passed=1, deselected=1)


def test_a_module_is_named_by_an_option_where_the_file_names_none(project):
    write_capsule(project, "agrees", 0.25, modules=())

    run(project, "--tandem-capsules", "capsules").assert_outcomes(failed=1)
    result = run(project, "--tandem-capsules", "capsules", "--tandem-import", "money")
    result.assert_outcomes(passed=1)


def test_a_capsule_that_cannot_be_run_fails_with_the_reason(project):
    write_capsule(project, "cut", 0.25, payload="x" * 9000, bytes_max=4096)
    (project.path / "capsules" / "none.capsule.json").write_text("{}")

    result = run(project, "--tandem-capsules", "capsules")

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*r.cut cannot be run again*", "*no key 'tandem_capsule'*"])


def test_a_folder_that_is_not_there_is_a_usage_error(project):
    result = run(project, "--tandem-capsules", "gone")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tandem-capsules gone: there is no such folder"])


# --- verify --------------------------------------------------------------------------------------

CALLS = """
import asyncio
import pytest
from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from money import agent, alone, late, round_, sent


@pytest.fixture
async def tandem():
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as one:
        one.add_agent(agent)
        yield one


def test_direct_agrees():
    assert round_({"v": 0.25}) == 0.25

def test_direct_differs():
    assert round_({"v": 0.005}) == 0.01

async def test_message_agrees(tandem):
    assert await tandem.send("money", "round", {"v": 0.25}) == 0.25

async def test_message_differs(tandem):
    assert await tandem.send("money", "round", {"v": 0.005}) == 0.01

async def test_many_messages_differ(tandem):
    await tandem.send_many("money", "round", ({"v": v} for v in (0.25, 0.005)))

async def test_run_agrees(tandem):
    step = CommandStep(id="a", agent="money", action="round", payload={"v": 0.25})
    result = await tandem.execute_command_set(CommandSet(steps=[step]))
    assert (result["status"], result["mode"]) == ("completed", "intelligent")
    assert "conflicts" not in result

async def test_run_differs_behind_references(tandem):
    steps = [
        CommandStep(id="factor", agent="system", action="echo", payload=2),
        CommandStep(id="list", agent="system", action="echo", payload=[1, 7]),
        CommandStep(id="each", agent="money", action="late", payload={"n": Ref("item")},
                    for_each=Ref("list")),
    ]
    set_ = CommandSet(steps=steps, dependencies={"each": ["factor", "list"]})
    result = await tandem.execute_command_set(set_)
    assert result["results"]["each"] == [2, 14]

async def test_run_that_compares_is_left_alone(tandem):
    step = CommandStep(id="a", agent="money", action="round", payload={"v": 0.005})
    result = await tandem.execute_command_set(CommandSet(steps=[step], mode="redundant"))
    assert len(result["conflicts"]) == 1

def test_what_cannot_be_compared():
    sent({})
    alone({})

def test_that_fails_itself():
    assert round_({"v": 0.005}) == 7
"""


def test_every_way_to_call_an_action_is_verified_in_all_implementations(project):
    project.makepyfile(test_calls=CALLS)

    result = run(project, "--tandem-twins=verify", "-rf")

    failed = {
        line.split("::")[1].split()[0] for line in result.stdout.lines if line.startswith("FAILED ")
    }
    assert failed == {
        "test_direct_differs",
        "test_message_differs",
        "test_many_messages_differ",
        "test_run_differs_behind_references",
        "test_that_fails_itself",
    }
    # The summary repeats them where CI is set.
    told = result.stdout.str().partition("short test summary")[0]
    assert told.count("money.round: python and quick differ") == 3
    assert told.count("money.late: python and later differ") == 1
    result.stdout.fnmatch_lines(["*input *'n': 7*", "*python *14", "*later *15"])
    result.stdout.fnmatch_lines(
        [
            "tandem twins: * calls compared, 4 differ",
            "*not compared: its effects are external",
        ]
    )


def test_without_the_option_the_same_tests_pass(project):
    project.makepyfile(test_calls=CALLS)

    result = run(project)

    result.assert_outcomes(passed=9, failed=1)
    assert "tandem twins" not in result.stdout.str()


def test_the_plugin_imports_nothing_of_ours_unless_it_is_used(project):
    project.makepyfile(
        test_modules="""
        import sys
        def test_modules():
            heavy = [name for name in sys.modules if name.startswith("tandem_orchestrator.")]
            assert set(heavy) <= {
                "tandem_orchestrator.testing", "tandem_orchestrator.testing.pytest_plugin"
            }
        """
    )

    run(project).assert_outcomes(passed=1)


def test_the_entry_point_leads_to_the_plugin():
    import tomllib

    file = Path(__file__).parents[2] / "pyproject.toml"
    points = tomllib.loads(file.read_text("utf-8"))["project"]["entry-points"]["pytest11"]

    assert points == {"tandem": "tandem_orchestrator.testing.pytest_plugin"}
    assert sys.modules.get(points["tandem"]) or __import__(points["tandem"])
