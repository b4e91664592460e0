"""Orchestrators on a simulated loop, clock, disk and bridge keep every promise, whatever the seed.

``simulation/simulate.py`` plays seeds; ``make simulate`` as many as one likes. Here are the first
thousand, that a seed is replayed exactly, and the planted bugs that it must find.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.native]
SIMULATE = Path(__file__).parent / "simulation" / "simulate.py"
BUGS = {
    "early": r"lost|another|hangs|does not end|two results|completions",
    "unsynced": r"lost|damaged|another|no program can be opened",
    "lease": r"is owned by",
    "stale": r"gave|does not end|InternalError|external step \S+ ran \d+ times",
    "silent": r"does not end|hangs",
    "timer": r"does not end|hangs",
    "rerun": r"external step \S+ ran \d+ times",
    "amnesia": r"does not end|another|completions|ends",
    "order": r"gave",
}


def simulate(
    *options: str, hash_seed: str = "random", wait_s: float = 280
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", str(SIMULATE), *options],
        capture_output=True, text=True, check=False, timeout=wait_s,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_a_thousand_seeds_lose_change_and_double_nothing() -> None:
    done = simulate("--seeds", "1000")
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
def test_a_seed_is_played_the_same_to_the_byte_in_every_process() -> None:
    first, second = (
        simulate("--seeds", "40", "--digests", hash_seed=hash_seed) for hash_seed in ("1", "2")
    )
    digests = [line for line in first.stdout.splitlines() if re.match(r"\d+ [0-9a-f]{32}$", line)]
    assert len(digests) == 40
    assert [line for line in second.stdout.splitlines() if line in digests] == digests
    traces = {
        simulate("--seeds", "1", "--from", "11", "--trace", hash_seed=hash_seed).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1 and len(traces.pop()) > 10_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", BUGS)
def test_the_same_seeds_find_a_planted_bug_and_say_how_to_replay_it(bug: str) -> None:
    done = simulate("--seeds", "1000", "--plant", bug)
    assert done.returncode == 1, done.stdout
    assert re.search(BUGS[bug], done.stderr), done.stderr
    found = re.search(r"replay: (python .*)", done.stderr)
    assert found is not None
    again = simulate(*found[1].split()[3:])
    assert again.returncode == 1
    assert re.search(BUGS[bug], again.stdout), again.stdout[-2000:]


@pytest.mark.timeout(300)
def test_days_of_schedules_miss_and_double_nothing_whatever_clocks_and_programs_do() -> None:
    done = simulate("--days", "--seeds", "4")
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
def test_a_day_of_schedules_keeps_no_memory_and_a_planted_leak_is_seen() -> None:
    done = simulate("--memory")
    assert done.returncode == 0, done.stdout
    leaky = simulate("--memory", "--plant", "leak")
    assert leaky.returncode == 1
    assert "memory grew" in leaky.stdout


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("bug", "found"),
    [
        ("again", "are said to have been fired"),
        ("keyless", "ran 2 times"),
        ("offset", "was never due"),
        ("hasty", "was left out"),
    ],
)
def test_the_same_days_find_a_planted_bug(bug: str, found: str) -> None:
    done = simulate("--days", "--seeds", "4", "--plant", bug)
    assert done.returncode == 1, done.stdout
    assert found in done.stderr, done.stderr


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_days_of_schedules_miss_and_double_nothing() -> None:
    done = simulate("--days", "--seeds", "80", wait_s=7000)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_real_day_at_a_hundred_times_its_speed_misses_and_doubles_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-P", str(SIMULATE.with_name("day.py"))],
        capture_output=True, text=True, check=False, timeout=1400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
