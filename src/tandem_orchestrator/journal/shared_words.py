"""Words that the records of a long run have in common: in memory once, not once for each record.

A run of 100,000 items has 200,000 records that name the same step, layer and reason. Decoded one by
one, each has words of its own, some 350 bytes of them.
"""

from __future__ import annotations

from msgspec.structs import force_setattr

from tandem_orchestrator.model.events import AnyEvent, AttemptEnded, AttemptStarted

LONG_RUN = 1_000
"""Records from which on it is worth the time, about 1 µs for each."""
WORDS_MAX = 4_096
"""Different words that are remembered; what comes after them has its own."""
_FIELDS = {
    AttemptStarted: ("step", "implementation", "layer", "effects", "reason"),
    AttemptEnded: ("step", "implementation", "layer", "outcome"),
}


class SharedWords:
    """The words of one run that have been met so far."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def word(self, word: str) -> str:
        """Give an equal word that others have, too."""
        words = self._words
        if len(words) >= WORDS_MAX:
            return words.get(word, word)
        return words.setdefault(word, word)

    def share(self, event: AnyEvent) -> None:
        """Have a fresh event, which nobody else has seen yet, use the words of others."""
        for name in _FIELDS.get(type(event), ()):
            # Frozen for its readers, of whom there is none yet; the value stays equal.
            force_setattr(event, name, self.word(getattr(event, name)))
