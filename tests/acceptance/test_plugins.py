"""Plugins are told of every run, in order and within their time, and cannot hurt one."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    Busy,
    CommandError,
    CommandSet,
    CommandStep,
    ConfigError,
    TandemOrchestrator,
    TandemPlugin,
)
from tandem_orchestrator.plugins import PLUGINS_MAX
from tandem_orchestrator.testing import FakeClock

Told = list[tuple[Any, ...]]


class Recorder(TandemPlugin):
    """Writes down what it is told, into a list that several may share."""

    def __init__(self, told: Told, name: str = "recorder") -> None:
        self.told, self.name = told, name

    async def on_command_start(self, command_set: CommandSet) -> None:
        self.told.append((self.name, "start", command_set.name))

    async def on_command_complete(self, command_set: CommandSet, result: dict[str, Any]) -> None:
        self.told.append((self.name, "complete", command_set.name, result["status"]))


def asking(name: str = "one", **more: Any) -> CommandSet:
    """Build a set of one step of ``shop.price``."""
    return CommandSet(name=name, steps=[CommandStep(agent="shop", action="price")], **more)


def offer_price(tandem: TandemOrchestrator, told: Told) -> None:
    @tandem.register_agent("shop").action("price", effects="none")
    async def price(payload: Any) -> int:
        told.append(("step",))
        return 7


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_plugin_is_told_before_the_first_step_and_before_the_result_returns(
    open_tandem: Any, when: str
) -> None:
    told: Told = []
    tandem = open_tandem()
    if when == "before":
        tandem.register_plugin(Recorder(told))
    await tandem.initialize()
    if when == "after":
        tandem.register_plugin(Recorder(told))
    offer_price(tandem, told)

    result = await tandem.execute_command_set(asking())
    told.append(("returned",))

    assert result["results"] == {"s1": 7}
    assert told == [
        ("recorder", "start", "one"),
        ("step",),
        ("recorder", "complete", "one", "completed"),
        ("returned",),
    ]


@pytest.mark.parametrize("door", ["execute", "submit", "prepare", "run"])
async def test_every_way_to_run_a_set_tells_once(tandem: TandemOrchestrator, door: str) -> None:
    told: Told = []
    offer_price(tandem, [])
    tandem.register_plugin(Recorder(told))
    match door:
        case "execute":
            await tandem.execute_command_set(asking())
        case "submit":
            await (await tandem.submit(asking())).result()
        case "prepare":
            await (await tandem.prepare(asking())).run()
        case "run":
            run = await tandem.submit(asking())
            await tandem.run(run.id).result()

    assert [entry[1] for entry in told] == ["start", "complete"]


async def test_a_run_nobody_waits_for_is_told_complete_as_well(tandem: TandemOrchestrator) -> None:
    done = asyncio.Event()

    class Plugin(TandemPlugin):
        async def on_command_complete(self, command_set: CommandSet, result: Any) -> None:
            done.set()

    offer_price(tandem, [])
    tandem.register_plugin(Plugin())
    await tandem.submit(asking())

    await asyncio.wait_for(done.wait(), 10)


async def test_several_plugins_are_told_one_after_another_in_the_order_of_registration(
    tandem: TandemOrchestrator,
) -> None:
    told: Told = []
    offer_price(tandem, [])
    for name in ("a", "b", "c"):
        tandem.register_plugin(Recorder(told, name))

    await tandem.execute_command_set(asking())

    assert [(entry[0], entry[1]) for entry in told] == [
        *((name, "start") for name in "abc"),
        *((name, "complete") for name in "abc"),
    ]


async def test_a_failed_run_is_told_with_its_status_and_error(tandem: TandemOrchestrator) -> None:
    results: list[dict[str, Any]] = []

    class Plugin(TandemPlugin):
        async def on_command_complete(self, command_set: CommandSet, result: Any) -> None:
            results.append(result)

    @tandem.register_agent("shop").action("price")
    async def price(payload: Any) -> int:
        raise ValueError("no price")

    tandem.register_plugin(Plugin())
    returned = await tandem.execute_command_set(asking())

    assert results == [returned]
    assert (returned["status"], returned["error_detail"]["type"]) == ("failed", "ValueError")


async def test_nested_sets_and_messages_tell_nothing(tandem: TandemOrchestrator) -> None:
    told: Told = []
    offer_price(tandem, [])
    tandem.register_plugin(Recorder(told))
    await tandem.send("shop", "price", None)
    assert told == []

    await tandem.execute_command_set(
        CommandSet(name="outer", type="campaign", steps=[CommandStep(command_set=asking("inner"))])
    )

    assert told == [
        ("recorder", "start", "outer"),
        ("recorder", "complete", "outer", "completed"),
    ]


async def test_what_a_plugin_changes_in_the_set_or_the_result_nobody_else_sees(
    tandem: TandemOrchestrator,
) -> None:
    seen: list[Any] = []

    class Vandal(TandemPlugin):
        async def on_command_start(self, command_set: CommandSet) -> None:
            command_set.steps[0].payload["n"] = "spoilt"
            command_set.steps.clear()

        async def on_command_complete(self, command_set: CommandSet, result: Any) -> None:
            assert command_set.steps == []  # its own copy, in both hooks
            result["results"]["s1"]["n"].append("spoilt")
            result.clear()

    class Witness(TandemPlugin):
        async def on_command_complete(self, command_set: CommandSet, result: Any) -> None:
            seen.append((command_set.steps[0].payload, result["results"]))

    @tandem.register_agent("shop").action("echo")
    async def echo(payload: Any) -> Any:
        return payload

    mine = CommandSet(steps=[CommandStep(agent="shop", action="echo", payload={"n": [1]})])
    tandem.register_plugin(Vandal())
    tandem.register_plugin(Witness())
    result = await tandem.execute_command_set(mine)

    assert seen == [({"n": [1]}, {"s1": {"n": [1]}})]
    assert result["results"] == {"s1": {"n": [1]}}
    assert mine.steps[0].payload == {"n": [1]}


async def test_a_large_set_is_copied_beside_the_loop(tandem: TandemOrchestrator) -> None:
    """Were it copied on the loop, nothing else would run there meanwhile."""
    copied_on: set[str] = set()

    class Telltale(dict[str, Any]):
        def __deepcopy__(self, memo: Any) -> "Telltale":
            copied_on.add(threading.current_thread().name)
            return self

    told: Told = []
    offer_price(tandem, [])
    tandem.register_plugin(Recorder(told))
    hooks = tandem._plugins.of_run(
        "r1", CommandSet(name="large", steps=[CommandStep(payload=Telltale())] * 1000)
    )
    await hooks.start()
    await hooks.complete({"status": "completed", "results": {}})

    assert [entry[1:] for entry in told] == [("start", "large"), ("complete", "large", "completed")]
    assert copied_on == {"tandem-worker"}

    many = CommandSet(
        name="many", steps=[CommandStep(agent="shop", action="price") for _ in range(500)]
    )
    result = await tandem.execute_command_set(many)
    assert (result["status"], told[-1][2]) == ("completed", "many")


class Boom(TandemPlugin):
    """Raises what it is given at every hook."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def on_command_start(self, command_set: CommandSet) -> None:
        raise self.error

    async def on_command_complete(self, command_set: CommandSet, result: Any) -> None:
        raise self.error


