"""Every file in examples/ runs as its README says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(path for path in EXAMPLES.iterdir() if path.suffix in {".yaml", ".json", ".toml"})
TANDEM = [
    sys.executable,
    "-P",
    "-c",
    "import tandem_orchestrator.cli as c; raise SystemExit(c.main())",
]


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_an_example_file_completes(file: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "one.py").write_text('"""One."""\n')
    wants_path = "inputs#/path" in file.read_text("utf-8")
    given = ["--input", f"path={json.dumps(str(tmp_path / 'tree'))}"] if wants_path else []

    done = run([*TANDEM, "run", str(file), "--json", *given], tmp_path)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "completed"
    assert result["error"] is None


def test_patience_gives_up_after_three_attempts_and_goes_on(tmp_path: Path) -> None:
    done = run([*TANDEM, "run", str(EXAMPLES / "patience.toml"), "--json"], tmp_path)

    steps = json.loads(done.stdout)["steps"]
    assert (steps["slow"]["outcome"], steps["slow"]["attempts"]) == ("timed_out", 3)
    assert steps["after"]["outcome"] == "succeeded"


def test_the_agent_of_ones_own_prices_two_parcels(tmp_path: Path) -> None:
    done = run([sys.executable, "-P", str(EXAMPLES / "own_agent.py")], tmp_path)

    assert done.returncode == 0, done.stderr
    assert "completed {'first': {'euros': 5.0}, 'second': {'euros': 8.5}}" in done.stdout


def test_the_readme_lists_every_example() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")

    assert [file.name for file in FILES if f"]({file.name})" not in listed] == []
