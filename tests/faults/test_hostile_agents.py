"""An agent that breaks the rules loses its session; its callers get an answer, others nothing.

A directory, a uid or a name that is not ours gets no bridge at all.
"""

import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native import find_native_files
from tandem_orchestrator.layers.native.extension import Extension
from tandem_orchestrator.layers.native.frame import Flag, Frame, Kind
from tandem_orchestrator.testing.raw_peer import (
    AGENT,
    HEAD,
    RawPeer,
    action_row,
    answer,
    connect,
    hello,
)

pytestmark = pytest.mark.native
WAIT_S = 20.0
UNKNOWN, BUSY = 4, 7


def join(watched, name: str = "bad", actions: tuple[str, ...] = ("do",)) -> RawPeer:
    """Join as an agent, and wait until the good client can call it."""
    peer = RawPeer.join(
        watched.socket_path, watched.build_id, role=AGENT, name=name.encode(), actions=actions
    )
    watched.eventually(lambda: offered(watched, name) > 0, f"{name} is offered")
    return peer


def offered(watched, agent: str) -> int:
    """Look, after taking what came, at the id of the agent's first action; 0: none."""
    watched.client.drain(100)
    return next((row[3] for row in watched.client.actions() if row[0] == agent), 0)


def reply(watched, call_id: int) -> tuple[int, bytes]:
    give_up_at = time.monotonic() + WAIT_S
    while True:
        assert time.monotonic() < give_up_at, watched.log
        watched.client.wait(0.1)
        for found, status, _, _, body in watched.client.drain(100)[0]:
            if found == call_id:
                return status, body


def complete(peer: RawPeer, call: Frame, **fields: object) -> None:
    words = {"kind": Kind.COMPLETION, "call_id": call.call_id, "body": b"\xc0"} | fields
    peer.push(**words)


def twice(peer: RawPeer, call: Frame) -> None:
    complete(peer, call)
    complete(peer, call)


