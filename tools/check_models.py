"""Search the spin models of native/models through: check_models.py [MODEL [VARIANT]].

Each row of native/models/variants.tsv is one exhaustive search. A sound variant must have no error;
an unsound one must have an error with a trail, so that a model that cannot find anything is noticed.
Prints one line a search, writes the same to build/models.tsv, and exits with 1 when a row is not as
expected or a search was not exhaustive, with 2 when spin or the C compiler is missing.
"""

import csv
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "native" / "models"
SEARCH_S_MAX = 120
DEPTH_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of variants.tsv: a model, what is taken away from it, and what must come out."""

    model: str
    name: str
    defines: tuple[str, ...]
    """Options of the preprocessor, as spin takes them."""
    sound: bool
    claim: str


@dataclass(frozen=True, slots=True)
class Search:
    """What one search found."""

    variant: Variant
    errors: int
    states: int
    depth: int
    reason: str
    """The first error, or why the search is worth nothing; empty when it ended without an error."""
    exhaustive: bool

    @property
    def as_expected(self) -> bool:
        """True when a sound variant passed, or an unsound one has an error trail."""
        if self.variant.sound:
            return self.exhaustive and self.errors == 0
        return self.errors > 0


def variants(table: Path = MODELS / "variants.tsv") -> list[Variant]:
    """Read the table; ValueError for a row that says neither sound nor unsound."""
    found = []
    with table.open(newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if row["expected"] not in {"sound", "unsound"}:
                raise ValueError(f"{table.name}: {row['variant']}: expected={row['expected']!r}")
            found.append(
                Variant(
                    row["model"],
                    row["variant"],
                    tuple(row["defines"].split()),
                    row["expected"] == "sound",
                    row["what it says"],
                )
            )
    return found


def number(pattern: str, text: str) -> int:
    """Return the number that ``pattern`` captures, or -1."""
    match = re.search(pattern, text)
    return int(match[1]) if match else -1


def search(variant: Variant, models: Path = MODELS) -> Search:
    """Generate, compile and run the verifier of one variant in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tandem-model-") as folder:
        for command in (
            ["spin", "-a", *variant.defines, str(models / f"{variant.model}.pml")],
            ["cc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c"],
        ):
            made = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=SEARCH_S_MAX
            )
            if made.returncode != 0:
                said = (made.stdout + made.stderr).strip()[-400:]
                return Search(variant, -1, 0, 0, f"{command[0]}: {said}", False)
        try:
            ran = subprocess.run(
                ["./pan", f"-m{DEPTH_MAX}"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=SEARCH_S_MAX,
            )
        except subprocess.TimeoutExpired:
            return Search(variant, -1, 0, 0, f"no end after {SEARCH_S_MAX} s", False)
        text = ran.stdout + ran.stderr
        trail = any(Path(folder).glob("*.trail"))
    errors = number(r"errors: (\d+)", text)
    cut = re.search(r"max search depth too small|out of memory|Search not completed", text)
    reason = re.search(r"^pan:\d+: (.*)$", text, re.MULTILINE)
    return Search(
        variant,
        errors if trail or errors <= 0 else -1,
        number(r"(\d+) states, stored", text),
        number(r"depth reached (\d+)", text),
        reason[1] if reason else "",
        errors >= 0 and not cut,
    )


def main(arguments: list[str]) -> int:
    """Search the rows that ``arguments`` name (all without any) and say what came out."""
    missing = [name for name in ("spin", "cc") if shutil.which(name) is None]
    if missing:
        print(f"check_models: missing: {', '.join(missing)} (apt-get install spin gcc)")
        return 2
    wanted = [
        variant
        for variant in variants()
        if (not arguments or variant.model == arguments[0])
        and (len(arguments) < 2 or variant.name == arguments[1])
    ]
    if not wanted:
        print(f"check_models: nothing is called {' '.join(arguments)!r} in variants.tsv")
        return 2
    rows, surprises = [], 0
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(search, wanted):
            variant = found.variant
            surprises += not found.as_expected
            verdict = "ok" if found.as_expected else "NOT AS EXPECTED"
            kind = "sound" if variant.sound else "unsound"
            said = found.reason or f"{found.states} states, {found.depth} deep"
            print(f"{verdict:3} {variant.model:9} {kind:8} {variant.name:17} {said}", flush=True)
            rows.append(
                (verdict, variant.model, kind, variant.name, found.states, found.depth, said)
            )
    if not arguments:
        (ROOT / "build").mkdir(exist_ok=True)
        with (ROOT / "build" / "models.tsv").open("w", newline="") as out:
            writer = csv.writer(out, delimiter="\t", lineterminator="\n")
            writer.writerow(("verdict", "model", "expected", "variant", "states", "depth", "found"))
            writer.writerows(rows)
    print(f"{len(rows) - surprises} passed, {surprises} failed")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
