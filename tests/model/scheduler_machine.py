"""The machine: whatever happens to the real orchestrator happens to the reference, and both agree."""

import asyncio
import contextlib
import logging
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from reference_scheduler import Died, Reference
from reference_wishes import (
    advance,
    answer,
    cancel,
    cancel_step,
    fork,
    pause,
    reach,
    recover,
    redo,
    retry,
    signal,
    unpause,
)
from reference_words import FINAL, make_run, make_step
from scheduler_world import ATTEMPTS, LEVEL_S, PLACES, FileWorld, World

from tandem_orchestrator.errors import CommandError, IdempotencyMismatch, JournalError
from tandem_orchestrator.model.levels import Priority

PICK = st.integers(0, 11)
VALUES = st.integers(0, 1)


@st.composite
def step_fields(draw, index):
    """Draw one step; half of them are plain, so that what is odd meets what is not."""
    needs = draw(st.sets(st.sampled_from(range(index)), max_size=2)) if index else set()
    fields = {"id": f"s{index}", "needs": tuple(f"s{need}" for need in sorted(needs))}
    kind = draw(st.sampled_from(["plain", "plain", "odd", "keyed", "approval", "signal"]))
    if kind in ("approval", "signal"):
        fields["waits"] = "" if kind == "approval" else "go"
    elif kind != "plain":
        fields["external"] = draw(st.booleans())
        fields["retries"] = draw(st.integers(0, 2))
        fields["insist"] = fields["external"] and draw(st.booleans())
        fields["ref"] = bool(needs) and draw(st.booleans())
        fields["key"] = draw(st.sampled_from("ab")) if kind == "keyed" else None
    if needs and draw(st.booleans()):
        fields["when"] = (fields["needs"][0], draw(VALUES))
    fields["can_fail"] = draw(st.booleans())
    fields["timeout"] = draw(st.sampled_from([None, None, 5.0, 20.0]))
    return fields


@st.composite
def command_sets(draw):
    """Draw what is submitted: (fields of steps, fields of the run)."""
    steps = [draw(step_fields(i)) for i in range(draw(st.integers(1, 4)))]
    run = {
        "priority": draw(st.sampled_from([1, 2, 2, 3])),
        "timeout": draw(st.sampled_from([None, None, None, 15.0, 40.0])),
        "drain": draw(st.booleans()),
    }
    return steps, run


