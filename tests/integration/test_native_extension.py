"""The extension checks its arguments, maps each status once, and keeps its references right."""

import gc
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.layers.native import find_native_files
from tandem_orchestrator.layers.native.environment import child_environment

pytestmark = pytest.mark.native
WAIT_S = 20.0


@pytest.fixture
def ext():
    from tandem_orchestrator._native import _ext

    return _ext


@pytest.fixture
def socket_path(own_home: Path) -> Iterator[str]:
    """A bridge that was started by hand, without any of our supervision."""
    folder = own_home / "run" / "tandem"
    folder.mkdir(mode=0o700)
    path = folder / "by-hand.sock"
    ready, ready_write = os.pipe()
    bridge = subprocess.Popen(
        [find_native_files().bridge_path, "--socket", path, "--ready-fd", str(ready_write)],
        env=child_environment(os.environ),
        pass_fds=[ready_write],
    )
    os.close(ready_write)
    assert os.read(ready, 100) == b"ready\n"
    os.close(ready)
    yield str(path)
    bridge.kill()
    bridge.wait(WAIT_S)


@pytest.fixture
def client(ext, socket_path: str):
    made = ext.Client(socket_path, "a test", 5.0, 2000)
    yield made
    made.close()


def action(client, name: str) -> int:
    return {row[1]: row[3] for row in client.actions() if row[0] == "system"}[name]


def take(client, count: int = 1) -> list:
    """Wait for that many completions."""
    found: list = []
    give_up_at = time.monotonic() + WAIT_S
    while len(found) < count:
        assert time.monotonic() < give_up_at
        client.wait(0.1)
        batch, _ = client.drain(1000)
        found += batch
    return found


# --- one call ------------------------------------------------------------------------------------


def test_an_echo_comes_back_with_its_id_status_times_and_bytes(client):
    before = SystemClock().monotonic_ns()
    call_id = client.call(action(client, "echo"), b"\x93\x01\x02\x03")
    [(found, status, started_ns, elapsed_ns, body)] = take(client)
    assert (found, status, body) == (call_id, 0, b"\x93\x01\x02\x03")
    assert before <= started_ns <= SystemClock().monotonic_ns()
    assert elapsed_ns < 1e9
    assert client.drain(10) == ([], False)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_body_may_be_any_contiguous_buffer(client, kind):
    client.call(action(client, "echo"), kind(b"\xa3abc"))
    assert take(client)[0][4] == b"\xa3abc"


def test_a_poll_takes_as_a_drain_does(client):
    client.call(action(client, "echo"), b"\xc0")
    client.wait(WAIT_S)
    batch, more = client.poll(10)
    assert [row[4] for row in batch] == [b"\xc0"]
    assert more is False


def test_max_bounds_a_drain_and_more_says_that_something_is_left(client):
    for _ in range(5):
        client.call(action(client, "echo"), b"\xc0")
    give_up_at = time.monotonic() + WAIT_S
    while client.stats()["completions"] == 0:
        assert time.monotonic() < give_up_at
        first, _ = client.drain(1)
    assert len(first) == 1
    rest = take(client, 4)
    assert len(rest) == 4


def test_a_body_that_is_not_strict_is_refused_by_whoever_reads_it(client):
    client.call(action(client, "echo"), b"\xcd\x00\x01")  # 1, not in its shortest form
    assert take(client)[0][1] == 9  # CORRUPT
    client.call(action(client, "echo"), b"\x01")
    assert take(client)[0][4] == b"\x01"


def test_cancel_progress_and_fate_know_the_calls_in_flight_and_no_others(client, ext):
    body = b"\x81\xa7seconds\xcb" + struct.pack(">d", 60.0)
    call_id = client.call(action(client, "sleep"), body)
    done, total = client.progress(call_id)
    assert done <= total or total == 0
    client.cancel(call_id)
    assert take(client)[0][:2] == (call_id, ext.CANCELLED)
    for question in (client.cancel, client.progress, client.fate):
        with pytest.raises(ValueError, match="no such call"):
            question(call_id)


def test_a_deadline_is_looked_after_in_c(client, ext):
    body = b"\x81\xa7seconds\xcb" + struct.pack(">d", 60.0)
    client.call(action(client, "sleep"), body, deadline_ns=time.monotonic_ns() + 20_000_000)
    assert take(client)[0][1] == ext.TIMED_OUT


