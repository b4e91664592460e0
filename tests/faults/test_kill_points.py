"""Programs, bridges, hosts and workers are killed at random instants: every promise is kept.

``kill_points/harness.py`` says what is promised and looks at it; ``make kill-points`` goes on for
as long as one likes. Here are the first points, and two bugs that it must find.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]
HARNESS = Path(__file__).parent / "kill_points" / "harness.py"


def kill(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", str(HARNESS), *options],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_sixty_kills_lose_change_and_double_nothing() -> None:
    done = kill("--points", "60", "--seed", "1")
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("postgres_here")
def test_twenty_kills_around_a_postgres_server_and_of_it_lose_change_and_double_nothing() -> None:
    done = kill("--points", "20", "--seed", "2", "--postgres")
    assert done.returncode == 0, done.stderr
    assert '"postgres"' in done.stdout


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("postgres_here")
def test_the_harness_finds_a_postgres_journal_that_acknowledges_early() -> None:
    done = kill("--points", "250", "--seed", "3", "--plant", "early", "--postgres")
    assert done.returncode == 1
    assert re.search(r"told|lost|asked again", done.stderr), done.stderr


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("bug", "found"),
    [("early", r"told|lost|asked again"), ("again", r"external step \w of \S+ ran 2 times")],
)
def test_the_same_harness_finds_what_acknowledges_early_and_what_repeats_effects(
    bug: str, found: str
) -> None:
    done = kill("--points", "250", "--seed", "3", "--plant", bug)
    assert done.returncode == 1
    assert re.search(found, done.stderr), done.stderr