class SyncBoom(Boom):
    """The same in plain functions."""

    def on_command_start(self, command_set: CommandSet) -> None:  # type: ignore[override]
        raise self.error

    def on_command_complete(  # type: ignore[override]
        self, command_set: CommandSet, result: Any
    ) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        *((Boom, e) for e in (ValueError("broken"), SystemExit(3), asyncio.CancelledError())),
        *((SyncBoom, e) for e in (ValueError("broken"), SystemExit(3), asyncio.CancelledError())),
        (SyncBoom, KeyboardInterrupt()),
        (SyncBoom, StopIteration(7)),
    ],
)
async def test_a_plugin_that_raises_is_reported_and_hurts_neither_run_nor_neighbour(
    tandem: TandemOrchestrator,
    caplog: pytest.LogCaptureFixture,
    kind: type[Boom],
    error: BaseException,
) -> None:
    told: Told = []
    offer_price(tandem, [])
    tandem.register_plugin(kind(error), name="bad")
    tandem.register_plugin(Recorder(told), name="good")

    with caplog.at_level(logging.WARNING):
        result = await tandem.execute_command_set(asking())

    assert (result["status"], result["results"]) == ("completed", {"s1": 7})
    assert [entry[1] for entry in told] == ["start", "complete"]
    health, metrics = tandem.plugin_health(), tandem.get_metrics()["plugins"]
    assert (health["bad"].calls, health["bad"].failed) == (2, 2)
    assert f"on_command_complete raised {type(error).__name__}" in health["bad"].reason
    assert (metrics["bad"]["failed"], metrics["good"]["failed"]) == (2, 0)
    assert health["good"].reason == ""
    told_of = [record.getMessage() for record in caplog.records if "plugin bad" in record.message]
    assert len(told_of) == 2


