"""The promotion ladder of one session: evidence comes in, rungs come out.

Comparisons are counted in memory and added to the shared file once a second; what would bring a
twin down is added at once. A change that another process made is seen within a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import Busy
from tandem_orchestrator.layers.layer import Report, Work
from tandem_orchestrator.model.catalogue import Action, Catalogue
from tandem_orchestrator.model.events import Judged
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import PlannedStep
from tandem_orchestrator.orchestrator.ladder_file import Climbs, Key, LadderFile
from tandem_orchestrator.settings import Twins
from tandem_orchestrator.twins.ladder import Change, Climb, Tally, add

_log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between looks at the file, and writes of what was counted."""
PAIRS_MAX = 4096
"""Comparisons on the path that are waited for; the one begun first goes first."""
LOST = frozenset({Outcome.NOT_STARTED, Outcome.UNKNOWN, Outcome.CANCELLED, Outcome.ABANDONED})
"""Outcomes that say nothing about agreement."""


class _Pair(msgspec.Struct):
    """What the attempts of one comparison on the path took."""

    step: PlannedStep
    digest: str
    seconds: dict[str, float] = {}
    lost: bool = False


class Promotion:
    """Counts evidence and knows the rungs. Belongs to the orchestrator's loop.

    Args:
        rules: The settings' section ``twins``.
        path: The file; None: the ladder lasts as long as the session.
        catalogue: Gives the catalogue of the moment.
    """

    def __init__(
        self, rules: Twins, path: Path | None, clock: Clock, catalogue: Callable[[], Catalogue]
    ) -> None:
        self._rules, self._clock, self._catalogue = rules, clock, catalogue
        self.shares = {
            "shadow": rules.shadow_share,
            "verify": rules.verify_share,
            "canary": rules.canary_share,
            "native": rules.audit_share,
        }
        """Rung to the share of runs in which a twin on it takes part."""
        self._file = LadderFile(path)
        self._climbs: Climbs = {}
        self._stamp: object = None
        self._tallies: dict[tuple[Key, str], Tally] = {}
        """By key and version of the action."""
        self._handed: deque[dict[tuple[Key, str], Tally]] = deque()
        """Counts that are closed and have not been added yet, in their order."""
        self._adding = threading.Lock()
        self._added = self._used = 0
        """How many of them were added, and are gone by here."""
        self._pairs: OrderedDict[tuple[str, str, int | None], _Pair] = OrderedDict()
        self.version = 0
        """Changes when any rung does."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read the file, and go on looking at it."""
        self._look()
        self._task = asyncio.create_task(self._serve(), name="tandem-ladder")

    async def close(self) -> None:
        """Write what was counted."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
            self.flush()

    def rung(self, action: Action, implementation: str) -> str:
        """Give the rung of a twin that began below ``native``."""
        climb = self._climbs.get((action.agent, action.name, implementation))
        return climb.rung if climb is not None and climb.version == action.version else "shadow"

    # --- evidence --------------------------------------------------------------------------------

    def attempted(self, step: PlannedStep, work: Work, report: Report, waited_s: float) -> None:
        """Keep what an attempt took whose twin runs on the path, until they are judged."""
        if not self._climbers(step):
            return
        key = (work.run_id, work.step_id, work.item)
        pair = self._pairs.get(key)
        if pair is None:
            pair = self._pairs[key] = _Pair(step, digest_of(work))
            if len(self._pairs) > PAIRS_MAX:
                self._pairs.popitem(last=False)
        if report.outcome is Outcome.SUCCEEDED and not report.cached:
            pair.seconds[work.implementation] = waited_s
        failure = None if report.failure is None else report.failure.type
        pair.lost |= report.outcome in LOST or failure in ("LayerUnavailable", "InternalError")

    def judged(self, run_id: str, event: Judged) -> None:
        """Count a comparison on the path."""
        pair = self._pairs.pop((run_id, event.step, event.item), None)
        if pair is None:  # Of a batch's items none ran alone.
            pair = self._pairs.get((run_id, event.step, None))
        if pair is None or event.verdict not in ("agreed", "conflict"):
            return
        assignment = pair.step.assignment
        assert assignment is not None
        for name in self._climbers(pair.step):
            other = assignment.trusted or next(
                (each for each in assignment.implementations if each != name), name
            )
            tally = self._tally(pair.step, name)
            if pair.lost and event.verdict == "conflict":
                tally.errors += 1
                continue
            self.note(
                pair.step,
                name,
                agreed=event.verdict == "agreed",
                digest=pair.digest,
                primary_s=pair.seconds.get(other if other != name else "", 0.0),
                own_s=pair.seconds.get(name, 0.0),
                capsule=_capsule_of(run_id, event),
                count=event.count,
            )

    # Any: as ``Tally.note``.
    def note(self, step: PlannedStep, implementation: str, *, agreed: bool, **about: Any) -> None:
        """Count a comparison of a twin; one that may bring it down is added at once."""
        self._tally(step, implementation).note(agreed=agreed, **about)
        climb = self._climbs.get((step.agent, step.action, implementation))
        if not agreed and climb is not None and climb.rung != "shadow":
            self.flush()

    def error(self, step: PlannedStep, implementation: str) -> None:
        """Count a shadow run that came to no comparison."""
        self._tally(step, implementation).errors += 1

    def drop(self, step: PlannedStep, implementation: str) -> None:
        """Count a shadow run that was not begun."""
        self._tally(step, implementation).dropped += 1

    def _climbers(self, step: PlannedStep) -> list[str]:
        """Name the twins among a step's implementations that are on the ladder."""
        assignment = step.assignment
        action = self._catalogue().action(step.agent, step.action)
        if assignment is None or action is None:
            return []
        found = (action.implementation(name) for name in assignment.implementations)
        return [one.name for one in found if one is not None and one.climbs]

    def _tally(self, step: PlannedStep, implementation: str) -> Tally:
        key = ((step.agent, step.action, implementation), step.version)
        return self._tallies.setdefault(key, Tally())

    # --- the file --------------------------------------------------------------------------------

    def flush(self) -> None:
        """Add what was counted to the file, and take over what others have added."""
        self._hand_over()
        self._use_newer(self._add())

    def _hand_over(self) -> None:
        """Close the present count, so that any thread may add it."""
        if self._tallies:
            self._handed.append(self._tallies)
            self._tallies = {}

    def _add(self) -> tuple[int, Climbs] | None:
        """Add all counts that were handed over, in their order; None where there was nothing to do.

        On the loop, or in a thread; what cannot be added just now waits for the next time.
        """
        with self._adding:
            climbs: Climbs | None = None
            while self._handed:
                counted = self._handed[0]
                try:
                    climbs = self._file.change(lambda known, c=counted: self._count(known, c))[1]  # type: ignore[misc]
                except Busy as error:
                    _log.warning("%s; what was counted waits", error)
                    break
                self._handed.popleft()
                self._added += 1
            return None if climbs is None else (self._added, climbs)

    def _count(self, climbs: Climbs, tallies: Mapping[tuple[Key, str], Tally]) -> None:
        now_s = self._clock.wall_ns() / 1e9
        for (key, version), tally in tallies.items():
            climb = climbs.get(key)
            if climb is None or climb.version != version:
                agent, action, name = key
                climb = climbs[key] = Climb(
                    agent=agent, action=action, implementation=name, version=version
                )
            change = add(climb, tally, self._rules, now_s)
            if change is not None:
                _tell(climb, change)

    def _use_newer(self, added: tuple[int, Climbs] | None) -> None:
        """Go by what adding gave, unless a later one has been taken over already."""
        if added is not None and added[0] > self._used:
            self._used = added[0]
            self._stamp = self._file.stamp()
            self._use(added[1])

    def _look(self) -> None:
        stamp = self._file.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._use(self._file.read())

    def _use(self, climbs: Climbs) -> None:
        before = {key: (climb.rung, climb.version) for key, climb in self._climbs.items()}
        # Copies, since those of a ladder in memory are changed in place.
        self._climbs = {key: msgspec.structs.replace(climb) for key, climb in climbs.items()}
        if before != {key: (one.rung, one.version) for key, one in self._climbs.items()}:
            self.version += 1

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            woken = asyncio.Event()
            timer = self._clock.call_later(LOOK_S, woken.set)
            try:
                await woken.wait()
            finally:
                timer.cancel()
            self._hand_over()
            if self._handed:
                adding = loop.run_in_executor(None, self._add)
                self._use_newer(await asyncio.shield(adding))
            else:
                self._look()


def digest_of(work: Work) -> str:
    """Tell inputs apart: BLAKE2b of payload and inputs, 10 hex digits; empty for odd values."""
    try:
        body = msgspec.msgpack.encode((work.payload, dict(work.inputs)))
    except (TypeError, ValueError, OverflowError):
        return ""
    return hashlib.blake2b(body, digest_size=5).hexdigest()


def _capsule_of(run_id: str, event: Judged) -> str | None:
    if event.capsule is not None:
        return str(event.capsule.get("id"))
    return None if event.conflict is None else f"{run_id}.{event.conflict['id']}"


def _tell(climb: Climb, change: Change) -> None:
    if change.right == "shadow":
        _log.warning(
            "%s: demoted from %s to shadow: %s; conflict %s",
            climb.name, change.left, change.why, change.capsule,
        )  # fmt: skip
    else:
        _log.info("%s: promoted to %s: %s", climb.name, change.right, change.why)
