"""Limits: how large a command set's file may be, checked before or while it is read."""

from __future__ import annotations

from typing import NoReturn

from tandem_orchestrator.errors import Fault, InvalidCommandSet

FILE_BYTES_MAX = 8 * 2**20
"""Bytes of one file or text."""
FILE_DEPTH_MAX = 32
"""Containers within containers, the document itself counted."""
FILE_STEPS_MAX = 10_000
"""Steps in one file, those of nested command sets counted."""
FILE_NODES_MAX = 1_000_000
"""Values in one file of every kind, so that 8 MiB of commas do not become gigabytes of objects."""
NUMBER_CHARS_MAX = 400
"""Characters of one number; no value needs as many."""


def refuse(message: str, path: str = "") -> NoReturn:
    """Stop reading with one fault.

    Raises: InvalidCommandSet, always.
    """
    raise InvalidCommandSet(faults=(Fault("bad_type", path, message),))
