"""The one loop: barriers, timers, places, progress and what a failing journal means."""

import asyncio
import random

import pytest

from tandem_orchestrator.engine import Engine, RunRequest, Wish, retried
from tandem_orchestrator.engine.recover import recover
from tandem_orchestrator.errors import Busy, Closed, InternalError, JournalError, NotAValue
from tandem_orchestrator.journal import MemoryJournal
from tandem_orchestrator.journal.entry import entries_of
from tandem_orchestrator.layers.layer import Report
from tandem_orchestrator.model.events import AttemptStarted, RunAccepted, RunEnded, RunStarted
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.plans import plan_to_value
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.testing import FakeClock, FakeLayer, settle
from tandem_orchestrator.testing.driver import plan, step
from tandem_orchestrator.testing.journal_gate import GatedJournal


class NoCaller:
    async def call(self, function, arguments, cancel, where):
        return Report(Outcome.SUCCEEDED, function(*arguments))


class World:
    """An engine over fakes."""

    def __init__(
        self, journal=None, places=10, waiting_max=10, output_bytes_max=1000, attempts_max=100
    ):
        self.clock, self.layer = FakeClock(), FakeLayer()
        self.journal = journal or MemoryJournal()
        self.events, self.progress = [], []
        self.engine = Engine(
            {"python": self.layer}, NoCaller(), self.journal, self.clock, random.Random(1),
            places=places, waiting_max=waiting_max, attempts_max=attempts_max,
            output_bytes_max=output_bytes_max, close_grace_s=5.0,
            observe=lambda run_id, event: self.events.append((run_id, event)),
            on_progress=lambda *told: self.progress.append(told),
        )  # fmt: skip

    async def __aenter__(self):
        await self.journal.open("owner")
        await self.engine.start()
        return self

    async def __aexit__(self, *error):
        await self.engine.close()
        await self.journal.close()

    def submit(self, the_plan, run_id="r1", priority=2, **fields):
        accepted = RunAccepted(
            run_id=run_id, command_set_id="c", name="n", type="workflow", mode="intelligent",
            priority="medium", durability=the_plan.durability, document={},
            plan=plan_to_value(the_plan),
        )  # fmt: skip
        return self.engine.submit(RunRequest(run_id, the_plan, accepted, priority, **fields))

    def kinds(self, run_id="r1"):
        return [type(event).__name__ for run, event in self.events if run == run_id]

    def ended(self, run_id="r1"):
        return [e for r, e in self.events if r == run_id and isinstance(e, RunEnded)]


async def test_a_run_is_journaled_in_the_order_in_which_it_happened():
    async with World() as world:
        await world.submit(plan(step("a", payload=1), step("b", "a"), durability="group")).ended
        records = await world.journal.records("r1")
    kinds = ["run_accepted", "run_started", "attempt_started", "attempt_ended", "step_ended"]
    kinds += ["attempt_started", "attempt_ended", "step_ended", "run_ended"]
    assert [record.kind for record in records] == kinds


async def test_an_external_step_does_not_start_before_its_start_is_durable():
    async with World(GatedJournal()) as world:
        world.journal.hold()
        ticket = world.submit(plan(step("a", effects="external"), durability="group"))
        await settle()
        assert world.layer.received == [] and world.kinds() == ["RunAccepted"]
        world.journal.release()
        world.journal.hold()
        await settle()
        assert any(isinstance(e, AttemptStarted) for e in world.journal.waiting)
        assert world.layer.received == [], "the start has been noted and is not durable yet"
        world.journal.release()
        await ticket.ended
        assert [work.step_id for work in world.layer.received] == ["a"]


async def test_a_pure_step_needs_no_barrier_and_its_result_does():
    async with World(GatedJournal()) as world:
        ticket = world.submit(plan(step("a"), durability="group"))
        await ticket.accepted
        world.journal.hold()
        await settle()
        assert [work.step_id for work in world.layer.received] == ["a"]
        assert world.ended() and not ticket.ended.done(), "its end is known and is not durable yet"
        world.journal.release()
        await ticket.ended


async def test_async_durability_waives_both_barriers():
    async with World(GatedJournal()) as world:
        world.journal.hold()
        ticket = world.submit(plan(step("a", effects="external"), durability="async"))
        await ticket.ended
        assert [work.step_id for work in world.layer.received] == ["a"]
        world.journal.release()


