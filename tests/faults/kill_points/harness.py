"""Kill a program and its parts with SIGKILL at random instants, and see what it left.

``python -P harness.py --points 60`` does so in a scratch folder; ``--state FILE`` keeps the counts,
so that the next sitting goes on. What was acknowledged is recorded here, outside of the program:
each line that came through its pipe. A *point* is one SIGKILL: of the program itself or, while it
goes on, of its bridge, the host of its plug-in, or a worker process. With ``--postgres`` the journal is
in a PostgreSQL server, which is killed as well, and started anew at once.

Every few lives a last program brings all to its end, and then must hold: every acknowledged run
is there, once; what was acknowledged of a result is what is read back, and what the workflow's key
says that it must be; no unit has two recorded successes; no external effect happened twice unless
its policy allows that; the journal is sound; no process, socket, lock or lease is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import msgspec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import kill_work  # noqa: E402 - beside this file, for the workers' sake

WAIT_S = 30.0
"""A program that says nothing for so long hangs."""
GONE_S = 5.0
"""From the kill until nothing is left."""
RECOVERY_S = 5.0
"""From ``initialize`` until all that was left goes on."""
LEASE_S = 1.0
"""Of an owner in PostgreSQL: so long it counts as alive after its death."""
LIVES = 12
"""Programs that are killed on one journal before it is looked at."""


class Wrong(Exception):
    """A promise that was not kept."""


def build_plugin(folder: Path) -> Path:
    """Compile the plug-in whose calls leave a trace."""
    from importlib.resources import files

    include = Path(str(files("tandem_orchestrator._native"))) / "include"
    made = folder / "ledger.so"
    command = ["cc", "-std=gnu11", "-shared", "-fPIC", f"-I{include}", str(HERE / "ledger.c")]
    subprocess.run([*command, "-o", str(made)], check=True)
    return made


class Journal:
    """One journal with all the programs that are killed on it, and what they acknowledged."""

    def __init__(
        self, folder: Path, plugin: Path, rng: random.Random, plant: str, server: Any = None
    ) -> None:
        self.folder, self.rng, self.plant, self.server = folder, rng, plant, server
        self.path, self.ledger, self.plugin = folder / "j.db", folder / "ledger", plugin
        self.place = str(self.path) if server is None else server.url()
        self.recovery_s_max = RECOVERY_S if server is None else RECOVERY_S + LEASE_S
        if server is not None:
            server.empty()
        self.points: Counter[str] = Counter()
        self.asked: list[str] = []
        self.accepted: dict[str, str] = {}
        self.told: dict[str, list[Any]] = {}
        self.recovery_s: list[float] = []
        self.recovered = 0
        self.lives = 0

    # --- one life --------------------------------------------------------------------------------

    def start(self, *, ends: bool = False) -> subprocess.Popen[bytes]:
        """Start the program that goes on with what is there."""
        self.lives += 1
        order = {
            "journal": self.place,
            "lease_s": LEASE_S,
            "ledger": str(self.ledger),
            "plugin": str(self.plugin),
            "plant": "" if ends else self.plant,
            "life": self.lives,
            "again": [key for key in self.asked if key not in self.accepted],
            "ends": ends,
        }
        for name in ("state", "config", "cache", "run"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        environ = {
            **os.environ,
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
        }
        with (self.folder / "stderr").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-P", str(HERE / "victim.py"), json.dumps(order)],
                stdout=subprocess.PIPE, stderr=errors, env=environ, cwd=self.folder,
            )  # fmt: skip

    def live_and_die(self, points_max: int) -> None:
        """Start a program, kill parts of it and then itself, each at a random instant."""
        program = self.start()
        reader = _Lines(program)
        try:
            if self.rng.random() < 0.3:
                # While it starts, or while it goes on with what was left.
                self.hear(reader, self.rng.uniform(0.05, 1.5))
            else:
                self.hear(reader, WAIT_S, until="recovered")
                self.hear(reader, self.rng.uniform(0.0, 0.2))
                for _ in range(min(self.rng.randint(0, 6), points_max - 1)):
                    self.kill_a_part(program.pid)
                    self.hear(reader, self.rng.expovariate(1 / 0.1))
        finally:
            program.kill()
            killed_at = time.monotonic()
            program.wait(WAIT_S)
        self.points["program"] += 1
        self.hear(reader, 0.0, to_the_end=True)
        self.nothing_is_left(killed_at)

    def kill_a_part(self, pid: int) -> None:
        """Kill one of the program's processes, whichever there are."""
        parts = [(kind, each) for each in _children_of(pid) if (kind := _kind_of(each))]
        kinds = sorted({kind for kind, _ in parts} | ({"postgres"} if self.server else set()))
        if not kinds:
            return
        wanted = self.rng.choice(kinds)
        if wanted == "postgres":
            self.server.stop(signal.SIGKILL)
            self.server.start()
            self.points[wanted] += 1
            return
        try:
            os.kill(self.rng.choice([each for kind, each in parts if kind == wanted]), 9)
        except ProcessLookupError:
            return  # It ended meanwhile: no point.
        self.points[wanted] += 1

    def hear(
        self, reader: _Lines, wait_s: float, *, until: str = "", to_the_end: bool = False
    ) -> bool:
        """Take in lines for so long, or until one of a kind comes; False at the end."""
        for line in reader.lines(wait_s, to_the_end=to_the_end):
            match line:
                case ["asks", key]:
                    if key not in self.accepted and key not in self.asked[-200:]:
                        self.asked.append(key)
                case ["accepted", key, run_id]:
                    if self.accepted.setdefault(key, run_id) != run_id:
                        raise Wrong(f"{key} was accepted as {self.accepted[key]} and {run_id}")
                case ["result", run_id, *rest]:
                    if self.told.setdefault(run_id, rest) != rest:
                        raise Wrong(f"{run_id}: told {self.told[run_id]} and then {rest}")
                case ["recovered", count, seconds]:
                    self.recovered += count
                    self.recovery_s.append(seconds)
                    if seconds > self.recovery_s_max:
                        raise Wrong(f"recovery of {count} runs took {seconds:.1f} s")
                case ["waits", run_id, what]:
                    raise Wrong(f"{run_id} waits for {what}")
                case ["read" | "check", *_] as said:
                    self.found(said)
            if until and line[0] == until:
                return True
        if until:
            if not reader.at_end:
                reader.program.send_signal(signal.SIGUSR1)
            raise Wrong(f"the program did not say {until!r} in {wait_s} s; see {self.folder}")
        return not reader.at_end

    def nothing_is_left(self, killed_at: float) -> None:
        """See that every process of the program goes with it."""
        while left := _processes_of(self.folder):
            if time.monotonic() > killed_at + GONE_S:
                raise Wrong(f"{GONE_S} s after the kill there is still {left}")
            time.sleep(0.01)

    # --- the look --------------------------------------------------------------------------------

    def found(self, said: list[Any]) -> None:
        """Keep what the last program read back."""
        if said[0] == "check":
            if said[1]:
                raise Wrong(f"the journal is not sound: {said[1]}")
            self.checked = True
        else:
            self.read[said[1]] = said[2:]

    def bring_to_its_end(self) -> None:
        """Let a last program end all, and see that every promise was kept."""
        self.read: dict[str, list[Any]] = {}
        self.checked = False
        for left in (self.folder / "run").glob("tandem/*"):
            # Of a bridge that was killed with its program: the next one sweeps it once it is old.
            os.utime(left, (time.time() - 3600,) * 2)
        program = self.start(ends=True)
        try:
            self.hear(_Lines(program), WAIT_S * 2, until="end")
            code = program.wait(WAIT_S)
        finally:
            program.kill()
        if code != 0 or not self.checked:
            raise Wrong(f"the last program ended with {code}; see {self.folder / 'stderr'}")
        self.nothing_is_left(time.monotonic())
        if leases := list((self.folder / "j.db.leases").glob("*.lease")):
            raise Wrong(f"leases are left: {leases}")
        if sockets := [str(path) for path in (self.folder / "run").glob("tandem/*")]:
            raise Wrong(f"sockets are left: {sockets}")
        self.acknowledged_is_there()
        lines = Counter(self.ledger.read_text().splitlines() if self.ledger.exists() else [])
        with _Reader(self.path) if self.server is None else _Database(self.place) as reader_of_all:
            reader_of_all.one_success_each()
            reader_of_all.effects_happened(lines)

    def acknowledged_is_there(self) -> None:
        """Compare what was told outside with what is read, and both with what must be."""
        for key, run_id in self.accepted.items():
            if run_id not in self.read:
                raise Wrong(f"{key}, accepted as {run_id}, is lost")
            if self.read[run_id][0] != key:
                raise Wrong(f"{run_id} was accepted for {key} and is {self.read[run_id][0]}")
        if doubled := [k for k, n in Counter(r[0] for r in self.read.values()).items() if n > 1]:
            raise Wrong(f"these keys have more than one run: {doubled}")
        if lost := [key for key in self.asked if key not in self.accepted]:
            raise Wrong(f"asked again and never accepted: {lost}")
        for run_id, told in self.told.items():
            if self.read[run_id] != told:
                raise Wrong(f"{run_id}: told {told}, and now it reads {self.read[run_id]}")
        for run_id, (key, status, results, steps) in self.read.items():
            ends = [step[0] for step in steps.values()]
            if status == "completed":
                for step, must in kill_work.expected(key).items():
                    if results.get(step) != must:
                        raise Wrong(f"{run_id} ({key}): {step} is {results.get(step)}, not {must}")
            elif status != "failed" or not {"unknown", "failed"} & set(ends):
                raise Wrong(f"{run_id} ({key}) is {status} with {steps}")
            elif "unknown" not in ends and not any("times" in str(s[2]) for s in steps.values()):
                raise Wrong(f"{run_id} ({key}) failed with {steps}")


