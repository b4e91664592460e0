"""The worker process: reads jobs from a socket, runs them one by one, answers.

A job names its handler as ``module:qualname``; what travels is MessagePack, never a pickle. The
user's main script is loaded the way ``multiprocessing`` does it, under another name, so that what
stands behind ``if __name__ == "__main__"`` does not run again.
"""

from __future__ import annotations

import importlib
import queue
import runpy
import socket
import struct
import sys
import threading
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
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
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
                self.cancelled = False
                self._messages.put(message)
        self._messages.put(None)

    def next(self) -> dict[str, Any] | None:
        """Wait for a job; None when the parent is gone."""
        return self._messages.get()


def main(fd: int) -> None:
    """Serve until the parent closes its end."""
    jobs = _Jobs(socket.socket(fileno=fd))
    threading.Thread(target=jobs.listen, daemon=True).start()
    setup = jobs.next()
    if setup is None:
        return
    sys.path[:] = setup["sys_path"]
    while (job := jobs.next()) is not None:
        jobs.send(_run(job, jobs, setup["main_path"]))


def _load_main(path: str | None) -> None:
    """Load the user's script, once, where a handler lives in it.

    Raises: ImportError if there is none or it cannot be loaded.
    """
    if MAIN in sys.modules:
        return
    if path is None:
        raise ImportError("the handler lives in __main__, which is no file that could be loaded")
    module = types.ModuleType(MAIN)
    try:
        module.__dict__.update(runpy.run_path(path, run_name=MAIN))
    except (Exception, SystemExit) as error:
        text = f"{path} cannot be loaded in a worker: {type(error).__name__}: {error}"
        raise ImportError(f"{text}; guard what it does with if __name__ == '__main__'") from error
    sys.modules[MAIN] = sys.modules["__main__"] = module


def _run(job: dict[str, Any], jobs: _Jobs, main_path: str | None) -> dict[str, Any]:
    from tandem_orchestrator.layers.python.calling import call_handler, describe_error
    from tandem_orchestrator.layers.python.context import Context, make_log
    from tandem_orchestrator.model.values import to_value

    try:
        if job["module"] == "__main__":
            _load_main(main_path)
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
