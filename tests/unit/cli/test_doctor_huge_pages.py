"""The doctor speaks of huge pages once, and only to whoever asked for them."""

from pathlib import Path

import pytest

from tandem_orchestrator import Settings
from tandem_orchestrator.cli import doctor
from tandem_orchestrator.layers.native.privileges import Facts

REFUSED = doctor.Finding("c layer", "refused", "huge pages: asked for, refused: none")


def settings(asked: bool) -> Settings:
    given = {"c_layer": {"use_huge_pages": asked}}
    return Settings.load(given, environ={}, cwd=Path("/"))


@pytest.mark.parametrize("asked", [True, False])
def test_only_who_asks_for_them_hears_that_there_are_none(
    monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setattr(doctor, "read_facts", lambda: Facts(huge_pages_free=0))
    found = [finding.what for finding in doctor._hardware(settings(asked))]
    assert found.count("huge pages") == asked
    assert "cores" in found


def test_what_was_said_is_not_said_again() -> None:
    other = doctor.Finding("c layer", "refused", "locked memory: asked for, refused")
    assert list(doctor._not_said([REFUSED, other], {"huge pages"})) == [other]
    assert list(doctor._not_said([REFUSED, REFUSED, other], set())) == [REFUSED, other]
