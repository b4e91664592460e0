"""Each memory order and each check of the ring, the doorbell and the decoders has its proof.

``make weaken`` runs all mutants; here the table must fit the code, and a few are run.
"""

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def weaken() -> Iterator[ModuleType]:
    """tools/weaken.py, which is no part of the package."""
    sys.path.insert(0, str(TOOLS))
    try:
        yield importlib.import_module("weaken")
    finally:
        sys.path.remove(str(TOOLS))


def test_the_table_fits_the_code(weaken):
    assert weaken.faults(weaken.all_mutants()) == []


def test_every_order_that_could_be_weaker_has_a_mutant(weaken):
    mutants = sys.modules["mutants"]
    made = {mutant.name for mutant in weaken.all_mutants()}
    for file in ("ring/ring.c", "ring/bell.c"):
        source = (TOOLS.parent / "native" / "src" / file).read_text()
        orders = source.count("memory_order_") - source.count("memory_order_relaxed")
        weakened = [name for name in made if name.startswith(file) and "seq_cst > r" in name]
        assert sum("> relaxed" in name for name in weakened) == orders > 0
    assert len(mutants.ORDERS) > 2


def test_a_row_that_fits_no_code_is_a_fault(weaken, tmp_path):
    table = tmp_path / "mutants.toml"
    table.write_text(
        'quick = []\nmutant = []\n[[about]]\nmutants = ["ring/ring.c gone: no x"]\nequivalent = "?"\n'
    )
    with pytest.raises(ValueError, match=r"no mutant is called 'ring/ring\.c gone"):
        sys.modules["mutants"].all_mutants(table=table)


def test_a_model_that_does_not_exist_is_a_fault(weaken):
    mutant = sys.modules["mutants"].Mutant("x", "ring/ring.c", 0, 0, "", model="ring/honest ends")
    assert weaken.faults([mutant]) != [], "a sound variant notices nothing"


@pytest.fixture
def cc(request) -> None:
    """Skip where there is no C compiler with sanitizers."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")


@pytest.mark.timeout(300)
def test_the_quick_mutants_are_caught(weaken, cc, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(weaken, "ROOT", tmp_path)
    assert weaken.main(["--quick"]) == 0, capsys.readouterr().out
    assert " 0 failed" in capsys.readouterr().out


@pytest.mark.timeout(300)
def test_a_mutant_that_nothing_notices_is_a_failure(weaken, cc, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(weaken, "ROOT", tmp_path)
    mutants = sys.modules["mutants"]
    source = (TOOLS.parent / "native" / "src" / "wire" / "frame.c").read_text()
    at = source.index("static int kind_known")
    harmless = mutants.Mutant("wire/frame.c nothing", "wire/frame.c", at, at, "/* nothing */ ")
    monkeypatch.setattr(weaken, "all_mutants", lambda: [harmless])
    monkeypatch.setitem(weaken.FOR_FILE, "wire/frame.c", ("frame",))
    assert weaken.main([]) == 1
    assert "MISSED     wire/frame.c nothing" in capsys.readouterr().out
