"""A ``python_handler`` that is retried sees its command set as it was submitted."""

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator


async def test_what_an_attempt_changes_in_its_command_set_is_gone_in_the_next():
    seen = []

    async def handler(command_set):
        seen.append(len(command_set.steps))
        command_set.steps.clear()
        if len(seen) == 1:
            raise ValueError("once")
        return {"attempts": len(seen)}

    asked = CommandSet(
        name="again",
        mode="python_only",
        python_handler=handler,
        retry_policy={"max_retries": 1, "initial_delay": 0.0},
        steps=[CommandStep(action="anything", payload={"x": 1})],
    )
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        result = await tandem.execute_command_set(asked)
    assert result["results"] == {"attempts": 2}
    assert seen == [1, 1]
    assert len(asked.steps) == 1, "the caller's own object is only read"
