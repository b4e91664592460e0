"""Counters are really counted, in bounded memory, and take back what did not happen."""

from typing import Any

import pytest

from tandem_orchestrator.model.events import (
    AttemptEnded,
    Judged,
    RunAccepted,
    RunEnded,
    RunStarted,
)
from tandem_orchestrator.observe import Metrics


def accepted(run_id: str, mode: str = "intelligent") -> RunAccepted:
    return RunAccepted(
        run_id=run_id,
        command_set_id="c",
        name="",
        type="workflow",
        mode=mode,
        priority="medium",
        durability="none",
        document={},
        plan={},
    )


def attempt(layer: str, seconds: float, outcome: str = "succeeded", **fields: Any) -> AttemptEnded:
    return AttemptEnded(step="s", layer=layer, seconds=seconds, outcome=outcome, **fields)


def test_nothing_has_happened_yet() -> None:
    assert Metrics().read() == {
        "python_msgs_processed": 0,
        "c_msgs_processed": 0,
        "redundant_agreements": 0,
        "redundant_conflicts": 0,
        "avg_python_latency": 0.0,
        "avg_c_latency": 0.0,
        "execution_stats": {},
    }


def test_attempts_count_for_their_layer_and_what_never_started_does_not() -> None:
    metrics = Metrics()
    for event in (
        attempt("python", 1.0),
        attempt("python", 3.0, "failed"),
        attempt("c", 0.5),
        attempt("c", 9.0, "not_started"),
    ):
        metrics.apply("r", event)

    shown = metrics.read()
    assert (shown["python_msgs_processed"], shown["c_msgs_processed"]) == (2, 1)
    assert shown["avg_python_latency"] == pytest.approx(2.0)
    assert shown["avg_c_latency"] == pytest.approx(0.5)


def test_verdicts_are_counted_and_what_was_not_compared_is_none() -> None:
    metrics = Metrics()
    for verdict in ("agreed", "agreed", "conflict", "not_compared"):
        metrics.apply("r", Judged(step="s", verdict=verdict))

    shown = metrics.read()
    assert (shown["redundant_agreements"], shown["redundant_conflicts"]) == (2, 1)


def test_runs_are_counted_by_mode_with_the_average_of_those_that_ended() -> None:
    metrics = Metrics()
    for run_id, mode, status, duration in (
        ("1", "intelligent", "completed", 1.0),
        ("2", "intelligent", "failed", 3.0),
        ("3", "redundant", "cancelled", 5.0),
    ):
        metrics.apply(run_id, accepted(run_id, mode))
        metrics.apply(run_id, RunStarted())
        metrics.apply(run_id, RunEnded(status=status, duration=duration))
    metrics.apply("4", accepted("4", "consensus"))

    assert metrics.read()["execution_stats"] == {
        "intelligent": {"runs": 2, "completed": 1, "failed": 1, "avg_duration": 2.0},
        "redundant": {"runs": 1, "completed": 0, "failed": 1, "avg_duration": 5.0},
        "consensus": {"runs": 1, "completed": 0, "failed": 0, "avg_duration": 0.0},
    }


def test_a_run_that_was_refused_after_all_was_none() -> None:
    metrics = Metrics()
    metrics.apply("1", accepted("1"))
    metrics.apply("2", accepted("2"))
    metrics.apply("3", accepted("3", "redundant"))

    metrics.forget("2")
    metrics.forget("3")
    metrics.forget("never seen")

    assert {mode: stats["runs"] for mode, stats in metrics.read()["execution_stats"].items()} == {
        "intelligent": 1
    }


def test_memory_does_not_grow_with_runs_that_ended() -> None:
    metrics = Metrics()
    for i in range(1_000):
        metrics.apply(str(i), accepted(str(i)))
        metrics.apply(str(i), RunEnded(status="completed"))

    assert metrics._mode_of == {}
    assert metrics.read()["execution_stats"]["intelligent"]["runs"] == 1_000