async def test_a_hook_that_outlives_its_limit_is_cut_off_and_the_run_goes_on(
    open_tandem: Any, clock: FakeClock
) -> None:
    tandem = open_tandem({"orchestrator": {"plugin_timeout_s": 2.0}}, clock=clock)
    await tandem.initialize()
    stopped: list[str] = []

    class Slow(TandemPlugin):
        async def on_command_complete(self, command_set: CommandSet, result: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append("stopped")

    offer_price(tandem, [])
    tandem.register_plugin(Slow())
    waiting = asyncio.ensure_future(tandem.execute_command_set(asking()))
    await clock.advance(1.9)
    assert not waiting.done()
    await clock.advance(0.2)

    assert (await waiting)["status"] == "completed"
    assert stopped == ["stopped"]
    health = tandem.plugin_health()["Slow"]
    assert (health.healthy, health.late, health.failed) == (True, 1, 0)
    assert "took longer than its 2 s" in health.reason


async def test_a_plain_function_that_hangs_is_left_alone_and_not_called_again(
    open_tandem: Any, clock: FakeClock
) -> None:
    tandem = open_tandem({"orchestrator": {"plugin_timeout_s": 2.0}}, clock=clock)
    await tandem.initialize()
    began, go_on, threads = threading.Event(), threading.Event(), []

    class Hangs(TandemPlugin):
        def on_command_start(self, command_set: CommandSet) -> None:  # type: ignore[override]
            threads.append(threading.current_thread())
            began.set()
            go_on.wait()

    offer_price(tandem, [])
    plugin = Hangs()
    tandem.register_plugin(plugin)
    first = asyncio.ensure_future(tandem.execute_command_set(asking()))
    await asyncio.to_thread(began.wait)
    await clock.advance(2.1)
    assert (await first)["status"] == "completed"
    assert not tandem.plugin_health()["Hangs"]

    assert (await tandem.execute_command_set(asking()))["status"] == "completed"
    health = tandem.plugin_health()["Hangs"]
    assert (health.calls, health.late, health.skipped) == (1, 1, 1)
    assert threads[0] is not threading.main_thread()

    go_on.set()
    while not tandem.plugin_health()["Hangs"]:
        await asyncio.sleep(0.001)  # another thread: there is no clock of ours to move
    assert (await tandem.execute_command_set(asking()))["status"] == "completed"
    assert tandem.plugin_health()["Hangs"].calls == 2


async def test_a_hook_that_will_not_be_cancelled_does_not_keep_the_run(
    open_tandem: Any, clock: FakeClock
) -> None:
    tandem = open_tandem(clock=clock)
    await tandem.initialize()
    let_go = asyncio.Event()

    class Stubborn(TandemPlugin):
        async def on_command_start(self, command_set: CommandSet) -> None:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue

    offer_price(tandem, [])
    tandem.register_plugin(Stubborn())
    waiting = asyncio.ensure_future(tandem.execute_command_set(asking()))
    await clock.advance(5.1)

    assert (await waiting)["status"] == "completed"
    assert "1 calls hang" in tandem.plugin_health()["Stubborn"].reason
    let_go.set()
    await clock.advance(0)
    assert tandem.plugin_health()["Stubborn"]


async def test_a_run_that_is_cancelled_while_a_plugin_is_told_starts_nothing_and_holds_no_place(
    open_tandem: Any,
) -> None:
    told: Told = []
    tandem = open_tandem({"orchestrator": {"max_parallel_workflows": 1}})
    await tandem.initialize()
    waits, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Recorder):
        async def on_command_start(self, command_set: CommandSet) -> None:
            waits.set()
            await go_on.wait()
            await super().on_command_start(command_set)

    offer_price(tandem, told)
    tandem.register_plugin(Slow(told))
    run = await tandem.submit(asking())
    await waits.wait()
    await run.cancel()
    go_on.set()
    result = await run.result()

    assert result["status"] == "cancelled"
    assert told == [
        ("recorder", "start", "one"),
        ("recorder", "complete", "one", "cancelled"),
    ]
    again = asyncio.wait_for(tandem.execute_command_set(asking()), 10)
    assert (await again)["status"] == "completed"


