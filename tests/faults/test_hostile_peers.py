"""A peer that breaks the rules is cut off with a reason, and nobody else notices.

Each test ends with ``is_unhurt``: the bridge serves the client that was there before and one that
comes now, and has the descriptors, threads and memory it had.
"""

import array
import contextlib
import fcntl
import mmap
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_orchestrator.layers.native.extension import Extension
from tandem_orchestrator.layers.native.frame import Flag, Kind
from tandem_orchestrator.testing.raw_peer import (
    AGENT,
    HEAD,
    HELLO,
    ORCHESTRATOR,
    RawPeer,
    action_row,
    answer,
    connect,
    hello,
)

pytestmark = pytest.mark.native
FIRST_CALL = 1 << 32
"""Slot 0, generation 1."""
GUESTS_MAX = 64
"""``TDI_GUESTS_MAX``: connections that have not said HELLO."""
HELLO_S = 5.0
"""``HELLO_NS_MAX``: how long a connection may say nothing."""


# --- the handshake -------------------------------------------------------------------------------

HELLOS = {
    "wrong magic": ({"magic": b"TANDEMHO"}, "bad magic"),
    "other byte order": ({"endian": 0x04030201}, "byte order"),
    "a future version": ({"protocols": (2, 9)}, "protocol 2 to 9 is spoken there, 1 here"),
    "a past version": ({"protocols": (0, 0)}, "protocol 0 to 0"),
    "an unknown feature": ({"required": 1 << 40}, "features 0x10000000000"),
    "too long a length": ({"message_bytes": 1 << 31}, "malformed"),
    "too short a length": ({"message_bytes": 8}, "malformed"),
    "a head beyond the end": ({"head_bytes": 0xFFFFFFFF}, "malformed"),
    "a head too short": ({"head_bytes": 8}, "malformed"),
    "a name beyond the end": ({"name_bytes": 60000}, "do not fit"),
    "a token beyond the end": ({"token_bytes": 0xFFFF}, "do not fit"),
    "a role that is none": ({"role": 7}, "role 7"),
    "actions of an orchestrator": ({"rows": [action_row("raw", "do")]}, "role 1 with 1 actions"),
    "an agent without actions": ({"role": AGENT}, "at least one action"),
    "more actions than there are": (
        {"role": AGENT, "rows": [action_row("raw", "do")], "actions_total": 2},
        "do not fit",
    ),
    "more actions than allowed": (
        {"role": AGENT, "rows": [action_row("raw", "do")], "actions_total": 60000},
        "do not fit",
    ),
    "another agent's action": (
        {"role": AGENT, "rows": [action_row("other", "do")]},
        "of another agent",
    ),
    "a built-in action": (
        {"role": AGENT, "name": b"system", "rows": [action_row("system", "echo")]},
        "built in",
    ),
    "an id of its own choice": (
        {"role": AGENT, "rows": [action_row("raw", "do", action_id=1)]},
        "malformed",
    ),
}


@pytest.mark.parametrize("case", HELLOS)
def test_a_wrong_hello_is_refused_with_its_reason(watched, case: str):
    fields, reason = HELLOS[case]
    with connect(watched.socket_path) as peer:
        peer.send(hello(watched.build_id, **fields))
        welcome = answer(peer)
        assert welcome is not None
        assert welcome.status != 0
        assert not welcome.fds
        assert reason in welcome.text
        assert peer.recv(1) == b""  # and its end
    assert reason in watched.log
    watched.is_unhurt()


def test_every_hello_cut_short_or_with_one_wrong_byte_is_answered_or_closed(watched):
    """400 of them; none may do more than join, be refused, or be closed."""
    chosen = random.Random(7)
    sound = hello(watched.build_id, role=AGENT, rows=[action_row("raw", "do")])
    for number in range(400):
        wrong = bytearray(sound)
        if number % 4 == 0:
            del wrong[chosen.randrange(1, len(wrong)) :]
        else:
            wrong[chosen.randrange(len(wrong))] ^= 1 << chosen.randrange(8)
        with connect(watched.socket_path) as peer:
            peer.send(wrong)
            welcome = answer(peer)
            assert welcome is not None
            for fd in welcome.fds:
                os.close(fd)
    watched.is_unhurt()


