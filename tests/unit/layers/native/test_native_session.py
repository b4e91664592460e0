"""A session answers every call it took, whatever the client below it does."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from tandem_orchestrator.errors import Busy, CommandError, InternalError, LayerUnavailable
from tandem_orchestrator.layers.native.session import Completion, Session
from tandem_orchestrator.testing import settle

pytestmark = pytest.mark.native
WAIT_S = 5.0


class ScriptedClient:
    """Stands in for ``_ext.Client``: a drain gives, or raises, what the test has put there."""

    notes = ""

    def __init__(self) -> None:
        self.fd, self._bell = os.pipe()
        self.socket_fd, self._far = os.pipe()
        self.bridge_pid = 4711
        self.spin_ns = 0
        self.logs_waiting = False
        self.closed = False
        self.actions_version = 0
        self.calls = 0
        self.ready: list[tuple[int, int, int, int, bytes]] = []
        self.error: BaseException | None = None
        self.call_error: BaseException | None = None
        self.asked: list[tuple[str, int]] = []
        self.armed = False

    def actions(self) -> list:
        return [("system", "noop", "1", 1, 0, 0, True, True)]

    def call(self, action_id: int, body: bytes, **fields: object) -> int:
        if self.call_error is not None:
            raise self.call_error
        self.calls += 1
        return self.calls

    def drain(self, most: int) -> tuple[list, bool]:
        self.armed = True
        return self._look(most)

    def poll(self, most: int) -> tuple[list, bool]:
        self.armed = False
        return self._look(most)

    def _look(self, most: int) -> tuple[list, bool]:
        if self.error is not None:
            raise self.error
        batch, self.ready = self.ready[:most], self.ready[most:]
        return batch, bool(self.ready)

    def fate(self, call_id: int) -> int:
        return 5 if call_id % 2 else 4

    def cancel(self, call_id: int) -> None:
        self.asked.append(("cancel", call_id))

    def progress(self, call_id: int) -> tuple[int, int]:
        return call_id, 100

    def stats(self) -> dict[str, int]:
        return {"calls": self.calls}

    def ring(self) -> None:
        os.write(self._bell, b"!")

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            for fd in (self.fd, self.socket_fd):
                os.close(fd)

    def put_away(self) -> None:
        self.close()
        for fd in (self._bell, self._far):
            os.close(fd)


@pytest.fixture
def ext():
    from tandem_orchestrator._native import _ext

    return _ext


@pytest.fixture
def client() -> Iterator[ScriptedClient]:
    made = ScriptedClient()
    yield made
    made.put_away()


@pytest.fixture
async def session(client: ScriptedClient):
    made = Session(client)
    yield made
    made.close()


async def answer(future: asyncio.Future[Completion]) -> Completion:
    return await asyncio.wait_for(asyncio.shield(future), WAIT_S)


async def test_answers_find_their_callers_in_any_order(client, session):
    first, one = session.call(1, b"")
    second, two = session.call(1, b"")
    client.ready = [(second, 0, 10, 20, b"b"), (first, 1, 30, 40, b"a")]
    client.ring()
    assert await answer(one) == Completion(1, 30, 40, b"a")
    assert await answer(two) == Completion(0, 10, 20, b"b")
    assert session.in_flight == 0


async def test_a_future_that_was_cancelled_does_not_disturb_the_others(client, session):
    first, one = session.call(1, b"")
    second, two = session.call(1, b"")
    one.cancel()
    client.ready = [(first, 0, 0, 0, b""), (second, 0, 0, 0, b"x")]
    client.ring()
    assert (await answer(two)).body == b"x"


async def test_at_death_each_call_has_the_fate_that_the_client_knows(client, session, ext):
    futures = [session.call(1, b"")[1] for _ in range(4)]
    client.error = ext.Closed("dead")
    client.ring()
    assert [(await answer(future)).status for future in futures] == [5, 4, 5, 4]
    assert await answer(session.ended) == "the bridge is gone"
    assert client.closed


@pytest.mark.parametrize("kind", ["Corrupt", "NativeError", "MemoryError"])
async def test_a_broken_session_promises_nothing(client, session, ext, kind):
    _, future = session.call(1, b"")
    client.error = MemoryError() if kind == "MemoryError" else getattr(ext, kind)("broken")
    client.ring()
    assert (await answer(future)).status == ext.UNKNOWN
    assert kind in await answer(session.ended)
    assert client.closed


async def test_closing_it_answers_what_is_in_flight_and_may_be_repeated(client, session, ext):
    _, future = session.call(1, b"")
    session.close()
    session.close()
    assert (await answer(future)).status == ext.UNKNOWN
    assert await answer(session.ended) == "closed here"
    assert session.stats() == {}


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("Busy", Busy),
        ("TooLarge", CommandError),
        ("Closed", LayerUnavailable),
        ("Corrupt", LayerUnavailable),
        ("NativeError", InternalError),
    ],
)
async def test_a_refused_call_has_the_error_that_callers_know(client, session, ext, kind, error):
    client.call_error = getattr(ext, kind)("no")
    with pytest.raises(error, match="no"):
        session.call(1, b"")
    assert session.in_flight == 0


async def test_a_refused_call_on_a_dead_session_ends_it(client, session, ext):
    client.call_error = client.error = ext.Closed("dead")
    with pytest.raises(LayerUnavailable):
        session.call(1, b"")
    assert await answer(session.ended) == "the bridge is gone"


async def test_cancel_and_progress_ask_only_about_calls_in_flight(client, session):
    call_id, future = session.call(1, b"")
    session.cancel(call_id)
    session.cancel(99)
    assert client.asked == [("cancel", call_id)]
    assert session.progress(call_id) == (call_id, 100)
    assert session.progress(99) == (0, 0)
    client.ready = [(call_id, 0, 0, 0, b"")]
    client.ring()
    await answer(future)
    session.cancel(call_id)
    assert client.asked == [("cancel", call_id)]


async def test_a_quiet_call_leaves_the_loop_in_peace(client, session):
    """While nothing comes, the session relies on the doorbell and does not spin."""
    looks = 0
    drain = client.drain

    def counted(most: int):
        nonlocal looks
        looks += 1
        return drain(most)

    client.drain = client.poll = counted
    session.call(1, b"")
    for _ in range(200):
        await asyncio.sleep(0)
    assert 1 <= looks <= 4


@pytest.mark.parametrize("cpus", [1, 2])
async def test_a_session_looks_on_for_its_time_where_two_cpus_are(client, ext, monkeypatch, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    client.spin_ns = 10**12  # for ever, as far as this test goes
    session = Session(client)
    await settle()
    session.call(1, b"")
    for _ in range(200):
        await asyncio.sleep(0)
    assert client.armed == (cpus == 1)  # polls arm nothing
    session.close()


async def test_an_idle_session_has_its_doorbell_armed(client, session):
    """Agents that come must be heard of: the look that took the last answer may not be the last."""
    _, future = session.call(1, b"x")
    client.ready = [(1, 0, 0, 0, b"y")]
    assert (await asyncio.wait_for(future, WAIT_S)).body == b"y"
    await settle()
    assert client.armed
