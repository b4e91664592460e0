"""The built-in agents: `system`, `docgen` and `tui`.

This room knows how to do the work of those three, as pure functions with thin actions over them.
It never knows how a run is planned, journaled or shown, and of the package it sees only the
public names, as anyone's agents do. It hands on one ``agent`` a module, found by the entry points
``tandem.agents``; nothing imports this room.
"""

__all__: list[str] = []
