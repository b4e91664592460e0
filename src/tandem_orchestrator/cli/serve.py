"""``tandem serve``: a program without a program of its own, that stays for a journal's runs.

It fires schedules, takes over what other programs left, obeys what people ask of its runs, and says
how it is on stderr. SIGTERM and SIGINT end it: runs may end within a time, the others are given
back, so that the next program goes on with them.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem_orchestrator import Agent, Settings, TandemOrchestrator
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.output import visible
from tandem_orchestrator.cli.target import import_agents, read_settings
from tandem_orchestrator.model.events import AnyEvent, RunEnded
from tandem_orchestrator.settings import shown_place

LOOK_S = 2.0
"""Seconds between two looks at health; what has changed is said."""


@dataclass(frozen=True, slots=True)
class ServeWish:
    """The options of ``serve``, as they were typed."""

    apps: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    journal: str | None = None
    drain_s: float = 10.0
    status_s: float = 60.0


def serve(wish: ServeWish) -> Exit:
    """Serve until a signal says that it is enough.

    Raises: UsageError if an app cannot be had; JournalError if the journal cannot be opened.
    """
    settings = read_settings(wish.settings, wish.journal)
    return run_in_loop(settings, lambda: _serve(wish, settings))


async def _serve(wish: ServeWish, settings: Settings) -> Exit:
    # Before anything is opened: a signal during the start ends it as well.
    with signals_heard() as heard:
        agents = import_agents(wish.modules)
        apps = [(name, load_app(name)) for name in wish.apps]
        tandem = TandemOrchestrator(settings)
        for agent in agents:
            tandem.add_agent(agent)
        for name, app in apps:
            await register(tandem, name, app)
        await tandem.initialize()
        told = Told(tandem, settings)
        try:
            async with tandem.listening(told.event):
                told.begins()
                while not heard.done():
                    await asyncio.wait((heard,), timeout=min(LOOK_S, wish.status_s))
                    told.look(wish.status_s)
                name, drain_s = heard.result(), wish.drain_s
                say(f"{name}: ends; what has begun gets {drain_s:g} s, the rest is given back")
                await tandem.close(give_back=True, drain_s=drain_s)
        finally:
            await tandem.close(give_back=True)
        told.ends()
    return Exit.DONE


@contextmanager
def signals_heard() -> Iterator[asyncio.Future[str]]:
    """Give what is done, with the signal's name, once SIGTERM or SIGINT has come."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[str] = loop.create_future()

    def hear(name: str) -> None:
        if not heard.done():
            heard.set_result(name)

    both = (signal.SIGTERM, signal.SIGINT)
    for each in both:
        loop.add_signal_handler(each, hear, each.name)
    try:
        yield heard
    finally:
        for each in both:
            loop.remove_signal_handler(each)


# Any: an app is whatever its module has under that name.
def load_app(name: str) -> Any:
    """Import ``module:object``, also from the working directory.

    Raises: UsageError naming what is not there.
    """
    module, colon, place = name.partition(":")
    if not (module and colon and place):
        raise UsageError(f"--app {name!r}: expected MODULE:OBJECT")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
        for part in place.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise UsageError(f"--app {name}: {type(error).__name__}: {error}") from error
    return found


# Any: as above.
async def register(tandem: TandemOrchestrator, name: str, app: Any) -> None:
    """Have what an app means: an agent, several, or a function that is given the orchestrator.

    Raises: UsageError if it is none of these.
    """
    if isinstance(app, Agent):
        tandem.add_agent(app)
    elif isinstance(app, Iterable) and not isinstance(app, str | bytes):
        for each in app:
            await register(tandem, name, each)
    elif callable(app):
        given = app(tandem)
        if inspect.isawaitable(given):
            await given
    else:
        raise UsageError(
            f"--app {name}: it is a {type(app).__name__}; expected an Agent, a list of them, or a "
            "function that is given the orchestrator"
        )


class Told:
    """What is said on stderr: the start, runs that end, health that changes, figures at times."""

    def __init__(self, tandem: TandemOrchestrator, settings: Settings) -> None:
        self._tandem, self._settings = tandem, settings
        self._ended: Counter[str] = Counter()
        self._health: tuple[str, ...] = ()
        self._next_s = 0.0

    def begins(self) -> None:
        """Say where it serves, and for whom."""
        agents = sorted({agent for agent, _ in self._tandem.catalogue().actions})
        where = shown_place(self._settings.journal.path)
        say(f"serves {where} as {self._tandem.journal_health().owner}; agents: {', '.join(agents)}")
        self._health = self._now()
        for line in self._health:
            say(line)

    def event(self, run_id: str, event: AnyEvent) -> None:
        """Tell of a run that ended."""
        if isinstance(event, RunEnded):
            self._ended[event.status] += 1
            why = f": {event.error}" if event.error else ""
            say(f"run {run_id} {event.status} in {event.duration:.3f} s{why}")

    def look(self, status_s: float) -> None:
        """Say what has changed, and the figures if it is time."""
        now_s = asyncio.get_running_loop().time()
        health = self._now()
        for line in health:
            if line not in self._health:
                say(line)
        if self._health and not health:
            say("all is well again")
        self._health = health
        if now_s >= self._next_s:
            if self._next_s:
                say(self._figures())
            self._next_s = now_s + status_s

    def ends(self) -> None:
        """Say what it did."""
        say(f"ended; {self._figures()}")

    def _now(self) -> tuple[str, ...]:
        lines = [
            f"the {name} layer: {health.reason or 'not well'}"
            for name, health in self._tandem.layer_health().items()
            if not health.healthy and (name != "c" or self._settings.c_layer.enabled)
        ]
        journal = self._tandem.journal_health()
        if not journal.ok:
            lines.append(f"the journal: {journal.reason}")
        return tuple(lines)

    def _figures(self) -> str:
        counts = ", ".join(f"{n} {status}" for status, n in sorted(self._ended.items()))
        return f"runs that ended here: {counts or 'none'}"


def say(text: str) -> None:
    """Say a line on stderr."""
    print(f"tandem serve: {visible(text)}", file=sys.stderr, flush=True)