DIES = """
import asyncio, os
from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
async def main():
    async with TandemOrchestrator({"c_layer": {"enabled": False}}) as tandem:
        step = CommandStep(agent="system", action="sleep", payload={"seconds": 0.05})
        run = await tandem.submit(CommandSet(steps=[step], name="dies"))
        print(run.id, flush=True)
        os._exit(9)
asyncio.run(main())
"""


async def test_a_run_that_goes_on_after_its_program_died_is_told_complete_here(
    open_tandem: Any, own_home: Path
) -> None:
    done = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, check=False)
    told: Told = []
    tandem = open_tandem({"journal": {"path": str(own_home / "state" / "tandem" / "journal.db")}})
    tandem.register_plugin(Recorder(told))
    await tandem.initialize()
    result = await tandem.run(done.stdout.strip()).result()

    assert result["status"] == "completed"
    assert told == [("recorder", "complete", "dies", "completed")]


async def test_a_plugin_that_was_taken_away_is_not_told_any_more(
    tandem: TandemOrchestrator,
) -> None:
    told: Told = []
    plugin = Recorder(told)
    tandem.register_plugin(plugin)

    @tandem.register_agent("shop").action("price")
    async def price(payload: Any) -> int:
        tandem.unregister_plugin(plugin)
        return 7

    await tandem.execute_command_set(asking())
    await tandem.execute_command_set(asking("two")) if tandem.plugin_health() else None

    assert told == [("recorder", "start", "one")]
    with pytest.raises(CommandError, match="not registered"):
        tandem.unregister_plugin(plugin)


async def test_a_refused_run_tells_no_plugin(open_tandem: Any) -> None:
    told: Told = []
    tandem = open_tandem({"orchestrator": {"max_parallel_workflows": 1, "max_queued_runs": 0}})
    await tandem.initialize()
    go_on = asyncio.Event()

    @tandem.register_agent("shop").action("price")
    async def price(payload: Any) -> None:
        await go_on.wait()

    tandem.register_plugin(Recorder(told))
    first = await tandem.submit(asking("first"))
    with pytest.raises(Busy):
        await tandem.submit(asking("second"))
    with pytest.raises(CommandError):
        await tandem.submit(CommandSet(steps=[CommandStep(agent="nobody", action="x")]))
    go_on.set()
    await first.result()

    assert {entry[2] for entry in told} == {"first"}


async def test_closing_waits_for_the_hooks_and_does_not_wait_for_ever(
    open_tandem: Any,
) -> None:
    tandem = open_tandem({"orchestrator": {"close_timeout_s": 0.1, "plugin_timeout_s": 3600}})
    await tandem.initialize()
    waits = asyncio.Event()

    class Hangs(TandemPlugin):
        async def on_command_complete(self, command_set: CommandSet, result: Any) -> None:
            waits.set()
            await asyncio.Event().wait()

    offer_price(tandem, [])
    tandem.register_plugin(Hangs())
    run = await tandem.submit(asking())
    await waits.wait()

    await asyncio.wait_for(tandem.close(), 10)
    with pytest.raises(Exception, match="closed"):
        await run.result()


# --- registering -----------------------------------------------------------------------------------


class AsInTheDocument:
    """No subclass of ours, but with one of the hooks."""

    async def on_command_start(self, command_set: CommandSet) -> None:
        """Look at it."""


