"""The bridge's counters are read from its page, without a round trip, and tell what happened."""

import asyncio
import fcntl
import mmap
import os
import time
from pathlib import Path

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers import CancelToken, Work
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.layers.native.statistics import WORDS, StatisticsPage
from tandem_orchestrator.model.outcomes import Outcome

pytestmark = pytest.mark.native
WAIT_S = 20.0
TABLE = Path(__file__).parents[2] / "protocol" / "statistics.tsv"


def test_the_words_are_those_of_the_protocol() -> None:
    rows = [line.split("\t") for line in TABLE.read_text().splitlines()[2:]]
    assert [row[1] for row in rows] == list(WORDS)
    assert [int(row[0]) for row in rows] == list(range(len(WORDS)))


async def shown(layer: NativeLayer, name: str, least: int) -> dict[str, int]:
    give_up_at = time.monotonic() + WAIT_S
    while (counters := layer.counters())[name] < least:
        assert time.monotonic() < give_up_at, counters
        await asyncio.sleep(0.001)
    return counters


async def test_calls_are_counted_and_no_wake_up_was_lost() -> None:
    layer = NativeLayer(Ids().make(), required=True)
    assert layer.counters() == {}
    await layer.start()
    try:
        before = layer.counters()
        for number in range(50):
            work = Work("run", f"s{number}", "system", "noop", "c", None)
            assert (await layer.run(work, CancelToken())).outcome is Outcome.SUCCEEDED
        after = await shown(layer, "completions", 50)
        assert after["calls"] - before["calls"] == 50
        assert after["failures"] == 0
        assert after["rescues"] == 0
        assert sum(after["run_time_ns"]) == 50
        assert after["sessions"] == 1
        assert layer.health().details["bridge"]["completions"] == 50
    finally:
        await layer.close()
    assert layer.counters() == {}


async def test_what_a_gone_session_counted_is_kept() -> None:
    config = {"journal": {"path": ":memory:"}}
    async with TandemOrchestrator(config) as tandem:
        assert tandem.call_sync("system", "noop", None) is None
        step = CommandStep(agent="system", action="noop")
        await tandem.execute_command_set(CommandSet(steps=[step]))
        give_up_at = time.monotonic() + WAIT_S
        while (counters := tandem.get_metrics()["c_layer"])["completions"] < 1:
            assert time.monotonic() < give_up_at, counters
            await asyncio.sleep(0.001)
        assert tandem.binary_bridge.test_connection()
        probed = tandem.get_metrics()["c_layer"]["completions"]
        assert probed >= counters["completions"]


async def test_nobody_but_the_bridge_can_write_the_page() -> None:
    layer = NativeLayer(Ids().make(), required=True)
    await layer.start()
    try:
        assert layer.session is not None
        fd = os.dup(layer.session._client.statistics_fd)
        with pytest.raises(PermissionError):
            mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        os.close(fd)
    finally:
        await layer.close()


@pytest.mark.parametrize("content", [b"", b"x" * 4096, b"TANDEMST" + b"\xff" * 4088])
def test_a_page_that_is_none_is_refused(content: bytes) -> None:
    fd = os.memfd_create("page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    with pytest.raises(ValueError, match="statistics"):
        StatisticsPage(fd)  # could be cut short while we look
    fcntl.fcntl(fd, 1033, 0x0002 | 0x0004)
    with pytest.raises(ValueError, match="statistics"):
        StatisticsPage(fd)
    os.close(fd)
