"""Both layers read one machine alike: real ones, made-up ones, and trees full of nonsense.

Runs the program ``td_topology``, built with the C tests; see ``tests/parity/conftest.py``.
"""

import importlib.util
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native.topology import (
    NOTE_CPUSET,
    NOTE_HIGH,
    NOTE_MASK,
    NOTE_NO_LIST,
    TopologySources,
    read_topology,
)
from tandem_orchestrator.model.cpu_lists import show_cpu_list
from tandem_orchestrator.model.levels import HardwareAffinity
from tandem_orchestrator.plan.place import WIDENING, place
from tandem_orchestrator.settings import Hardware

NAME = "tandem_topology_machines"
MACHINES = ("meteor_lake_155h", "lunar_lake", "raptor_lake_1370p")
TREES, TREES_LONG = 8, 300
"""Trees full of nonsense a machine."""


@pytest.fixture(scope="session")
def machines():
    if NAME not in sys.modules:
        path = Path(__file__).parents[1] / "fixtures" / "topology" / "machines.py"
        spec = importlib.util.spec_from_file_location(NAME, path)
        sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[NAME]


@pytest.fixture(scope="session")
def in_c():
    """Ask C; gives its lines."""
    folder = os.environ.get("TANDEM_NATIVE_TOOLS", "")
    program = Path(folder, "td_topology")
    if not folder or not program.is_file():
        reason = f"TANDEM_NATIVE_TOOLS={folder!r} holds no td_topology; `make test` builds it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    def ask(*arguments):
        done = subprocess.run(
            [program, *map(str, arguments)], capture_output=True, timeout=50, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode().splitlines()

    return ask


def in_python(topology):
    """Show a topology as ``td_topology`` does."""
    bits = {NOTE_NO_LIST: 1, NOTE_HIGH: 2, NOTE_MASK: 4, NOTE_CPUSET: 8}
    rows = [
        ("told_by", topology.told_by),
        ("notes", sum(bits[note] for note in topology.notes)),
        ("quota", topology.quota_millicpus or 0),
        ("allowed", show_cpu_list(topology.allowed)),
        ("offline", show_cpu_list(topology.offline)),
    ]
    for wish in HardwareAffinity:
        if wish is HardwareAffinity.AUTO and len(topology.kinds) == 1:
            placement = place(HardwareAffinity.P_CORE, topology, Hardware())
        else:
            placement = place(wish, topology, Hardware())
        taken = next(
            kind
            for kind in WIDENING[wish]
            if place(kind, topology, Hardware()).cpus == placement.cpus
            and not place(kind, topology, Hardware()).widened
        )
        rows.append(("mask", wish, taken, placement.threads_max, show_cpu_list(placement.cpus)))
    rows += [
        ("cpu", c.number, c.core, c.package, c.node, c.kind, int(c.favoured), c.perf, c.max_khz,
         c.l1d_kib, c.l2_kib, c.l2, c.l3_kib, c.l3)
        for c in topology.cpus
    ]  # fmt: skip
    return ["\t".join(map(str, row)) for row in rows]


def both(in_c, root, *, cpuid=None, affinity=None, machines=None):
    arguments = ["--sysfs", root, "--proc", root / "proc", "--cgroup", root / "fs" / "cgroup"]
    if cpuid is not None:
        arguments += ["--cpuid", machines.put_table(root / "cpuid.tsv", cpuid)]
    if affinity is not None:
        arguments += ["--affinity", show_cpu_list(affinity)]
    sources = TopologySources(
        root,
        proc=root / "proc",
        cgroup=root / "fs" / "cgroup",
        cpuid=None if cpuid is None else machines.reader(cpuid),
        affinity=affinity,
    )
    return in_c(*arguments), in_python(read_topology(sources))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("source", ["sysfs", "cpuid", "cpuid alone", "neither"])
def test_real_machines_are_read_alike(in_c, machines, tmp_path, name, source):
    machine = machines.load(name)
    alone = source == "cpuid alone"
    machines.build_sysfs(
        tmp_path, machine, pmus=source == "sysfs", caches=not alone, topology=not alone
    )
    named = name != "raptor_lake_1370p"
    cpuid = machines.cpuid_table(machine, kinds=named) if source.startswith("cpuid") else None
    c, python = both(
        in_c, tmp_path, cpuid=cpuid, affinity=frozenset(range(1, 16)), machines=machines
    )
    assert c == python
    assert len(c) == 10 + len(machine.facts)


def test_this_machine_is_read_alike(in_c):
    assert in_c() == in_python(read_topology())


def test_groups_and_quotas_are_read_alike(in_c, machines, tmp_path):
    root = machines.build_sysfs(tmp_path, machines.load("raptor_lake_1370p"))
    group = root / "fs" / "cgroup"
    seen = set()
    for groups in ("0::/a/b", "3:cpu,cpuset:/a\n0::/", "0::/../x", "0::/" + "d/" * 70, "x", "0::a"):
        for files in (
            {"a/cpuset.cpus.effective": "3-8", "a/b/cpu.max": "150000 100000"},
            {"cpuset/a/cpuset.cpus": "1,2", "cpu/a/cpu.cfs_quota_us": "5",
             "cpu/a/cpu.cfs_period_us": "1000"},
            {"cpuset.cpus.effective": "40-50", "cpu.max": "max 100000"},
            {"unified/cpuset.cpus.effective": "7", "unified/cpu.max": " 1\t1\n\n"},
        ):  # fmt: skip
            shutil.rmtree(group, ignore_errors=True)
            machines.put(root / "proc/self/cgroup", groups)
            for name, text in files.items():
                machines.put(group / name, text)
            c, python = both(in_c, root)
            assert c == python, (groups, files)
            seen.add(tuple(c[1:4]))
    assert len(seen) == 5


NONSENSE = (
    "", "\n", " ", "0", "-1", "1", "3", "x", "1 2", "0-", "5-3", "0-4095", "0-99999999999999999",
    "18446744073709551616", "999999999", "1000000001", "48K", "-3K", "9M", "999999999G", "K",
    "Data", "Instruction", "Unified", "0,2,4,6,8,10", "0-19", "1-1,1-1,", "4096-5000", "max 100000",
    "100000 50000", "1 1", "00", "0x10", "\0", "\xff\xfe", "\x0b3", "7" * 70_000, "0::/a\n", ":::", "1",
)  # fmt: skip


def garble(root: Path, rng: random.Random) -> None:
    """Remove, replace and rewrite files and folders of a tree at random."""
    places = sorted(path for path in root.rglob("*") if path.name != "cpuid.tsv")
    for path in rng.sample(places, k=min(len(places), rng.choice((1, 3, 10, 40, 120)))):
        if not path.exists() and not path.is_symlink():
            continue  # went with its folder
        act = rng.randrange(8)
        if path.is_dir():
            if act < 2:
                shutil.rmtree(path)
            continue
        path.unlink()
        if act == 0:
            path.mkdir()
        elif act == 1:
            path.symlink_to(rng.choice(("nowhere", path.name, "/dev/zero", "..")))
        elif act == 2:
            os.mkfifo(path)
        elif act < 7:
            path.write_bytes(os.fsencode(rng.choice(NONSENSE)))
    for folder in ("proc/self/cgroup", "fs/cgroup/cpu.max", "fs/cgroup/cpuset.cpus.effective"):
        if rng.random() < 0.3:
            path = root / folder
            if not path.parent.is_dir():
                continue
            if not path.exists() and not path.is_symlink():
                path.write_bytes(os.fsencode(rng.choice(NONSENSE)))


@pytest.mark.parametrize("name", MACHINES)
def test_nonsense_is_read_alike_and_never_fails(in_c, machines, tmp_path, name):
    read_nonsense(in_c, machines, tmp_path, name, range(TREES))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MACHINES)
