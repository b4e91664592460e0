"""What must not be kept of a value: secrets, by their name or by their look.

A hook is asked about every part of a value; what it claims is replaced by ``REDACTED``. The text
of a secret that was found once is then replaced wherever else it stands, since a password that
came in under its name often goes out again inside a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from tandem_orchestrator.model.values import DEPTH_MAX
from tandem_orchestrator.twins.pointers import escape, tokens_of

REDACTED = "<redacted>"
"""Stands where something was taken out."""

# Any: a part of a value, of whatever type.
RedactionHook = Callable[[str, Any], bool]
"""Gets a part's JSON Pointer and the part itself; true: it must go."""

SECRETS_MAX = 64
"""Texts that are looked for everywhere else; beyond it the longest stay."""
TEXT_CHARS_MIN = 4
"""A shorter secret is replaced where it stands alone, not inside other texts."""
LOOKING_CHARS_MIN = 10
"""A shorter text looks like nothing."""
NODES_MAX = 20_000
"""Parts of one value in which secrets are looked for to take them from the others."""
PATHS_MAX = 100
"""Paths that a capsule lists of what was taken out."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_TELLING = ("password", "passwd", "passphrase", "secret", "authorization", "credential", "apikey")
"""Enough anywhere in a name: ``db_password``, ``clientsecret``."""
_WHOLE = frozenset({"token", "pwd", "cookie", "jwt", "bearer", "passcode"})
"""Enough as a word of a name: ``access_token``, but not ``tokenizer``."""
_PAIRS = frozenset(
    (kind, "key") for kind in ("api", "private", "access", "signing", "encryption", "session")
)
_LOOKS = re.compile(
    r"(?:\b[Bb]earer|\bBEARER|\b[Bb]asic|\bBASIC)\s+(?=\S*[A-Z0-9=])[A-Za-z0-9+/_.~=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(?:ghp|gho|ghu|ghs|ghr|github_pat|glpat|xox[abpr]|sk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@"
)
_HINTS = (
    "earer", "EARER", "asic ", "ASIC ", "PRIVATE KEY", "eyJ", "AKIA", "ASIA", "gh", "glpat", "xox",
    "sk-", "sk_", "rk-", "rk_", "://",
)  # fmt: skip
"""One of them is in every text that ``_LOOKS`` finds; looking for them is fifty times faster."""
_HINT = re.compile("|".join(map(re.escape, _HINTS)))
_LOOKED_AT_CHARS = 65_536
"""A longer text is looked at in its first characters only; names still count."""


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Say whether what has this name is a secret: ``password``, ``apiKey``, ``X-Auth-Token``."""
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "".join(words)
    return (
        any(word in joined for word in _TELLING)
        or not _WHOLE.isdisjoint(words)
        or not _PAIRS.isdisjoint(zip(words, words[1:], strict=False))
        or (joined == "tokens")
    )


# Any: as in ``RedactionHook``.
def by_name(path: str, value: Any) -> bool:
    """Claim what has the name of a secret; numbers of tokens are no tokens."""
    tokens = tokens_of(path)
    return bool(tokens) and _is_named_secret(tokens[-1], value)


def _is_named_secret(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool) or not is_secret_name(name):
        return False
    return not (isinstance(value, int | float) and "token" in name.lower())


# Any: as in ``RedactionHook``.
def by_look(path: str, value: Any) -> bool:
    """Claim texts that look like keys and tokens, and objects of a type named for secrets."""
    if isinstance(value, str):
        return _looks_secret(value[:_LOOKED_AT_CHARS])
    if isinstance(value, bytes):
        return _looks_secret(value[:_LOOKED_AT_CHARS].decode("latin-1"))
    return "secret" in type(value).__name__.lower()


def _looks_secret(text: str) -> bool:
    if len(text) < LOOKING_CHARS_MIN:
        return False
    if len(text) < 256:
        hinted = _HINT.search(text) is not None
    else:  # Each by itself is sought at the speed of memory.
        hinted = any(hint in text for hint in _HINTS)
    return hinted and _LOOKS.search(text) is not None


