"""`docgen.scan_codebase` against its peers, all measured in the same run on a warm cache.

    python benchmarks/scan.py [--runs 5] [--files 30000] [--output build/bench/scan.json]

Each run takes C and the peers one after the other, so that a busy machine slows all of them. The
tree is made for it in a temporary directory and removed. "Body" is the encoded output, as another
process or a file would get it; the walk is given the same work, one ``stat`` a file, and does not
even have to sort. ``openssl`` prints its digests as text, into nothing, so it is held against the
body; Python's own scan gives the same dict, so it is held against the dict. Exits 1 when a median misses its bar.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from comparison import Comparison, write_comparisons
from machine import this_machine

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.agents.docgen.scan import scan_codebase

CONFIG = {
    "journal": {"path": ":memory:"},
    "orchestrator": {"entry_points": False},
    "python_layer": {"cache_size": 0},
}
WALK, PYTHON, OPENSSL = "os.scandir walk with stat", "Python layer", "xargs -P2 openssl dgst"
LIMIT = "system calls alone, 2 threads"
"""What is left of ours when nothing is kept, sorted or encoded: no scan can be faster."""
FILES_A_FOLDER = 15
"""As in a source tree: /usr/share has 14."""


def comparisons() -> dict[str, Comparison]:
    """Make the empty table; a rate's ratio is how many times faster C is."""
    return {
        "body": Comparison("list and stat, to the encoded body", "/s", None, ratios={WALK: 3.0}),
        "value": Comparison("list and stat, decoded", "/s", None, ratios={WALK: 1.3}),
        "digests": Comparison(
            "with sha256 and lines, to the encoded body", "/s", None, ratios={OPENSSL: 1.5}
        ),
        "sha256": Comparison("with sha256 and lines, decoded", "/s", None, ratios={PYTHON: 2.5}),
    }


def make_tree(root: Path, files: int) -> None:
    """Write `files` small texts of 0 to 12 KiB, about 4 KiB each, in folders of three levels."""
    line = b"the quick brown fox jumps over the lazy dog, line by line by line\n"
    for index in range(files):
        number = index // FILES_A_FOLDER
        folder = root / f"part-{number % 9}" / f"module-{number % 81}" / f"package-{number}"
        if index % FILES_A_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"source_file_{index}.py").write_bytes(line * (index * 7 % 61 * (index % 5)))


def walk(root: str) -> int:
    """Count the files of a tree and their bytes, as one would in plain Python."""
    files = total = 0
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
                    files += 1
    return files


def rate(files: int, work: Callable[[], object]) -> float:
    """Run it twice, and time the second: what ran before left the caches to its own liking."""
    work()
    begun = time.perf_counter()
    work()
    return files / (time.perf_counter() - begun)


def openssl(root: str) -> None:
    """Digest every file with two processes at a time, with as many names each as fit."""
    find = subprocess.Popen(["find", root, "-type", "f", "-print0"], stdout=subprocess.PIPE)
    subprocess.run(
        ["xargs", "-0", "-P2", "-n2000", "openssl", "dgst", "-sha256"],
        stdin=find.stdout,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    find.wait()


def build_limit(folder: Path) -> Path:
    """Compile the program that does the system calls and nothing else."""
    source, made = Path(__file__).with_name("stat_limit.c"), folder / "stat_limit"
    subprocess.run(["cc", "-std=c11", "-O2", "-pthread", source, "-o", made], check=True)
    return made


def limit(program: Path, root: str) -> float:
    """Files a second of one round."""
    done = subprocess.run([program, root, "1"], capture_output=True, text=True, check=True)
    return float(done.stdout)


async def take(rows: dict[str, Comparison], root: str, files: int, runs: int, bare: Path) -> None:
    """Take every figure, once more than counts: the first warms the cache."""
    listing: dict[str, Any] = {"path": root, "hash": False, "lines": False}
    body = msgspec.msgpack.encode(listing)
    digests = msgspec.msgpack.encode({"path": root})
    async with TandemOrchestrator(CONFIG) as tandem:
        if "c" not in tandem.layer_health():
            raise SystemExit("scan: there is no C layer here")

        async def native(row: str, send: Callable[[], Any], count: Callable[[Any], int]) -> None:
            await send()  # as in ``rate``
            begun = time.perf_counter()
            answer = await send()
            spent = time.perf_counter() - begun
            rows[row].values.append(files / spent)
            if count(answer) != files:
                raise SystemExit(f"scan: {row} found {count(answer)} files, not {files}")

        def peer(row: str, name: str, work: Callable[[], object]) -> None:
            rows[row].peers.setdefault(name, []).append(rate(files, work))

        for _ in range(runs + 1):
            await native(
                "body",
                lambda: tandem.send_many("docgen", "scan_codebase", [body], encoded=True),
                lambda answers: msgspec.msgpack.decode(answers[0])["totals"]["files"],
            )
            peer("body", WALK, lambda: walk(root))
            rows["body"].peers.setdefault(LIMIT, []).append(limit(bare, root))
            await native(
                "value",
                lambda: tandem.send("docgen", "scan_codebase", listing),
                lambda answer: answer["totals"]["files"],
            )
            peer("value", WALK, lambda: walk(root))
            await native(
                "digests",
                lambda: tandem.send_many("docgen", "scan_codebase", [digests], encoded=True),
                lambda answers: msgspec.msgpack.decode(answers[0])["totals"]["files"],
            )
            peer("digests", OPENSSL, lambda: openssl(root))
            await native(
                "sha256",
                lambda: tandem.send("docgen", "scan_codebase", {"path": root}),
                lambda answer: answer["totals"]["files"],
            )
            peer("sha256", PYTHON, lambda: scan_codebase({"path": root}))
            rows["sha256"].peers[OPENSSL] = rows["digests"].peers[OPENSSL]
    for row in rows.values():
        del row.values[0]
        for name in row.peers:
            row.peers[name] = row.peers[name][1:]


def main() -> int:
    """Take every figure and print the table; 1 when one misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--files", type=int, default=30_000)
    parser.add_argument("--tree", type=Path, help="use this one, which is left as it is")
    parser.add_argument("--output", type=Path, help="write the values there, too")
    options = parser.parse_args()
    rows, machine = comparisons(), this_machine()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as tools:
        root = Path(folder) if options.tree is None else options.tree.resolve()
        if options.tree is None:
            make_tree(root, options.files)
        asyncio.run(take(rows, str(root), walk(str(root)), options.runs, build_limit(Path(tools))))
    print("\n".join(line for row in rows.values() for line in row.lines()))
    if options.output is not None:
        write_comparisons(
            options.output,
            command=f"benchmarks/scan.py --runs {options.runs} --files {options.files}",
            machine=machine,
            rows=rows.values(),
        )
    return 0 if all(row.holds for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
