"""The command line: words and options in, the same calls as in Python, text or JSON out.

This room knows terminals, options and exit codes. It never knows how anything is planned, run or
kept, and decides nothing about a run. It hands on ``main``.
"""

from __future__ import annotations

import io
import sys


def main() -> int:
    """Run ``tandem`` with the process's arguments; gives the exit code."""
    # Imported here, so that a program that only imports the package pays nothing for it.
    from tandem_orchestrator.cli.app import run_app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that only knows ASCII gets escapes, not a traceback after its run.
            stream.reconfigure(errors="backslashreplace")
    return run_app(sys.argv[1:])
