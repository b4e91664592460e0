"""Capsules as the journal has them, and as files beside it: found by what they are about.

Conflicts of runs are in the journal. What shadows differ on, off every run's path, is in capsule
files in a folder beside it, at most some hundred.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tandem_orchestrator.errors import CapsuleError
from tandem_orchestrator.journal import Journal, Record
from tandem_orchestrator.model.events import Judged
from tandem_orchestrator.twins import Capsule
from tandem_orchestrator.twins.capsule_file import SUFFIX, capsule_from_text

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
    journal: Journal,
    wanted: CapsuleFilter | None = None,
    *,
    limit: int = 100,
    folder: Path | None = None,
) -> list[Capsule]:
    """List capsules, newest first.

    Args:
        folder: Where shadows leave capsule files; it need not be there.

    Raises: CapsuleError if one of the journal's, or a file, is none; JournalError.
    """
    asked = wanted or CapsuleFilter()

    def choose(record: Record) -> Capsule | None:
        event = record.event
        if not isinstance(event, Judged) or event.capsule is None:
            return None
        capsule = Capsule.from_value(event.capsule)
        return capsule if asked.fits(capsule) else None

    found = await journal.find("judged", choose, run_id=asked.run, limit=limit)
    found += [capsule for capsule in _in_folder(folder) if asked.fits(capsule)]
    return sorted(found, key=lambda capsule: -capsule.at_ns)[:limit]


def _in_folder(folder: Path | None, begins: str = "") -> Iterator[Capsule]:
    """Read the capsule files of a folder whose id begins so.

    Raises: CapsuleError naming a file that is none.
    """
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if not path.name.startswith(begins):
            continue
        try:
            yield capsule_from_text(path.read_text(encoding="utf-8"))[0]
        except FileNotFoundError:
            continue  # It gave way to a newer one meanwhile.
        except (OSError, UnicodeDecodeError, CapsuleError) as error:
            raise CapsuleError(f"{path}: {error}") from error


async def read_capsule(journal: Journal, capsule_id: str, *, folder: Path | None = None) -> Capsule:
    """Read one capsule by its id, the beginning of it if that is unique, or ``last``.

    Raises: CapsuleError if there is none, or several begin so.
    """
    if capsule_id == LAST:
        found = await list_capsules(journal, limit=1, folder=folder)
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
    found += _in_folder(folder, capsule_id)
    if exact := [capsule for capsule in found if capsule.id == capsule_id]:
        return exact[0]
    if not found:
        raise CapsuleError(f"capsule {capsule_id!r} is not here; see 'tandem conflicts list'")
    if len(found) > 1:
        ids = ", ".join(capsule.id for capsule in found[:5])
        raise CapsuleError(f"capsule {capsule_id!r}: several begin so: {ids}; give the whole id")
    return found[0]
