"""The worker process: reads jobs from a socket, runs them one by one, answers.

A job names its handler as ``module:qualname``; what travels is MessagePack, never a pickle. The
user's main script is loaded the way ``multiprocessing`` does it, under another name, so that what
stands behind ``if __name__ == "__main__"`` does not run again.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import queue
import runpy
import signal
import socket
import sys
import threading
import types
from typing import Any

import msgspec

from tandem_orchestrator.layers.cpus import ThreadCpus
from tandem_orchestrator.layers.python.messages import (
    HEAD,
    Cancel,
    Done,
    Failed,
    FromWorker,
    Job,
    Progress,
    Ready,
    Said,
    Setup,
    ToWorker,
    pack,
)

MAIN = "__mp_main__"
"""The name under which the user's main script is loaded; the one that multiprocessing uses."""
LOG_RECORDS_MAX = 1000
"""Log records that travel for one attempt; the rest are counted."""
LOG_CHARS_MAX = 8192
"""Characters of one log record, and of its traceback."""

_PR_SET_PDEATHSIG = 1
"""Number of the request in ``linux/prctl.h``."""
_is_loading_main = False


def is_loading_main() -> bool:
    """Tell whether this is a worker that is loading the user's script: nothing may start then."""
    return _is_loading_main


class _Link:
    """The worker's end of the socket."""

    def __init__(self, link: socket.socket) -> None:
        # A program that a handler starts must not hold the link open when this worker is dead.
        link.set_inheritable(False)
        self._link = link
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Setup | Job] = queue.SimpleQueue()
        self.cancelled = 0
        """Number of the newest job that was asked to stop."""

    def send(self, message: FromWorker) -> None:
        """Send a message. Raises: what ``pack`` raises, and OSError when the parent is gone."""
        packed = pack(message)
        with self._lock:
            self._link.sendall(packed)

    def listen(self) -> None:
        """Reader thread: take jobs and cancels until the parent is gone, then end at once."""
        decode = msgspec.msgpack.Decoder(ToWorker).decode
        try:
            with self._link.makefile("rb") as stream:
                while len(head := stream.read(HEAD.size)) == HEAD.size:
                    message = decode(stream.read(HEAD.unpack(head)[0]))
                    if isinstance(message, Cancel):
                        self.cancelled = message.number
                    else:
                        self._jobs.put(message)
        finally:
            # Nobody is left to hear the answer, and a handler may run for ever. A parent that
            # died with something unread makes the last read an error instead of an end.
            os._exit(0)

    def next(self) -> Setup | Job:
        """Wait for a job."""
        return self._jobs.get()


class _Forward(logging.Handler):
    """Sends log records to the parent, which emits them under the same logger's name."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._send = link.send
        self._number, self._left, self._dropped = 0, 0, 0

    def begin(self, number: int) -> None:
        """Count for another job."""
        self._number, self._left, self._dropped = number, LOG_RECORDS_MAX, 0

    def end(self) -> None:
        """Say how many records did not travel, if any."""
        if self._dropped:
            text = f"{self._dropped} more log records of this attempt were dropped"
            name = "tandem_orchestrator.step"
            said = Said(self._number, name, logging.WARNING, text, _now(), pid=os.getpid())
            self._send(said)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a record that cannot be rendered is reported as logging does it."""
        if self._left == 0:
            self._dropped += 1
            return
        self._left -= 1
        try:
            exc = record.exc_info
            traceback = _FORMATTER.formatException(exc) if exc and exc[0] else record.exc_text or ""
            said = Said(
                self._number,
                _plain(record.name),
                record.levelno,
                _plain(record.getMessage())[:LOG_CHARS_MAX],
                record.created,
                _plain(record.pathname),
                record.lineno,
                _plain(record.funcName or ""),
                _plain(traceback)[-LOG_CHARS_MAX:],
                os.getpid(),
            )
            self._send(said)
        except Exception:  # noqa: BLE001 - logging's own rule: a record never breaks who logs it
            self.handleError(record)


_FORMATTER = logging.Formatter()


