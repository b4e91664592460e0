"""``advance`` with twins: agreement, conflicts and how each resolution ends them."""

import pytest

from tandem_orchestrator.model.events import CancelRequested, ConflictSettled, RunStarted
from tandem_orchestrator.model.plans import Assignment
from tandem_orchestrator.testing.driver import Driver, plan, step


def pair(verdict="compare"):
    return Assignment(
        implementations=("python", "c"), layers=("python", "c"), reason="pair", verdict=verdict
    )


def both(driver, python, c, step_id="a"):
    driver.end(step_id, output=python)
    driver.end(step_id, output=c, implementation="c")


def test_twins_start_together_and_agreement_is_consensus():
    driver = Driver(plan(step("a", assignment=pair())))
    driver.start()
    assert driver.log == ["a/python#1", "a/c#1"]
    both(driver, {"x": [1, 2]}, {"x": [1, 2]})
    assert driver.run_ended.consensus_achieved is True
    assert driver.run_ended.conflicts == []
    assert driver.ended["a"].output == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("resolution", "output", "winner"),
    [("python_preferred", 1, "python"), ("c_preferred", 2, "c")],
)
def test_a_conflict_is_shown_whichever_side_wins(resolution, output, winner):
    driver = Driver(plan(step("a", assignment=pair()), conflict_resolution=resolution))
    driver.start()
    both(driver, {"n": 1}, {"n": 2})
    assert driver.run_ended.status == "completed"
    assert driver.run_ended.consensus_achieved is False
    assert driver.ended["a"].output == {"n": output}
    (conflict,) = driver.run_ended.conflicts
    assert conflict["fields"] == [{"path": "/n", "left": 1, "right": 2}]
    assert conflict["winner"] == winner and conflict["resolution"] == resolution
    assert conflict["implementations"] == ["python", "c"]


def test_critical_with_two_voters_picks_no_side_and_gives_pythons_output():
    driver = Driver(plan(step("a", assignment=pair()), priority="critical"))
    driver.start()
    both(driver, 1, 2)
    assert driver.run_ended.status == "completed"
    assert driver.ended["a"].output == 1
    assert driver.run_ended.conflicts[0]["winner"] is None
    assert driver.run_ended.consensus_achieved is False


def test_fail_fails_and_names_what_differs():
    driver = Driver(plan(step("a", assignment=pair()), conflict_resolution="fail"))
    driver.start()
    both(driver, {"x": 1, "y": 2}, {"x": 1, "y": 3})
    assert driver.run_ended.status == "failed"
    assert "/y" in driver.run_ended.error and "/x" not in driver.run_ended.error


def test_retry_both_runs_both_again_and_takes_agreement():
    driver = Driver(plan(step("a", assignment=pair()), conflict_resolution="retry_both"))
    driver.start()
    both(driver, 1, 2)
    assert driver.log[2:] == ["a/python#2", "a/c#2"]
    both(driver, 2, 2)
    assert driver.run_ended.consensus_achieved is True
    assert driver.ended["a"].output == 2


def test_consensus_between_deterministic_twins_that_differ_ends_in_a_failure():
    driver = Driver(plan(step("a", assignment=pair("must_agree")), consensus_retries=2))
    driver.start()
    while driver.running:
        both(driver, 1, 2)
    assert len(driver.log) == 6, "the first try and two more"
    assert driver.run_ended.status == "failed"
    assert driver.run_ended.error_detail["type"] == "TwinsDisagree"


def test_failures_agree_by_type_and_not_by_message():
    driver = Driver(plan(step("a", assignment=pair())))
    driver.start()
    driver.end("a", "failed", failure="ValueError")
    driver.end("a", "failed", failure="ValueError", implementation="c")
    assert driver.run_ended.status == "failed"
    assert driver.run_ended.consensus_achieved is True


def test_one_side_failing_is_a_conflict_and_a_result_beats_none():
    driver = Driver(plan(step("a", assignment=pair())))
    driver.start()
    driver.end("a", "failed", failure="ValueError")
    driver.end("a", output=5, implementation="c")
    assert driver.run_ended.status == "completed"
    assert driver.ended["a"].output == 5
    assert driver.run_ended.conflicts[0]["winner"] == "c"


