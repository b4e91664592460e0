"""The loop of a command: whose it is, and how two signals end what runs in it."""

import asyncio
import importlib.util
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_orchestrator import Settings
from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.cli.exits import Exit
from tandem_orchestrator.cli.loop import Terminated, run_in_loop

UVLOOP = importlib.util.find_spec("uvloop") is not None
LOOPS = [
    False,
    pytest.param(True, marks=pytest.mark.skipif(not UVLOOP, reason="uvloop is an extra")),
]


def settings(use_uvloop: bool) -> Settings:
    return Settings.load({"python_layer": {"use_uvloop": use_uvloop}}, environ={}, cwd=Path())


async def kind_of_loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@pytest.mark.parametrize("use_uvloop", LOOPS)
def test_the_settings_choose_the_loop(use_uvloop: bool) -> None:
    expected = "uvloop" if use_uvloop else "asyncio"

    assert run_in_loop(settings(use_uvloop), kind_of_loop) == expected
    assert run_in_loop(settings(use_uvloop), kind_of_loop, on_sigterm=True) == expected


class Work:
    """Something that waits until it is cancelled, and closes what it opened."""

    def __init__(self, *signals: signal.Signals, while_closing: Callable[[], None] | None = None):
        self.signals, self.while_closing = signals, while_closing
        self.closed = False

    async def __call__(self) -> None:
        try:
            for each in self.signals:
                os.kill(os.getpid(), each)
            await asyncio.Event().wait()
        finally:
            if self.while_closing is not None:
                self.while_closing()
            for _ in range(5):
                await asyncio.sleep(0)
            self.closed = True


@pytest.mark.parametrize("use_uvloop", LOOPS)
def test_sigterm_cancels_the_work_and_lets_it_close(use_uvloop: bool) -> None:
    work = Work(signal.SIGTERM)

    with pytest.raises(Terminated):
        run_in_loop(settings(use_uvloop), work, on_sigterm=True)

    assert work.closed
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("use_uvloop", LOOPS)
def test_a_second_sigterm_does_not_disturb_the_closing(use_uvloop: bool) -> None:
    work = Work(signal.SIGTERM, while_closing=lambda: os.kill(os.getpid(), signal.SIGTERM))

    with pytest.raises(Terminated):
        run_in_loop(settings(use_uvloop), work, on_sigterm=True)

    assert work.closed


@pytest.mark.parametrize("use_uvloop", LOOPS)
@pytest.mark.parametrize("on_sigterm", [True, False])
def test_sigint_cancels_the_work_and_is_a_keyboard_interrupt(
    use_uvloop: bool, on_sigterm: bool
) -> None:
    work = Work(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_in_loop(settings(use_uvloop), work, on_sigterm=on_sigterm)

    assert work.closed


@pytest.mark.parametrize("use_uvloop", LOOPS)
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_of_both_signals_the_persons_is_told(first: signal.Signals, use_uvloop: bool) -> None:
    second = signal.SIGTERM if first is signal.SIGINT else signal.SIGINT
    work = Work(first, second)

    with pytest.raises(KeyboardInterrupt):
        run_in_loop(settings(use_uvloop), work, on_sigterm=True)

    assert work.closed


@pytest.mark.parametrize("use_uvloop", LOOPS)
def test_sigterm_does_not_disturb_the_closing_after_sigint(use_uvloop: bool) -> None:
    work = Work(signal.SIGINT, while_closing=lambda: os.kill(os.getpid(), signal.SIGTERM))

    with pytest.raises(KeyboardInterrupt):
        run_in_loop(settings(use_uvloop), work, on_sigterm=True)

    assert work.closed


@pytest.mark.parametrize("use_uvloop", LOOPS)
def test_a_person_may_cut_the_closing_after_sigterm_short(use_uvloop: bool) -> None:
    work = Work(signal.SIGTERM, while_closing=lambda: os.kill(os.getpid(), signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        run_in_loop(settings(use_uvloop), work, on_sigterm=True)


def test_work_that_ends_in_spite_of_sigterm_gives_its_result() -> None:
    async def stubborn() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    assert run_in_loop(settings(False), stubborn, on_sigterm=True) == "done all the same"


def test_a_cancellation_of_the_works_own_is_none_of_ours() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_in_loop(settings(False), cancelled, on_sigterm=True)


def test_outside_of_the_main_thread_signals_stay_with_the_main_thread() -> None:
    given: list[str] = []
    thread = threading.Thread(
        target=lambda: given.append(run_in_loop(settings(False), kind_of_loop, on_sigterm=True))
    )
    thread.start()
    thread.join(10.0)

    assert given == ["asyncio"]


@pytest.mark.parametrize(
    ("error", "code"), [(Terminated, Exit.TERMINATED), (KeyboardInterrupt, Exit.INTERRUPTED)]
)
def test_a_signal_has_its_exit_code(
    error: type[BaseException],
    code: Exit,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(*args: object, **options: object) -> Exit:
        raise error

    monkeypatch.setattr("tandem_orchestrator.cli.run_commands.run_in_loop", end)

    assert run_app(["run", "document_generation", "--journal", ":memory:"]) == int(code)
    assert capsys.readouterr().out == ""
    assert run_app(["run", "document_generation", "--journal", ":memory:", "--json"]) == int(code)
    assert json.loads(capsys.readouterr().out)["status"] == "cancelled"


def test_an_input_at_its_end_is_an_error_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(*args: object, **options: object) -> Exit:
        raise EOFError

    monkeypatch.setattr("tandem_orchestrator.cli.run_commands.run_in_loop", end)

    assert run_app(["run", "document_generation", "--journal", ":memory:"]) == int(Exit.FAILED)
    assert "an input was at its end" in capsys.readouterr().err