def test_a_huge_hello_is_refused(watched):
    with connect(watched.socket_path) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        peer.send(hello(watched.build_id) + bytes(100_000))
        welcome = answer(peer)
        assert welcome is not None
        assert welcome.status == 1
        assert "longer than 32768" in welcome.text
    watched.is_unhurt()


def test_half_a_handshake_is_closed_in_time_and_stops_nobody(watched):
    with connect(watched.socket_path) as silent, connect(watched.socket_path) as half:
        half.send(hello(watched.build_id)[:20])
        refused = answer(half)
        assert refused is not None
        assert refused.status == 1
        assert max(watched.echo_with(watched.client) for _ in range(20)) < HELLO_S / 2
        watched.serves()
        began = time.monotonic()
        silent.settimeout(2 * HELLO_S)
        assert silent.recv(1) == b""
        assert time.monotonic() - began < HELLO_S + 2
    watched.said("no HELLO within 5 s")
    watched.is_unhurt()


def test_silent_connections_beyond_the_limit_are_busy_and_keep_no_good_one_out(watched):
    silent = [connect(watched.socket_path) for _ in range(3 * GUESTS_MAX)]
    try:
        watched.serves()  # at once, not after their 5 s
        refused = answer(silent[0])
        assert refused is not None
        assert refused.status == 7
        assert "said nothing" in refused.text
    finally:
        for peer in silent:
            peer.close()
    watched.said("64 others connected while this one said nothing")
    watched.is_unhurt()


def test_sessions_beyond_the_budget_are_busy(watched):
    # With the good one these are all.
    peers = [RawPeer.join(watched.socket_path, watched.build_id) for _ in range(16)]
    with pytest.raises(ConnectionError, match="17"):
        RawPeer.join(watched.socket_path, watched.build_id)
    watched.echo_with(watched.client)
    for peer in peers:
        peer.close()
    watched.eventually(lambda: watched.fds() == watched.before[0], "all sessions are freed")
    watched.is_unhurt()


def test_without_descriptors_it_refuses_and_does_not_spin(start_bridge):
    watched = start_bridge(fds_max=40)
    peers = [connect(watched.socket_path) for _ in range(60)]
    try:
        watched.said("no file descriptor is left")
        before_s = watched.cpu_s()
        time.sleep(0.5)  # its CPU time is what is measured
        assert watched.cpu_s() - before_s < 0.25
        watched.echo_with(watched.client)
    finally:
        for peer in peers:
            peer.close()
    watched.is_unhurt()


def test_descriptors_that_nobody_asked_for_never_arrive(watched):
    """With HELLO, with a second message, and with a message that is never read."""
    with Path("/dev/null").open() as null:
        passed = [null.fileno()] * 100
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", passed))]
        with connect(watched.socket_path) as peer:
            peer.sendmsg([hello(watched.build_id)], rights)
            welcome = answer(peer)
            assert welcome is not None
            with RawPeer(peer, welcome, ORCHESTRATOR) as session:
                watched.echo_with(watched.client)
                assert watched.fds() == watched.before[0] + 3
                session.socket.sendmsg([b"more"], rights)
                assert "a message after HELLO" in session.goodbye()
        with connect(watched.socket_path) as peer:
            peer.sendmsg([b"x"], rights)
            with contextlib.suppress(BrokenPipeError):  # closed already
                peer.sendmsg([b"y"], rights)
    watched.is_unhurt()


# --- memory --------------------------------------------------------------------------------------


