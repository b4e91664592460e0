"""The settings of one orchestrator: every section, checked, immutable, with where each came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tandem_orchestrator.errors import ConfigError
from tandem_orchestrator.settings.config import Config
from tandem_orchestrator.settings.journal import Journal
from tandem_orchestrator.settings.keys import shown
from tandem_orchestrator.settings.places import is_database
from tandem_orchestrator.settings.redundancy import Redundancy
from tandem_orchestrator.settings.sections import (
    SECTIONS,
    CLayer,
    Hardware,
    Limits,
    Metrics,
    Orchestrator,
    PythonLayer,
)
from tandem_orchestrator.settings.sources import (
    KEYS,
    Source,
    config_paths,
    expand,
    from_environment,
    from_file,
    from_mapping,
    from_texts,
    state_folder,
)
from tandem_orchestrator.settings.trust import Router, Twins

__all__ = ["KEYS", "Settings"]

IN_MEMORY = ":memory:"
"""The value of ``journal.path`` that means no file."""


@dataclass(frozen=True)
class Settings:
    """Every setting. ``Settings()`` are the defaults; ``Settings.load`` asks all sources.

    Raises: ConfigError from any section that gets a value out of its range.
    """

    orchestrator: Orchestrator = field(default_factory=Orchestrator)
    python_layer: PythonLayer = field(default_factory=PythonLayer)
    c_layer: CLayer = field(default_factory=CLayer)
    router: Router = field(default_factory=Router)
    redundancy: Redundancy = field(default_factory=Redundancy)
    twins: Twins = field(default_factory=Twins)
    metrics: Metrics = field(default_factory=Metrics)
    hardware: Hardware = field(default_factory=Hardware)
    journal: Journal = field(default_factory=Journal)
    limits: Limits = field(default_factory=Limits)
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """``section.key`` to where its value came from, for those that are not defaults."""

    @classmethod
    def load(
        cls,
        config: Mapping[str, Any] | str | os.PathLike[str] | Settings | None = None,
        *,
        environ: Mapping[str, str],
        cwd: Path,
        overrides: Mapping[str, str] | None = None,
    ) -> Settings:
        """Put the settings together: argument over environment over file over defaults.

        Args:
            config: A dict shaped like SPEC's file (argument level, no file is read); a path (file
                level); a ``Settings`` (used as it is, the environment is not asked); or None:
                ``$TANDEM_CONFIG``, else ``tandem_config.json`` in ``cwd``, else in
                ``$XDG_CONFIG_HOME/tandem``.
            environ: Usually ``os.environ``.
            cwd: Usually ``Path.cwd()``.
            overrides: ``{"section.key": "text"}`` from the command line; above all else.

        Returns: Settings in which ``journal.path`` is absolute (or ``:memory:``).

        Raises: ConfigError with every fault at once.
        """
        if isinstance(config, Settings):
            base, sources = config, []
        else:
            base, sources = cls(), _sources(config, environ, cwd)
        if overrides:
            sources.append(from_texts(overrides, "option"))
        faults = tuple(fault for source in sources for fault in source.faults)
        if faults:
            raise ConfigError("; ".join(map(str, faults)), faults=faults)
        values: dict[str, Any] = {}
        origins = dict(base.origins)
        for source in sources:
            folder = source.folder or cwd
            for path, value in source.values.items():
                values[path] = _absolute(path, value, folder, environ)
                origins[path] = source.origins.get(path, source.name)
        settings = base.changed(values)
        place = settings.journal.path
        if place is None:
            place = str(state_folder(environ) / "journal.db")
        place = _absolute("journal.path", place, cwd, environ)
        settings = settings.changed({"journal.path": place})
        return replace(settings, origins=MappingProxyType(origins))

    def changed(self, values: Mapping[str, Any], origin: str = "") -> Settings:
        """Give settings in which some keys have other values.

        Args:
            values: ``section.key`` to typed value.
            origin: Where they come from; empty: what is said of them stays.

        Raises: ConfigError for an unknown key or a value out of range; nothing is changed then.
        """
        by_section: dict[str, dict[str, Any]] = {}
        for path, value in values.items():
            section, _, name = path.partition(".")
            by_section.setdefault(section, {})[name] = value
        source = from_mapping(by_section, "argument")
        if source.faults:
            raise ConfigError("; ".join(map(str, source.faults)), faults=tuple(source.faults))
        # Any: replace() cannot know which section a name leads to.
        sections: dict[str, Any] = {
            section: replace(getattr(self, section), **body) for section, body in by_section.items()
        }
        if origin:
            moved = {path: origin for path in values if self.get(path) != values[path]}
            sections["origins"] = MappingProxyType({**self.origins, **moved})
        return replace(self, **sections)

    def get(self, path: str) -> Any:
        """Read one value by ``section.key``.

        Raises: ConfigError if there is no such key.
        """
        if path not in KEYS:
            from_unknown = from_texts({path: ""}, "argument")
            raise ConfigError(str(from_unknown.faults[0]), faults=tuple(from_unknown.faults))
        section, _, name = path.partition(".")
        return getattr(getattr(self, section), name)

    def origin(self, path: str) -> str:
        """Say where a value came from, as ``environment TANDEM_CACHE_SIZE`` or ``default``."""
        return self.origins.get(path, "default")

    def without_effect(self) -> list[str]:
        """Say which settings were changed though nothing reads them yet, one line each."""
        return [
            f"{path}={shown(value)} ({self.origin(path)}) has no effect yet: it waits for "
            f"{spec.pending}, which this version does not have"
            for path, spec in KEYS.items()
            if spec.pending and (value := self.get(path)) != spec.default
        ]

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Give every value in the shape of SPEC's configuration file."""
        return {
            section: {name: getattr(getattr(self, section), name) for name in owner.keys}
            for section, owner in SECTIONS.items()
        }

    def as_config(self) -> Config:
        """Give the view that users assign to: ``config["redundancy"]["consensus_retries"] = 5``."""
        return Config(self)


def _sources(
    config: Mapping[str, Any] | str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    cwd: Path,
) -> list[Source]:
    """List the sources, weakest first."""
    sources = [from_environment(environ)]
    if isinstance(config, Mapping):
        return [*sources, from_mapping(config, "argument")]
    if config is None:
        places = list(config_paths(environ, cwd))
    elif isinstance(config, str | os.PathLike):
        places = [(cwd / expand(os.fspath(config), environ), True)]
    else:
        raise ConfigError(f"config={shown(config)}: expected None, a dict, a path or Settings")
    for path, required in places:
        source = from_file(path, required=required)
        if source is not None:
            return [source, *sources]
    return sources


def _absolute(path: str, value: Any, folder: Path, environ: Mapping[str, str]) -> Any:
    if path not in ("journal.path", "c_layer.socket") or value in (None, IN_MEMORY):
        return value
    if path == "journal.path" and is_database(value):
        return value
    return os.path.normpath(folder / expand(value, environ))
