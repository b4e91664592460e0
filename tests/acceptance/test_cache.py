"""Outputs of deterministic actions come from the cache, and of no others."""

from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator


def asking(payload: Any = 5, **more: Any) -> CommandSet:
    """Build a set of one step of ``shop.price``."""
    step = CommandStep(agent="shop", action="price", payload={"of": payload}, **more)
    return CommandSet(steps=[step])


def offer_price(tandem: TandemOrchestrator, ran: list[Any], **declared: Any) -> Any:
    declared = {"effects": "none", "deterministic": True, **declared}

    @tandem.register_agent("shop").action("price", **declared)
    async def price(payload: Any) -> Any:
        ran.append(payload["of"])
        return {"price": [len(ran)]}

    return price


async def test_the_second_run_is_answered_from_the_cache_and_says_so_everywhere(
    tandem: TandemOrchestrator,
) -> None:
    ran: list[Any] = []
    offer_price(tandem, ran)
    first = await tandem.execute_command_set(asking())
    again = await tandem.submit(asking())
    second = await again.result()

    assert ran == [5]
    assert second["results"] == first["results"] == {"s1": {"price": [1]}}
    assert (first["steps"]["s1"]["cached"], second["steps"]["s1"]["cached"]) == (False, True)
    events = [event async for event in again.events() if event["kind"] == "attempt_ended"]
    assert [(event["cached"], event["output"]) for event in events] == [(True, {"price": [1]})]
    metrics = tandem.get_metrics()
    assert (metrics["cache"]["hits"], metrics["cache"]["misses"]) == (1, 1)
    assert metrics["python_msgs_processed"] == 1  # what came from the cache did not run
    assert metrics["execution_stats"]["intelligent"]["runs"] == 2
    assert tandem.cache.stats().hits == 1


async def test_a_result_that_its_caller_changes_is_whole_for_the_next(
    tandem: TandemOrchestrator,
) -> None:
    offer_price(tandem, [])
    for _ in range(3):
        result = await tandem.execute_command_set(asking())
        assert result["results"]["s1"] == {"price": [1]}
        result["results"]["s1"]["price"].append("spoilt")


async def test_clearing_makes_it_run_again(tandem: TandemOrchestrator) -> None:
    ran: list[Any] = []
    offer_price(tandem, ran)
    await tandem.execute_command_set(asking())
    tandem.cache.clear()
    result = await tandem.execute_command_set(asking())
    assert (ran, result["steps"]["s1"]["cached"]) == ([5, 5], False)


@pytest.mark.parametrize(
    "declared",
    [{"deterministic": False}, {"effects": "external"}, {"effects": "idempotent"}],
    ids=str,
)
async def test_what_is_not_deterministic_or_has_effects_runs_every_time(
    tandem: TandemOrchestrator, declared: dict[str, Any]
) -> None:
    ran: list[Any] = []
    offer_price(tandem, ran, **declared)
    for _ in range(3):
        await tandem.execute_command_set(asking())
    assert ran == [5, 5, 5]
    assert tandem.cache.stats().entries == 0


async def test_another_payload_another_version_or_a_new_handler_runs(
    tandem: TandemOrchestrator,
) -> None:
    ran: list[Any] = []
    offer_price(tandem, ran)
    await tandem.execute_command_set(asking(1))
    await tandem.execute_command_set(asking(1.0))
    assert ran == [1, 1.0]

    handle = tandem.register_agent("shop").actions["price"]
    known = handle.implementations["python"]

    async def mended(payload: Any) -> Any:
        return "mended"

    import dataclasses

    handle.add(dataclasses.replace(known, handler=mended))
    result = await tandem.execute_command_set(asking(1))
    assert result["results"] == {"s1": "mended"}
    assert not result["steps"]["s1"]["cached"]


async def test_a_handler_that_looks_at_its_inputs_is_known_by_them(
    tandem: TandemOrchestrator,
) -> None:
    shop = tandem.register_agent("shop")
    numbers = iter(range(10))

    @shop.action("next", effects="none")
    async def next_number(payload: Any) -> int:
        return next(numbers)

    @shop.action("double", effects="none", deterministic=True)
    async def double(payload: Any, ctx: Any) -> int:
        return 2 * sum(ctx.inputs.values())

    @shop.action("blind", effects="none", deterministic=True)
    async def blind(payload: Any) -> str:
        return "seen nothing"

    asked = CommandSet(
        type="sequence",
        steps=[CommandStep(id=name, agent="shop", action=name) for name in ("next", "double")],
    )
    last = CommandSet(
        type="sequence",
        steps=[CommandStep(id=name, agent="shop", action=name) for name in ("next", "blind")],
    )
    doubled = [(await tandem.execute_command_set(asked))["results"]["double"] for _ in range(3)]
    unseen = [await tandem.execute_command_set(last) for _ in range(2)]

    assert doubled == [0, 2, 4]
    assert [run["steps"]["blind"]["cached"] for run in unseen] == [False, True]


