"""Large outputs in memory: each once, as long as a run that is kept names it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tandem_orchestrator.journal.parts import Part


class MemoryOutputs:
    """Bytes by their digest, with the number of runs that name them. The store bounds the sum."""

    def __init__(self) -> None:
        self._bodies: dict[bytes, bytes] = {}
        self._uses: dict[bytes, int] = {}
        self.body_bytes = 0

    @property
    def files(self) -> int:
        """How many there are."""
        return len(self._bodies)

    def added_bytes(self, parts: Iterable[Part]) -> int:
        """Give the bytes that keeping these would add."""
        fresh = {part.digest: len(part.body) for part in parts if part.digest not in self._bodies}
        return sum(fresh.values())

    def keep(self, parts: Iterable[Part], named: set[bytes]) -> int:
        """Keep parts for a run that has named ``named`` so far; gives the bytes that this added."""
        before = self.body_bytes
        for part in parts:
            if part.digest not in self._bodies:
                self._bodies[part.digest] = part.body
                self.body_bytes += len(part.body)
            if part.digest not in named:
                named.add(part.digest)
                self._uses[part.digest] = self._uses.get(part.digest, 0) + 1
        return self.body_bytes - before

    def drop(self, named: Collection[bytes]) -> int:
        """Let go of what a run named; gives the bytes that this freed."""
        before = self.body_bytes
        for digest in named:
            self._uses[digest] -= 1
            if self._uses[digest] == 0:
                del self._uses[digest]
                self.body_bytes -= len(self._bodies.pop(digest))
        return before - self.body_bytes

    def load(self, digest: bytes, _body_bytes: int) -> bytes:
        """Give the bytes of one that a kept run names."""
        return self._bodies[digest]
