"""The command line as programs and people use it: results, exit codes, JSON shapes, readable errors."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tandem_orchestrator.cli.app import run_app

CLI = [
    sys.executable,
    "-P",
    "-c",
    "import tandem_orchestrator.cli as c; raise SystemExit(c.main())",
]
WAIT_S = 20.0
"""Longest wait for something that is certain to come; only a broken test needs it."""

RESULT_KEYS = {
    "status",
    "results",
    "error",
    "error_detail",
    "run_id",
    "command_set_id",
    "name",
    "mode",
    "durability",
    "duration",
    "steps",
}
STEP_KEYS = {
    "outcome",
    "layer",
    "implementation",
    "attempts",
    "seconds",
    "reason",
    "cached",
    "stopped",
    "failed_items",
}
ROW_KEYS = {
    "run_id",
    "command_set_id",
    "name",
    "type",
    "mode",
    "priority",
    "durability",
    "status",
    "created_at",
    "started_at",
    "finished_at",
    "duration",
    "steps_total",
    "steps_done",
    "waiting_for",
    "owner",
    "resumable",
}

HELLO = """
name: Hello
type: atomic
steps:
  - {agent: system, action: echo, payload: {message: Hello World}}
"""
FAILING = """
name: Failing
steps:
  - {id: nap, agent: system, action: sleep, payload: {seconds: -1}}
  - {id: after, agent: system, action: noop}
dependencies: {after: [nap]}
"""
INPUT = """
steps:
  - {id: say, agent: system, action: echo, payload: {$ref: "inputs#/who"}}
"""
BROKEN = """
name: Broken
mode: reduntant
steps:
  - {id: a, agent: sytem, action: echo}
  - {id: a, agent: system, action: ehco}
"""


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of stdout, which must be one JSON text."""
        return json.loads(self.out)


Tandem = Callable[..., Done]