def _now() -> float:
    return logging.makeLogRecord({}).created


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it is dead.

    The end of the link says the same, but a handler in C that keeps the interpreter's lock never
    lets the reader thread see it. A parent that died before this call is seen by the reader.
    Where there is no such request (only Linux has it) the link alone has to do.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def main(fd: int) -> None:
    """Serve until the parent closes its end."""
    _end_with_parent()
    link = _Link(socket.socket(fileno=fd))
    threading.Thread(target=link.listen, daemon=True).start()
    setup = link.next()
    assert isinstance(setup, Setup), setup
    sys.path[:] = setup.sys_path
    forward = _Forward(link)
    logging.root.addHandler(forward)
    cpus = ThreadCpus()
    link.send(Ready())
    while isinstance(job := link.next(), Job):
        logging.root.setLevel(job.log_level)
        forward.begin(job.number)
        cpus.follow(job.cpus)  # Threads that the handler makes inherit it.
        answer = _run(job, link, setup.main_path)
        forward.end()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # The worker ends by a kill: what waits in here would be lost.
        _answer(link, answer)


def _answer(link: _Link, answer: Done | Failed) -> None:
    try:
        link.send(answer)
    except (ValueError, TypeError, OverflowError) as error:
        # Nothing was sent: it is refused before the first byte.
        link.send(Failed(answer.number, "NotAValue", _plain(str(error))))


def _load_main(path: str | None) -> None:
    """Load the user's script, once, where a handler lives in it.

    Raises: ImportError if there is none or it cannot be loaded.
    """
    global _is_loading_main
    if MAIN in sys.modules:
        return
    if path is None:
        raise ImportError("the handler lives in __main__, which is no file that could be loaded")
    module = types.ModuleType(MAIN)
    _is_loading_main = True
    try:
        module.__dict__.update(runpy.run_path(path, run_name=MAIN))
    except (Exception, SystemExit) as error:
        text = f"{path} cannot be loaded in a worker: {type(error).__name__}: {error}"
        raise ImportError(f"{text}; guard what it does with if __name__ == '__main__'") from error
    finally:
        _is_loading_main = False
    sys.modules[MAIN] = sys.modules["__main__"] = module


def _run(job: Job, link: _Link, main_path: str | None) -> Done | Failed:
    from tandem_orchestrator.layers.python.calling import call_handler, describe_error
    from tandem_orchestrator.layers.python.carrying import output_value
    from tandem_orchestrator.layers.python.context import Context, make_log
    from tandem_orchestrator.layers.python.step_log import StepMark, enter_step

    def progress(done: int, total: int) -> None:
        link.send(Progress(job.number, int(done), int(total)))

    try:
        if job.module == "__main__":
            _load_main(main_path)
        implementation, handle = _resolve(job.module, job.qualname, job.implementation)
        context = Context(
            job.run_id, job.step_id, job.attempt, job.idempotency_key, job.inputs, job.item,
            lambda: link.cancelled == job.number, progress,
            make_log(job.run_id, job.step_id, job.attempt),
        )  # fmt: skip
        enter_step(StepMark(job.run_id, job.step_id, job.attempt))
        output = call_handler(implementation, job.payload, context)
        where = f"step {job.step_id!r} output"
        return Done(job.number, output_value(output, handle, job.run_id, where))
    except BaseException as error:  # noqa: BLE001 - the attempt's outcome, sys.exit() included
        failure = describe_error(error, job.errors, job.traceback_chars_max)
        return Failed(job.number, failure.type, failure.message, failure.traceback)


def _resolve(module_name: str, qualname: str, implementation: str) -> tuple[Any, Any]:
    from tandem_orchestrator.layers.python.agents import ActionHandle
    from tandem_orchestrator.layers.python.handler import describe_handler

    target: Any = importlib.import_module(module_name)
    for part in qualname.split("."):
        target = getattr(target, part)
    if isinstance(target, ActionHandle):
        return target.implementations[implementation], target
    return describe_handler(implementation, target, "process", "native"), None