async def test_a_journal_that_fails_acknowledges_nothing_more():
    async with World(GatedJournal()) as world:
        ticket = world.submit(plan(step("a"), durability="group"))
        await ticket.accepted
        world.journal.hold()
        await settle()
        world.journal.fail(JournalError("disk full"))
        with pytest.raises(JournalError, match="disk full"):
            await ticket.ended


async def test_a_refused_acceptance_runs_nothing():
    async with World(GatedJournal()) as world:
        world.journal.hold()
        ticket = world.submit(plan(step("a"), durability="group"))
        await settle()
        world.journal.fail(JournalError("disk full"))
        with pytest.raises(JournalError, match="disk full"):
            await ticket.accepted
        await settle()
        assert world.layer.received == [] and not world.engine.active


async def test_a_retry_waits_for_its_delay_by_the_clock():
    async with World() as world:
        answers = [Report(Outcome.FAILED, failure=Failure("E", "no")), Report(Outcome.SUCCEEDED, 5)]
        world.layer.answer = lambda work: answers.pop(0)
        policy = RetryPolicy(max_retries=1, initial_delay=10.0, jitter=False)
        ticket = world.submit(plan(step("a", retry=policy)))
        await world.clock.advance(9.9)
        assert len(world.layer.received) == 1
        await world.clock.advance(0.2)
        await ticket.ended
        assert [work.attempt for work in world.layer.received] == [1, 2]
        keys = {work.idempotency_key for work in world.layer.received}
        assert len(keys) == 1, "both attempts carry one idempotency key"


async def test_a_step_limit_passes_by_the_clock_and_leaves_no_timer():
    async with World() as world:
        world.layer.pause()
        ticket = world.submit(plan(step("a", timeout_s=5.0), timeout_s=60.0))
        await world.clock.advance(5.001)
        await ticket.ended
        assert world.ended()[0].status == "failed"
        assert world.clock.armed == 0


async def test_a_run_limit_passes_by_the_clock():
    async with World() as world:
        world.layer.pause()
        ticket = world.submit(plan(step("a"), timeout_s=3.0))
        await world.clock.advance(3.001)
        await ticket.ended
        assert world.ended()[0].status == "timed_out"
        assert world.ended()[0].duration == pytest.approx(3.0)


async def test_only_so_many_runs_go_on_and_the_urgent_ones_are_next():
    async with World(places=1) as world:
        world.layer.pause()
        tickets = [world.submit(plan(step("a")), "first")]
        await settle()
        for name, priority in (("low", 1), ("critical", 4), ("high", 3), ("high2", 3)):
            tickets.append(world.submit(plan(step("a")), name, priority))
        await settle()
        started = [run for run, event in world.events if isinstance(event, RunStarted)]
        assert started == ["first"]
        world.layer.resume()
        await asyncio.gather(*(ticket.ended for ticket in tickets))
    started = [run for run, event in world.events if isinstance(event, RunStarted)]
    assert started == ["first", "critical", "high", "high2", "low"]


async def test_a_full_queue_is_busy_and_names_its_bound():
    async with World(places=1, waiting_max=1) as world:
        world.layer.pause()
        world.submit(plan(step("a")), "r1")
        await settle()
        world.submit(plan(step("a")), "r2")
        await settle()
        with pytest.raises(Busy, match="max_queued_runs"):
            world.submit(plan(step("a")), "r3")


async def test_cancelling_a_run_that_waits_ends_it_and_takes_nobodys_place():
    async with World(places=1) as world:
        world.layer.pause()
        first = world.submit(plan(step("a")), "r1")
        await settle()
        second = world.submit(plan(step("a")), "r2")
        await settle()
        second.cancel(None, "me")
        await second.ended
        assert world.ended("r2")[0].status == "cancelled"
        world.layer.resume()
        await first.ended
        await world.submit(plan(step("a")), "r3").ended
        assert world.ended("r3")[0].status == "completed"


async def test_an_output_over_its_bound_fails_the_attempt():
    async with World(output_bytes_max=100) as world:
        await world.submit(plan(step("a", payload="x" * 200))).ended
        assert world.ended()[0].error_detail["type"] == "TooLarge"