class SchedulerMachine(RuleBasedStateMachine):
    """Runs of a real orchestrator beside those of the reference."""

    def __init__(self):
        super().__init__()
        self.log = logging.getLogger("tandem_orchestrator")
        self.log_level = self.log.level
        self.log.setLevel(logging.CRITICAL + 1)  # A dying program has much to say.
        self.loop = asyncio.new_event_loop()
        self.world, self.reference = self.make_world(), Reference(PLACES, ATTEMPTS, LEVEL_S)
        self.keys, self.results, self.spread = {}, {}, 0
        self.do(self.world.open())

    def make_world(self):
        return World()

    def do(self, work):
        """Run something to its end, and all that follows from it."""

        async def done():
            try:
                return await work
            finally:
                await self.world.settle()

        return self.loop.run_until_complete(done())

    def teardown(self):
        self.log.setLevel(self.log_level)
        self.now(self.world.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def now(self, work):
        return self.loop.run_until_complete(work)

    # --- what can be picked

    def runs(self, *statuses):
        return [run for run in self.reference.runs.values() if run.status in statuses]

    def going(self):
        return [run for run in self.reference.runs.values() if run.status not in FINAL]

    def steps(self, *states, waits=None):
        return [
            (run, step)
            for run in self.going()
            for step in run.steps.values()
            if step.state in states and waits in (None, step.waits)
        ]

    def handle(self, run):
        return self.world.tandem.run(run.id)

    def odd(self, seconds):
        """Give a time that no other is equal to: what is due at one moment has no order."""
        self.spread += 1
        return None if seconds is None else seconds + 0.000137 * self.spread

    # --- rules

    @rule(asked=command_sets(), key=st.sampled_from([None, "k1", "k2"]))
    def submit(self, asked, key):
        steps, fields = asked
        if key is not None and key in self.keys:
            self.submit_again(key)
        else:
            self.submit_now(steps, fields, key)

    def submit_now(self, steps, fields, key):
        steps = [
            dict(step, timeout=self.odd(step.get("timeout")), delay=self.odd(1.0)) for step in steps
        ]
        fields = dict(fields, timeout=self.odd(fields["timeout"]))
        run_id = self.send(steps, fields, key)
        if key is not None:
            self.keys[key] = (steps, fields, run_id)
        made = [make_step(**step) for step in steps]
        now = self.reference.now
        self.reference.enter(make_run(run_id, made, created=now, **fields), now)

    @rule(priority=st.integers(1, 3), key=st.sampled_from([None, "a"]), retries=st.integers(0, 2))
    def submit_one_step(self, priority, key, retries):
        """Many small runs make queues, in which priority and age decide."""
        fields = {"priority": priority, "timeout": None, "drain": False}
        self.submit_now([{"id": "s0", "key": key, "retries": retries, "delay": 1.0}], fields, None)

    def send(self, steps, fields, key):
        made = [make_step(**step) for step in steps]
        command_set = self.world.command_set(
            made, Priority(fields["priority"]), fields["timeout"], fields["drain"], key
        )
        return self.do(self.world.tandem.submit(command_set)).id

    def submit_again(self, key):
        """A key that was used gives its run, or a refusal: never a second run."""
        steps, fields, run_id = self.keys[key]
        assert self.send(steps, fields, key) == run_id, "a duplicate is the same run"
        try:
            self.send([{**steps[0], "id": "other", "needs": (), "when": None}], fields, key)
        except IdempotencyMismatch:
            return
        raise AssertionError("another body was taken for the same run")

    @precondition(lambda self: self.reference.turns.inside)
    @rule(
        pick=PICK,
        outcome=st.sampled_from(["succeeded"] * 4 + ["failed"] * 2 + ["unknown"]),
        value=VALUES,
    )
    def attempt_ends(self, pick, outcome, value):
        name = self.reference.turns.inside[pick % len(self.reference.turns.inside)]
        output = value if outcome == "succeeded" else None
        self.world.end(name, outcome, output)
        self.do(self.world.settle())
        run = self.reference.runs[name[0]]
        self.reference.end(run, run.steps[name[1]], outcome, output)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 12.0, 30.0]))
    def time_passes(self, seconds):
        self.do(self.world.advance(seconds))
        advance(self.reference, seconds)

    @precondition(lambda self: self.going())
    @rule(pick=PICK)
    def cancel_run(self, pick):
        run = self.going()[pick % len(self.going())]
        self.do(self.handle(run).cancel())
        cancel(self.reference, run)

    @precondition(
        lambda self: self.steps("waiting", "out", "parked", "retrying", "asking", "unknown")
    )
    @rule(pick=PICK)
    def cancel_a_step(self, pick):
        found = self.steps("waiting", "out", "parked", "retrying", "asking", "unknown")
        run, step = found[pick % len(found)]
        self.do(self.handle(run).cancel(step.id))
        cancel_step(self.reference, run, step)

    @precondition(lambda self: self.going())
    @rule(pick=PICK)
    def pause_or_continue(self, pick):
        run = self.going()[pick % len(self.going())]
        if run.paused:
            self.do(self.handle(run).unpause())
            unpause(self.reference, run)
        else:
            self.do(self.handle(run).pause())
            pause(self.reference, run)

    @precondition(lambda self: self.steps("asking", waits=""))
    @rule(pick=PICK, approved=st.booleans())
    def approve(self, pick, approved):
        found = self.steps("asking", waits="")
        run, step = found[pick % len(found)]
        self.do(self.handle(run).approve(step.id, "ann", approved=approved))
        answer(self.reference, run, step, *(("succeeded", "yes") if approved else ("failed", None)))

    @precondition(lambda self: self.going())
    @rule(pick=PICK, value=VALUES)
    def send_signal(self, pick, value):
        run = self.going()[pick % len(self.going())]
        self.do(self.handle(run).signal("go", value))
        signal(self.reference, run, "go", value)

    @precondition(lambda self: self.steps("unknown"))
    @rule(pick=PICK, value=st.sampled_from([None, 0, 1]))
    def settle_unknown(self, pick, value):
        run, step = (found := self.steps("unknown"))[pick % len(found)]
        if value is None:
            self.do(self.handle(run).retry(step.id))
            redo(self.reference, run, step)
        else:
            self.do(self.handle(run).resolve(step.id, output=value))
            answer(self.reference, run, step, "succeeded", value)

    @precondition(lambda self: self.runs(*FINAL))
    @rule(pick=PICK, at=st.sampled_from([None, 0, 1, 2]))
    def retry_a_run(self, pick, at):
        run = (found := self.runs(*FINAL))[pick % len(found)]
        step_id = None if at is None else list(run.steps)[at % len(run.steps)]
        again = reach(run, step_id)
        if not again:
            try:
                self.do(self.handle(run).retry())
            except CommandError:
                return
            raise AssertionError("there was nothing to retry")
        self.do(self.handle(run).retry(step_id))
        self.results.pop(run.id, None)
        retry(self.reference, run, again)

    @precondition(lambda self: self.runs(*FINAL))
    @rule(pick=PICK, at=PICK)
    def fork_a_run(self, pick, at):
        run = (found := self.runs(*FINAL))[pick % len(found)]
        step_id = list(run.steps)[at % len(run.steps)]
        forked = self.do(self.handle(run).fork(step_id))
        fork(self.reference, run, reach(run, step_id), forked.id)

    @rule(lost_end=st.booleans(), pick=PICK)
    def crash(self, lost_end, pick):
        """The program dies; an attempt's end on its way to the journal may die with it."""
        if lost_end and self.reference.turns.inside:
            name = self.reference.turns.inside[pick % len(self.reference.turns.inside)]
            self.world.journal.is_dead = True
            self.world.end(name, "succeeded", 1)
        self.do(self.world.crash())
        recover(self.reference)

    @precondition(lambda self: self.going())
    @rule(pick=PICK)
    def die_while_asked(self, pick):
        """What is asked of a program that dies over it is not acknowledged, and never was."""
        run = self.going()[pick % len(self.going())]
        self.world.journal.is_dead = True
        with contextlib.suppress(JournalError):
            self.do(self.handle(run).signal("go", 1))
        self.do(self.world.crash())
        recover(self.reference)

    @precondition(lambda self: self.going())
    @rule(writes=st.integers(0, 3), what=st.sampled_from(["end", "cancel", "time"]), pick=PICK)
    def die_midway(self, writes, what, pick):
        """Something begins to happen, and only so much of it is written down."""
        run = self.going()[pick % len(self.going())]
        inside = self.reference.turns.inside
        name = inside[pick % len(inside)] if inside else None
        then = self.reference.now + 12.0 * (what == "time")
        self.world.journal.writes_left = self.reference.left = writes
        with contextlib.suppress(JournalError):
            if what == "time":
                self.do(self.world.advance(12.0))
            elif what == "cancel":
                self.do(self.handle(run).cancel())
            elif name is not None:
                self.world.end(name, "succeeded", 1)
                self.do(self.world.settle())
        with contextlib.suppress(Died):
            if what == "time":
                advance(self.reference, 12.0)
            elif what == "cancel":
                cancel(self.reference, run)
            elif name is not None:
                run = self.reference.runs[name[0]]
                self.reference.end(run, run.steps[name[1]], "succeeded", 1)
        self.reference.now, self.reference.left = then, None
        self.do(self.world.crash())
        recover(self.reference)

    # --- what must hold

    @invariant()
    def both_run_the_same(self):
        real = {name: work.attempt for name, (work, _) in self.world.layer.running.items()}
        runs = self.reference.runs
        meant = {(r, s): runs[r].steps[s].attempt for r, s in self.reference.turns.inside}
        assert real == meant, f"runs: {real}, should: {meant}"

    @invariant()
    def each_attempt_started_once(self):
        given = self.world.given
        assert len(given) == len(set(given)), "an attempt was given out twice"

    @invariant()
    def both_are_in_the_same_state(self):
        for run in self.reference.runs.values():
            row, view = self.now(self.world.row(run.id)), self.now(self.world.view(run.id))
            assert row is not None, f"{run.id} was acknowledged and is lost"
            assert row.status == run.status, f"{run.id} is {row.status}, should be {run.status}"
            real = {name: (s.outcome, plain(s.output)) for name, s in view.steps.items()}
            steps = run.steps.values()
            meant = {s.id: (s.outcome, s.output) for s in steps if s.state == "ended"}
            assert real == meant, f"{run.id} has {real}, should have {meant}"

    @invariant()
    def results_stay(self):
        for run in self.runs(*FINAL):
            result = self.do(self.handle(run).result())
            told = (result["status"], result["results"])
            assert self.results.setdefault(run.id, told) == told, f"{run.id} told {told}"

    @invariant()
    def payloads_are_right(self):
        for (run_id, step_id), (work, _) in self.world.layer.running.items():
            step = self.reference.runs[run_id].steps[step_id]
            if step.ref:
                before = self.reference.runs[run_id].steps[step.needs[0]].output
                assert plain(work.payload["before"]) == before


class FileSchedulerMachine(SchedulerMachine):
    """The same, on a real SQLite file."""

    def make_world(self):
        self.folder = tempfile.TemporaryDirectory(prefix="model-")
        return FileWorld(Path(self.folder.name))

    def teardown(self):
        super().teardown()
        self.folder.cleanup()


def plain(output):
    """An approval's output has who, when and why; here it is whether."""
    return "yes" if isinstance(output, dict) else output
