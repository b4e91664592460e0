"""Agents and their actions, as a user declares them; no orchestrator is needed for that."""

from __future__ import annotations

import inspect
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal, overload

from tandem_orchestrator.errors import CommandError, TwinError
from tandem_orchestrator.layers.libraries import BoundTwin, LibraryTwin, make_twin, open_library
from tandem_orchestrator.layers.python.handler import (
    Handler,
    PythonImplementation,
    describe_handler,
)
from tandem_orchestrator.model.carried import Codec, register_codec
from tandem_orchestrator.model.catalogue import Action, Implementation
from tandem_orchestrator.model.comparing import CompareRules
from tandem_orchestrator.model.effects import EFFECTS, Effects
from tandem_orchestrator.model.limits import KeyOf, Limits


class ActionHandle:
    """An action and its implementations; calling it calls the first handler."""

    def __init__(
        self,
        agent: Agent,
        entry: Action,
        errors: Mapping[Any, str] | None,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        codec: Codec | None = None,
    ) -> None:
        self._agents = [weakref.ref(agent)]
        self.codec = codec
        """Makes values of objects in its outputs that are none."""
        self.limits = limits
        """What it takes of attempts, whichever implementation they run."""
        self.entry = entry
        self.errors = dict(errors or {})
        """Exception class (or its name) to the failure type that twins share."""
        self.implementations: dict[str, PythonImplementation] = {}
        self.libraries: dict[str, LibraryTwin] = {}
        """Implementations that are functions of a library; they run in the C layer."""

    @property
    def handler(self) -> Handler:
        """The first implementation's own function."""
        return next(iter(self.implementations.values())).handler

    # Any: whatever the handler takes and gives.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the first handler itself, as if it had not been decorated."""
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        names = ", ".join([*self.implementations, *self.libraries])
        return f"<action {self.entry.agent}.{self.entry.name}: {names}>"

    @overload
    def twin(
        self, name: str, *, cpu: Literal["process"] | None = None
    ) -> Callable[[Handler], Handler]: ...

    @overload
    def twin(
        self,
        name: str,
        *,
        library: str | os.PathLike[str],
        symbol: str,
        signature: str | None = None,
    ) -> LibraryTwin: ...

    def twin(
        self,
        name: str,
        *,
        library: str | os.PathLike[str] | None = None,
        symbol: str | None = None,
        signature: str | None = None,
        cpu: Literal["process"] | None = None,
    ) -> Callable[[Handler], Handler] | LibraryTwin:
        """Add another implementation: in Python by decorator, or a function of a library.

        Its rung on the promotion ladder is ``shadow``: the router does not pick it, modes that
        compare do, and a step may name it. Effects, codec and rules are the action's.

        Args:
            name: Any that is free; ``c`` is the one that modes mean by C.
            library: A shared object, relative to the calling file. It is copied and checked here,
                and loaded by a host process at its first use; never into this process.
            symbol: The function in it: ``td_status fn(td_call *)`` of ``tandem/agent.h``.
            signature: How to call a plain C function, as ``f64(f64 w, f64 h)``; arguments are
                taken from the payload by name. See ``docs/twins-of-any-kind.md``.
            cpu: As for the action itself.

        Raises: TwinError if the name is taken or cannot be one; if the library cannot be read,
            has no such function, or the signature cannot be understood.
        """
        label = f"{self.entry.agent}.{self.entry.name}"
        _check_name("twin", name, TwinError)
        if name in self.implementations or name in self.libraries:
            raise TwinError(f"{label}: {name!r} is taken already")
        if self.entry.transient:
            raise TwinError(f"{label}: objects passed by reference cannot be compared")
        if library is not None:
            if cpu is not None:
                raise TwinError(f"{label}: a function of a library has no cpu=")
            opened = open_library(library, _folder_of(sys._getframe(1)))
            return self._add_library(make_twin(name, opened, symbol, signature, label))
        if symbol is not None or signature is not None:
            raise TwinError(f"{label}: symbol= and signature= need a library=")
        if name == "c":
            raise TwinError(f"{label}: twin 'c' is in C: name its library= and symbol=")

        def add(handler: Handler) -> Handler:
            self.add(describe_handler(name, handler, cpu, "shadow"))
            return handler

        return add

    def _add_library(self, twin: LibraryTwin) -> LibraryTwin:
        self.libraries[twin.name] = twin
        self._changed()
        return twin

    def bound_twins(self) -> list[BoundTwin]:
        """List the functions of libraries that are implementations of this action."""
        entry = self.entry
        return [
            BoundTwin(entry.agent, entry.name, entry.effects, entry.version, twin)
            for twin in list(self.libraries.values())
        ]

    def add(self, implementation: PythonImplementation) -> None:
        """Hang an implementation on the action."""
        self.implementations[implementation.name] = implementation
        self._changed()

    def joined(self, agent: Agent) -> None:
        """Tell the action that another agent offers it, too."""
        if not any(known is agent for known in self._living()):
            self._agents.append(weakref.ref(agent))

    def _living(self) -> list[Agent]:
        """Give the agents that offer it; those that nobody has any more are forgotten."""
        found = [(ref, ref()) for ref in self._agents]
        self._agents = [ref for ref, agent in found if agent is not None]
        return [agent for _, agent in found if agent is not None]

    def _changed(self) -> None:
        for agent in self._living():
            agent.changed()

    def copied(self, agent: Agent) -> ActionHandle:
        """Give an action of another agent that begins like this one and changes by itself."""
        copy = ActionHandle(agent, self.entry, self.errors, self.limits, self.codec)
        copy.take_in(self)
        return copy

    def take_in(self, other: ActionHandle) -> None:
        """Have the implementations that another declaration has and this one has not."""
        for name, implementation in list(other.implementations.items()):
            self.implementations.setdefault(name, implementation)
        for name, twin in list(other.libraries.items()):
            self.libraries.setdefault(name, twin)

    def error_names(self) -> dict[str, str]:
        """Give ``errors`` by class name alone, to send it to another process."""
        return {
            kind if isinstance(kind, str) else kind.__name__: shared
            for kind, shared in self.errors.items()
        }

    def catalogue_entry(self) -> Action:
        """Give the entry that planners read."""
        implementations = tuple(
            Implementation(i.name, "python", i.rung, i.source)
            for i in list(self.implementations.values())
        ) + tuple(
            Implementation(twin.name, "c", "shadow", twin.source)
            for twin in list(self.libraries.values())
        )
        entry = self.entry
        return Action(
            agent=entry.agent,
            name=entry.name,
            effects=entry.effects,
            deterministic=entry.deterministic,
            version=entry.version,
            batch=entry.batch,
            max_concurrency=entry.max_concurrency,
            transient=entry.transient,
            limited=self.limits.bind or any(agent.limits.bind for agent in self._living()),
            implementations=implementations,
            documentation=entry.documentation,
            compare=entry.compare,
            hooks=entry.hooks,
        )


