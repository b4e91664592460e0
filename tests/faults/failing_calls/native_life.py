"""A small life of a bridge, an agent program and a plug-in's host, one of which has failing calls.

Whatever fails, each question gets an answer that has a type, in time, and a right one where it says
OK; a process that gives up says why and ends with a code; what is not the victim goes on; and when
nothing fails any more, all of it works again and nothing more is held than before.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from control import Case, Control

from tandem_orchestrator._native import _ext
from tandem_orchestrator.layers.native.body import encode_body
from tandem_orchestrator.layers.native.program import compile_program, encode_run
from tandem_orchestrator.model.plans import PlannedStep

ANSWER_S = 5.0
"""An answer that takes longer does not come."""
START_S = 5.0
END_S = 4.0
LINGER_MS = 3000
NAP_S = 0.02
OFFER_S = 4.0
OPTIONS = (
    "--workers", "2", "--linger-ms", str(LINGER_MS), "--max-agents", "4",
    "--blob-broadcast-bytes", "20000", "--late-ms", "200",
)  # fmt: skip


class Wrong(Exception):
    """A promise that was not kept."""


@dataclass(frozen=True)
class Places:
    """The files that a life needs."""

    shim: Path
    bridge: Path
    agent: Path
    plugin: Path


@dataclass(frozen=True)
class Held:
    """Descriptors, mapped shared memory and threads of bridge, agent and host, in turn."""

    numbers: tuple[int, ...]

    def __le__(self, other: Held) -> bool:
        return all(a <= b for a, b in zip(self.numbers, other.numbers, strict=True))


@dataclass
class Seen:
    """What one life came to."""

    answers: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    held: Held | None = None
    ended: str = ""
    """What the last one said that gave up; agents do where the bridge refuses them."""


class Life:
    """One life in a folder of its own; ``victim`` is bridge, agent or host."""

    def __init__(self, folder: Path, places: Places, control: Control, victim: str) -> None:
        self.folder, self.places, self.control, self.victim = folder, places, control, victim
        self.case: Case | None = None
        self.clean_held: Held | None = None
        self.seen = Seen()
        self.socket_path = folder / "run" / "bridge.sock"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.line: socket.socket | None = None

    # --- processes -------------------------------------------------------------------------------

    def start(self, name: str, argv: list[str], *, fds: tuple[int, ...] = ()) -> None:
        """Start one of them; the first one of the victim's name has the failing calls."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        if name == self.victim:
            environ |= self.control.environment(self.places.shim)
        with (self.folder / f"{name}.err").open("ab") as errors:
            self.processes[name] = subprocess.Popen(
                argv, env=environ, pass_fds=fds, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip

    def start_bridge(self) -> bool:
        """Start a bridge; False when it gave up, which it must have said."""
        ours, theirs = socket.socketpair()
        ready, told = os.pipe()
        try:
            self.start(
                "bridge",
                [str(self.places.bridge), "--socket", str(self.socket_path), "--spawned-by-fd",
                 str(theirs.fileno()), "--ready-fd", str(told), *OPTIONS],
                fds=(theirs.fileno(), told),
            )  # fmt: skip
            self.line = ours
        finally:
            theirs.close()
            os.close(told)
        with os.fdopen(ready, "rb") as pipe:
            os.set_blocking(pipe.fileno(), False)
            self.until(lambda: pipe.read(1) is not None, START_S, "the bridge is ready or gone")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.processes["bridge"].wait(0.02)
        if not self.is_alive("bridge"):
            self.gave_up("bridge")
            return False
        return True

    def start_agent(self) -> None:
        """Start the test agent, as agent1."""
        self.start("agent", [str(self.places.agent), "agent1", str(self.socket_path), "1"])

    def start_other(self) -> None:
        """Start another one, which is never the victim: what one sends to many, it gets too."""
        self.start("other", [str(self.places.agent), "agent2", str(self.socket_path), "0"])

    def start_host(self) -> None:
        """Start a host of the plug-in `words`."""
        self.start(
            "host",
            [str(self.places.bridge), "host", str(self.places.plugin), "--socket",
             str(self.socket_path), "--grace-ms", "300"],
        )  # fmt: skip

    def is_alive(self, name: str) -> bool:
        """Whether it runs."""
        return name in self.processes and self.processes[name].poll() is None

    def gave_up(self, name: str) -> None:
        """See that a process that ended by itself said why, and was not killed by what it did."""
        process = self.processes.pop(name)
        code = process.wait(END_S)
        words = (self.folder / f"{name}.err").read_text(errors="replace").strip()
        if code < 0:
            raise Wrong(f"{name} ended by signal {-code}: {words}")
        if name != self.victim and self.victim != "bridge":
            raise Wrong(f"{name} ended with {code}, though another one's calls failed: {words}")
        if code == 0:
            raise Wrong(f"{name} gave up and ended with 0: {words}")
        if not words and self.case is not None and self.case.kind != "write":
            raise Wrong(f"{name} ended with {code} and said nothing")
        self.seen.ended = words

    def stop(self, name: str) -> None:
        """Ask one to leave."""
        if not self.is_alive(name):
            if name in self.processes:
                self.gave_up(name)
            return
        process = self.processes.pop(name)
        process.terminate()
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Wrong(f"{name} did not leave within {END_S} s of SIGTERM") from None
        if code != 0 and not (name == self.victim and code > 0):
            words = (self.folder / f"{name}.err").read_text(errors="replace")
            raise Wrong(f"{name}, asked to leave, ended with {code}: {words}")

    def until(self, holds: object, limit_s: float, what: str) -> None:
        """Wait for another process: there is no clock of ours to move."""
        give_up_at = time.monotonic() + limit_s
        while not holds():  # type: ignore[operator]
            if time.monotonic() > give_up_at:
                raise Wrong(f"not within {limit_s} s: {what}")
            time.sleep(0.001)

    def clean(self) -> None:
        """Kill what is left."""
        if self.line is not None:
            self.line.close()
        for process in self.processes.values():
            process.kill()
            process.wait()

    # --- questions -------------------------------------------------------------------------------

    def connect(self) -> _ext.Client | None:
        """Open a session; None when that is refused in words."""
        try:
            return _ext.Client(str(self.socket_path), "life", 2.0)
        except _ext.NativeError as error:
            self.note(error)
            return None

    def note(self, error: Exception) -> None:
        """Count an answer that is an exception."""
        self.seen.answers[type(error).__name__] += 1

    def offers(self, client: _ext.Client, agent: str, action: str) -> int:
        """Give an action's id, or 0."""
        return next((row[3] for row in client.actions() if row[:2] == (agent, action)), 0)

    def await_offer(self, client: _ext.Client, agent: str, action: str, process: str) -> int:
        """Wait until an action is offered; 0 when its process or the session ended."""
        give_up_at = time.monotonic() + OFFER_S
        while time.monotonic() < give_up_at:
            try:
                client.drain(64)
                if found := self.offers(client, agent, action):
                    return found
                client.wait(0.01)
            except _ext.NativeError as error:
                self.note(error)
                return 0
            if not self.is_alive(process):
                return 0
        if self.case is not None and self.case.times == 1:
            raise Wrong(f"{process} lives and its {action} is not offered")
        return 0

    def hear(self, client: _ext.Client, call_id: int) -> tuple[int, bytes] | None:
        """Wait for a completion; None when the session ended before it."""
        give_up_at = time.monotonic() + ANSWER_S
        while time.monotonic() < give_up_at:
            try:
                for row in client.drain(64)[0]:
                    if row[0] == call_id:
                        return row[1], row[4]
                client.wait(0.1)
            except _ext.Closed as error:
                self.note(error)
                fate = client.fate(call_id)
                if fate not in (_ext.NOT_STARTED, _ext.UNKNOWN):
                    raise Wrong(f"the fate of a call after the end is {fate}") from None
                return None
            except _ext.NativeError as error:
                self.note(error)
                return None
        raise Wrong(f"no answer within {ANSWER_S} s")

    def ask(
        self, client: _ext.Client, action_id: int, body: bytes, right: bytes | None, **options: int
    ) -> bytes | None:
        """Ask and hear; what says OK must be ``right``. Gives the body of an OK."""
        cancels = options.pop("cancels", 0)
        try:
            call_id = client.call(action_id, body, **options)
            if cancels:
                client.cancel(call_id)
        except _ext.NativeError as error:
            self.note(error)
            return None
        answer = self.hear(client, call_id)
        if answer is None:
            return None
        status, said = answer
        self.seen.answers[str(status)] += 1
        if not 0 <= status <= 9:
            raise Wrong(f"a completion has status {status}")
        if status == _ext.OK and right is not None and said != right:
            raise Wrong(f"OK with {said[:40]!r}, not {right[:40]!r}")
        return said if status == _ext.OK else None

    # --- the life --------------------------------------------------------------------------------

    def live(self, case: Case | None) -> Seen:
        """Live once with this case."""
        self.case = case
        self.control.arm(case)
        try:
            if self.start_bridge():
                self.work()
                self.seen.counts, self.seen.failed = self.control.counts, self.control.failed
                self.control.disarm()
                self.all_works_again()
                self.leave()
            else:
                self.seen.counts, self.seen.failed = self.control.counts, self.control.failed
        finally:
            self.control.disarm()
            self.clean()
        return self.seen

    def work(self) -> None:
        """Use everything once, and take each answer that has a type."""
        client = self.connect() or self.connect()
        self.start_agent()
        self.start_host()
        self.start_other()
        if client is not None:
            self.questions(client)
            client.close()

    def questions(self, client: _ext.Client) -> None:
        """Ask the bridge, the agent, the plug-in and the router."""
        system = self.offers(client, "system", "echo")
        nil, long = b"\xc0", encode_body(b"x" * 300_000)
        self.ask(client, system, nil, nil)
        self.ask(client, system, long, long)
        napping = self.offers(client, "system", "sleep")
        self.ask(client, napping, encode_body(NAP_S), nil)
        self.ask(client, napping, encode_body(60), None, cancels=1)
        if echo := self.await_offer(client, "agent1", "echo", "agent"):
            self.ask(client, echo, nil, nil)
            self.ask(client, echo, long, long)
            self.ask(client, self.offers(client, "agent1", "refuse"), nil, None)
            made = encode_body(bytes(i & 255 for i in range(20_000)))
            self.ask(client, self.offers(client, "agent1", "make"), encode_body(20_000), made)
            self.ask(client, self.offers(client, "agent1", "nap"), nil, None, cancels=1)
        if count := self.await_offer(client, "words", "count", "host"):
            self.ask(client, count, encode_body({"text": "one two three"}), b"\x03")
        self.programs(client)
        self.await_offer(client, "agent2", "receive", "other")
        if route := self.offers(client, "router", "route_messages"):
            for payload in (
                {"destinations": ["agent1"], "policy": "round_robin", "batch_size": 40},
                {"destinations": ["agent1", "agent2"], "policy": "broadcast",
                 "messages": [b"y" * 40_000]},
            ):  # fmt: skip
                self.ask(client, route, encode_body(payload), None)

    def programs(self, client: _ext.Client) -> None:
        """Load a program, and run it, here and with a step that an agent does."""
        ids = {(row[0], row[1]): row[3] for row in client.actions()}
        steps = [
            PlannedStep(id="a", agent="system", action="echo", payload={"k": [1]}),
            PlannedStep(id="b", agent="system", action="sleep", payload=NAP_S, depends_on=("a",)),
        ]
        if ("agent1", "echo") in ids:
            steps.append(
                PlannedStep(id="c", agent="agent1", action="echo", payload=7, depends_on=("b",))
            )
        program = compile_program(steps, ids, {steps[-1].id})
        loaded = self.ask(client, 0, program.data, None, kind=4)
        if loaded is not None:
            body = encode_run(program)
            self.ask(client, loaded[0], body, None, kind=5)
            self.ask(client, loaded[0], body, None, kind=5, cancels=1)

    def all_works_again(self) -> None:
        """Nothing fails any more: what lives must work, what gave up may be started again."""
        if not self.is_alive("bridge"):
            self.gave_up("bridge")
            if not self.start_bridge():
                raise Wrong("the bridge does not start again")
            for name in ("agent", "host", "other"):
                if name in self.processes:
                    self.processes.pop(name).wait(END_S)
        client = self.connect()
        if client is None:
            raise Wrong("no session, though nothing fails any more")
        nil = b"\xc0"
        for name, start, agent, action, body, right in (
            ("", None, "system", "echo", nil, nil),
            ("agent", self.start_agent, "agent1", "echo", nil, nil),
            ("host", self.start_host, "words", "count", encode_body({"text": "a b"}), b"\x02"),
        ):
            action_id = self.offers(client, agent, action)
            if start is not None and not self.is_alive(name):
                if name in self.processes:
                    self.gave_up(name)
                start()
                action_id = 0
            if not action_id:
                action_id = self.await_offer(client, agent, action, name)
            if not action_id or self.ask(client, action_id, body, right) is None:
                raise Wrong(f"{agent}.{action} does not work, though nothing fails any more")
        client.close()
        self.seen.held = self.settled()

    def held(self) -> Held:
        """Count descriptors, mapped shared memory, and threads of bridge, agent and host."""
        found: list[int] = []
        for name in ("bridge", "agent", "host"):
            place = Path(f"/proc/{self.processes[name].pid}")
            maps = (place / "maps").read_text()
            found += [
                len(list((place / "fd").iterdir())), maps.count("memfd:"),
                len(list((place / "task").iterdir())),
            ]  # fmt: skip
        return Held(tuple(found))

    def settled(self) -> Held:
        """Read ``held`` once it is as it was without faults: the bridge learns of ends later.

        In a life without faults, once it no longer changes.
        """
        before, give_up_at = self.held(), time.monotonic() + END_S
        while True:
            time.sleep(0.02)
            now = self.held()
            if now == before if self.clean_held is None else now <= self.clean_held:
                return now
            if time.monotonic() > give_up_at:
                raise Wrong(f"{now} descriptors, memory and threads, not {self.clean_held}")
            before = now

    def leave(self) -> None:
        """Let all go, and see that nothing stays."""
        self.stop("agent")
        self.stop("host")
        if "other" in self.processes:
            self.stop("other")
        assert self.line is not None
        self.line.close()
        process = self.processes.pop("bridge")
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Wrong(f"the bridge stays {END_S} s after its last session") from None
        if code != 0:
            raise Wrong(f"the bridge ended with {code}")
        if (self.socket_path).exists():
            raise Wrong("the socket is left")


def live(
    folder: Path, places: Places, victim: str, case: Case | None, clean: Seen | None = None
) -> Seen:
    """Live once in ``folder``, and hold it against a life without faults.

    Raises: Wrong, naming the case and where the call was made.
    """
    folder.mkdir(mode=0o700)
    (folder / "run").mkdir(mode=0o700)
    control = Control(folder / "control")
    try:
        life = Life(folder, places, control, victim)
        life.clean_held = None if clean is None else clean.held
        return life.live(case)
    except Wrong as wrong:
        raise Wrong(
            f"{victim}, {case}: {wrong}; failed {control.failed} at {control.where}"
        ) from None
    finally:
        control.close()
