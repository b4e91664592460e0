"""From settings to parts: which layers, which journal, with which bounds."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.journal import (
    Bounds,
    Journal,
    MemoryJournal,
    MemoryStore,
    postgres_journal,
)
from tandem_orchestrator.layers.native import (
    SPIN_NS,
    NativeLayer,
    NativeLimits,
    Quarantine,
    RestartLimits,
    SupervisorLimits,
)
from tandem_orchestrator.layers.python import PythonLayer, PythonLimits, Registry
from tandem_orchestrator.orchestrator import cache
from tandem_orchestrator.orchestrator.machine import SessionMachine
from tandem_orchestrator.orchestrator.routing import Routing
from tandem_orchestrator.plan import PlanOptions
from tandem_orchestrator.settings import (
    KEYS,
    Settings,
    is_database,
    shown_place,
    state_folder,
    weights_of,
)

_log = logging.getLogger("tandem_orchestrator.settings")

MEMORY = ":memory:"
"""The ``journal.path`` that means no file."""


def announce(settings: Settings) -> None:
    """Set the logger's level where one was asked for, and warn of settings that do nothing yet.

    A level that nobody asked for is left to the program's own configuration of logging.
    """
    level, path = settings.orchestrator.log_level, "orchestrator.log_level"
    if settings.origin(path) != "default" or level != KEYS[path].default:
        logging.getLogger("tandem_orchestrator").setLevel(level)
    for line in settings.without_effect():
        _log.warning("%s", line)


def make_journal(settings: Settings) -> Journal:
    """Make the journal that the settings name; it is not opened yet."""
    path = settings.journal.path
    bounds = Bounds(
        backlog_events_max=settings.journal.backlog_events_max,
        commit_events_max=settings.journal.group_events_max,
        sync_interval_ms=settings.orchestrator.sync_interval_ms,
        lock_wait_s=settings.journal.busy_timeout_s,
        poll_interval_ms=settings.journal.control_interval_s * 1000,
    )
    if path is None or path == MEMORY:
        return MemoryJournal(MemoryStore(bounds))
    if is_database(path):
        return postgres_journal(path, bounds=bounds, lease_s=settings.journal.lease_s)
    # Imported here: apsw costs a third of the time that importing all of Tandem may take.
    from tandem_orchestrator.journal.sqlite import SqliteJournal

    return SqliteJournal(Path(path), bounds=bounds)


def make_python_layer(
    settings: Settings, registry: Registry, clock: Clock, machine: SessionMachine
) -> PythonLayer:
    """Make the Python layer."""
    limits = PythonLimits(
        workers=settings.python_layer.async_workers,
        processes=settings.python_layer.process_workers or machine.topology.threads_max,
        cancel_grace_s=settings.orchestrator.cancel_grace_s,
        abandoned_max=settings.python_layer.abandoned_max,
        process_start_timeout_s=settings.python_layer.process_start_timeout_s,
        traceback_chars_max=settings.limits.traceback_chars_max,
        cpus=machine.base_cpus,
    )
    return PythonLayer(registry, clock, limits, machine.notes())


def beside_journal(settings: Settings, suffix: str) -> Path | None:
    """Name a file beside the journal; None for a journal in memory.

    Beside one in a database it is a file of this machine, in the state folder: what was learned
    about costs and crashes here need not hold elsewhere.
    """
    path = settings.journal.path
    if path is None or path == MEMORY:
        return None
    if is_database(path):
        name = hashlib.sha256(shown_place(path).encode()).hexdigest()[:16]
        return state_folder(os.environ) / f"postgres-{name}.{suffix}"
    return Path(f"{path}.{suffix}")


def make_native_layer(
    settings: Settings,
    registry: Registry,
    owner: str,
    clock: Clock,
    on_event: Callable[[str, str], None],
    machine: SessionMachine,
) -> NativeLayer:
    """Make the C layer; it says itself why it is away if it cannot be had."""
    section = settings.c_layer
    options = (
        "--buffer-size", str(section.buffer_size),
        *(("--blob-bytes", str(section.blob_bytes)) if section.blob_bytes else ("--blobs", "0")),
        "--max-agents", str(section.max_agents),
        "--workers", str(section.blocking_workers),
        "--spin-ns", str(section.spin_us * 1000),
        "--late-ms", str(late_ms(section.host_grace_ms)),
        *(("--cpus", machine.base_cpus) if machine.base_cpus else ()),
        *(("--huge-pages",) if section.use_huge_pages else ()),
        *(("--realtime",) if section.realtime_scheduling else ()),
        *(("--lock-memory",) if section.lock_memory else ()),
    )  # fmt: skip
    limits = NativeLimits(
        connect_timeout_s=section.start_timeout_s,
        cancel_grace_s=settings.orchestrator.cancel_grace_s,
        host_grace_ms=section.host_grace_ms,
        host_memory_bytes=section.host_memory_bytes,
        supervisor=SupervisorLimits(
            restarts=RestartLimits(
                first_delay_s=section.restart_delay_s,
                delay_max_s=section.restart_delay_max_s,
                deaths_max=section.deaths_max,
                window_s=section.deaths_window_s,
                cooldown_s=section.cooldown_s,
            )
        ),
    )
    return NativeLayer(
        owner,
        socket=section.socket or "",
        options=options,
        spin_ns=max(section.spin_us * 1000, SPIN_NS) if section.spin_us else 0,
        quarantine=make_quarantine(settings, clock),
        plugins=section.plugins or (),
        twins=registry.library_twins,
        on_event=on_event,
        clock=clock,
        limits=limits,
    )


def cache_bounds(settings: Settings) -> cache.Bounds:
    """Give how much the cache of outputs may keep at this moment."""
    return cache.Bounds(settings.python_layer.cache_size, settings.python_layer.cache_bytes)


def make_quarantine(settings: Settings, clock: Clock) -> Quarantine:
    """Make what counts crashes by input, in a file beside the journal if that has one."""
    file = beside_journal(settings, "quarantine")
    return Quarantine(settings.c_layer.quarantine_crashes, file, lambda: clock.wall_ns() / 1e9)


def quarantine_of(native: NativeLayer | None, settings: Settings, clock: Clock) -> Quarantine:
    """Give the layer's quarantine; before there is a layer, what the file says."""
    return make_quarantine(settings, clock) if native is None else native.quarantine