@dataclass
class Agent:
    """Who can do things: a name, and handlers hung on it.

    Args:
        name: Letters, digits, ``_``, ``-`` and ``.``; at most 64 characters.
        capabilities: Action names that are announced; one without a handler is an error when
            a step asks for it, never a made-up result.
        max_concurrency: Attempts of all its actions together at one time.
        rate_per_s: Attempts of all its actions together in a second, evenly spread.
    """

    name: str
    capabilities: Iterable[str] = ()
    max_concurrency: int | None = field(default=None, kw_only=True)
    rate_per_s: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_name("agent", self.name)
        self.limits.checked(f"agent {self.name!r}")
        if isinstance(self.capabilities, str):
            text = f"capabilities={self.capabilities!r}, expected a list of names"
            raise CommandError(f"agent {self.name!r}: {text}")
        self.capabilities = tuple(dict.fromkeys(self.capabilities))
        for capability in self.capabilities:
            _check_name("capability", capability)
        self.actions: dict[str, ActionHandle] = {}
        self.version = 0
        """Grows with every change, so that catalogues know when they are stale."""
        self._watchers: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._origins: list[Agent] = []
        """Those that it follows."""

    @property
    def limits(self) -> Limits:
        """What it takes of attempts of all its actions together."""
        return Limits(self.max_concurrency, self.rate_per_s)

    def watch(self, changed: Callable[[], None]) -> None:
        """Have a method called after every change, for as long as its object lives."""
        living = [watcher for watcher in self._watchers if watcher() is not None]
        self._watchers = [*living, weakref.WeakMethod(changed)]

    def changed(self) -> None:
        """Count a change, and tell those who watch."""
        self.version += 1
        for watcher in list(self._watchers):
            call = watcher()
            if call is None:
                self._watchers.remove(watcher)
            else:
                call()

    def action(
        self,
        name: str,
        *,
        effects: Effects = "external",
        deterministic: bool = False,
        version: str = "1",
        cpu: Literal["process"] | None = None,
        batch: Literal["items"] | None = None,
        codec: Codec | None = None,
        transient: bool = False,
        errors: Mapping[Any, str] | None = None,
        compare: CompareRules | None = None,
        max_concurrency: int | None = None,
        rate_per_s: float | None = None,
        concurrency_key: KeyOf | None = None,
    ) -> Callable[[Handler], ActionHandle]:
        """Declare an action, by decorator.

        The handler takes ``(payload)`` or ``(payload, ctx)``. An ``async def`` runs on the loop,
        a plain function in a thread, and with ``cpu="process"`` in a worker process, for which
        it must be importable as ``module:qualname``. A payload annotated with a dataclass,
        TypedDict or msgspec Struct is converted and checked.

        Args:
            effects: ``none``, ``idempotent`` or ``external``: whether it may be run twice.
            deterministic: Same payload, same output, always; needed for caching.
            version: Changes when the meaning of the action changes.
            batch: ``items``: payload["items"] is a list, the output a list of the same length.
            codec: Makes values of objects in outputs that are none (``name, encode, decode``); who
                takes them from there gets the objects again.
            transient: Objects in outputs that are no values are passed by reference, to steps of
                the same run in this process, and never journaled.
            errors: Exception class or name to the failure type it is reported and compared as.
            compare: What counts as equal for its twins; without it outputs must be the same.
            max_concurrency: Attempts of this action at one time, whatever implementation they run.
            rate_per_s: Its attempts in a second: each starts at least ``1 / rate_per_s`` seconds
                after the one before.
            concurrency_key: A field of the payload, or a function of it: ``max_concurrency`` (then
                1 unless said) counts attempts with equal keys.

        Raises: CommandError if the name, an option or the signature cannot be used.
        """
        where = f"{self.name}.{name}"
        _check_name("action", name)
        _check_words(where, effects, cpu, batch)
        limits = Limits(max_concurrency, rate_per_s, concurrency_key)
        limits.checked(where)
        if codec is not None:
            register_codec(codec, where)
        if transient:
            _check_transient(where, effects, cpu, codec)
        rules, hooks = _rules(where, compare, errors)
        entry = Action(
            agent=self.name,
            name=name,
            effects=effects,
            deterministic=deterministic,
            version=version,
            batch=batch,
            max_concurrency=max_concurrency,
            transient=transient,
            compare=rules,
            hooks=hooks,
        )

        def add(handler: Handler) -> ActionHandle:
            told = (inspect.getdoc(handler) or "").partition("\n")[0]
            handle = ActionHandle(self, replace(entry, documentation=told), errors, limits, codec)
            self.actions[name] = handle
            handle.add(describe_handler("python", handler, cpu, "native"))
            return handle

        return add

    def catalogue_entries(self) -> list[Action]:
        """Give the entries that planners read, announced capabilities included."""
        entries = [handle.catalogue_entry() for handle in list(self.actions.values())]
        announced = (name for name in self.capabilities if name not in self.actions)
        return entries + [Action(self.name, name, limited=self.limits.bind) for name in announced]

    def copied(self) -> Agent:
        """Give an agent that has all that this one has, or gets later, and keeps to itself what it gets.

        So several orchestrators can offer one agent, and what is hung on it in one of them is not
        seen in the others.
        """
        limits = {"max_concurrency": self.max_concurrency, "rate_per_s": self.rate_per_s}
        copy = Agent(self.name, self.capabilities, **limits)  # type: ignore[arg-type]
        copy.follow(self)
        return copy

    def follow(self, origin: Agent) -> None:
        """Have all that another agent has, or gets later, beside what this one has of its own."""
        if any(known is origin for known in self._origins):
            return
        self._origins.append(origin)
        self._take_in()
        origin.watch(self._take_in)

    def _take_in(self) -> None:
        for origin in self._origins:
            self.capabilities = tuple(dict.fromkeys((*self.capabilities, *origin.capabilities)))
            for name, handle in list(origin.actions.items()):
                if name in self.actions:
                    self.actions[name].take_in(handle)
                else:
                    self.actions[name] = handle.copied(self)
        self.changed()

    def join(self, other: Agent) -> None:
        """Take over what another declaration of the same agent has and this one has not."""
        self.capabilities = tuple(dict.fromkeys((*self.capabilities, *other.capabilities)))
        for name, handle in other.actions.items():
            self.actions.setdefault(name, handle)
            self.actions[name].joined(self)
        self.changed()


