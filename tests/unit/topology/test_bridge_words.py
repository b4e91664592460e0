"""CPUID as the bridge tells it: decoded from text, and asked for real."""

import os

import pytest

from tandem_orchestrator.layers.native import bridge_words
from tandem_orchestrator.layers.native.bridge_words import bridge_reader, cpuid_table, simd_line
from tandem_orchestrator.layers.native.core_kinds import NAMED_BY_CPUID
from tandem_orchestrator.layers.native.cpuid import KIND_ATOM, KIND_CORE, caches, core_kind
from tandem_orchestrator.layers.native.topology import TopologySources, read_topology
from tandem_orchestrator.model.topology import CoreClass

HYBRID = """
0 0 0 1f 756e6547 6c65746e 49656e69
0 1a 0 40000001 0 0 0
0 4 0 4121 2c0003f 3f 0
1 0 0 1f 756e6547 6c65746e 49656e69
1 1a 0 20000001 0 0 0
not a line
1 2 3
"""


def test_a_line_is_an_answer_and_the_rest_is_stepped_over() -> None:
    table = cpuid_table(HYBRID)
    assert len(table) == 5
    assert table[0, 0x1A, 0] == (0x40000001, 0, 0, 0)


def test_the_kinds_of_core_follow_from_the_told_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr(bridge_words, "_told", lambda: cpuid_table(HYBRID))
    read = bridge_reader()
    assert (core_kind(read, 0), core_kind(read, 1), core_kind(read, 2)) == (
        KIND_CORE, KIND_ATOM, 0,
    )  # fmt: skip
    assert [(cache.level, cache.kib) for cache in caches(read, 0)] == [(1, 48)]
    (tmp_path / "devices/system/cpu").mkdir(parents=True)
    (tmp_path / "devices/system/cpu/online").write_text("0-1\n")
    found = read_topology(TopologySources(tmp_path, proc=None, cgroup=tmp_path, cpuid=read))
    assert found.told_by == NAMED_BY_CPUID
    assert found.of_kind(CoreClass.P_CORE) == {0}
    # Without a share of an L3 cache it would be an LP-E-core only if others had one.
    assert found.of_kind(CoreClass.E_CORE) == {1}


@pytest.mark.native
def test_the_real_bridge_answers_for_every_cpu_of_ours_and_says_its_instructions() -> None:
    assert "crc32c: " in simd_line()
    if os.uname().machine != "x86_64":
        pytest.skip("CPUID is x86's")
    told = bridge_words._told()
    assert {cpu for cpu, leaf, _ in told if leaf == 0} == os.sched_getaffinity(0)
    assert {told[cpu, 0, 0][1:] for cpu in os.sched_getaffinity(0)} == {
        told[min(told)[0], 0, 0][1:]
    }


@pytest.mark.native
def test_the_plain_path_can_be_forced_on_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_SIMD", "scalar")
    assert simd_line() == "simd: scalar; crc32c: scalar"
