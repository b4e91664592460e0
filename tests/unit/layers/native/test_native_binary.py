"""Looking for the native files answers with one clear line and never raises."""

import sys
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native.binary import find_native_files


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package `pretend_native` on the path."""
    folder = tmp_path / "pretend_native"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("pretend_native")]:
        del sys.modules[name]


def put_bridge(package: Path, mode: int = 0o755) -> None:
    (package / "bin").mkdir()
    (package / "bin" / "agent_bridge").write_text("#!/bin/sh\n")
    (package / "bin" / "agent_bridge").chmod(mode)


def test_another_system_is_the_reason():
    found = find_native_files(platform="darwin")
    assert not found.usable
    assert found.reason == "the C layer needs Linux; this is darwin"


def test_a_32_bit_python_is_the_reason():
    assert "64-bit" in find_native_files(bits=31, platform="linux").reason


def test_a_missing_package_is_the_reason():
    found = find_native_files(package="no_such_package_here", platform="linux")
    assert not found.usable
    assert "no_such_package_here" in found.reason


def test_a_missing_program_is_the_reason(package: Path):
    found = find_native_files(package="pretend_native", platform="linux")
    assert not found.usable
    assert found.bridge_path == ""
    assert found.reason.startswith("installed without the C layer: no program ")
    assert found.reason.endswith("/pretend_native/bin/agent_bridge")


def test_a_program_that_cannot_run_is_the_reason(package: Path):
    put_bridge(package, mode=0o644)
    assert (
        "is not executable" in find_native_files(package="pretend_native", platform="linux").reason
    )


def test_a_missing_extension_is_the_reason(package: Path):
    put_bridge(package)
    found = find_native_files(package="pretend_native", platform="linux")
    assert not found.usable
    assert "no extension pretend_native._ext" in found.reason


def test_an_extension_that_does_not_load_is_one_line_of_reason(package: Path):
    put_bridge(package)
    (package / "_ext.so").write_bytes(b"not an ELF file")
    found = find_native_files(package="pretend_native", platform="linux")
    assert not found.usable
    assert "does not load" in found.reason
    assert "\n" not in found.reason


def test_both_present_is_usable_with_an_absolute_path(package: Path):
    put_bridge(package)
    (package / "_ext.py").write_text("")  # loads, as a real one would
    found = find_native_files(package="pretend_native", platform="linux")
    assert found.usable, found.reason
    assert Path(found.bridge_path).is_absolute()
    assert found.bridge_path == str(package / "bin" / "agent_bridge")
