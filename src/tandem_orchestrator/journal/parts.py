"""Parts: values over 1 MiB that leave their event's body and are named there by their hash.

A part is the smallest such value: of a list of large items each item is one, and the list itself
only if it is large without them. So what is recorded again (an attempt's output as its step's, an
item inside its list, a step that a fork takes over) names the bytes that are kept already. What
stands in a part's place is a MessagePack extension, which no value can hold, so that nothing that
a handler returns looks like one. Parts may name parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from tandem_orchestrator.model.events import AnyEvent, Event, decode_event, event_decoder

DIGEST_BYTES = 32
_EXTENSION = 0x74
_NAME_BYTES = DIGEST_BYTES + 8
_encode = msgspec.msgpack.Encoder().encode

Load = Callable[[bytes, int], bytes]
"""Gives the bytes of the part with this digest and size. Raises: OutputLost."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """A value of its own, encoded as MessagePack."""

    digest: bytes
    """SHA-256 of ``body``."""
    body: bytes

    @property
    def name(self) -> str:
        """Its digest in hexadecimal, as ``sha256sum`` prints it."""
        return self.digest.hex()


def part_of(body: bytes) -> Part:
    """Name bytes by their hash."""
    return Part(hashlib.sha256(body).digest(), body)


def without_parts(event: Event, inline_bytes_max: int) -> tuple[bytes, tuple[Part, ...]]:
    """Encode an event without its values of more than ``inline_bytes_max`` bytes; gives both.

    The event is left as it is. Costs the encoding of what is large a few times over; call it only
    for an event whose body is larger than that.
    """
    cutter = _Cutter(inline_bytes_max)
    body = _encode(cutter.event(event))
    return body, tuple(cutter.parts.values())


class _Cutter:
    def __init__(self, inline_bytes_max: int) -> None:
        self._inline_bytes_max = inline_bytes_max
        self.parts: dict[bytes, Part] = {}

    def event(self, event: Event) -> Event:
        """Give a copy of an event, or of a part of one, that names what was cut out."""
        changed = {}
        for name in event.__struct_fields__:
            value = getattr(event, name)
            cut = self._field(name, value)
            if cut is not value:
                changed[name] = cut
        return msgspec.structs.replace(event, **changed) if changed else event

    # Any: fields of every kind; what may stand in each is told by ``events.py``.
    def _field(self, name: str, value: Any) -> Any:
        if name in ("output", "payload"):
            return self._cut(value)
        if isinstance(value, dict) and name != "implementations":
            return self._inside(value)  # a field that is a dict stays one
        if isinstance(value, list | tuple):
            if value and isinstance(value[0], msgspec.Struct):
                return type(value)(self.event(each) for each in value)
            if name == "conflicts":
                return type(value)(
                    self._inside(each) if isinstance(each, dict) else each for each in value
                )
        return value

    # Any: any value.
    def _cut(self, value: Any) -> Any:
        """Give a value with its large parts cut out, or what names it where it is large itself."""
        body = _encode(value)
        if len(body) <= self._inline_bytes_max:
            return value
        if isinstance(value, dict | list | tuple):
            value = self._inside(value)
            body = _encode(value)
            if len(body) <= self._inline_bytes_max:
                return value
        part = part_of(body)
        self.parts.setdefault(part.digest, part)
        name = part.digest + len(body).to_bytes(8, "big")
        return msgspec.msgpack.Ext(_EXTENSION, name)

    def _inside(self, value: Any) -> Any:
        """Give a container whose large parts are cut out; the same one if it has none."""
        is_dict = isinstance(value, dict)
        children = list(value.values()) if is_dict else list(value)
        large = list(self._large(children))
        if not large:
            return value
        for at in large:
            children[at] = self._cut(children[at])
        return dict(zip(value, children, strict=True)) if is_dict else children

    def _large(self, children: Sequence[Any]) -> Iterator[int]:
        """Find those whose encoding is large, by halves: most are small, and told so together."""
        ranges = [(0, len(children))]
        while ranges:
            first, end = ranges.pop()
            if end == first or len(_encode(children[first:end])) <= self._inline_bytes_max:
                continue
            if end - first == 1:
                yield first
                continue
            middle = (first + end) // 2
            ranges += ((first, middle), (middle, end))


class WithParts:
    """Decodes bodies that name parts.

    Args:
        load: Gives the bytes of each part; None leaves what names it in its place (an
            ``msgspec.msgpack.Ext``), for those who need the rest only.
    """

    def __init__(self, load: Load | None) -> None:
        self._load = load
        self.met: dict[bytes, int] = {}
        """Digest to size of each part that was met; of those inside parts only where they load."""
        self._event = event_decoder(self._part)
        self._value = msgspec.msgpack.Decoder(ext_hook=self._part)

    def decode(self, body: bytes) -> AnyEvent:
        """Decode one event. Raises: what ``load`` does, and as ``decode_event``."""
        return self._event.decode(body)

    # Any: any value.
    def _part(self, code: int, name: memoryview) -> Any:
        if code != _EXTENSION or len(name) != _NAME_BYTES:
            raise ValueError(f"an extension of type {code} with {len(name)} bytes is none of ours")
        digest = bytes(name[:DIGEST_BYTES])
        body_bytes = int.from_bytes(name[DIGEST_BYTES:], "big")
        self.met[digest] = body_bytes
        if self._load is None:
            return msgspec.msgpack.Ext(code, bytes(name))
        return self._value.decode(self._load(digest, body_bytes))


def decode_body(body: bytes, *, has_parts: bool, load: Load | None) -> AnyEvent:
    """Decode one event, with its parts where it names any."""
    return WithParts(load).decode(body) if has_parts else decode_event(body)
