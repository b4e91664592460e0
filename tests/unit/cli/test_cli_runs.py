"""What ``run``, ``validate`` and ``explain`` say: every fault in one round, words and no lists."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

from tandem_orchestrator.cli.app import run_app


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Tandem = Callable[..., Done]


@pytest.fixture
def tandem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Tandem:
    """Run ``tandem`` in this process, without the C layer, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = run_app(list(arguments))
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


def write(name: str, *lines: str) -> str:
    Path(name).write_text("\n".join(lines) + "\n")
    return name


@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_files_type_faults_and_the_planners_come_in_one_round(
    tandem: Tandem, command: str
) -> None:
    file = write(
        "broken.yaml",
        "mode: reduntant",
        "steps:",
        "  - {id: a, agent: sytem, action: echo, timeout: soon}",
        "  - {id: b, agent: system, action: echo}",
        "  - {id: b, agent: system, action: ehco, colour: red}",
        "dependencies: {b: [nobody]}",
    )

    done = tandem(command, file, "--json")

    faults = json.loads(done.out)["faults"]
    assert done.code == 4
    assert sorted((fault["code"], fault["path"]) for fault in faults) == [
        ("bad_type", "steps[0].timeout"),
        ("bad_type", "steps[2].colour"),
        ("duplicate_id", "steps[2].id"),
        ("no_policy", "mode"),
        ("unknown_action", "steps[2].action"),
        ("unknown_agent", "steps[0].agent"),
        ("unknown_dependency", "dependencies.b"),
    ]
    assert json.loads(tandem("runs", "list", "--json").out) == []


def test_a_fault_of_a_type_alone_is_told_once_and_nothing_runs(tandem: Tandem) -> None:
    file = write("typo.yaml", "steps:", "  - {agent: system, action: noop, timeout: soon}")

    done = tandem("run", file)

    assert done.code == 4
    assert "typo.yaml: 1 fault, nothing was run" in done.err
    assert json.loads(tandem("runs", "list", "--json").out) == []


@pytest.mark.parametrize("command", ["run", "validate"])
def test_an_input_that_nothing_refers_to_is_refused_with_the_nearest(
    tandem: Tandem, command: str
) -> None:
    file = write(
        "set.yaml",
        "steps:",
        "  - {agent: system, action: echo, payload: {$ref: inputs#/path, default: 1}}",
    )

    done = tandem(command, file, "--input", "paht=2", "--json")
    text = tandem(command, file, "--input", "paht=2")

    [fault] = json.loads(done.out)["faults"]
    assert (done.code, text.code) == (4, 4)
    assert (fault["code"], fault["path"]) == ("bad_reference", "inputs.paht")
    assert fault["nearest"] == ["path"]
    assert "did you mean path?" in text.err
    assert json.loads(tandem("runs", "list", "--json").out) == []
    assert tandem(command, file, "--input", "path=2").code == 0


@pytest.mark.parametrize(
    "step",
    [
        "{agent: system, action: echo, payload: {a: [{$ref: inputs#/who}]}}",
        "{agent: system, action: echo, payload: {$ref: inputs}}",
        "{agent: system, action: noop, when: {ref: inputs#/who, op: exists}}",
        "{agent: system, action: noop, for_each: {$ref: inputs#/who}}",
        "{command_set: {steps: [{agent: system, action: echo, payload: {$ref: inputs#/who}}]}}",
    ],
)
def test_an_input_is_used_wherever_a_reference_can_stand(tandem: Tandem, step: str) -> None:
    file = write("set.yaml", "steps:", f"  - {step}")

    done = tandem("validate", file, "--input", "who=[1]")

    assert done.code == 0, done.err


@pytest.mark.parametrize(("steps", "words"), [(1, "valid: 1 step, "), (2, "valid: 2 steps, ")])
def test_validate_counts_in_english(tandem: Tandem, steps: int, words: str) -> None:
    file = write("set.yaml", "steps:", *["  - {agent: system, action: noop}"] * steps)

    assert words in tandem("validate", file).out


@pytest.mark.parametrize("command", ["run", "validate"])
def test_an_agent_that_is_not_here_may_be_in_a_module_of_yours(
    tandem: Tandem, command: str
) -> None:
    file = write("set.yaml", "steps:", "  - {agent: mine, action: do}")
    typo = write("typo.yaml", "steps:", "  - {agent: sytem, action: echo}")
    write("mine.py", "")

    assert "--import MODULE registers" in tandem(command, file).err
    assert "--import" not in tandem(command, file, "--import", "mine").err
    assert "--import" not in tandem(command, typo).err