@pytest.fixture
def tandem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Tandem:
    """Run ``tandem`` in this process, without the C layer, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    for name, text in (
        ("hello.yaml", HELLO),
        ("failing.yaml", FAILING),
        ("input.yaml", INPUT),
        ("broken.yaml", BROKEN),
    ):
        (tmp_path / name).write_text(text)

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = run_app(list(arguments))
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


def newest(tandem: Tandem) -> str:
    """Give the id of the newest run."""
    run_id: str = tandem("runs", "list", "--json", "--limit", "1").json[0]["run_id"]
    return run_id


# --- run -----------------------------------------------------------------------------------------


def test_run_prints_the_result_as_json_and_nothing_else_with_json(tandem: Tandem) -> None:
    done = tandem("run", "hello.yaml", "--json")

    assert (done.code, done.err) == (0, "")
    result = done.json
    assert set(result) >= RESULT_KEYS
    assert "consensus_achieved" not in result
    assert set(result["steps"]["s1"]) >= STEP_KEYS
    assert result["status"] == "completed"
    assert result["results"] == {"s1": {"message": "Hello World"}}
    assert result["steps"]["s1"]["layer"] == "python"
    assert result["name"] == "Hello"
    assert result["duration"] > 0


def test_run_shows_a_table_on_stdout_and_progress_on_stderr(tandem: Tandem) -> None:
    done = tandem("run", "hello.yaml")

    assert done.code == 0
    assert '"message": "Hello World"' in done.out
    [head] = [line for line in done.out.splitlines() if line.startswith("step ")]
    assert head.split() == ["step", "outcome", "layer", "time", "attempts", "reason"]
    [row] = [line for line in done.out.splitlines() if line.startswith("s1  ")]
    assert row.split()[:3] == ["s1", "succeeded", "python"]
    assert "the C layer is away" in row
    assert "Hello completed in" in done.out
    assert "s1: started in python" in done.err
    assert "s1: succeeded in python" in done.err
    assert "note: the C layer is away" in done.out


def test_a_failed_run_is_exit_code_1_and_says_what_failed(tandem: Tandem) -> None:
    done = tandem("run", "failing.yaml")
    shown = tandem("run", "failing.yaml", "--json")

    assert done.code == shown.code == 1
    assert "Failing failed in" in done.out
    assert "step 'nap' failed: ValueError: seconds must be from 0 to 86400" in done.out
    assert "after: skipped, " in done.err
    assert shown.json["status"] == "failed"
    assert set(shown.json["error_detail"]) >= {"type", "step", "message", "traceback"}
    assert shown.json["steps"]["after"]["outcome"] == "skipped"
    assert "nap" in shown.json["steps"]["after"]["reason"]


def test_inputs_are_json_and_a_bare_word_is_told_how_to_quote(tandem: Tandem) -> None:
    done = tandem("run", "input.yaml", "--input", 'who="me"', "--json")
    bare = tandem("run", "input.yaml", "--input", "who=me")
    none = tandem("run", "input.yaml", "--json")

    assert done.json["results"] == {"say": "me"}
    assert bare.code == 2
    assert """--input 'who="me"'""" in bare.err
    assert none.code == 4
    assert none.json["faults"][0]["path"] == "inputs.who"


def test_mode_and_durability_of_the_command_line_win(tandem: Tandem) -> None:
    done = tandem("run", "hello.yaml", "--mode", "Python_Only", "--durability", "sync", "--json")

    assert (done.json["mode"], done.json["durability"]) == ("python_only", "sync")


def test_a_key_gives_the_same_run_again_and_another_body_is_refused(tandem: Tandem) -> None:
    first = tandem("run", "hello.yaml", "--key", "k", "--json")
    again = tandem("run", "hello.yaml", "--key", "k", "--json")
    other = tandem("run", "input.yaml", "--input", "who=1", "--key", "k", "--json")

    assert first.json["run_id"] == again.json["run_id"]
    assert (again.code, other.code) == (0, 4)
    assert other.json["error_type"] == "IdempotencyMismatch"


def test_an_imported_module_brings_its_agents(tandem: Tandem, tmp_path: Path) -> None:
    (tmp_path / "my_agents_for_this_test.py").write_text(
        "from tandem_orchestrator import Agent\n"
        "mine = Agent('mine')\n"
        "@mine.action('double', effects='none')\n"
        "def double(payload):\n"
        "    '''Double it.'''\n"
        "    return payload * 2\n"
    )
    (tmp_path / "own.yaml").write_text("steps: [{agent: mine, action: double, payload: 21}]")
    try:
        done = tandem("run", "own.yaml", "--import", "my_agents_for_this_test", "--json")
        listed = tandem("agents", "--import", "my_agents_for_this_test", "--json").json
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("my_agents_for_this_test", None)
    missing = tandem("run", "own.yaml", "--import", "no_such_module")
    sys.path.remove(str(tmp_path))

    assert done.json["results"] == {"s1": 42}
    [mine] = [action for action in listed if action["agent"] == "mine"]
    assert mine["documentation"] == "Double it."
    assert missing.code == 2
    assert "--import no_such_module: ModuleNotFoundError" in missing.err


def test_a_workflow_runs_by_its_name(tandem: Tandem, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "one.py").write_text('"""One."""\n')

    done = tandem(
        "run",
        "document_generation",
        "--input",
        f"path={json.dumps(str(tree))}",
        "--input",
        f"output={json.dumps(str(tmp_path / 'pages'))}",
    )

    assert done.code == 0, done.err
    assert (tmp_path / "pages" / "index.md").is_file()
    steps = [line.split()[0] for line in done.out.splitlines() if " succeeded " in line]
    assert steps == ["ui_setup", "scan", "analyze", "generate", "display"]


# --- validate ------------------------------------------------------------------------------------


def test_validate_shows_the_plan_and_runs_nothing(tandem: Tandem) -> None:
    done = tandem("validate", "failing.yaml", "--json")
    shown = tandem("validate", "failing.yaml")

    assert (done.code, shown.code) == (0, 0)
    assert done.json["status"] == "valid"
    assert [(step["id"], step["depends_on"]) for step in done.json["steps"]] == [
        ("nap", []),
        ("after", ["nap"]),
    ]
    assert all(step["reason"] for step in done.json["steps"])
    assert "valid: 2 steps, mode intelligent, priority medium" in shown.out
    assert tandem("runs", "list", "--json").json == []


@pytest.mark.parametrize("command", ["run", "validate"])
def test_every_fault_is_told_at_once_with_file_path_and_nearest_name(
    tandem: Tandem, command: str
) -> None:
    done = tandem(command, "broken.yaml")
    shown = tandem(command, "broken.yaml", "--json")

    assert done.code == shown.code == 4
    assert (done.out, shown.err) == ("", "")
    assert done.err.splitlines()[0] == "tandem: broken.yaml: 4 faults, nothing was run:"
    for words in (
        "steps[0].agent: there is no agent 'sytem'",
        "(did you mean system?)",
        "the C layer, which may have it, is away",
        "steps[1].id: step id 'a' is used by steps[0] as well",
        "steps[1].action: agent 'system' has no action 'ehco'",
        "(did you mean echo?)",
        "mode: mode 'reduntant' has no policy",
    ):
        assert words in done.err
    assert (shown.json["status"], shown.json["error_type"]) == ("invalid", "InvalidCommandSet")
    assert {(fault["code"], fault["path"]) for fault in shown.json["faults"]} == {
        ("unknown_agent", "steps[0].agent"),
        ("duplicate_id", "steps[1].id"),
        ("unknown_action", "steps[1].action"),
        ("no_policy", "mode"),
    }
    assert {"code", "path", "message", "value", "nearest"} == set(shown.json["faults"][0])
    assert tandem("runs", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "no_such.yaml"], 4, "no_such.yaml"),
        (["run", "document_generaton"], 4, "did you mean document_generation?"),
        (["run", "document_generation", "--input", "paht=1"], 4, "did you mean path?"),
        (["run"], 2, "Missing argument"),
        (["rnu", "hello.yaml"], 2, "No such command 'rnu'"),
        (["run", "hello.yaml", "--fast"], 2, "No such option"),
        (["run", "hello.yaml", "--input", "who"], 2, "expected NAME=JSON"),
        (["run", "hello.yaml", "--set", "who"], 2, "expected section.key=value"),
        (["run", "hello.yaml", "--set", "orchestrator.sync_interval=1"], 2, "sync_interval_ms"),
        (["run", "hello.yaml", "--set", "limits.steps_max=none"], 2, "limits.steps_max"),
        (["run", "hello.yaml", "--mode", "no such"], 4, "mode"),
        (["run", "hello.yaml", "--durability", "grup"], 4, "did you mean group?"),
        (["run", "hello.yaml", "--mode", "speed_critical"], 5, "which is away: switched off"),
        (["run", "hello.yaml", "--journal", "/dev/null/j.db"], 5, "/dev/null"),
        (["runs", "show", "no_such_run"], 4, "no such run in the journal"),
        (["explain", "no_such_run"], 4, "no such run in the journal"),
        (["runs", "list", "--status", "don"], 2, "expected one of completed, failed"),
        (["runs", "list", "--limit", "0"], 2, "--limit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_has_its_exit_code_one_readable_answer_and_no_traceback(
    tandem: Tandem, arguments: list[str], code: int, words: str
) -> None:
    done = tandem(*arguments)

    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 5


def test_a_bad_environment_variable_is_told_by_its_name(
    tandem: Tandem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_PYTHON_WORKERS", "many")

    done = tandem("run", "hello.yaml")

    assert done.code == 2
    assert "TANDEM_PYTHON_WORKERS" in done.err and "many" in done.err


# --- what ran ------------------------------------------------------------------------------------


def test_runs_list_gives_apis_keys_newest_first(tandem: Tandem) -> None:
    assert tandem("runs", "list", "--json").json == []
    empty = tandem("runs", "list")
    for name in ("hello", "failing", "hello"):
        tandem("run", f"{name}.yaml")

    rows = tandem("runs", "list", "--json").json
    table = tandem("runs", "list")

    assert "no runs in" in empty.out and "journal.db" in empty.out
    assert [row["name"] for row in rows] == ["Hello", "Failing", "Hello"]
    assert all(set(row) == ROW_KEYS for row in rows)
    assert [row["status"] for row in rows] == ["completed", "failed", "completed"]
    first = rows[0]
    assert (first["type"], first["mode"], first["priority"]) == ("atomic", "intelligent", "medium")
    assert (first["steps_total"], first["steps_done"]) == (1, 1)
    assert first["created_at"].endswith("Z") and first["created_at"][10] == "T"
    assert first["created_at"] <= first["started_at"] <= first["finished_at"]
    assert first["waiting_for"] == [] and first["resumable"] is True
    assert all(row["run_id"] in table.out for row in rows)
    failed = tandem("runs", "list", "--status", "failed", "--json").json
    assert [row["name"] for row in failed] == ["Failing"]
    assert len(tandem("runs", "list", "--limit", "2", "--json").json) == 2


def test_runs_show_is_the_row_and_the_result_and_reads_as_the_run_did(tandem: Tandem) -> None:
    ran = tandem("run", "hello.yaml", "--json").json

    shown = tandem("runs", "show", ran["run_id"], "--json").json
    text = tandem("runs", "show", ran["run_id"])

    assert set(shown) >= ROW_KEYS | RESULT_KEYS
    assert {key: shown[key] for key in RESULT_KEYS} == {key: ran[key] for key in RESULT_KEYS}
    assert (text.code, text.err) == (0, "")
    assert '"message": "Hello World"' in text.out
    assert "Hello completed in" in text.out


def test_explain_says_why_a_step_ran_where_it_did(tandem: Tandem) -> None:
    tandem("run", "failing.yaml")
    run_id = newest(tandem)

    steps = tandem("explain", run_id, "--json").json
    one = tandem("explain", run_id, "nap", "--json").json
    text = tandem("explain", run_id, "nap")
    wrong = tandem("explain", run_id, "nip")

    assert [step["step"] for step in steps] == ["nap", "after"]
    assert one == steps[0]
    assert (one["action"], one["planned"], one["layer"]) == ("system.sleep", ["python"], "python")
    assert "the C layer is away" in one["planned_reason"]
    assert text.out.startswith("nap: failed\n")
    assert "planned reason: python is the only implementation here" in text.out
    assert wrong.code == 4
    assert "has no step 'nip'; it has: nap, after" in wrong.err


def test_agents_lists_every_action_with_its_implementations(tandem: Tandem) -> None:
    listed = tandem("agents", "--json").json
    table = tandem("agents", "--limit", "2")

    names = [(action["agent"], action["action"]) for action in listed]
    assert names == sorted(names)
    assert {"docgen", "system", "tui"} <= {agent for agent, _ in names}
    assert set(listed[0]) >= {"agent", "action", "effects", "version", "implementations"}
    assert set(listed[0]["implementations"][0]) >= {"name", "layer", "rung"}
    assert f"{len(listed) - 2} more; --limit shows them" in table.out


def test_doctor_says_degraded_and_why_without_the_c_layer(tandem: Tandem) -> None:
    done = tandem("doctor", "--json")
    text = tandem("doctor")

    assert done.code == text.code == 0
    findings = {finding["what"]: finding for finding in done.json["findings"]}
    assert done.json["status"] == "degraded"
    assert (findings["c layer"]["state"], findings["journal"]["state"]) == ("degraded", "ok")
    assert "switched off" in findings["c layer"]["detail"]
    assert findings["a python_only run"]["state"] == "ok"
    assert findings["a speed_critical run"]["state"] == "degraded"
    assert text.out.rstrip().endswith("tandem is degraded on this machine")


def test_doctor_leaves_no_run_in_the_journal(tandem: Tandem) -> None:
    done = tandem("doctor", "--json")

    findings = {finding["what"]: finding for finding in done.json["findings"]}
    assert findings["journal"]["state"] == "ok"
    assert ":memory:" not in findings["journal"]["detail"]
    assert tandem("runs", "list", "--json").json == []


def test_doctor_says_broken_when_the_journal_cannot_be_opened(tandem: Tandem) -> None:
    done = tandem("doctor", "--json", "--journal", "/dev/null/j.db")

    assert done.code == 5
    [finding] = [f for f in done.json["findings"] if f["state"] == "broken"]
    assert finding["what"] == "journal"
    assert "--journal" in finding["mend"]


@pytest.mark.native
def test_doctor_is_well_with_the_c_layer(tandem: Tandem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TANDEM_C_LAYER__ENABLED")

    findings = tandem("doctor", "--json").json["findings"]

    # What the machine refused, as huge pages, is told of in lines of their own.
    states = [f["state"] for f in findings if f["what"] == "c layer" and f["state"] != "refused"]
    assert states == ["ok"], findings
    [run] = [f for f in findings if f["what"] == "a speed_critical run"]
    assert run["state"] == "ok"
    assert run["detail"].endswith(" by c")


def test_control_characters_of_strangers_never_reach_the_terminal(
    tandem: Tandem, tmp_path: Path
) -> None:
    document = {
        "name": "evil\u001b]0;title\u0007",
        "steps": [{"id": "x", "agent": "system", "action": "echo", "payload": "\u001b[31m"}],
    }
    (tmp_path / "evil.json").write_text(json.dumps(document))
    tandem("run", "evil.json")
    run_id = newest(tandem)

    for command in (
        ["run", "evil.json"],
        ["runs", "list"],
        ["runs", "show", run_id],
        ["explain", run_id],
        ["validate", "evil.json"],
        ["runs", "show", "\u001b[31m"],
        ["run", "\u001b[31m.yaml"],
    ):
        done = tandem(*command)
        assert "\u001b" not in done.out + done.err, command
        assert "\u0007" not in done.out + done.err, command


def test_version_and_help_go_to_stdout(tandem: Tandem) -> None:
    from tandem_orchestrator import __version__

    assert tandem("--version") == Done(0, f"tandem {__version__}\n", "")
    for command in ([], ["run"], ["validate"], ["runs"], ["runs", "list"], ["agents"], ["doctor"]):
        done = tandem(*command, "--help")
        assert (done.code, done.err) == (0, "")
        assert "Usage: tandem" in done.out


# --- processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [True, False], ids=["json", "table"])
def test_an_interrupt_cancels_the_run_and_is_exit_code_130(tmp_path: Path, quiet: bool) -> None:
    (tmp_path / "nap.yaml").write_text(
        "steps:\n"
        "  - {id: mark, agent: tui, action: display, payload: {message: begun}}\n"
        "  - {id: nap, agent: system, action: sleep, payload: {seconds: 60}}\n"
        "dependencies: {nap: [mark]}\n"
    )
    program = subprocess.Popen(
        [*CLI, "run", "nap.yaml", *(["--json"] if quiet else [])],
        cwd=tmp_path,
        env=os.environ | {"TANDEM_C_LAYER__ENABLED": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stderr is not None
    for line in program.stderr:
        if "begun" in line:
            break
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=WAIT_S)

    assert program.returncode == 130
    assert "Traceback" not in err
    if quiet:
        told = json.loads(out)
        assert (told["status"], told["error_type"]) == ("cancelled", "Interrupted")
        assert told["error"] == f"interrupted, run {told['run_id']} was cancelled"
        assert "interrupted" not in err
    else:
        assert out == ""
        assert "interrupted, run " in err and " was cancelled" in err
    listed = subprocess.run(
        [*CLI, "runs", "list", "--json"], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert [row["status"] for row in json.loads(listed.stdout)] == ["cancelled"]


@pytest.mark.parametrize("arguments", [["agents"], ["agents", "--json"], ["doctor"]])
def test_a_reader_that_leaves_early_is_no_error(arguments: list[str]) -> None:
    program = subprocess.Popen(
        [*CLI, *arguments],
        env=os.environ | {"TANDEM_C_LAYER__ENABLED": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None and program.stderr is not None
    program.stdout.close()  # as ``| head -0`` does
    err = program.stderr.read()
    program.stderr.close()
    program.wait(WAIT_S)

    assert err == ""
    assert program.returncode == 0
