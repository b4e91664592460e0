"""The spin models: what is written holds in every interleaving, and each flaw is found.

One test a row of ``native/models/variants.tsv``. Without spin the tests are skipped, but never in CI.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "native" / "models"


def load() -> ModuleType:
    """Import tools/check_models.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(
        "check_models", REPOSITORY / "tools" / "check_models.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


check_models = load()
VARIANTS = check_models.variants()


@pytest.fixture
def spin() -> None:
    """Skip where spin or a C compiler is missing; fail in CI."""
    missing = [name for name in ("spin", "cc") if shutil.which(name) is None]
    if not missing:
        return
    reason = f"missing: {', '.join(missing)} (apt-get install spin gcc)"
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, nothing may be skipped; {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.mark.parametrize(
    "variant", VARIANTS, ids=[f"{v.model}-{v.name.replace(' ', '-')}" for v in VARIANTS]
)
@pytest.mark.timeout(300)
def test_a_search_ends_as_its_row_says(variant, spin):
    found = check_models.search(variant)
    assert found.as_expected, (
        f"{variant.claim}: {found.errors} errors in {found.states} states; {found.reason}"
    )


def test_every_model_has_a_sound_search_and_flaws_that_break_it():
    models = {path.stem for path in MODELS.glob("*.pml")}
    assert (
        models
        == {v.model for v in VARIANTS if v.sound}
        == {v.model for v in VARIANTS if not v.sound}
    )


def test_a_flaw_that_breaks_nothing_is_a_failure(spin):
    harmless = check_models.Variant("death", "nothing taken away", (), False, "no flaw at all")
    assert not check_models.search(harmless).as_expected


def test_a_search_that_was_cut_short_is_a_failure(spin, monkeypatch):
    monkeypatch.setattr(check_models, "DEPTH_MAX", 20)
    sound = next(v for v in VARIANTS if v.model == "death" and v.sound)
    assert not check_models.search(sound).as_expected
