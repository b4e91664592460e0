"""What all sections share: one that exists is valid, since making it checks every field."""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from tandem_orchestrator.errors import ConfigError, Fault
from tandem_orchestrator.settings.keys import Key, shown


class Section:
    """What all sections share: they check themselves when made."""

    title: ClassVar[str]
    keys: ClassVar[dict[str, Key]]

    def __init_subclass__(cls, title: str) -> None:
        cls.title = title

    def __post_init__(self) -> None:
        faults = []
        for name, spec in self.keys.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, spec.accept(value))
            except ValueError as error:
                faults.append(Fault("bad_type", spec.path, f"{shown(value)}, {error}", value))
        if not faults:
            faults = [Fault("bad_type", self.title, text) for text in self._disagreements()]
        if faults:
            raise ConfigError("; ".join(map(str, faults)), faults=tuple(faults))

    def _disagreements(self) -> list[str]:
        """Say which values do not go together."""
        return []

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """List the section's keys in the order of the table."""
        return tuple(each.name for each in fields(cls))  # type: ignore[arg-type]
