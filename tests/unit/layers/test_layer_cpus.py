"""Masks as frames carry them, a thread that moves, and the load of some CPUs."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.layers.cpus import ThreadCpus, cpu_mask
from tandem_orchestrator.layers.native.cpu_load import LOOK_NS, CpuLoad, busy_and_total
from tandem_orchestrator.model.cpu_lists import show_cpu_list

STAT = """cpu  100 0 100 800 0 0 0 0 0 0
cpu0 60 10 20 100 10 0 0 0 7 0
cpu1 1 1 1 900 90 0 7 0 0 0
intr 5
"""


@given(st.sets(st.integers(0, 1023), min_size=1))
def test_a_mask_has_just_the_bits_of_its_cpus(cpus: set[int]) -> None:
    mask = cpu_mask(show_cpu_list(cpus))
    assert mask is not None and len(mask) % 8 == 0 and 8 <= len(mask) <= 128
    assert {
        8 * i + bit for i, byte in enumerate(mask) for bit in range(8) if byte >> bit & 1
    } == cpus


@pytest.mark.parametrize("text", ["", "1024-2000"])
def test_no_cpu_that_fits_is_no_wish(text: str) -> None:
    assert cpu_mask(text) is None


def test_a_thread_moves_and_goes_back() -> None:
    ours = os.sched_getaffinity(0)
    one = min(ours)
    seen = []

    def work() -> None:
        cpus = ThreadCpus()
        for wish in (str(one), "", "1023", str(one), "4000"):
            cpus.follow(wish)
            seen.append(os.sched_getaffinity(0))
        seen.append(cpus.refused)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{one}, ours, ours, {one}, ours, 2]
    assert os.sched_getaffinity(0) == ours


def test_ticks_in_use_leave_out_idle_iowait_and_guests() -> None:
    assert busy_and_total(STAT, frozenset({0})) == (90, 200)
    assert busy_and_total(STAT, frozenset({0, 1})) == (100, 1200)
    assert busy_and_total(
        "cpu0\ncpux 1\n\ncpu0 a b c d e\n".replace("\n\n", "\n"), frozenset({0})
    ) == (0, 0)


def test_the_load_is_that_between_two_looks(tmp_path) -> None:
    path, now = tmp_path / "stat", [0]
    load = CpuLoad(frozenset({0}), lambda: now[0], path)
    path.write_text("cpu0 100 0 0 100 0 0 0 0\n")
    assert load.read() == 0.0
    path.write_text("cpu0 175 0 0 125 0 0 0 0\n")
    assert load.read() == 0.0  # too soon to look again
    now[0] += LOOK_NS
    assert load.read() == 0.75
    path.unlink()
    now[0] += LOOK_NS
    assert load.read() == 0.75
