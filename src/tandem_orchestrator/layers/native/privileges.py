"""What the system refuses this process, what that costs, and how to grant it.

Everything works without any of these. Reading and judging are apart, so that the judgement is a
pure function that tests call with the facts of any machine.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tandem_orchestrator.layers.native.sysfs import read_number, read_text
from tandem_orchestrator.model.cpu_lists import show_cpu_list
from tandem_orchestrator.model.topology import Topology

CAP_IPC_LOCK = 14
"""Number of ``linux/capability.h``: may lock memory beyond RLIMIT_MEMLOCK."""
CAP_SYS_NICE = 23
"""Likewise: may schedule in real time."""
HUGE_PAGE_KIB = 2048
"""Size of the pages that rings take."""
HUGE_PAGES_WANTED = 4
"""For the two rings of the first session, each of 2 MiB and a little more."""
_SECCOMP_FILTER = 2


HUGE_PAGES = "huge pages"
"""What the refusal of huge pages is called, as the bridge calls it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read; None: not known."""

    capabilities: int = 0
    """The effective set, a bit each."""
    memlock_bytes: int | None = None
    """RLIMIT_MEMLOCK; None: no bound."""
    rtprio: int = 0
    """RLIMIT_RTPRIO."""
    huge_pages_free: int | None = None
    """Of 2 MiB."""
    no_new_privs: bool = False
    seccomp: int = 0
    """Mode of this process: 0 none, 1 strict, 2 a filter."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that we do without."""

    what: str
    detail: str
    """What is refused, and what that costs."""
    grant: str
    """How whoever may can grant it."""


def read_facts(proc: Path = Path("/proc"), sysfs: Path = Path("/sys")) -> Facts:
    """Read what is granted to this process. Never raises for what it finds."""
    status = read_text(proc / "self" / "status") or ""
    memlock, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    rtprio, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    pool = sysfs / "kernel" / "mm" / "hugepages" / f"hugepages-{HUGE_PAGE_KIB}kB"
    return Facts(
        capabilities=_field(status, "CapEff", 16),
        memlock_bytes=None if memlock == resource.RLIM_INFINITY else memlock,
        rtprio=99 if rtprio == resource.RLIM_INFINITY else rtprio,
        huge_pages_free=read_number(pool / "free_hugepages"),
        no_new_privs=_field(status, "NoNewPrivs", 10) == 1,
        seccomp=_field(status, "Seccomp", 10),
    )


def _field(status: str, name: str, base: int) -> int:
    found = re.search(rf"^{name}:\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
    return int(found[1], base) if found else 0


def refusals(facts: Facts, topology: Topology, rings_bytes: int) -> Iterator[Refusal]:
    """Say what is refused. Pure.

    Args:
        facts: What is granted.
        topology: The machine, and which of its CPUs are ours.
        rings_bytes: Shared memory that the bridge may take (``c_layer.buffer_size``).
    """
    if not facts.capabilities >> CAP_IPC_LOCK & 1:
        bytes_max = facts.memlock_bytes
        if bytes_max is not None and bytes_max < rings_bytes:
            mib = -(-rings_bytes // 2**20)
            yield Refusal(
                "locked memory",
                f"RLIMIT_MEMLOCK is {bytes_max // 1024} KiB, c_layer.lock_memory wants {mib} MiB: "
                "rings may be swapped out when memory is short, and a frame then waits for the disk",
                f"LimitMEMLOCK={mib}M in the unit, or memlock in limits.conf",
            )
    if not facts.capabilities >> CAP_SYS_NICE & 1 and facts.rtprio < 1:
        yield Refusal(
            "real-time scheduling",
            "RLIMIT_RTPRIO is 0, c_layer.realtime_scheduling wants 1: frames wait for a turn while "
            "other programs use every CPU",
            "LimitRTPRIO=1 in the unit, or rtprio in limits.conf",
        )
    if facts.huge_pages_free is None or facts.huge_pages_free < HUGE_PAGES_WANTED:
        here = "the kernel has none" if facts.huge_pages_free is None else facts.huge_pages_free
        yield Refusal(
            HUGE_PAGES,
            f"of 2 MiB, free: {here}, c_layer.use_huge_pages wants {HUGE_PAGES_WANTED}: the rings "
            "take small pages, and the address cache misses more often",
            f"sysctl vm.nr_hugepages={HUGE_PAGES_WANTED}",
        )
    yield from _cpus(topology)
    if facts.seccomp == _SECCOMP_FILTER:
        yield Refusal(
            "system calls",
            "a seccomp filter of whoever started us decides: what it refuses shows as an error of "
            "the call, such as Operation not permitted",
            "a profile of your own for the container",
        )
    if facts.no_new_privs:
        yield Refusal(
            "new privileges",
            "no_new_privs is set: programs that a step starts gain nothing by setuid (sudo, ping)",
            "NoNewPrivileges=no in the unit, or allowPrivilegeEscalation in the container",
        )


def _cpus(topology: Topology) -> Iterator[Refusal]:
    online = {cpu.number for cpu in topology.cpus}
    if missing := online - topology.allowed:
        yield Refusal(
            "CPUs",
            f"{show_cpu_list(missing)} of {len(online)} are not ours: {len(topology.allowed)} left "
            "for workers, and wishes for the others' kind take the next one",
            "the cpuset of the control group, AllowedCPUs= in the unit, or taskset",
        )
    if topology.quota_millicpus is not None and topology.quota_millicpus < 1000 * len(
        topology.allowed
    ):
        yield Refusal(
            "CPU time",
            f"a quota of {topology.quota_millicpus / 1000:g} CPUs: whoever uses it up stands still "
            f"until the next period, so {topology.threads_max} threads are worth running",
            "cpu.max of the control group, or CPUQuota= in the unit",
        )
