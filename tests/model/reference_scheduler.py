"""The reference: what the design and the interfaces say of who runs when, in 100 lines at most.

Written from those pages and from no code of the engine. It is slow and plain: whole runs are looked
over again and again, queues are lists, time is a number. The end of an attempt gives back its
place, then its limit, and only then leads to new work; the end of a run lets the next one begin.
What an end means for the other steps is in ``reference_fates``, what happens from outside (time,
death, wishes) in ``reference_wishes``, the words in ``reference_words``.
"""

from reference_fates import Fates
from reference_words import FINAL, Line


class Died(Exception):
    """The program of the reference has come to its end."""


class Reference(Fates):
    """``turns.inside`` are the attempts that run, as (run, step); ``runs`` has all the rest.

    Args:
        places: Runs that go on at one time.
        attempts: Attempts that run at one time.
        level_s: Seconds of waiting that are worth one level of priority.

    ``left``: of so many happenings it can still write down; then it dies. None: it lives on.
    """

    def __init__(self, places, attempts, level_s):
        self.room, self.level_s, self.runs = (places, attempts), level_s, {}
        self.now, self.ticks, self.left = 0.0, 0, None
        self.lose()

    def lose(self):  # what lives in memory alone
        self.places, self.turns, self.lanes = Line(self.room[0]), Line(self.room[1]), {}

    def rank(self, run, since):
        self.ticks += 1
        return (since - run.priority * self.level_s, self.ticks)

    def enter(self, run, since):  # to wait for a place
        self.runs[run.id] = run
        self.places.enter(run.id, self.rank(run, since), lambda: self.begin(run))

    def begin(self, run):
        if run.began and not run.here:
            self.go_on(run)
        else:
            self.post(run, lambda: self.start_run(run))

    def start_run(self, run):
        run.here = run.began = True
        self.arm(run, "run", run.timeout)
        run.ready.extend(run.steps.values())

    def go_on(self, run):  # what was out when its orchestrator died is lost
        run.here = True
        for key, (due, _) in list(run.timers.items()):
            self.arm(run, key, max(due - self.now, 0.0))
        for step in [step for step in run.steps.values() if step.state == "out"]:
            self.post(run, lambda step=step: self.ended(run, step, "unknown", died=True))

    def post(self, run, act):  # one thing happens to a run, and all that follows from it
        if self.left == 0:
            raise Died  # before it could write down what happens
        self.left = None if self.left is None else self.left - 1
        stops, rested = act() or [], run.rests
        for step, how in stops:  # they are out until they have obeyed
            step.state, step.stop = "out", how
        while run.done or run.ready:
            self.follow(run) if run.done else self.start(run, run.ready.popleft())
        states = {step.state for step in run.steps.values()}
        run.status = self.status(run, states) if run.status not in FINAL else run.status
        if run.status in FINAL:
            run.timers.clear()
            self.places.leave(run.id)
            return
        run.rests = run.status == "held" or (run.paused and "out" not in states)
        if run.rests and not rested:
            self.places.leave(run.id)
        elif rested and not run.rests:
            self.places.force(run.id) if run.began else self.enter(run, run.created)
        for step, _ in stops:
            for line in (self.turns, *self.lanes.values()):
                line.withdraw((run.id, step.id))
        for step, outcome in stops:
            self.end(run, step, outcome)

    def end(self, run, step, outcome, output=None):  # an attempt that is out comes back
        for line in (self.turns, *self.lanes.values()):
            line.leave((run.id, step.id))
        self.post(run, lambda: self.ended(run, step, outcome, output))

    def give(self, run, step):  # out with its next attempt, or put off
        step.attempt, step.stop = step.attempt + 1, ""
        step.state = "parked" if run.paused else "out"
        run.parked.append(step) if run.paused else self.let_out(run, step)

    def let_out(self, run, step):
        step.state, name = "out", (run.id, step.id)
        self.arm(run, step.id, step.timeout)
        lane = self.lanes.setdefault((step.external, step.key), Line(1))

        def turn():
            self.turns.enter(name, self.rank(run, self.now), lambda: None)

        lane.enter(name, self.rank(run, self.now), turn) if step.key else turn()

    def arm(self, run, key, delay):
        if delay is not None:
            run.timers[key] = (self.now + delay, self.rank(run, 0)[1])
