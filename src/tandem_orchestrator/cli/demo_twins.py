"""``tandem demo twins``: a function in Python, its twin in C, and 4,000 inputs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tandem_orchestrator import Agent, LayerUnavailable, Settings, TandemOrchestrator, TwinError
from tandem_orchestrator.cli.capsule_view import first_words
from tandem_orchestrator.cli.demo_twins_files import FILES, INPUTS
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.output import console, print_json, print_table, print_text
from tandem_orchestrator.model.documents import read
from tandem_orchestrator.model.events import AnyEvent, Judged

SHOWN = 5
"""Differences that are shown; the journal has all."""
COMPILE_S = 60.0
"""Seconds for the compiler."""

_NEXT = (
    ("tandem conflicts show last", "both sides of one of them"),
    ("tandem conflicts shrink last --import money", "the smallest price that differs"),
    ("tandem conflicts export conflicts/*.capsule.json", "a test that fails until they agree"),
    ("pytest -q conflicts", "red"),
    ("pytest -q test_money.py --tandem-twins=verify", "what your own tests never saw"),
    ("cp fixed.c money.c && make", "the fix"),
    ("pytest -q conflicts", "green"),
    ("tandem run compare.yaml --import money", "no conflict on any price"),
    ("tandem twins promote money.round", "on that evidence"),
)
"""Commands to go on with; the whole tour is in docs/twins.md."""


def demo_twins(folder: str, *, as_json: bool) -> Exit:
    """Write the project, compile it, compare, and say what was found.

    Raises: UsageError if the folder exists; TwinError without a C compiler, or if it fails;
        LayerUnavailable without the C layer.
    """
    place = Path(folder).resolve()
    tell = _quiet if as_json else print_text
    compiler = _compiler()
    _write(place)
    names = " ".join(FILES)
    tell(f"wrote      {_short(place)}: {names}")
    command, seconds = _compile(place, compiler)
    tell(f"compiled   {' '.join(command)}  ({seconds:.1f} s)")
    result, seconds = _compare(place, quiet=as_json)
    conflicts = sorted(result["conflicts"], key=lambda each: each["item"])
    if as_json:
        print_json(
            {
                "folder": str(place),
                "run_id": result["run_id"],
                "inputs": INPUTS,
                "differences": len(conflicts),
                "seconds": seconds,
                "conflicts": conflicts,
            }
        )
        return Exit.DONE
    tell(f"compared   python and c on {INPUTS:,} prices, both really run  ({seconds:.1f} s)")
    tell("")
    console().print(f"{len(conflicts)} of {INPUTS:,} prices differ", style="bold", end="")
    tell(f". The first {SHOWN}:")
    tell("")
    prices = [k / INPUTS * 100 for k in range(INPUTS)]
    rows = [
        (first_words(prices[each["item"]]), *(first_words(each["fields"][0][s]) for s in
         ("left", "right")))
        for each in conflicts[:SHOWN]
    ]  # fmt: skip
    print_table(("price", "python", "c"), rows)
    tell("")
    tell("Each is kept whole in journal.db. Go on with:")
    tell("")
    width = max(len(words) for words, _ in _NEXT) + 3
    tell(f"  cd {_short(place)}")
    if importlib.util.find_spec("pytest") is None:  # One of elsewhere knows nothing of Tandem.
        tell(f"  {'pip install pytest':<{width}}not in this environment yet: {sys.prefix}")
    for words, meaning in _NEXT:
        tell(f"  {words:<{width}}{meaning}")
    return Exit.DONE


def _quiet(_text: str) -> None:
    """Say nothing: programs read the JSON."""


def _short(place: Path) -> str:
    return os.path.relpath(place)


def _write(place: Path) -> None:
    try:
        place.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise UsageError(f"{_short(place)} exists; name another folder") from None
    for name, text in FILES.items():
        path = place / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)


def _compiler() -> list[str]:
    """Find the C compiler, before anything is written.

    Raises: TwinError.
    """
    asked = os.environ.get("CC", "").split()
    wanted = asked or ["gcc"]
    found = shutil.which(wanted[0]) or (None if asked else shutil.which("cc"))
    if found is None:
        raise TwinError(
            f"there is no C compiler {wanted[0]!r} here, and the demo needs one: install gcc, or "
            "name yours in CC"
        )
    return [found, *wanted[1:]]


def _compile(place: Path, compiler: list[str]) -> tuple[list[str], float]:
    """Compile the library as the Makefile does.

    Raises: TwinError.
    """
    command = [*compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", "libmoney.so",
               "money.c", "-lm"]  # fmt: skip
    began_s = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=place, capture_output=True, text=True, timeout=COMPILE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TwinError(f"{command[0]} could not compile money.c: {error}") from error
    if done.returncode:
        raise TwinError(f"{command[0]} could not compile money.c:\n{done.stderr.strip()[:2000]}")
    return [Path(command[0]).name, *command[1:]], time.monotonic() - began_s


# Any: a result as API pins it.
def _compare(place: Path, *, quiet: bool) -> tuple[dict[str, Any], float]:
    """Run both sides on every price; the run is in the project's own journal."""
    agent = _agent_of(place / "money.py")
    settings = Settings.load(place / "tandem_config.json", environ={}, cwd=place)

    async def work() -> dict[str, Any]:
        command_set, faults = read(place / "compare.yaml")
        assert not faults, faults
        with _bar(quiet) as on_event:
            async with TandemOrchestrator(settings) as tandem:
                tandem.add_agent(agent)
                if reason := tandem.layer_health()["c"].reason:
                    raise LayerUnavailable(f"the demo needs the C layer: {reason}")
                async with tandem.listening(on_event):
                    return await tandem.execute_command_set(command_set)

    began_s = time.monotonic()
    result = run_in_loop(settings, work)
    if result["status"] != "completed":
        raise TwinError(f"the comparison {result['status']}: {result['error']}")
    return result, time.monotonic() - began_s


def _agent_of(file: Path) -> Agent:
    """Import the project's module from its file; other modules of that name do not matter."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None, file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    agent = module.money
    assert isinstance(agent, Agent), agent
    return agent


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[str, AnyEvent], None]]:
    """Show on a terminal how many prices have been compared, and how many differ."""
    if quiet or not sys.stderr.isatty():
        yield lambda _run, _event: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    differ = 0
    with Progress(
        TextColumn("comparing "),
        BarColumn(32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task("", total=INPUTS, note="")

        def on_event(_run: str, event: AnyEvent) -> None:
            nonlocal differ
            if isinstance(event, Judged):
                differ += event.verdict == "conflict"
                note = f"{differ} differ" if differ else ""
                progress.update(task, advance=1, note=note)

        yield on_event