def test_wait_gives_false_when_its_time_is_over_and_lets_other_threads_run(client):
    ran = threading.Event()
    threading.Timer(0.01, ran.set).start()
    begun = time.monotonic()
    assert client.wait(0.15) is False
    assert ran.is_set()
    assert 0.14 <= time.monotonic() - begun < 2.0


def test_wait_lets_signals_through(client):
    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(Interrupted):
            client.wait(WAIT_S)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert client.wait(0.0) is False  # and it is still usable


def test_a_second_thread_is_refused_while_one_waits(client):
    waiter = threading.Thread(target=client.wait, args=(1.0,))
    waiter.start()
    give_up_at = time.monotonic() + WAIT_S
    refused = ""
    while not refused and waiter.is_alive():
        assert time.monotonic() < give_up_at
        try:
            client.stats()
        except RuntimeError as error:
            refused = str(error)
    waiter.join()
    assert "one thread at a time" in refused
    assert client.stats()["in_flight"] == 0


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "text"),
    [
        ((), {}, TypeError, "action_id"),
        ((1,), {}, TypeError, "body"),
        ((1, b"\xc0", 3), {}, TypeError, "2 positional"),
        ((1, b"\xc0"), {"body": b"\xc0"}, TypeError, "body given twice"),
        ((1, b"\xc0"), {"colour": 1}, TypeError, "colour"),
        (("1", b"\xc0"), {}, TypeError, "action_id"),
        ((True, b"\xc0"), {}, TypeError, "action_id"),
        ((-1, b"\xc0"), {}, ValueError, "action_id=-1"),
        ((2**32, b"\xc0"), {}, ValueError, "action_id=4294967296"),
        ((2**70, b"\xc0"), {}, ValueError, "action_id"),
        ((1, "text"), {}, TypeError, "body: bytes expected, got str"),
        ((1, None), {}, TypeError, "body"),
        ((1, memoryview(b"abcd")[::2]), {}, BufferError, "contiguous"),
        ((1, b"\xc0"), {"inputs": 5}, TypeError, "inputs"),
        ((1, b"\xc0"), {"attempt": 65536}, ValueError, "attempt"),
        ((1, b"\xc0"), {"lane": 4}, ValueError, "lane=4"),
        ((1, b"\xc0"), {"deadline_ns": -1}, ValueError, "deadline_ns"),
        ((1, b"\xc0"), {"deadline_ns": 1.5}, TypeError, "deadline_ns"),
        ((1, b"\xc0"), {"reply_bytes_max": 2**32}, ValueError, "reply_bytes_max"),
        ((1, b"\xc0"), {"idempotency_key": b"k" * 65}, ValueError, "at most 64"),
        ((1, b"\xc0"), {"idempotency_key": "k"}, TypeError, "idempotency_key"),
    ],
)
def test_call_names_the_argument_that_is_wrong(client, arguments, keywords, error, text):
    with pytest.raises(error, match=text):
        client.call(*arguments, **keywords)
    assert client.stats()["calls"] == 0


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "x", None, True])
def test_drain_wants_a_count(client, wrong):
    with pytest.raises((TypeError, ValueError), match="max"):
        client.drain(wrong)


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf"), 1e10, "1", None, True])
def test_wait_wants_seconds(client, wrong):
    with pytest.raises((TypeError, ValueError), match="timeout_s"):
        client.wait(wrong)


def test_a_body_over_the_limit_is_its_own_error(client, ext):
    with pytest.raises(ext.TooLarge) as caught:
        client.call(action(client, "echo"), bytes(2**26 + 1))
    assert caught.value.status == ext.TOO_LARGE


def test_inputs_travel_beside_the_payload(client):
    client.call(action(client, "echo"), b"\x01", inputs=b"\x81\xa1a\x02")
    assert take(client)[0][4] == b"\x01"


# --- ends ----------------------------------------------------------------------------------------


def test_a_closed_client_says_so_everywhere(client, ext):
    client.close()
    client.close()
    assert client.closed
    for use in (
        lambda: client.call(1, b"\xc0"),
        lambda: client.drain(1),
        lambda: client.wait(0.0),
        lambda: client.cancel(1),
        lambda: client.fate(1),
        client.actions,
        client.stats,
        lambda: client.fd,
        lambda: client.socket_fd,
        lambda: client.bridge_pid,
    ):
        with pytest.raises(ext.Closed, match="has been closed"):
            use()


