"""What a session's capsules say of where it ran."""

import hashlib
import platform

import pytest

from tandem_orchestrator import Agent, Settings
from tandem_orchestrator.layers.python import Registry
from tandem_orchestrator.model.catalogue import Action, Implementation
from tandem_orchestrator.orchestrator.surroundings import (
    CapsuleMaker,
    Sources,
    build_of,
    read_environment,
    sources_of,
)


def test_it_names_python_processor_locale_and_time_zone():
    seen = read_environment()

    assert platform.python_version() in seen.python
    assert seen.locale and seen.timezone and seen.package
    assert seen.cpu_flags.split(" ") == sorted(seen.cpu_flags.split(" "))
    assert ";" not in seen.locale


def test_a_build_is_known_by_its_content(tmp_path):
    library = tmp_path / "librate.so"
    library.write_bytes(b"one")

    assert build_of(library) == hashlib.sha256(b"one").hexdigest()[:32]
    assert build_of(tmp_path / "none").startswith("unreadable: ")


def test_a_maker_reads_once_and_keeps_to_the_settings(tmp_path):
    asked = []
    settings = Settings.load({"limits": {"capsule_bytes_max": 4096}}, environ={}, cwd=tmp_path)

    def sources(agent, action):
        asked.append((agent, action))
        return Sources({"c": "librate.so:rate"})

    maker = CapsuleMaker(settings, lambda: 7, sources)
    assert not asked
    made = [
        maker.make(
            id="r.c1", run="r", step="s", agent="a", action="b", payload="x" * 9000,
            outcomes=[], fields=[],
        )
        for _ in range(2)
    ]  # fmt: skip

    assert asked == [("a", "b")]
    assert made[0].at_ns == 7
    assert made[0].environment["builds"]["c"] == "librate.so:rate"
    assert "/payload" in made[0].truncated


def test_a_function_is_known_by_its_code_and_a_library_without_its_folder():
    def entry(name: str, source: str) -> Action:
        return Action("a", "b", implementations=(Implementation(name, "python", source=source),))

    def made(body):
        agent = Agent("a")
        agent.action("b", effects="none")(body)
        registry = Registry()
        registry.add(agent)
        actions = [*registry.entries(), entry("c", "/home/me/lib/librate.so:rate sha256:ab")]
        return sources_of([each for each in actions if each.agent == "a"], registry).builds

    one, same, other = made(lambda p: p + 1), made(lambda p: p + 1), made(lambda p: p + 2)

    assert one["c"] == "librate.so:rate sha256:ab"
    assert one["python"] == same["python"] != other["python"]
    assert " code:" in one["python"]


@pytest.mark.parametrize(
    ("handler", "twin", "reads"),
    [
        (lambda payload: 1, lambda payload: 2, False),
        (lambda payload, ctx: 1, lambda payload: 2, True),
        (lambda payload: 1, lambda payload, ctx: 2, True),
        (lambda: 1, None, False),
    ],
)
def test_what_the_steps_before_gave_is_kept_where_somebody_can_see_it(handler, twin, reads):
    agent = Agent("a")
    action = agent.action("b", effects="none")(handler)
    if twin is not None:
        action.twin("v2")(twin)
    registry = Registry()
    registry.add(agent)
    maker = CapsuleMaker(
        Settings(), sources=lambda _a, _b: sources_of(agent.catalogue_entries(), registry)
    )

    made = maker.make(
        id="r.c1", run="r", step="s", agent="a", action="b", payload=1, inputs={"before": [1, 2]},
        outcomes=[], fields=[],
    )  # fmt: skip

    assert made.inputs == ({"before": [1, 2]} if reads else {})


def test_an_action_of_an_agent_in_c_may_see_them():
    entry = Action("a", "b", implementations=(Implementation("c", "c"),))

    assert sources_of([entry], Registry()).read_inputs
