"""Entries: events encoded once, at the moment of the append, so that they cannot change later."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tandem_orchestrator.errors import NotAValue
from tandem_orchestrator.journal.chain import PLAIN_VERSION, RECORD_VERSION
from tandem_orchestrator.journal.journal import Bounds, Record
from tandem_orchestrator.journal.parts import Load, Part, decode_body, without_parts
from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    Event,
    SegmentEnded,
    SegmentStarted,
    encode_event,
    kind_of,
    unit_of,
)

COMPLETIONS = frozenset(
    {kind_of(AttemptEnded(step="", outcome="")), kind_of(SegmentEnded(segment=0, rows=()))}
)
"""The kinds of records that are unique per run, unit and attempt."""


_ATTEMPTS = (AttemptStarted, AttemptEnded, SegmentStarted, SegmentEnded)


class Entry(msgspec.Struct, frozen=True):
    """One event with what the journal knows about it, and its encoded body."""

    event: Event
    kind: str
    unit: str | None
    attempt: int | None
    at_ns: int
    body: bytes
    parts: tuple[Part, ...] = ()
    """What the body names by its hash instead of holding it."""
    has_parts: bool = False
    """Whether the body names any; they may be kept elsewhere by now."""

    @property
    def version(self) -> int:
        """The record's version."""
        return RECORD_VERSION if self.has_parts else PLAIN_VERSION

    def without_parts(self) -> Entry:
        """Give it as it is once its parts are kept elsewhere: the event names them, too."""
        if not self.has_parts:
            return self
        event = decode_body(self.body, has_parts=True, load=None)
        return msgspec.structs.replace(self, event=event, parts=())

    def record(self, run_id: str, seq: int, load: Load) -> Record:
        """Decode it where it stands; ``load`` gives the parts that it names."""
        event = decode_body(self.body, has_parts=self.has_parts, load=load)
        return Record(seq, run_id, self.kind, self.unit, self.attempt, self.at_ns, event)


def entries_of(run_id: str, events: Sequence[AnyEvent], bounds: Bounds) -> list[Entry]:
    """Encode events.

    Raises: NotAValue naming run and event if one holds what cannot be encoded, or is too large.
    """
    return [_entry_of(run_id, event, bounds) for event in events]


def parts_of(entries: Sequence[Entry]) -> list[Part]:
    """Give all parts that entries still hold, each once."""
    if not any(entry.has_parts for entry in entries):
        return []
    return list({part.digest: part for entry in entries for part in entry.parts}.values())


def _entry_of(run_id: str, event: AnyEvent, bounds: Bounds) -> Entry:
    kind = kind_of(event)
    try:
        body = encode_event(event)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise NotAValue(f"run {run_id}: {_name(event, kind)} cannot be journaled: {error}") from (
            error
        )
    if len(body) > bounds.event_bytes_max:
        raise NotAValue(
            f"run {run_id}: {_name(event, kind)} has {len(body)} bytes, "
            f"at most {bounds.event_bytes_max} (event_bytes_max) can be journaled"
        )
    parts: tuple[Part, ...] = ()
    if len(body) > bounds.inline_bytes_max:
        body, parts = without_parts(event, bounds.inline_bytes_max)
    attempt = event.attempt if isinstance(event, _ATTEMPTS) else None
    return Entry(event, kind, unit_of(event), attempt, event.at_ns, body, parts, bool(parts))


def _name(event: AnyEvent, kind: str) -> str:
    step = getattr(event, "step", None)
    return f"{kind} of step '{step}'" if step else kind
