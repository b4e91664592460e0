"""The C validator and the reference codec accept the same bytes and read the same values.

For each body C answers: strict, pair and canonical status, whether writing every item again gives
the same bytes, the canonical form, and the value as text. Python must say the same line.
"""

import random
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator.layers.native.codec import Timestamp, encode, encode_pair

INTS = st.integers(-(2**63), 2**64 - 1) | st.sampled_from(
    [sign * 2**power + by for power in range(64) for sign in (1, -1) for by in (-1, 0)]
).filter(lambda n: n >= -(2**63))
TEXTS = st.text(max_size=40)
LEAVES = (
    st.none()
    | st.booleans()
    | INTS
    | st.floats()
    | TEXTS
    | st.binary(max_size=40)
    | st.builds(Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9 - 1))
    | st.builds(Timestamp, st.integers(0, 2**35))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=4), inner, max_size=20)
    ),
    max_leaves=30,
)
HEADS = [*range(0x80, 0x100), 0x00, 0x01, 0x7F]


def assert_same(native_verdicts, body_verdict, bodies):
    for body, said in zip(bodies, native_verdicts("body", bodies), strict=True):
        assert said == body_verdict(body), f"C and Python differ on {body[:200].hex()}"


def mutated(rng, seeds):
    """Damage a good body in one of the ways that a hostile or broken peer would."""
    body = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(body))
        match rng.randrange(7):
            case 0:
                body[at:at] = bytes([rng.choice(HEADS)])
            case 1:
                del body[at : at + rng.randint(1, 4)]
            case 2 if at < len(body):
                body[at] = rng.choice(HEADS)
            case 3 if at < len(body):
                body[at] ^= 1 << rng.randrange(8)
            case 4:
                body[at:at] = rng.choice(seeds)
            case 5:
                body[at:] = rng.choice(seeds)
            case 6:
                stop = at + rng.randint(1, 6)
                body[at:at] = body[at:stop]
    return bytes(body)


def test_golden_bodies_get_the_same_answer(native_verdicts, body_verdict, table):
    bodies = [bytes.fromhex(row["hex"]) for row in table("golden/bodies.tsv")]
    assert_same(native_verdicts, body_verdict, bodies)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_golden_bodies_get_the_same_answer(native_verdicts, body_verdict, table, seed):
    rng = random.Random(seed)
    seeds = [bytes.fromhex(row["hex"]) for row in table("golden/bodies.tsv")]
    seeds = [body for body in seeds if 0 < len(body) <= 64]
    bodies = [mutated(rng, seeds) for _ in range(5000)]
    accepted = sum(body_verdict(body).startswith("0") for body in bodies)
    assert 100 < accepted < 4900, "the mutations must probe both sides of the line"
    assert_same(native_verdicts, body_verdict, bodies)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, min_size=1, max_size=20))
def test_encoded_values_are_accepted_and_read_alike(native_verdicts, body_verdict, values):
    bodies = [encode(value) for value in values]
    bodies += [encode_pair(value, {"in": value}) for value in values]
    assert all(body_verdict(body).startswith("0") for body in bodies[: len(values)])
    assert_same(native_verdicts, body_verdict, bodies)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.binary(max_size=60) | st.lists(st.sampled_from(HEADS)).map(bytes), max_size=30),
    st.lists(st.tuples(VALUES, st.integers(0, 400), st.integers(0, 255)), max_size=20),
)
def test_arbitrary_and_damaged_bytes_get_the_same_answer(
    native_verdicts, body_verdict, raw, damaged
):
    bodies = list(raw)
    for value, at, byte in damaged:
        body = bytearray(encode(value))
        body[at % len(body)] = byte
        bodies.append(bytes(body))
    assert_same(native_verdicts, body_verdict, bodies)


def test_every_head_with_every_second_byte_gets_the_same_answer(native_verdicts, body_verdict):
    tails = (b"", b"\x00", b"\x00" * 16, b"\xff" * 16)
    bodies = [
        bytes([head, second]) + tail
        for head in range(256)
        for second in range(256)
        for tail in tails
        if head >= 0x80 or not tail
    ]
    assert_same(native_verdicts, body_verdict, bodies)