class _Reader:
    """Reads a journal without the program's own code."""

    QUERY = (
        "SELECT name, body FROM records JOIN runs ON runs.id = run"
        " WHERE kind IN ('attempt_ended', 'segment_ended') ORDER BY run, seq"
    )
    connection: Any

    def __init__(self, path: Path) -> None:
        self.connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ends(self) -> list[tuple[str, dict[str, Any]]]:
        """List what every attempt ended with: (run's key, event)."""
        found = []
        for name, body in self.connection.execute(self.QUERY):
            event = msgspec.msgpack.decode(body)
            if "rows" in event:
                found += [
                    (name, row if isinstance(row, dict) else _row(row)) for row in event["rows"]
                ]
            else:
                found.append((name, event))
        return found

    def one_success_each(self) -> None:
        """No step, or item of one, was recorded as done twice."""
        done = Counter(
            (name, event["step"], event.get("item"))
            for name, event in self.ends()
            if event["outcome"] == "succeeded"
        )
        if twice := [unit for unit, n in done.items() if n > 1]:
            raise Wrong(f"recorded as done twice: {twice}")

    def effects_happened(self, lines: Counter[str]) -> None:
        """Every recorded effect happened; an external one once, unless its policy allows more."""
        happened: Counter[tuple[str, str]] = Counter()
        for line, n in lines.items():
            _, key, step = line.split()
            happened[key, step] += n
            if n > 1 and kill_work.shape_of(key) not in ("again", "items"):
                raise Wrong(f"the external step {step} of {key} ran {n} times")
        for name, event in self.ends():
            done = event["step"] in ("p", "q") and event["outcome"] == "succeeded"
            if done and not happened[name, event["step"]]:
                raise Wrong(f"step {event['step']} of {name} is recorded and never happened")


