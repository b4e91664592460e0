"""Retries, time limits, failures and what they mean for the rest of a run; on a fake clock."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.testing import FakeClock, settle


class Bench:
    """An agent ``t`` whose actions do what their payload says, and a record of what was called."""

    def __init__(self, tandem: TandemOrchestrator) -> None:
        self.tandem = tandem
        self.calls: Counter[str] = Counter()
        self.running = 0
        self.running_max = 0
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        agent = tandem.register_agent("t")

        @agent.action("do", effects="none")
        async def do(payload: dict[str, Any], ctx: Any) -> Any:
            """Fail the first ``fail`` times, wait for the gate if told to, give ``give`` back."""
            self.calls[ctx.step_id] += 1
            self.running += 1
            self.running_max = max(self.running_max, self.running)
            self.entered.set()
            try:
                if payload.get("wait"):
                    await self.gate.wait()
                if ctx.attempt <= payload.get("fail", 0):
                    kind = {"lookup": LookupError, None: ValueError}[payload.get("kind")]
                    raise kind(f"attempt {ctx.attempt}")
                return payload.get("give")
            finally:
                self.running -= 1


@pytest.fixture
def bench(clocked: TandemOrchestrator) -> Bench:
    """The agent ``t`` on an orchestrator with a fake clock."""
    return Bench(clocked)


def do(step_id: str, payload: dict[str, Any] | None = None, **fields: Any) -> CommandStep:
    """Make a step of the bench's agent."""
    return CommandStep(id=step_id, agent="t", action="do", payload=payload or {}, **fields)


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    """Give each step's outcome."""
    return {step_id: step["outcome"] for step_id, step in result["steps"].items()}


RETRY = {"max_retries": 3, "initial_delay": 10, "backoff": 2, "max_delay": 100, "jitter": False}


# --- retries -------------------------------------------------------------------------------------


async def test_retries_wait_twice_as_long_each_time(bench: Bench, clock: FakeClock) -> None:
    run = await bench.tandem.submit(
        CommandSet(steps=[do("a", {"fail": 3, "give": "done"})], retry_policy=RETRY)
    )

    seen = []
    for seconds in (9.9, 0.2, 19.8, 0.2, 39.8, 0.2):
        await clock.advance(seconds)
        seen.append(bench.calls["a"])

    assert seen == [1, 2, 2, 3, 3, 4]
    result = await run.result()
    assert (result["status"], result["results"]) == ("completed", {"a": "done"})
    assert result["steps"]["a"]["attempts"] == 4
    assert result["duration"] == pytest.approx(70.1, abs=0.2)


async def test_a_step_that_outlives_its_retries_fails_the_run_with_the_last_error(
    bench: Bench, clock: FakeClock
) -> None:
    run = await bench.tandem.submit(
        CommandSet(steps=[do("a", {"fail": 99}, retry_policy=RETRY | {"max_retries": 1})])
    )
    await clock.advance(10.1)

    result = await run.result()

    assert (result["status"], bench.calls["a"]) == ("failed", 2)
    assert result["error"] == "step 'a' failed: ValueError: attempt 2"
    detail = result["error_detail"]
    assert (detail["type"], detail["step"], detail["message"]) == ("ValueError", "a", "attempt 2")
    assert "raise kind(" in detail["traceback"]


@pytest.mark.parametrize(("retry_on", "calls"), [(["LookupError"], 2), (["KeyError"], 1)])
async def test_only_failures_that_retry_on_names_are_repeated(
    bench: Bench, clock: FakeClock, retry_on: list[str], calls: int
) -> None:
    policy = RETRY | {"retry_on": retry_on, "initial_delay": 0}
    step = do("a", {"fail": 1, "kind": "lookup"}, retry_policy=policy)
    run = await bench.tandem.submit(CommandSet(steps=[step]))
    await clock.advance(1)

    result = await run.result()

    assert bench.calls["a"] == calls
    assert result["status"] == ("completed" if calls == 2 else "failed")


