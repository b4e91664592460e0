"""The cache of outputs: what a deterministic action gave once, it need not work out again.

Only for actions declared ``deterministic=True`` whose effects are ``none``: an idempotent action may
be asked to do again what another one undid meanwhile. Keys are digests of what an output depends
on, and name the build, so that a handler defined anew or a restarted bridge never meets an old
output. Outputs are kept encoded: nobody can change one, and their bytes are counted as they are.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import msgspec

from tandem_orchestrator.layers import Work

ENTRY_OVERHEAD_BYTES = 400
"""What an entry is taken to cost beside its output."""
SHARE_MAX = 8
"""One output may take the eighth part of the cache."""
PAYLOAD_BYTES_MAX = 2**20
"""Work with more payload and inputs than this is not looked up: the digest would keep the loop."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What the cache holds and what it was good for."""

    entries: int
    bytes: int
    """Of the outputs, encoded, and of what an entry costs beside."""
    hits: int
    """Attempts that were answered from the cache."""
    misses: int
    """Attempts that might have been, and ran."""
    evicted: int
    """Entries that had to go for others."""
    too_large: int
    """Attempts whose payload or output was too large to keep."""
    entries_max: int
    """``python_layer.cache_size``."""
    bytes_max: int
    """``python_layer.cache_bytes``."""


class Bounds(NamedTuple):
    """How much may be kept."""

    entries: int
    bytes: int


class OutputCache:
    """Outputs by what they depend on; the one used longest ago goes first. Any thread may use it.

    Args:
        bounds: Gives the bounds of this moment; 0 entries or bytes: the cache is off.
    """

    def __init__(self, bounds: Callable[[], Bounds]) -> None:
        self._bounds = bounds
        self._outputs: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._evicted = self._too_large = 0
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget every output; the counters go on."""
        with self._lock:
            self._outputs.clear()
            self._bytes = 0

    def stats(self) -> CacheStats:
        """Count what is kept, and how often it helped."""
        bounds = self._bounds()
        with self._lock:
            return CacheStats(
                len(self._outputs),
                self._bytes,
                self._hits,
                self._misses,
                self._evicted,
                self._too_large,
                bounds.entries,
                bounds.bytes,
            )

    # Any: numbers.
    def metrics(self) -> dict[str, Any]:
        """Give ``stats`` as a table."""
        return asdict(self.stats())

    def key_of(self, work: Work, build: Hashable, *, with_inputs: bool) -> Hashable | None:
        """Give what an output is known by; None where it cannot be kept.

        Args:
            build: Tells one build of the implementation from another.
            with_inputs: Whether it can see the outputs of the steps it depends on.
        """
        bounds = self._bounds()
        if not bounds.entries or not bounds.bytes:
            return None
        inputs = dict(work.inputs) if with_inputs else None
        # Sorted keys: two dicts with the same content are the same payload. 1, 1.0 and True are
        # not, and neither are 0.0 and -0.0: their bytes differ.
        body = msgspec.msgpack.encode((work.payload, inputs), order="deterministic")
        if len(body) > PAYLOAD_BYTES_MAX:
            with self._lock:
                self._too_large += 1
            return None
        digest = hashlib.blake2b(body, digest_size=32).digest()
        return (work.agent, work.action, work.implementation, work.version, build, digest)

    # Any: an output is any plain value.
    def find(self, key: Hashable) -> tuple[Any] | None:
        """Find an output, as a new copy in a tuple of its own; None if there is none."""
        with self._lock:
            body = self._outputs.get(key)
            if body is None:
                self._misses += 1
                return None
            self._hits += 1
            self._outputs.move_to_end(key)
        return (msgspec.msgpack.decode(body),)

    # Any: an output is any plain value.
    def keep(self, key: Hashable, output: Any) -> None:
        """Keep an output, and let go of others if there is no room."""
        bounds, body = self._bounds(), msgspec.msgpack.encode(output)
        size = _size(body)
        with self._lock:
            if size > bounds.bytes // SHARE_MAX:
                self._too_large += 1
                return
            known = self._outputs.pop(key, None)
            if known is not None:
                self._bytes -= _size(known)
            self._outputs[key] = body
            self._bytes += size
            while len(self._outputs) > bounds.entries or self._bytes > bounds.bytes:
                self._bytes -= _size(self._outputs.popitem(last=False)[1])
                self._evicted += 1


def _size(body: bytes) -> int:
    return len(body) + ENTRY_OVERHEAD_BYTES