class _Database(_Reader):
    """The same of a journal in PostgreSQL."""

    def __init__(self, url: str) -> None:
        import psycopg

        self.connection = psycopg.connect(url, options="-csearch_path=tandem", autocommit=True)


def _row(values: list[Any]) -> dict[str, Any]:
    return {"step": values[0], "outcome": values[1]}


class _Lines:
    """What a program says, line by line."""

    def __init__(self, program: subprocess.Popen[bytes]) -> None:
        assert program.stdout is not None
        self.program = program
        self._pipe, self._rest, self.at_end = program.stdout, b"", False

    def lines(self, wait_s: float, *, to_the_end: bool) -> Any:
        deadline = time.monotonic() + wait_s
        while not self.at_end:
            *whole, self._rest = self._rest.split(b"\n")
            for number, line in enumerate(whole):
                stays = b"\n".join([*whole[number + 1 :], self._rest])
                held, self._rest = self._rest, stays
                yield json.loads(line)
                self._rest = held
            left_s = deadline - time.monotonic()
            if left_s <= 0 and not to_the_end:
                return
            wait = GONE_S if to_the_end else left_s
            if not select.select([self._pipe], [], [], wait)[0]:
                if to_the_end:
                    raise Wrong("somebody still holds the dead program's output")
                continue
            piece = os.read(self._pipe.fileno(), 1 << 16)
            if not piece:
                self.at_end = True
                self._pipe.close()
            self._rest += piece