async def test_a_bug_in_one_run_ends_that_run_alone(caplog):
    async with World() as world:
        broken = plan(step("a", payload={"$ref": "nobody#/x"}))
        ticket = world.submit(broken, "broken")
        with pytest.raises(InternalError, match="broken"):
            await ticket.ended
        await world.submit(plan(step("a")), "fine").ended
        assert world.ended("fine")[0].status == "completed"
    assert "internal error" in caplog.text


async def test_closing_cancels_what_runs_and_takes_nothing_more_in():
    world = World()
    async with world:
        world.layer.pause()
        ticket = world.submit(plan(step("a")))
        await settle()
    await ticket.ended
    assert world.ended()[0].status == "cancelled"
    with pytest.raises(Closed):
        world.submit(plan(step("a")), "late")


async def test_ten_thousand_steps_run_and_leave_nothing():
    async with World() as world:
        steps = [step("s0")] + [step(f"s{i}", f"s{i - 1}") for i in range(1, 10_000)]
        await world.submit(plan(*steps)).ended
        assert world.ended()[0].status == "completed"
        assert not world.engine.active and world.clock.armed == 0


async def test_a_journal_that_stays_full_fails_the_run_and_no_other():
    class Full(MemoryJournal):
        full = False

        def append(self, run_id, events, durability):
            small = isinstance(events[-1], RunEnded | RunAccepted)
            if self.full and run_id == "big" and not small:
                raise Busy("memory_bytes_max=1")
            return super().append(run_id, events, durability)

    async with World(Full()) as world:
        world.journal.full = True
        big = world.submit(plan(step("a"), step("b", "a")), "big")
        await world.clock.advance(60.0)
        await big.ended
        assert world.ended("big")[0].status == "failed"
        assert "memory_bytes_max" in world.ended("big")[0].error
        await world.submit(plan(step("a")), "fine").ended
        assert world.ended("fine")[0].status == "completed"


async def test_a_record_that_is_too_large_fails_its_run_and_no_other():
    class Small(MemoryJournal):
        def append(self, run_id, events, durability):
            if any(type(event).__name__ == "StepEnded" for event in events) and run_id == "big":
                raise NotAValue("an event of 146 MB, at most 128")
            return super().append(run_id, events, durability)

    async with World(Small()) as world:
        await world.submit(plan(step("a")), "big").ended
        assert world.ended("big")[0].status == "failed"
        assert "146 MB" in world.ended("big")[0].error
        await world.submit(plan(step("a")), "fine").ended
        assert world.ended("fine")[0].status == "completed"


async def test_nothing_is_told_before_it_is_in_the_journal_s_hands():
    class Refusing(MemoryJournal):
        def append(self, run_id, events, durability):
            if any(isinstance(event, RunEnded) for event in events):
                raise JournalError("no")
            return super().append(run_id, events, durability)

    async with World(Refusing()) as world:
        ticket = world.submit(plan(step("a")))
        with pytest.raises(JournalError):
            await ticket.ended
        assert world.ended() == []


async def test_a_step_that_waits_for_a_place_hears_its_limit_and_its_cancel():
    async with World(attempts_max=1) as world:
        world.layer.pause()
        busy = world.submit(plan(step("a")), "busy")
        await settle()
        limited = world.submit(plan(step("a"), timeout_s=1.0), "limited")
        cancelled = world.submit(plan(step("a")), "cancelled")
        await world.clock.advance(1.001)
        await asyncio.wait_for(limited.ended, 5)
        cancelled.cancel(None, "me")
        await asyncio.wait_for(cancelled.ended, 5)
        assert world.ended("limited")[0].status == "timed_out"
        assert world.ended("cancelled")[0].status == "cancelled"
        assert len(world.layer.received) == 1
        world.layer.resume()
        await busy.ended


async def test_runs_whose_acceptance_is_not_durable_yet_count_against_the_bound():
    async with World(GatedJournal(), places=1, waiting_max=2) as world:
        world.journal.hold()
        for i in range(3):
            world.submit(plan(step("a"), durability="group"), f"r{i}")
        with pytest.raises(Busy, match="max_queued_runs"):
            world.submit(plan(step("a"), durability="group"), "r3")
        world.journal.release()