async def test_a_steps_own_retry_policy_wins_over_the_sets(bench: Bench) -> None:
    asked = CommandSet(
        steps=[do("a", {"fail": 1}, retry_policy={}, can_fail=True)], retry_policy=RETRY
    )

    result = await bench.tandem.execute_command_set(asked)

    assert (bench.calls["a"], outcomes(result)) == (1, {"a": "failed"})


# --- time limits ---------------------------------------------------------------------------------


async def test_an_attempt_that_outlives_its_limit_is_timed_out_and_may_be_retried(
    bench: Bench, clock: FakeClock
) -> None:
    policy = {"max_retries": 1, "initial_delay": 0, "jitter": False, "retry_on": ["timed_out"]}
    run = await bench.tandem.submit(
        CommandSet(steps=[do("a", {"wait": True}, timeout=5, retry_policy=policy)])
    )
    await clock.advance(4.9)
    assert bench.calls["a"] == 1
    await clock.advance(0.2)
    assert bench.calls["a"] == 2
    await clock.advance(5.1)

    result = await run.result()

    assert (result["status"], outcomes(result)) == ("failed", {"a": "timed_out"})
    assert result["error_detail"]["type"] == "TimeoutError"
    assert (result["steps"]["a"]["attempts"], bench.running) == (2, 0)


async def test_a_run_that_outlives_its_limit_is_timed_out_and_starts_nothing_more(
    bench: Bench, clock: FakeClock
) -> None:
    run = await bench.tandem.submit(
        CommandSet(steps=[do("a", {"wait": True}), do("b")], dependencies={"b": ["a"]}, timeout=60)
    )
    await clock.advance(60.1)

    result = await run.result()

    assert result["status"] == "timed_out"
    assert outcomes(result) == {"a": "timed_out", "b": "skipped"}
    assert bench.calls["b"] == 0
    assert "60 s" in result["error"]
    assert "time limit" in result["steps"]["b"]["reason"]
    assert bench.running == 0


# --- what an output must be ----------------------------------------------------------------------


async def test_an_output_without_the_expected_shape_fails_naming_the_place(bench: Bench) -> None:
    shape = {"files": "array", "total": "integer"}
    asked = CommandSet(
        steps=[do("a", {"give": {"files": [], "total": "3"}}, expected_output=shape)]
    )

    result = await bench.tandem.execute_command_set(asked)

    assert result["status"] == "failed"
    assert result["error_detail"]["type"] == "UnexpectedOutput"
    assert "total" in result["error_detail"]["message"]
    assert result["results"] == {}


async def is_even(output: int) -> bool:
    """Validate asynchronously."""
    return output % 2 == 0


def raises_if_odd(output: int) -> None:
    """Validate by raising."""
    if output % 2:
        raise ArithmeticError(f"{output} is odd")


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (is_even, "is_even said no"),
        (raises_if_odd, "ArithmeticError: 3 is odd"),
        (lambda output: output == 2, "said no"),
    ],
)
async def test_an_output_that_validation_refuses_fails_the_attempt(
    bench: Bench, validation: Any, words: str
) -> None:
    steps = [
        do("good", {"give": 2}, validation_fn=validation),
        do("bad", {"give": 3}, validation_fn=validation, can_fail=True),
    ]

    result = await bench.tandem.execute_command_set(CommandSet(steps=steps))

    assert outcomes(result) == {"good": "succeeded", "bad": "failed"}
    assert result["steps"]["bad"]["error_type"] == "ValidationFailed"
    assert words in result["steps"]["bad"]["error"]


async def test_a_refused_output_is_retried_like_any_failure(bench: Bench, clock: FakeClock) -> None:
    seen = []

    async def second_time(output: Any) -> bool:
        seen.append(output)
        return len(seen) == 2

    step = do("a", {"give": 1}, validation_fn=second_time, retry_policy={"max_retries": 1})
    run = await bench.tandem.submit(CommandSet(steps=[step]))
    await clock.advance(1)

    result = await run.result()
    assert (result["status"], bench.calls["a"], seen) == ("completed", 2, [1, 1])