def test_utf8_is_judged_alike(native_verdicts, body_verdict):
    texts = [bytes([lead, second]) for lead in range(0x80, 256) for second in range(256)]
    texts += [text + tail for text in texts for tail in (b"\x80", b"\xbf\x80", b"a", b"\x80\xc0")]
    texts += [chr(code).encode("utf-8", "surrogatepass") for code in range(0xD7F0, 0xE010)]
    # The fast path takes eight ASCII bytes at a time: put the fault on each side of it.
    texts += [
        b"a" * before + b"\xe2\x82\xac" + b"a" * after for before in range(9) for after in (0, 9)
    ]
    texts += [b"a" * before + b"\xff" for before in range(18)]
    bodies = [bytes([0xA0 | len(text)]) + text for text in texts]
    assert_same(native_verdicts, body_verdict, bodies)


def test_number_edges_are_judged_alike(native_verdicts, body_verdict):
    bodies = []
    for head, width in zip(range(0xCC, 0xD4), (1, 2, 4, 8) * 2, strict=True):
        for power in range(8 * width + 1):
            for by in (-1, 0, 1):
                bits = (2**power + by) % 2 ** (8 * width)
                bodies.append(bytes([head]) + bits.to_bytes(width))
                bodies.append(bytes([head]) + (-bits % 2 ** (8 * width)).to_bytes(width))
    for exponent in (0, 1, 0x7FE, 0x7FF, 0xFFE, 0xFFF):
        for fraction in (0, 1, 2**51, 2**51 + 1, 2**52 - 1):
            bodies.append(b"\xcb" + struct.pack(">Q", exponent << 52 | fraction))
    bodies += [b"\xca" + struct.pack(">f", value) for value in (0.0, 1.0, float("nan"))]
    assert_same(native_verdicts, body_verdict, bodies)


def test_timestamp_edges_are_judged_alike(native_verdicts, body_verdict):
    seconds = [sign * 2**power + by for power in (0, 31, 32, 33, 34, 62) for by in (-1, 0, 1)
               for sign in (1, -1)]  # fmt: skip
    bodies = []
    for second in [*seconds, -(2**63), 2**63 - 1]:
        for nano in (0, 1, 10**9 - 1, 10**9, 2**30 - 1):
            bodies.append(b"\xc7\x0c\xff" + struct.pack(">Iq", nano, second))
            bodies.append(b"\xd7\xff" + struct.pack(">Q", nano << 34 | second % 2**34))
        bodies.append(b"\xd6\xff" + struct.pack(">I", second % 2**32))
    for kind in (0, 1, 127, 128, 254):
        bodies.append(b"\xd6" + bytes([kind]) + bytes(4))
    assert_same(native_verdicts, body_verdict, bodies)


@pytest.mark.parametrize("length", [15, 16, 31, 32, 255, 256, 65535, 65536])
def test_lengths_are_judged_alike_on_both_sides_of_each_form(native_verdicts, body_verdict, length):
    items = {
        "str": (b"a" for _ in range(length + 1)),
        "bin": (b"a" for _ in range(length + 1)),
        "array": (b"\xc0" for _ in range(length + 1)),
        "map": (encode(f"{key:x}") + b"\xc0" for key in range(length + 1)),
    }
    heads = {
        "str": ((0xD9, 1), (0xDA, 2), (0xDB, 4)),
        "bin": ((0xC4, 1), (0xC5, 2), (0xC6, 4)),
        "array": ((0xDC, 2), (0xDD, 4)),
        "map": ((0xDE, 2), (0xDF, 4)),
    }
    bodies = [encode({f"{i:x}": i for i in range(length)}), encode(["x" * length, b"x" * length])]
    for kind, made in items.items():
        parts = list(made)
        for head, width in heads[kind]:
            if length < 2 ** (8 * width):
                declared = bytes([head]) + length.to_bytes(width)
                bodies += [declared + b"".join(parts[:n]) for n in (length - 1, length, length + 1)]
    assert_same(native_verdicts, body_verdict, bodies)


