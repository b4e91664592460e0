"""The seam: what the engine, the observers and the doors ask of any journal.

An append is a promise with a receipt. ``append`` only queues (it never blocks the loop and keeps
the order of calls); the ticket it gives back says when the events are durable, or why they never
will be. A run belongs to the owner that accepted it, and only that owner may append to it: each
insert is fenced by the owner's lease, in the statement that inserts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec

from tandem_orchestrator.errors import JournalError, NotAValue
from tandem_orchestrator.model.events import AnyEvent

_T = TypeVar("_T")
_sorted = msgspec.msgpack.Encoder(order="sorted")

RETRY = "retry"
"""The kind of control that may be asked of a run that has ended."""
DURABILITIES = ("sync", "group", "async", "none")
"""What a command set may ask for, strongest first."""


class KeyTaken(JournalError):
    """An idempotency key is in use already: nothing of this run was written."""

    def __init__(self, key: str, run_id: str, digest: str) -> None:
        super().__init__(f"idempotency key '{key}' belongs to run {run_id}")
        self.key = key
        self.run_id = run_id
        self.digest = digest
        """Digest of the request that used the key first; compare with ``request_digest``."""


class OwnerChanged(JournalError):
    """A run that is not ours: nothing was written, and nothing more will be for it."""

    def __init__(self, run_id: str, owner: str | None) -> None:
        held = f"belongs to owner {owner}" if owner is not None else "is not in this journal"
        super().__init__(f"run {run_id} {held}; this journal may not append to it")
        self.run_id = run_id
        self.owner = owner


class CompletionTaken(JournalError):
    """A unit's attempt has its one recorded completion already: nothing was written."""

    def __init__(self, run_id: str, unit: str, attempt: int) -> None:
        super().__init__(f"run {run_id}: {unit} attempt {attempt} has ended already")
        self.run_id = run_id
        self.unit = unit
        self.attempt = attempt


class OutputLost(JournalError):
    """A large output that a record names is missing, damaged or unreadable; nothing replaces it."""

    def __init__(self, path: Path, digest: bytes, what: str, where: str = "") -> None:
        named = f"{where}: " if where else ""
        super().__init__(f"{named}the output in {path} {what}")
        self.path = path
        self.digest = digest
        """SHA-256 of the bytes that were written, and the file's name."""
        self.what = what

    def named_by(self, where: str) -> OutputLost:
        """Give the same error with the record that needs the output."""
        return OutputLost(self.path, self.digest, self.what, where)


class Ticket(Protocol):
    """The receipt of one append."""

    async def durable(self) -> None:
        """Wait until the events are as durable as was asked for.

        Under ``async`` and ``none`` it returns at once, except that an accepted run with an
        idempotency key waits for the answer whether the key was free.

        Raises: JournalError if they could not be written (or if nobody knows: open again and
            read); its subclasses if they were refused.
        """


@dataclass(frozen=True, slots=True)
class Record:
    """One event where it stands in its run."""

    seq: int
    """Position in the run: 1, 2, 3, … without gaps."""
    run_id: str
    kind: str
    unit: str | None
    """``step[item]/implementation`` for attempts, else None."""
    attempt: int | None
    at_ns: int
    """Wall clock of the event, nanoseconds since the epoch."""
    event: AnyEvent


