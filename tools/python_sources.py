"""List what the wheel installs from src/, one path a line, relative to the folder given."""

import sys
from itertools import pairwise
from pathlib import Path

ARTEFACT_SUFFIXES = {".pyc", ".so", ".a", ".o"}
ARTEFACT_FOLDERS = {("_native", "bin"), ("_native", "lib"), ("_native", "include")}


def python_sources(src: Path) -> list[str]:
    """Return every file of the packages and modules under ``src``, sorted.

    Byte code and native artefacts that a development tree may hold are left out: meson installs
    its own, from the build directory.
    """
    found = []
    for path in sorted(src.rglob("*")):
        parts = path.relative_to(src).parts
        if not path.is_file() or path.suffix in ARTEFACT_SUFFIXES or parts == ("meson.build",):
            continue
        if any(part == "__pycache__" or part.startswith(".") for part in parts):
            continue
        if any(pair in ARTEFACT_FOLDERS for pair in pairwise(parts)):
            continue
        found.append("/".join(parts))
    return found


if __name__ == "__main__":
    print("\n".join(python_sources(Path(sys.argv[1]))))
