"""What is in no dict or list so far: shared, so that thousands of things that wait share it."""

from __future__ import annotations

from typing import Any, NoReturn, cast


# Any: stands for empty dicts of every kind.
class _NoneYet(dict[Any, Any]):
    """An empty dict that many share, so that nothing can be put into it."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]

    def _refuse(self, *_given: object) -> NoReturn:
        raise TypeError("make a dict of its own before anything is put into it")

    __setitem__ = setdefault = update = __ior__ = _refuse  # type: ignore[assignment]


NONE_YET = _NoneYet()
"""What is in no dict so far. Whoever puts something in first makes a dict: ``x = x or {}``."""
NO_LIST = cast("list[Any]", ())
"""Likewise, of lists: it has no ``append``."""
