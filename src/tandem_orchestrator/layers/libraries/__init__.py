"""Shared objects that hold twins: what a library exports, and how its functions are called.

This room knows ELF files, sealed copies of them, and the signatures of plain C functions. It never
knows processes, the bridge or who calls, and never loads foreign code into Python. It hands on
``open_library``, ``Library``, ``LibraryTwin`` and ``parse_signature``.
"""

from tandem_orchestrator.layers.libraries.library import (
    BoundTwin,
    Library,
    LibraryTwin,
    make_twin,
    open_library,
)
from tandem_orchestrator.layers.libraries.signature import (
    Argument,
    BadSignature,
    Signature,
    parse_signature,
)

__all__ = [
    "Argument",
    "BadSignature",
    "BoundTwin",
    "Library",
    "LibraryTwin",
    "Signature",
    "make_twin",
    "open_library",
    "parse_signature",
]
