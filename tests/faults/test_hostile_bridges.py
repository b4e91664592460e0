"""A bridge that breaks the rules is a typed error in its clients, and never a crash or a wait.

The clients are the extension in this process, and ``libtandem_agent`` in a program of its own.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native.extension import Extension
from tandem_orchestrator.layers.native.frame import Flag, Kind
from tandem_orchestrator.testing.raw_bridge import RING_BYTES, RawBridge, memory, welcome
from tandem_orchestrator.testing.raw_peer import AGENT, HEAD, ORCHESTRATOR, action_row

pytestmark = pytest.mark.native
WAIT_S = 20.0
UNDER_TEST = os.environ.get("TANDEM_BRIDGE_UNDER_TEST", "")
"""As in conftest.py; the agent beside it is tried as well."""
CASES_FDS: dict[str, tuple[Callable[[RawBridge, list[int]], list[int]], str]] = {
    "no descriptors": (lambda bridge, fds: [], "0 fds"),
    "three": (lambda bridge, fds: fds[:3], "3 fds"),
    "memory without seals": (
        lambda bridge, fds: [memory(bridge.down_data, seals=0), *fds[1:]],
        "not sealed",
    ),
    "memory that can still be sealed": (
        lambda bridge, fds: [memory(bridge.down_data, seals=6), *fds[1:]],
        "not sealed",
    ),
    "memory too small": (
        lambda bridge, fds: [memory(bridge.down_data, bytes_more=-4096), *fds[1:]],
        "another size",
    ),
    "memory too large": (
        lambda bridge, fds: [fds[0], memory(bridge.up_data, bytes_more=4096), *fds[2:]],
        "another size",
    ),
    "a file for memory": (
        lambda bridge, fds: [os.open(sys.executable, os.O_RDONLY), *fds[1:]],
        "sealed|another size",
    ),
    "a device for memory": (
        lambda bridge, fds: [os.open("/dev/zero", os.O_RDWR), *fds[1:]],
        "not sealed",
    ),
    "pipes for memory": (lambda bridge, fds: [fds[2], fds[3], *fds[2:]], "not sealed"),
    "memory for pipes": (lambda bridge, fds: [*fds[:2], *fds[:2], *fds[4:]], "doorbells"),
    "pipes changed over": (lambda bridge, fds: [*fds[:2], fds[3], fds[2], *fds[4:]], "doorbells"),
    "a pipe that waits": (lambda bridge, fds: [*fds[:3], blocking(fds[3]), *fds[4:]], "doorbells"),
}


def blocking(fd: int) -> int:
    os.set_blocking(fd, True)
    return fd


CASES_WELCOME = {
    "wrong magic": ({"magic": b"TANDEMNO"}, "bad magic"),
    "another byte order": ({"endian": 0x04030201}, "byte order"),
    "a future protocol": ({"protocol": 9}, "protocol 9|fds"),
    "too long a length": ({"message_bytes": 1 << 31}, "malformed"),
    "a head beyond the end": ({"head_bytes": 1 << 31}, "malformed"),
    "a head too short": ({"head_bytes": 8}, "malformed"),
    "a version beyond the end": ({"version_bytes": 0xFFFF}, "do not fit"),
    "a text beyond the end": ({"text_bytes": 0xFFFF}, "do not fit"),
    "no ring": ({"ring_bytes": 0}, "ring_bytes=0"),
    "a ring of 3": ({"ring_bytes": 3 << 15}, "ring_bytes="),
    "a ring of 2 GiB": ({"ring_bytes": 1 << 31}, "ring_bytes="),
    "a ring of all memory": ({"ring_bytes": 1 << 63}, "ring_bytes="),
    "a ring twice as long": ({"ring_bytes": 2 * RING_BYTES}, "another size"),
    "no slots": ({"slots": 0}, "slots=0"),
    "too many slots": ({"slots": 1 << 31}, "slots="),
    "more actions than there are": ({"actions_total": 2}, "action 1|actions"),
    "more actions than allowed": ({"actions_total": 1 << 31}, "do not fit|actions"),
    "half an action": ({"rows": bytes(7)}, "action 0"),
    "a refusal": ({"status": 1, "text": b"\x1b[31mgo away\xff"}, "refused"),
    "a status that is none": ({"status": 999}, "refused"),
}


@pytest.fixture
def ext():
    from tandem_orchestrator._native import _ext

    return _ext


@pytest.fixture
def bridges(own_home: Path, ext) -> Iterator[Callable[..., RawBridge]]:
    made: list[RawBridge] = []

    def make(role: int = ORCHESTRATOR) -> RawBridge:
        made.append(RawBridge(own_home / f"s{len(made)}", ext.BUILD_ID, role=role))
        return made[-1]

    yield make
    for bridge in made:
        bridge.close()


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def refused_by(ext, bridge: RawBridge, reply: bytes, change=list) -> Exception:
    """Connect the extension; it must refuse, in time, and keep nothing open."""
    thread = bridge.answering(reply, change)
    with pytest.raises(ext.NativeError) as caught:
        ext.Client(str(bridge.path), "t", 5.0)
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert type(caught.value) in (ext.Corrupt, ext.Refused)
    return caught.value


def agent_refuses(bridge: RawBridge, reply: bytes, change=list) -> str:
    """Connect ``libtandem_agent``; it must exit with 1 and a sentence."""
    thread = bridge.answering(reply, change)
    done = subprocess.run(
        [agent_program(), "raw", str(bridge.path), "0"],
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    thread.join(WAIT_S)
    assert done.returncode == 1, done
    assert done.stderr.startswith(b"agent")
    return done.stderr.decode(errors="replace")


def agent_program() -> str:
    beside = Path(UNDER_TEST).parent if UNDER_TEST else os.environ.get("TANDEM_NATIVE_TOOLS", "")
    program = Path(beside, "agent_test_program")
    if not program.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail("agent_test_program is not built", pytrace=False)
        pytest.skip("`tools/test-native plain` builds agent_test_program")
    return str(program)


AGENT_ACTIONS = ["echo", "receive", "die", "nap", "refuse", "make", "pid"]
AGENT_ROWS = b"".join(
    action_row("raw", name, action_id=number + 1) for number, name in enumerate(AGENT_ACTIONS)
)


@pytest.mark.parametrize("case", CASES_WELCOME)
def test_a_wrong_welcome_is_a_typed_error(ext, bridges, case: str):
    fields, reason = CASES_WELCOME[case]
    before = fds()
    bridge = bridges()
    error = refused_by(ext, bridge, welcome(ext.BUILD_ID, **fields))
    assert any(each in str(error) for each in reason.split("|")), error
    assert "\x1b" not in str(error)
    bridge.close()
    bridge.fds, bridge.socket = [], None
    assert fds() == before

    other = bridges(AGENT)
    rows = {"rows": AGENT_ROWS, "actions_total": len(AGENT_ACTIONS)} | fields
    said = agent_refuses(other, welcome(ext.BUILD_ID, **rows))
    assert any(each in said for each in reason.split("|")), said


@pytest.mark.parametrize("case", CASES_FDS)
def test_wrong_descriptors_are_a_typed_error(ext, bridges, case: str):
    change, reason = CASES_FDS[case]
    before = fds()
    bridge = bridges()
    error = refused_by(ext, bridge, welcome(ext.BUILD_ID), lambda fds: change(bridge, fds))
    assert isinstance(error, ext.Corrupt)
    assert any(each in str(error) for each in reason.split("|")), error
    bridge.close()
    bridge.fds, bridge.socket = [], None
    assert fds() == before

    other = bridges(AGENT)
    reply = welcome(ext.BUILD_ID, rows=AGENT_ROWS, actions_total=len(AGENT_ACTIONS))
    said = agent_refuses(other, reply, lambda fds: change(other, fds))
    assert any(each in said for each in reason.split("|")), said


def test_descriptors_beyond_the_five_never_arrive(ext, bridges):
    bridge = bridges()
    before = fds()
    thread = bridge.answering(welcome(ext.BUILD_ID), lambda fds: fds + [fds[0]] * 60)
    client = ext.Client(str(bridge.path), "t", 5.0)
    thread.join(WAIT_S)
    # The bridge's seven, two of them twice for their mmaps, and its socket; the client's socket,
    # its ends of two pipes, and the page of statistics.
    assert fds() - before == 7 + 2 + 1 + 4
    client.close()


def test_a_bridge_that_says_nothing_is_given_up_in_time(ext, bridges):
    bridge = bridges()
    began = time.monotonic()
    with pytest.raises(ext.TimedOut):
        ext.Client(str(bridge.path), "t", 0.3)
    assert time.monotonic() - began < 2.0


STRANGER = """
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind({path!r})
os.chmod({path!r}, 0o777)
listener.listen(8)
print("!", flush=True)
while True:
    peer, _ = listener.accept()
    print(repr(peer.recv(100)), flush=True)
