"""The configuration as users see it: a dict of dicts that checks what is assigned to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tandem_orchestrator.errors import ConfigError, Fault
from tandem_orchestrator.settings.keys import shown
from tandem_orchestrator.settings.sections import SECTIONS
from tandem_orchestrator.settings.sources import KEYS

if TYPE_CHECKING:
    from tandem_orchestrator.settings.settings import Settings

_log = logging.getLogger("tandem_orchestrator.settings")


class Config(MutableMapping[str, MutableMapping[str, Any]]):
    """A live view of one orchestrator's settings; every assignment is checked.

    ``config["redundancy"]["conflict_resolution"] = "retry_both"`` counts from the next run. Keys
    about buffers, workers and sockets count from the next session; while one is open, assigning
    them logs a warning that says so. Assigning a dict to a section changes the keys it names.
    Threads may read and assign at any time.

    Raises: ConfigError for an unknown key or a bad value (nothing is changed then), and for
        deleting, which settings do not know.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self.version = 0
        """Counts the changes, so that a reader notices one by comparing a number."""
        self.session_open = False
        """Set by the orchestrator between ``initialize`` and ``close``."""

    @property
    def settings(self) -> Settings:
        """The settings at this moment, immutable."""
        return self._settings

    def assign(self, values: Mapping[str, Any], origin: str = "assignment") -> None:
        """Change several keys at once, or none: ``section.key`` to typed value.

        ``origin`` is what ``settings.origin`` says of them from now on.
        """
        with self._lock:
            changed = self._settings.changed(values, origin)
            moved = [path for path in values if changed.get(path) != self._settings.get(path)]
            self._settings = changed
            self.version += bool(moved)
        for path in moved:
            if self.session_open and KEYS[path].counts == "session":
                _log.warning("%s changed while in use: it counts from the next session", path)

    def __getitem__(self, section: str) -> ConfigSection:
        if section not in SECTIONS:
            raise _unknown(section, section, SECTIONS)
        return ConfigSection(self, section)

    def __setitem__(self, section: str, values: MutableMapping[str, Any]) -> None:
        if section not in SECTIONS:
            raise _unknown(section, section, SECTIONS)
        if not isinstance(values, Mapping):
            raise ConfigError(f"{section}: {shown(values)}, expected a dict of settings")
        self.assign({f"{section}.{name}": value for name, value in dict(values).items()})

    def __delitem__(self, section: str) -> None:
        raise ConfigError(f"{section}: a setting can be changed, not deleted")

    def __contains__(self, section: object) -> bool:
        return section in SECTIONS

    def __iter__(self) -> Iterator[str]:
        return iter(SECTIONS)

    def __len__(self) -> int:
        return len(SECTIONS)

    def __repr__(self) -> str:
        return f"Config({self._settings.as_dict()!r})"


class ConfigSection(MutableMapping[str, Any]):
    """One section of a ``Config``."""

    def __init__(self, config: Config, section: str) -> None:
        self._config = config
        self._section = section

    def __getitem__(self, name: str) -> Any:
        if name not in SECTIONS[self._section].keys:
            raise _unknown(f"{self._section}.{name}", name, SECTIONS[self._section].keys)
        return self._config.settings.get(f"{self._section}.{name}")

    def __setitem__(self, name: str, value: Any) -> None:
        self._config.assign({f"{self._section}.{name}": value})

    def __delitem__(self, name: str) -> None:
        raise ConfigError(f"{self._section}.{name}: a setting can be changed, not deleted")

    def __contains__(self, name: object) -> bool:
        return name in SECTIONS[self._section].keys

    def __iter__(self) -> Iterator[str]:
        return iter(SECTIONS[self._section].keys)

    def __len__(self) -> int:
        return len(SECTIONS[self._section].keys)

    def __repr__(self) -> str:
        return repr(dict(self))


class _UnknownSetting(ConfigError, KeyError):
    """A ConfigError that ``dict.get`` and ``in`` understand, because it is a KeyError too."""

    __str__ = Exception.__str__


def _unknown(path: str, name: str, among: Mapping[str, Any]) -> _UnknownSetting:
    near = tuple(get_close_matches(str(name)[:80], among, n=3, cutoff=0.5))
    fault = Fault("bad_type", path, f"unknown setting {shown(name)}", name, near)
    return _UnknownSetting(str(fault), faults=(fault,))
