"""A user without any privilege: a real orchestration completes, the doctor is well and says why."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
WAIT_S = 50.0

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]

AS_NOBODY = """
import asyncio, contextlib, io, json, os, resource, sys
from pathlib import Path
from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.cli.app import run_app

def capabilities(pid):
    rows = dict(line.split(":\\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return [rows[name] for name in ("Uid", "CapEff", "CapPrm", "CapInh", "CapAmb")]

async def orchestrate(tree, journal):
    config = {} if journal is None else {"journal": {"path": journal}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("counter")

        @agent.action("count")
        async def count(payload, ctx):
            return len(ctx.inputs["scan"]["files"])

        @agent.action("compute")
        def compute(payload, ctx):
            return ctx.inputs["count"] * payload

        def step(id, agent, action, payload=None):
            return CommandStep(id=id, agent=agent, action=action, payload=payload)

        asked = CommandSet(
            steps=[
                step("scan", "docgen", "scan_codebase", {"path": tree, "extensions": [".py"]}),
                step("count", "counter", "count"),
                step("compute", "counter", "compute", 100),
            ],
            dependencies={"count": ["scan"], "compute": ["count"]},
        )
        echo = CommandSet(mode="redundant", steps=[step("e", "system", "echo", "twice")])
        pid = tandem.layer_health()["c"].details["pid"]
        return {
            "run": await tandem.execute_command_set(asked),
            "twins": await tandem.execute_command_set(echo),
            "kept": [row.status for row in await tandem.runs()],
            "journal": str(tandem.journal_health().path),
            "us": capabilities("self"),
            "bridge": capabilities(pid),
        }

def doctor(*options):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run_app(["doctor", "--json", *options])
    return code, out.getvalue()

home, uid = sys.argv[1], int(sys.argv[2])
# Everything is loaded while the interpreter's own files may still be read.
asyncio.run(orchestrate(home, ":memory:"))
doctor("--journal", ":memory:")
for limit in (resource.RLIMIT_MEMLOCK, resource.RLIMIT_RTPRIO):
    resource.setrlimit(limit, (0, 0))
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
os.chdir(home)
os.mkdir("run", 0o700)
os.mkdir("tree")
for name in ("a.py", "b.py", "c.txt"):
    Path("tree", name).write_text("")
os.environ["XDG_RUNTIME_DIR"] = os.path.join(home, "run")
done = asyncio.run(orchestrate(os.path.join(home, "tree"), None))
done["doctor"] = doctor()
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder of the other user's own; pytest's folders are closed to it."""
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as folder:
        os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


@pytest.fixture(scope="module")
def done(home: Path) -> dict[str, Any]:
    """What a process of the other user did: with defaults, and its home as its only place."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "TANDEM_"))
    }
    finished = subprocess.run(
        [sys.executable, "-P", "-c", AS_NOBODY, str(home), str(NOBODY)],
        env=kept | {"HOME": str(home)},
        check=False, capture_output=True, timeout=WAIT_S,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr.decode()
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def test_neither_the_program_nor_its_bridge_has_a_privilege(done: dict[str, Any]) -> None:
    for uids, *sets in (done["us"], done["bridge"]):
        assert uids.split() == [str(NOBODY)] * 4
        assert [int(one, 16) for one in sets] == [0, 0, 0, 0]


def test_a_run_with_steps_in_c_and_in_python_completes_and_is_kept(
    done: dict[str, Any], home: Path
) -> None:
    run = done["run"]
    assert (run["status"], run["error"]) == ("completed", None)
    layers = {name: step["layer"] for name, step in run["steps"].items()}
    assert layers == {"scan": "c", "count": "python", "compute": "python"}
    assert run["results"]["compute"] == 200
    assert done["kept"] == ["completed", "completed"]
    journal = Path(done["journal"])
    assert journal.is_relative_to(home)
    assert journal.stat().st_uid == NOBODY


def test_both_layers_run_twins_and_agree(done: dict[str, Any]) -> None:
    assert done["twins"]["status"] == "completed"
    assert done["twins"]["consensus_achieved"] is True
    assert done["twins"]["results"] == {"e": "twice"}


def test_the_doctor_ends_with_0_and_lists_what_was_refused(done: dict[str, Any]) -> None:
    code, out = done["doctor"]
    findings = json.loads(out)["findings"]
    assert code == 0, findings
    refused = {f["what"]: f for f in findings if f["state"] == "refused"}
    assert {"locked memory", "real-time scheduling"} <= refused.keys()
    assert refused["locked memory"]["mend"]
    assert refused["real-time scheduling"]["mend"]
    well = {f["what"] for f in findings if f["state"] == "ok"}
    assert {"c layer", "python layer", "journal", "a speed_critical run"} <= well


def test_nothing_is_left_in_its_runtime_directory(done: dict[str, Any], home: Path) -> None:
    assert not [path for path in (home / "run").rglob("*") if path.is_socket()]
