"""Capsules as the journal has them: found across runs, by what they are about."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_orchestrator.errors import CapsuleError
from tandem_orchestrator.journal import Journal, Record
from tandem_orchestrator.model.events import Judged
from tandem_orchestrator.twins import Capsule

LAST = "last"
"""Stands for the newest capsule where an id is asked for."""
_LOOKED_AT_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class CapsuleFilter:
    """Which capsules are meant; what is None does not matter."""

    run: str | None = None
    step: str | None = None
    agent: str | None = None
    action: str | None = None

    def fits(self, capsule: Capsule) -> bool:
        """Say whether a capsule is meant."""
        return all(
            wanted in (None, has)
            for wanted, has in (
                (self.run, capsule.run),
                (self.step, capsule.step),
                (self.agent, capsule.agent),
                (self.action, capsule.action),
            )
        )


async def list_capsules(
    journal: Journal, wanted: CapsuleFilter | None = None, *, limit: int = 100
) -> list[Capsule]:
    """List capsules, newest first.

    Raises: CapsuleError if one of the journal's is none; JournalError.
    """
    asked = wanted or CapsuleFilter()

    def choose(record: Record) -> Capsule | None:
        event = record.event
        if not isinstance(event, Judged) or event.capsule is None:
            return None
        capsule = Capsule.from_value(event.capsule)
        return capsule if asked.fits(capsule) else None

    return await journal.find("judged", choose, run_id=asked.run, limit=limit)


async def read_capsule(journal: Journal, capsule_id: str) -> Capsule:
    """Read one capsule by its id, the beginning of it if that is unique, or ``last``.

    Raises: CapsuleError if there is none, or several begin so.
    """
    if capsule_id == LAST:
        found = await list_capsules(journal, limit=1)
        if not found:
            raise CapsuleError("this journal has no capsule; see 'tandem conflicts list'")
        return found[0]
    run, dot, _ = capsule_id.partition(".")

    def choose(record: Record) -> Capsule | None:
        event = record.event
        if not isinstance(event, Judged) or event.capsule is None:
            return None
        starts = str(event.capsule.get("id", "")).startswith(capsule_id)
        return Capsule.from_value(event.capsule) if starts else None

    found = await journal.find(
        "judged", choose, run_id=run if dot else None, limit=_LOOKED_AT_MAX if dot else 20
    )
    if exact := [capsule for capsule in found if capsule.id == capsule_id]:
        return exact[0]
    if not found:
        raise CapsuleError(f"capsule {capsule_id!r} is not here; see 'tandem conflicts list'")
    if len(found) > 1:
        ids = ", ".join(capsule.id for capsule in found[:5])
        raise CapsuleError(f"capsule {capsule_id!r}: several begin so: {ids}; give the whole id")
    return found[0]