def test_a_peer_can_neither_resize_memory_nor_write_the_bridges(watched):
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        for fd in (peer.down_fd, peer.up_fd):
            bytes_now = os.fstat(fd).st_size
            for wrong in (0, bytes_now - 4096, bytes_now + 4096):
                with pytest.raises(PermissionError):
                    os.ftruncate(fd, wrong)
            with pytest.raises(PermissionError):
                os.posix_fallocate(fd, bytes_now, 4096)
            with pytest.raises(PermissionError):
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        for way in (peer.down_fd, os.open(f"/proc/self/fd/{peer.down_fd}", os.O_RDWR)):
            with pytest.raises(PermissionError):
                mmap.mmap(way, 4096)
            with pytest.raises(PermissionError):
                os.pwrite(way, b"x", 0)
        os.close(way)
        watched.echo_with(watched.client)
    watched.is_unhurt()


def test_pages_that_a_peer_gives_back_are_zeros_and_no_fault(watched):
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        peer.push(kind=Kind.CALL, call_id=FIRST_CALL, body=b"\xc0")
        peer.show(rings=0)
        peer.up.madvise(mmap.MADV_REMOVE)
        peer.show()
        assert "broke the rules" in peer.goodbye()
    watched.is_unhurt()


# --- frames --------------------------------------------------------------------------------------


def call(peer: RawPeer, call_id: int = FIRST_CALL, **fields: object) -> None:
    peer.push(**{"kind": Kind.CALL, "call_id": call_id, "body": b"\xc0"} | fields)


def spoil(peer: RawPeer, offset: int, value: bytes) -> None:
    """A sound call, one of its header's fields overwritten, and the header's CRC made anew."""
    from tandem_orchestrator.layers.native.crc32c import crc32c

    data = bytearray(peer.packed(kind=Kind.CALL, call_id=FIRST_CALL, body=b"\xc0"))
    data[offset : offset + len(value)] = value
    data[60:64] = crc32c(data[:60]).to_bytes(4, "little")
    peer.place(bytes(data))


def twice(peer: RawPeer) -> None:
    sleep = peer.action("system", "sleep")
    call(peer, action_id=sleep, body=b"\x81\xa7seconds\xcb" + struct.pack(">d", 60))
    call(peer, FIRST_CALL * 2, action_id=sleep)


