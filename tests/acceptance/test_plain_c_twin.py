"""A C function that exists already, as a twin: the example, and the design's own snippet."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator

pytestmark = pytest.mark.native
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plain_c_twin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    made = Path(shutil.copytree(EXAMPLE, tmp_path / "project"))
    subprocess.run(["cc", "-shared", "-fPIC", "geo.c", "-o", "libgeo.so"], cwd=made, check=True)
    return made


def test_the_example_finds_the_planted_bug_as_its_readme_says(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "compare.py"],
        cwd=project, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "completed {'area': 7.5, 'mean': 3.0}",
        "mean: python 3.0, c 1.0",
    ]


async def test_a_plain_function_agrees_with_python_in_redundant(project: Path) -> None:
    async with TandemOrchestrator() as tandem:
        shapes = tandem.register_agent("shapes", capabilities=["area"])

        @shapes.action("area", effects="none")
        def area(payload: dict[str, float]) -> float:
            return payload["w"] * payload["h"]

        @area.twin("v2")
        def area_v2(payload: dict[str, float]) -> float:
            return payload["h"] * payload["w"]

        area.twin("c", library=project / "libgeo.so", symbol="area", signature="f64(f64 w, f64 h)")
        steps = [
            CommandStep(agent="shapes", action="area", payload={"w": k / 7, "h": 3.1})
            for k in range(20)
        ]
        result = await tandem.execute_command_set(
            CommandSet(name="areas", mode="redundant", steps=steps)
        )

    assert result["status"] == "completed"
    assert result["consensus_achieved"] is True
    assert result["conflicts"] == []
    assert result["results"] == {f"s{k + 1}": k / 7 * 3.1 for k in range(20)}
