"""The plain Python frame: published check values, and what it refuses to pack."""

import pytest

from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.crc32c import crc32c
from tandem_orchestrator.layers.native.extension import Extension
from tandem_orchestrator.layers.native.frame import Flag, Frame, Kind, frame_span_bytes


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"123456789", 0xE306_9283),
        (bytes(32), 0x8A91_36AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8_AB43),
        (bytes(range(32)), 0x46DD_794E),
        (bytes(range(31, -1, -1)), 0x113F_DB5C),
        (b"", 0),
    ],
)
def test_crc32c_gives_the_published_values(data, expected):
    assert crc32c(data) == expected
    assert crc32c(data[5:], crc32c(data[:5])) == expected


@pytest.mark.parametrize(
    ("units", "body", "span"), [(0, 0, 64), (0, 1, 128), (8, 0, 128), (8, 1, 192)]
)
def test_a_frame_takes_whole_units_of_64_bytes(units, body, span):
    assert frame_span_bytes(units, body) == span


@pytest.mark.parametrize(
    "given",
    [
        {"lane": 4},
        {"lane": -1},
        {"flags": Flag(32)},
        {"seq": 2**32},
        {"call_id": 2**64},
        {"attempt": -1},
        {"extension": Extension(key=b"")},
        {"extension": Extension(key=b"k" * 65)},
        {"extension": Extension(trace=b"short")},
        {"extension": Extension(fence=2**64)},
        {"extension": Extension(run_step=(b"short", 0))},
    ],
)
def test_a_field_that_does_not_fit_is_refused(given):
    with pytest.raises(CodecError):
        Frame(Kind.CALL, **given).pack()


def test_a_frame_from_another_lap_is_refused():
    frame = Frame(Kind.CALL, seq=7)
    assert Frame.unpack(frame.pack(), seq=7) == frame
    with pytest.raises(CodecError, match="seq 7, expected 8"):
        Frame.unpack(frame.pack(), seq=8)


def test_every_single_bit_that_flips_is_noticed():
    frame = Frame(Kind.CALL, extension=Extension(key=b"abc"), body=b"\x81\xa1x\x01")
    packed = frame.pack()
    used = 64 + 8 + 4
    for bit in range(8 * used):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError):
            Frame.unpack(bytes(damaged))