FRAMES: dict[str, Callable[[RawPeer], None]] = {
    "no magic": lambda peer: spoil(peer, 0, b"\0\0"),
    "a future layout": lambda peer: spoil(peer, 2, b"\x02"),
    "kind 0": lambda peer: spoil(peer, 3, b"\0"),
    "kind 200": lambda peer: spoil(peer, 3, b"\xc8"),
    "an unknown flag": lambda peer: spoil(peer, 4, b"\x20\0"),
    "lane 4": lambda peer: spoil(peer, 6, b"\x04"),
    "255 units of extension": lambda peer: spoil(peer, 7, b"\xff"),
    "a body of 4 GiB": lambda peer: spoil(peer, 8, b"\xff\xff\xff\xff"),
    "a body just over 4 GiB with its header": lambda peer: spoil(peer, 8, b"\xc0\xff\xff\xff"),
    "a body beyond what is shown": lambda peer: spoil(peer, 8, b"\0\x10\0\0"),
    "a body beyond an eighth of the ring": lambda peer: spoil(peer, 8, b"\0\0\x10\0"),
    "another lap's frame": lambda peer: spoil(peer, 12, b"\x01\0\0\0"),
    "a body with another checksum": lambda peer: spoil(peer, 0x38, b"\1\2\3\4"),
    "a header with another checksum": lambda peer: peer.place(
        peer.packed(kind=Kind.CALL, call_id=FIRST_CALL)[:60] + bytes(4)
    ),
    "a PAD that ends nowhere": lambda peer: peer.push(kind=Kind.PAD, body=bytes(64)),
    "nothing but zeros": lambda peer: peer.place(bytes(64)),
    "a slot that is none": lambda peer: call(peer, FIRST_CALL + 4096),
    "a slot far away": lambda peer: call(peer, FIRST_CALL + 0xFFFFFFFF),
    "generation 0": lambda peer: call(peer, 5),
    "a slot in use": twice,
    "a completion": lambda peer: call(peer, kind=Kind.COMPLETION),
    "an event": lambda peer: call(peer, kind=Kind.EVENT),
    "credits": lambda peer: call(peer, kind=Kind.CREDIT, aux=0xFFFFFFFF, aux2=0xFFFFFFFF),
    "a registration": lambda peer: call(peer, kind=Kind.REGISTER),
    "a log line": lambda peer: call(peer, kind=Kind.LOG),
    "a fragment of nothing": lambda peer: call(peer, kind=Kind.CONT, aux=1),
    "a fragmented body without its length": lambda peer: call(peer, flags=Flag.MORE),
    "a fragmented body shorter than its part": lambda peer: call(
        peer, flags=Flag.MORE, extension=Extension(total_bytes=1)
    ),
    "a call inside another's fragments": lambda peer: (
        call(peer, flags=Flag.MORE, extension=Extension(total_bytes=100)),
        call(peer, FIRST_CALL + 1),
    ),
    "a fragment too long": lambda peer: (
        call(peer, flags=Flag.MORE, extension=Extension(total_bytes=3)),
        call(peer, kind=Kind.CONT, aux=1, body=bytes(3)),
    ),
    "a fragment that ends too early": lambda peer: (
        call(peer, flags=Flag.MORE, extension=Extension(total_bytes=300)),
        call(peer, kind=Kind.CONT, aux=1, body=bytes(3)),
    ),
    "the wrong fragment": lambda peer: (
        call(peer, flags=Flag.MORE, extension=Extension(total_bytes=4)),
        call(peer, kind=Kind.CONT, aux=9, body=bytes(3)),
    ),
    "a flag that is not a peer's": lambda peer: call(peer, flags=Flag.PROGRAM),
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_frame_that_breaks_the_rules_costs_its_session_alone(watched, case: str):
    with RawPeer.join(watched.socket_path, watched.build_id, name=b"rude") as peer:
        FRAMES[case](peer)
        peer.show()
        assert "broke the rules" in peer.goodbye()
    watched.said(r"session \d+ \(orchestrator rude, pid \d+\) is cut off: a frame broke the rules")
    watched.is_unhurt()


CURSORS = {
    "far ahead": 1 << 40,
    "one lap and a line ahead": (128 << 10) + 64,
    "not a multiple of 64": 100,
    "the largest number": (1 << 64) - 64,
    "behind": (1 << 64) - (64 << 10),
}


@pytest.mark.parametrize("case", CURSORS)
def test_a_tail_that_jumps_costs_its_session_alone(watched, case: str):
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        peer.show(CURSORS[case])
        assert "broke the rules" in peer.goodbye()
    watched.is_unhurt()


def test_a_tail_that_goes_back_costs_its_session_alone(watched):
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        call(peer, action_id=peer.action("system", "noop"))
        peer.show()
        peer.take()
        peer.show(0)
        assert "broke the rules" in peer.goodbye()
    watched.is_unhurt()


@pytest.mark.parametrize("case", ["far ahead", "not a multiple of 64", "the largest number"])
def test_a_head_that_jumps_costs_its_session_alone(watched, case: str):
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        echo = peer.action("system", "echo")
        peer.store(HEAD, CURSORS[case])
        for slot in range(9):  # replies of more than the ring, so that it looks at our head
            body = b"\xc5" + struct.pack(">H", 15000) + bytes(15000)
            if not peer.wait_for_room(16384):
                break
            call(peer, FIRST_CALL + slot, action_id=echo, body=body)
            peer.show()
        assert "cursor" in peer.goodbye()
    watched.is_unhurt()


@pytest.mark.parametrize("kind", [Kind.LOAD, Kind.RUN])
def test_garbage_instead_of_a_program_is_answered_and_hurts_nobody(watched, kind: Kind):
    chosen = random.Random(3)
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        for number in range(300):
            body = chosen.randbytes(chosen.choice([0, 1, 7, 8, 64, 500]))
            call(peer, ((number + 1) << 32) + 1, kind=kind, action_id=number % 5, body=body)
            peer.show()
            reply = peer.take()
            assert reply.kind is Kind.COMPLETION
            assert reply.aux != 0
    watched.is_unhurt()


def test_noise_in_the_ring_never_hurts(watched):
    """Sound frames, a few of their bits turned over, in all their fields."""
    chosen = random.Random(11)
    for _ in range(150):
        with RawPeer.join(watched.socket_path, watched.build_id) as peer:
            echo = peer.action("system", "echo")
            for slot in range(20):
                call(peer, FIRST_CALL + slot, action_id=echo)
            for _ in range(chosen.choice([1, 2, 8, 100])):
                place = peer.up_data + chosen.randrange(peer.at)
                peer.up[place] ^= 1 << chosen.randrange(8)
            peer.show()
    watched.is_unhurt()


TURN = """
import mmap, sys
fd, start, sound, other = int(sys.argv[1]), int(sys.argv[2]), *map(bytes.fromhex, sys.argv[3:])
shared = mmap.mmap(fd, 0)
print("!", end="", flush=True)
while True:
    shared[start : start + len(sound)] = sound
    shared[start : start + len(other)] = other
"""


def test_a_header_rewritten_while_it_is_read_is_taken_whole_or_not_at_all(watched):
    """A child turns length and CRC of each header back and forth as fast as it can."""
    cut_off = answered = 0
    for _ in range(25):
        with RawPeer.join(watched.socket_path, watched.build_id) as peer:
            echo = peer.action("system", "echo")
            sound = peer.packed(kind=Kind.CALL, call_id=FIRST_CALL, action_id=echo, body=b"\xc0")
            other = peer.packed(
                kind=Kind.CALL, call_id=FIRST_CALL, action_id=echo, body=b"\xc4\x20" + bytes(32)
            )
            words = [str(peer.up_fd), str(peer.up_data), sound.hex(), other.hex()]
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", TURN, *words],
                pass_fds=[peer.up_fd],
                stdout=subprocess.PIPE,
            )
            assert child.stdout is not None
            assert child.stdout.read(1) == b"!"
            try:
                peer.at = len(sound)
                peer.show()
                try:
                    reply = peer.take(0.2)
                    assert reply.body in (b"\xc0", b"\xc4\x20" + bytes(32))
                    answered += 1
                except TimeoutError:
                    assert "broke the rules" in peer.goodbye()
                    cut_off += 1
            finally:
                child.kill()
                child.wait()
                child.stdout.close()
    assert answered + cut_off == 25
    watched.is_unhurt()