def test_a_buffer_that_closes_the_client_while_it_is_read_is_survived(client, ext):
    class Closing(bytearray):
        def __buffer__(self, flags):
            client.close()
            return super().__buffer__(flags)

    if sys.version_info >= (3, 12):
        with pytest.raises(ext.Closed):
            client.call(1, Closing(b"\xc0"))
    else:
        client.call(action(client, "echo"), Closing(b"\xc0"))  # 3.11 has no __buffer__


def test_another_build_is_refused_with_a_clear_line(ext, socket_path: str):
    with pytest.raises(ext.Refused, match="build"):
        ext.Client(socket_path, "a test", build_id="0" * 64)


def test_nobody_at_the_socket_is_closed_with_the_path(ext, own_home: Path):
    with pytest.raises(ext.Closed, match=r"nobody\.sock"):
        ext.Client(str(own_home / "nobody.sock"), "a test")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork, threads
def test_a_forked_child_holds_no_end_of_the_session(client, ext):
    # By what they lead to: other libraries may open files of their own in the child (libuv does).
    fds = {fd: os.fstat(fd)[1:3] for fd in (client.fd, client.socket_fd)}
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        answer = []
        for fd, file in fds.items():
            try:
                answer.append("open" if os.fstat(fd)[1:3] == file else "gone")
            except OSError:
                answer.append("gone")
        try:
            client.stats()
            answer.append("works")
        except ext.Forked as error:
            answer.append(type(error).__name__)
        client.close()
        answer.append(str(client.closed))
        os.write(write_end, " ".join(answer).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    assert os.read(read_end, 100) == b"gone gone Forked True"
    os.close(read_end)
    client.call(action(client, "echo"), b"\xc0")
    assert take(client)[0][4] == b"\xc0"


def test_the_type_cannot_be_made_into_something_else(ext):
    with pytest.raises(TypeError):
        type("Sub", (ext.Client,), {})
    with pytest.raises(TypeError):
        ext.Client.call = None


# --- references ----------------------------------------------------------------------------------


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grows_by(act, rounds: int) -> int:
    """Resident bytes that `rounds` more repetitions cost, once everything is warm."""
    for _ in range(rounds):
        act()
    gc.collect()
    before = resident_bytes()
    for _ in range(rounds):
        act()
    gc.collect()
    return resident_bytes() - before


def test_calls_completions_and_errors_leak_nothing(client, ext):
    echo = action(client, "echo")
    body = b"\xc5\x10\x00" + bytes(4096)

    def act():
        client.call(echo, body, idempotency_key=b"k", inputs=b"\x80")
        take(client)
        for wrong in ("text", None):
            with pytest.raises(TypeError):
                client.call(echo, wrong)
        with pytest.raises(ext.Corrupt):
            ext.strict_check(b"\xc1")
        with pytest.raises(ValueError, match="no such call"):
            client.cancel(1 << 60)

    references = sys.getrefcount(body)
    assert grows_by(act, 1000) < 2**20
    assert sys.getrefcount(body) == references


def test_sessions_leak_neither_memory_nor_descriptors(ext, socket_path: str):
    def act():
        made = ext.Client(socket_path, "a test")
        made.call(action(made, "echo"), b"\xc0")
        # closed by its last reference, with a call in flight

    fds = len(list(Path("/proc/self/fd").iterdir()))
    assert grows_by(act, 40) < 2**20
    assert len(list(Path("/proc/self/fd").iterdir())) == fds


# --- functions -----------------------------------------------------------------------------------


def test_crc32c_gives_the_published_check_values(ext):
    assert ext.crc32c(b"123456789") == 0xE3069283  # the check value of the catalogue of CRCs
    assert ext.crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert ext.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert ext.crc32c(b"") == 0


def test_strict_check_tells_strict_from_not(ext):
    assert ext.strict_check(b"\x81\xa1a\x01") is None
    for wrong in (
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x82\xa1a\x01\xa1a\x01",
        b"\xcc\x01",
        b"\x81\x01\x01",
    ):
        with pytest.raises(ext.Corrupt):
            ext.strict_check(wrong)


def test_the_stub_lists_what_the_module_has(ext):
    import ast

    import tandem_orchestrator._native as native

    tree = ast.parse(Path(native.__path__[0], "_ext.pyi").read_text())
    names = set()
    members: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            members[node.name] = {d.name for d in node.body if isinstance(d, ast.FunctionDef)}
    public = {name for name in vars(ext) if not name.startswith("_")}
    assert names == public
    real = {name for name in vars(ext.Client) if not name.startswith("__")}
    assert members["Client"] - {"__new__"} == real
