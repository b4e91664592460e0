"""The sections: SPEC's configuration file and every named bound, as frozen dataclasses.

Each field is declared with its meaning, so that the table in ``docs/settings.md`` is made from
what the code checks. A section that exists is valid: building one checks every field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tandem_orchestrator.settings.journal import Journal
from tandem_orchestrator.settings.keys import key, keys_of
from tandem_orchestrator.settings.redundancy import Redundancy
from tandem_orchestrator.settings.section import Section
from tandem_orchestrator.settings.trust import Router, Twins

_MODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_CPUS = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?){0,255}\Z")
_PORT_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}\Z")


def _check_mode(text: str) -> str | None:
    return None if _MODE.match(text) else "a mode's name: letters, digits, '_' or '-'"


def _check_cpus(text: str) -> str | None:
    if text in ("auto", "none") or _CPUS.match(text):
        return None
    return "auto, none, or a list of CPUs such as 0-3,8"


def _check_host(text: str) -> str | None:
    return None if _PORT_HOST.match(text) else "a host name or address"


def _check_path(text: str) -> str | None:
    return "a path without a zero character" if "\0" in text else None


@dataclass(frozen=True)
class Orchestrator(Section, title="orchestrator"):
    """What holds for every run."""

    default_mode: str = key(
        "INTELLIGENT", "Mode of a command set that names none.", check=_check_mode
    )
    default_priority: str = key(
        "MEDIUM",
        "Priority of a command set that names none.",
        choices=("BACKGROUND", "LOW", "MEDIUM", "HIGH", "CRITICAL"),
    )
    max_parallel_workflows: int = key(
        10,
        "Top-level runs with a step in progress; the rest wait in the queue.",
        low=1,
        high=10_000,
        counts="session",
    )
    max_held_runs: int = key(
        100_000,
        "Runs that wait for an approval, a signal or a decision, or are paused; one more run is "
        "refused as Busy.",
        low=0,
        high=10_000_000,
        counts="session",
    )
    max_queued_runs: int = key(
        1000,
        "Runs that wait for a slot; one more is refused as Busy.",
        low=0,
        high=1_000_000,
        counts="session",
    )
    max_parallel_steps: int = key(
        256,
        "Attempts in progress at one time, over all runs.",
        low=1,
        high=100_000,
        counts="session",
    )
    ageing_s: float = key(
        60.0,
        "Seconds of waiting worth one level of priority; 0: the urgent always go first.",
        low=0,
        high=86_400,
        counts="session",
    )
    sync_interval_ms: float = key(
        1.0,
        "Longest wait, in ms, to gather events for one commit while under load.",
        low=0,
        high=1000,
        counts="session",
    )
    cancel_grace_s: float = key(
        2.0,
        "Seconds between asking an attempt to stop and killing or abandoning it.",
        low=0,
        high=3600,
        counts="session",
    )
    close_timeout_s: float = key(
        10.0,
        "Seconds that close() may take before it stops waiting.",
        low=0.1,
        high=3600,
        counts="session",
    )
    entry_points: bool = key(
        True,
        "Load agents and plugins that installed packages offer.",
        counts="session",
        guarded=True,
        from_environment=False,
    )
    plugin_timeout_s: float = key(
        5.0, "Seconds that one hook of a plugin may take.", low=0.001, high=3600
    )
    log_level: str = key(
        "WARNING",
        "Level of the logger tandem_orchestrator; TANDEM_DEBUG=true means DEBUG.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        env="TANDEM_DEBUG",
        counts="session",
    )


@dataclass(frozen=True)
class PythonLayer(Section, title="python_layer"):
    """Where handlers in Python run."""

    cache_size: int = key(
        10_000,
        "Outputs kept of deterministic actions; 0: none.",
        low=0,
        high=10_000_000,
        env="TANDEM_CACHE_SIZE",
    )
    cache_bytes: int = key(
        64 * 2**20, "Bytes of outputs that are kept; 0: none.", low=0, high=2**40
    )
    async_workers: int = key(
        8,
        "Threads for blocking handlers.",
        low=1,
        high=1024,
        env="TANDEM_PYTHON_WORKERS",
        counts="session",
    )
    process_workers: int = key(
        0, 'Processes for cpu="process" handlers; 0: one a CPU.', low=0, high=1024, counts="session"
    )
    process_start_timeout_s: float = key(
        30.0, "Seconds for a worker process to start.", low=0.1, high=3600, counts="session"
    )
    use_uvloop: bool = key(
        True,
        "Use uvloop where Tandem owns the loop and uvloop is installed.",
        env="TANDEM_ASYNC_IO",
        counts="session",
    )
    abandoned_max: int = key(
        64,
        "Threads and coroutines that did not stop when asked; at the bound no more of them start.",
        low=1,
        high=10_000,
        counts="session",
    )


@dataclass(frozen=True)
class CLayer(Section, title="c_layer"):
    """The bridge, its memory and how it is looked after."""

    enabled: bool = key(True, "Use the C layer where it is there.", counts="session")
    socket: str | None = key(
        None,
        "Socket of a bridge that runs already; null: start one.",
        check=_check_path,
        env="TANDEM_SOCKET",
        counts="session",
        guarded=True,
    )
    buffer_size: int = key(
        16 * 2**20,
        "Bytes of shared memory for all rings.",
        low=2**20,
        high=2**30,
        env="TANDEM_C_BUFFER_SIZE",
        counts="session",
    )
    blob_bytes: int = key(
        2**30,
        "Bytes that one session may have in sealed blobs at a time, and so its longest body to or "
        "from an agent in C. 0: no blobs, so 64 MiB.",
        low=0,
        high=2**32 - 1,
        counts="session",
    )
    max_agents: int = key(
        32,
        "Agents that may be connected to the bridge.",
        low=1,
        high=1024,
        env="TANDEM_C_MAX_AGENTS",
        counts="session",
    )
    plugins: tuple[str, ...] | None = key(
        None,
        'Plug-ins (shared objects), as `["a.so", "b.so"]`; in the variable, or in one text, colons '
        "separate them. Each runs in a host process of its own.",
        check=_check_path,
        counts="session",
        guarded=True,
    )
    host_grace_ms: int = key(
        500,
        "Milliseconds that an action of a plug-in gets after its cancel or deadline; then its "
        "host is killed and started again. 0: for ever.",
        low=0,
        high=86_400_000,
        counts="session",
    )
    host_memory_bytes: int = key(
        4 * 2**30,
        "Address space, in bytes, that a plug-in may add to its host; beyond it `malloc` fails. "
        "0: no limit.",
        low=0,
        high=2**46,
        counts="session",
    )
    quarantine_crashes: int = key(
        3,
        "Crashes of a plug-in's host on one input until that input is refused. 0: never.",
        low=0,
        high=1000,
        counts="session",
    )
    use_huge_pages: bool = key(
        True,
        "Ask for huge pages for rings of 2 MiB and more.",
        env="TANDEM_C_USE_HUGE_PAGES",
        counts="session",
    )
    realtime_scheduling: bool = key(
        False,
        "Ask for real-time scheduling of the bridge's thread that moves frames.",
        counts="session",
    )
    lock_memory: bool = key(
        False, "Ask to keep the rings from being swapped out.", counts="session"
    )
    blocking_workers: int = key(
        4, "Threads in the bridge for actions that block.", low=1, high=64, counts="session"
    )
    spin_us: int = key(
        2,
        "Microseconds that the bridge looks for more before it sleeps; whoever waits for it looks "
        "at least 20. 0: neither looks. More answers sooner, and keeps two CPUs busy.",
        low=0,
        high=1_000_000,
        counts="session",
    )
    start_timeout_s: float = key(
        5.0, "Seconds for a bridge to start and say welcome.", low=0.1, high=300, counts="session"
    )
    restart_delay_s: float = key(
        0.05,
        "Wait before the first restart; each next one doubles it.",
        low=0.001,
        high=60,
        counts="session",
    )
    restart_delay_max_s: float = key(
        5.0, "Longest wait before a restart.", low=0.001, high=600, counts="session"
    )
    deaths_max: int = key(
        5,
        "Deaths within the window before restarts stop for the cool-down.",
        low=1,
        high=1000,
        counts="session",
    )
    deaths_window_s: float = key(
        60.0, "Seconds over which deaths are counted.", low=1, high=86_400, counts="session"
    )
    cooldown_s: float = key(
        30.0, "Seconds without a restart after too many deaths.", low=0.1, high=86_400,
        counts="session",
    )  # fmt: skip

    def _disagreements(self) -> list[str]:
        found = []
        if self.restart_delay_s > self.restart_delay_max_s:
            found.append(
                f"restart_delay_s={self.restart_delay_s}, expected at most restart_delay_max_s"
                f"={self.restart_delay_max_s}"
            )
        return found


@dataclass(frozen=True)
class Metrics(Section, title="metrics"):
    """What is counted and where it can be fetched."""

    enable_prometheus: bool = key(
        True,
        "Serve metrics over HTTP under `tandem serve`; never in library use.",
        counts="session",
        pending="`tandem serve`",
    )
    prometheus_port: int = key(
        9090,
        "Port of the metrics; 0: any free one.",
        low=0,
        high=65_535,
        counts="session",
        pending="`tandem serve`",
    )
    prometheus_host: str = key(
        "127.0.0.1",
        "Address that the metrics port is bound to.",
        check=_check_host,
        counts="session",
        guarded=True,
        from_environment=False,
        pending="`tandem serve`",
    )
    history_size: int = key(
        1000,
        "Samples kept for each metric (not runs: see journal.keep_days).",
        low=1,
        high=1_000_000,
        pending="the history of metrics",
    )


@dataclass(frozen=True)
class Hardware(Section, title="hardware"):
    """Wishes about cores; a wish that is refused is one line in health."""

    cpu_affinity: str = key(
        "auto",
        "auto: by each set's wish; none: leave to the kernel; or CPUs such as 0-3,8.",
        check=_check_cpus,
        env="TANDEM_CPU_AFFINITY",
        counts="session",
    )
    prefer_p_cores: bool = key(
        True,
        "Give sets without a wish the performance cores first.",
        env="TANDEM_PREFER_P_CORES",
        counts="session",
    )
    e_core_threshold: float = key(
        0.7,
        "Load of the performance cores above which efficiency cores are used too.",
        low=0,
        high=1,
        env="TANDEM_E_CORE_THRESHOLD",
        counts="session",
    )
    sysfs: str | None = key(
        None,
        "A folder to read the machine from in place of /sys, as for one that a container hides.",
        check=_check_path,
        counts="session",
        guarded=True,
    )
    numa_aware: bool = key(
        False,
        "Keep bridge, rings and workers on one NUMA node; nothing where there is only one.",
        counts="session",
    )


@dataclass(frozen=True)
class Limits(Section, title="limits"):
    """How large things may get; full is a typed answer to the caller."""

    steps_max: int = key(
        1_000_000, "Steps in one command set made in Python.", low=1, high=10_000_000
    )
    output_bytes_max: int = key(
        64 * 2**20,
        "Bytes of one output; a larger one fails its attempt. An event of the journal has 128 MiB.",
        low=1024,
        high=120 * 2**20,
        counts="session",
    )
    capsule_bytes_max: int = key(
        2**20,
        "Bytes of one capsule (a conflict kept whole); beyond it outputs are cut, then the input.",
        low=4096,
        high=64 * 2**20,
        counts="session",
    )
    capsule_redact: tuple[str, ...] | None = key(
        None,
        "Names whose values are taken out of capsules besides those of secrets, as "
        '`["iban", "birth_date"]`; case and punctuation do not count.',
        counts="session",
    )
    traceback_chars_max: int = key(
        16_384, "Characters of a failure's traceback.", low=0, high=65_536, counts="session"
    )
    signals_max: int = key(
        1000,
        "Signals that one run keeps until a step waits for them; one more is refused as Busy.",
        low=1,
        high=1_000_000,
        counts="session",
    )
    retries_per_s: float = key(
        100.0,
        "Retries of one agent in a second, over all runs; past it they wait for their turn. 0: any. "
        "What somebody asks for again does not count.",
        low=0,
        high=1e6,
        counts="session",
    )


SECTIONS: dict[str, type[Section]] = {
    owner.title: owner
    for owner in (
        *(Orchestrator, PythonLayer, CLayer, Router, Redundancy),
        *(Twins, Metrics, Hardware, Journal, Limits),
    )
}
"""Every section by name, in the order of the table."""

for _title, _owner in SECTIONS.items():
    _owner.keys = keys_of(_title, _owner)
