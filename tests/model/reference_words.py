"""The words of the reference scheduler: what a run and a step are, and a line that waits."""

from collections import deque
from types import SimpleNamespace as Box

FINAL, OK = ("completed", "failed", "cancelled", "timed_out"), ("succeeded", "skipped")
FRESH = {"state": "waiting", "outcome": "", "output": None, "tries": 0, "losses": 0}
FRESH |= {"blocked": False, "asked": 0, "stop": ""}
STEP = {**FRESH, "needs": (), "when": None, "ref": False, "can_fail": False, "external": False}
STEP |= {"key": None, "retries": 0, "insist": False, "delay": 1.0, "timeout": None, "waits": None}
STEP |= {"attempt": 0}
BEGIN = {"began": False, "cancelled": False, "paused": False, "late": False, "halted": False}
BEGIN |= {"failed": False, "here": True, "rests": False, "status": "queued"}
RUN = {**BEGIN, "priority": 2, "timeout": None, "drain": False, "created": 0.0}
"""States of a step: waiting, out, parked (of a paused run), retrying, asking (a person or a
signal), unknown (only a person can say what it did), ended. ``insist``: it is tried again although
it may have run. ``here``: whether its orchestrator has looked at it. ``rests``: it needs no place."""


def make_step(**fields):
    return Box(**{**STEP, **fields})


def make_run(id, steps, **fields):
    """``steps``: each after those it needs."""
    made = Box(**{**RUN, **fields}, id=id, signals=[], timers={}, parked=[])
    made.steps = {step.id: step for step in steps}
    made.done, made.ready = deque(), deque()
    return made


class Line:
    """So many may be inside; of those that wait the one of the lowest rank is next."""

    def __init__(self, room):
        self.room, self.inside, self.queue = room, [], []

    def enter(self, who, rank, begin):
        self.queue.append((rank, who, begin))
        self.admit()

    def admit(self):
        while self.queue and len(self.inside) < self.room:
            _, who, begin = min(self.queue, key=lambda one: one[0])
            self.force(who)
            begin()

    def force(self, who):
        self.withdraw(who)
        self.inside.append(who)

    def withdraw(self, who):
        self.queue = [one for one in self.queue if one[1] != who]

    def leave(self, who):
        self.withdraw(who)
        if who in self.inside:
            self.inside.remove(who)
            self.admit()