# --- what a failure means for the rest -----------------------------------------------------------


async def test_a_failure_that_is_tolerated_lets_dependents_run_with_its_output_null(
    bench: Bench,
) -> None:
    asked = CommandSet(
        steps=[
            do("a", {"fail": 1}, can_fail=True),
            do("b", {"give": {"a": Ref("a", "x", default="none")}}),
            do("c", {"give": Ref("a", "x")}),
        ],
        dependencies={"b": ["a"]},
    )

    result = await bench.tandem.execute_command_set(asked)

    assert result["status"] == "completed"
    assert outcomes(result) == {"a": "failed", "b": "succeeded", "c": "skipped"}
    assert result["results"] == {"b": {"a": "none"}}
    assert "'a'" in result["steps"]["c"]["reason"]


async def test_stop_lets_what_runs_finish_and_starts_nothing_new(bench: Bench) -> None:
    asked = CommandSet(
        steps=[do("slow", {"wait": True}), do("bad", {"fail": 1}), do("after"), do("far")],
        dependencies={"after": ["slow"], "far": ["bad"]},
    )
    run = await bench.tandem.submit(asked)
    await settle()
    assert bench.running == 1
    bench.gate.set()

    result = await run.result()

    assert result["status"] == "failed"
    assert outcomes(result) == {
        "slow": "succeeded",
        "bad": "failed",
        "after": "skipped",
        "far": "skipped",
    }
    for skipped in ("after", "far"):
        assert "bad" in result["steps"][skipped]["reason"]
        assert result["steps"][skipped]["attempts"] == 0


async def test_drain_lets_branches_that_do_not_depend_on_the_failure_go_on(bench: Bench) -> None:
    asked = CommandSet(
        steps=[do("a"), do("bad", {"fail": 1}), do("b"), do("c"), do("far")],
        dependencies={"b": ["a"], "c": ["b"], "far": ["bad"]},
        on_failure="drain",
    )

    result = await bench.tandem.execute_command_set(asked)

    assert result["status"] == "failed"
    assert outcomes(result) == {
        "a": "succeeded",
        "bad": "failed",
        "b": "succeeded",
        "c": "succeeded",
        "far": "skipped",
    }


# --- data flow -----------------------------------------------------------------------------------


async def test_each_step_runs_once_however_often_a_dependency_is_listed(bench: Bench) -> None:
    asked = CommandSet(
        steps=[do("a", {"give": 1}), do("b", {"give": [Ref("a"), Ref("a")]})],
        dependencies={"b": ["a", "a", "a"]},
    )

    result = await bench.tandem.execute_command_set(asked)

    assert bench.calls == {"a": 1, "b": 1}
    assert result["results"]["b"] == [1, 1]


@pytest.mark.parametrize(
    ("when", "runs"),
    [
        ({"ref": "a#/n", "op": "gt", "value": 2}, True),
        ({"ref": "a#/n", "op": "gt", "value": "2"}, False),
        ({"not": {"ref": "a#/m", "op": "exists"}}, True),
        ({"all": [{"ref": "a#/n", "op": "eq", "value": 3}, {"ref": "a#/tags"}]}, False),
        ({"any": [{"ref": "a#/n", "op": "eq", "value": 4}, {"ref": "a#/n"}]}, True),
    ],
)
async def test_when_decides_by_data(bench: Bench, when: dict[str, Any], runs: bool) -> None:
    asked = CommandSet(
        steps=[
            do("a", {"give": {"n": 3, "tags": []}}),
            do("b", when=when),
            do("c", {"give": "ran"}),
        ],
        dependencies={"c": ["b"]},
    )

    result = await bench.tandem.execute_command_set(asked)

    assert result["status"] == "completed"
    assert outcomes(result)["b"] == ("succeeded" if runs else "skipped")
    assert result["results"]["c"] == "ran"


