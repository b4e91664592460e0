"""What an interrupted run needs to be here before it can go on: small, hashable, equal for equal runs.

It is worked out once, from the run's folded records, and asked again whenever something else is
registered; the records need not be read a second time for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.engine.recover import Recovered
from tandem_orchestrator.engine.restarting import may_restart
from tandem_orchestrator.model.callables import find_callable
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.plans import PlannedStep

NAMELESS = "callables without a name (lambdas or closures)"
"""What a run that cannot be resumed waits for."""


@dataclass(frozen=True, slots=True)
class Need:
    """One action that a run still has to do."""

    agent: str
    action: str
    version: str
    implementations: tuple[str, ...]
    """Those that must be there; none where another will do as well."""

    @property
    def name(self) -> str:
        """Agent and action, for people."""
        return f"{self.agent}.{self.action}"

    @classmethod
    def of(cls, step: PlannedStep) -> Need:
        """Read a step's."""
        assignment = step.assignment
        fixed = assignment is not None and assignment.fallback is None
        names = assignment.implementations if assignment is not None and fixed else ()
        return cls(step.agent, step.action, step.version, names)

    def missing(self, catalogue: Catalogue) -> Iterator[str]:
        """Say what of it is not here."""
        action = catalogue.action(self.agent, self.action)
        if action is None or not action.implementations:
            yield self.name
            return
        for implementation in self.implementations:
            entry = action.implementation(implementation)
            if entry is None:
                yield f"{self.name} [{implementation}]"
            elif away := catalogue.away.get(entry.layer):
                yield f"the {entry.layer} layer for {self.name}: {away}"

    def changed(self, catalogue: Catalogue) -> str:
        """Say which other version of it is here; empty if it is the same, or none."""
        action = catalogue.action(self.agent, self.action)
        if action is None or action.version == self.version:
            return ""
        return f"{self.name} version {self.version} (here: {action.version})"


@dataclass(frozen=True, slots=True)
class Needs:
    """All that one run needs, in the order of its steps."""

    actions: tuple[Need, ...]
    """Of the steps that have not ended."""
    others: tuple[Need, ...]
    """Of those that have and would run again if it started from the beginning."""
    callables: tuple[str, ...]
    on_change: str
    restarts: bool
    """Whether it starts from the beginning where an action changed."""
    resumable: bool

    def changed(self, catalogue: Catalogue) -> tuple[str, ...]:
        """Name the actions of another version because of which it starts from the beginning."""
        return self._changes(catalogue) if self.restarts else ()

    def missing(self, catalogue: Catalogue, *, changes_hold: bool = True) -> tuple[str, ...]:
        """Name what is not here, each once.

        Args:
            changes_hold: Whether another version of an action is something that is missing, where
                the run's policy is to be held then.
        """
        found = [text for need in self.actions for text in need.missing(catalogue)]
        changes = self._changes(catalogue)
        if changes and self.restarts:
            found += [text for need in self.others for text in need.missing(catalogue)]
        elif self.on_change == "hold" and changes_hold:
            found += [f"{text}; 'tandem runs resume' goes on" for text in changes]
        found += self.found_callables(catalogue)[1]
        if not self.resumable:
            found.append(NAMELESS)
        return tuple(dict.fromkeys(found))

    # Any: whatever a run has to call.
    def found_callables(
        self, catalogue: Catalogue
    ) -> tuple[dict[str, Callable[..., Any]], list[str]]:
        """Give what its names stand for here, and what is said of those that stand for nothing."""
        found: dict[str, Callable[..., Any]] = {}
        missing: list[str] = []
        for need in self.actions:
            action = catalogue.action(need.agent, need.action)
            found.update(action.hooks if action is not None else {})
        for name in self.callables:
            if name not in found:
                try:
                    found[name] = find_callable(name)
                except LookupError as error:
                    missing.append(str(error))
        return found, missing

    def _changes(self, catalogue: Catalogue) -> tuple[str, ...]:
        texts = (need.changed(catalogue) for need in self.actions)
        return tuple(dict.fromkeys(text for text in texts if text))


def needs_of(recovered: Recovered, *, resumable: bool, again: Sequence[PlannedStep] = ()) -> Needs:
    """Work out what a run needs.

    Args:
        recovered: Where it stands.
        resumable: Whether all that it has to call has a name.
        again: Steps that will run beside those that have not ended.
    """
    plan, steps = recovered.state.plan, [*recovered.needs(), *again]
    names = {step.validation for step in steps if step.validation is not None}
    if plan.handler is not None:
        names.add(plan.handler)
    restarts = plan.on_change == "restart" and not again and may_restart(recovered.state)
    actions = dict.fromkeys(Need.of(step) for step in steps)
    others: dict[Need, None] = {}
    if restarts:
        for step in plan.steps:
            if step.kind == "action" and step.agent and not step.waits:
                need = Need(step.agent, step.action, step.version, ())
                others.setdefault(need)
    return Needs(
        tuple(actions), tuple(others), tuple(sorted(names)), plan.on_change, restarts, resumable
    )
