"""The C frame decoder and the reference frame accept the same bytes and read the same fields."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator.layers.native.crc32c import crc32c
from tandem_orchestrator.layers.native.extension import Extension
from tandem_orchestrator.layers.native.frame import HEADER_BYTES, Flag, Frame, Kind

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
EXTENSIONS = st.builds(
    Extension,
    trace=st.none() | st.binary(min_size=25, max_size=25),
    key=st.none() | st.binary(min_size=1, max_size=64),
    fence=st.none() | U64,
    total_bytes=st.none() | U64,
    blob=st.none() | st.tuples(U64, U64),
    run_step=st.none() | st.tuples(st.binary(min_size=16, max_size=16), U32),
    inputs=st.booleans(),
    cpus=st.none() | st.integers(1, 3).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n)),
)
FRAMES = st.builds(
    Frame,
    kind=st.sampled_from([kind for kind in Kind if kind != Kind.PAD]),
    flags=st.integers(0, 31).map(Flag),
    lane=st.integers(0, 3),
    seq=U32,
    call_id=U64,
    time_ns=U64,
    source=U32,
    destination=U32,
    action_id=U32,
    attempt=U16,
    tenant=U16,
    aux=U32,
    aux2=U32,
    extension=EXTENSIONS,
    body=st.binary(max_size=200),
)


def assert_same(native_verdicts, frame_verdict, frames):
    for frame, said in zip(frames, native_verdicts("frame", frames), strict=True):
        assert said == frame_verdict(frame), f"C and Python differ on {frame[:400].hex()}"


def with_good_crcs(frame):
    """Put the CRCs right: what is tested then is the rule behind them."""
    whole = bytearray(frame)
    behind = 8 * whole[7] + int.from_bytes(whole[8:12], "little")
    whole[0x38:0x3C] = crc32c(bytes(whole[HEADER_BYTES : HEADER_BYTES + behind])).to_bytes(
        4, "little"
    )
    whole[0x3C:0x40] = crc32c(bytes(whole[:0x3C])).to_bytes(4, "little")
    return bytes(whole)


def test_golden_frames_get_the_same_answer(native_verdicts, frame_verdict, table):
    frames = [bytes.fromhex(row["hex"]) for row in table("golden/frames.tsv")]
    assert_same(native_verdicts, frame_verdict, frames)


@pytest.mark.parametrize("repaired", [False, True])
def test_damaged_golden_frames_get_the_same_answer(native_verdicts, frame_verdict, table, repaired):
    rng = random.Random(repaired)
    seeds = [bytes.fromhex(row["hex"]) for row in table("golden/frames.tsv")]
    frames = []
    for _ in range(3000):
        frame = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 2)):
            at = rng.choice(
                [rng.randrange(len(frame)), rng.randrange(12), 7, 64 + rng.randrange(8)]
            )
            frame[at % len(frame)] = rng.choice([0, 1, 2, 7, 32, 0x80, 0xFF, rng.randrange(256)])
        if rng.randrange(8) == 0:
            del frame[rng.randrange(len(frame)) :]
        frames.append(bytes(frame))
    if repaired:
        frames = [with_good_crcs(frame) for frame in frames if len(frame) >= HEADER_BYTES]
        accepted = sum(frame_verdict(frame).startswith("0") for frame in frames)
        assert len(frames) / 10 < accepted < len(frames) * 9 / 10, "both sides of the line"
    assert_same(native_verdicts, frame_verdict, frames)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAMES, min_size=1, max_size=20))
def test_packed_frames_are_accepted_and_read_alike(native_verdicts, frame_verdict, frames):
    packed = [frame.pack() for frame in frames]
    assert [Frame.unpack(data) for data in packed] == frames
    assert all(frame_verdict(data).startswith("0") for data in packed)
    assert_same(native_verdicts, frame_verdict, packed)