Chooser = Callable[[Record], _T | None]
"""What ``find`` asks of each record: None leaves it out."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as ``runs list`` shows it; kept up to date with the events, in one transaction."""

    run_id: str
    command_set_id: str
    name: str
    type: str
    mode: str
    priority: str
    durability: str
    status: str
    """A ``RunStatus`` value; ``interrupted`` where the owner is dead and the run has not ended."""
    created_at_ns: int
    started_at_ns: int | None
    finished_at_ns: int | None
    duration: float | None
    """Seconds, None until it ended."""
    steps_total: int
    steps_done: int
    waiting_for: tuple[str, ...]
    owner: str
    resumable: bool
    records: int = 0
    """Seq of the newest record."""

    def to_value(self) -> dict[str, Any]:
        """Give the keys that ``runs list --json`` pins; times as RFC 3339 text, UTC."""
        return {
            "run_id": self.run_id,
            "command_set_id": self.command_set_id,
            "name": self.name,
            "type": self.type,
            "mode": self.mode,
            "priority": self.priority,
            "durability": self.durability,
            "status": self.status,
            "created_at": rfc3339(self.created_at_ns),
            "started_at": rfc3339(self.started_at_ns),
            "finished_at": rfc3339(self.finished_at_ns),
            "duration": self.duration,
            "steps_total": self.steps_total,
            "steps_done": self.steps_done,
            "waiting_for": list(self.waiting_for),
            "owner": self.owner,
            "resumable": self.resumable,
        }


def rfc3339(at_ns: int | None) -> str | None:
    """Show nanoseconds since the epoch as RFC 3339 text, UTC, to the microsecond."""
    if at_ns is None:
        return None
    seconds, rest_ns = divmod(at_ns, 1_000_000_000)
    at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Control:
    """A wish about a run, from this process or another one."""

    id: str
    """Made by the asker; asking twice with one id is asking once."""
    run_id: str
    kind: str
    """``cancel | pause | continue | approve | signal | retry | resolve | …``."""
    # Any: what the kind needs, as a value.
    body: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    """Who asked, for people."""
    at_ns: int = 0
    answer: str | None = None
    """What the owner said when it took the wish up; None until then."""

    def encoded_body(self) -> bytes:
        """Encode the body as MessagePack, keys sorted. Raises: NotAValue naming the control."""
        try:
            return _sorted.encode(dict(self.body))
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise NotAValue(f"control '{self.id}' cannot be journaled: {error}") from error

    def asks_the_same_as(self, other: Control) -> bool:
        """Tell whether both ask for the same thing, whoever asks and whenever."""
        mine = (self.run_id, self.kind, self.encoded_body())
        return mine == (other.run_id, other.kind, other.encoded_body())


@dataclass(frozen=True, slots=True)
class Owner:
    """One orchestrator that holds, or held, a lease."""

    id: str
    token: int
    """Fencing token: grows with every lease that is given."""
    pid: int
    host: str
    since_ns: int
    alive: bool


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """One schedule as the journal keeps it; what its body means is its author's business."""

    name: str
    # Any: values of any kind.
    body: Mapping[str, Any]
    done_ns: int
    """The newest occurrence that was decided; those after it are to come."""
    last_run: str | None = None
    """The newest run that it started."""
    fired: int = 0
    """Occurrences that became runs."""
    left_out: int = 0
    """Occurrences that did not, as its policies say."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Where an idempotency key was used."""

    run_id: str
    digest: str
    """``request_digest`` of the request that used it."""


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """How the journal is; false when it does not acknowledge."""

    ok: bool
    reason: str
    """One line; empty when ok."""
    kind: str
    """``sqlite | postgres | memory``."""
    path: str | None
    owner: str | None
    backlog_events: int = 0
    """Appended and not yet written."""
    backlog_bytes: int = 0
    backlog_events_max: int = 0
    backlog_bytes_max: int = 0
    commits_total: int = 0
    events_total: int = 0
    refused_total: int = 0
    """Appends refused one by one: keys and completions taken, owners changed."""
    commit_seconds_p50: float = 0.0
    """Of the last 256 commits: what a caller pays for ``sync`` and ``group``."""
    commit_seconds_max: float = 0.0
    outputs_files: int = 0
    """Large outputs that records name, each counted once; of other processes' as of the last look."""
    outputs_bytes: int = 0

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a journal holds back and in memory; reaching one is ``Busy``."""

    backlog_events_max: int = 65_536
    """Appended and not yet written."""
    backlog_bytes_max: int = 64 * 2**20
    event_bytes_max: int = 128 * 2**20
    """One encoded event; more is ``NotAValue``."""
    inline_bytes_max: int = 2**20
    """One value inside an event; a larger one is kept apart, once, under the hash of its bytes."""
    commit_events_max: int = 256
    """Gathered into one transaction (one append is never split)."""
    sync_interval_ms: float = 10.0
    """How long ``async`` events may wait for company before they are written."""
    lock_wait_s: float = 30.0
    """How long one transaction waits for other processes; longer is a failed write."""
    memory_runs_max: int = 1_000
    """Ended runs kept where durability is ``none``; the oldest go first."""
    memory_bytes_max: int = 256 * 2**20
    """Encoded events kept where durability is ``none``."""
    poll_interval_ms: float = 100.0
    """How often others' writes are looked for while following or waiting for controls."""


