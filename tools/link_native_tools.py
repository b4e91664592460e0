"""Link the programs of a meson build, and what tests preload, into one folder.

Usage: link_native_tools.py BUILD_DIR TOOLS_DIR
"""

import json
import subprocess
import sys
from pathlib import Path


def main(build_dir: Path, tools_dir: Path) -> None:
    """Make ``tools_dir`` hold exactly one link for each program and module of ``build_dir``."""
    described = subprocess.run(
        ["meson", "introspect", str(build_dir), "--targets"],
        check=True,
        capture_output=True,
        text=True,
    )
    tools_dir.mkdir(parents=True, exist_ok=True)
    for old in tools_dir.iterdir():
        old.unlink()
    for target in json.loads(described.stdout):
        if target["type"] in ("executable", "shared module"):
            program = Path(target["filename"][0]).resolve()
            (tools_dir / program.name).symlink_to(program)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