ANSWERS: dict[str, Callable[[RawPeer, Frame], None]] = {
    "a call it never got": lambda peer, call: complete(peer, call, call_id=(9 << 32) + 9),
    "a call of another generation": lambda peer, call: complete(
        peer, call, call_id=call.call_id + (1 << 32)
    ),
    "a slot that is none": lambda peer, call: complete(peer, call, call_id=call.call_id | 0xFFFF),
    "a status that is none": lambda peer, call: complete(peer, call, aux=77),
    "a body without its length": lambda peer, call: complete(peer, call, flags=Flag.MORE),
    "a body longer than any": lambda peer, call: complete(
        peer, call, flags=Flag.MORE, extension=Extension(total_bytes=1 << 63)
    ),
    "a fragment of nothing": lambda peer, call: complete(peer, call, kind=Kind.CONT, aux=1),
    "a call": lambda peer, call: complete(peer, call, kind=Kind.CALL),
    "a program": lambda peer, call: complete(peer, call, kind=Kind.RUN),
    "an event": lambda peer, call: complete(peer, call, kind=Kind.EVENT),
    "credits": lambda peer, call: complete(
        peer, call, kind=Kind.CREDIT, aux=0xFFFFFFFF, aux2=0xFFFFFFFF
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_breaks_the_rules_ends_the_agent_and_its_call(watched, case: str):
    with join(watched) as peer:
        call_id = watched.client.call(offered(watched, "bad"), b"\xc0")
        ANSWERS[case](peer, peer.take())
        peer.show()
        status, _ = reply(watched, call_id)
        assert status == UNKNOWN  # it lives, so nothing is certain
        assert "broke the rules" in peer.goodbye()
    watched.said(r"session \d+ \(agent bad, pid \d+\) is cut off: a frame broke the rules")
    watched.eventually(lambda: offered(watched, "bad") == 0, "its actions are withdrawn")
    watched.is_unhurt()


def test_a_call_completed_twice_is_answered_once(watched):
    with join(watched) as peer:
        call_id = watched.client.call(offered(watched, "bad"), b"\xc0")
        twice(peer, peer.take())
        peer.show()
        assert reply(watched, call_id) == (0, b"\xc0")
        assert "broke the rules" in peer.goodbye()
    assert watched.client.stats()["in_flight"] == 0
    watched.is_unhurt()


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\xc0\xc0", b"\xdb\xff\xff\xff\xff", b"\x81\x01\x02"]
)
def test_a_reply_that_is_no_value_is_corrupt_for_its_caller_alone(watched, body: bytes):
    with join(watched) as peer:
        call_id = watched.client.call(offered(watched, "bad"), b"\xc0")
        complete(peer, peer.take(), body=body)
        peer.show()
        assert reply(watched, call_id) == (9, b"")
        again = watched.client.call(offered(watched, "bad"), b"\xc0")
        complete(peer, peer.take())
        peer.show()
        assert reply(watched, again) == (0, b"\xc0")
    watched.is_unhurt()


def test_a_long_reply_that_is_announced_and_never_sent_costs_no_memory(watched):
    with join(watched) as peer:
        watched.client.call(offered(watched, "bad"), b"\xc0")
        complete(peer, peer.take(), flags=Flag.MORE, extension=Extension(total_bytes=64 << 20))
        peer.show()
        watched.echo_with(watched.client)
        assert watched.rss_kb() < watched.before[2] + 16384 or "san" in watched.log
    watched.is_unhurt()


def test_a_head_from_nowhere_is_no_proof_and_no_fault(watched):
    """A dying agent claims to have read more than was written, and less."""
    for head in (1 << 63, (1 << 64) - 64, 1):
        with join(watched) as peer:
            call_id = watched.client.call(offered(watched, "bad"), b"\xc0")
            peer.take()
            peer.store(HEAD, head)
        status, _ = reply(watched, call_id)
        assert status in (4, 5)
        watched.eventually(lambda: offered(watched, "bad") == 0, "it is gone")
    watched.is_unhurt()


def test_progress_from_nowhere_is_passed_on_and_no_more(watched):
    with join(watched) as peer:
        call_id = watched.client.call(offered(watched, "bad"), b"\xc0")
        got = peer.take()
        peer.up[4096:8192] = b"\xff" * 4096
        watched.eventually(
            lambda: watched.client.progress(call_id) == ((1 << 64) - 1, (1 << 64) - 1), "progress"
        )
        complete(peer, got)
        peer.show()
        assert reply(watched, call_id) == (0, b"\xc0")
    watched.is_unhurt()


def test_a_flood_of_log_lines_is_capped_and_stops_nobody(watched):
    with join(watched) as peer:
        for number in range(3000):
            peer.push(kind=Kind.LOG, aux=1, body=b"\x1b[31mline %d\n\xff" % number)
            if number % 50 == 49:
                peer.show()
                peer.wait_for_room(64 << 10)
        worst_s = max(watched.echo_with(watched.client) for _ in range(50))
        assert worst_s < 1.0
        lines = watched.log.count("\n")
        assert lines < 500
        assert "\x1b" not in watched.log
    watched.is_unhurt()


def test_an_agent_that_shuts_its_socket_and_writes_on_is_gone_all_the_same(watched):
    with join(watched) as peer:
        stopping = threading.Event()

        def write() -> None:
            while not stopping.is_set():
                if peer.ring_bytes - (peer.at - peer.load(HEAD)) > 128:
                    peer.push(kind=Kind.LOG, aux=1)
                    peer.show(rings=0)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            peer.socket.shutdown(socket.SHUT_RDWR)
            watched.eventually(lambda: offered(watched, "bad") == 0, "it is gone")
        finally:
            stopping.set()
            writer.join(WAIT_S)
    watched.is_unhurt()


def test_an_agent_that_reads_nothing_is_busy_and_stops_nobody(watched):
    with join(watched):
        wanted = offered(watched, "bad")
        body = b"\xc5" + struct.pack(">H", 8000) + bytes(8000)
        calls = [watched.client.call(wanted, body) for _ in range(257)]
        assert reply(watched, calls[-1])[0] == BUSY
        watched.serves()
    watched.eventually(lambda: drained(watched) == 0, "every call is answered")
    watched.is_unhurt(rss_kept_max_kb=8192)


def drained(watched) -> int:
    watched.client.drain(1000)
    return int(watched.client.stats()["in_flight"])


def test_agents_with_ever_new_names_do_not_fill_the_bridge_for_good(watched):
    """128 new actions each time: ids ran out for good once."""
    for number in range(60):
        rows = [action_row(f"n{number}", f"a{each}") for each in range(128)]
        peer = connect(watched.socket_path)
        peer.send(hello(watched.build_id, role=AGENT, name=b"n%d" % number, rows=rows))
        welcome = answer(peer)
        assert welcome is not None
        assert welcome.status == 0, (number, welcome.text)
        for fd in welcome.fds:
            os.close(fd)
        peer.close()
        watched.eventually(lambda: offered(watched, f"n{number}") == 0, "it went")  # noqa: B023
    with join(watched, "late"):
        assert offered(watched, "late") > 60 * 128
    watched.is_unhurt(rss_kept_max_kb=8192)


def test_agents_with_long_names_keep_no_orchestrator_out(watched):
    """All their actions together would not have fitted into WELCOME."""
    peers = []
    refused = ""
    for number in range(6):
        agent = f"{number}".rjust(128, "n")
        rows = [action_row(agent, f"{each}".rjust(128, "a"), "v" * 128) for each in range(70)]
        peer = connect(watched.socket_path)
        peer.send(hello(watched.build_id, role=AGENT, name=agent.encode(), rows=rows))
        welcome = answer(peer)
        assert welcome is not None
        refused = welcome.text or refused
        for fd in welcome.fds:
            os.close(fd)
        peers.append(peer)
    assert "longer than" in refused
    watched.serves()
    for peer in peers:
        peer.close()
    watched.eventually(lambda: watched.fds() == watched.before[0], "they are gone")
    watched.is_unhurt()


# --- who may come, and where ---------------------------------------------------------------------

STRANGER = """
import socket
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.settimeout(10)
peer.connect({path!r})
try:
    peer.send(b"TANDEMHI" + bytes(56))
    print(repr(peer.recv(10)))
except (BrokenPipeError, ConnectionResetError):
    print(repr(b""))
"""


def test_another_uid_is_closed_without_a_word(open_folder: Path, start_bridge, as_nobody):
    watched = start_bridge(folder=open_folder / "b")
    path = str(watched.socket_path)
    shut = as_nobody(STRANGER.format(path=path))
    assert "PermissionError" in shut.stderr  # the directory alone keeps it out
    watched.socket_path.parent.chmod(0o755)
    watched.socket_path.chmod(0o777)
    for _ in range(20):
        came = as_nobody(STRANGER.format(path=path))
        assert (came.returncode, came.stdout) == (0, "b''\n"), came.stderr
    watched.said(f"runs under uid 65534, expected {os.geteuid()}")
    watched.socket_path.parent.chmod(0o700)
    watched.is_unhurt()


def attempt(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_native_files().bridge_path, "--socket", path],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def test_a_directory_that_others_may_enter_gets_no_bridge(own_home: Path):
    folder = own_home / "open"
    folder.mkdir()
    for mode in (0o755, 0o701, 0o770, 0o707, 0o1777):
        folder.chmod(mode)
        refused = attempt(folder / "s")
        assert refused.returncode == 1
        assert "must be a directory of uid" in refused.stderr
        assert list(folder.iterdir()) == []


def test_a_link_a_file_or_someone_elses_directory_gets_no_bridge(own_home: Path):
    real, link = own_home / "real", own_home / "link"
    real.mkdir(mode=0o700)
    link.symlink_to(real)
    assert "must be a directory of uid" in attempt(link / "s").stderr
    assert list(real.iterdir()) == []
    (own_home / "file").write_text("")
    assert attempt(own_home / "file" / "s").returncode == 1
    if os.geteuid() == 0:
        os.chown(real, 65534, 65534)
        refused = attempt(real / "s")
        assert refused.returncode == 1
        assert "uid 65534" in refused.stderr


def test_what_lies_in_the_sockets_place_is_not_followed_or_removed(own_home: Path):
    folder = own_home / "d"
    folder.mkdir(mode=0o700)
    victim = own_home / "victim"
    victim.write_text("mine")
    (folder / "s").symlink_to(victim)
    refused = attempt(folder / "s")
    assert refused.returncode == 1
    assert "is no socket" in refused.stderr
    (folder / "s").unlink()
    (folder / "agent_bridge.lock").symlink_to(victim)
    assert attempt(folder / "s").returncode == 1
    assert victim.read_text() == "mine"


def test_a_listener_that_is_somebody_elses_socket_is_replaced_only_under_the_lock(watched):
    second = attempt(watched.socket_path)
    assert second.returncode == 3
    assert "another bridge holds" in second.stderr
    watched.is_unhurt()
