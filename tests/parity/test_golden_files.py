"""The golden files, read by the Python side; native/fuzz/golden_test.c is the C side."""

import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).parents[2] / "protocol" / "golden"


def test_the_golden_tables_are_what_their_source_makes(tmp_path):
    subprocess.run([sys.executable, GOLDEN / "make.py", tmp_path], check=True, timeout=30)
    for name in ("bodies.tsv", "frames.tsv"):
        assert (tmp_path / name).read_text() == (GOLDEN / name).read_text(), f"make {name} again"


def test_golden_bodies_mean_to_the_reference_codec_what_they_say(table, body_verdict):
    for row in table("golden/bodies.tsv"):
        strict, pair, order, _, _, shown = body_verdict(bytes.fromhex(row["hex"])).split(" ", 5)
        assert ["ok" if mark == "0" else "no" for mark in (strict, order, pair)] == [
            row["strict"],
            row["canonical"],
            row["pair"],
        ], row["name"]
        assert shown == (row["dump"] or "-"), row["name"]


def test_golden_frames_mean_to_the_reference_frame_what_they_say(table, frame_verdict):
    for row in table("golden/frames.tsv"):
        status, shown = frame_verdict(bytes.fromhex(row["hex"])).split(" ", 1)
        assert ("ok" if status == "0" else "no") == row["verdict"], row["name"]
        assert shown == (row["dump"] or "-"), row["name"]
