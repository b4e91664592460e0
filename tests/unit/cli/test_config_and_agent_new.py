"""``tandem config`` and ``tandem agent new``: flags that compile, scaffolds that run."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.cli.exits import Exit


@pytest.mark.native
def test_the_flags_name_files_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["config", "--cflags", "--libs"]) == Exit.DONE
    include, library, thread = shlex.split(capsys.readouterr().out)
    assert (Path(include.removeprefix("-I")) / "tandem" / "connect.h").is_file()
    assert Path(library).name == "libtandem_agent.a"
    assert Path(library).is_file()
    assert thread == "-pthread"


@pytest.mark.native
def test_the_bridge_is_named_so_that_a_shell_can_start_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_app(["config", "--bridge"]) == Exit.DONE
    (program,) = shlex.split(capsys.readouterr().out)
    assert os.access(program, os.X_OK)
    assert Path(program).name == "agent_bridge"


def test_config_without_a_question_is_a_mistake() -> None:
    assert run_app(["config"]) == Exit.USAGE


def test_without_native_files_the_flags_are_refused_with_a_reason() -> None:
    from tandem_orchestrator.cli.config_flags import config_flags
    from tandem_orchestrator.errors import LayerUnavailable

    with pytest.raises(LayerUnavailable, match="installed without the C layer"):
        config_flags(cflags=True, libs=False, package="tandem_orchestrator.cli")


@pytest.mark.native
def test_a_c_agent_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cc") is None or shutil.which("make") is None:
        pytest.skip("no C compiler or no make")
    monkeypatch.chdir(tmp_path)
    assert run_app(["agent", "new", "mine", "--lang", "c"]) == Exit.DONE
    script = "import sys; from tandem_orchestrator.cli import main; sys.exit(main())"
    tandem = tmp_path / "tandem"
    tandem.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{script}' \"$@\"\n")
    tandem.chmod(0o755)
    subprocess.run(["make", f"TANDEM={tandem}"], cwd=tmp_path / "mine", check=True)
    ended = subprocess.run(
        [tmp_path / "mine" / "mine"],
        env={"TANDEM_SOCKET": str(tmp_path / "none" / "bridge.sock")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "agent: " in ended.stderr
    assert len((tmp_path / "mine" / "README.md").read_text().splitlines()) <= 12


def test_a_python_agent_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(["agent", "new", "own_scaffold", "--lang", "python"]) == Exit.DONE
    monkeypatch.chdir(tmp_path / "own_scaffold")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "own_scaffold"), *sys.path])
    ran = ["run", "hello.yaml", "--import", "own_scaffold", "--journal", ":memory:"]
    assert run_app([*ran, "--set", "c_layer.enabled=false"]) == Exit.DONE


@pytest.mark.parametrize("arguments", [["Bad-Name"], ["fine", "--lang", "cobol"], ["there"]])
def test_what_cannot_be_made_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert run_app(["agent", "new", *arguments]) == Exit.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
