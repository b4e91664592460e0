"""The scripts that `make` trusts: what they count, list and refuse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[3] / "tools"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOLS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def meson_log(build_dir: Path, *results: str) -> None:
    logs = build_dir / "meson-logs"
    logs.mkdir()
    lines = [
        json.dumps({"name": f"test {number}", "result": result, "duration": 0.5})
        for number, result in enumerate(results)
    ]
    (logs / "testlog.json").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("results", "line", "code"),
    [
        (["OK", "OK"], "2 passed, 0 failed", 0),
        (["OK", "SKIP"], "1 passed, 0 failed, 1 skipped", 0),
        (["OK", "FAIL"], "1 passed, 1 failed", 1),
        (["OK", "TIMEOUT"], "1 passed, 1 failed", 1),
        (["OK", "ERROR"], "1 passed, 1 failed", 1),
        (["OK", "INTERRUPT"], "1 passed, 1 failed", 1),
        (["SKIP"], "0 passed, 0 failed, 1 skipped", 1),
        ([], "0 passed, 0 failed", 1),
    ],
)
def test_native_results_are_counted_and_no_result_is_a_failure(
    tmp_path: Path, results: list[str], line: str, code: int
) -> None:
    meson_log(tmp_path, *results)

    done = run("count_native_tests.py", str(tmp_path), "plain")

    assert done.stdout.splitlines()[-1] == line
    assert done.returncode == code


def test_a_native_run_that_left_no_log_is_a_failure(tmp_path: Path) -> None:
    assert run("count_native_tests.py", str(tmp_path), "plain").returncode == 1


def test_a_new_module_is_installed_and_what_was_built_into_the_tree_is_not(tmp_path: Path) -> None:
    for name in (
        "auto_integrate.py",
        "meson.build",
        "tandem/new.py",
        "tandem/new.pyi",
        "tandem/py.typed",
        "tandem/page/style.tcss",
        "tandem/__pycache__/new.cpython-311.pyc",
        "tandem/.mypy_cache/x.json",
        "tandem/_native/__init__.py",
        "tandem/_native/_ext.cpython-311-x86_64-linux-gnu.so",
        "tandem/_native/bin/agent_bridge",
        "tandem/_native/include/tandem/agent.h",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")

    assert run("python_sources.py", str(tmp_path)).stdout.split() == [
        "auto_integrate.py",
        "tandem/_native/__init__.py",
        "tandem/new.py",
        "tandem/new.pyi",
        "tandem/page/style.tcss",
        "tandem/py.typed",
    ]


def test_set_up_installs_the_header_packages_that_are_missing_and_ci_never_goes_on_without(
    tmp_path: Path,
) -> None:
    tools, stubs = tmp_path / "tools", tmp_path / "stubs"
    tools.mkdir()
    stubs.mkdir()
    (tools / "setup").write_text((TOOLS / "setup").read_text())
    asked = tmp_path / "asked"
    for name, body in {
        "pkg-config": "exit 1",
        "cc": "! grep -q -e ffi.h -e evp.h",  # a fresh machine: these headers are not there
        "apt-get": f'echo "$@" >> {asked}',
        "id": "echo 0",
        "spin": "exit 0",
        "uname": "echo Linux",
    }.items():
        (stubs / name).write_text(f"#!/bin/sh\n{body}\n")
        (stubs / name).chmod(0o755)

    done = subprocess.run(
        ["/bin/sh", str(tools / "setup"), "run"],
        env={"PATH": f"{stubs}:/usr/bin:/bin", "CI": "true", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    lines = asked.read_text().splitlines()
    installed = next(line for line in lines if "install" in line).split()
    assert {"libssl-dev", "libffi-dev"} <= set(installed)
    assert "missing: apt-get install" in done.stderr
    assert "CI=true: nothing may be skipped" in done.stderr