# --- quotas, floods, silence ---------------------------------------------------------------------


def test_calls_beyond_the_quota_are_busy(watched):
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        sleep = peer.action("system", "sleep")
        for slot in range(3):
            call(peer, FIRST_CALL + slot, action_id=sleep, aux=0xFFFFFFFF)
        peer.show()
        assert [peer.take().aux for _ in range(3)] == [7, 7, 7]
        call(
            peer,
            FIRST_CALL,
            flags=Flag.MORE,
            action_id=sleep,
            extension=Extension(total_bytes=(1 << 64) - 1),
        )
        peer.show()
        watched.echo_with(watched.client)
    watched.is_unhurt()


def test_a_doorbell_flood_is_cut_off(watched):
    with RawPeer.join(watched.socket_path, watched.build_id, name=b"loud") as peer:
        while peer.ring(4096):
            pass  # until the pipe is full, or broken
        assert peer.goodbye() == "it rings without being asked"
    watched.said("loud.*it rings without being asked")
    watched.is_unhurt()


def test_a_peer_that_rings_once_for_each_call_is_welcome(watched):
    """The limit counts what nobody asked for; 5,000 honest rings are none of it."""
    for _ in range(5000):
        watched.echo_with(watched.client)
    assert "cut off" not in watched.log
    watched.is_unhurt()


