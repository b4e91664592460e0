"""Settings: every knob and every bound, by name.

This room knows each key with its meaning, default, range and environment variable, and from where
a value may come. It never knows what a setting does, and reads neither environment nor working
folder by itself: both are passed in. It hands on ``Settings``, checked and immutable, and the
``Config`` view that users assign to.
"""

from __future__ import annotations

from tandem_orchestrator.settings.config import Config, ConfigSection
from tandem_orchestrator.settings.documentation import settings_table
from tandem_orchestrator.settings.journal import Journal
from tandem_orchestrator.settings.keys import Key
from tandem_orchestrator.settings.places import is_database, shown_place, without_password
from tandem_orchestrator.settings.redundancy import Redundancy, weights_of
from tandem_orchestrator.settings.sections import (
    CLayer,
    Hardware,
    Limits,
    Metrics,
    Orchestrator,
    PythonLayer,
)
from tandem_orchestrator.settings.settings import KEYS, Settings
from tandem_orchestrator.settings.sources import state_folder
from tandem_orchestrator.settings.trust import Router, Twins

__all__ = [
    "KEYS",
    "CLayer",
    "Config",
    "ConfigSection",
    "Hardware",
    "Journal",
    "Key",
    "Limits",
    "Metrics",
    "Orchestrator",
    "PythonLayer",
    "Redundancy",
    "Router",
    "Settings",
    "Twins",
    "is_database",
    "settings_table",
    "shown_place",
    "state_folder",
    "weights_of",
    "without_password",
]
