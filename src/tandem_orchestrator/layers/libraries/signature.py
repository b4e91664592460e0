"""Read how a plain C function is called, as ``f64(f64 w, buf<f64> x, out buf<f64>[2*n] y)``.

``native/src/foreign/signature.c`` reads the same and says the same about what it refuses;
``protocol/golden/signatures.tsv`` judges both. The grammar is in its header and in
``docs/twins-of-any-kind.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn

CHARS_MAX, ARGUMENTS_MAX, NAME_CHARS_MAX = 1024, 16, 64
SIZE_PARTS_MAX, SIZE_DEPTH_MAX = 32, 8
NUMBER_MAX = 2**63 - 1

_NUMBERS = ("i32", "i64", "u32", "u64", "f32", "f64")
_RETURNED = frozenset({"void", "bool", "str", "err", *_NUMBERS})
_ITEMS = frozenset({"i8", "i16", "u8", "u16", *_NUMBERS})
_ARGUMENTS = frozenset({"bool", "str", "bytes", "buf", "out", *_NUMBERS})
_INTEGERS = frozenset({"i32", "i64", "u32", "u64"})
_WITH_LENGTH = frozenset({"str", "bytes", "buf"})

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DIGITS = re.compile(r"[0-9]+")
_BLANKS = re.compile(r"[ \t]*")


class BadSignature(ValueError):
    """A signature that cannot be read: ``offset: what was expected``."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a function."""

    type: str
    """``i32``, ``str``, ``bytes``, ``buf``, ``out`` …"""
    name: str
    item: str = ""
    """Of a buffer: the type of one item."""
    size: tuple[str, ...] = ()
    """Of an out-buffer: its items, as numbers, names, ``len(name)`` and signs in postfix order."""

    def __str__(self) -> str:
        kind = f"buf<{self.item}>" if self.item else self.type
        size = f"[{' '.join(self.size)}]" if self.size else ""
        return f"{'out ' if self.type == 'out' else ''}{kind}{size} {self.name}"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function is called."""

    returned: str
    arguments: tuple[Argument, ...]
    text: str = field(compare=False)
    """As it was written."""

    def __str__(self) -> str:
        return f"{self.returned}({', '.join(map(str, self.arguments))})"


def parse_signature(text: str) -> Signature:
    """Read a signature.

    Raises: BadSignature, with the offset and what was expected there.
    """
    return _Parser(text).signature()


class _Parser:
    """A recursive descent; names in sizes are looked up at the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Counted in bytes, as in C.
        self._end = len(text.encode(errors="surrogatepass"))
        self._at = 0
        self._asked: list[tuple[int, str, bool]] = []
        self._parts = self._depth = 0

    def signature(self) -> Signature:
        if self._end > CHARS_MAX:
            self._refuse(0, f"a signature has at most {CHARS_MAX} characters")
        returned = self._take_word(_RETURNED)
        if returned is None:
            self._refuse(
                self._at,
                "expected what it returns: void, bool, i32, i64, u32, u64, f32, f64, str or err",
            )
        if not self._take("("):
            self._refuse(self._at, "expected '('")
        arguments: list[Argument] = []
        closed = self._take(")")
        while not closed:
            self._skip_blanks()
            if len(arguments) == ARGUMENTS_MAX:
                self._refuse(self._at, f"a signature has at most {ARGUMENTS_MAX} arguments")
            arguments.append(self._argument({argument.name for argument in arguments}))
            closed = self._take(")")
            if not closed and not self._take(","):
                self._refuse(self._at, "expected ',' or ')'")
        self._skip_blanks()
        if self._at != len(self._text):
            self._refuse(self._at, "something follows the ')'")
        self._look_up({argument.name: argument.type for argument in arguments})
        return Signature(returned, tuple(arguments), self._text)

    def _argument(self, names: set[str]) -> Argument:
        kind = self._take_word(_ARGUMENTS)
        if kind is None:
            self._refuse(
                self._at,
                "expected an argument: bool, i32, i64, u32, u64, f32, f64, str, bytes, buf<T> or "
                "out buf<T>[n]",
            )
        item = ""
        size: tuple[str, ...] = ()
        if kind == "out" and self._take_word(frozenset({"buf"})) is None:
            self._refuse(self._at, "expected buf<T> after 'out'")
        if kind in ("out", "buf"):
            item = self._item()
        if kind == "out":
            if not self._take("["):
                self._refuse(self._at, "expected '['")
            self._parts = self._depth = 0
            size = tuple(self._sum())
            if not self._take("]"):
                self._refuse(self._at, "expected an operator or ']'")
        return Argument(kind, self._name(names), item, size)

    def _item(self) -> str:
        if not self._take("<"):
            self._refuse(self._at, "expected '<'")
        item = self._take_word(_ITEMS)
        if item is None:
            self._refuse(
                self._at,
                "expected a buffer's item: i8, i16, i32, i64, u8, u16, u32, u64, f32 or f64",
            )
        if not self._take(">"):
            self._refuse(self._at, "expected '>'")
        return item

    def _name(self, names: set[str]) -> str:
        name = self._word()
        start = self._at
        if not name:
            self._refuse(start, "expected the argument's name")
        if len(name) > NAME_CHARS_MAX:
            self._refuse(start, f"a name has at most {NAME_CHARS_MAX} characters")
        if name == "return":
            self._refuse(start, "'return' names the returned value, and no argument")
        if name in names:
            self._refuse(start, "the name stands twice")
        self._at += len(name)
        return name

    def _sum(self) -> list[str]:
        parts = self._product()
        while sign := self._take("+") or self._take("-"):
            at = self._at - 1
            parts += self._product()
            parts.append(self._part(at, sign))
        return parts

    def _product(self) -> list[str]:
        parts = self._factor()
        while sign := self._take("*") or self._take("/"):
            at = self._at - 1
            parts += self._factor()
            parts.append(self._part(at, sign))
        return parts

    def _factor(self) -> list[str]:
        self._skip_blanks()
        start = self._at
        if digits := _DIGITS.match(self._text, start):
            self._at = digits.end()
            if int(digits[0]) > NUMBER_MAX:
                self._refuse(start, "the number is too large")
            return [self._part(start, str(int(digits[0])))]
        if self._take("("):
            self._depth += 1
            if self._depth > SIZE_DEPTH_MAX:
                self._refuse(start, f"a size nests at most {SIZE_DEPTH_MAX} deep")
            parts = self._sum()
            self._depth -= 1
            if not self._take(")"):
                self._refuse(self._at, "expected ')'")
            return parts
        name = self._word()
        if not name:
            self._refuse(start, "expected a number, a name, len(name) or '('")
        self._at += len(name)
        if name != "len" or not self._take("("):
            self._asked.append((start, name, False))
            return [self._part(start, name)]
        name = self._word()
        start = self._at
        if not name:
            self._refuse(start, "expected the argument's name")
        self._at += len(name)
        self._asked.append((start, name, True))
        part = self._part(start, f"len({name})")
        if not self._take(")"):
            self._refuse(self._at, "expected ')'")
        return [part]

    def _look_up(self, types: dict[str, str]) -> None:
        for at, name, is_length in self._asked:
            if types.get(name) not in (_WITH_LENGTH if is_length else _INTEGERS):
                self._refuse(
                    at,
                    "len() needs the name of a str, bytes or buf argument"
                    if is_length
                    else "a size needs the names of integer arguments",
                )

    def _part(self, at: int, part: str) -> str:
        if self._parts == SIZE_PARTS_MAX:
            self._refuse(at, f"a size has at most {SIZE_PARTS_MAX} parts")
        self._parts += 1
        return part

    def _skip_blanks(self) -> None:
        blanks = _BLANKS.match(self._text, self._at)
        assert blanks is not None  # it matches nothing, too
        self._at = blanks.end()

    def _word(self) -> str:
        """Give the word that comes next, without taking it; empty where none begins."""
        self._skip_blanks()
        word = _WORD.match(self._text, self._at)
        return word[0] if word else ""

    def _take_word(self, allowed: frozenset[str]) -> str | None:
        word = self._word()
        if word not in allowed:
            return None
        self._at += len(word)
        return word

    def _take(self, sign: str) -> str:
        self._skip_blanks()
        if not self._text.startswith(sign, self._at):
            return ""
        self._at += 1
        return sign

    def _refuse(self, at: int, what: str) -> NoReturn:
        # What is not ASCII is refused where it begins, so characters before it are bytes.
        raise BadSignature(f"{at}: {what}")
