"""Three real machines, read from every source that tells their cores apart."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from tandem_orchestrator.layers.native.topology import (
    NOTE_CPUSET,
    NOTE_HIGH,
    NOTE_MASK,
    NOTE_NO_LIST,
    TopologySources,
    read_topology,
    this_machine,
)
from tandem_orchestrator.model.cpu_lists import parse_cpu_list
from tandem_orchestrator.model.topology import CoreClass

P, E, LP = CoreClass.P_CORE, CoreClass.E_CORE, CoreClass.LP_E_CORE


def cpus(text):
    return parse_cpu_list(text)


def read(root, **more):
    return read_topology(
        TopologySources(root, proc=root / "proc", cgroup=root / "fs" / "cgroup", **more)
    )


def kinds(topology):
    return tuple(topology.of_kind(kind) for kind in (P, E, LP))


METEOR = (cpus("0-1,10-19"), cpus("2-9"), cpus("20-21"))
LUNAR = (cpus("0-3"), cpus(""), cpus("4-7"))
RAPTOR = (cpus("0-11"), cpus("12-19"), cpus(""))


@pytest.mark.parametrize(
    ("name", "expected"), [("meteor_lake_155h", METEOR), ("lunar_lake", LUNAR)]
)
@pytest.mark.parametrize("source", ["pmus", "cpuid", "cpuid alone"])
def test_kinds_that_are_named_are_believed(machines, tmp_path, name, expected, source):
    machine = machines.load(name)
    silent = source == "cpuid alone"
    machines.build_sysfs(
        tmp_path, machine, pmus=source == "pmus", caches=not silent, topology=not silent
    )
    cpuid = None if source == "pmus" else machines.reader(machines.cpuid_table(machine))
    topology = read(tmp_path, cpuid=cpuid)
    assert kinds(topology) == expected
    assert topology.told_by == ("cpu_core and cpu_atom" if source == "pmus" else "CPUID leaf 0x1A")
    assert topology.favoured == frozenset()
    for cpu, fact in zip(topology.cpus, machine.facts, strict=True):
        assert cpu.core == min(cpus(fact.siblings))
        assert (cpu.l1d_kib, cpu.l2_kib, cpu.l2) == (
            fact.l1d_kib, fact.l2[0], min(cpus(fact.l2[1])),
        )  # fmt: skip
        assert (cpu.l3_kib, cpu.l3) == ((fact.l3[0], min(cpus(fact.l3[1]))) if fact.l3 else (0, -1))


def test_meteor_lake_has_six_p_cores_of_two_threads_and_modules_of_four_atoms(machines, tmp_path):
    machine = machines.load("meteor_lake_155h")
    topology = read(machines.build_sysfs(tmp_path, machine, pmus=True))
    pairs = {}
    for cpu in topology.cpus:
        pairs.setdefault(cpu.core, []).append(cpu.number)
    assert [pair for pair in pairs.values() if len(pair) == 2] == [
        [0, 1], [10, 11], [12, 13], [14, 15], [16, 17], [18, 19],
    ]  # fmt: skip
    assert {cpu.l2 for cpu in topology.cpus if cpu.kind is E} == {2, 6}
    assert {cpu.l2 for cpu in topology.cpus if cpu.kind is LP} == {20}


@pytest.mark.parametrize("source", ["acpi_cppc/highest_perf", "cpuinfo_max_freq", "cpu_capacity"])
def test_raptor_lake_is_told_by_each_grade_alone_and_its_faster_cores_are_favoured(
    machines, tmp_path, source
):
    machine = machines.load("raptor_lake_1370p")
    for fact in machine.facts:
        if source == "cpu_capacity":
            fact.capacity = fact.perf * 1024 // 67
        if source != "acpi_cppc/highest_perf":
            fact.perf = None
        if source != "cpuinfo_max_freq":
            fact.max_khz = None
    topology = read(machines.build_sysfs(tmp_path, machine))
    assert kinds(topology) == RAPTOR
    assert topology.told_by == source
    assert topology.favoured == cpus("4-5,8-9")


def test_a_capacity_that_is_equal_for_all_leaves_the_word_to_the_next_source(machines, tmp_path):
    machine = machines.load("raptor_lake_1370p")
    for fact in machine.facts:
        fact.capacity = 1024
    topology = read(machines.build_sysfs(tmp_path, machine))
    assert (kinds(topology), topology.told_by) == (RAPTOR, "acpi_cppc/highest_perf")


def test_a_source_that_is_silent_about_one_cpu_is_silent(machines, tmp_path):
    machine = machines.load("raptor_lake_1370p")
    machine.facts[3].perf = None
    topology = read(machines.build_sysfs(tmp_path, machine))
    assert (kinds(topology), topology.told_by) == (RAPTOR, "cpuinfo_max_freq")
    table = machines.cpuid_table(machines.load("meteor_lake_155h"))
    del table[7, 0, 0]
    machines.build_sysfs(tmp_path / "m", machines.load("meteor_lake_155h"))
    topology = read(tmp_path / "m", cpuid=machines.reader(table))
    assert (topology.kinds, topology.told_by) == ((P,), "nothing")


def test_lp_e_cores_are_found_by_clock_alone_though_the_gap_below_e_cores_is_wider(
    machines, tmp_path
):
    machine = machines.load("meteor_lake_155h")
    for fact in machine.facts:  # clocks of this processor, from its data sheet
        fact.max_khz = 2_500_000 if fact.l3 is None else 3_800_000
        if fact.kind == "core":
            fact.max_khz = 4_800_000 if fact.cpu in (12, 13, 14, 15) else 4_500_000
    topology = read(machines.build_sysfs(tmp_path, machine))
    assert kinds(topology) == METEOR
    assert topology.told_by == "cpuinfo_max_freq"
    assert topology.favoured == cpus("12-15")


def test_a_lowpower_pmu_names_lp_e_cores_even_with_l3(machines, tmp_path):
    machine = machines.load("raptor_lake_1370p")
    root = machines.build_sysfs(tmp_path, machine)
    machines.put(root / "devices/cpu_core/cpus", "0-11")
    machines.put(root / "devices/cpu_atom/cpus", "12-15")
    assert read(root).told_by == "acpi_cppc/highest_perf"  # not all are named yet
    machines.put(root / "devices/cpu_lowpower/cpus", "16-19")
    assert kinds(read(root)) == (cpus("0-11"), cpus("12-15"), cpus("16-19"))


@pytest.mark.parametrize("kind", ["core", "atom"])
def test_a_machine_with_one_kind_of_core_has_p_cores(machines, tmp_path, kind):
    facts = [machines.Fact(n, kind=kind, apic=2 * n, perf=100 - n) for n in range(4)]
    machine = machines.Machine(facts)
    root = machines.build_sysfs(tmp_path, machine)
    topology = read(root, cpuid=machines.reader(machines.cpuid_table(machine)))
    assert (topology.kinds, topology.told_by) == ((P,), "nothing")
    assert topology.favoured == {0}


def test_graded_cores_of_one_kind_are_not_split(machines, tmp_path):
    # Sixteen cores as AMD grades them: the last is a third below the first, in small steps.
    facts = [machines.Fact(n, perf=236 - 5 * n) for n in range(16)]
    topology = read(machines.build_sysfs(tmp_path, machines.Machine(facts)))
    assert (topology.kinds, topology.favoured) == ((P,), {0})


def test_offline_cpus_are_named_and_take_no_part(machines, tmp_path):
    machine = machines.load("raptor_lake_1370p")
    root = machines.build_sysfs(tmp_path, machine)
    machines.put(root / "devices/system/cpu/online", "0,3-19")
    topology = read(root)
    assert topology.offline == {1, 2}
    by_number = {cpu.number: cpu for cpu in topology.cpus}
    assert (by_number[0].core, by_number[3].core, by_number[3].l2) == (0, 3, 3)


def test_numa_nodes_are_read_and_absent_ones_are_node_0(machines, tmp_path):
    machine = machines.load("raptor_lake_1370p")
    machine.nodes = {0: "0-7", 2: "8-15"}
    topology = read(machines.build_sysfs(tmp_path, machine))
    assert [cpu.node for cpu in topology.cpus] == [0] * 8 + [2] * 8 + [0] * 4


def test_core_ids_group_siblings_where_lists_are_missing_but_only_within_a_package(
    machines, tmp_path
):
    facts = [machines.Fact(n, core_id=n % 2, package=n // 4) for n in range(8)]
    topology = read(machines.build_sysfs(tmp_path, machines.Machine(facts)))
    assert [cpu.core for cpu in topology.cpus] == [0, 1, 0, 1, 4, 5, 4, 5]
    assert [cpu.package for cpu in topology.cpus] == [0] * 4 + [1] * 4


# --- what is allowed -----------------------------------------------------------------------------


@pytest.fixture
def raptor(machines, tmp_path):
    return machines.build_sysfs(tmp_path, machines.load("raptor_lake_1370p"))


def test_affinity_and_cpuset_both_limit(machines, raptor):
    machines.put(raptor / "proc/self/cgroup", "0::/a/b")
    machines.put(raptor / "fs/cgroup/a/cpuset.cpus.effective", "4-15")
    assert read(raptor, affinity=frozenset(range(10))).allowed == cpus("4-9")
    assert read(raptor).allowed == cpus("4-15")


def test_limits_that_exclude_each_other_are_noted_and_not_obeyed(machines, raptor):
    machines.put(raptor / "fs/cgroup/cpuset.cpus.effective", "4-15")
    topology = read(raptor, affinity=frozenset({0, 1}))
    assert (topology.allowed, topology.notes) == ({0, 1}, (NOTE_CPUSET,))
    topology = read(raptor, affinity=frozenset({77}))
    assert (topology.allowed, topology.notes) == (cpus("4-15"), (NOTE_MASK,))


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000"}, 1500),
        ({"cpu.max": "max 100000"}, None),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "cpu.max": "9 1"}, 500),
        ({"a/b/cpu.max": "1 100000000"}, 1),
        ({"a/b/cpu.max": "100000 0"}, None),
        ({"a/b/cpu.max": "100000"}, None),
        ({"a/b/cpu.max": "-5 100000"}, None),
        ({"cpu/v1/cpu.cfs_quota_us": "250000", "cpu/v1/cpu.cfs_period_us": "100000"}, 2500),
        ({"cpu/v1/cpu.cfs_quota_us": "-1", "cpu/v1/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "70000", "cpu/cpu.cfs_period_us": "100000"}, 700),
    ],
)
def test_the_smallest_quota_of_all_levels_counts(machines, raptor, files, quota):
    machines.put(raptor / "proc/self/cgroup", "4:cpu,cpuacct:/v1\n0::/a/b")
    for name, text in files.items():
        machines.put(raptor / "fs/cgroup" / name, text)
    topology = read(raptor)
    assert topology.quota_millicpus == quota
    assert topology.threads_max == (20 if quota is None else -(-quota // 1000))


def test_a_v1_cpuset_is_obeyed_in_its_own_hierarchy(machines, raptor):
    machines.put(raptor / "proc/self/cgroup", "3:cpuset:/docker/1\n0::/")
    machines.put(raptor / "fs/cgroup/unified/cgroup.procs", "")
    machines.put(raptor / "fs/cgroup/cpuset/cpuset.cpus", "0-19")
    assert read(raptor).allowed == cpus("0-19")  # the container sees its own group as the root
    machines.put(raptor / "fs/cgroup/cpuset/docker/1/cpuset.cpus", "2-3")
    assert read(raptor).allowed == cpus("2-3")


def test_a_group_outside_of_the_namespace_is_read_at_the_root(machines, raptor):
    machines.put(raptor / "proc/self/cgroup", "0::/../../elsewhere")
    machines.put(raptor / "elsewhere/cpuset.cpus.effective", "1")
    machines.put(raptor / "fs/cgroup/cpuset.cpus.effective", "5-6")
    assert read(raptor).allowed == cpus("5-6")


# --- odd trees -----------------------------------------------------------------------------------


def test_an_empty_tree_is_the_mask_or_one_plain_cpu(tmp_path):
    topology = read(tmp_path, affinity=frozenset({2, 5}))
    assert ([cpu.number for cpu in topology.cpus], topology.kinds) == ([2, 5], (P,))
    assert topology.notes == (NOTE_NO_LIST,)
    assert read(tmp_path / "missing").allowed == {0}


def test_without_a_list_the_folders_that_are_not_switched_off_count(machines, raptor):
    (raptor / "devices/system/cpu/online").unlink()
    machines.put(raptor / "devices/system/cpu/cpu5/online", "0")
    topology = read(raptor)
    assert topology.offline == {5} and len(topology.cpus) == 19


def test_cpus_beyond_the_bound_are_left_out_and_said_to_be(machines, tmp_path):
    machines.put(tmp_path / "devices/system/cpu/online", "0-1,4094-999999999999999")
    topology = read(tmp_path)
    assert [cpu.number for cpu in topology.cpus] == [0, 1, 4094, 4095]
    assert topology.notes == (NOTE_HIGH,)


def test_a_fifo_or_folder_in_the_place_of_a_file_is_as_if_missing(machines, raptor):
    online = raptor / "devices/system/cpu/online"
    online.unlink()
    os.mkfifo(online)
    perf = raptor / "devices/system/cpu/cpu0/acpi_cppc/highest_perf"
    perf.unlink()
    perf.mkdir()
    topology = read(raptor)
    assert (len(topology.cpus), topology.told_by) == (20, "cpuinfo_max_freq")


# --- this machine, against another program --------------------------------------------------------


@pytest.mark.skipif(shutil.which("lscpu") is None, reason="util-linux is not installed")
def test_this_machine_is_read_as_lscpu_reads_it():
    done = subprocess.run(
        ["lscpu", "--json", "--extended=CPU,CORE,SOCKET,NODE,CACHE"],
        capture_output=True, check=True, timeout=20, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    theirs = {row["cpu"]: row for row in json.loads(done.stdout)["cpus"]}
    topology = read_topology(replace(this_machine(), affinity=None))
    assert [cpu.number for cpu in topology.cpus] == sorted(theirs)

    def groups(key):
        found = {}
        for number, row in theirs.items():
            found.setdefault(key(row), set()).add(number)
        return {frozenset(group) for group in found.values()}

    def ours(key):
        found = {}
        for cpu in topology.cpus:
            found.setdefault(key(cpu), set()).add(cpu.number)
        return {frozenset(group) for group in found.values()}

    assert ours(lambda cpu: cpu.core) == groups(lambda row: row["core"])
    assert ours(lambda cpu: cpu.package) == groups(lambda row: row["socket"])
    for cpu in topology.cpus:
        assert cpu.node == (theirs[cpu.number]["node"] or 0)
    names = next((k for k in next(iter(theirs.values())) if ":l2" in k), "")
    if "l3" in names:
        place = names.split(":").index("l3")
        assert ours(lambda cpu: cpu.l3) == groups(lambda row: row[names].split(":")[place])