async def test_a_failure_is_never_kept(tandem: TandemOrchestrator) -> None:
    tries: list[int] = []

    @tandem.register_agent("shop").action("price", effects="none", deterministic=True)
    async def price(payload: Any) -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not yet")
        return 7

    assert (await tandem.execute_command_set(asking()))["status"] == "failed"
    assert (await tandem.execute_command_set(asking()))["results"] == {"s1": 7}


async def test_twins_that_are_compared_both_run_every_time(tandem: TandemOrchestrator) -> None:
    ran: list[Any] = []

    @tandem.register_agent("shop").action("price", effects="none", deterministic=True)
    async def price(payload: Any) -> int:
        ran.append("python")
        return 7

    @price.twin("v2")
    async def price_v2(payload: Any) -> int:
        ran.append("v2")
        return 7

    compared = asking()
    compared.mode = "redundant"
    plain = asking()
    plain.mode = "python_only"  # in intelligent mode v2 may run in shadow beside it
    await tandem.execute_command_set(plain)
    for _ in range(2):
        result = await tandem.execute_command_set(compared)
        assert result["consensus_achieved"]
        assert not result["steps"]["s1"]["cached"]

    assert sorted(ran) == ["python"] * 3 + ["v2"] * 2


async def test_items_are_cached_one_by_one_and_a_step_is_only_if_all_were(
    tandem: TandemOrchestrator,
) -> None:
    ran: list[Any] = []

    @tandem.register_agent("shop").action("square", effects="none", deterministic=True)
    async def square(payload: int) -> int:
        ran.append(payload)
        return payload * payload

    def over(*numbers: int) -> CommandSet:
        from tandem_orchestrator import Ref

        step = CommandStep(
            agent="shop", action="square", payload=Ref("item"), for_each=list(numbers)
        )
        return CommandSet(steps=[step])

    first = await tandem.execute_command_set(over(1, 2, 3))
    more = await tandem.execute_command_set(over(4, 1, 2))
    all_known = await tandem.execute_command_set(over(3, 4))

    assert ran == [1, 2, 3, 4]
    assert all_known["results"] == {"s1": [9, 16]}
    runs = (first, more, all_known)
    assert [run["steps"]["s1"]["cached"] for run in runs] == [False, False, True]


@pytest.mark.parametrize("setting", ["cache_size", "cache_bytes"])
async def test_it_can_be_switched_off_at_any_time(tandem: TandemOrchestrator, setting: str) -> None:
    ran: list[Any] = []
    offer_price(tandem, ran)
    await tandem.execute_command_set(asking())
    tandem.config["python_layer"][setting] = 0
    await tandem.execute_command_set(asking())
    assert ran == [5, 5]


async def test_the_shape_of_a_cached_output_is_checked_as_well(tandem: TandemOrchestrator) -> None:
    offer_price(tandem, [])
    await tandem.execute_command_set(asking())
    result = await tandem.execute_command_set(asking(expected_output={"type": "string"}))
    assert (result["status"], result["error_detail"]["type"]) == ("failed", "UnexpectedOutput")


def test_it_can_be_read_and_cleared_before_initialize() -> None:
    tandem = TandemOrchestrator({"python_layer": {"cache_size": 3}})
    tandem.cache.clear()
    stats = tandem.cache.stats()
    assert (stats.entries, stats.hits, stats.entries_max) == (0, 0, 3)


@pytest.mark.native
async def test_steps_of_a_program_run_every_time() -> None:
    steps = [
        CommandStep(agent="system", action="echo", payload=[n], implementations=["c"])
        for n in range(2)
    ]
    whole = CommandSet(mode="speed_critical", durability="async", steps=steps)
    express = CommandSet(mode="speed_critical", durability="none", steps=steps[:1])
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        for asked in (whole, express):
            for _ in range(3):
                result = await tandem.execute_command_set(asked)
                assert not any(step["cached"] for step in result["steps"].values())
        assert tandem.get_metrics()["c_msgs_processed"] == 9
        assert tandem.cache.stats().entries == 0
