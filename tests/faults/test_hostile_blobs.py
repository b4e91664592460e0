"""Blobs spoken by hand: who gets one, in which order, and what a peer that cheats loses."""

import contextlib
import fcntl
import mmap
import os
import socket
import struct
import time

import msgspec
import pytest

from tandem_orchestrator.layers.native.crc32c import crc32c
from tandem_orchestrator.layers.native.extension import Extension
from tandem_orchestrator.layers.native.frame import Flag, Frame, Kind
from tandem_orchestrator.testing.raw_peer import (
    AGENT,
    BLOBS,
    COMMIT,
    COMMITTED,
    DROP,
    GRANTED,
    PASSED,
    WANT,
    RawPeer,
)

pytestmark = pytest.mark.native
WAIT_S = 20.0
CORRUPT, TOO_LARGE, UNKNOWN, BUSY = 9, 8, 4, 7
ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
LONG = msgspec.msgpack.encode(bytes(range(256)) * 64)


def join(watched, name: str, offered: int = BLOBS) -> RawPeer:
    peer = RawPeer.join(
        watched.socket_path,
        watched.build_id,
        role=AGENT,
        name=name.encode(),
        actions=("receive",),
        offered=offered,
    )
    watched.eventually(lambda: action(watched, name) > 0, f"{name} is offered")
    return peer


def action(watched, agent: str) -> int:
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


def nil(peer: RawPeer, call: Frame) -> None:
    peer.push(kind=Kind.COMPLETION, call_id=call.call_id, body=b"\xc0")
    peer.show()


def by_blob(
    peer: RawPeer, call: Frame, blob_id: int, size: int, crc: int, **fields: object
) -> None:
    words = {
        "kind": Kind.COMPLETION,
        "call_id": call.call_id,
        "flags": Flag.BLOB,
        "extension": Extension(blob=(blob_id, size)),
        "body": struct.pack("<I", crc),
    }
    peer.push(**(words | fields))
    peer.show()


