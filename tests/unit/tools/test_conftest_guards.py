"""The guards of tests/conftest.py, on tests planted to break them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[2] / "conftest.py"


def outcome(
    folder: Path, body: str, *, conftest: str = CONFTEST.read_text("utf-8"), ci: str = ""
) -> str:
    """Run one planted test under a copy of the conftest and return pytest's output."""
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_planted.py").write_text(body)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    native: needs the C layer\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=os.environ | {"TANDEM_DEBUG": "true", "CI": ci},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "import subprocess\n"
            "def test_planted():\n"
            "    global child\n"
            "    child = subprocess.Popen(['sleep', '10'])\n",
            "left behind after",
        ),
        (
            "kept = []\ndef test_planted():\n    kept.extend(open('/dev/null') for _ in range(9))\n",
            "9 more file descriptors open",
        ),
    ],
)
def test_a_test_that_leaves_something_behind_fails(tmp_path: Path, body: str, told: str) -> None:
    assert told in outcome(tmp_path, body)


def test_a_test_sees_no_home_and_no_settings_of_the_user(tmp_path: Path) -> None:
    body = (
        "import os, pathlib\n"
        "def test_planted():\n"
        "    assert 'TANDEM_DEBUG' not in os.environ\n"
        f"    assert os.environ['HOME'] != {os.environ['HOME']!r}\n"
        "    run = pathlib.Path(os.environ['XDG_RUNTIME_DIR'])\n"
        "    assert run.is_relative_to(os.environ['HOME']) and not any(run.iterdir())\n"
        "    assert run.stat().st_mode & 0o777 == 0o700\n"
        "    assert len(str(run)) < 80\n"
    )

    assert "1 passed" in outcome(tmp_path, body)


@pytest.mark.parametrize(("ci", "told"), [("", "1 skipped"), ("true", "1 passed")])
def test_a_test_marked_native_is_skipped_without_the_c_layer_but_never_in_ci(
    tmp_path: Path, ci: str, told: str
) -> None:
    body = "import pytest\n@pytest.mark.native\ndef test_planted(): ...\n"
    bare = CONFTEST.read_text("utf-8").replace(
        "from importlib.util import find_spec", "find_spec = lambda *_: None"
    )

    assert told in outcome(tmp_path, body, conftest=bare, ci=ci)
