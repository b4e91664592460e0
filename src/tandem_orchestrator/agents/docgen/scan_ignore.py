"""Read ``.gitignore`` files and decide what they leave out, as git does.

Kept apart from the walk: bytes of a file in, a verdict out. The semantics are git's own,
including its odd corners (a literal start is compared before the glob sees the rest, so
"a**/b" matches "ab"; "[[:space:]]" is four bytes). `git check-ignore` is the oracle of the
tests. pathspec was not used: it translates to ``re``, which backtracks, and the C layer could
not have matched it byte for byte.

Source: git 2.39, ``dir.c`` (parse_path_pattern, last_matching_pattern_from_list).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tandem_orchestrator.agents.docgen.scan_glob import Glob, MalformedGlob

IGNORE_NAME = b".gitignore"
IGNORE_BYTES_MAX = 256 << 10
"""Ignore files of a directory and those above it together. One more is reported and not
honoured, so that memory and the work for one path stay bounded."""

_SPECIAL = b"*?[\\"


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One line of an ignore file."""

    negative: bool
    """True for "!": what it matches is kept after all."""
    dirs_only: bool
    """True if the line ended in "/"."""
    by_name: bool
    """True if it looks at the last component only (no "/" in the line)."""
    matches: Callable[[bytes], bool]
    """Given the name, or the path below the ignore file's directory."""


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The rules of one directory, and by ``outer`` those of the directories above it."""

    rules: tuple[IgnoreRule, ...]
    """Last line first: the last match decides."""
    base_bytes: int
    """Length of the directory's path with its "/"; 0 for the root of the scan."""
    outer: IgnoreRules | None = None
    chain_bytes: int = 0
    """Bytes of this ignore file and those of ``outer``."""

    def ignores(self, path: bytes, name: bytes, *, is_dir: bool) -> bool:
        """Tell whether ``path`` is left out; its parents are taken to be kept.

        Args:
            path: Relative to the root of the scan, with "/".
            name: The last component of ``path``.
            is_dir: True for a directory; a symbolic link to one is not.
        """
        level: IgnoreRules | None = self
        while level is not None:
            below = path[level.base_bytes :]
            for rule in level.rules:
                if rule.dirs_only and not is_dir:
                    continue
                if rule.matches(name if rule.by_name else below):
                    return not rule.negative
            level = level.outer
        return False


def read_rules(data: bytes) -> tuple[IgnoreRule, ...]:
    """Parse the content of an ignore file; lines that can match nothing are dropped."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    rules = []
    for line in data.split(b"\n"):
        if line and not line.startswith(b"#"):
            line = line.removesuffix(b"\r").partition(b"\0")[0]
            rule = _read_rule(_trim_spaces(line))
            if rule is not None:
                rules.append(rule)
    rules.reverse()
    return tuple(rules)


def _trim_spaces(line: bytes) -> bytes:
    """Drop spaces at the end, but not one that a backslash quotes."""
    bare = line.rstrip(b" ")
    backslashes = len(bare) - len(bare.rstrip(b"\\"))
    return line[: len(bare) + 1] if backslashes % 2 and len(line) > len(bare) else bare


def _read_rule(line: bytes) -> IgnoreRule | None:
    negative = line.startswith(b"!")
    if negative:
        line = line[1:]
    dirs_only = line.endswith(b"/")
    if dirs_only:
        line = line[:-1]
    by_name = b"/" not in line
    matches = _name_matcher(line) if by_name else _path_matcher(line)
    return None if matches is None else IgnoreRule(negative, dirs_only, by_name, matches)


def _literal_bytes(pattern: bytes) -> int:
    """Return how many bytes of ``pattern`` come before its first special one."""
    return next((at for at, byte in enumerate(pattern) if byte in _SPECIAL), len(pattern))


def _name_matcher(pattern: bytes) -> Callable[[bytes], bool] | None:
    if not pattern:
        return None
    if _literal_bytes(pattern) == len(pattern):
        return pattern.__eq__
    if pattern[:1] == b"*" and _literal_bytes(pattern[1:]) == len(pattern) - 1:
        suffix = pattern[1:]
        return lambda name: name.endswith(suffix)
    return _glob_matcher(pattern, pathname=False)


def _path_matcher(pattern: bytes) -> Callable[[bytes], bool] | None:
    pattern = pattern.removeprefix(b"/")
    literal = _literal_bytes(pattern)
    if literal == len(pattern):
        return pattern.__eq__ if pattern else None
    # Git compares the literal start by itself and globs the rest, so a "**" just after it
    # counts as standing at the start.
    prefix = pattern[:literal]
    glob = _glob_matcher(pattern[literal:], pathname=True)
    if glob is None or not prefix:
        return glob
    return lambda path: path.startswith(prefix) and glob(path[literal:])


def _glob_matcher(pattern: bytes, *, pathname: bool) -> Callable[[bytes], bool] | None:
    try:
        return Glob(pattern, pathname=pathname).matches
    except MalformedGlob:
        return None  # git keeps such a line, which then matches nothing