def test_a_broadcast_is_one_blob_for_those_who_take_them_and_a_copy_for_others(start_bridge):
    watched = start_bridge("--blob-broadcast-bytes", "10000")
    with (
        join(watched, "one") as one,
        join(watched, "two") as two,
        join(watched, "old", offered=0) as old,
    ):
        payload = {
            "policy": "broadcast",
            "destinations": ["one", "two", "old"],
            "messages": [msgspec.Raw(LONG), "short"],
        }
        call_id = watched.client.call(action(watched, "router"), msgspec.msgpack.encode(payload))
        ids = []
        for peer in (one, two):
            frame = peer.take()
            assert frame.flags == Flag.BLOB | Flag.WANT_REPLY
            assert frame.extension.blob is not None
            # The fd is in the socket before the frame is seen.
            op, _, _, blob_id, size, (fd,) = peer.hear_blob(0.001)
            assert (op, blob_id, size) == (PASSED, *frame.extension.blob)
            assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & ALL_SEALS == ALL_SEALS
            with mmap.mmap(fd, size, prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == LONG
            with pytest.raises(PermissionError):
                mmap.mmap(fd, size)
            os.close(fd)
            assert struct.unpack("<I", frame.body) == (crc32c(LONG),)
            ids.append(blob_id)
            nil(peer, frame)
            short = peer.take()
            assert (short.flags, short.body) == (Flag.WANT_REPLY, b"\xa5short")
            nil(peer, short)
        assert ids[0] == ids[1]
        first = old.take()
        body = first.body
        while first.flags & Flag.MORE and len(body) < len(LONG):
            body += old.take().body
        assert body == LONG
        nil(old, first)
        nil(old, old.take())
        status, counts = reply(watched, call_id)
        assert status == 0
        assert msgspec.msgpack.decode(counts)["delivered"] == 6
    watched.is_unhurt()


@pytest.mark.parametrize("broadcasts", [1, 30])
def test_what_a_reader_does_not_answer_is_bounded_and_freed_with_it(start_bridge, broadcasts: int):
    watched = start_bridge("--blob-broadcast-bytes", "10000", "--blobs", "4")
    mute = join(watched, "mute")
    with join(watched, "one") as one:
        payload = {
            "policy": "broadcast",
            "destinations": ["one", "mute"],
            "messages": [msgspec.Raw(LONG)] * broadcasts,
        }
        call_id = watched.client.call(action(watched, "router"), msgspec.msgpack.encode(payload))
        for _ in range(broadcasts):  # a mute one stops nobody
            frame = one.take()
            first = frame
            got = len(frame.body)
            while frame.flags & Flag.MORE:
                frame = one.take()
                got += len(frame.body)
            nil(one, first)
        mute.close()
        status, counts = reply(watched, call_id)
        assert status == 0
        assert msgspec.msgpack.decode(counts)["destinations"]["one"]["delivered"] == broadcasts
        with contextlib.suppress(OSError):
            while True:
                os.close(one.hear_blob(0.001)[5][0])
    watched.is_unhurt()


def test_a_reply_in_a_blob_reaches_its_caller_and_is_dropped_by_it(watched):
    with join(watched, "raw") as peer:
        for _ in range(20):  # more than a session may hold: each is dropped
            call_id = watched.client.call(action(watched, "raw"), b"\xc0")
            call = peer.take()
            blob_id, fd = peer.blob(LONG)
            os.close(fd)
            by_blob(peer, call, blob_id, len(LONG), crc32c(LONG))
            assert reply(watched, call_id) == (0, LONG)
    watched.is_unhurt()


@pytest.mark.parametrize(
    ("content", "crc"),
    [(LONG, crc32c(LONG) ^ 1), (b"\xc1", crc32c(b"\xc1")), (b"\xc0\xc0", crc32c(b"\xc0\xc0"))],
)
def test_a_blob_that_is_not_what_it_says_is_corrupt_for_its_call_alone(
    watched, content: bytes, crc: int
):
    with join(watched, "raw") as peer:
        call_id = watched.client.call(action(watched, "raw"), b"\xc0")
        call = peer.take()
        blob_id, fd = peer.blob(content)
        os.close(fd)
        by_blob(peer, call, blob_id, len(content), crc)
        assert reply(watched, call_id) == (CORRUPT, b"")
        again = watched.client.call(action(watched, "raw"), b"\xc0")
        nil(peer, peer.take())
        assert reply(watched, again) == (0, b"\xc0")
    watched.is_unhurt()


def test_a_reply_over_what_its_caller_takes_is_too_large(watched):
    with join(watched, "raw") as peer:
        call_id = watched.client.call(action(watched, "raw"), b"\xc0", reply_bytes_max=1000)
        call = peer.take()
        blob_id, fd = peer.blob(LONG)
        os.close(fd)
        by_blob(peer, call, blob_id, len(LONG), crc32c(LONG))
        assert reply(watched, call_id) == (TOO_LARGE, b"")
    watched.is_unhurt()


CHEATS = {
    "one it never had": {"blob_id": 999},
    "the reader's own": {"passed": True},
    "another length": {"size": 5},
    "with a status": {"aux": 1},
    "with more records": {"extension": Extension(blob=(1, len(LONG)), key=b"k")},
    "in pieces": {"flags": Flag.BLOB | Flag.MORE},
    "with a longer body": {"body": b"\0" * 5},
    "of no call": {"call_id": 9 << 32},
}


@pytest.mark.parametrize("case", CHEATS)
def test_an_answer_that_names_what_it_may_not_ends_the_agent(start_bridge, case: str):
    watched = start_bridge("--blob-broadcast-bytes", "10000")
    with join(watched, "raw") as peer, join(watched, "other") as other:
        call_id = watched.client.call(action(watched, "raw"), b"\xc0")
        call = peer.take()
        blob_id, fd = peer.blob(LONG)
        os.close(fd)
        fields = dict(CHEATS[case])
        if fields.pop("passed", False):  # a blob that it may read, and did not make
            payload = {
                "policy": "broadcast",
                "destinations": ["raw", "other"],
                "messages": [msgspec.Raw(LONG)],
            }
            watched.client.call(action(watched, "router"), msgspec.msgpack.encode(payload))
            other.take()
            peer.take()
            op, _, _, blob_id, _, (fd,) = peer.hear_blob()
            assert op == PASSED
            os.close(fd)
        elif "extension" in fields:
            fields["extension"] = Extension(blob=(blob_id, len(LONG)), key=b"k")
        blob_id = fields.pop("blob_id", blob_id)
        size = fields.pop("size", len(LONG))
        by_blob(peer, call, blob_id, size, crc32c(LONG), **fields)
        assert "broke the rules" in peer.goodbye()
        assert reply(watched, call_id)[0] == UNKNOWN
    watched.is_unhurt()


def test_a_commit_while_it_is_mapped_is_busy_and_the_session_goes_on(watched):
    with RawPeer.join(watched.socket_path, watched.build_id, offered=BLOBS) as peer:
        peer.say_blob(WANT, 1, size=4096)
        op, status, request, blob_id, size, (fd,) = peer.hear_blob()
        assert (op, status, request, size) == (GRANTED, 0, 1, 4096)
        with mmap.mmap(fd, 4096):
            peer.say_blob(COMMIT, 2, blob_id)
            assert peer.hear_blob()[:4] == (COMMITTED, BUSY, 2, blob_id)
        peer.say_blob(COMMIT, 3, blob_id)
        assert peer.hear_blob()[:4] == (COMMITTED, 0, 3, blob_id)
        os.close(fd)
        peer.say_blob(DROP, 0, blob_id)
        peer.say_blob(DROP, 0, blob_id)
        assert "a message about blobs broke the rules" in peer.goodbye()
    watched.is_unhurt()


def test_without_the_feature_a_word_about_blobs_ends_the_session(watched):
    with RawPeer.join(watched.socket_path, watched.build_id) as peer:
        peer.say_blob(WANT, 1, size=4096)
        assert "a message after HELLO" in peer.goodbye()
    watched.is_unhurt()


def test_fds_that_a_peer_sends_are_dropped_by_the_kernel(watched):
    with RawPeer.join(watched.socket_path, watched.build_id, offered=BLOBS) as peer:
        peer.say_blob(WANT, 9, size=1)  # answered: WELCOME's fds are closed there
        os.close(peer.hear_blob()[5][0])
        before = watched.fds()
        for request in range(1, 5):
            words = struct.pack("<8sHHIQQ", b"TANDEMBL", WANT, 0, request, 0, 1)
            socket.send_fds(peer.socket, [words], [0, 1, 2])
            fds = peer.hear_blob()[5]
            assert watched.fds() == before + request
            for fd in fds:
                os.close(fd)
    watched.is_unhurt()


def test_questions_without_end_that_nobody_reads_cost_the_session_alone(watched):
    with RawPeer.join(watched.socket_path, watched.build_id, offered=BLOBS) as peer:
        peer.socket.settimeout(5)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            for request in range(100_000):
                peer.say_blob(WANT, request, size=4096)
            pytest.fail("the bridge took them all")
    watched.is_unhurt()


def test_a_flood_of_honest_questions_leaves_others_their_calls(watched):
    with RawPeer.join(watched.socket_path, watched.build_id, offered=BLOBS) as peer:
        for request in range(1, 500):
            peer.say_blob(WANT, request, size=1)
            _, status, _, blob_id, _, fds = peer.hear_blob()
            assert status == 0
            os.close(fds[0])
            peer.say_blob(DROP, 0, blob_id)
        watched.serves()
    watched.is_unhurt()