def test_one_conflict_in_twenty_items_is_within_the_threshold():
    the_plan = plan(step("a", assignment=pair(), for_each=list(range(20))))
    driver = Driver(the_plan)
    driver.start()
    for item in range(20):
        driver.end("a", output=item, item=item)
        driver.end("a", output=item or -1, item=item, implementation="c")
    assert driver.run_ended.consensus_achieved is True
    assert [c["item"] for c in driver.run_ended.conflicts] == [0]


def test_where_nothing_came_to_be_compared_nothing_is_said_about_consensus():
    driver = Driver(plan(step("a", assignment=pair(), for_each=[])))
    driver.start()
    assert driver.run_ended.status == "completed"
    assert driver.run_ended.consensus_achieved is None and driver.run_ended.conflicts is None


def test_cancelling_what_waits_for_a_person_lets_the_others_go_on():
    a = step("a", assignment=pair(), can_fail=True)
    driver = Driver(plan(a, step("b", "a"), conflict_resolution="hold"))
    driver.start()
    both(driver, 1, 2)
    assert [held.conflicts for held in driver.held] == [("c1",)]
    driver.post(CancelRequested(step="a"))
    assert [held.conflicts for held in driver.held] == [("c1",), ()], "it goes on"
    assert driver.outcomes() == {"a": "cancelled"}
    driver.end("b", output=1)
    assert driver.run_ended.status == "completed"


def test_a_run_is_held_again_by_the_next_conflict_and_told_each_time():
    steps = [step("a", assignment=pair()), step("b", "a", assignment=pair())]
    driver = Driver(plan(*steps, conflict_resolution="hold"))
    driver.start()
    both(driver, 1, 2)
    driver.post(ConflictSettled(conflict="c1", pick="c"))
    driver.post(ConflictSettled(conflict="c1", pick="python"))
    assert driver.ended["a"].output == 2, "the second decision came too late"
    both(driver, 1, 2, "b")
    driver.post(ConflictSettled(conflict="c2", output=9, by="me"))
    assert [held.conflicts for held in driver.held] == [("c1",), (), ("c2",)]
    assert driver.ended["b"].output == 9
    assert [c["winner"] for c in driver.run_ended.conflicts] == ["c", None]
    assert driver.run_ended.conflicts[1]["by"] == "me"


def test_the_order_in_which_twins_start_is_drawn_from_a_recorded_roll():
    def first(roll):
        driver = Driver(plan(step("a", assignment=pair())))
        driver.post(RunStarted(roll=roll))
        return driver.log[0]

    rolls = [n / 64 for n in range(1, 64)]
    begun = [first(roll) for roll in rolls]
    assert set(begun) == {"a/python#1", "a/c#1"}
    assert begun == [first(roll) for roll in rolls], "the same roll, the same order"
    assert first(0.0) == "a/python#1"


def batch(**fields):
    return plan(
        step("a", assignment=pair(), batch="items", payload={"items": [1, 2, 3, 4]}), **fields
    )


def test_a_batch_is_split_by_halves_and_put_together_again():
    driver = Driver(batch())
    driver.start()
    both(driver, [1, 2, 3, 4], [1, 2, 3, 5])
    wrong, log = {3: 5}, []
    while driver.parts:
        key = next(iter(driver.parts))
        low, high = key.part
        log.append(str(key))
        output = [n + 1 for n in range(low, high)]
        if key.implementation == "c":
            output = [wrong.get(n, n + 1) for n in range(low, high)]
        driver.end("a", output=output, implementation=key.implementation, part=key.part)
    assert log == [
        "a[0:2]/python", "a[0:2]/c", "a[2:4]/python", "a[2:4]/c",
        "a[2:3]/python", "a[2:3]/c", "a[3:4]/python", "a[3:4]/c",
    ]  # fmt: skip
    assert driver.ended["a"].output == [1, 2, 3, 4]
    (conflict,) = driver.run_ended.conflicts
    assert conflict["item"] == 3 and conflict["fields"] == [{"path": "/0", "left": 4, "right": 5}]
    assert driver.evidence[0].payload == {"items": [4]}
    assert [judged.count for judged in driver.judged] == [2, 1]
    sides = driver.ended["a"].implementations
    assert {name: side["attempts"] for name, side in sides.items()} == {"python": 5, "c": 5}


