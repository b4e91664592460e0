"""An agent of your own, and a run that uses it: python examples/own_agent.py"""

import asyncio

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator


async def main() -> None:
    """Price two parcels one after the other, the second from the first one's output."""
    async with TandemOrchestrator() as tandem:
        parcels = tandem.register_agent("parcels", capabilities=["price"])

        @parcels.action("price", effects="none")
        def price(payload: dict[str, float]) -> dict[str, float]:
            return {"euros": 2.0 + 1.5 * payload["kilograms"] + payload.get("surcharge", 0.0)}

        result = await tandem.execute_command_set(
            CommandSet(
                name="Two parcels",
                steps=[
                    CommandStep(
                        id="first", agent="parcels", action="price", payload={"kilograms": 2.0}
                    ),
                    CommandStep(
                        id="second",
                        agent="parcels",
                        action="price",
                        payload={"kilograms": 1.0, "surcharge": Ref("first", "euros")},
                    ),
                ],
                dependencies={"second": ["first"]},
            )
        )
    print(result["status"], result["results"])


if __name__ == "__main__":
    asyncio.run(main())
