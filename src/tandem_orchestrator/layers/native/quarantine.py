"""Which inputs keep killing the host that gets them; such an input is refused before it starts.

A crash costs one attempt and one host. The same action with the same input (by the digest of its
canonical form) that crashed ``crashes_max`` times is *quarantined*: it is refused at once, until
somebody releases it or the action gets another version. A success in between clears the count. The
counts live in one small file beside the journal, so that they outlast runs and processes; without
a file they last as long as the layer.

Source: poison messages and their dead-letter queues, as in Amazon SQS (``maxReceiveCount``).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tandem_orchestrator.layers.layer import Report, Work
from tandem_orchestrator.layers.native import codec
from tandem_orchestrator.layers.native.reports import CRASHED
from tandem_orchestrator.model.events import SegmentRow
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.plans import PlannedStep
from tandem_orchestrator.side_file import SideFile

_log = logging.getLogger(__name__)

CRASHES_MAX = 3
"""Crashes of one input until it is refused, where nothing else is said."""
ENTRIES_MAX = 1024
"""Inputs that are remembered; the one that crashed longest ago goes first."""
KIND = "tandem quarantine"
"""What the file says that it is."""
DIGEST_CHARS_MIN = 8
"""Shortest beginning of a digest by which an input may be released."""


class Suspect(msgspec.Struct, kw_only=True):
    """One input after which its host died."""

    digest: str
    """SHA-256 of agent, action, version, payload and inputs in canonical form; 64 hex digits."""
    agent: str
    action: str
    version: str
    crashes: int
    """Since its last success."""
    last_at_s: float
    """Wall time of the last crash, seconds since the epoch."""
    last_words: str
    """The failure's message, which names the signal and gives a hint."""


class Quarantine:
    """Count crashes by input, and say which input must not start again.

    Args:
        crashes_max: Crashes of one input until it is refused; 0: never refuse.
        path: Where the counts are kept; None: in memory only.
        wall_s: Gives the wall time in seconds.
    """

    def __init__(self, crashes_max: int, path: Path | None, wall_s: Callable[[], float]) -> None:
        self.crashes_max = crashes_max
        self._file: SideFile[list[Suspect]] = SideFile(path, KIND, list[Suspect])
        self._wall_s = wall_s
        self._suspects: dict[str, Suspect] = {}
        self._named: frozenset[tuple[str, str]] = frozenset()
        self._watched: set[tuple[str, str]] = set()
        self._stamp: tuple[int, int, int] | None = None

    def refusal(self, work: Work, version: str) -> Report | None:
        """Give the report of an input that must not start; None for any other."""
        suspect = self._suspect(work, version)
        if suspect is None or not self._is_held(suspect):
            return None
        text = (
            f"{work.agent}.{work.action}: this input (sha256 {suspect.digest}) crashed its host "
            f"{suspect.crashes} times and is quarantined; release it by "
            f"`tandem agent release {suspect.digest[:16]}`. Last crash: {suspect.last_words}"
        )
        return Report(Outcome.FAILED, failure=Failure("Quarantined", text))

    def note(self, work: Work, version: str, report: Report) -> None:
        """Learn from an attempt that ended: a crash counts, a success clears."""
        if report.failure is not None and report.failure.type == CRASHED:
            self._note_crash(work, version, report.failure.message)
        elif report.outcome is Outcome.SUCCEEDED and (work.agent, work.action) in self._named:
            suspect = self._suspect(work, version)
            if suspect is not None:
                with self._changing():
                    self._suspects.pop(suspect.digest, None)

    def watches(self, steps: Iterable[PlannedStep], *, looks: bool = True) -> bool:
        """Whether an action of these steps has crashed a host: then each runs by itself.

        ``looks``: at the file, for what other processes learned; else this one's knowledge does.
        """
        if looks:
            self._refresh()
        if not self._named and not self._watched:
            return False
        known = self._named | self._watched
        return any((step.agent, step.action) in known for step in steps)

    def watch(self, steps: Sequence[PlannedStep], rows: Sequence[SegmentRow]) -> None:
        """Learn from a segment: whose step crashed runs by itself from now on, and is counted."""
        for step, row in zip(steps, rows, strict=True):
            if row.failure is not None and row.failure.get("type") == CRASHED:
                self._watched.add((step.agent, step.action))

    def watch_action(self, agent: str, action: str) -> None:
        """Learn from a message that crashed a host: the next ones are counted by their input."""
        self._watched.add((agent, action))

    def watches_action(self, agent: str, action: str) -> bool:
        """Whether an action is known to have crashed a host, here or in another process."""
        self._refresh()
        return (agent, action) in self._watched or (agent, action) in self._named

    def held(self) -> tuple[Suspect, ...]:
        """List the inputs that are refused, the last to crash first."""
        self._refresh()
        held = filter(self._is_held, self._suspects.values())
        return tuple(sorted(held, key=lambda suspect: -suspect.last_at_s))

    def release(self, digest: str) -> int:
        """Let inputs start again; ``digest`` may be its first eight digits or more.

        Returns: How many were released.
        """
        if len(digest) < DIGEST_CHARS_MIN:
            raise ValueError(f"digest={digest!r}: give at least {DIGEST_CHARS_MIN} digits")
        with self._changing():
            found = [
                suspect.digest
                for suspect in self._suspects.values()
                if suspect.digest.startswith(digest.lower()) and self._is_held(suspect)
            ]
            for name in found:
                del self._suspects[name]
        return len(found)

    def _is_held(self, suspect: Suspect) -> bool:
        return 0 < self.crashes_max <= suspect.crashes

    def _suspect(self, work: Work, version: str) -> Suspect | None:
        self._refresh()
        if (work.agent, work.action) not in self._named:
            return None
        return self._suspects.get(digest_of(work, version))

    def _note_crash(self, work: Work, version: str, words: str) -> None:
        digest = digest_of(work, version)
        with self._changing():
            before = self._suspects.pop(digest, None)
            crashes = 1 if before is None else before.crashes + 1
            self._suspects[digest] = suspect = Suspect(
                digest=digest,
                agent=work.agent,
                action=work.action,
                version=version,
                crashes=crashes,
                last_at_s=self._wall_s(),
                last_words=words[:1000],
            )
            while len(self._suspects) > ENTRIES_MAX:
                del self._suspects[next(iter(self._suspects))]
        if crashes == self.crashes_max:
            _log.warning(
                "%s.%s: input sha256 %s crashed its host %d times and is quarantined",
                suspect.agent, suspect.action, digest, crashes,
            )  # fmt: skip

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the file, so that what another process counted is not lost.

        A file that cannot be had is said, and the count is kept in memory: it must not cost the
        attempt that is being reported.
        """
        with self._file.locked() as is_held:
            if is_held:
                self._refresh()
            yield
            self._index()
            if is_held and self._file.write(list(self._suspects.values())):
                self._stamp = self._file.stamp()

    def _refresh(self) -> None:
        """Read the file again if it is another one."""
        stamp = self._file.stamp()
        if stamp == self._stamp or self._file.path is None:
            return
        self._stamp, kept = stamp, self._file.read() or []
        self._suspects = {suspect.digest: suspect for suspect in kept[-ENTRIES_MAX:]}
        self._index()

    def _index(self) -> None:
        self._named = frozenset((one.agent, one.action) for one in self._suspects.values())


def digest_of(work: Work, version: str) -> str:
    """Name an input: equal agent, action, version, payload and inputs give equal digests."""
    named = [work.agent, work.action, version, work.payload, dict(work.inputs)]
    return hashlib.sha256(codec.canonical(named)).hexdigest()