def test_a_doorbell_filled_and_never_read_stops_nobody(watched):
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        way_in = os.open(f"/proc/self/fd/{peer.hear_fd}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while os.write(way_in, bytes(4096)):
                pass
        except BlockingIOError:
            pass
        noop = peer.action("system", "noop")
        for number in range(200):
            peer.store(128, 2 * number + 1, 4)  # asleep, always anew
            call(peer, FIRST_CALL * (number + 1), action_id=noop)
            peer.show()
            assert peer.take().aux == 0
        os.close(way_in)
        watched.echo_with(watched.client)
    watched.is_unhurt()


def test_a_peer_cannot_make_our_end_of_a_doorbell_wait(watched):
    """Its ends lose O_NONBLOCK; ours have flags of their own."""
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        for fd in (peer.hear_fd, peer.ring_fd):
            os.set_blocking(fd, True)
        noop = peer.action("system", "noop")
        call(peer, action_id=noop)
        peer.show()
        assert peer.take().aux == 0
        watched.echo_with(watched.client)
    watched.is_unhurt()


def test_answers_that_nobody_takes_wait_and_stop_nobody(watched):
    """Replies of more than the ring, then a death with all of them in hand."""
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        echo = peer.action("system", "echo")
        taken = 0
        while peer.wait_for_room(13000, 0.3):
            body = b"\xc5" + struct.pack(">H", 12000) + bytes(12000)
            call(peer, FIRST_CALL + taken, action_id=echo, body=body)
            peer.show()
            taken += 1
        assert 15 < taken < 30  # two rings full: with the way back full it reads no more
        assert max(watched.echo_with(watched.client) for _ in range(50)) < 1.0
    watched.is_unhurt()


def test_a_death_with_a_full_ring_leaves_nothing(watched):
    for _ in range(20):
        with RawPeer.join(watched.socket_path, watched.build_id) as peer:
            sleep = peer.action("system", "sleep")
            for slot in range(900):
                call(peer, FIRST_CALL + slot, action_id=sleep)
            peer.show()
    watched.is_unhurt()


CALL_AND_STAY = """
import sys, time
from pathlib import Path
from tandem_orchestrator.testing.raw_peer import RawPeer
peer = RawPeer.join(Path(sys.argv[1]), sys.argv[2])
peer.push(kind=1, call_id=1 << 32, action_id=peer.action("system", "noop"), body=bytes([0xC0]))
peer.show()
print("!", end="", flush=True)
time.sleep(60)
"""


def test_a_stopped_peer_stops_nobody(watched):
    child = subprocess.Popen(
        [sys.executable, "-c", CALL_AND_STAY, str(watched.socket_path), watched.build_id],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.read(1) == b"!"
    child.send_signal(signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    try:
        assert max(watched.echo_with(watched.client) for _ in range(50)) < 1.0
        watched.serves()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    watched.is_unhurt()


# --- deaths --------------------------------------------------------------------------------------


def connect_and_die(watched, cycles: int) -> None:
    """Die at each point of a session's life in turn."""
    build_id = watched.build_id
    rows = [action_row("raw", "do")]
    for number in range(cycles):
        role = AGENT if number % 2 else ORCHESTRATOR
        peer = connect(watched.socket_path)
        point = number % 5
        if point > 0:
            peer.send(hello(build_id, role=role, rows=rows if role == AGENT else []))
        if point < 2:
            peer.close()
            continue
        welcome = answer(peer)
        if welcome is None or welcome.status != 0:
            peer.close()  # busy: those before are not freed yet
            continue
        if point == 2:
            for fd in welcome.fds:
                os.close(fd)
            peer.close()
            continue
        session = RawPeer(peer, welcome, role)
        if point == 3:
            session.ring()
        else:
            session.push(kind=Kind.CALL, call_id=FIRST_CALL, action_id=1, body=b"\xc0")
            session.show()
        session.close()


def test_two_thousand_connect_and_die_cycles_leave_nothing(watched):
    connect_and_die(watched, 2000)
    watched.is_unhurt()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_connect_and_die_cycles_leave_nothing(watched):
    connect_and_die(watched, 100_000)
    watched.is_unhurt()


def test_the_limit_on_descriptors_of_this_test_is_not_what_is_measured():
    """Guards the tests above: they hold up to 200 sockets."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 512
    assert HELLO.size == 64
