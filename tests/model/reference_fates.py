"""What the ends of attempts and steps mean for a run: the reference's other half."""

from reference_words import OK


class Fates:
    """Needs ``give``, ``arm`` and ``rank`` of the scheduler."""

    def ended(self, run, step, outcome, output=None, died=False):
        run.timers.pop(step.id, None)
        if outcome == "unknown" and not step.external:
            step.losses += not step.stop
            outcome = "failed" if step.losses > (20 if died else 5) else step.stop or "lost"
        halted = run.halted or step.stop == "cancelled"
        again = outcome in ("failed", "timed_out") or (outcome == "unknown" and step.insist)
        if outcome == "lost":
            self.give(run, step)
        elif again and not halted and step.tries < step.retries:
            step.tries, step.state, step.outcome = step.tries + 1, "retrying", outcome
            self.arm(run, step.id, step.delay * 2 ** (step.tries - 1))
        elif died and outcome == "unknown" and not halted:
            step.state = "unknown"
        else:
            self.finish(run, step, outcome, output)

    def finish(self, run, step, outcome, output=None):
        run.timers.pop(step.id, None)
        step.state, step.outcome, step.output = "ended", outcome, output
        step.blocked = step.blocked or (outcome not in OK and not step.can_fail)
        run.done.append(step)

    def follow(self, run):  # what follows from the end of a step
        step = run.done.popleft()
        if step.blocked and step.outcome not in OK and not run.failed:
            run.failed = True
            if not run.drain:
                self.halt(run, None)
        run.ready.extend(other for other in run.steps.values() if step.id in other.needs)

    def halt(self, run, how):  # nothing more starts; how: what becomes of what runs, None: goes on
        run.halted = True
        for step in [step for step in run.steps.values() if step.state != "ended"]:
            if step.state == "waiting":
                step.blocked = run.failed
                self.finish(run, step, "skipped")
            elif step.state == "retrying":
                self.finish(run, step, how if how == "cancelled" else step.outcome)
            elif step.state == "asking" or (step.state == "unknown" and how):
                self.finish(run, step, how or "cancelled")
        return [(s, how) for s in run.steps.values() if how and s.state in ("out", "parked")]

    def start(self, run, step):
        needs = [run.steps[need] for need in step.needs]
        if not run.began or step.state != "waiting" or any(n.state != "ended" for n in needs):
            return
        step.blocked = any(need.blocked for need in needs)
        unmet = step.when and run.steps[step.when[0]].output != step.when[1]
        kept = next((kept for kept in run.signals if kept[0] == step.waits), None)
        if step.blocked or unmet or (step.ref and needs[0].outcome != "succeeded"):
            self.finish(run, step, "skipped")
        elif kept:
            run.signals.remove(kept)
            self.finish(run, step, "succeeded", kept[1])
        elif step.waits is not None:
            step.state, step.asked = "asking", self.rank(run, 0)[1]
            self.arm(run, step.id, step.timeout)
        else:
            self.give(run, step)

    def status(self, run, states):
        if states == {"ended"}:
            undone = any(step.outcome in ("cancelled", "skipped") for step in run.steps.values())
            status = "failed" if run.failed else "completed"
            return "timed_out" if run.late else "cancelled" if run.cancelled and undone else status
        moves, asks = states & {"out", "retrying", "parked"}, states & {"asking", "unknown"}
        status = "held" if asks and not moves else "running" if run.began else "queued"
        return "paused" if run.paused else status
