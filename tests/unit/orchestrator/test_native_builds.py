"""A session with the bridge, and what it offers, are the build of what runs in C."""

from types import SimpleNamespace
from typing import Any

from tandem_orchestrator.layers import Work
from tandem_orchestrator.orchestrator.cached_layer import NativeBuilds

WORK = Work("r", "s1", "shop", "price", "c", None)


def test_a_new_session_or_a_change_of_what_it_offers_is_another_build() -> None:
    # Any: NativeBuilds looks at the layer's session and libraries alone.
    library = "one build"
    layer: Any = SimpleNamespace(
        session=SimpleNamespace(actions={}), library_of=lambda *names: library
    )
    builds = NativeBuilds(layer)
    first = builds(WORK)
    assert first == builds(WORK)
    layer.session.actions = {}  # an agent came or went
    second = builds(WORK)
    layer.session = SimpleNamespace(actions={})  # the bridge was restarted
    third = builds(WORK)
    library = "another build"
    fourth = builds(WORK)

    assert first is not None
    assert len({first, second, third, fourth}) == 4


def test_without_a_session_there_is_no_build() -> None:
    layer: Any = SimpleNamespace(session=None)
    assert NativeBuilds(layer)(WORK) is None