async def test_a_queued_run_that_is_paused_holds_no_place_and_goes_back_into_the_queue():
    async with World(places=1) as world:
        world.layer.pause()
        tickets = {name: world.submit(plan(step("a")), name) for name in ("r1", "r2", "r3")}
        await settle()
        tickets["r2"].ask(Wish("pause"))
        world.layer.resume()
        await asyncio.wait_for(tickets["r3"].ended, 5)  # r2 is before it, and lets it pass
        world.layer.pause()
        tickets["r4"] = world.submit(plan(step("a")), "r4")
        await settle()
        tickets["r2"].ask(Wish("continue"))
        assert [work.run_id for work in world.layer.received] == ["r1", "r3", "r4"]
        world.layer.resume()
        await asyncio.wait_for(tickets["r2"].ended, 5)
    assert world.kinds("r2").count("RunStarted") == 1


async def test_a_run_that_is_paused_and_continued_while_it_is_accepted_begins_once():
    async with World(GatedJournal(), places=1) as world:
        world.journal.hold()
        ticket = world.submit(plan(step("a"), durability="group"))
        ticket.ask(Wish("pause"))
        ticket.ask(Wish("continue"))
        world.journal.release()
        await asyncio.wait_for(ticket.ended, 5)
    assert world.kinds().count("RunStarted") == 1


class FailingJournal(MemoryJournal):
    """Fails every append from a moment on."""

    fails = False

    def append(self, run_id, events, durability):
        if self.fails:
            raise JournalError("disk full")
        return super().append(run_id, events, durability)


async def test_a_failing_journal_does_not_keep_the_engine_from_closing():
    async with World(FailingJournal(), places=1) as world:
        world.layer.pause()
        world.submit(plan(step("a")), "r1")
        world.submit(plan(step("ok", waits="approval", payload={})), "r2")
        await settle()
        world.journal.fails = True  # r1 gives its place to r2, which cannot be written either
    assert not world.engine.active


async def test_what_is_asked_of_a_queued_run_of_a_dead_owner_makes_it_begin_once():
    the_plan = plan(step("a"), step("b", "a"))
    async with World(places=1) as world:
        world.layer.pause()
        world.submit(the_plan, "r1")
        await settle()
        records = [record.event for record in await world.journal.records("r1")]
    async with World(places=1) as world:
        world.layer.pause()
        world.submit(plan(step("x")), "r0")
        await settle()
        entries = entries_of("r1", records, world.journal._store.bounds)
        world.journal._store.append("owner", "r1", entries)
        found = recover(records)
        request = RunRequest("r1", the_plan, None, 2, recovered=found)
        ticket = world.engine.resume(request)
        await settle()
        ticket.ask(Wish("signal", {"name": "n"}))
        await settle()
        assert [work.step_id for work in world.layer.received] == ["x", "a"]
        world.layer.resume()
        await asyncio.wait_for(ticket.ended, 5)
    assert world.kinds("r1").count("RunStarted") == 0


async def test_a_run_that_was_cancelled_while_paused_is_retried_once():
    the_plan = plan(step("a"))
    async with World(places=1) as world:
        world.layer.pause()
        world.submit(plan(step("x")), "r0")
        await settle()
        ticket = world.submit(the_plan, "r1")
        await settle()
        ticket.ask(Wish("pause"))
        ticket.cancel(None, "ann")
        await asyncio.wait_for(ticket.ended, 5)
        found = recover([record.event for record in await world.journal.records("r1")])
        onward = retried(found.state, None, "ann")
        request = RunRequest("r1", the_plan, None, 2, recovered=found, onward=onward)
        ticket = world.engine.submit(request)
        await settle()
        ticket.ask(Wish("signal", {"name": "n"}))
        assert world.engine.waiting == 1
        world.layer.resume()
        await asyncio.wait_for(ticket.ended, 5)
    assert world.kinds("r1").count("RunStarted") == 1


async def test_a_paused_run_that_ends_frees_its_place_after_its_end_is_written():
    async with World(places=1) as world:
        world.layer.pause()
        ticket = world.submit(plan(step("a")), "r1")
        await settle()
        ticket.ask(Wish("pause"))
        world.submit(plan(step("a")), "r2")
        await settle()
        ticket.cancel(None, "ann")
        await settle()
        told = [(run_id, type(event).__name__) for run_id, event in world.events]
        assert told.index(("r1", "RunEnded")) < told.index(("r2", "RunStarted"))
