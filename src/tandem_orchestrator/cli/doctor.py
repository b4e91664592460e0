"""``tandem doctor``: what works on this machine, what is degraded and why."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from tandem_orchestrator import CommandSet, CommandStep, Settings, TandemError, TandemOrchestrator
from tandem_orchestrator.cli.exits import Exit
from tandem_orchestrator.cli.loop import run_in_loop
from tandem_orchestrator.cli.output import print_json, print_table, print_text
from tandem_orchestrator.layers.native import find_native_files, read_topology
from tandem_orchestrator.layers.native.bridge_words import simd_line
from tandem_orchestrator.layers.native.privileges import HUGE_PAGES, read_facts, refusals
from tandem_orchestrator.layers.native.topology import with_sysfs

EXTRAS = (
    ("textual", "tui", "full-screen display of results"),
    ("tree_sitter_c", "c-analysis", "analysis of C sources"),
    ("uvloop", "uvloop", "a faster event loop on the command line"),
)
"""(module, extra, what it is for)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "refused", "degraded", "broken"]
    """``refused``: the system did not grant it, and it is done without."""
    detail: str
    mend: str = ""
    """What would make it better; empty when it is well."""


def doctor(settings: Settings, *, as_json: bool) -> Exit:
    """Look at everything, by using it; degraded is fine, broken is exit code 5."""
    walked = run_in_loop(settings, lambda: _path(settings))
    findings = [*_machine(), *_hardware(settings)]
    findings += _not_said(walked, {finding.what for finding in findings})
    findings += _extras()
    broken = any(finding.state == "broken" for finding in findings)
    degraded = any(finding.state == "degraded" for finding in findings)
    status = "broken" if broken else "degraded" if degraded else "ok"
    if as_json:
        print_json({"status": status, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(f.what, f.state, f.detail + (f" -> {f.mend}" if f.mend else "")) for f in findings]
        print_table(("what", "state", "detail"), rows)
        print_text(f"tandem is {status} on this machine")
    return Exit.REFUSED if broken else Exit.DONE


def _not_said(findings: Iterable[Finding], said: set[str]) -> Iterator[Finding]:
    """Leave out what the bridge says of huge pages where it has been said, and say it once."""
    for finding in findings:
        if finding.state == "refused" and finding.detail.startswith(f"{HUGE_PAGES}:"):
            if HUGE_PAGES in said:
                continue
            said.add(HUGE_PAGES)
        yield finding


def _machine() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield Finding("system", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    files = find_native_files()
    if files.usable:
        yield Finding("native files", "ok", f"bridge at {files.bridge_path}")
    else:
        mend = "install with gcc, make, libssl-dev and libffi-dev present (make build)"
        yield Finding("native files", "degraded", files.reason, mend)


def _hardware(settings: Settings) -> Iterator[Finding]:
    """Say what the processor has, and each privilege that was refused, what it costs and how to
    grant it."""
    if simd := simd_line():
        yield Finding("processor", "ok", simd)
    sysfs = settings.hardware.sysfs
    topology = read_topology(None if sysfs is None else with_sysfs(Path(sysfs)))
    yield Finding("cores", "ok", f"{topology}; {topology.threads_max} threads can run at once")
    for refusal in refusals(read_facts(), topology, settings.c_layer.buffer_size):
        if refusal.what == HUGE_PAGES and not settings.c_layer.use_huge_pages:
            continue  # Nobody asked for them.
        yield Finding(refusal.what, "refused", refusal.detail, refusal.grant)


async def _path(settings: Settings) -> list[Finding]:
    """Open the journal; then go the whole way through the layers, and leave no run behind."""
    findings: list[Finding] = []
    tandem = TandemOrchestrator(settings)
    try:
        await tandem.initialize()
    except (TandemError, OSError) as error:
        mend = "choose another place with --journal or TANDEM_JOURNAL"
        return [Finding("journal", "broken", str(error), mend)]
    try:
        journal = tandem.journal_health()
    finally:
        await tandem.close()
    in_memory = replace(settings, journal=replace(settings.journal, path=":memory:"))
    async with TandemOrchestrator(in_memory) as tandem:
        for layer, health in tandem.layer_health().items():
            state: Literal["ok", "degraded"] = (
                "ok" if health.healthy and not health.reason else "degraded"
            )
            findings.append(Finding(f"{layer} layer", state, health.reason or "there"))
            told = [*health.details.get("refused", ()), *health.details.get("hardware", ())]
            findings += [Finding(f"{layer} layer", "refused", line) for line in told]
        findings += list(_plugins(tandem))
        findings += [await _round_trip(tandem, mode) for mode in ("python_only", "speed_critical")]
    detail = f"{journal.kind} at {journal.path}"
    if journal.commit_seconds_p50 > 0:
        detail += f"; a durable commit takes {journal.commit_seconds_p50 * 1e3:.2f} ms"
    findings.append(Finding("journal", "ok" if journal.ok else "broken", journal.reason or detail))
    return findings


def _plugins(tandem: TandemOrchestrator) -> Iterator[Finding]:
    """Tell what packages offer as plugins, and what could not be loaded."""
    for name, health in tandem.plugin_health().items():
        if health:
            yield Finding(f"plugin {name}", "ok", "loaded")
        else:
            mend = "mend or remove its package, or set orchestrator.entry_points to false"
            yield Finding(f"plugin {name}", "degraded", health.reason, mend)


async def _round_trip(tandem: TandemOrchestrator, mode: str) -> Finding:
    what = f"a {mode} run"
    steps = [CommandStep(agent="system", action="echo", payload={"ping": 1})]
    command_set = CommandSet(name="doctor", mode=mode, steps=steps, durability="group")
    try:
        result = await tandem.execute_command_set(command_set)
    except TandemError as error:
        return Finding(what, "degraded", str(error))
    if result["status"] != "completed" or result["results"] != {"s1": {"ping": 1}}:
        return Finding(what, "broken", f"{result['status']}: {result['error']}")
    took = result["duration"] * 1e3
    return Finding(what, "ok", f"completed in {took:.2f} ms by {result['steps']['s1']['layer']}")


def _extras() -> Iterator[Finding]:
    for module, extra, purpose in EXTRAS:
        if importlib.util.find_spec(module) is not None:
            yield Finding(f"extra {extra}", "ok", purpose)
        else:
            mend = f"pip install 'tandem-orchestrator[{extra}]'"
            yield Finding(f"extra {extra}", "degraded", f"not installed: {purpose}", mend)
