"""Where a journal lies: a file, memory, or a PostgreSQL database by its URL.

A URL may hold a password. Whatever is shown, logged or raised shows ``shown_place`` instead, and
text that comes from elsewhere (a driver's messages) goes through ``without_password`` first.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

SCHEMES = ("postgresql://", "postgres://")
"""How the URL of a PostgreSQL journal begins."""
HIDDEN = "***"
"""What stands in place of a password."""

_IN_AUTHORITY = re.compile(r"(?<=://)([^/?#@]*?):([^/?#]*)@")
_IN_QUERY = re.compile(r"([?&](?:password|sslpassword)=)([^&#]*)", re.IGNORECASE)


def is_database(place: str | None) -> bool:
    """Tell whether ``journal.path`` names a PostgreSQL database rather than a file."""
    return place is not None and place.startswith(SCHEMES)


def shown_place(place: str | None) -> str:
    """Give a place as it may be shown: a URL without its password; '' for None."""
    if place is None or not is_database(place):
        return place or ""
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _IN_AUTHORITY.sub(rf"\1:{HIDDEN}@", place))


class DatabaseUrl(str):
    """The URL of a database, whose ``repr`` shows no password: settings are shown and logged."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(shown_place(str(self)))


def without_password(text: str, place: str) -> str:
    """Take the password of the URL ``place`` out of a text that may hold it, or the whole URL."""
    text = text.replace(place, shown_place(place))
    found = [match[2] for match in _IN_AUTHORITY.finditer(place)]
    found += [match[2] for match in _IN_QUERY.finditer(place)]
    for password in {*found, *map(unquote, found)} - {""}:
        text = text.replace(password, HIDDEN)
    return text
