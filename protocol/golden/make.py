"""Write bodies.tsv and frames.tsv, the golden files that C and Python both read.

Usage: python protocol/golden/make.py [FOLDER]     (default: the folder of this file)

The bodies are typed by hand in bodies.py. The frames are typed by hand below, field by field; only
their CRCs are computed, by a bit-by-bit CRC32C of their own, so that neither codec is its own judge.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bodies import ROWS  # the folder is not a package

Field = tuple[int, int]
"""(value, bytes)."""


def crc32c(data: bytes) -> int:
    """Divide bit by bit: slow, short, and unlike both tables."""
    word = 0xFFFFFFFF
    for byte in data:
        word ^= byte
        for _ in range(8):
            word = word >> 1 ^ (0x82F63B78 if word & 1 else 0)
    return word ^ 0xFFFFFFFF


def frame(ext: str = "", body: str = "", *, cut: int = 0, damage: dict[int, int] | None = None,
          late: dict[int, int] | None = None, **given: int) -> str:  # fmt: skip
    """One frame in hex. ``damage`` sets bytes before the header CRC is made, ``late`` after."""
    behind = bytes.fromhex(ext) + bytes.fromhex(body)
    fields: list[Field] = [
        (given.get("magic", 0x4454), 2), (given.get("version", 1), 1), (given["kind"], 1),
        (given.get("flags", 0), 2), (given.get("lane", 0), 1), (len(bytes.fromhex(ext)) // 8, 1),
        (len(bytes.fromhex(body)), 4), (given.get("seq", 0), 4), (given.get("call_id", 0), 8),
        (given.get("time_ns", 0), 8), (given.get("source", 0), 4), (given.get("destination", 0), 4),
        (given.get("action_id", 0), 4), (given.get("attempt", 0), 2), (given.get("tenant", 0), 2),
        (given.get("aux", 0), 4), (given.get("aux2", 0), 4), (crc32c(behind), 4),
    ]  # fmt: skip
    header = bytearray(b"".join(value.to_bytes(size, "little") for value, size in fields))
    for offset, byte in (damage or {}).items():
        header[offset] = byte
    whole = bytearray(header + crc32c(header).to_bytes(4, "little") + behind)
    whole += bytes(-len(whole) % 64)
    for offset, byte in (late or {}).items():
        whole[offset] = byte
    return whole[: len(whole) - cut].hex()


# {"x": 1} and what a call of it looks like.
X1 = "81a17801"
CALL = {
    "kind": 1, "flags": 4, "lane": 1, "seq": 7, "call_id": (3 << 32) | 42, "time_ns": 10**12,
    "source": 5, "destination": 6, "action_id": 9, "attempt": 1, "aux": 65536,
}  # fmt: skip
CALL_DUMP = (
    "kind=1 flags=4 lane=1 ext_units={ext_units} body_bytes={body_bytes} seq=7"
    " call_id=12884901930 time_ns=1000000000000 source=5 destination=6 action_id=9"
    " attempt=1 tenant=0 aux=65536 aux2=0"
)


def call(ext_units: int, body_bytes: int, rest: str) -> str:
    """The dump of CALL with this much behind its header."""
    return CALL_DUMP.format(ext_units=ext_units, body_bytes=body_bytes) + rest


def plain(kind: int, rest: str = "", **given: int) -> str:
    """The dump of a frame that has only these fields."""
    names = ("flags", "lane", "ext_units", "body_bytes", "seq", "call_id", "time_ns", "source",
             "destination", "action_id", "attempt", "tenant", "aux", "aux2")  # fmt: skip
    return f"kind={kind} " + " ".join(f"{name}={given.get(name, 0)}" for name in names) + rest


TRACE = "0100 1900" + "11" * 16 + "22" * 8 + "01" + "00" * 3
KEY3 = "0200 0300" + "616263" + "00"
KEY64 = "0200 4000" + "6b" * 64 + "00" * 4
FENCE = "0300 0800" + "0807060504030201" + "00" * 4
TOTAL = "0400 0800" + "0000000400000000" + "00" * 4
BLOB = "0500 1000" + "0100000000000000" + "0000001000000000" + "00" * 4
RUN_STEP = "0600 1800" + "33" * 16 + "02000000" + "00000000" + "00" * 4
INPUTS = "0780 0000" + "00" * 4
CPUS = "0800 0800" + "0500000000000080" + "00" * 4
CPUS_1024 = "0800 8000" + "ff" * 128 + "00" * 4
UNKNOWN = "0900 0100" + "ff" + "00" * 3
UNKNOWN_CRITICAL = "0980 0100" + "ff" + "00" * 3
EMPTY_RECORD = "0900 0000" + "00" * 4

FRAMES: list[tuple[str, str, str, str, str]] = [
    # ---- accepted ----
    ("call", "ok", frame(body=X1, **CALL), call(0, 4, f" body={X1}"), "one unit of padding"),
    ("call_no_body", "ok", frame(**CALL), call(0, 0, ""), "body_crc is 0"),
    ("call_fills_64", "ok", frame(body="c43e" + "61" * 62, **CALL),
     call(0, 64, " body=c43e" + "61" * 62), "no padding"),
    ("call_65", "ok", frame(body="c43f" + "61" * 63, **CALL),
     call(0, 65, " body=c43f" + "61" * 63), "63 bytes of padding"),
    ("call_key", "ok", frame(KEY3, X1, **CALL), call(1, 4, f" key=616263 body={X1}"), ""),
    ("call_key_64", "ok", frame(KEY64, X1, **CALL), call(9, 4, f" key={'6b' * 64} body={X1}"), ""),
    ("call_trace", "ok", frame(TRACE, X1, **CALL),
     call(4, 4, f" trace={'11' * 16}{'22' * 8}01 body={X1}"), ""),
    ("call_fence", "ok", frame(FENCE, X1, **CALL),
     call(2, 4, f" fence={0x0102030405060708} body={X1}"), "little-endian"),
    ("call_blob", "ok", frame(BLOB, **(CALL | {"flags": 6})),
     call(3, 0, " blob").replace("flags=4", "flags=6"), ""),
    ("call_blob_named", "ok", frame(BLOB, "75ad1fe3", **(CALL | {"flags": 6})),
     call(3, 4, " blob body=75ad1fe3").replace("flags=4", "flags=6"),
     "as peers send it: the body is the blob's CRC32C"),
    ("completion_blob", "ok",
     frame(BLOB, "75ad1fe3", kind=2, flags=2, call_id=(3 << 32) | 42, time_ns=5, aux2=250),
     plain(2, " blob body=75ad1fe3", flags=2, ext_units=3, body_bytes=4, call_id=(3 << 32) | 42,
           time_ns=5, aux2=250), ""),
    ("call_run_step", "ok", frame(RUN_STEP, X1, **CALL), call(4, 4, f" run_step body={X1}"), ""),
    ("call_inputs", "ok", frame(INPUTS, "92" + X1 + "81a16102", **CALL),
     call(1, 9, f" inputs body=92{X1}81a16102"), "the body is [payload, inputs]"),
    ("call_cpus", "ok", frame(CPUS, X1, **CALL),
     call(2, 4, f" cpus=0500000000000080 body={X1}"), "CPUs 0, 2 and 63"),
    ("call_cpus_1024", "ok", frame(CPUS_1024, X1, **CALL),
     call(17, 4, f" cpus={'ff' * 128} body={X1}"), "the most there is room for"),
    ("call_all_records", "ok", frame(TRACE + KEY3 + FENCE + TOTAL + BLOB + RUN_STEP + INPUTS, "92c080", **CALL),
     call(17, 3, f" trace={'11' * 16}{'22' * 8}01 key=616263 fence={0x0102030405060708}"
          f" total_bytes={1 << 26} blob run_step inputs body=92c080"), ""),
    ("call_any_order", "ok", frame(INPUTS + KEY3, "92c080", **CALL),
     call(2, 3, " key=616263 inputs body=92c080"), "records may come in any order"),
    ("call_unknown_record", "ok", frame(UNKNOWN + KEY3, X1, **CALL),
     call(2, 4, f" key=616263 body={X1}"), "stepped over"),
    ("call_32_units", "ok", frame(EMPTY_RECORD * 32, X1, **CALL), call(32, 4, f" body={X1}"),
     "the longest extension; unknown types may repeat"),
    ("call_first_fragment", "ok", frame(TOTAL, "c6", **(CALL | {"flags": 5})),
     call(2, 1, f" total_bytes={1 << 26} body=c6").replace("flags=4", "flags=5"), "MORE follows"),
    ("cont", "ok", frame(body="6161", kind=3, flags=1, seq=8, call_id=1 << 32, aux=1),
     plain(3, " body=6161", flags=1, body_bytes=2, seq=8, call_id=1 << 32, aux=1), "a part of a body"),
    ("completion_ok", "ok",
     frame(body=X1, kind=2, seq=0xFFFFFFFF, call_id=(3 << 32) | 42, time_ns=5, aux=0, aux2=250),
     plain(2, f" body={X1}", body_bytes=4, seq=0xFFFFFFFF, call_id=(3 << 32) | 42, time_ns=5, aux2=250),
     "seq about to wrap"),
    ("completion_us", "ok", frame(kind=2, flags=16, aux=2, aux2=5_000_000),
     plain(2, flags=16, aux=2, aux2=5_000_000), "timed out after 5 s"),
    ("load", "ok", frame(kind=4), plain(4), ""),
    ("run", "ok", frame(kind=5, flags=8), plain(5, flags=8), ""),
    ("event", "ok", frame(kind=6), plain(6), ""),
    ("credit", "ok", frame(kind=7, aux=16, aux2=4096), plain(7, aux=16, aux2=4096), ""),
    ("register", "ok", frame(kind=8), plain(8), ""),
    ("log", "ok", frame(body="a26869", kind=9, lane=3), plain(9, " body=a26869", lane=3, body_bytes=3), ""),
    ("pad", "ok", frame(kind=255, damage={8: 0, 9: 0x10}),
     plain(255, body_bytes=4096), "only the header; body_bytes covers the rest of the lap"),
    # ---- refused ----
    ("short", "no", frame(cut=1, **CALL), "", "63 bytes"),
    ("magic", "no", frame(magic=0x5444, **CALL), "", "bytes swapped"),
    ("version_2", "no", frame(version=2, **CALL), "", ""),
    ("kind_0", "no", frame(**(CALL | {"kind": 0})), "", ""),
    ("kind_10", "no", frame(**(CALL | {"kind": 10})), "", ""),
    ("kind_254", "no", frame(**(CALL | {"kind": 254})), "", ""),
    ("flag_32", "no", frame(**(CALL | {"flags": 32})), "", ""),
    ("flag_high", "no", frame(**(CALL | {"flags": 0x8000})), "", ""),
    ("lane_4", "no", frame(**(CALL | {"lane": 4})), "", ""),
    ("ext_units_33", "no", frame(EMPTY_RECORD * 33, X1, **CALL), "", ""),
    ("header_crc", "no", frame(late={0x3C: 0}, **CALL), "", ""),
    ("header_bit", "no", frame(late={0x10: 43}, body=X1, **CALL), "", "call id changed"),
    ("body_bit", "no", frame(late={64: 0x82}, body=X1, **CALL), "", "body changed"),
    ("ext_bit", "no", frame(KEY3, X1, late={68: 0x62}, **CALL), "", "key changed"),
    ("body_cut", "no", frame(body="c43f" + "61" * 63, cut=64, **CALL), "", "half of it is missing"),
    ("body_huge", "no", frame(damage={8: 0xFF, 9: 0xFF, 10: 0xFF, 11: 0xFF}, **CALL), "",
     "4 GiB declared"),
    ("record_twice", "no", frame(KEY3 + KEY3, X1, **CALL), "", ""),
    ("record_unknown_critical", "no", frame(UNKNOWN_CRITICAL, X1, **CALL), "", ""),
    ("record_type_0", "no", frame("00" * 8, X1, **CALL), "", "padding is not a record"),
    ("record_overruns", "no", frame("0200 0c00" + "61" * 4, X1, **CALL), "", ""),
    ("record_padding", "no", frame("0200 0300" + "616263" + "01", X1, **CALL), "", "not zero"),
    ("key_empty", "no", frame("0200 0000" + "00" * 4, X1, **CALL), "", "1 to 64 bytes"),
    ("key_65", "no", frame("0200 4100" + "6b" * 65 + "00" * 3, X1, **CALL), "", "1 to 64 bytes"),
    ("blob_8", "no", frame("0500 0800" + "01" * 8 + "00" * 4, "75ad1fe3", **(CALL | {"flags": 6})),
     "", "16 bytes"),
    ("fence_4", "no", frame("0300 0400" + "01" * 4, X1, **CALL), "", "8 bytes"),
    ("inputs_not_critical", "no", frame("0700 0000" + "00" * 4, "92c080", **CALL), "", ""),
    ("inputs_with_data", "no", frame("0780 0100" + "00" * 4, "92c080", **CALL), "", ""),
]  # fmt: skip


def bodies_table() -> str:
    """The text of bodies.tsv."""
    lines = ["name\tstrict\tcanonical\tpair\thex\tdump\twhy"]
    for name, marks, text, dump, why in ROWS:
        verdicts = ("ok" if mark in marks else "no" for mark in "scp")
        lines.append("\t".join((name, *verdicts, text, dump, why)))
    return "\n".join(lines) + "\n"


def frames_table() -> str:
    """The text of frames.tsv."""
    lines = ["name\tverdict\thex\tdump\twhy"]
    lines += ["\t".join(row) for row in FRAMES]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    (folder / "bodies.tsv").write_text(bodies_table())
    (folder / "frames.tsv").write_text(frames_table())