"""


def test_another_uids_bridge_gets_not_one_byte(ext, open_folder: Path, nobody_starts):
    open_folder.chmod(0o777)
    path = open_folder / "s"
    stranger = nobody_starts(STRANGER.format(path=str(path)))
    assert stranger.stdout.readline() == "!\n"
    with pytest.raises(ext.Refused, match=f"uid 65534, expected {os.geteuid()}"):
        ext.Client(str(path), "t", 5.0)
    assert stranger.stdout.readline() == "b''\n"
    done = subprocess.run(
        [agent_program(), "raw", path, "0"], capture_output=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 1
    assert b"uid 65534" in done.stderr
    assert stranger.stdout.readline() == "b''\n"


# --- after the handshake -------------------------------------------------------------------------


@pytest.fixture
def session(ext, bridges) -> Iterator[tuple]:
    bridge = bridges()
    thread = bridge.answering(welcome(ext.BUILD_ID))
    client = ext.Client(str(bridge.path), "t", 5.0)
    thread.join(WAIT_S)
    yield bridge, client
    client.close()


def completion(bridge: RawBridge, call_id: int, fields: dict[str, object] | None = None) -> None:
    words = {"kind": Kind.COMPLETION, "call_id": call_id, "body": b"\xc0"} | (fields or {})
    bridge.push(**words)


def tail(value: int) -> Callable[[RawBridge, int], None]:
    return lambda bridge, _: bridge.show(value)


def frame(**fields: object) -> Callable[[RawBridge, int], None]:
    def act(bridge: RawBridge, call_id: int) -> None:
        completion(bridge, call_id, fields)
        bridge.show()

    return act


def two(bridge: RawBridge, call_id: int) -> None:
    completion(bridge, call_id)
    completion(bridge, call_id)
    bridge.show()


def event(rows: bytes) -> Callable[[RawBridge, int], None]:
    return frame(kind=Kind.EVENT, body=rows)


def too_many_rows(bridge: RawBridge, _: int) -> None:
    for number in range(600):
        row = action_row("a", f"n{number}", action_id=number + 10)
        bridge.push(kind=Kind.EVENT, aux=1, body=row)
    bridge.show()


BREACHES: dict[str, Callable[[RawBridge, int], None]] = {
    "a tail far ahead": tail(1 << 40),
    "a tail one lap and a line ahead": tail(RING_BYTES + 64),
    "a tail off by one": tail(65),
    "the largest tail": tail((1 << 64) - 64),
    "zeros": tail(64),
    "a call nobody made": frame(call_id=(9 << 32) + 9),
    "a slot that is none": frame(call_id=(1 << 32) + 0xFFFFFFFF),
    "another generation": frame(call_id=77 << 32),
    "a completion twice": two,
    "a status that is none": frame(aux=77),
    "a call": frame(kind=Kind.CALL),
    "a program": frame(kind=Kind.LOAD),
    "credits": frame(kind=Kind.CREDIT),
    "a fragment of nothing": frame(kind=Kind.CONT, aux=1),
    "a fragmented body without its length": frame(flags=Flag.MORE),
    "a fragmented body too long": frame(flags=Flag.MORE, extension=Extension(total_bytes=1 << 62)),
    "an event cut short": event(action_row("a", "b")[:9]),
    "an event with a name that is no UTF-8": event(
        action_row("a", "bb").replace(b"bb", b"\xff\xfe")
    ),
    "an event with a zero in a name": event(action_row("a", "bb").replace(b"bb", b"b\0")),
    "more actions than allowed": too_many_rows,
}


@pytest.mark.parametrize("case", BREACHES)
def test_a_bridge_that_breaks_the_rules_is_a_typed_error(ext, session, case: str):
    bridge, client = session
    call_id = client.call(1, b"\xc0")
    BREACHES[case](bridge, call_id)
    give_up_at = time.monotonic() + WAIT_S
    with pytest.raises(ext.Corrupt, match="the bridge broke the rules"):  # noqa: PT012
        while time.monotonic() < give_up_at:
            client.drain(100)
    with pytest.raises(ext.Corrupt):  # for good
        client.call(1, b"\xc0")
    if case != "a completion twice":
        assert client.fate(call_id) in (4, 5)


@pytest.mark.parametrize("head", [1 << 40, 100, (1 << 64) - 64])
def test_a_head_that_jumps_is_a_typed_error(ext, session, head: int):
    bridge, client = session
    bridge.store(HEAD, head)
    with pytest.raises((ext.Corrupt, ext.Busy)) as caught:  # noqa: PT012
        for _ in range(100):
            client.call(1, b"\xc5\x27\x10" + bytes(10000))
    assert caught.type is ext.Corrupt


def test_a_reply_that_is_no_value_is_corrupt_and_its_session_goes_on(ext, session):
    bridge, client = session
    for body in (b"", b"\xc1", b"\xc0\xc0", b"\xdb\xff\xff\xff\xff"):
        call_id = client.call(1, b"\xc0")
        completion(bridge, call_id, {"body": body})
        bridge.show()
        assert [each[:2] for each in client.drain(10)[0]] == [(call_id, ext.CORRUPT)]


def test_log_lines_without_end_do_not_keep_a_drain(ext, session):
    """The ring stays full of lines: a writer puts new ones where old ones were read."""
    bridge, client = session
    stopping = threading.Event()

    def write() -> None:
        while not stopping.is_set():
            if (
                RING_BYTES - (bridge.at - int.from_bytes(bridge.up[HEAD : HEAD + 8], "little"))
                > 128
            ):
                bridge.push(kind=Kind.LOG, body=b"")
                bridge.show()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            began = time.monotonic()
            assert client.drain(100)[0] == []
            assert time.monotonic() - began < 1.0
    finally:
        stopping.set()
        writer.join(WAIT_S)


def test_goodbyes_without_end_are_an_end(ext, session):
    bridge, client = session
    for _ in range(8):
        bridge.socket.send(b"TANDEMBY\x1b[31m" + b"x" * 400)
    with pytest.raises(ext.Closed) as caught:  # noqa: PT012
        for _ in range(100):
            client.drain(10)
            client.wait(0.1)
    assert "\x1b" not in str(caught.value)


def test_a_doorbell_that_never_stops_does_not_keep_a_drain(ext, session):
    bridge, client = session
    stopping = threading.Event()

    def ring() -> None:
        while not stopping.is_set():
            try:
                os.write(bridge.ring_fd, bytes(65536))
            except BlockingIOError:
                continue

    ringer = threading.Thread(target=ring)
    ringer.start()
    try:
        for _ in range(50):
            began = time.monotonic()
            client.drain(100)
            client.wait(0.01)
            assert time.monotonic() - began < 1.0
    finally:
        stopping.set()
        ringer.join(WAIT_S)


AGENT_BREACHES: dict[str, Callable[[RawBridge], None]] = {
    "a tail far ahead": lambda bridge: bridge.show(1 << 40),
    "zeros": lambda bridge: bridge.show(64),
    "an action never offered": lambda bridge: agent_call(bridge, action_id=99),
    "a slot that is none": lambda bridge: agent_call(bridge, call_id=(1 << 32) + 60000),
    "a completion": lambda bridge: agent_call(bridge, kind=Kind.COMPLETION),
    "a program": lambda bridge: agent_call(bridge, kind=Kind.RUN),
    "a fragment of nothing": lambda bridge: agent_call(bridge, kind=Kind.CONT, aux=1),
    "a fragmented call too long": lambda bridge: agent_call(
        bridge, flags=Flag.MORE, extension=Extension(total_bytes=1 << 62)
    ),
}


def agent_call(bridge: RawBridge, **fields: object) -> None:
    bridge.push(**{"kind": Kind.CALL, "call_id": 1 << 32, "action_id": 1, "body": b"\xc0"} | fields)
    bridge.show()


@pytest.mark.parametrize("case", AGENT_BREACHES)
def test_an_agent_leaves_a_bridge_that_breaks_the_rules(ext, bridges, case: str):
    bridge = bridges(AGENT)
    thread = bridge.answering(
        welcome(ext.BUILD_ID, rows=AGENT_ROWS, actions_total=len(AGENT_ACTIONS))
    )
    agent = subprocess.Popen(
        [agent_program(), "raw", str(bridge.path), "0"], stderr=subprocess.PIPE
    )
    try:
        thread.join(WAIT_S)
        agent_call(bridge)  # a sound one first
        give_up_at = time.monotonic() + WAIT_S
        while int.from_bytes(bridge.up[0:8], "little") == 0:
            assert time.monotonic() < give_up_at
        assert bridge.take().kind is Kind.COMPLETION
        AGENT_BREACHES[case](bridge)
        assert agent.wait(WAIT_S) == 1
        assert agent.stderr is not None
        assert b"agent raw: " in agent.stderr.read()
    finally:
        if agent.poll() is None:
            agent.send_signal(signal.SIGKILL)
            agent.wait(WAIT_S)
        if agent.stderr is not None:
            agent.stderr.close()