@pytest.mark.parametrize("count", [2, 8, 15, 16, 17, 18, 255, 256, 257, 4095, 4096, 4097])
def test_duplicate_keys_are_found_wherever_they_stand(native_verdicts, body_verdict, count):
    rng = random.Random(count)
    keys = [f"{rng.randrange(2**40):x}" for _ in range(count)]
    assert len(set(keys)) == count
    bodies = []
    for order in (keys, sorted(keys), sorted(keys, reverse=True)):
        whole = encode(dict.fromkeys(order))
        bodies.append(whole)
        for first, second in ((0, 1), (0, count - 1), (count - 2, count - 1), (count // 2, 0)):
            twice = list(order)
            twice[second] = twice[first]
            head = whole[: 1 if count <= 15 else 3]
            bodies.append(head + b"".join(encode(key) + b"\xc0" for key in twice))
    said = native_verdicts("body", bodies)
    assert sum(line.startswith("0") for line in said) == 3
    assert_same(native_verdicts, body_verdict, bodies)


def test_duplicate_keys_are_found_around_wide_maps_that_have_ended(native_verdicts, body_verdict):
    rng = random.Random(7)
    inner = encode({f"{rng.randrange(2**40):x}": None for _ in range(400)})
    keys = [f"{rng.randrange(2**40):x}" for _ in range(20)]
    bodies = []
    for twice in (False, True):
        if twice:
            keys[-1] = keys[0]
        bodies.append(b"\xde\x00\x14" + b"".join(encode(key) + inner for key in keys))
        bodies.append(b"\x91" + bodies[-1])
    assert [line[0] for line in native_verdicts("body", bodies)] == list("0099")
    assert_same(native_verdicts, body_verdict, bodies)


@pytest.mark.parametrize("opener", [b"\x91", b"\x81\xa1k", b"\xdc\x00\x10" + b"\xc0" * 15])
def test_depth_32_passes_and_33_does_not_in_either(native_verdicts, body_verdict, opener):
    bodies = [opener * depth + end for depth in (30, 31, 32, 33, 34) for end in (b"\xc0", b"\x90")]
    bodies += [b"\x92" + body + b"\x80" for body in bodies]
    said = native_verdicts("body", bodies)
    assert [line[0] for line in said[:10]] == list("0000099999")
    assert_same(native_verdicts, body_verdict, bodies)


FAULTS = {
    "a key twice": [b"\x82\xa1a\x01\xa1a\x02", b"\x91\x82\xa0\xc0\xa0\xc0", b"\x82\xa1a\xc0\xd9\x01a\xc0"],
    "bytes behind the value": [b"\xc0\xc0", b"\x90\x00", b"\x80\x80", b"\xa1aa"],
    "too deep": [b"\x91" * 33 + b"\xc0", b"\x81\xa1k" * 33 + b"\xc0", b"\x91" * 32 + b"\x80"],
    "not UTF-8": [b"\xa1\xff", b"\xa2\xc0\x80", b"\xa3\xed\xa0\x80", b"\xa4\xf4\x90\x80\x80",
                  b"\x81\xa1\x80\xc0"],
    "a length beyond the end": [
        head + length.to_bytes(width) + b"a" * 9
        for head, width in ((b"\xd9", 1), (b"\xda", 2), (b"\xdb", 4), (b"\xc4", 1), (b"\xc5", 2),
                            (b"\xc6", 4), (b"\xdc", 2), (b"\xdd", 4), (b"\xde", 2), (b"\xdf", 4))
        for length in (2 ** (8 * width) - 1, 2 ** (8 * width - 1))
    ],
    "not the shortest form": [
        b"\xcc\x7f", b"\xcd\x00\xff", b"\xce\x00\x00\xff\xff", b"\xcf" + bytes(4) + b"\xff" * 4,
        b"\xd0\xff", b"\xd1\xff\x80", b"\xd2\xff\xff\x80\x00", b"\xd3" + b"\xff" * 4 + b"\x80" + bytes(3),
        b"\xd9\x01a", b"\xda\x00\x01a", b"\xdb\x00\x00\x00\x01a", b"\xc5\x00\x01a",
        b"\xc6\x00\x00\x00\x01a", b"\xdc\x00\x01\xc0", b"\xdd\x00\x00\x00\x01\xc0",
        b"\xde\x00\x01\xa1a\xc0", b"\xdf\x00\x00\x00\x01\xa1a\xc0", b"\xca\x00\x00\x00\x00",
        b"\xc7\x0c\xff" + bytes(12),
    ],
    "a key that is no text": [b"\x81\x01\xc0", b"\x81\xc4\x01a\xc0", b"\x81\x90\xc0", b"\x81\xc0\xc0"],
    "no value at all": [b"", b"\xc1", b"\x91", b"\x81\xa1a", b"\xd4\x01\x00", b"\xc7\x01\x01\x00"],
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_refused_by_both(native_verdicts, body_verdict, fault):
    bodies = FAULTS[fault]
    assert {line[0] for line in native_verdicts("body", bodies)} == {"9"}
    assert_same(native_verdicts, body_verdict, bodies)
    # Inside a value that is sound up to it, and before one that would be.
    inside = [b"\x92\xc0" + body for body in bodies] + [b"\x81\xa1k" + body for body in bodies]
    assert_same(native_verdicts, body_verdict, inside)
