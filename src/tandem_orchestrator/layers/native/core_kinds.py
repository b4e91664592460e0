"""Telling the kinds of core apart: pure, from what was read about each CPU.

Sources in order; one counts only if it speaks about every online CPU. ``cpu_core``/``cpu_atom``
(the kernel's hybrid PMUs) and CPUID leaf 0x1A name the kind. Where neither does, the first of
``cpu_capacity``, ``acpi_cppc/highest_perf`` and ``cpuinfo_max_freq`` that shows a gap decides:
performance cores of one machine differ by a few per cent among themselves (a Raptor Lake has 5.0
and 5.2 GHz), the next kind is at least a tenth slower. ``native/src/topology/classify.c`` is the
same in C.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tandem_orchestrator.model.topology import CoreClass

NAMED_BY_PMU = "cpu_core and cpu_atom"
NAMED_BY_CPUID = "CPUID leaf 0x1A"
GRADES = ("cpu_capacity", "acpi_cppc/highest_perf", "cpuinfo_max_freq")
"""Sources that grade, in the order they are asked."""


@dataclass(frozen=True, slots=True)
class Named:
    """A source that names kinds: who is big, who is small, who is of the lowest kind."""

    told_by: str
    big: frozenset[int]
    small: frozenset[int]
    lowest: frozenset[int] = frozenset()


def tell_apart(
    cpus: Sequence[int],
    has_l3: frozenset[int],
    named: Sequence[Named],
    grades: Mapping[str, Mapping[int, int]],
) -> tuple[dict[int, CoreClass], str]:
    """Give each CPU its kind, and the source that told.

    Args:
        cpus: The online CPUs, ascending; at least one.
        has_l3: Those with a share of an L3 cache.
        named: Sources that name kinds, best first.
        grades: For each of ``GRADES``, the grade of each CPU; 0 or absent: not known.
    """
    everyone = frozenset(cpus)
    kinds: dict[int, CoreClass] | None = None
    told_by = "nothing"
    for source in named:
        if everyone <= source.big | source.small | source.lowest:
            kinds = {
                cpu: CoreClass.P_CORE if cpu in source.big
                else CoreClass.LP_E_CORE if cpu in source.lowest or (has_l3 and cpu not in has_l3)
                else CoreClass.E_CORE
                for cpu in cpus
            }  # fmt: skip
            told_by = source.told_by
            break
    if kinds is None:
        for source_name in GRADES:
            kinds = _by_grade(cpus, has_l3, grades.get(source_name, {}))
            if kinds is not None:
                told_by = source_name
                break
    kinds = _best_is_p(kinds or dict.fromkeys(cpus, CoreClass.P_CORE))
    return kinds, told_by if len(set(kinds.values())) > 1 else "nothing"


def _best_is_p(kinds: dict[int, CoreClass]) -> dict[int, CoreClass]:
    """Call the fastest kind that is online P: a machine of atoms alone has plain cores."""
    if CoreClass.P_CORE in kinds.values():
        return kinds
    best = CoreClass.E_CORE if CoreClass.E_CORE in kinds.values() else CoreClass.LP_E_CORE
    return {cpu: CoreClass.P_CORE if kind is best else kind for cpu, kind in kinds.items()}


def _slower(low: int, high: int) -> bool:
    """Whether a grade is at least a tenth below another: another kind of core."""
    return low * 10 <= high * 9


def _by_grade(
    cpus: Sequence[int], has_l3: frozenset[int], grade: Mapping[int, int]
) -> dict[int, CoreClass] | None:
    """Split at the widest gap; None where a grade is missing or nothing is a tenth slower.

    CPUs without L3 beside others that have it are set aside first: on a Meteor Lake the gap
    below the E-cores is wider than the one above them.
    """
    if any(grade.get(cpu, 0) <= 0 for cpu in cpus):
        return None
    main = [cpu for cpu in cpus if cpu in has_l3] or list(cpus)
    levels = sorted({grade[cpu] for cpu in main}, reverse=True)
    split = levels[-1]  # the lowest grade that is still P
    widest: tuple[int, int] | None = None
    for high, low in zip(levels, levels[1:], strict=False):
        # Of equal gaps the upper one: high/low is compared without division.
        if _slower(low, high) and (widest is None or high * widest[1] > widest[0] * low):
            split, widest = high, (high, low)
    kinds = {cpu: CoreClass.P_CORE if grade[cpu] >= split else CoreClass.E_CORE for cpu in main}
    for cpu in frozenset(cpus) - frozenset(main):
        slow = _slower(grade[cpu], levels[-1])
        kinds[cpu] = CoreClass.LP_E_CORE if slow else kinds[min(main, key=lambda m: (grade[m], m))]
    return kinds if len(set(kinds.values())) > 1 else None


def favoured_of(performance: Sequence[int], grades: Mapping[str, Mapping[int, int]]) -> set[int]:
    """Give the performance CPUs with the highest grade; empty where all are alike.

    Asked in another order than the kinds: CPPC grades single cores, which capacity may round.
    """
    for name in ("acpi_cppc/highest_perf", "cpuinfo_max_freq", "cpu_capacity"):
        grade = grades.get(name, {})
        values = {grade.get(cpu, 0) for cpu in performance}
        if len(values) > 1 and min(values) > 0:
            return {cpu for cpu in performance if grade[cpu] == max(values)}
    return set()
