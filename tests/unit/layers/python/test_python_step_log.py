"""Log records carry run, step and attempt, whoever writes them and wherever the handler runs."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.layers import CancelToken, Work
from tandem_orchestrator.layers.python import PythonLayer, PythonLimits, Registry
from tandem_orchestrator.layers.python.messages import Said
from tandem_orchestrator.layers.python.step_log import StepFilter, StepMark, emit, lowest_level

Marks = list[tuple[str, str | None, str | None, int | None]]


class Keeping(logging.Handler):
    """Keeps what it is given, as text and marks."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def marks(self) -> Marks:
        return sorted(
            (r.getMessage(), r.run_id, r.step_id, r.attempt)  # type: ignore[attr-defined]
            for r in self.records
        )


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    """Hear everything that the root logger hears."""
    handler, level = Keeping(), logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    yield handler
    logging.root.removeHandler(handler)
    logging.root.setLevel(level)


def work(action: str, payload: Any, *, run: str = "r1", step: str = "s1", attempt: int = 1) -> Work:
    return Work(run, step, "a", action, "python", payload, attempt=attempt)


async def test_records_of_handlers_on_the_loop_and_in_threads_are_marked(keeping: Keeping) -> None:
    registry = Registry()
    agent = registry.register("a", [], None)
    meeting = asyncio.Barrier(2)

    def deep(text: str) -> None:
        logging.getLogger("somebody.elses").info("%s", text)

    @agent.action("loop")
    async def on_loop(payload: str) -> None:
        await meeting.wait()  # Both are inside: their marks must not mix.
        await asyncio.create_task(asyncio.to_thread(deep, payload))

    @agent.action("thread")
    def in_thread(payload: str, ctx: Any) -> None:
        deep(payload)
        ctx.log.info("by ctx")

    layer = PythonLayer(registry, SystemClock(), PythonLimits())
    await layer.start()
    await asyncio.gather(
        layer.run(work("loop", "one"), CancelToken()),
        layer.run(work("loop", "two", run="r2", step="s2", attempt=5), CancelToken()),
    )
    await layer.run(work("thread", "three", step="s3", attempt=2), CancelToken())
    logging.getLogger("outside").info("nobody's")
    await layer.close()

    assert keeping.marks() == [
        ("by ctx", "r1", "s3", 2),
        ("nobody's", None, None, None),
        ("one", "r1", "s1", 1),
        ("three", "r1", "s3", 2),
        ("two", "r2", "s2", 5),
    ]


async def test_a_log_handler_that_came_after_the_start_is_marked_too() -> None:
    registry = Registry()
    registry.register("a", [], None).action("do")(
        lambda payload: logging.getLogger("x").warning("late")
    )
    layer = PythonLayer(registry, SystemClock(), PythonLimits())
    await layer.start()
    handler = Keeping()
    logging.root.addHandler(handler)
    try:
        await layer.run(work("do", None), CancelToken())
    finally:
        logging.root.removeHandler(handler)
    await layer.close()

    assert handler.marks() == [("late", "r1", "s1", 1)]


def test_a_mark_that_a_record_has_already_is_left_alone() -> None:
    record = logging.makeLogRecord({"run_id": "theirs"})

    assert StepFilter().filter(record)
    assert (record.run_id, record.step_id) == ("theirs", None)  # type: ignore[attr-defined]


def test_what_a_worker_process_said_is_emitted_as_if_it_were_said_here(keeping: Keeping) -> None:
    said = Said(
        1, "their.name", logging.ERROR, "text", 1700000000.25, "/srv/there.py", 12, "work",
        "Traceback: …", 4711,
    )  # fmt: skip

    emit(said, StepMark("r9", "s9", 3))

    [record] = keeping.records
    assert (record.name, record.levelname, record.getMessage()) == ("their.name", "ERROR", "text")
    assert (record.created, record.msecs) == (1700000000.25, 250.0)
    assert (record.filename, record.module, record.lineno, record.funcName) == (
        "there.py", "there", 12, "work",
    )  # fmt: skip
    assert (record.process, record.processName) == (4711, "tandem-worker")
    assert record.exc_text == "Traceback: …"
    assert keeping.marks() == [("text", "r9", "s9", 3)]


def test_a_percent_sign_from_a_worker_is_no_format(keeping: Keeping) -> None:
    emit(Said(1, "n", logging.INFO, "100 %s", 0.0), StepMark("r", "s", 1))

    assert keeping.records[0].getMessage() == "100 %s"


def test_what_nobody_wants_to_hear_is_not_emitted(keeping: Keeping) -> None:
    emit(Said(1, "n", logging.DEBUG, "quiet", 0.0), StepMark("r", "s", 1))

    assert keeping.records == []


def test_the_lowest_level_that_anybody_wants_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, keeping: Keeping
) -> None:
    chatty = logging.getLogger("chatty.for-a-test")
    chatty.setLevel(3)
    try:
        assert lowest_level() == 3
        monkeypatch.setattr(logging.root.manager, "disable", logging.WARNING)
        assert lowest_level() == logging.WARNING + 1
    finally:
        chatty.setLevel(logging.NOTSET)
