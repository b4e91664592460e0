"""Build the wheel into build/dist, with a meson build directory that is kept between builds.

Usage: build_wheel.py enabled|disabled, which says whether the C layer is part of it. The backend is
called directly: pip before 23.1, which Debian 12 has, passes on only one of several settings.
"""

import shutil
import sys
from pathlib import Path

import mesonpy

DIST = Path("build/dist")


def main(native: str) -> None:
    """Leave exactly one wheel in ``build/dist``; progress and errors go to the standard streams."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir(parents=True)
    settings = {
        "build-dir": "build/wheel",
        "setup-args": [f"-Dnative={native}", "-Dwerror=true", "-Dnative_tests=false"],
        "compile-args": ["-j2"],
    }
    mesonpy.build_wheel(str(DIST), settings)


if __name__ == "__main__":
    main(sys.argv[1])