class Nothing:
    """No plugin at all."""


class NotAFunction:
    """A hook that cannot be called."""

    on_conflict = 3


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        (Nothing(), "none of the hooks"),
        (NotAFunction(), "cannot be called"),
        (AsInTheDocument, "expected an object, got the class"),
        (None, "none of the hooks"),
    ],
)
def test_what_is_no_plugin_is_refused_with_the_reason(plugin: Any, says: str) -> None:
    tandem = TandemOrchestrator({"journal": {"path": ":memory:"}})
    with pytest.raises(CommandError, match=says):
        tandem.register_plugin(plugin)
    assert tandem.plugin_health() == {}


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101, 7, b"x"])
def test_a_name_that_cannot_stand_in_a_log_is_refused(name: Any) -> None:
    tandem = TandemOrchestrator({"journal": {"path": ":memory:"}})
    with pytest.raises(CommandError, match="printable characters"):
        tandem.register_plugin(AsInTheDocument(), name=name)


def test_the_same_object_twice_is_refused_and_names_stay_apart() -> None:
    tandem = TandemOrchestrator({"journal": {"path": ":memory:"}})
    plugin = AsInTheDocument()
    tandem.register_plugin(plugin)
    with pytest.raises(CommandError, match="registered already"):
        tandem.register_plugin(plugin)
    tandem.register_plugin(AsInTheDocument())
    tandem.register_plugin(AsInTheDocument(), name="mine")

    assert list(tandem.plugin_health()) == ["AsInTheDocument", "AsInTheDocument-2", "mine"]


def test_there_is_a_bound_on_plugins() -> None:
    tandem = TandemOrchestrator({"journal": {"path": ":memory:"}})
    for _ in range(PLUGINS_MAX):
        tandem.register_plugin(AsInTheDocument())
    with pytest.raises(ConfigError, match=f"{PLUGINS_MAX} plugins"):
        tandem.register_plugin(AsInTheDocument())
    assert len(tandem.plugin_health()) == PLUGINS_MAX


def install(folder: Path, module: str, points: dict[str, str]) -> None:
    """Install a package as pip does: a module, and what it offers."""
    (folder / "their_plugins.py").write_text(module)
    about = folder / "their_plugins-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plugins\nVersion: 1.0\n")
    lines = [f"{name} = their_plugins:{target}" for name, target in points.items()]
    (about / "entry_points.txt").write_text("\n".join(["[tandem.plugins]", *lines, ""]))


THEIRS = """
from tandem_orchestrator import TandemPlugin

told = []

class Theirs(TandemPlugin):
    def __init__(self, name="made"):
        self.name = name

    async def on_command_start(self, command_set):
        told.append(self.name)

ready = Theirs("ready")
number = 5
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two plugins that work and three that do not."""
    points = {
        "a": "ready", "b": "Theirs", "c": "number", "d": "missing", "e": "told.nothing",
    }  # fmt: skip
    install(tmp_path, THEIRS, points)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_plugins", raising=False)
    return tmp_path


async def test_plugins_that_packages_offer_are_found_and_broken_ones_are_told_in_health(
    theirs: Path, open_tandem: Any
) -> None:
    told: Told = []
    tandem = open_tandem()
    tandem.register_plugin(Recorder(told, "mine"), name="a")
    await tandem.initialize()
    await tandem.initialize()  # loads nothing twice
    offer_price(tandem, [])
    await tandem.execute_command_set(asking())

    import their_plugins  # type: ignore[import-not-found]

    assert their_plugins.told == ["ready", "made"]
    health = tandem.plugin_health()
    assert list(health) == ["a", "a-2", "b", "c", "d", "e"]
    assert [name for name, one in health.items() if one] == ["a", "a-2", "b"]
    assert "none of the hooks" in health["c"].reason
    assert "their_plugins:missing: AttributeError" in health["d"].reason


async def test_entry_points_can_be_switched_off(theirs: Path, open_tandem: Any) -> None:
    tandem = open_tandem({"orchestrator": {"entry_points": False}})
    await tandem.initialize()
    assert tandem.plugin_health() == {}
    assert "their_plugins" not in sys.modules


