"""Eight programs at once on one journal file: every run completes, and nobody hears of a lock."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.journal.sqlite import SqliteJournal

PROGRAMS = 8
SETS = 20
WAIT_S = 50.0
"""For all of them, on a busy machine; alone they take a few seconds."""

PROGRAM = f"""
import asyncio, json, sys
from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator

me, journal, native = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "native"
calls = []

def asked(n):
    return CommandSet(
        name=f"p{{me}}-{{n}}",
        durability="sync" if n % 5 == 0 else "group",
        steps=[
            CommandStep(id="a", agent="t", action="square", payload=n),
            CommandStep(id="b", agent="system", action="echo", payload={{"from": Ref("a")}}),
            CommandStep(id="c", agent="t", action="square", payload=Ref("b", "from")),
        ],
    )

async def main():
    config = {{"journal": {{"path": journal}}, "c_layer": {{"enabled": native}}}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("t")

        @agent.action("square", effects="external")
        async def square(payload):
            calls.append(payload)
            return payload * payload

        print("ready", flush=True)
        sys.stdin.readline()
        told = []
        for n in range(0, {SETS}, 4):
            some = [tandem.execute_command_set(asked(k)) for k in range(n, n + 4)]
            for k, result in enumerate(await asyncio.gather(*some), n):
                assert result["status"] == "completed", result["error"]
                assert result["results"]["c"] == k ** 4
                told.append(result["run_id"])
            assert len(await tandem.runs(limit=5)) >= 4
        assert len(calls) == 2 * {SETS}
        health = tandem.journal_health()
        assert health, health.reason
        print(json.dumps(told), flush=True)

asyncio.run(main())
"""


def start(number: int, journal: Path) -> subprocess.Popen[str]:
    # Half of them with a bridge each: eight bridges would only measure the machine.
    layer = "native" if number % 2 else "python"
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "error", "-c", PROGRAM, str(number), str(journal), layer],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TANDEM_DEBUG": "true"},
    )  # fmt: skip


async def test_eight_programs_with_twenty_sets_each_all_complete_and_nobody_meets_a_lock(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "j.db"
    programs = [start(number, journal) for number in range(PROGRAMS)]
    told: list[str] = []
    try:
        async with asyncio.timeout(WAIT_S):
            # They make the file together, and begin together.
            for program in programs:
                assert program.stdout is not None
                ready = await asyncio.to_thread(program.stdout.readline)
                assert ready == "ready\n", program.communicate()[1]
            for program in programs:
                assert program.stdin is not None
                program.stdin.write("\n")
                program.stdin.flush()
            for program in programs:
                out, complaint = await asyncio.to_thread(program.communicate)
                assert program.returncode == 0, complaint
                assert "locked" not in out + complaint
                assert "Busy" not in out + complaint
                told += json.loads(out)
    finally:
        for program in programs:
            program.kill()
            program.wait(WAIT_S)

    assert len(set(told)) == len(told) == PROGRAMS * SETS
    reader = SqliteJournal(journal)
    await reader.open(None)
    try:
        rows = await reader.runs(limit=1000)
        assert {row.run_id for row in rows} == set(told)
        assert {(row.status, row.steps_done) for row in rows} == {("completed", 3)}
        names = {f"p{program}-{n}" for program in range(PROGRAMS) for n in range(SETS)}
        assert {row.name for row in rows} == names
        assert len({row.owner for row in rows}) == PROGRAMS
        assert await reader.check() == []
    finally:
        await reader.close()

    # The file is left as one that the next program can use at once.
    config = {"journal": {"path": str(journal)}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        assert len(await tandem.runs(limit=1000)) == PROGRAMS * SETS
