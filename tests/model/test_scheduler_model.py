"""The engine schedules as the reference does, whatever happens and whenever its program dies."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from scheduler_machine import FileSchedulerMachine, SchedulerMachine

LINES_MAX = 100
SHORT = settings(
    max_examples=40,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""The same histories each time."""
LONG = settings(
    SHORT,
    max_examples=int(os.environ.get("TANDEM_MODEL_EXAMPLES", "3000")),
    stateful_step_count=60,
    derandomize=False,
)
"""Others each time; what fails is shrunk and printed as a program."""


@pytest.mark.timeout(300)
def test_the_engine_schedules_as_the_reference_does():
    run_state_machine_as_test(SchedulerMachine, settings=SHORT)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_the_engine_schedules_as_the_reference_does_on_a_file():
    run_state_machine_as_test(FileSchedulerMachine, settings=settings(SHORT, max_examples=100))


@pytest.mark.long
@pytest.mark.timeout(0)
def test_the_engine_schedules_as_the_reference_does_in_many_histories():
    run_state_machine_as_test(SchedulerMachine, settings=LONG)


@pytest.mark.parametrize("part", ["scheduler", "fates", "wishes", "words"])
def test_the_reference_is_short_and_knows_nothing_of_the_engine(part):
    text = Path(__file__).with_name(f"reference_{part}.py").read_text()
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) <= LINES_MAX + 10  # of which 10 say what it is
    assert "tandem_orchestrator" not in text
