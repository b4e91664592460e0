"""Tuning turns wishes into settings that exist, says why, and can be taken back."""

import itertools
import logging
from typing import Any

import pytest

from tandem_orchestrator import ConfigError, TandemOrchestrator
from tandem_orchestrator.orchestrator.tuning import GOALS, HARDWARE, WORKLOADS, changes_for
from tandem_orchestrator.settings import KEYS, Settings

AS_IN_THE_DOCUMENT = {
    "workload_type": "high_throughput",
    "optimize_for": "latency",
    "hardware": {"prefer_p_cores": True, "use_huge_pages": True, "numa_aware": True},
}


def tandem() -> TandemOrchestrator:
    return TandemOrchestrator({"journal": {"path": ":memory:"}})


@pytest.mark.parametrize("cpus", [1, 2, 4, 64, 1024])
@pytest.mark.parametrize(
    ("kind", "goal"), list(itertools.product([None, *WORKLOADS], [None, *GOALS]))
)
def test_every_pair_of_wishes_gives_valid_settings_and_asking_twice_changes_nothing(
    kind: str | None, goal: str | None, cpus: int
) -> None:
    workload = {"workload_type": kind, "optimize_for": goal}
    changes = changes_for(workload, Settings(), cpus)
    for path, (old, new, why) in changes.items():
        assert old == KEYS[path].default != new
        assert why
    tuned = Settings().changed({path: change.new for path, change in changes.items()})
    assert changes_for(workload, tuned, cpus) == {}


@pytest.mark.parametrize("kind", [kind for kind in WORKLOADS if kind != "balanced"])
def test_balanced_takes_every_other_workload_back(kind: str) -> None:
    there = changes_for({"workload_type": kind}, Settings(), 8)
    tuned = Settings().changed({path: change.new for path, change in there.items()})
    back = changes_for({"workload_type": "balanced"}, tuned, 8)
    assert there
    assert tuned.changed({path: change.new for path, change in back.items()}) == Settings()


@pytest.mark.parametrize("wish", HARDWARE)
def test_each_wish_for_hardware_is_a_setting(wish: str) -> None:
    path = HARDWARE[wish]
    value: Any = {"float": 0.25, "str": "none"}.get(KEYS[path].kind, not KEYS[path].default)
    changes = changes_for({"hardware": {wish: value}}, Settings(), 8)
    assert changes == {path: (KEYS[path].default, value, "asked for")}


def test_high_throughput_for_latency_has_both_and_the_later_wish_goes_before() -> None:
    changes = changes_for(AS_IN_THE_DOCUMENT, Settings(), 8)
    assert changes["orchestrator.max_parallel_workflows"].new == 128
    assert changes["orchestrator.sync_interval_ms"].new == 0
    assert changes["c_layer.spin_us"].new == 50
    assert changes["hardware.numa_aware"].new is True
    assert "hardware.prefer_p_cores" not in changes  # it is so already

    small = changes_for(
        {"workload_type": "high_throughput", "optimize_for": "memory"}, Settings(), 8
    )
    assert small["c_layer.buffer_size"].new == 4 * 2**20


def test_spinning_is_left_alone_where_there_are_few_cpus() -> None:
    assert "c_layer.spin_us" not in changes_for({"optimize_for": "latency"}, Settings(), 2)


def test_what_is_set_higher_already_stays() -> None:
    settings = Settings().changed({"orchestrator.max_parallel_workflows": 5000})
    changes = changes_for({"workload_type": "high_throughput"}, settings, 8)
    assert "orchestrator.max_parallel_workflows" not in changes


def test_every_wrong_wish_is_named_with_the_nearest_and_nothing_changes() -> None:
    orchestrator = tandem()
    before = orchestrator.settings
    with pytest.raises(ConfigError) as refused:
        orchestrator.tune_for_workload(
            {
                "workload_typ": "x",
                "workload_type": "high_troughput",
                "optimize_for": 7,
                "hardware": {"prefer_pcores": True, "use_huge_pages": "very", "lock_memory": True},
            }
        )

    found = {(fault.path, fault.nearest[:1]) for fault in refused.value.faults}
    assert found == {
        ("", ("workload_type",)),
        ("workload_type", ("high_throughput",)),
        ("optimize_for", ()),
        ("hardware", ("prefer_p_cores",)),
        ("hardware.use_huge_pages", ()),
    }
    assert orchestrator.settings == before


@pytest.mark.parametrize("wrong", [None, "high_throughput", {"hardware": "all of it"}])
def test_what_is_no_dict_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="expected a dict"):
        tandem().tune_for_workload(wrong)


def test_a_tuning_can_be_printed_and_undone() -> None:
    orchestrator = tandem()
    before = orchestrator.settings
    tuning = orchestrator.tune_for_workload(AS_IN_THE_DOCUMENT)

    assert orchestrator.settings != before
    assert orchestrator.config["journal"]["group_events_max"] == 1024
    assert orchestrator.settings.origin("journal.group_events_max") == "tuning"
    assert (
        "orchestrator.max_parallel_workflows: 10 -> 128  (runs wait for work, not a place; "
        "from the next session)"
    ) in str(tuning).splitlines()
    assert tuning.undo() == ()
    assert orchestrator.settings == before
    assert tuning.undo() == tuple(tuning.changes)  # nothing of it is left to undo


def test_undoing_leaves_alone_what_was_changed_again() -> None:
    orchestrator = tandem()
    tuning = orchestrator.tune_for_workload({"workload_type": "high_throughput"})
    orchestrator.config["c_layer"]["buffer_size"] = 8388608

    assert tuning.undo() == ("c_layer.buffer_size",)
    assert orchestrator.config["c_layer"]["buffer_size"] == 8388608
    assert orchestrator.config["orchestrator"]["max_parallel_workflows"] == 10


def test_nothing_to_change_says_so() -> None:
    assert str(tandem().tune_for_workload({})) == "nothing to change"


async def test_in_a_session_it_warns_of_what_has_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    config = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}
    async with TandemOrchestrator(config) as orchestrator:
        with caplog.at_level(logging.WARNING, "tandem_orchestrator.settings"):
            orchestrator.tune_for_workload({"optimize_for": "memory"})

    warned = "\n".join(record.getMessage() for record in caplog.records)
    assert "c_layer.buffer_size changed while in use: it counts from the next session" in warned
    assert "cache_bytes" not in warned  # counts from the next run
