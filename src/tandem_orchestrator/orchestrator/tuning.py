"""Tuning: from the kind of a workload to settings, each with its reason. Pure, but for ``undo``.

SPEC's ``tune_for_workload`` takes three wishes: what the load is like, what matters most, and what
the hardware may be asked for. They are followed in this order, and where two of them want another
value for one setting the later one has it. Nothing here is magic: each rule is a line below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from tandem_orchestrator.errors import ConfigError, Fault
from tandem_orchestrator.settings import KEYS, Config, Settings

MIB = 2**20
SPIN_CPUS_MIN = 4
"""With fewer CPUs a bridge and a loop that spin take from the handlers what they would win."""


class Change(NamedTuple):
    """What happens to one setting."""

    # Any: a setting's own type.
    old: Any
    new: Any
    why: str


class Rule(NamedTuple):
    """What a wish asks of one setting."""

    path: str
    # Any: a setting's own type. Gives the new value for (old value, CPUs).
    value: Callable[[Any, int], Any]
    why: str


def _at_least(number: float) -> Callable[[Any, int], Any]:
    return lambda old, cpus: max(old, number)


def _at_most(number: float) -> Callable[[Any, int], Any]:
    return lambda old, cpus: min(old, number)


def _be(value: Any) -> Callable[[Any, int], Any]:
    return lambda old, cpus: value


def _spin(old: int, cpus: int) -> int:
    return max(old, 50) if cpus >= SPIN_CPUS_MIN else old


_WAIT_FOR_NOTHING = (
    Rule("orchestrator.sync_interval_ms", _be(0.0), "a commit never waits for company"),
    Rule("c_layer.spin_us", _spin, f"look for frames before sleeping, from {SPIN_CPUS_MIN} CPUs"),
)
_MUCH_AT_ONCE = (
    Rule("orchestrator.max_parallel_workflows", _at_least(128), "runs wait for work, not a place"),
    Rule("orchestrator.max_queued_runs", _at_least(10_000), "a burst is queued, not refused"),
    Rule("orchestrator.max_parallel_steps", _at_least(1024), "attempts in progress, of all runs"),
    Rule(
        "python_layer.async_workers",
        lambda old, cpus: max(old, min(64, 4 * cpus)),
        "blocking handlers mostly wait: four threads a CPU, at most 64",
    ),
    Rule("journal.group_events_max", _at_least(1024), "more events share one fsync"),
    Rule("journal.backlog_events_max", _at_least(100_000), "async durability rides out a burst"),
    Rule("c_layer.buffer_size", _at_least(32 * MIB), "rings that a burst does not fill"),
)
_LITTLE_MEMORY = (
    Rule("python_layer.cache_bytes", _at_most(4 * MIB), "fewer outputs are kept"),
    Rule("c_layer.buffer_size", _at_most(4 * MIB), "small rings"),
    Rule("c_layer.use_huge_pages", _be(False), "a huge page rounds a small ring up"),
    Rule("orchestrator.max_queued_runs", _at_most(100), "each queued run holds its payloads"),
    Rule("journal.backlog_events_max", _at_most(1000), "each event not yet written is held"),
)
_BATCH = (
    Rule(
        "orchestrator.max_parallel_workflows",
        lambda old, cpus: max(1, cpus),
        "one run a CPU: finish what was begun before the next",
    ),
    Rule("orchestrator.max_queued_runs", _at_least(100_000), "the whole batch may be queued"),
    Rule("orchestrator.sync_interval_ms", _at_least(10.0), "larger commits; nobody waits for one"),
    Rule("journal.group_events_max", _at_least(1024), "more events share one fsync"),
)
_TUNED = {
    rule.path
    for rules in (_WAIT_FOR_NOTHING, _MUCH_AT_ONCE, _LITTLE_MEMORY, _BATCH)
    for rule in rules
}

WORKLOADS: dict[str, tuple[Rule, ...]] = {
    "balanced": tuple(
        Rule(path, _be(KEYS[path].default), "the default") for path in sorted(_TUNED)
    ),
    "high_throughput": _MUCH_AT_ONCE,
    "low_latency": _WAIT_FOR_NOTHING,
    "batch": _BATCH,
    "low_memory": _LITTLE_MEMORY,
}
"""What each ``workload_type`` asks for."""

GOALS: dict[str, tuple[Rule, ...]] = {
    "latency": _WAIT_FOR_NOTHING,
    "throughput": _MUCH_AT_ONCE,
    "memory": _LITTLE_MEMORY,
}
"""What each ``optimize_for`` asks for."""

HARDWARE: dict[str, str] = {
    "prefer_p_cores": "hardware.prefer_p_cores",
    "e_core_threshold": "hardware.e_core_threshold",
    "cpu_affinity": "hardware.cpu_affinity",
    "numa_aware": "hardware.numa_aware",
    "use_huge_pages": "c_layer.use_huge_pages",
    "realtime_scheduling": "c_layer.realtime_scheduling",
    "lock_memory": "c_layer.lock_memory",
}
"""Which setting each wish in ``hardware`` is."""

WISHES = ("workload_type", "optimize_for", "hardware")
"""What a workload may say."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """What tuning changed: a difference that can be printed, read and undone."""

    changes: Mapping[str, Change]
    """``section.key`` to (old, new, why); only what is another value now."""
    _config: Config

    def __str__(self) -> str:
        if not self.changes:
            return "nothing to change"
        return "\n".join(
            f"{path}: {_shown(old)} -> {_shown(new)}  ({why}; from the next {KEYS[path].counts})"
            for path, (old, new, why) in self.changes.items()
        )

    def undo(self) -> tuple[str, ...]:
        """Give the settings their old values back, from the next run or session on.

        Returns: those that were left as they are, since they were changed again meanwhile.
        """
        now = self._config.settings
        mine = {path: c.old for path, c in self.changes.items() if now.get(path) == c.new}
        self._config.assign(mine)
        return tuple(path for path in self.changes if path not in mine)


# Any: wishes are a user's own dict.
def changes_for(workload: Mapping[str, Any], settings: Settings, cpus: int) -> dict[str, Change]:
    """Turn wishes into changes; nothing is changed yet.

    Args:
        workload: ``workload_type``, ``optimize_for`` and ``hardware``, each optional.
        settings: What is changed.
        cpus: How many threads can run at once here.

    Raises: ConfigError naming every wish that is unknown or cannot be, with the nearest.
    """
    faults: list[Fault] = []
    wanted: dict[str, tuple[Any, str]] = {}
    for rule in _rules(workload, faults):
        before = wanted[rule.path][0] if rule.path in wanted else settings.get(rule.path)
        wanted[rule.path] = (rule.value(before, cpus), rule.why)
    for path, value in _hardware(workload.get("hardware"), faults):
        wanted[path] = (value, "asked for")
    if faults:
        raise ConfigError("; ".join(map(str, faults)), faults=tuple(faults))
    changes = {}
    for path, (value, why) in wanted.items():
        old = settings.get(path)
        if value != old:
            changes[path] = Change(old, value, why)
    return changes


# Any: a user's own dict.
def _rules(workload: Any, faults: list[Fault]) -> Iterator[Rule]:
    faults.extend(_unknown("", "wish", name, WISHES) for name in workload if name not in WISHES)
    for name, known in (("workload_type", WORKLOADS), ("optimize_for", GOALS)):
        word = workload.get(name)
        if word is None:
            continue
        found = known.get(word.strip().lower()) if isinstance(word, str) else None
        if found is None:
            faults.append(_unknown(name, "word", word, known))
        else:
            yield from found


# Any: a user's own dict.
def _hardware(wishes: Any, faults: list[Fault]) -> Iterator[tuple[str, Any]]:
    if wishes is None:
        return
    if not isinstance(wishes, Mapping):
        text = f"{_shown(wishes)}, expected a dict of wishes"
        faults.append(Fault("bad_type", "hardware", text, wishes))
        return
    for name, value in wishes.items():
        path = HARDWARE.get(name) if isinstance(name, str) else None
        if path is None:
            faults.append(_unknown("hardware", "wish", name, HARDWARE))
            continue
        try:
            yield path, KEYS[path].accept(value)
        except ValueError as error:
            text = f"{_shown(value)}, {error}"
            faults.append(Fault("bad_type", f"hardware.{name}", text, value))


# Any: what a user wrote.
def _unknown(path: str, what: str, given: Any, among: Any) -> Fault:
    near = tuple(get_close_matches(str(given)[:80], among, n=3, cutoff=0.5))
    text = f"unknown {what} {_shown(given)}, expected {', '.join(among)}"
    return Fault("bad_type", path, text, given, near)


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
