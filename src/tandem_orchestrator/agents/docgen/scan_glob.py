"""Match one glob as git's ``wildmatch`` does, in time linear in the text.

Git backtracks: a pattern of many stars can take exponential time. Here a pattern becomes a
row of positions, a set of positions is one integer, and each byte of the text costs a few
operations on it (the "shift-and" method), whatever the pattern says. The C layer runs the
same automaton (``native/agents/docgen_scan_glob.c``), so both cannot differ in kind.

Source: git 2.39, ``wildmatch.c``; R. Baeza-Yates and G. Gonnet, "A New Approach to Text
Searching", CACM 35(10), 1992.
"""

from __future__ import annotations

from collections.abc import Callable

_SLASH = 0x2F
_BACKSLASH = 0x5C
_STAR, _QUESTION, _OPEN, _CLOSE = 0x2A, 0x3F, 0x5B, 0x5D
_ALL_BYTES = (1 << 256) - 1


def _set_of(holds: Callable[[int], bool]) -> int:
    """Return the 256-bit set of the ASCII bytes for which ``holds`` is true."""
    return sum(1 << byte for byte in range(128) if holds(byte))


# Git's own classes: ASCII only, and white space is just these four bytes.
_SPACE = b" \t\n\r"
_CLASSES = {
    b"alnum": _set_of(lambda c: chr(c).isalnum()),
    b"alpha": _set_of(lambda c: chr(c).isalpha()),
    b"blank": _set_of(lambda c: c in b" \t"),
    b"cntrl": _set_of(lambda c: c < 0x20 or c == 0x7F),
    b"digit": _set_of(lambda c: chr(c).isdigit()),
    b"graph": _set_of(lambda c: 0x21 <= c <= 0x7E),
    b"lower": _set_of(lambda c: chr(c).islower()),
    b"print": _set_of(lambda c: 0x20 <= c <= 0x7E),
    b"punct": _set_of(lambda c: 0x21 <= c <= 0x7E and not chr(c).isalnum()),
    b"space": _set_of(lambda c: c in _SPACE),
    b"upper": _set_of(lambda c: chr(c).isupper()),
    b"xdigit": _set_of(lambda c: c in b"0123456789abcdefABCDEF"),
}


class MalformedGlob(ValueError):
    """The pattern can match nothing: an open bracket, an unknown class, a lone backslash."""