def _rules(
    label: str, compare: object, errors: Mapping[Any, str] | None
) -> tuple[CompareRules | None, dict[str, Callable[..., Any]]]:
    """Give rules with their hooks by name, and the hooks.

    What the action maps of its own failures counts for every twin's: C knows nothing of it.
    """
    if compare is None and not errors:
        return None, {}
    if compare is not None and not isinstance(compare, CompareRules):
        raise CommandError(f"{label}: compare={compare!r:.80}, expected CompareRules")
    rules, hooks = (compare or CompareRules()).named(label)
    return rules.with_errors(errors or {}), hooks


# Any: what was given may be anything.
def _check_words(where: str, effects: Any, cpu: Any, batch: Any) -> None:
    """Refuse an option that is none of its words. Raises: CommandError."""
    words: tuple[tuple[str, Any, tuple[str | None, ...]], ...] = (
        ("effects", effects, tuple(EFFECTS)),
        ("cpu", cpu, (None, "process")),
        ("batch", batch, (None, "items")),
    )
    for name, given, expected in words:
        if given not in expected:
            shown = ", ".join(map(str, expected))
            raise CommandError(f"{where}: {name}={given!r}, expected {shown}")


def _check_transient(label: str, effects: str, cpu: str | None, codec: object) -> None:
    """Refuse what cannot be passed by reference. Raises: CommandError."""
    if codec is not None:
        raise CommandError(f"{label}: transient=True and codec= exclude each other")
    if effects == "external":
        text = "its outputs are not kept, so it may have to run again: effects none or idempotent"
        raise CommandError(f"{label}: transient=True: {text}")
    if cpu is not None:
        raise CommandError(f"{label}: transient=True: an object cannot leave a worker process")


def _folder_of(frame: FrameType) -> str:
    """Give the folder of the file that calls; of a console, where the process is."""
    file = Path(frame.f_code.co_filename)
    return str(file.absolute().parent if file.is_file() else Path.cwd())


def _check_name(what: str, name: object, kind: type[CommandError] = CommandError) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= 64:
        raise kind(f"{what} name {name!r}: expected 1 to 64 characters")
    if not all(c.isalnum() or c in "_-." for c in name):
        raise kind(f"{what} name {name!r}: expected letters, digits, '_', '-' and '.'")
