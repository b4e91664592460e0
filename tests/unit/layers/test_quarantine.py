"""Inputs that keep crashing their host: counted across runs and processes, refused, released."""

from pathlib import Path

import pytest

from tandem_orchestrator.layers import Report, Work
from tandem_orchestrator.layers.native.quarantine import Quarantine, digest_of
from tandem_orchestrator.model.outcomes import Failure, Outcome

CRASH = Report(
    Outcome.UNKNOWN, failure=Failure("AgentCrashed", "bad.crash: agent bad was killed by SIGSEGV")
)
SUCCESS = Report(Outcome.SUCCEEDED)
LOST = Report(Outcome.UNKNOWN, failure=Failure("AgentDied", "it left"))


def work(payload: object = None, action: str = "crash", **inputs: object) -> Work:
    return Work("run", "step", "bad", action, "c", payload, inputs)


def make(path: Path | None = None, crashes_max: int = 3) -> Quarantine:
    return Quarantine(crashes_max, path, lambda: 1_000.0)


def crash(quarantine: Quarantine, times: int, of: Work) -> None:
    for _ in range(times):
        quarantine.note(of, "1", CRASH)


def test_an_input_is_refused_once_it_has_crashed_so_often_and_says_how_to_release_it() -> None:
    quarantine = make()
    crash(quarantine, 2, work({"a": 1}))
    assert quarantine.refusal(work({"a": 1}), "1") is None
    crash(quarantine, 1, work({"a": 1}))
    report = quarantine.refusal(work({"a": 1}), "1")
    assert report is not None
    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    assert report.failure.type == "Quarantined"
    digest = digest_of(work({"a": 1}), "1")
    for word in ("3 times", digest, f"tandem agent release {digest[:16]}", "SIGSEGV"):
        assert word in report.failure.message


@pytest.mark.parametrize(
    ("other", "version"),
    [
        (work({"a": 2}), "1"),
        (work({"a": 1.0}), "1"),
        (work({"a": 1}, action="other"), "1"),
        (work({"a": 1}, before=1), "1"),
        (work({"a": 1}), "2"),
    ],
)
def test_no_other_input_is_refused(other: Work, version: str) -> None:
    quarantine = make()
    crash(quarantine, 3, work({"a": 1}))
    assert quarantine.refusal(other, version) is None


def test_the_order_of_keys_does_not_hide_an_input() -> None:
    quarantine = make()
    crash(quarantine, 3, work({"a": 1, "b": {"c": 2, "d": 3}}))
    assert quarantine.refusal(work({"b": {"d": 3, "c": 2}, "a": 1}), "1") is not None


def test_a_success_in_between_clears_the_count() -> None:
    quarantine = make()
    crash(quarantine, 2, work(1))
    quarantine.note(work(1), "1", SUCCESS)
    crash(quarantine, 2, work(1))
    assert quarantine.refusal(work(1), "1") is None


def test_only_crashes_that_a_host_tells_are_counted() -> None:
    quarantine = make()
    for _ in range(5):
        quarantine.note(work(1), "1", LOST)
    assert quarantine.refusal(work(1), "1") is None


def test_counts_outlast_the_process_that_made_them(tmp_path: Path) -> None:
    path = tmp_path / "journal.db.quarantine"
    first, second = make(path), make(path)
    crash(first, 2, work(1))
    crash(second, 1, work(1))
    assert first.refusal(work(1), "1") is not None, "it hears of what another one counted"
    third = make(path)
    assert [one.crashes for one in third.held()] == [3]
    assert path.stat().st_mode & 0o777 == 0o600
    assert third.release(third.held()[0].digest[:8]) == 1
    assert first.refusal(work(1), "1") is None
    assert second.held() == ()


def test_a_release_names_what_it_means() -> None:
    quarantine = make()
    crash(quarantine, 3, work(1))
    with pytest.raises(ValueError, match="at least 8"):
        quarantine.release("abc")
    assert quarantine.release("0" * 64) == 0
    assert len(quarantine.held()) == 1


def test_zero_never_refuses() -> None:
    quarantine = make(crashes_max=0)
    crash(quarantine, 50, work(1))
    assert quarantine.refusal(work(1), "1") is None
    assert quarantine.held() == ()


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tandem_orchestrator.layers.native.quarantine.ENTRIES_MAX", 4)
    quarantine = make(crashes_max=1)
    for number in range(6):
        crash(quarantine, 1, work(number))
    refused = [quarantine.refusal(work(number), "1") is not None for number in range(6)]
    assert refused == [False, False, True, True, True, True]


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"digest": 1}]', b"\xff\xfe"])
def test_a_broken_file_is_said_and_counts_start_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "q"
    path.write_bytes(content)
    quarantine = make(path)
    assert quarantine.refusal(work(1), "1") is None
    assert "ignored and put aside as q.corrupt" in caplog.text
    crash(quarantine, 3, work(1))
    assert make(path).refusal(work(1), "1") is not None


def test_without_a_place_for_the_file_crashes_are_counted_in_memory(tmp_path: Path) -> None:
    quarantine = make(tmp_path / "missing" / "q")
    crash(quarantine, 3, work(1))
    assert quarantine.refusal(work(1), "1") is not None