def test_much_nonsense_is_read_alike_and_never_fails(in_c, machines, tmp_path, name):
    read_nonsense(in_c, machines, tmp_path, name, range(TREES, TREES_LONG))


def read_nonsense(in_c, machines, tmp_path, name, seeds):
    told, alive = set(), 0
    for seed in seeds:
        rng = random.Random(f"{name} {seed}")  # the seed is the tree: a failure can be repeated
        root = tmp_path / str(seed)
        machine = machines.load(name)
        for fact in machine.facts:
            fact.capacity = rng.choice((None, 1024, 600))
        machines.build_sysfs(root, machine, pmus=rng.random() < 0.5, topology=rng.random() < 0.8)
        for folder in ("proc/self", "fs/cgroup/a"):
            (root / folder).mkdir(parents=True)
        cpuid = None
        if rng.random() < 0.6:
            cpuid = machines.cpuid_table(machine, kinds=name != "raptor_lake_1370p")
            for key in rng.sample(sorted(cpuid), k=rng.choice((0, 1, 5))):
                cpuid[key] = tuple(rng.randrange(2**32) for _ in range(4))
        garble(root, rng)
        affinity = frozenset(rng.sample(range(24), k=5)) if rng.random() < 0.5 else None
        c, python = both(in_c, root, cpuid=cpuid, affinity=affinity, machines=machines)
        assert c == python, f"seed {seed}"
        told.add(c[0])
        alive += len(c) > 12
        shutil.rmtree(root)
    assert len(told) >= 2, "the trees are too broken to tell anything"
    assert alive > 0
