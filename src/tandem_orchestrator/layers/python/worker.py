"""The worker process: reads jobs from a socket, runs them one by one, answers.

A job names its handler as ``module:qualname``; what travels is MessagePack, never a pickle. The
user's main script is loaded the way ``multiprocessing`` does it, under another name, so that what
stands behind ``if __name__ == "__main__"`` does not run again.
"""

from __future__ import annotations

import importlib
import runpy
import socket
import struct
import sys
import threading
import traceback
import types
from typing import Any

import msgspec

HEAD = struct.Struct("<I")
"""Length of the message that follows, in bytes."""
MESSAGE_BYTES_MAX = 256 * 2**20
"""One message, either way."""
MAIN = "__mp_main__"
"""The name under which the user's main script is loaded; the one that multiprocessing uses."""


class _Jobs:
    """The worker's end of the socket."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._has_job = threading.Condition()
        self._job: dict[str, Any] | None = None
        self._closed = False
        self.cancelled = False

    def send(self, message: dict[str, Any]) -> None:
        body = msgspec.msgpack.encode(message)
        with self._lock:
            self._link.sendall(HEAD.pack(len(body)) + body)

    def listen(self) -> None:
        """Reader thread: take jobs and cancels until the parent is gone."""
        with self._link.makefile("rb") as stream:
            while head := stream.read(HEAD.size):
                message = msgspec.msgpack.decode(stream.read(HEAD.unpack(head)[0]))
                if message["kind"] == "cancel":
                    self.cancelled = True
                    continue
                with self._has_job:
                    self._job = message
                    self.cancelled = False
                    self._has_job.notify()
        with self._has_job:
            self._closed = True
            self._has_job.notify()

    def next(self) -> dict[str, Any] | None:
        """Wait for a job; None when the parent is gone."""
        with self._has_job:
            while self._job is None and not self._closed:
                self._has_job.wait()
            job, self._job = self._job, None
            return job


def main(fd: int) -> None:
    """Serve until the parent closes its end."""
    jobs = _Jobs(socket.socket(fileno=fd))
    threading.Thread(target=jobs.listen, daemon=True).start()
    setup = jobs.next()
    if setup is None:
        return
    sys.path[:] = setup["sys_path"]
    main_error = _load_main(setup["main_path"])
    while (job := jobs.next()) is not None:
        jobs.send(_run(job, jobs, main_error))


def _load_main(path: str | None) -> str | None:
    """Load the user's script; gives the traceback if that fails."""
    if path is None:
        return None
    try:
        module = types.ModuleType(MAIN)
        module.__dict__.update(runpy.run_path(path, run_name=MAIN))
        sys.modules[MAIN] = module
        sys.modules["__main__"] = module
    except Exception:  # noqa: BLE001 - reported with the first job that needs the script
        return traceback.format_exc()
    return None


def _run(job: dict[str, Any], jobs: _Jobs, main_error: str | None) -> dict[str, Any]:
    from tandem_orchestrator.layers.python.calling import call_handler, describe_error
    from tandem_orchestrator.layers.python.context import Context, make_log
    from tandem_orchestrator.model.values import to_value

    try:
        if main_error and job["module"] == "__main__":
            raise ImportError(f"the main script cannot be loaded in a worker:\n{main_error}")
        implementation = _resolve(job["module"], job["qualname"], job["implementation"])
        run_id, step_id, attempt = job["run_id"], job["step_id"], job["attempt"]

        def progress(done: int, total: int) -> None:
            jobs.send({"kind": "progress", "done": done, "total": total})

        context = Context(
            run_id, step_id, attempt, job["idempotency_key"], job["inputs"], job["item"],
            lambda: jobs.cancelled, progress, make_log(run_id, step_id, attempt),
        )  # fmt: skip
        output = call_handler(implementation, job["payload"], context)
        return {"kind": "done", "output": to_value(output, where=f"step {step_id!r} output")}
    except Exception as error:  # noqa: BLE001 - the attempt's outcome
        return {"kind": "failed", "failure": describe_error(error).to_value()}


def _resolve(module_name: str, qualname: str, implementation: str) -> Any:
    from tandem_orchestrator.layers.python.agents import ActionHandle, describe_handler

    target: Any = importlib.import_module(module_name)
    for part in qualname.split("."):
        target = getattr(target, part)
    if isinstance(target, ActionHandle):
        return target.implementations[implementation]
    return describe_handler(implementation, target, "process", "native")


if __name__ == "__main__":
    main(int(sys.argv[1]))
