"""What the killed programs do: handlers whose effects leave a line in a file, and their workflows.

A workflow is made from its key alone, and so is what it must give: whoever checks needs no word
of the program that ran it.
"""

import asyncio
import hashlib
import os
import time
from typing import Any

from tandem_orchestrator import Agent, CommandSet, CommandStep, Ref

agent = Agent("work")
SHAPES = ("pure", "pay", "again", "native", "items")
AGAIN = {"max_retries": 8, "initial_delay": 0.001, "max_delay": 0.01, "retry_on": ["unknown"]}


def note(payload: Any, key: str) -> None:
    """Leave the trace of an effect; one write, so that lines never mix."""
    line = f"{key} {payload['run']} {payload['step']}\n".encode()
    file = os.open(payload["path"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


@agent.action("double", effects="none")
async def double(payload: Any) -> Any:
    await asyncio.sleep(payload % 5 * 0.002)
    return 2 * payload


@agent.action("triple", effects="none", cpu="process")
def triple(payload: Any) -> Any:
    time.sleep(payload % 3 * 0.003)
    return 3 * payload


@agent.action("sum", effects="none")
def sum_up(payload: Any) -> Any:
    return sum(payload)


@agent.action("pay", effects="external")
def pay(payload: Any, ctx: Any) -> Any:
    time.sleep(payload["n"] % 4 * 0.003)
    note(payload, ctx.idempotency_key)
    time.sleep(payload["n"] % 3 * 0.003)
    return 2 * payload["n"]


@agent.action("pay_process", effects="external", cpu="process")
def pay_process(payload: Any, ctx: Any) -> Any:
    return pay(payload, ctx)


@agent.action("put", effects="idempotent")
def put(payload: Any, ctx: Any) -> Any:
    return pay(payload, ctx)


def number_of(key: str) -> int:
    """Give the number that decides what a key's workflow is and gives."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=2).digest(), "big")


def shape_of(key: str) -> str:
    """Give which of ``SHAPES`` a key's workflow has."""
    return SHAPES[number_of(key) % len(SHAPES)]


def expected(key: str) -> dict[str, Any]:
    """Give the results that a key's workflow must have, where every step succeeded."""
    n = number_of(key)
    match shape_of(key):
        case "pure":
            return {"sum": 5 * n}
        case "pay":
            return {"last": [2 * n, 2 * n]}
        case "again":
            return {"last": 2 * n}
        case "native":
            return {"last": 4 * n}
        case _:
            return {"last": 2 * (n + (n + 1) + (n + 2))}


def command_set(key: str, ledger: str) -> CommandSet:
    """Make the workflow of a key; its effects are noted in the file ``ledger``."""
    n = number_of(key)

    def effect(step: str, action: str, number: Any = n, **more: Any) -> CommandStep:
        payload = {"path": ledger, "run": key, "step": step, "n": number}
        name = "ledger" if action == "note" else "work"
        return CommandStep(id=step, agent=name, action=action, payload=payload, **more)

    def echo(step: str, payload: Any) -> CommandStep:
        return CommandStep(
            id=step, agent="system", action="echo", payload=payload, implementations=("c",)
        )

    depends: dict[str, list[str]] = {}
    match shape_of(key):
        case "pure":
            steps = [
                echo("a", n),
                CommandStep(id="b", agent="work", action="double", payload=Ref("a")),
                CommandStep(id="c", agent="work", action="triple", payload=Ref("a")),
                CommandStep(id="sum", agent="work", action="sum", payload=[Ref("b"), Ref("c")]),
            ]
            depends = {"b": ["a"], "c": ["a"], "sum": ["b", "c"]}
        case "pay":
            steps = [
                echo("a", n),
                effect("p", "pay", Ref("a")),
                effect("q", "pay_process", Ref("a")),
                echo("last", [Ref("p"), Ref("q")]),
            ]
            depends = {"p": ["a"], "q": ["a"], "last": ["p", "q"]}
        case "again":
            steps = [effect("p", "pay_process", retry_policy=AGAIN), echo("last", Ref("p"))]
            depends = {"last": ["p"]}
        case "native":
            steps = [echo("a", n), echo("b", Ref("a")), echo("c", Ref("b"))]
            steps.append(CommandStep(id="d", agent="ledger", action="twice", payload=Ref("c")))
            steps.append(effect("p", "note", Ref("d")))
            steps.append(echo("last", Ref("p")))
            depends = {"b": ["a"], "c": ["b"], "d": ["c"], "p": ["d"], "last": ["p"]}
        case _:
            payload = {"path": ledger, "run": key, "step": "p", "n": Ref("item")}
            steps = [
                CommandStep(
                    id="p", agent="work", action="put", payload=payload, for_each=[n, n + 1, n + 2]
                ),
                CommandStep(id="last", agent="work", action="sum", payload=Ref("p")),
            ]
            depends = {"last": ["p"]}
    return CommandSet(
        name=key, idempotency_key=key, steps=steps, dependencies=depends, timeout=600,
        durability="sync" if n % 4 == 0 else "group",
    )  # fmt: skip
