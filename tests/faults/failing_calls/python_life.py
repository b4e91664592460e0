"""Small lives of a Python program whose own calls fail: its journal, its session, all of it.

Run with the shim preloaded: ``python -P python_life.py ORDER``, ORDER being JSON with ``part``,
``folder`` and ``plant``; the cases, lists for ``Case``, come as a line on the input. One life without faults comes first; then a life a
case. Each line on the output is a JSON object: what was called, what failed, what is wrong.

CPython itself does not stand a failing ``malloc`` everywhere without saying MemoryError at odd
places; so where allocations fail, only those of SQLite or of our extension do (``scope``).
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import apsw
from control import Case, Control

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.errors import Busy, JournalError, TandemError
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import Bounds
from tandem_orchestrator.journal import Control as Request
from tandem_orchestrator.journal.sqlite import SqliteJournal, writer
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.layers.native.body import encode_body
from tandem_orchestrator.layers.native.session import Session, connect_client
from tandem_orchestrator.testing.journal_events import accepted, ended

LIFE_S = 30.0
"""A life that takes longer hangs."""
LONG = "x" * 300_000


class Wrong(Exception):
    """A promise that was not kept."""


class Part:
    """What is lived; ``live`` with faults, ``check`` after them."""

    kinds_of_errors: tuple[type[BaseException], ...] = (TandemError, MemoryError)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: Counter[str] = Counter()

    async def live(self) -> None:
        """Use it, and take every error that has a type."""
        raise NotImplementedError

    async def check(self) -> None:
        """See, with no fault any more, that what was promised is so."""

    async def attempt(self, doing: Awaitable[Any]) -> Any:
        """Await something that may fail in a way that has a type; None then."""
        try:
            result = await doing
        except self.kinds_of_errors as error:
            self.answers[type(error).__name__] += 1
            return None
        self.answers["OK"] += 1
        return result


class JournalPart(Part):
    """A journal in two lives: opened, written, read, closed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kept: dict[str, int] = {}

    async def live(self) -> None:
        """Use a journal; note what it acknowledged."""
        for life in range(2):
            journal = SqliteJournal(self.folder / "j.db", bounds=Bounds(lock_wait_s=0.5))
            try:
                await journal.open(f"owner-{life}")
            except JournalError:
                self.answers["JournalError"] += 1
                continue
            for n in range(2):
                run_id = f"r{life}-{n}"
                try:
                    await journal.append(run_id, [accepted(run_id)], "group").durable()
                    self.kept[run_id] = 1
                    for k in range(2):
                        event = ended(f"s{k}", output=b"x" * 2000)
                        await journal.append(run_id, [event], "sync" if k else "group").durable()
                        self.kept[run_id] += 1
                    await journal.request(Request(id=run_id, run_id=run_id, kind="cancel"))
                    await journal.records(run_id)
                    await journal.runs()
                except (JournalError, Busy) as error:
                    self.answers[type(error).__name__] += 1
            try:
                await journal.close()
            except JournalError:
                self.answers["JournalError"] += 1

    async def check(self) -> None:
        """Nothing that was acknowledged is lost, and it goes on."""
        journal = SqliteJournal(self.folder / "j.db")
        await journal.open("after")
        try:
            for run_id, n in self.kept.items():
                there = len(await journal.records(run_id))
                if there < n:
                    raise Wrong(f"{run_id}: {n} records were acknowledged, {there} are there")
            if found := await journal.check():
                raise Wrong(f"the journal is not sound: {found}")
            await journal.append("after", [accepted("after")], "sync").durable()
        finally:
            await journal.close()


class ClientPart(Part):
    """A session with a bridge that is well, through the extension."""

    bridge: NativeLayer
    kinds_of_errors = (TandemError, MemoryError, TimeoutError)

    async def live(self) -> None:
        """Open a session, call in every way there is, close it."""
        client = await self.attempt(connect_client(self.bridge.socket_path, "life", timeout_s=2.0))
        if client is None:
            return
        session = Session(client)
        try:
            echo = session.actions["system", "echo"].action_id
            for payload in (1, LONG):
                body = encode_body(payload)
                await self.attempt(self.called(session, echo, body, None))
                await self.attempt(self.called(session, echo, body, {"a": payload}))
                for doing, right in (
                    (lambda p=payload: session.send(echo, p, 2, 5.0, 0), payload),
                    (lambda p=payload: session.send_many(echo, (p, 2, p), 2, 5.0, 0),
                     [payload, 2, payload]),
                ):  # fmt: skip
                    said = await self.attempt(self.sent(doing))
                    if said is not None and not self.is_right(said, right):
                        raise Wrong(f"a message came back as {str(said)[:60]}")
        finally:
            session.close()
        await asyncio.wait_for(session.ended, 5.0)

    async def called(
        self, session: Session, action: int, body: bytes, inputs: dict[str, Any] | None
    ) -> bytes | None:
        """Call, and see that what is OK is right."""
        _, future = session.call(
            action, body, inputs=None if inputs is None else encode_body(inputs)
        )
        completion = await future
        self.answers[f"status {completion.status}"] += 1
        if completion.status == 0 and completion.body != body:
            raise Wrong(f"a call came back as {completion.body[:40]!r}")
        return completion.body

    async def sent(self, doing: Callable[[], Awaitable[Any]]) -> Any:
        """Send within the coroutine, so that what sending raises is seen there."""
        return await doing()

    def is_right(self, said: Any, right: Any) -> bool:
        """Say whether it is what was sent, or of many each that or an error with a type."""
        if not isinstance(right, list):
            return bool(said == right)
        return len(said) == len(right) and all(
            one == other or isinstance(one, self.kinds_of_errors)
            for one, other in zip(said, right, strict=True)
        )

    async def check(self) -> None:
        """Another session works."""
        client = await connect_client(self.bridge.socket_path, "after", timeout_s=2.0)
        session = Session(client)
        try:
            echo = session.actions["system", "echo"].action_id
            if await session.send(echo, LONG, 2, 5.0, 0) != LONG:
                raise Wrong("a message came back changed")
        finally:
            session.close()


