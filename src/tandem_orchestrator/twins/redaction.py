"""What must not be kept of a value: secrets, by their name or by their look.

A hook is asked about every part of a value; what it claims is replaced by ``REDACTED``. The text
of a secret that was found once is then replaced wherever else it stands, since a password that
came in under its name often goes out again inside a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

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
NODES_MAX = 200_000
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
_LOOKED_AT_CHARS = 65_536
"""A longer text is looked at in its first characters only; names still count."""


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
    if not tokens or value is None or isinstance(value, bool):
        return False
    if isinstance(value, int | float) and "token" in tokens[-1].lower():
        return False
    return is_secret_name(tokens[-1])


# Any: as in ``RedactionHook``.
def by_look(path: str, value: Any) -> bool:
    """Claim texts that look like keys and tokens, and objects of a type named for secrets."""
    if isinstance(value, str):
        return _looks_secret(value[:_LOOKED_AT_CHARS])
    if isinstance(value, bytes):
        return _looks_secret(value[:_LOOKED_AT_CHARS].decode("latin-1"))
    return "secret" in type(value).__name__.lower()


def _looks_secret(text: str) -> bool:
    return any(hint in text for hint in _HINTS) and _LOOKS.search(text) is not None


DEFAULT_HOOKS: tuple[RedactionHook, ...] = (by_name, by_look)
"""On unless the caller says otherwise."""


_PLAIN = frozenset({int, float, bool, type(None)})


class Redaction:
    """Takes secrets out of several values, each known by where it stands.

    First ``find`` in all of them, then ``apply`` to each: what was found in one goes from all.
    """

    def __init__(self, hooks: Iterable[RedactionHook] = DEFAULT_HOOKS) -> None:
        self._hooks = tuple(hooks)
        self._are_usual = self._hooks == DEFAULT_HOOKS
        self._texts: set[str] = set()
        self._replaced: re.Pattern[str] | None = None
        self.paths: list[str] = []
        """What was taken out, as JSON Pointers; at most ``PATHS_MAX``."""

    # Any below: values of any kind, also such as cannot be kept.
    def find(self, path: str, value: Any) -> None:
        """Learn the texts of the secrets in a value, in its first ``NODES_MAX`` parts."""
        stack, left = [(path, value)], NODES_MAX
        while stack and left:
            left -= 1
            here, part = stack.pop()
            if self._claims(here, part):
                self._learn(part)
            elif isinstance(part, dict):
                stack.extend((f"{here}/{escape(str(k))}", v) for k, v in part.items())
            elif isinstance(part, list | tuple) and not self._is_plain(part):
                stack.extend((f"{here}/{i}", v) for i, v in enumerate(part))
        self._replaced = None

    def apply(self, path: str, value: Any, shown: str | None = None) -> Any:
        """Copy a value without secrets. Linear in its size.

        Args:
            path: Where it stands, for the hooks.
            value: The value.
            shown: Where it stands in what is kept, if that is not the same.
        """
        shown = path if shown is None else shown
        if self._claims(path, value):
            self._note(shown)
            return REDACTED
        if isinstance(value, dict):
            kept = {}
            for key, part in value.items():
                name = self._scrub(shown, str(key))
                here = f"{path}/{escape(str(key))}"
                kept[name] = self.apply(here, part, f"{shown}/{escape(name)}")
            return kept
        if isinstance(value, list | tuple):
            if not self._texts and self._is_plain(value):
                return list(value)
            return [self.apply(f"{path}/{i}", v, f"{shown}/{i}") for i, v in enumerate(value)]
        if isinstance(value, str):
            return self._scrub(shown, value)
        if isinstance(value, bytes) and self._texts:
            text = value.decode("latin-1")
            scrubbed = self._scrub(shown, text)
            return value if scrubbed == text else scrubbed.encode("latin-1", "replace")
        if isinstance(value, int | float) and not isinstance(value, bool) and self._texts:
            text = repr(value)
            return self._scrub(shown, text) if self._is_known(text) else value
        return value

    def clean_pointer(self, pointer: str) -> str:
        """Take what was found out of the keys that a pointer names."""
        return "".join(f"/{escape(self._scrub('', token))}" for token in tokens_of(pointer))

    def _is_plain(self, items: list[Any] | tuple[Any, ...]) -> bool:
        """Say whether no hook could claim an item: numbers in a list have neither name nor look."""
        return self._are_usual and _PLAIN.issuperset(map(type, items))

    def _claims(self, path: str, value: Any) -> bool:
        return any(hook(path, value) for hook in self._hooks)

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

    def _scrub(self, path: str, text: str) -> str:
        if not self._texts:
            return text
        if text in self._texts:
            self._note(path)
            return REDACTED
        if self._replaced is None:
            longest = sorted(self._texts, key=lambda t: (-len(t), t))[:SECRETS_MAX]
            parts = [re.escape(each) for each in longest if len(each) >= TEXT_CHARS_MIN]
            self._replaced = re.compile("|".join(parts) or r"(?!)")
        scrubbed = self._replaced.sub(REDACTED, text)
        if scrubbed != text:
            self._note(path)
        return scrubbed

    def _note(self, path: str) -> None:
        if path and len(self.paths) < PATHS_MAX and path not in self.paths:
            self.paths.append(path)
