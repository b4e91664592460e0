"""What is refused, what it costs and how to grant it: from the facts of made-up machines."""

from dataclasses import replace
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native.privileges import (
    CAP_IPC_LOCK,
    CAP_SYS_NICE,
    Facts,
    read_facts,
    refusals,
)
from tandem_orchestrator.model.topology import Cpu, Topology

MIB = 2**20
MACHINE = Topology(tuple(Cpu(n, n) for n in range(4)), frozenset(range(4)))
GRANTED = Facts(memlock_bytes=None, rtprio=1, huge_pages_free=4)


def refused(facts: Facts, topology: Topology = MACHINE) -> dict[str, str]:
    return {each.what: each.detail for each in refusals(facts, topology, 16 * MIB)}


def test_where_everything_is_granted_nothing_is_listed() -> None:
    assert refused(GRANTED) == {}


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        (replace(GRANTED, memlock_bytes=16 * MIB - 1), "locked memory"),
        (replace(GRANTED, rtprio=0), "real-time scheduling"),
        (replace(GRANTED, huge_pages_free=3), "huge pages"),
        (replace(GRANTED, huge_pages_free=None), "huge pages"),
        (replace(GRANTED, seccomp=2), "system calls"),
        (replace(GRANTED, no_new_privs=True), "new privileges"),
    ],
)
def test_each_lack_is_one_line(facts: Facts, what: str) -> None:
    assert list(refused(facts)) == [what]


def test_a_capability_stands_in_for_a_limit() -> None:
    poor = Facts(memlock_bytes=0, rtprio=0, huge_pages_free=4)
    assert list(refused(poor)) == ["locked memory", "real-time scheduling"]
    assert refused(replace(poor, capabilities=1 << CAP_IPC_LOCK | 1 << CAP_SYS_NICE)) == {}


def test_a_small_cpuset_and_a_quota_are_told_with_what_is_left() -> None:
    told = refused(GRANTED, replace(MACHINE, allowed=frozenset({0, 2}), quota_millicpus=1500))
    assert list(told) == ["CPUs", "CPU time"]
    assert told["CPUs"].startswith("1,3 of 4 are not ours: 2 left")
    assert told["CPU time"].startswith("a quota of 1.5 CPUs") and "2 threads" in told["CPU time"]
    assert refused(GRANTED, replace(MACHINE, quota_millicpus=4000)) == {}


def test_each_line_says_how_to_grant_it() -> None:
    nothing = Facts(memlock_bytes=0, seccomp=2, no_new_privs=True)
    small = replace(MACHINE, allowed=frozenset({0}), quota_millicpus=500)
    found = list(refusals(nothing, small, MIB))
    assert len(found) == 7
    assert all(each.grant and "\n" not in each.detail + each.grant for each in found)


def test_facts_are_read_from_proc_and_sys(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(
        "Name:\tx\nCapPrm:\tffff\nCapEff:\t0000000000804000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
        "Seccomp_filters:\t3\n"
    )
    pool = tmp_path / "kernel/mm/hugepages/hugepages-2048kB"
    pool.mkdir(parents=True)
    (pool / "free_hugepages").write_text("7\n")
    facts = read_facts(tmp_path, tmp_path)
    assert facts.capabilities == 1 << CAP_IPC_LOCK | 1 << CAP_SYS_NICE
    assert (facts.no_new_privs, facts.seccomp, facts.huge_pages_free) == (True, 2, 7)
    missing = read_facts(tmp_path / "nowhere", tmp_path / "nowhere")
    assert (missing.capabilities, missing.huge_pages_free, missing.seccomp) == (0, None, 0)
