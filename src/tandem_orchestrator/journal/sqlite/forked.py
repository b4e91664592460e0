"""Forked children: they share our memory, and must leave our files and locks alone.

A child that closed an SQLite connection of its parent could wait for a lock that no thread of its
own will ever give back, and a copy of the lease's descriptor would keep a dead owner alive. So the
child closes the descriptor and makes the connections immortal (SQLite, "How To Corrupt", 2.6).
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

import apsw


class Forgetful(Protocol):
    """What can let go of everything after a fork."""

    def forget_in_child(self) -> list[apsw.Connection]:
        """Let go; gives the connections that must never be closed."""


_journals: weakref.WeakSet[Forgetful] = weakref.WeakSet()
_is_registered = False


def leave_alone_in_children(journal: Forgetful) -> None:
    """Have forked children forget ``journal``."""
    global _is_registered
    if not _is_registered:
        os.register_at_fork(after_in_child=_forget_all)
        _is_registered = True
    _journals.add(journal)


def _forget_all() -> None:
    connections = [each for journal in _journals for each in journal.forget_in_child()]
    _journals.clear()
    if connections:
        import ctypes

        for connection in connections:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
