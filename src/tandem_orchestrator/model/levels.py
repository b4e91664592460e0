"""Command levels, priorities and hardware wishes: closed enumerations that parse in any case."""

from __future__ import annotations

from enum import Enum, IntEnum


class CommandType(str, Enum):
    """The level of a command set; a higher one holds lower ones."""

    CAMPAIGN = "campaign"
    """Several workflows."""
    ORCHESTRATION = "orchestration"
    """Several agents, coordinated."""
    WORKFLOW = "workflow"
    """A defined set of steps."""
    SEQUENCE = "sequence"
    """Steps in the order they are written."""
    ATOMIC = "atomic"
    """One step."""

    @property
    def rank(self) -> int:
        """Height of the level: 0 for ATOMIC to 4 for CAMPAIGN."""
        return _RANKS[self.value]

    @classmethod
    def _missing_(cls, value: object) -> CommandType | None:
        return cls.__members__.get(value.strip().upper()) if isinstance(value, str) else None

    def __str__(self) -> str:
        return self.value


_RANKS = {"atomic": 0, "sequence": 1, "workflow": 2, "orchestration": 3, "campaign": 4}


class Priority(IntEnum):
    """How urgent a run is; higher goes first."""

    BACKGROUND = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @classmethod
    def _missing_(cls, value: object) -> Priority | None:
        return cls.__members__.get(value.strip().upper()) if isinstance(value, str) else None

    @classmethod
    def parse(cls, value: Priority | int | str) -> Priority:
        """Read a priority from its name in any case, or its number.

        Raises: ValueError if there is no such priority.
        """
        return cls(value)  # type: ignore[arg-type]  # ``_missing_`` takes names

    @property
    def lane(self) -> int:
        """The C layer's lane: 0 (most urgent) to 3."""
        return 3 - max(0, self - 1)

    def __str__(self) -> str:
        return self.name.lower()


class HardwareAffinity(str, Enum):
    """Which kind of core a command set wishes for; a wish, never a condition."""

    AUTO = "auto"
    P_CORE = "p_core"
    """Performance cores."""
    P_CORE_ULTRA = "p_core_ultra"
    """The favoured performance cores: those with the highest clock."""
    E_CORE = "e_core"
    """Efficiency cores."""
    LP_E_CORE = "lp_e_core"
    """Low-power efficiency cores: those without a share of the last-level cache."""

    @classmethod
    def _missing_(cls, value: object) -> HardwareAffinity | None:
        return cls.__members__.get(value.strip().upper()) if isinstance(value, str) else None

    def __str__(self) -> str:
        return self.value