def _children_of(pid: int) -> list[int]:
    found = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            found += [child, *_children_of(child)]
    return found


def _kind_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    if words[0].endswith(b"agent_bridge"):
        return "host" if b"host" in words[1:2] else "bridge"
    return "worker" if b"worker" in b" ".join(words) else ""


def _processes_of(folder: Path) -> list[str]:
    found = []
    mark = b"HOME=" + os.fsencode(folder)
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (place / "environ").read_bytes():
                found.append(f"{place.name} {(place / 'cmdline').read_bytes().decode()[:80]}")
        except OSError:
            continue
    return found


class Tally:
    """What all sittings came to; a file keeps it."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        kept = json.loads(path.read_text()) if path is not None and path.exists() else {}
        self.points = Counter(kept.get("points", {}))
        self.journals, self.lives = kept.get("journals", 0), kept.get("lives", 0)
        self.accepted, self.told = kept.get("accepted", 0), kept.get("results", 0)
        self.recovered = kept.get("recovered", 0)
        self.recovery_s = kept.get("recovery_s_max", 0.0)

    def add(self, journal: Journal) -> None:
        """Count one journal that kept every promise, and write the file anew."""
        self.points += journal.points
        self.journals, self.lives = self.journals + 1, self.lives + journal.lives
        self.accepted += len(journal.accepted)
        self.told += len(journal.told)
        self.recovered += journal.recovered
        self.recovery_s = max([self.recovery_s, *journal.recovery_s])
        if self.path is not None:
            fresh = self.path.with_suffix(".new")
            fresh.write_text(json.dumps(self.shown(), indent=1) + "\n")
            fresh.replace(self.path)

    def shown(self) -> dict[str, Any]:
        """Give what the file says."""
        return {
            "points": dict(sorted(self.points.items())),
            "points_total": self.points.total(),
            "journals": self.journals,
            "lives": self.lives,
            "accepted": self.accepted,
            "results": self.told,
            "recovered": self.recovered,
            "recovery_s_max": round(self.recovery_s, 3),
        }


def main() -> int:
    """Kill until there are so many points; 1 at the first promise that was not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=60, help="in all sittings together")
    parser.add_argument("--state", type=Path, help="file that keeps the counts")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of this sitting")
    parser.add_argument("--postgres", action="store_true", help="the journal is in a server")
    parser.add_argument("--plant", default="", help="a bug that must be found: early, again")
    given = parser.parse_args()
    tally = Tally(given.state)
    seed = given.seed if given.seed is not None else tally.journals
    until = time.monotonic() + given.seconds
    scratch = Path(tempfile.mkdtemp(prefix="td-kill-"))
    plugin = build_plugin(scratch)
    server = None
    if given.postgres:
        from tandem_orchestrator.testing.postgres_server import PostgresServer

        server = PostgresServer()
        server.start()
    try:
        return _kill(given, tally, seed, until, scratch, plugin, server)
    finally:
        if server is not None:
            server.remove()


def _kill(
    given: argparse.Namespace,
    tally: Tally,
    seed: int,
    until: float,
    scratch: Path,
    plugin: Path,
    server: Any,
) -> int:
    while tally.points.total() < given.points and time.monotonic() < until:
        folder = scratch / f"j{tally.journals}"
        folder.mkdir(mode=0o700)
        rng = random.Random(f"{seed}/{tally.journals}")
        journal = Journal(folder, plugin, rng, given.plant, server)
        try:
            for _ in range(LIVES):
                left = given.points - tally.points.total() - journal.points.total()
                if left <= 0 or time.monotonic() > until:
                    break
                journal.live_and_die(left)
            journal.bring_to_its_end()
        except Wrong as wrong:
            print(f"{wrong}\n  seed {seed}, journal {tally.journals}: {folder}", file=sys.stderr)
            return 1
        tally.add(journal)
        shutil.rmtree(folder)
        print(json.dumps(tally.shown()), flush=True)
    shutil.rmtree(scratch)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    raise SystemExit(main())
