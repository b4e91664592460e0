"""The section that says where what happened is kept, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_orchestrator.settings.keys import key
from tandem_orchestrator.settings.places import DatabaseUrl, is_database
from tandem_orchestrator.settings.section import Section


def _check_place(text: str) -> str | None:
    return "a path or a URL without a zero character" if "\0" in text else None


@dataclass(frozen=True)
class Journal(Section, title="journal"):
    """Where what happened is kept, and for how long."""

    path: str | None = key(
        None,
        "The journal's file, :memory:, or postgresql://user@host/database; null: "
        "tandem/journal.db in the state folder.",
        check=_check_place,
        env="TANDEM_JOURNAL",
        counts="session",
        guarded=True,
    )
    recover: bool = key(
        True,
        "Whether runs whose orchestrator died go on here once all they need is registered.",
        counts="session",
    )
    schedules: bool = key(
        True,
        "Whether schedules whose time has come are run here.",
        counts="session",
    )
    keep_days: float | None = key(
        None,
        "Days that finished runs are kept; null: for ever.",
        low=0,
        high=36_500,
    )
    keep_bytes: int | None = key(
        None,
        "Bytes in use in the journal's file above which the oldest finished runs go; null: no bound.",
        low=2**20,
        high=2**50,
    )
    group_events_max: int = key(
        256, "Events gathered into one commit under load.", low=1, high=65_536, counts="session"
    )
    backlog_events_max: int = key(
        10_000,
        "Events not yet written under async durability; beyond it, writing is waited for.",
        low=1,
        high=1_000_000,
        counts="session",
    )
    busy_timeout_s: float = key(
        10.0,
        "Seconds to wait for another process that is writing.",
        low=0.1,
        high=300,
        counts="session",
    )
    lease_s: float = key(
        4.0,
        "Seconds without a sign of life after which others take over what runs here; in PostgreSQL "
        "only, since a file notices at once.",
        low=1,
        high=3_600,
        counts="session",
    )
    control_interval_s: float = key(
        0.5,
        "Seconds between looks for control requests from other processes.",
        low=0.05,
        high=1.0,
        counts="session",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is not None and is_database(self.path):
            object.__setattr__(self, "path", DatabaseUrl(self.path))