def test_the_doctor_names_each_plugin_and_says_which_cannot_be_loaded(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tandem_orchestrator.cli.app import run_app

    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    assert run_app(["doctor", "--json"]) == 0
    findings = {row["what"]: row for row in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["plugin a"]["state"] == "ok"
    assert findings["plugin d"]["state"] == "degraded"
    assert "AttributeError" in findings["plugin d"]["detail"]


# --- conflicts --------------------------------------------------------------------------------------


class Referee(TandemPlugin):
    """Writes down conflicts, and may be slow about it."""

    def __init__(self, told: Told) -> None:
        self.told = told

    async def on_conflict(self, python_result: Any, c_result: Any) -> None:
        await asyncio.sleep(0)
        self.told.append(("conflict", python_result, c_result))

    async def on_command_complete(self, command_set: CommandSet, result: Any) -> None:
        self.told.append(("complete", result["status"]))


async def test_a_conflict_is_told_with_both_results_before_the_run_is_complete(
    tandem: TandemOrchestrator,
) -> None:
    told: Told = []

    @tandem.register_agent("shop").action("price", effects="none")
    async def price(payload: Any) -> Any:
        return {"cents": 1250}

    @price.twin("v2")
    async def price_v2(payload: Any) -> Any:
        return {"cents": 1251}

    tandem.register_plugin(Referee(told))
    compared = asking()
    compared.mode = "redundant"
    result = await tandem.execute_command_set(compared)

    assert [entry[0] for entry in told] == ["conflict", "complete"]
    left, right = told[0][1:]
    assert (left["implementation"], right["implementation"]) == ("python", "v2")
    assert (left["output"], right["output"]) == ({"cents": 1250}, {"cents": 1251})
    assert (left["run_id"], left["step"]) == (result["run_id"], "s1")
    assert left["conflict"] == result["conflicts"][0]["id"]
    assert left["seconds"] >= 0


# --- the express way -------------------------------------------------------------------------------


class OnlyConflicts(TandemPlugin):
    """Has the third hook alone."""

    async def on_conflict(self, python_result: Any, c_result: Any) -> None:
        """Look at it."""


@pytest.mark.native
@pytest.mark.parametrize("door", ["execute", "prepare"])
async def test_a_plugin_is_not_bypassed_by_the_express_way(
    door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Told = []
    ordinary: list[Any] = []
    steps = [CommandStep(agent="system", action="echo", payload=n) for n in range(2)]
    asked = CommandSet(mode="speed_critical", durability="none", steps=steps)
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        submit = tandem._ways_now()._submit

        async def counted(*arguments: Any) -> Any:
            ordinary.append(arguments)
            return await submit(*arguments)

        monkeypatch.setattr(tandem._ways_now(), "_submit", counted)
        plan = await tandem.prepare(asked)

        async def run() -> None:
            result = await (plan.run() if door == "prepare" else tandem.execute_command_set(asked))
            assert result["results"] == {"s1": 0, "s2": 1}

        for _ in range(4):
            await run()
        assert len(ordinary) < 4  # the express way was gone, once the program was there
        ordinary.clear()
        plugin = Recorder(told)
        tandem.register_plugin(plugin)
        for _ in range(3):
            await run()
        assert [entry[1] for entry in told] == ["start", "complete"] * 3
        assert len(ordinary) == 3
        tandem.unregister_plugin(plugin)
        await run()
        assert (len(told), len(ordinary)) == (6, 3)  # and is again without one
        tandem.register_plugin(OnlyConflicts())  # nothing of such a run can concern it
        await run()
        assert (len(told), len(ordinary)) == (6, 3)


def test_the_blocking_orchestrator_has_plugins_as_well() -> None:
    from tandem_orchestrator.sync import TandemOrchestrator as Blocking

    told: Told = []
    plugin = Recorder(told)
    config = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}
    with Blocking(config) as tandem:
        tandem.register_plugin(plugin)
        tandem.execute_command_set(CommandSet(steps=[CommandStep(agent="system", action="noop")]))
        assert tandem.plugin_health()["Recorder"].calls == 2
        tandem.unregister_plugin(plugin)

    assert [entry[1] for entry in told] == ["start", "complete"]
