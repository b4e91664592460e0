"""What acceptance tests share: orchestrators without the C layer, quick to open and on a fake clock."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.testing import FakeClock

PYTHON_ONLY: dict[str, Any] = {
    "c_layer": {"enabled": False},
    "journal": {"path": ":memory:"},
}
"""Settings for tests that the C layer does not concern."""

Open = Callable[..., TandemOrchestrator]


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    return FakeClock()


@pytest.fixture
async def open_tandem() -> AsyncIterator[Open]:
    """Make orchestrators that are closed after the test; they are not initialised yet."""
    made: list[TandemOrchestrator] = []

    def make(settings: dict[str, dict[str, Any]] | None = None, **arguments: Any) -> Any:
        config = {key: dict(value) for key, value in PYTHON_ONLY.items()}
        for section, values in (settings or {}).items():
            config.setdefault(section, {}).update(values)
        made.append(TandemOrchestrator(config, **arguments))
        return made[-1]

    yield make
    for tandem in made:
        await tandem.close()


@pytest.fixture
async def tandem(open_tandem: Open) -> TandemOrchestrator:
    """An open orchestrator with the Python layer alone, on the real clock."""
    made = open_tandem()
    await made.initialize()
    return made


@pytest.fixture
async def clocked(open_tandem: Open, clock: FakeClock) -> TandemOrchestrator:
    """An open orchestrator with the Python layer alone, on the fake clock."""
    made = open_tandem(clock=clock)
    await made.initialize()
    return made