def test_no_step_is_said_to_have_taken_longer_than_its_run(tandem: Tandem) -> None:
    file = write(
        "naps.yaml",
        "steps:",
        "  - {id: naps, agent: system, action: sleep, for_each: [0.2, 0.2, 0.2, 0.2],",
        "     payload: {seconds: {$ref: item}}}",
        "  - {id: group, command_set: {type: sequence, steps: [{agent: system, action: noop}]}}",
    )

    done = tandem("run", file)
    told = tandem("runs", "show", "last")

    assert " each" not in done.err + done.out + told.out
    shown = json.loads(tandem("runs", "show", "last", "--json").out)
    step = shown["steps"]["naps"]
    assert 0.2 <= step["seconds"] <= shown["duration"] < step["work_seconds"]
    assert "group: succeeded\n" in done.err


@pytest.mark.parametrize("command", [("runs", "show"), ("explain",)])
def test_a_run_is_found_by_the_beginning_of_its_id_and_the_newest_as_last(
    tandem: Tandem, command: tuple[str, ...]
) -> None:
    assert "there is no such run in the journal" in tandem(*command, "last").err
    file = write("set.yaml", "steps:", "  - {id: a, agent: system, action: noop}")
    tandem("run", file)
    tandem("run", write("other.yaml", "steps:", "  - {id: b, agent: system, action: noop}"))
    newest, oldest = (row["run_id"] for row in json.loads(tandem("runs", "list", "--json").out))
    pairs = zip(newest, oldest, strict=True)
    alike = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    assert tandem(*command, "last").out == tandem(*command, newest).out
    assert tandem(*command, oldest[: len(alike) + 1]).out == tandem(*command, oldest).out
    refused = tandem(*command, alike)
    assert refused.code == 4
    assert f"several begin so: {newest}, {oldest}" in refused.err


def test_explain_says_words_and_each_reason_once(tandem: Tandem) -> None:
    file = write("set.yaml", "steps:", "  - {id: say, agent: system, action: echo, payload: 1}")
    tandem("run", file)
    run_id = json.loads(tandem("runs", "list", "--json").out)[0]["run_id"]

    told = [line.strip() for line in tandem("explain", run_id).out.splitlines()]
    data = json.loads(tandem("explain", run_id, "say", "--json").out)

    assert told[0] == "say: succeeded"
    assert "planned: python" in told
    reasons = [line.partition(": ")[2] for line in told if "reason: " in line]
    assert reasons and len(reasons) == len(set(reasons))
    assert data["planned"] == ["python"]
    assert data["planned_reason"] == data["reason"] == reasons[0]


@pytest.mark.parametrize("use_uvloop", ["false", "true"])
def test_sigterm_leaves_the_run_cancelled_and_the_exit_code_143(
    tandem: Tandem, use_uvloop: str
) -> None:
    file = write(
        "nap.yaml",
        "steps:",
        "  - {id: mark, agent: tui, action: display, payload: {message: begun}}",
        "  - {id: nap, agent: system, action: sleep, payload: {seconds: 60}}",
        "dependencies: {nap: [mark]}",
    )
    main = "import tandem_orchestrator.cli as c; raise SystemExit(c.main())"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", main, "run", file],
        env=os.environ | {"TANDEM_ASYNC_IO": use_uvloop},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr is not None
        for line in program.stderr:
            if "begun" in line:
                break
        program.terminate()
        out, err = program.communicate(timeout=20.0)

    assert (program.returncode, out) == (128 + signal.SIGTERM, "")
    assert "terminated, run " in err and " was cancelled" in err and "Traceback" not in err
    [row] = json.loads(tandem("runs", "list", "--json").out)
    assert row["status"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument"),
        (["run", "set.yaml", "--fast"], "No such option"),
        (["run", "set.yaml", "--input", "who"], "expected NAME=JSON"),
        (["runs", "list", "--limit", "0"], "--limit"),
        (["rnu", "set.yaml"], "No such command 'rnu'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_with_json_a_usage_error_is_one_object_on_stdout(
    tandem: Tandem, arguments: list[str], words: str
) -> None:
    done = tandem(*arguments, "--json")

    told = json.loads(done.out)
    assert (done.code, done.err) == (2, "")
    assert (told["status"], told["error_type"]) == ("refused", "UsageError")
    assert words in told["error"]
    assert told["faults"] == []
