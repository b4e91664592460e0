"""The package's own door: every promised name is there, and coming in costs next to nothing."""

import subprocess
import sys

import pytest

import tandem_orchestrator


def test_every_public_name_can_be_imported_and_is_listed():
    for name in tandem_orchestrator.__all__:
        assert getattr(tandem_orchestrator, name) is not None
    assert set(tandem_orchestrator.__all__) <= set(dir(tandem_orchestrator))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="TandemOrchestratr"):
        _ = tandem_orchestrator.TandemOrchestratr


def test_importing_the_package_imports_neither_engine_nor_asyncio_nor_sqlite():
    program = (
        "import sys, tandem_orchestrator\n"
        "print([m for m in ('asyncio', 'msgspec', 'apsw', 'yaml', 'typer') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_orchestrator_comes_without_sqlite_yaml_or_the_command_line():
    program = (
        "import sys\n"
        "from tandem_orchestrator import TandemOrchestrator, CommandSet\n"
        "print([m for m in ('apsw', 'yaml', 'typer', 'rich', 'textual', 'tree_sitter', 'pathspec') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