async def test_for_each_gives_a_list_in_input_order(bench: Bench) -> None:
    asked = CommandSet(
        steps=[
            do("list", {"give": {"files": ["x", "y", "z"]}}),
            do("each", {"give": {"name": Ref("item")}}, for_each=Ref("list", "files")),
            do("none", {"give": 1}, for_each=[]),
        ]
    )

    result = await bench.tandem.execute_command_set(asked)

    assert result["results"]["each"] == [{"name": "x"}, {"name": "y"}, {"name": "z"}]
    assert result["results"]["none"] == []
    assert bench.calls["each"] == 3


@pytest.mark.parametrize(
    ("how", "status", "output"), [("collect", "completed", [1, None, 1]), ("fail", "failed", None)]
)
async def test_a_failed_item_fails_the_step_or_leaves_a_null(
    bench: Bench, how: str, status: str, output: Any
) -> None:
    step = do("each", {"give": 1, "fail": Ref("item")}, for_each=[0, 9, 0], on_item_failure=how)

    result = await bench.tandem.execute_command_set(CommandSet(steps=[step]))

    assert result["status"] == status
    assert result["results"].get("each") == output
    assert result["steps"]["each"]["failed_items"] == [1]


async def test_for_each_over_what_is_no_list_fails_saying_so(bench: Bench) -> None:
    asked = CommandSet(
        steps=[do("a", {"give": {"n": 3}}), do("each", {"give": 1}, for_each=Ref("a", "n"))]
    )

    result = await bench.tandem.execute_command_set(asked)

    assert result["status"] == "failed"
    assert "list" in result["error"] and "each" in result["error"]


async def test_nested_sets_run_as_one_step_with_their_results_as_its_output(bench: Bench) -> None:
    inner = CommandSet(type="sequence", steps=[do("x", {"give": 1}), do("y", {"give": Ref("x")})])
    asked = CommandSet(
        type="campaign",
        steps=[
            CommandStep(id="inner", command_set=inner),
            do("after", {"give": Ref("inner", "y")}),
        ],
    )

    result = await bench.tandem.execute_command_set(asked)

    assert result["status"] == "completed"
    assert list(result["steps"]) == ["inner", "inner/x", "inner/y", "after"]
    assert result["results"]["inner"] == {"x": 1, "y": 1}
    assert result["results"]["after"] == 1


async def test_a_nested_failure_stops_at_a_step_that_may_fail(bench: Bench) -> None:
    inner = CommandSet(steps=[do("x", {"fail": 1}), do("y")], dependencies={"y": ["x"]})
    asked = CommandSet(
        steps=[CommandStep(id="inner", command_set=inner, can_fail=True), do("after")],
        dependencies={"after": ["inner"]},
    )

    result = await bench.tandem.execute_command_set(asked)

    assert result["status"] == "completed"
    assert outcomes(result) == {
        "inner": "failed",
        "inner/x": "failed",
        "inner/y": "skipped",
        "after": "succeeded",
    }


async def test_a_sequence_without_dependencies_runs_in_order(bench: Bench) -> None:
    steps = [do(name) for name in "abc"]

    for asked, running in (
        (CommandSet(type="sequence", steps=steps), 1),
        (CommandSet(steps=steps, parallel_allowed=False), 1),
    ):
        bench.running_max = 0
        await bench.tandem.execute_command_set(asked)
        assert bench.running_max == running


async def test_independent_steps_run_at_one_time(bench: Bench) -> None:
    run = await bench.tandem.submit(CommandSet(steps=[do(n, {"wait": True}) for n in "abc"]))
    await settle()
    assert bench.running == 3
    bench.gate.set()
    assert (await run.result())["status"] == "completed"
