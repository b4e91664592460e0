"""Count what `meson test` just did, and print one plain closing line.

Usage: count_native_tests.py BUILD_DIR KIND. Exits 1 when a test failed or when none ran.
"""

import json
import sys
from collections import Counter
from pathlib import Path

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}


def main(build_dir: Path, kind: str) -> int:
    """Print ``N passed, N failed`` (and skipped ones, by name) and return the exit code."""
    log = build_dir / "meson-logs" / "testlog.json"
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    counts = Counter(
        "passed" if r["result"] in PASSED else "skipped" if r["result"] in SKIPPED else "failed"
        for r in results
    )
    for result in results:
        if result["result"] not in PASSED:
            print(f"C tests ({kind}): {result['name']}: {result['result']}")
    line = f"{counts['passed']} passed, {counts['failed']} failed"
    if counts["skipped"]:
        line += f", {counts['skipped']} skipped"
    seconds = sum(r["duration"] for r in results)
    print(f"C tests, {kind}: {len(results)} in {seconds:.1f} s of work")
    print(line, flush=True)
    return 0 if counts["passed"] and not counts["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
