"""The environment of a native process: an allow-list, never a copy.

What is not listed is dropped: ``LD_*``, ``PYTHON*``, ``MALLOC_*`` and ``GCONV_PATH`` change what a
program is, and tokens in ``TANDEM_*`` are none of its business. The bridge is told its settings
by arguments.
"""

from __future__ import annotations

from collections.abc import Mapping

ALLOWED = ("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TANDEM_SIMD", "TMPDIR", "TZ",
           "USER", "XDG_RUNTIME_DIR")  # fmt: skip
"""Names that pass as they are; ``LC_*`` passes as well. ``TANDEM_SIMD=scalar`` tunes, no more."""

VALUE_CHARS_MAX = 4096
"""Longest value passed on; a longer one is dropped."""


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Pick the variables a native process may see, sorted by name."""
    return {
        name: value
        for name, value in sorted(environ.items())
        if (name in ALLOWED or name.startswith("LC_")) and len(value) <= VALUE_CHARS_MAX
    }