class Named:
    """Claims what has one of these names, whatever their case: ``Named(["iban", "card_number"])``."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(map(_bare, names))

    # Any: as in ``RedactionHook``.
    def __call__(self, path: str, value: Any) -> bool:
        """Say whether the last key of ``path`` is one of the names."""
        tokens = tokens_of(path)
        return bool(tokens) and _bare(tokens[-1]) in self.names


@lru_cache(maxsize=4096)
def _bare(name: str) -> str:
    """Leave of a name its letters and digits, in lower case."""
    return "".join(char for char in name.lower() if char.isalnum())


DEFAULT_HOOKS: tuple[RedactionHook, ...] = (by_name, by_look)
"""On unless the caller says otherwise."""


_PLAIN = frozenset({int, float, bool, type(None)})
_WITHOUT_LOOK = _PLAIN | {dict, list, tuple}


class Redaction:
    """Takes secrets out of several values, each known by where it stands.

    First ``find`` in all of them, then ``apply`` to each: what was found in one goes from all.
    """

    def __init__(self, hooks: Iterable[RedactionHook] = DEFAULT_HOOKS) -> None:
        self._hooks = tuple(hooks)
        own = [hook for hook in self._hooks if hook not in DEFAULT_HOOKS]
        named = [hook for hook in own if isinstance(hook, Named)]
        self._are_usual = set(DEFAULT_HOOKS) <= set(self._hooks) and own == named
        self._names = frozenset[str]().union(*(hook.names for hook in named))
        self._texts: set[str] = set()
        self._replaced: re.Pattern[str] | None = None
        self._left = 0
        self.paths: list[str] = []
        """What was taken out, as JSON Pointers; at most ``PATHS_MAX``."""

    # Any below: values of any kind, also such as cannot be kept.
    def find(self, path: str, value: Any) -> None:
        """Learn the texts of the secrets in a value, in its first ``NODES_MAX`` parts."""
        self._left = NODES_MAX
        self._find([*tokens_of(path)], value)
        self._replaced = None

    def _find(self, tokens: list[str | int], value: Any) -> None:
        self._left -= 1
        if self._left < 0 or len(tokens) > DEPTH_MAX + 4:
            return
        if self._claims(tokens, value):
            self._learn(value)
        elif isinstance(value, dict):
            for key, part in value.items():
                tokens.append(str(key))
                self._find(tokens, part)
                tokens.pop()
        elif isinstance(value, list | tuple) and not self._is_plain(value):
            for i, part in enumerate(value):
                tokens.append(i)
                self._find(tokens, part)
                tokens.pop()

    def apply(self, path: str, value: Any, shown: str | None = None) -> Any:
        """Copy a value without secrets. Linear in its size.

        Args:
            path: Where it stands, for the hooks.
            value: The value.
            shown: Where it stands in what is kept, if that is not the same.
        """
        stands = tokens_of(path if shown is None else shown)
        return self._apply([*tokens_of(path)], value, [*stands])

    def _apply(self, tokens: list[str | int], value: Any, shown: list[str | int]) -> Any:
        if self._claims(tokens, value):
            self._note(shown)
            return REDACTED
        if isinstance(value, dict):
            kept = {}
            for key, part in value.items():
                name = self._scrub(shown, str(key))
                tokens.append(str(key))
                shown.append(name)
                kept[name] = self._apply(tokens, part, shown)
                tokens.pop()
                shown.pop()
            return kept
        if isinstance(value, list | tuple):
            if not self._texts and self._is_plain(value):
                return list(value)
            items = []
            for i, part in enumerate(value):
                tokens.append(i)
                shown.append(i)
                items.append(self._apply(tokens, part, shown))
                tokens.pop()
                shown.pop()
            return items
        return self._scrubbed(value, shown) if self._texts else value

    def _scrubbed(self, value: Any, shown: list[str | int]) -> Any:
        if isinstance(value, str):
            return self._scrub(shown, value)
        if isinstance(value, bytes):
            text = value.decode("latin-1")
            scrubbed = self._scrub(shown, text)
            return value if scrubbed == text else scrubbed.encode("latin-1", "replace")
        if isinstance(value, int | float) and not isinstance(value, bool):
            text = repr(value)
            return self._scrub(shown, text) if self._is_known(text) else value
        return value

    def clean_pointer(self, pointer: str) -> str:
        """Take what was found out of the keys that a pointer names."""
        return _pointer([self._scrub([], token) for token in tokens_of(pointer)])

    def _is_plain(self, items: list[Any] | tuple[Any, ...]) -> bool:
        """Say whether no hook could claim an item: numbers in a list have neither name nor look."""
        return self._are_usual and _PLAIN.issuperset(map(type, items))

    def _claims(self, tokens: list[str | int], value: Any) -> bool:
        """Ask the hooks; the usual ones by a way that makes no pointer."""
        if not self._are_usual:
            path = _pointer(tokens)
            return any(hook(path, value) for hook in self._hooks)
        name = tokens[-1] if tokens else None
        if type(name) is str and (
            _is_named_secret(name, value) or (self._names and _bare(name) in self._names)
        ):
            return True
        kind = type(value)
        if kind is str:
            return len(value) >= LOOKING_CHARS_MIN and _looks_secret(value[:_LOOKED_AT_CHARS])
        return kind not in _WITHOUT_LOOK and by_look("", value)

    def _is_known(self, text: str) -> bool:
        return len(text) >= TEXT_CHARS_MIN and text in self._texts

    def _learn(self, secret: Any) -> None:
        stack = [secret]
        while stack:
            part = stack.pop()
            if isinstance(part, dict):
                stack.extend(part.values())
            elif isinstance(part, list | tuple):
                stack.extend(part)
            elif isinstance(part, bytes) and part:
                self._texts |= {part.decode("latin-1"), part.decode(errors="replace")}
            elif isinstance(part, str) and part and part != REDACTED:
                # As it stands in texts, and as its UTF-8 stands in bytes.
                self._texts |= {part, part.encode(errors="replace").decode("latin-1")}
            elif isinstance(part, int | float) and not isinstance(part, bool):
                self._texts.add(repr(part))

    def _scrub(self, shown: list[str | int], text: str) -> str:
        if not self._texts:
            return text
        if text in self._texts:
            self._note(shown)
            return REDACTED
        if self._replaced is None:
            longest = sorted(self._texts, key=lambda t: (-len(t), t))[:SECRETS_MAX]
            parts = [re.escape(each) for each in longest if len(each) >= TEXT_CHARS_MIN]
            self._replaced = re.compile("|".join(parts) or r"(?!)")
        scrubbed = self._replaced.sub(REDACTED, text)
        if scrubbed != text:
            self._note(shown)
        return scrubbed

    def _note(self, shown: list[str | int]) -> None:
        if shown and len(self.paths) < PATHS_MAX and (path := _pointer(shown)) not in self.paths:
            self.paths.append(path)


def _pointer(tokens: Iterable[str | int]) -> str:
    return "".join([f"/{escape(str(token))}" for token in tokens])
