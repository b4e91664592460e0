"""``tandem topology`` draws three real machines within 80 columns, and says the same as JSON."""

import json

import pytest

from tandem_orchestrator.cli.app import run_app

MACHINES = ("meteor_lake_155h", "lunar_lake", "raptor_lake_1370p")


def build(machines, root, name):
    return machines.build_sysfs(root, machines.load(name), pmus=name != "raptor_lake_1370p")


@pytest.mark.parametrize("name", MACHINES)
def test_a_drawing_fits_and_names_each_cpu_once(machines, tmp_path, capsys, name):
    assert run_app(["topology", "--sysfs", str(build(machines, tmp_path, name))]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    cores = " ".join(line for line in lines if line.startswith("    ["))
    for sign in "[]+*()":
        cores = cores.replace(sign, " ")
    total = len(machines.load(name).facts)
    assert sorted(map(int, cores.split())) == list(range(total))


def test_siblings_modules_and_kinds_are_drawn(machines, tmp_path, capsys):
    run_app(["topology", "--sysfs", str(build(machines, tmp_path, "meteor_lake_155h"))])
    out = capsys.readouterr().out
    assert "22 CPUs on 16 cores, 1 package, 1 NUMA node" in out
    assert "    [0+1] [10+11] [12+13] [14+15] [16+17] [18+19]\n" in out
    assert "    [2 3 4 5] [6 7 8 9]\n" in out
    assert "no L3\n  LP-E-cores: 2  L2 2 MiB\n    [20 21]\n" in out


def test_what_is_not_allowed_and_what_is_favoured_is_marked(machines, tmp_path, capsys):
    root = build(machines, tmp_path, "raptor_lake_1370p")
    machines.put(root / "fs/cgroup/cpuset.cpus.effective", "4-6")
    machines.put(root / "fs/cgroup/cpu.max", "150000 100000")
    run_app(["topology", "--sysfs", str(root)])
    out = capsys.readouterr().out
    assert "[(0)+(1)] [(2)+(3)] [*4+5] [6+(7)] [*(8)+(9)]" in out
    assert "allowed       4-6; a quota of 1.5 CPUs; 2 threads can run at once" in out


def test_json_holds_each_cpu_and_each_wish(machines, tmp_path, capsys):
    root = build(machines, tmp_path, "raptor_lake_1370p")
    run_app(["topology", "--sysfs", str(root), "--json", "--limit", "5"])
    data = json.loads(capsys.readouterr().out)
    assert (len(data["cpus"]), data["cpus_total"], data["cores_total"]) == (5, 20, 14)
    assert data["wishes"]["p_core_ultra"]["cpus"] == [4, 5, 8, 9]
    assert data["wishes"]["lp_e_core"]["widened"] is True
    assert data["cpus"][4] == {
        "cpu": 4, "core": 4, "package": 0, "node": 0, "kind": "p_core", "favoured": True,
        "allowed": True, "perf": 67, "max_khz": 5_200_000, "l1d_kib": None, "l2_kib": None,
        "l2": 4, "l3_kib": None, "l3": 0,
    }  # fmt: skip


def test_a_folder_that_is_no_sysfs_is_a_usage_error(tmp_path, capsys):
    assert run_app(["topology", "--sysfs", str(tmp_path)]) == 2
    assert "devices/system/cpu" in capsys.readouterr().err