class ProgramPart(Part):
    """A whole orchestrator: its journal, its bridge, its threads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.accepted: list[str] = []
        self.told: dict[str, Any] = {}

    def orchestrator(self) -> TandemOrchestrator:
        """Make one on this life's journal."""
        return TandemOrchestrator({"journal": {"path": str(self.folder / "j.db")}})

    async def live(self) -> None:
        """Submit, and note what was accepted and told."""
        tandem = self.orchestrator()
        await self.attempt(self.work(tandem))
        await self.attempt(tandem.close())

    async def work(self, tandem: TandemOrchestrator) -> None:
        """Run three workflows."""
        await tandem.initialize()
        for n in range(3):
            steps = [
                CommandStep(id=step, agent="system", action="echo", payload=n, implementations=way)
                for step, way in (("a", ("c",)), ("b", ("python",)))
            ]
            wanted = CommandSet(name=f"w{n}", steps=steps, dependencies={"b": ["a"]})
            run = await self.attempt(tandem.submit(wanted))
            if run is None:
                continue
            self.accepted.append(run.id)
            result = await self.attempt(run.result())
            if result is not None:
                self.told[run.id] = [result["status"], result["results"]]

    async def check(self) -> None:
        """All that was accepted is there, ends, and reads as it was told."""
        async with self.orchestrator() as tandem:
            there = {row.run_id for row in await tandem.runs(limit=1000)}
            for run_id in self.accepted:
                if run_id not in there:
                    raise Wrong(f"{run_id} was accepted and is lost")
                result = await tandem.run(run_id).result()
                now = [result["status"], result["results"]]
                if self.told.get(run_id, now) != now:
                    raise Wrong(f"{run_id}: told {self.told[run_id]}, and now it reads {now}")


PARTS: dict[str, type[Part]] = {
    "journal": JournalPart, "client": ClientPart, "program": ProgramPart,
}  # fmt: skip


def plant(bug: str) -> None:
    """Put a bug in, to show that it is found."""
    write = writer.Writer._write

    def overlooking(self: Any, batch: Any) -> Any:
        try:
            return write(self, batch)
        except apsw.Error:
            return [None] * len(batch)

    if bug == "overlook":
        writer.Writer._write = overlooking  # type: ignore[method-assign]
    elif bug:
        raise ValueError(f"{bug!r}: 'overlook' is expected")


def held() -> tuple[int, int]:
    """Count descriptors and threads of this process."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def traced(error: BaseException) -> str:
    """Say through which lines an error came, the last of them last."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return "".join(f" < {Path(f.filename).name}:{f.lineno}" for f in reversed(frames))


async def one(part: Part, control: Control, case: Case | None) -> dict[str, Any]:
    """Live once and check it; what is wrong is in the row."""
    strange: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, about: strange.append(repr(about)))
    threading.excepthook = lambda about: strange.append(f"{about.thread}: {about.exc_value!r}")
    part.folder.mkdir(mode=0o700)
    row: dict[str, Any] = {"case": str(case), "wrong": ""}
    began = time.monotonic()
    control.arm(case)
    try:
        await asyncio.wait_for(part.live(), LIFE_S)
    except TimeoutError:
        row["wrong"] = f"hangs: not done in {LIFE_S} s"
    except Exception as error:  # noqa: BLE001 - the verdict: an error that nobody promised
        row["wrong"] = f"{type(error).__name__}: {error} {traced(error)}"
    finally:
        control.disarm()
    row |= {"counts": control.counts, "failed": control.failed, "answers": part.answers}
    row["seconds"] = time.monotonic() - began
    try:
        await asyncio.wait_for(part.check(), LIFE_S)
    except Exception as error:  # noqa: BLE001 - as above
        row["wrong"] = row["wrong"] or f"afterwards {type(error).__name__}: {error} {traced(error)}"
    if strange:
        row["wrong"] = row["wrong"] or f"nobody took {strange}"
    if row["wrong"] and control.failed:
        row["wrong"] += f"; failed {control.failed} at {control.where}"
    return row


def wanted() -> Iterator[Case | None]:
    """Give no fault twice, the first time warming up; then the cases that the parent wants."""
    yield None
    yield None
    yield from (Case(*case) for case in json.loads(sys.stdin.readline()))


async def main(order: dict[str, Any]) -> None:
    """Live without faults twice, then once a case."""
    control = Control.here()
    folder = Path(order["folder"])
    kind = PARTS[order["part"]]
    plant(order["plant"])
    writer._CHECKPOINT_PAGES = 10
    bridge = None
    if kind is ClientPart:
        bridge = NativeLayer(Ids().make(), required=True)
        await bridge.start()
        ClientPart.bridge = bridge
    before = (0, 0)
    for number, case in enumerate(wanted()):
        row = await one(kind(folder / f"life{number}"), control, case)
        gc.collect()
        now = held()
        if case is not None and not row["wrong"] and now[0] > before[0]:
            row["wrong"] = f"descriptors and threads before {before}, after {now}"
        before = now
        print(json.dumps(row), flush=True)
    if bridge is not None:
        await bridge.close()


if __name__ == "__main__":
    faulthandler.enable()
    asyncio.run(main(json.loads(sys.argv[1])))
