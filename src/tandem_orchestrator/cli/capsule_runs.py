"""``tandem conflicts replay|shrink|export``: a conflict run again, made smaller, made a test."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tandem_orchestrator import Agent, CapsuleError, Settings, TandemOrchestrator
from tandem_orchestrator.cli.capsule_view import first_words, print_fields
from tandem_orchestrator.cli.exits import Exit
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.output import print_json, print_text, stdout_for_the_result, visible
from tandem_orchestrator.cli.target import import_agents
from tandem_orchestrator.orchestrator.replay import Replay, Replayed, replaying
from tandem_orchestrator.orchestrator.surroundings import CapsuleMaker
from tandem_orchestrator.twins import Capsule, Shrunk
from tandem_orchestrator.twins.capsule_file import SUFFIX, capsule_to_text
from tandem_orchestrator.twins.export import export

_T = TypeVar("_T")

FOLDER = "conflicts"
"""Where capsule files and tests are written if nothing else is said."""


@dataclass(frozen=True, slots=True)
class RerunWish:
    """The options that running twins again needs, as they were typed."""

    settings: Settings
    """With a journal in memory: what is tried leaves no trace."""
    modules: list[str] = field(default_factory=list)
    timeout_s: float = 30.0
    as_json: bool = False


def replay(capsule: Capsule, wish: RerunWish) -> Exit:
    """Run both sides again and say whether they still differ: exit code 1 if they do."""
    done = _rerun(wish, lambda again: again.run(capsule))
    if wish.as_json:
        print_json(_replayed(done))
    else:
        _print_replayed(done, "agree now" if done.agree else "still differ")
        if done.agree and capsule.redacted:
            print_text("  (secrets were taken out of the input, which may be why)")
    return Exit.DONE if done.agree else Exit.FAILED


def shrink(
    capsule: Capsule, wish: RerunWish, *, out: str, calls_max: int, seconds_max: float
) -> Exit:
    """Find the smallest input that still differs, and write it as a new capsule."""
    began_s = time.monotonic()
    best: Replayed | None = None

    def write(smallest: Replayed) -> tuple[Capsule, Path]:
        made = _smaller_capsule(capsule, smallest, wish.settings)
        digest = hashlib.sha256(msgspec.msgpack.encode(made.payload)).hexdigest()[:8]
        path = _folder(out) / f"{made.agent}.{made.action}-{digest}{SUFFIX}"
        path.write_text(capsule_to_text(made, tuple(wish.modules)), encoding="utf-8")
        return made, path

    with _progress(wish.as_json) as show:

        def on_progress(calls: int, smallest: Replayed) -> None:
            nonlocal best
            best = smallest
            show(calls, smallest.payload)

        try:
            found, smallest = _rerun(
                wish,
                lambda again: again.shrink(
                    capsule, calls_max=calls_max, seconds_max=seconds_max, on_progress=on_progress
                ),
            )
        except KeyboardInterrupt:
            if best is not None:
                print(f"the smallest so far: {write(best)[1]}", file=sys.stderr)
            raise
    took_s = time.monotonic() - began_s
    made, path = write(smallest)
    if wish.as_json:
        print_json(
            {
                "id": made.id,
                "file": str(path),
                "calls": found.calls,
                "finished": found.finished,
                "seconds": took_s,
                "before": capsule.payload,
                **_replayed(smallest),
            }
        )
        return Exit.DONE
    print_text(f"before  {first_words(capsule.payload, 300)}")
    print_text(f"after   {first_words(made.payload, 300)}")
    print_text(_how_it_ended(found, took_s))
    print_text("")
    print_fields(smallest.fields, capsule.implementations)
    print_text("")
    print_text(f"written to {path}")
    return Exit.DONE


def export_capsule(capsule: Capsule, modules: list[str], *, out: str, as_json: bool) -> Exit:
    """Write a pytest file that fails until the twins agree, and the capsule beside it."""
    folder = _folder(out)
    made = export(capsule, tuple(modules))
    test, kept = folder / made.test_name, folder / made.capsule_name
    test.write_text(made.test_source, encoding="utf-8")
    kept.write_text(made.capsule_text, encoding="utf-8")
    if as_json:
        print_json({"test": str(test), "capsule": str(kept)})
    else:
        print_text(f"{test}\n{kept}")
        if not modules:
            print_text("no --import was given: the test finds the agent only if it is offered")
    return Exit.DONE


def _rerun(wish: RerunWish, use: Callable[[Replay], Awaitable[_T]]) -> _T:
    """Open an orchestrator that has the agents, and use it."""

    async def work() -> _T:
        agents: list[Agent] = import_agents(wish.modules)
        with stdout_for_the_result():
            async with TandemOrchestrator(wish.settings) as tandem:
                for agent in agents:
                    tandem.add_agent(agent)
                async with replaying(tandem, timeout_s=wish.timeout_s) as again:
                    try:
                        return await use(again)
                    except CapsuleError as error:
                        unknown = {fault.code for fault in error.faults} & {
                            "unknown_agent", "unknown_action"
                        }  # fmt: skip
                        if unknown and not wish.modules:
                            raise CapsuleError(
                                f"{error}; --import MODULE names what offers it"
                            ) from error
                        raise

    return run_in_loop(wish.settings, work)


def _smaller_capsule(capsule: Capsule, smallest: Replayed, settings: Settings) -> Capsule:
    return CapsuleMaker(settings).make(
        id=f"{capsule.id}.s",
        run=capsule.run,
        step=capsule.step,
        item=capsule.item,
        agent=capsule.agent,
        action=capsule.action,
        version=capsule.version,
        payload=smallest.payload,
        inputs=smallest.inputs,
        outcomes=smallest.outcomes,
        fields=smallest.fields,
        rules=capsule.rules,
        shrunk_from=capsule.id,
    )


def _how_it_ended(found: Shrunk, took_s: float) -> str:
    tried = f"{found.calls} inputs tried in {took_s:.1f} s"
    if found.finished:
        return f"        {tried}; nothing simpler differs in this way"
    return f"        {tried}; stopped at its bound: --calls and --seconds give it more"


# Any: plain data for JSON.
def _replayed(done: Replayed) -> dict[str, Any]:
    return {
        "conflict": done.capsule.id,
        "action": f"{done.capsule.agent}.{done.capsule.action}",
        "payload": done.payload,
        "differs": not done.agree,
        "fields": list(done.fields),
        "outcomes": list(done.outcomes),
    }


def _print_replayed(done: Replayed, verdict: str) -> None:
    names = " and ".join(done.capsule.implementations)
    print_text(visible(f"{done.capsule.agent}.{done.capsule.action}: {names} {verdict}"))
    print_text(f"  input  {first_words(done.payload, 300)}")
    print_text("")
    if done.fields:
        print_fields(done.fields, done.capsule.implementations)
    else:
        print_text(f"  both gave {first_words(done.outcomes[0].get('output'), 300)}")


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, Any], None]]:
    """Show on a terminal how far the search is, on one line that goes away again."""
    if quiet or not sys.stderr.isatty():
        yield lambda _calls, _smallest: None
        return
    shown_s = 0.0

    def show(calls: int, smallest: Any) -> None:
        nonlocal shown_s
        now_s = time.monotonic()
        if now_s - shown_s > 0.05:
            shown_s = now_s
            sys.stderr.write(f"\r\x1b[K{calls} tried, smallest {first_words(smallest, 50)}")
            sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _folder(out: str) -> Path:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
