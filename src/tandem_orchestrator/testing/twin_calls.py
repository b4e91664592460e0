"""What a test calls: every action, directly, by message or in a run, with its payload.

Recorded while the test runs; afterwards each call of an action that has twins runs again in all of
them, and what differs is told.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import msgspec

from tandem_orchestrator import Agent, CapsuleError, NotAValue, Settings, TandemOrchestrator
from tandem_orchestrator.engine.advance import replay as replay_events
from tandem_orchestrator.engine.state import RunState
from tandem_orchestrator.engine.turn import look_up
from tandem_orchestrator.layers.python import ActionHandle
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.events import AnyEvent, RunAccepted, RunEnded
from tandem_orchestrator.model.plans import PlannedStep, plan_from_value
from tandem_orchestrator.model.refs import Missing, as_ref, substitute
from tandem_orchestrator.model.values import to_value
from tandem_orchestrator.orchestrator.message_doors import MessageDoors
from tandem_orchestrator.orchestrator.replay import Replayed, replaying
from tandem_orchestrator.testing.twin_runs import replay_settings
from tandem_orchestrator.twins import Capsule

CALLS_MAX = 1000
"""Different calls of one test that run again; more are counted as not compared."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an action."""

    agent: str
    action: str
    # Any: payloads and outputs are values of any kind.
    payload: Any
    inputs: dict[str, Any] = field(default_factory=dict)

    def key(self) -> bytes:
        """Give what is equal for equal calls."""
        return msgspec.msgpack.encode((self.agent, self.action, self.payload, self.inputs))


@dataclass(slots=True)
class Place:
    """Where calls were made: the agents that were there, and the settings."""

    agents: Callable[[], list[Agent]]
    settings: Settings | None
    calls: dict[bytes, Call] = field(default_factory=dict)


class Recorder:
    """Notes the calls of one test at a time; may be told from any thread."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self._lock = threading.Lock()
        self.is_on = False
        """Whether a test runs at this moment."""
        self.is_verifying = False
        """Whether what runs is our own."""
        self.compared = 0
        self.differing = 0
        self.skipped: Counter[str] = Counter()
        """Calls that were not compared, by reason; over all tests."""

    def begin(self) -> None:
        """Forget the last test's calls, and note the next one's."""
        self._places, self.is_on = {}, True

    def note(self, owner: object, place: Place, call: Call) -> None:
        """Note one call at its place."""
        if not self.is_on:
            return
        try:
            key = call.key()
        except (TypeError, ValueError, OverflowError):
            self.skipped["its payload is not a value"] += 1
            return
        with self._lock:
            known = self._places.setdefault(id(owner), place)
            if len(known.calls) < CALLS_MAX:
                known.calls[key] = call
            elif key not in known.calls:
                self.skipped[f"over {CALLS_MAX} calls in one test"] += 1

    def verify(self) -> list[Replayed]:
        """Run what was noted again in all twins; give where they differ."""
        self.is_on = False
        found: list[Replayed] = []
        for place in self._places.values():
            self.is_verifying = True
            # On a thread of its own: the test's loop, if it has one, is none of ours.
            results: list[list[Replayed] | BaseException] = []

            def work(place: Place = place, into: list[Any] = results) -> None:
                try:
                    into.append(asyncio.run(self._verify(place)))
                except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
                    into.append(error)

            thread = threading.Thread(target=work, name="tandem-verify")
            thread.start()
            thread.join()
            self.is_verifying = False
            if isinstance(results[0], BaseException):
                raise results[0]
            found += results[0]
        self._places = {}
        return found

    async def _verify(self, place: Place) -> list[Replayed]:
        differing = []
        async with TandemOrchestrator(replay_settings(place.settings)) as tandem:
            for agent in place.agents():
                tandem.add_agent(agent)
            catalogue = tandem.catalogue()
            async with replaying(tandem) as replay:
                for call in place.calls.values():
                    action = catalogue.action(call.agent, call.action)
                    if action is None or len(action.implementations) < 2:
                        self.skipped["it has one implementation"] += 1
                        continue
                    if not may_repeat(action.effects):
                        self.skipped["its effects are external"] += 1
                        continue
                    names = [i.name for i in action.implementations]
                    try:
                        done = await replay.run(_capsule_of(call, names))
                    except CapsuleError as error:
                        self.skipped[str(error)] += 1
                        continue
                    self.compared += 1
                    if not done.agree:
                        differing.append(done)
        self.differing += len(differing)
        return differing


def _capsule_of(call: Call, implementations: list[str]) -> Capsule:
    return Capsule(
        id=f"{call.agent}.{call.action}",
        run="",
        step="",
        agent=call.agent,
        action=call.action,
        payload=call.payload,
        inputs=call.inputs,
        outcomes=tuple({"implementation": name} for name in implementations),
    )


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Have every call of an action noted: of handles, of messages, of runs."""
    with ExitStack() as undo:
        for owner, name, make in (
            (ActionHandle, "__call__", _direct),
            (MessageDoors, "send", _message),
            (MessageDoors, "call_sync", _message),
            (MessageDoors, "send_many", _messages),
            (TandemOrchestrator, "_open", _opening),
        ):
            original = getattr(owner, name)
            setattr(owner, name, make(recorder, original))
            undo.callback(setattr, owner, name, original)
        yield