class EndedRun(Protocol):
    """A run that has ended, and can still tell how."""

    def events(self, run_id: str) -> Sequence[AnyEvent]:
        """Make all of its events."""


@runtime_checkable
class LosesRuns(Protocol):
    """A journal that may go on without some of its runs, as after a disk that was full."""

    def use_lost(self, lost: Callable[[frozenset[str]], None]) -> None:
        """Have ``lost`` told, on the loop, of runs that this owner has no more.

        Something was appended to them in vain. It is told before anybody can take them over.
        """


class Journal(Protocol):
    """Where events go and come back from. All calls belong to the loop that opened it."""

    async def open(self, owner: str | None) -> None:
        """Take the lease as ``owner`` (an id, new each time); None comes to read and ask only.

        Raises: JournalError naming the file and what to do.
        """

    async def close(self) -> None:
        """Write what is queued and give the lease back. Safe to repeat, and after a failure."""

    def append(self, run_id: str, events: Sequence[AnyEvent], durability: str) -> Ticket:
        """Queue events of one run, to be written all or none, in the order of calls.

        The first event of a run is ``RunAccepted``. Events are encoded here, so that later
        changes to what they hold do not matter.

        Raises: Busy naming the bound, and nothing was queued: ``flush()``, then repeat.
            NotAValue if an event cannot be encoded or is too large.
        """

    def remember(self, run_id: str, run: EndedRun, body_bytes: int) -> None:
        """Keep a whole run of durability ``none`` that has ended, as ``append`` would.

        Its events are made when somebody reads them; until then it counts ``body_bytes``.
        """

    async def flush(self) -> None:
        """Wait until all that was appended so far is written (``async`` too) or refused."""

    async def records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[Record]:
        """Read written records in order, from ``after + 1``; checked against their hash chain."""

    async def follow(
        self, run_id: str, *, after: int = 0, limit: int = 1000, timeout_s: float = 1.0
    ) -> list[Record]:
        """Wait for records after ``after``, also other processes'; empty after ``timeout_s``."""

    async def find(
        self, kind: str, choose: Chooser[_T], *, run_id: str | None = None, limit: int = 100
    ) -> list[_T]:
        """Look through the records of one kind, newest first, of all runs or of one.

        Gives what ``choose`` makes of them, None left out, until there are ``limit``. It may be
        called on another thread. Takes as long as a walk over the file; chains are not checked.
        """

    async def run(self, run_id: str) -> RunRow | None:
        """Read one run's row, or None."""

    async def runs(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[RunRow]:
        """List runs, newest first; ``before`` is the run id to go on after."""

    async def adopt(self, run_id: str, *, ended: bool = False) -> bool:
        """Take over a run that has not ended and whose owner is dead; False if it was not so.

        ``ended``: one that has ended, whoever owned it, so that it can go on.
        """

    async def wait_for(self, run_id: str, waiting_for: Sequence[str]) -> bool:
        """Note what an interrupted run waits for, for ``runs list``; False if it is not so any more."""

    async def request(self, control: Control) -> None:
        """Ask something of a run's owner; durable on return.

        Raises: CommandError if there is no such run or it has ended (``RETRY`` may be asked then).
            IdempotencyMismatch if the
            id was used for another wish.
        """

    async def controls(self, *, wait_s: float = 0.0) -> list[Control]:
        """Read the wishes that wait for this owner, oldest first; wait up to ``wait_s`` for one."""

    async def answer(self, control_id: str, text: str) -> None:
        """Acknowledge a wish: it is not given out again. Repeating keeps the first answer."""

    async def control(self, control_id: str) -> Control | None:
        """Read one wish back, with its answer if it has one."""

    async def owners(self) -> list[Owner]:
        """List who holds or held a lease and still has runs that have not ended."""

    def is_alive(self, owner: str) -> bool:
        """Tell whether an owner's lease is held at this moment. Takes microseconds."""

    async def find_by_idempotency_key(self, key: str) -> KeyUse | None:
        """Find the run that was accepted with a key."""

    async def remove_runs(
        self, *, before_ns: int | None = None, bytes_max: int | None = None, runs_max: int = 32
    ) -> int:
        """Remove finished runs, oldest end first, in one short transaction; gives how many.

        One goes if it ended before ``before_ns``, or while more than ``bytes_max`` are in use. Its
        records, wishes and idempotency key go with it. Call it again until it gives 0.
        """

    async def remove_outputs(self, *, grace_s: float = 60.0) -> int:
        """Remove large outputs that no record names any more, or never did; gives how many.

        ``grace_s``: those that were written, or needed, less than that long ago are left for later.
        One that a record is about to name stays, or is there again before that record is.
        """

    async def put_schedule(self, name: str, body: Mapping[str, Any], done_ns: int) -> bool:
        """Keep a schedule whose occurrences after ``done_ns`` count; False if it is there like that.

        One of this name with another body is replaced; ``done_ns`` of it never goes back.

        Raises: NotAValue if the body cannot be kept.
        """

    async def remove_schedule(self, name: str) -> bool:
        """Drop a schedule; False if there is none. Its runs stay."""

    async def schedules(self) -> list[ScheduleRow]:
        """List all schedules by name."""

    async def claim_occurrence(self, name: str, *, done_ns: int, at_ns: int) -> bool:
        """Take it on to decide the occurrence ``at_ns`` of a schedule, seen with ``done_ns``.

        One statement: True for one owner only, and for another one when that is dead.
        """

    async def settle_occurrence(
        self, name: str, *, at_ns: int, run_id: str | None = None, left_out: int = 0
    ) -> bool:
        """Note that a claimed occurrence is decided: it became ``run_id``, or nothing.

        ``left_out`` counts what did not become a run. False if the claim is not ours any more.
        """

    async def check(self) -> list[str]:
        """Verify everything; returns one line per fault, none if all is well."""

    def health(self) -> JournalHealth:
        """Say how it is, from memory: no disk is touched."""


# Any: values of any kind.
def encoded_schedule(name: str, body: Mapping[str, Any]) -> bytes:
    """Encode a schedule's body as MessagePack, keys sorted. Raises: NotAValue naming it."""
    try:
        return _sorted.encode(dict(body))
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise NotAValue(f"schedule '{name}' cannot be journaled: {error}") from error


def schedule_key(name: str, at_ns: int) -> str:
    """Give the idempotency key of the run of one occurrence: ``schedule/NAME/TIME``."""
    return f"schedule/{name}/{rfc3339(at_ns)}"


def request_digest(document: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Digest what was asked for: 64 hex digits, equal for equal requests.

    The set's own ``id`` does not count: it is made up anew when a file is read twice.
    """
    asked = {key: value for key, value in document.items() if key != "id"}
    body = _sorted.encode([asked, dict(inputs)])
    return hashlib.blake2b(body, digest_size=32).hexdigest()
