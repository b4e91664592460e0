"""What happens to a reference scheduler from outside: time passes, its program dies, people ask.

Written from the same pages.
"""

from copy import deepcopy

from reference_words import BEGIN, FINAL, FRESH, OK, make_run


def advance(world, seconds):
    """Let time pass; whoever has a program that looks at it is told what is due."""
    end = world.now + seconds
    while True:
        waits = [(at, run, key) for run in world.runs.values() for key, at in run.timers.items()]
        due = [(at, run, key) for at, run, key in waits if at[0] <= end and run.here]
        if not due:
            world.now = end
            return
        at, run, key = min(due, key=lambda one: one[0])
        world.now = max(world.now, at[0])
        world.post(run, lambda run=run, key=key: _due(world, run, key))


def _due(world, run, key):
    del run.timers[key]
    if key == "run":
        run.late = True
        return world.halt(run, "timed_out")
    step = run.steps[key]
    if step.state == "out":
        return [(step, "timed_out")]
    if step.state == "asking":
        return world.finish(run, step, "timed_out" if step.waits else "failed")
    return world.give(run, step)


def recover(world):
    """Let the program die, and another one take over what it left: the urgent first."""
    world.lose()
    left = [run for run in world.runs.values() if run.status not in FINAL]
    for run in sorted(left, key=lambda run: world.rank(run, run.created)[0]):
        run.here, run.rests = False, run.status in ("held", "paused")
        if not run.rests:
            world.enter(run, run.created)
        elif run.began:
            world.go_on(run)


def ask(world, run, act):
    """Look at what died before anything is asked of the run, then do what is asked."""
    if run.began and not run.here:
        run.rests = False
        world.places.force(run.id)
        world.go_on(run)
    world.post(run, act)


def cancel(world, run):
    def act():
        run.cancelled = True
        return world.halt(run, "cancelled")

    ask(world, run, act)


def cancel_step(world, run, step):
    def act():
        if step.state in ("out", "parked"):
            return [(step, "cancelled")]
        return world.finish(run, step, "cancelled")

    ask(world, run, act)


def pause(world, run):
    ask(world, run, lambda: setattr(run, "paused", True))


def unpause(world, run):
    def act():
        run.paused, parked, run.parked = False, run.parked, []
        for step in parked:
            if step.state == "parked":
                world.let_out(run, step)

    ask(world, run, act)


def answer(world, run, step, outcome, output=None):
    """Approve or refuse a step, or say what one did that may have run."""
    ask(world, run, lambda: world.finish(run, step, outcome, output))


def signal(world, run, name, payload):
    def act():
        asking = [s for s in run.steps.values() if s.state == "asking" and s.waits == name]
        if asking:
            step = min(asking, key=lambda step: step.asked)
            return world.finish(run, step, "succeeded", payload)
        return run.signals.append((name, payload))

    ask(world, run, act)


def redo(world, run, step):
    """Do once more what may have run."""

    def act():
        step.tries = step.losses = 0
        world.give(run, step)

    ask(world, run, act)


def reach(run, from_step):
    """Give the steps that run again when an ended run goes on from a step, or from what failed."""
    seeds = set()
    for step in run.steps.values():
        skipped = step.outcome == "skipped" and run.status != "completed"
        failed = step.outcome not in OK and (from_step is None or not step.can_fail)
        if step.id == from_step or skipped or failed or seeds & set(step.needs):
            seeds.add(step.id)
    return seeds


def retry(world, run, again):
    for step_id in again:
        vars(run.steps[step_id]).update(FRESH)
    vars(run).update(BEGIN, parked=[])
    world.enter(run, world.now)


def fork(world, run, again, new_id):
    steps = deepcopy(list(run.steps.values()))
    for step in steps:
        step.attempt = 0
        if step.id in again:
            vars(step).update(FRESH)
    fields = {name: getattr(run, name) for name in ("priority", "timeout", "drain")}
    world.enter(make_run(new_id, steps, created=world.now, **fields), world.now)