def test_a_batch_of_which_a_side_hangs_is_not_split():
    driver = Driver(batch())
    driver.start()
    driver.end("a", output=[1, 2, 3, 4])
    driver.end("a", "timed_out", implementation="c")
    assert not driver.parts and driver.run_ended.status == "completed"
    assert driver.run_ended.conflicts[0]["item"] is None


def answer(driver, right):
    """End what is at work of a batch: python's as given, c's by ``right`` (of first item, length)."""
    while driver.parts or driver.running:
        if driver.parts:
            key = next(iter(driver.parts))
            (low, high), name = key.part, key.implementation
        else:
            _, _, name = next(iter(driver.running))
            (low, high), key = (0, 4), None
        left = [n + 1 for n in range(low, high)]
        output = left if name == "python" else right(left)
        driver.end("a", output=output, implementation=name, part=key and key.part)


def off_beyond(size):
    return lambda left: [n + 1 for n in left] if len(left) > size else left


@pytest.mark.parametrize(
    ("size", "parts"), [(1, [[0, 2], [2, 4]]), (2, [None]), (3, [None])], ids=str
)
def test_twins_that_differ_on_a_batch_and_not_on_its_halves_are_a_conflict_of_that_batch(
    size, parts
):
    driver = Driver(batch())
    driver.start()
    answer(driver, off_beyond(size))
    assert [conflict.get("part") for conflict in driver.run_ended.conflicts] == parts
    assert driver.run_ended.consensus_achieved is False
    assert driver.ended["a"].output == [1, 2, 3, 4]
    expected = [[1, 2], [3, 4]] if parts[0] else [[1, 2, 3, 4]]
    assert [kept.payload["items"] for kept in driver.evidence] == expected
    assert all(len(kept.outcomes) == 2 for kept in driver.evidence)
    assert driver.ended["a"].implementations["c"]["attempts"] == (7 if size == 1 else 3)


def test_consensus_on_a_batch_whose_halves_agree_is_tried_again_and_then_fails():
    pairs = pair("must_agree")
    steps = step("a", assignment=pairs, batch="items", payload={"items": [1, 2, 3, 4]})
    driver = Driver(plan(steps, consensus_retries=2))
    driver.start()
    answer(driver, off_beyond(2))
    assert driver.run_ended.status == "failed"
    assert driver.run_ended.error_detail["type"] == "TwinsDisagree"
    assert len(driver.run_ended.conflicts) == 1
    assert driver.ended["a"].implementations["c"]["attempts"] == 3 + 2


def test_a_held_batch_whose_halves_agree_takes_the_side_that_is_picked_as_a_whole():
    driver = Driver(batch(conflict_resolution="hold"))
    driver.start()
    answer(driver, off_beyond(2))
    driver.post(ConflictSettled(conflict="c1", pick="c"))
    assert driver.ended["a"].output == [2, 3, 4, 5]


def test_a_difference_that_was_seen_is_told_also_where_the_search_for_its_items_is_cut_short():
    driver = Driver(batch())
    driver.start()
    both(driver, [1, 2, 3, 4], [1, 2, 3, 5])
    driver.post(CancelRequested())
    while driver.parts:
        key = next(iter(driver.parts))
        driver.end("a", "cancelled", implementation=key.implementation, part=key.part)
    assert driver.run_ended.status == "cancelled"
    (conflict,) = driver.run_ended.conflicts
    assert conflict["fields"] == [{"path": "/3", "left": 4, "right": 5}]


def test_a_part_that_is_no_list_as_long_as_its_items_is_a_failure_that_says_so():
    driver = Driver(batch())
    driver.start()
    both(driver, [1, 2, 3, 4], [1, 2, 3, 5])
    while driver.parts:
        key = next(iter(driver.parts))
        driver.end("a", output=[1], implementation=key.implementation, part=key.part)
    assert driver.run_ended.status == "failed"
    assert driver.run_ended.error_detail["type"] == "NotABatch"
    assert len(driver.run_ended.conflicts) == 1, "of the whole, since no part's is known"


