"""Each status of the wire becomes one outcome, and nothing is made up."""

from pathlib import Path

import msgspec
import pytest

from tandem_orchestrator.layers.layer import Work
from tandem_orchestrator.layers.native import reports
from tandem_orchestrator.layers.native.session import Completion
from tandem_orchestrator.model.outcomes import Outcome

WORK = Work("run", "step", "docgen", "scan", "c", payload=None)
REPOSITORY = Path(__file__).resolve().parents[4]


def ended(status: int, body: bytes = b"") -> Completion:
    return Completion(status, 1000, 2_000_000_000, body)


def test_names_and_numbers_are_those_of_the_protocol():
    rows = [
        line.split("\t")
        for line in (REPOSITORY / "protocol" / "statuses.tsv").read_text().splitlines()
        if line[:1].isdigit()
    ]
    assert [(int(number), name) for number, name, *_ in rows] == list(
        enumerate(reports.STATUS_NAMES)
    )
    for name in reports.STATUS_NAMES:
        assert reports.STATUS_NAMES[getattr(reports, name)] == name


def test_ok_is_succeeded_with_its_output_and_its_time():
    report = reports.report_of(WORK, ended(reports.OK, msgspec.msgpack.encode({"n": 1})))
    assert report.outcome is Outcome.SUCCEEDED
    assert report.output == {"n": 1}
    assert report.seconds == 2.0
    assert report.failure is None


def test_failed_keeps_the_type_and_message_that_the_action_gave():
    body = msgspec.msgpack.encode({"type": "ValueError", "message": "path: not found"})
    report = reports.report_of(WORK, ended(reports.FAILED, body))
    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    assert (report.failure.type, report.failure.message) == ("ValueError", "path: not found")


@pytest.mark.parametrize("body", [b"\x01", b"\xc1", b""])
def test_a_failure_that_cannot_be_read_is_still_a_failure(body: bytes):
    report = reports.report_of(WORK, ended(reports.FAILED, body))
    assert report.outcome is Outcome.FAILED
    assert report.failure is not None
    assert report.failure.type == "Corrupt"


@pytest.mark.parametrize(
    ("status", "outcome", "kind"),
    [
        (reports.TIMED_OUT, Outcome.TIMED_OUT, "TimeoutError"),
        (reports.CANCELLED, Outcome.CANCELLED, "Cancelled"),
        (reports.UNKNOWN, Outcome.UNKNOWN, "OutcomeUnknown"),
        (reports.NOT_STARTED, Outcome.NOT_STARTED, "NotStarted"),
        (reports.NO_AGENT, Outcome.FAILED, "LayerUnavailable"),
        (reports.BUSY, Outcome.NOT_STARTED, "Busy"),
        (reports.TOO_LARGE, Outcome.FAILED, "TooLarge"),
        (reports.CORRUPT, Outcome.FAILED, "Corrupt"),
        (reports.ABANDONED, Outcome.ABANDONED, "Abandoned"),
        (77, Outcome.UNKNOWN, "InternalError"),
    ],
)
def test_every_other_status_has_its_outcome_and_names_the_action(
    status: int, outcome: Outcome, kind: str
):
    report = reports.report_of(WORK, ended(status))
    assert report.outcome is outcome
    assert report.failure is not None
    assert report.failure.type == kind
    assert report.failure.message.startswith("docgen.scan: ")
    assert report.stopped is (outcome is not Outcome.ABANDONED)


def test_only_a_lack_of_room_counts_as_full():
    assert reports.is_full(reports.report_of(WORK, ended(reports.BUSY)))
    own = msgspec.msgpack.encode({"type": "Busy", "message": "the printer is"})
    assert not reports.is_full(reports.report_of(WORK, ended(reports.FAILED, own)))
    assert not reports.is_full(reports.report_of(WORK, ended(reports.NOT_STARTED)))