class Glob:
    """One compiled pattern; immutable apart from a cache, so safe to share between threads."""

    __slots__ = ("_any", "_cache", "_classes", "_final", "_literals", "_loop_all",
                 "_loop_segment", "_pathname", "_skips")  # fmt: skip

    def __init__(self, pattern: bytes, *, pathname: bool) -> None:
        """Compile ``pattern``.

        Args:
            pattern: The glob, without NUL bytes.
            pathname: True if "*", "?" and "[...]" must not match "/" and "**" has its meaning.

        Raises: MalformedGlob if it can match nothing.
        """
        self._pathname = pathname
        self._literals: dict[int, int] = {}
        self._classes: list[tuple[int, int]] = []
        self._any = 0
        self._loop_all = self._loop_segment = self._skips = 0
        self._cache: dict[int, int] = {}
        self._final = 1 << self._compile(pattern)

    def matches(self, text: bytes) -> bool:
        """Tell whether the whole of ``text`` matches; O(bytes of text * bytes of pattern / 64)."""
        skips, loop_all = self._skips, self._loop_all
        loop_in_segment = loop_all | self._loop_segment
        cache = self._cache
        states = 1 | ((1 & skips) << 1)
        for byte in text:
            accept = cache.get(byte)
            if accept is None:
                accept = cache[byte] = self._accepting(byte)
            moved = (states & accept) << 1
            moved |= (moved & skips) << 1
            states = moved | (states & (loop_all if byte == _SLASH else loop_in_segment))
            if not states:
                return False
        return bool(states & self._final)

    def _accepting(self, byte: int) -> int:
        """Return the positions whose item accepts ``byte``."""
        accept = self._literals.get(byte, 0)
        if not (self._pathname and byte == _SLASH):
            accept |= self._any
            for members, position in self._classes:
                if members >> byte & 1:
                    accept |= position
        return accept

    def _compile(self, pattern: bytes) -> int:
        """Fill the position sets; return the number of items."""
        at, items = 0, 0
        while at < len(pattern):
            byte = pattern[at]
            if byte == _STAR:
                at, items = self._compile_stars(pattern, at, items)
                continue
            if byte == _OPEN:
                members, at = _compile_class(pattern, at + 1)
                self._classes.append((members, 1 << items))
            elif byte == _QUESTION:
                self._any |= 1 << items
                at += 1
            else:
                if byte == _BACKSLASH:
                    at += 1
                    if at == len(pattern):
                        raise MalformedGlob(f"{pattern!r}: nothing after the last backslash")
                    byte = pattern[at]
                self._literals[byte] = self._literals.get(byte, 0) | 1 << items
                at += 1
            items += 1
        return items

    def _compile_stars(self, pattern: bytes, at: int, items: int) -> tuple[int, int]:
        """Read a run of stars at ``at``; return where it ends and the number of items."""
        end = at
        while end < len(pattern) and pattern[end] == _STAR:
            end += 1
        here = 1 << items
        if not self._pathname:
            self._loop_all |= here
            return end, items
        rest = pattern[end : end + 2]
        alone = at == 0 or pattern[at - 1] == _SLASH
        if end - at < 2 or not alone or not (rest[:1] in (b"", b"/") or rest == b"\\/"):
            self._loop_segment |= here
            return end, items
        if rest[:1] != b"/":
            self._loop_all |= here
            return end, items
        # "**/" is nothing at all, or anything up to a slash. A second one adds nothing.
        if not (items and self._skips >> (items - 1) & 1):
            self._loop_all |= here
            self._skips |= here
            self._literals[_SLASH] = self._literals.get(_SLASH, 0) | here
            items += 1
        return end + 1, items


def _compile_class(pattern: bytes, at: int) -> tuple[int, int]:
    """Read a bracket expression whose "[" is just before ``at``; return its set and its end.

    The odd corners are git's: the first member may be "]", a range needs a start that is not
    itself the end of a range or a class, "[:" without ":]" is an ordinary member.
    """

    def peek(index: int) -> int:
        return pattern[index] if index < len(pattern) else 0

    negated = peek(at) in b"!^" and at < len(pattern)
    if negated:
        at += 1
    members, previous, byte = 0, 0, peek(at)
    while True:
        if byte == 0:
            raise MalformedGlob(f"{pattern!r}: '[' without ']'")
        if byte == _BACKSLASH:
            at += 1
            byte = peek(at)
            if byte == 0:
                raise MalformedGlob(f"{pattern!r}: '[' without ']'")
            members |= 1 << byte
        elif byte == 0x2D and previous and peek(at + 1) not in (0, _CLOSE):
            at += 1
            last = peek(at)
            if last == _BACKSLASH:
                at += 1
                last = peek(at)
                if last == 0:
                    raise MalformedGlob(f"{pattern!r}: '[' without ']'")
            if previous <= last:
                members |= (1 << last + 1) - (1 << previous)
            byte = 0
        elif byte == _OPEN and peek(at + 1) == 0x3A:
            start = at + 2
            end = pattern.find(b"]", start)
            if end < 0:
                raise MalformedGlob(f"{pattern!r}: '[' without ']'")
            if end == start or pattern[end - 1] != 0x3A:
                members |= 1 << _OPEN
            else:
                name = pattern[start : end - 1]
                if name not in _CLASSES:
                    raise MalformedGlob(f"{pattern!r}: no class {name!r}")
                members |= _CLASSES[name]
                at, byte = end, 0
        else:
            members |= 1 << byte
        previous = byte
        at += 1
        byte = peek(at)
        if byte == _CLOSE:
            break
    return (members ^ _ALL_BYTES if negated else members), at + 1