def test_a_step_that_failed_for_disagreement_is_no_consensus_however_many_agreed():
    steps = [step(f"s{i}", assignment=pair("must_agree")) for i in range(40)]
    driver = Driver(plan(*steps, consensus_retries=0, on_failure="drain"))
    driver.start()
    for i in range(40):
        both(driver, 1, 1 if i else 2, f"s{i}")
    assert driver.run_ended.status == "failed"
    assert len(driver.run_ended.conflicts) == 1, "39 of 40 agreed: more than the threshold"
    assert driver.run_ended.consensus_achieved is False


def test_so_it_is_where_the_step_may_fail():
    steps = [step(f"s{i}", assignment=pair("must_agree"), can_fail=True) for i in range(40)]
    driver = Driver(plan(*steps, consensus_retries=0))
    driver.start()
    for i in range(40):
        both(driver, 1, 1 if i else 2, f"s{i}")
    assert driver.run_ended.status == "completed"
    assert driver.run_ended.consensus_achieved is False


@pytest.mark.parametrize("policy", ["collect", "fail"])
def test_consensus_collects_the_items_that_differ_where_it_is_told_to(policy):
    items = {"for_each": list(range(40)), "on_item_failure": policy}
    driver = Driver(plan(step("a", assignment=pair("must_agree"), **items), consensus_retries=1))
    driver.start()
    while driver.running:
        for item in {key[1] for key in driver.running}:
            driver.end("a", output=item, item=item)
            driver.end("a", output=-1 if item == 7 else item, item=item, implementation="c")
    ended = driver.ended["a"]
    assert ended.failed_items == (7,)
    assert [c["item"] for c in driver.run_ended.conflicts] == [7]
    if policy == "collect":
        assert (ended.outcome, driver.run_ended.status) == ("succeeded", "completed")
        assert ended.output == [None if item == 7 else item for item in range(40)]
        assert driver.run_ended.consensus_achieved is True, "the others are 39 of 40"
    else:
        assert (ended.outcome, ended.failure["type"]) == ("failed", "TwinsDisagree")
        assert driver.run_ended.consensus_achieved is False


def test_consensus_collects_the_items_of_a_batch_that_differ():
    batch = step(
        "a", assignment=pair("must_agree"), batch="items", payload={"items": [0, 1, 2, 3]},
        on_item_failure="collect",
    )  # fmt: skip
    driver = Driver(plan(batch, consensus_retries=0))
    driver.start()
    both(driver, [0, 1, 2, 3], [0, 1, 9, 3])
    while driver.parts:
        unit = next(iter(driver.parts))
        low, high = unit.part
        right = list(range(low, high))
        wrong = [9 if item == 2 else item for item in right]
        driver.end("a", output=right, part=unit.part)
        driver.end("a", output=wrong, part=unit.part, implementation="c")
    ended = driver.ended["a"]
    assert (ended.outcome, ended.output, ended.failed_items) == ("succeeded", [0, 1, None, 3], (2,))


def test_fields_of_conflicts_are_bounded_and_their_count_is_not(monkeypatch):
    monkeypatch.setattr("tandem_orchestrator.model.conflicts.FIELDS_KEPT_MAX", 3)
    driver = Driver(plan(step("a", assignment=pair(), for_each=list(range(8)))))
    driver.start()
    for item in range(8):
        driver.end("a", output={"x": 1, "y": 1}, item=item)
        driver.end("a", output={"x": 2, "y": 2}, item=item, implementation="c")
    conflicts = driver.run_ended.conflicts
    assert [len(conflict["fields"]) for conflict in conflicts] == [2, 2, 2, 0, 0, 0, 0, 0]
    assert [conflict.get("fields_total") for conflict in conflicts] == [None] * 3 + [2] * 5
    assert [conflict["id"] for conflict in conflicts] == [f"c{n}" for n in range(1, 9)]
