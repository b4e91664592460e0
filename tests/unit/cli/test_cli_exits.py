"""Exit codes, as API pins them, for every status and every error there is."""

import pytest

import tandem_orchestrator
from tandem_orchestrator import RunStatus, TandemError
from tandem_orchestrator.cli.exits import UsageError, exit_of_error, exit_of_status

ERRORS = {
    "CommandError": 4,
    "InvalidCommandSet": 4,
    "NotAValue": 4,
    "TwinError": 4,
    "CapsuleError": 4,
    "ConfigError": 2,
    "LayerUnavailable": 5,
    "JournalError": 5,
    "Busy": 5,
    "NotInitialized": 1,
    "WrongLoop": 1,
    "Forked": 1,
    "Closed": 1,
    "ActionFailed": 1,
    "OutcomeUnknown": 1,
    "IdempotencyMismatch": 4,
    "InternalError": 1,
    "TandemError": 1,
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_has_its_exit_code(name: str) -> None:
    kind = getattr(tandem_orchestrator, name)
    error = kind("Kind", "text") if name == "ActionFailed" else kind("text")

    assert exit_of_error(error) == ERRORS[name]


def test_no_public_error_is_left_out() -> None:
    public = {
        name
        for name in tandem_orchestrator.__all__
        if isinstance(getattr(tandem_orchestrator, name), type)
        and issubclass(getattr(tandem_orchestrator, name), TandemError)
    }

    assert public == set(ERRORS)


def test_a_usage_error_is_2() -> None:
    assert exit_of_error(UsageError("no")) == 2


def test_every_end_has_its_exit_code() -> None:
    codes = {status.value: int(exit_of_status(status.value)) for status in RunStatus}

    assert codes["completed"] == 0
    assert codes["held"] == 3
    assert {codes[end] for end in ("failed", "cancelled", "timed_out")} == {1}
