"""Hosts for functions of libraries: started at the first use, one for each library.

The bridge knows such a host as an agent with a name of its own, since two hosts may hold functions
of one user's agent, and since several orchestrators may share a bridge. A twin that was declared
after the host of its library had started gets a further host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.layer import Report, Work
from tandem_orchestrator.layers.libraries import BoundTwin
from tandem_orchestrator.layers.native.entries import HIDDEN
from tandem_orchestrator.layers.native.hosts import HostedFile, PluginHosts
from tandem_orchestrator.layers.native.offers import Key
from tandem_orchestrator.layers.native.reports import CRASHED, is_gone
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.outcomes import Outcome

HOSTS_MAX = 64
"""Hosts of libraries in one orchestrator."""
FUNCTIONS_MAX = 128
"""Functions of one host, as ``TDI_BINDINGS_MAX``."""
NAME_CHARS_MAX = 40
"""Of a library's file name within its agent's name in the bridge."""


class LibraryHosts:
    """Start hosts for library twins as they are needed, and know what they are called.

    Args:
        twins: Lists every twin in a library; the same object as long as nothing changed.
        owner: The orchestrator's id: part of the agents' names.
        make_hosts: Makes what looks after the processes; LayerUnavailable where none can be had.
    """

    def __init__(
        self,
        twins: Callable[[], Iterable[BoundTwin]],
        owner: str,
        make_hosts: Callable[[], PluginHosts],
    ) -> None:
        self._twins, self._owner, self._make_hosts = twins, owner, make_hosts
        self._hosts: PluginHosts | None = None
        self._found_in: Iterable[BoundTwin] = ()
        self._found: dict[tuple[str, str, str], BoundTwin] = {}
        self._places: dict[BoundTwin, tuple[Key, str]] = {}
        """Of each twin: its names in the bridge, and its host's label."""
        self._spoken: set[str] = set()
        self._hosts_total = 0

    def find(self, agent: str, action: str, implementation: str) -> BoundTwin | None:
        """Find a library's function by what it implements; None if it is no library's."""
        twins = self._twins()
        if twins is not self._found_in:
            self._found_in = twins
            self._found = {(one.agent, one.action, one.twin.name): one for one in twins}
        return self._found.get((agent, action, implementation))

    def key_of(self, bound: BoundTwin) -> Key:
        """Give the names of a twin in the bridge; its host is started if it never was.

        Raises: LayerUnavailable where no host can be had.
        """
        if bound not in self._places:
            self._start(bound)
        return self._places[bound][0]

    def has_spoken(self, bound: BoundTwin) -> None:
        """Know that the host of a twin has offered its functions."""
        self._spoken.add(self._places[bound][1])

    def comes(self, bound: BoundTwin) -> bool:
        """Whether the twin, which is not offered now, is expected within seconds."""
        if self._hosts is None or bound not in self._places:
            return False
        label = self._places[bound][1]
        if label in self._spoken:
            return not self._hosts.given_up
        # One that ended before it had offered anything cannot load: waiting does not help.
        return not self._hosts.last_words(label)

    def missing(self, bound: BoundTwin) -> str:
        """Say why a twin is not offered, for people; empty if it is on its way."""
        if self._hosts is None or bound not in self._places:
            return ""
        label = self._places[bound][1]
        words = self._hosts.last_words(label)
        return f"the host of {label} ended: {words}" if words else ""

    def taken_in(self, work: Work, report: Report) -> Report:
        """Learn from the end of an attempt, and say of a crash whose it was and what to look at.

        A crash is a failure where the effects allow to know that much: it cost this attempt, and
        whether another follows is for the retry policy to say. No signature can be checked.
        """
        bound = self.find(work.agent, work.action, work.implementation)
        if bound is None or bound not in self._places or self._hosts is None:
            return report
        (agent, _), label = self._places[bound]
        failure = report.failure
        if failure is None or failure.type != CRASHED:
            if report.outcome in (Outcome.SUCCEEDED, Outcome.FAILED) and not is_gone(report):
                self._hosts.note_steady(label)
            return report
        twin = bound.twin
        text = failure.message.replace(f"agent {agent}", f"the host of {twin.library.path.name}")
        if twin.signature is not None and "SIGKILL" not in text:  # that one was our own
            text += f"; is {twin.symbol} really {twin.signature.text!r}?"
        repeats = may_repeat(bound.effects)
        return replace(
            report,
            outcome=Outcome.FAILED if repeats else report.outcome,
            failure=replace(failure, message=text),
        )

    # Any: figures and texts for people.
    def describe(self) -> dict[str, Any]:
        """Describe each host without waiting, by its library."""
        return {} if self._hosts is None else self._hosts.describe()

    async def close(self) -> None:
        """End all hosts within their grace; may be repeated."""
        hosts, self._hosts = self._hosts, None
        self._places.clear()
        self._spoken.clear()
        if hosts is not None:
            await hosts.close()

    def _start(self, wanted: BoundTwin) -> None:
        """Start a host for a twin and those of its library that have none yet."""
        library = wanted.twin.library
        if library.fd < 0:
            raise LayerUnavailable(f"{library.path}: this system has no memfd to load it from")
        twins = self._twins()
        self._end_those_without(twins)
        if len({label for _, label in self._places.values()}) >= HOSTS_MAX:
            raise LayerUnavailable(f"{library.path}: {HOSTS_MAX} libraries have hosts already")
        others = [
            bound
            for bound in twins
            if bound.twin.library is library and bound not in self._places and bound != wanted
        ]
        if self._hosts is None:
            self._hosts = self._make_hosts()
        self._hosts_total += 1
        name = library.path.name
        agent = f"{HIDDEN}{self._hosts_total}.{self._owner}/{name[:NAME_CHARS_MAX]}"
        plain = str(library.path)
        label = plain if self._is_new(plain) else f"{plain} #{self._hosts_total}"
        arguments = ["--library-fd", str(library.fd), "--agent", agent]
        for number, bound in enumerate([wanted, *others][:FUNCTIONS_MAX]):
            key = (agent, f"{bound.twin.symbol[:NAME_CHARS_MAX]}.{number}")
            self._places[bound] = (key, label)
            arguments += [
                "--action", key[1], "--symbol", bound.twin.symbol,
                "--effects", bound.effects, "--version", bound.version,
            ]  # fmt: skip
            if bound.twin.signature is not None:
                arguments += ["--signature", bound.twin.signature.text]
        self._hosts.add(label, HostedFile(name, tuple(arguments), (library.fd,)))

    def _end_those_without(self, twins: Iterable[BoundTwin]) -> None:
        """End hosts of which no function is an implementation any more: actions declared anew."""
        wanted = set(twins)
        labels = {label for _, label in self._places.values()}
        stale = labels - {label for bound, (_, label) in self._places.items() if bound in wanted}
        for bound in [b for b, (_, label) in self._places.items() if label in stale]:
            del self._places[bound]
        for label in stale:
            self._spoken.discard(label)
            if self._hosts is not None:
                self._hosts.end(label)

    def _is_new(self, label: str) -> bool:
        return self._hosts is None or label not in self._hosts.describe()