def late_ms(host_grace_ms: int) -> int:
    """Give how long the bridge waits for an answer beyond a deadline, in milliseconds.

    Longer than a host's grace, so that a caller hears why the host was killed.
    """
    return max(1000, host_grace_ms + 500)


def is_installed(library: str) -> bool:
    """Say whether a library can be imported, without importing it (its parents are)."""
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def installed_names() -> set[str]:
    """Give the import names of the modules that are there; some milliseconds."""
    return {module.name for module in pkgutil.iter_modules()} | set(sys.stdlib_module_names)


class HasReadings(Protocol):
    """Whoever knows the session's machine, and what was measured in it; its parts do."""

    machine: SessionMachine
    routing: Routing


def plan_options(
    settings: Settings, known: HasReadings | None, *, runs: bool = False, roll: float | None = None
) -> PlanOptions:
    """Give the planner's part of the settings, of the machine and of routing, as they are now.

    Args:
        runs: Whether the plan will run at once, so that it may try something.
        roll: See ``Routing.readings``.
    """
    return PlanOptions(
        default_mode=settings.orchestrator.default_mode,
        default_priority=settings.orchestrator.default_priority,
        conflict_resolution=settings.redundancy.conflict_resolution,
        vote=settings.redundancy.vote,
        vote_weights=weights_of(settings.redundancy.vote_weights),
        agreement_threshold=settings.redundancy.agreement_threshold,
        consensus_retries=settings.redundancy.consensus_retries,
        is_installed=is_installed,
        installed=installed_names,
        machine=None if known is None else known.machine.for_planner(),
        **({} if known is None else known.routing.readings(explore=runs, roll=roll)),
    )
