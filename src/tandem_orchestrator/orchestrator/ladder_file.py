"""The rungs and their evidence, in a file beside the journal that several processes share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tandem_orchestrator.errors import Busy
from tandem_orchestrator.side_file import SideFile
from tandem_orchestrator.twins.ladder import Climb

_T = TypeVar("_T")
Key = tuple[str, str, str]
"""Agent, action and implementation."""
Climbs = dict[Key, Climb]
"""What is known of each twin on the ladder."""

CLIMBS_MAX = 1024
"""Twins that are remembered; the one whose evidence came first goes first."""


class LadderFile:
    """Reads and changes the file ``JOURNAL.ladder``.

    Args:
        path: None: nothing is kept beyond this object.
    """

    def __init__(self, path: Path | None) -> None:
        self._file: SideFile[list[Climb]] = SideFile(path, "tandem ladder", list[Climb])
        self._in_memory: Climbs = {}

    @property
    def path(self) -> Path | None:
        """Where it is; None: in memory."""
        return self._file.path

    def stamp(self) -> object:
        """Give what changes when another process has changed it."""
        return self._file.stamp()

    def read(self) -> Climbs:
        """Give every climb."""
        if self.path is None:
            return self._in_memory
        return {climb.key: climb for climb in self._file.read() or []}

    def change(self, how: Callable[[Climbs], _T]) -> tuple[_T, Climbs]:
        """Change climbs in place, with every other process kept out; gives (what it gave, climbs).

        Raises: Busy if the lock cannot be had, or the file not written; nothing has changed then.
        """
        if self.path is None:
            return how(self._in_memory), self._in_memory
        with self._file.locked() as is_held:
            if not is_held:
                raise Busy(f"{self.path}: the promotion ladder cannot be changed just now")
            climbs = self.read()
            given = how(climbs)
            while len(climbs) > CLIMBS_MAX:
                del climbs[next(iter(climbs))]
            if not self._file.write(list(climbs.values())):
                raise Busy(f"{self.path}: the promotion ladder could not be written")
            return given, climbs
