"""The pytest plugin: capsules as tests, and twins verified in the tests that you have.

``pytest --tandem-capsules DIR`` makes each capsule file in a folder one test: its twins run again and
must agree. ``pytest --tandem-twins=verify`` runs each action that your tests call in all of its
implementations, and fails the test where they differ. Nothing of Tandem is imported before.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tandem_orchestrator.orchestrator.replay import Replayed
    from tandem_orchestrator.testing.twin_calls import Recorder

SUFFIX = ".capsule.json"
STORIES_MAX = 5
"""Differences of one test that are told in full."""


class TwinsDiffer(AssertionError):
    """Twins gave different outcomes on the same input; the message shows both sides."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("tandem", "implementations of one action that must agree")
    group.addoption(
        "--tandem-capsules",
        metavar="DIR",
        action="append",
        default=[],
        help="each capsule file in DIR is a test: its twins run again and must agree",
    )
    group.addoption(
        "--tandem-import",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module with agents, besides those that a capsule file names",
    )
    group.addoption(
        "--tandem-twins",
        choices=("off", "verify"),
        default="off",
        help="verify: run each action that a test calls in all implementations; they must agree",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to record, where twins are to be verified."""
    for folder in config.getoption("--tandem-capsules"):
        if not Path(folder).is_dir():
            raise pytest.UsageError(f"--tandem-capsules {folder}: there is no such folder")
    if config.getoption("--tandem-twins") == "verify":
        config.pluginmanager.register(Verifying(), "tandem-verifying")


# --- capsules ------------------------------------------------------------------------------------


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for each capsule file."""
    for folder in config.getoption("--tandem-capsules"):
        for path in sorted(Path(folder).resolve().rglob(f"*{SUFFIX}")):
            file: CapsuleFile = CapsuleFile.from_parent(session, path=path)
            items.extend(file.collect())


class CapsuleFile(pytest.File):
    """One capsule file."""

    def collect(self) -> Iterator[pytest.Item]:
        """Give its one test."""
        yield CapsuleItem.from_parent(self, name="agree")


class CapsuleItem(pytest.Item):
    """A capsule whose twins must agree."""

    def runtest(self) -> None:
        """Run the twins again. Raises: TwinsDiffer; CapsuleError if they cannot be run."""
        from tandem_orchestrator.testing.twin_runs import replay_capsule
        from tandem_orchestrator.twins.capsule_file import capsule_from_text

        capsule, modules = capsule_from_text(self.path.read_text(encoding="utf-8"))
        named = [*modules, *self.config.getoption("--tandem-import")]
        done = replay_capsule(capsule, dict.fromkeys(named), near=str(self.path))
        if not done.agree:
            raise TwinsDiffer(done.story)

    # Any: pytest's own types are not public.
    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Tell what differs, without our own stack."""
        from tandem_orchestrator import TandemError

        if isinstance(excinfo.value, TwinsDiffer | TandemError | ImportError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test where it fails."""
        return self.path, None, f"{self.path.name}: twins agree"


# --- twins in the tests there are ----------------------------------------------------------------


class Verifying:
    """Records what each test calls, and runs it again in all implementations afterwards."""

    def __init__(self) -> None:
        self._recorder: Recorder | None = None
        self._undo = ExitStack()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Be there before a fixture opens an orchestrator."""
        self._recording()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let the test run; where it passes, its twins must agree as well."""
        recorder = self._recording()
        recorder.begin()
        try:
            result = yield
        except BaseException:
            recorder.is_on = False
            raise
        if found := recorder.verify():
            pytest.fail(_told(found), pytrace=False)
        return result

    def pytest_unconfigure(self) -> None:
        """Put everything back."""
        self._undo.close()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say how much was compared, and what was not."""
        recorder = self._recorder
        if recorder is None:
            return
        compared = f"{recorder.compared} call{'s' * (recorder.compared != 1)} compared"
        terminalreporter.write_line(f"tandem twins: {compared}, {recorder.differing} differ")
        for reason, count in recorder.skipped.most_common():
            terminalreporter.write_line(f"tandem twins: {count} not compared: {reason}")

    def _recording(self) -> Recorder:
        """Begin at the first test, so that collecting imports nothing of ours."""
        if self._recorder is None:
            from tandem_orchestrator.testing.twin_calls import Recorder, recording

            self._recorder = Recorder()
            self._undo.enter_context(recording(self._recorder))
        return self._recorder


def _told(found: list[Replayed]) -> str:
    parts = [done.story for done in found[:STORIES_MAX]]
    if len(found) > STORIES_MAX:
        parts.append(f"… and {len(found) - STORIES_MAX} more calls on which twins differ")
    return "\n\n".join(parts)
