"""Whose log line it is: inside a handler, stdlib log records carry run, step and attempt.

The mark is a context variable, set in the copy of the submitter's context that an attempt runs in,
so what a handler awaits or calls is marked too. A filter on the log *handlers* copies it into the
records: filters on loggers would miss those of other names, and replacing the record factory would
get in the way of programs that have one of their own.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import PurePath

from tandem_orchestrator.layers.python.messages import Said

NAME_CHARS_MAX = 200
"""Of a logger's name, as a worker process gives it."""


@dataclass(frozen=True, slots=True)
class StepMark:
    """Which attempt a log line belongs to."""

    run_id: str
    step_id: str
    attempt: int


_mark: ContextVar[StepMark | None] = ContextVar("tandem_step", default=None)


class StepFilter(logging.Filter):
    """Gives each record ``run_id``, ``step_id`` and ``attempt``; None outside of handlers.

    Tandem puts it on the handlers of every logger at ``initialize``, and on the root logger's
    before each attempt. A log handler that a logger gets later, in between, takes it by
    ``addFilter(StepFilter())``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark the record, unless it is marked already; lets all pass."""
        mark = _mark.get()
        for name in StepMark.__slots__:
            if not hasattr(record, name):
                setattr(record, name, getattr(mark, name, None))
        return True


_FILTER = StepFilter()


def enter_step(mark: StepMark) -> None:
    """Mark what is logged from here on in this context; an attempt has a context of its own."""
    _mark.set(mark)
    mark_root()


def mark_step(mark: StepMark) -> None:
    """Do the same where the root logger's handlers have the filter already."""
    _mark.set(mark)


def mark_root() -> None:
    """Put the filter on the root logger's handlers; nothing happens where it is already."""
    for handler in logging.root.handlers:
        handler.addFilter(_FILTER)


def mark_all() -> None:
    """Put the filter on the handlers of every logger there is now."""
    mark_root()
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            for handler in logger.handlers:
                handler.addFilter(_FILTER)


def lowest_level() -> int:
    """Give the lowest level that any logger here lets pass, for worker processes to ask for."""
    levels = [
        logger.level
        for logger in list(logging.root.manager.loggerDict.values())
        if isinstance(logger, logging.Logger) and logger.level
    ]
    disabled = logging.root.manager.disable
    return max(min([logging.root.level, *levels]), disabled + 1 if disabled else 0)


def emit(said: Said, mark: StepMark) -> None:
    """Emit a record that a worker process sent, under the logger's name that it had there."""
    logger = logging.getLogger(said.name[:NAME_CHARS_MAX])
    if not logger.isEnabledFor(said.level):
        return
    mark_root()
    path = PurePath(said.path)
    logger.handle(
        logging.makeLogRecord(
            {
                "name": logger.name,
                "levelno": said.level,
                "levelname": logging.getLevelName(said.level),
                "msg": said.text,
                "created": said.created,
                "msecs": said.created % 1 * 1000,
                "pathname": said.path,
                "filename": path.name,
                "module": path.stem,
                "lineno": said.line,
                "funcName": said.function,
                "exc_text": said.traceback or None,
                "process": said.pid,
                "processName": "tandem-worker",
                "run_id": mark.run_id,
                "step_id": mark.step_id,
                "attempt": mark.attempt,
            }
        )
    )