# Any below: functions and values of any kind.
def _direct(recorder: Recorder, original: Any) -> Any:
    @wraps(original)
    def call(self: ActionHandle, *args: Any, **kwargs: Any) -> Any:
        if recorder.is_on:
            try:
                bound = inspect.signature(self.handler).bind(*args, **kwargs)
                given = list(bound.arguments.values())
                payload = to_value(given[0], payload=True) if given else {}
                inputs = dict(getattr(given[1], "inputs", None) or {}) if len(given) > 1 else {}
                place = Place(lambda: self._living(), None)
                recorder.note(self, place, Call(self.entry.agent, self.entry.name, payload, inputs))
            except NotAValue:
                recorder.skipped["its payload is not a value"] += 1
            except TypeError:
                pass  # It cannot be called like this; the call itself says so.
        return original(self, *args, **kwargs)

    return call


def _place_of(tandem: Any) -> Place:
    return Place(lambda: list(tandem._registry.agents), tandem.settings)


def _message(recorder: Recorder, original: Any) -> Any:
    @wraps(original)
    def call(self: Any, agent: str, action: str, payload: Any, **options: Any) -> Any:
        _note_message(recorder, self, agent, action, payload, options)
        return original(self, agent, action, payload, **options)

    return call


def _messages(recorder: Recorder, original: Any) -> Any:
    @wraps(original)
    def call(self: Any, agent: str, action: str, payloads: Any, **options: Any) -> Any:
        given = list(payloads)
        for payload in given:
            _note_message(recorder, self, agent, action, payload, options)
        return original(self, agent, action, given, **options)

    return call


def _note_message(
    recorder: Recorder, tandem: Any, agent: str, action: str, payload: Any, options: dict[str, Any]
) -> None:
    if not recorder.is_on or options.get("encoded"):
        return
    try:
        value = to_value(payload, payload=True)
    except NotAValue:
        return  # The call itself says so.
    recorder.note(tandem, _place_of(tandem), Call(agent, action, value))


def _opening(recorder: Recorder, original: Any) -> Any:
    @wraps(original)
    async def open_(self: Any) -> None:
        await original(self)
        if recorder.is_verifying:
            return
        place, events = _place_of(self), dict[str, list[AnyEvent]]()

        def on_event(run_id: str, event: AnyEvent) -> None:
            if isinstance(event, RunAccepted):
                events[run_id] = []
            if (mine := events.get(run_id)) is None:
                return
            mine.append(event)
            if isinstance(event, RunEnded):
                for call in calls_of_run(events.pop(run_id)):
                    recorder.note(self, place, call)

        # It is kept, since a context that is forgotten ends; it lives as long as the orchestrator.
        self._recorded = self._watching.listening(on_event, None)
        self._recorded.__enter__()

    return open_


def calls_of_run(events: list[AnyEvent]) -> Iterator[Call]:
    """Give the calls of a run that compared nothing itself, with every reference resolved."""
    accepted = events[0]
    assert isinstance(accepted, RunAccepted)
    plan = plan_from_value(accepted.plan)
    if plan.handler is not None:
        return
    state = replay_events(RunState.of(plan, accepted.inputs), events[1:])
    for step in plan.steps:
        mine = state.steps[step.id]
        ran = mine.outcome is not None and mine.outcome.value in ("succeeded", "failed")
        compares = step.assignment is not None and step.assignment.verdict != "none"
        if step.is_group or not ran or compares:
            continue
        inputs = {
            name: state.steps[other].output
            for name, other in step.inputs_from
            if state.steps[other].outcome is not None
        }
        for payload in _payloads(state, step):
            yield Call(step.agent, step.action, payload, inputs)


def _payloads(state: RunState, step: PlannedStep) -> Iterator[Any]:
    mine = state.steps[step.id]
    try:
        if step.for_each is None:
            yield substitute(step.payload, lambda ref: look_up(state, mine, None, ref))
            return
        source = as_ref(step.for_each)
        items = (
            look_up(state, mine, None, source)
            if source is not None
            else substitute(step.for_each, lambda ref: look_up(state, mine, None, ref))
        )
        for item in items:
            yield substitute(
                step.payload,
                lambda ref, item=item: look_up(state, mine, item, ref),  # type: ignore[misc]
            )
    except Missing:
        return  # It failed for that reason, in no implementation.
