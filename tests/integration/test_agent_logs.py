"""What an agent in C logs reaches Python's logging, with its run, step and attempt."""

import asyncio
import importlib.resources
import logging
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import NativeLayer, agent_log
from tandem_orchestrator.model.outcomes import Outcome

pytestmark = pytest.mark.native
WAIT_S = 20.0
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))
TALKERS = """
#include <string.h>
#include <tandem/connect.h>
#include <tandem/message.h>
static td_status talk(td_call *call)
{
    const td_view payload = td_payload(call);
    const td_reader map = td_reader_of(payload.data, payload.bytes);
    td_reader field;
    int64_t lines, level;
    const char *text;
    size_t bytes;
    char copy[8192] = {0};
    if (td_map_find(map, "lines", &field) != TD_OK || td_read_int(&field, &lines) != TD_OK ||
        td_map_find(map, "level", &field) != TD_OK || td_read_int(&field, &level) != TD_OK ||
        td_map_find(map, "text", &field) != TD_OK ||
        td_read_bin(&field, (const uint8_t **)&text, &bytes) != TD_OK || bytes >= sizeof copy)
        return td_fail(call, "ValueError", "expected {lines, level, text}");
    memcpy(copy, text, bytes);
    for (int64_t i = 0; i < lines; i++)
        td_log(call, (int)level, copy);
    return td_write_nil(td_output(call));
}
static const td_action actions[] = {
    {"talker", "talk", talk, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"talker", "talk_in_pool", talk, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 0, 0, "1"},
};
int main(void)
{
    const td_agent_options options = {
        .size = sizeof options, .actions = actions, .actions_total = 2, .workers = 2};
    return td_agent_main(&options);
}
"""


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.002)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None or not (NATIVE / "lib" / "libtandem_agent.a").exists():
        pytest.skip("no C compiler, or no libtandem_agent")
    folder = tmp_path_factory.mktemp("talker")
    (folder / "talker.c").write_text(TALKERS)
    subprocess.run(
        ["cc", "-std=c11", f"-I{NATIVE / 'include'}", str(folder / "talker.c"),
         str(NATIVE / "lib" / "libtandem_agent.a"), "-pthread", "-o", str(folder / "talker")],
        check=True,
    )  # fmt: skip
    return folder / "talker"


@pytest.fixture
async def layer() -> AsyncIterator[NativeLayer]:
    made = NativeLayer(Ids().make(), required=True)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def talker(layer: NativeLayer, program: Path) -> Iterator[None]:
    process = subprocess.Popen([program], env={**os.environ, "TANDEM_SOCKET": layer.socket_path})
    yield
    process.kill()
    process.wait(WAIT_S)


async def talk(
    layer: NativeLayer,
    action: str = "talk",
    *,
    lines: int = 1,
    level: int = 30,
    text: bytes = b"hello",
) -> Report:
    def is_there() -> bool:
        return any(one.agent == "talker" for one in layer.actions())

    await eventually(is_there, "talker is offered")
    payload = {"lines": lines, "level": level, "text": text}
    work = Work("run-1", "step-1", "talker", action, "c", payload, attempt=3)
    report = await asyncio.wait_for(layer.run(work, CancelToken()), WAIT_S)
    assert report.outcome is Outcome.SUCCEEDED, report
    return report


@pytest.mark.usefixtures("talker")
@pytest.mark.parametrize("action", ["talk", "talk_in_pool"])
async def test_a_line_names_its_agent_run_step_and_attempt(
    layer: NativeLayer, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tandem.agent")
    await talk(layer, action, level=40, text="grün".encode())
    (record,) = [one for one in caplog.records if one.name.startswith("tandem.agent")]
    assert (record.name, record.levelno) == ("tandem.agent.talker", logging.ERROR)
    assert record.getMessage() == "grün"
    # Any: records get their extras as attributes.
    said: Any = record
    assert (said.run_id, said.step_id, said.attempt) == ("run-1", "step-1", 3)
    assert (said.agent, said.action) == ("talker", action)


@pytest.mark.usefixtures("talker")
@pytest.mark.parametrize("action", ["talk", "talk_in_pool"])
async def test_a_flood_is_cut_and_the_rest_is_counted(
    layer: NativeLayer, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tandem.agent")
    await talk(layer, action, lines=500)
    said = [one.getMessage() for one in caplog.records if one.name == "tandem.agent.talker"]
    kept = said.count("hello")
    dropped = [int(line.split()[1]) for line in said if line.endswith("were dropped")]
    # A second may begin in the middle: then twice the rate passes.
    assert 64 <= kept <= 128
    assert kept + sum(dropped) == 500


@pytest.mark.usefixtures("talker")
async def test_a_line_is_at_most_4_kib_and_harmless(
    layer: NativeLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tandem.agent")
    await talk(layer, text=b"x" * 4095 + "ü".encode())
    await talk(layer, text=b"a\x1b[31mb\nc\xff", level=10_000)
    records = [one for one in caplog.records if one.name == "tandem.agent.talker"]
    assert [one.getMessage() for one in records] == ["x" * 4095, r"a\x1b[31mb\nc\xff"]
    assert records[1].levelno == logging.CRITICAL


async def test_a_line_of_a_message_names_its_agent_alone(
    program: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tandem.agent")
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        socket = tandem.layer_health()["c"].details["socket"]
        process = subprocess.Popen([program], env={**os.environ, "TANDEM_SOCKET": socket})
        try:
            await eventually(
                lambda: any(key[0] == "talker" for key in tandem.catalogue().actions), "it is there"
            )
            await tandem.send("talker", "talk", {"lines": 1, "level": 20, "text": b"hi"})
        finally:
            process.kill()
            process.wait(WAIT_S)
    said: Any = next(one for one in caplog.records if one.name == "tandem.agent.talker")
    assert (said.getMessage(), said.run_id, said.action) == ("hi", None, "talk")


async def test_a_line_of_a_programs_step_names_run_and_step(
    program: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tandem.agent")
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        socket = tandem.layer_health()["c"].details["socket"]
        process = subprocess.Popen([program], env={**os.environ, "TANDEM_SOCKET": socket})
        try:
            await eventually(
                lambda: any(key[0] == "talker" for key in tandem.catalogue().actions), "it is there"
            )
            steps = [CommandStep(id="first", agent="system", action="noop")] + [
                CommandStep(
                    id=name, agent="talker", action="talk",
                    payload={"lines": 1, "level": 20, "text": name.encode()},
                )
                for name in ("second", "third")
            ]  # fmt: skip
            result = await tandem.execute_command_set(CommandSet(type="sequence", steps=steps))
        finally:
            process.kill()
            process.wait(WAIT_S)
    assert result["status"] == "completed", result["error"]
    # Any: records get their extras as attributes.
    said: list[Any] = [one for one in caplog.records if one.name == "tandem.agent.talker"]
    assert [(one.getMessage(), one.run_id, one.step_id, one.attempt) for one in said] == [
        ("second", result["run_id"], "second", 1),
        ("third", result["run_id"], "third", 1),
    ]


def test_what_cannot_be_printed_is_escaped() -> None:
    assert agent_log.shown(b"a\r\n\x9b\xf0\x9f\x98\x80\xe2\x80\xae") == "a\\r\\n\\x9b😀\\u202e"
