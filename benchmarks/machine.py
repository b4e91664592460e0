"""The machine that a figure was taken on, since a figure without one means nothing."""

import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader needs to compare figures."""

    cpu: str
    """The processor's own name."""
    cores: int
    """Logical CPUs that this process may use."""
    memory_mib: int
    """Physical memory, in MiB."""
    kernel: str
    """System and release."""
    python: str
    """Implementation and version."""
    load_1min: float
    """Load average of the last minute at the start: well above 0 means a noisy machine."""

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name, for JSON."""
        return asdict(self)


def this_machine() -> Machine:
    """Describe the machine that this process runs on (Linux)."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return Machine(
        cpu=names[0] if names else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {sys.version.split()[0]}",
        load_1min=round(os.getloadavg()[0], 2),
    )
