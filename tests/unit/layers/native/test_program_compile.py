"""What may be part of a program, and what its bytes depend on."""

import struct

import pytest

from tandem_orchestrator.layers.native.codec import CodecError, encode
from tandem_orchestrator.layers.native.program import (
    ProgramRefused,
    compile_program,
    encode_run,
    structure_of,
)
from tandem_orchestrator.layers.native.program_outcome import (
    decode_outcomes,
    lost_outcomes,
)
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.plans import Assignment, PlannedStep
from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.model.retry import RetryPolicy

IDS = {("system", "echo"): 2}


def step(step_id="a", payload=None, *needs, **more):
    return PlannedStep(
        id=step_id, agent="system", action="echo", payload=payload, depends_on=needs, **more
    )


def flags_of(program, index=0):
    return struct.unpack_from("<I", program.data, 64 + 64 * index + 4)[0]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (step(kind="group"), "it is a group"),
        (step(for_each=[1], retry=RetryPolicy(max_retries=1)), "its items may be tried again"),
        (
            step(assignment=Assignment(implementations=("python",), layers=("python",), reason="")),
            "it does not run in the C layer alone",
        ),
        (step(payload={"x": object()}), "not a value"),
    ],
)
def test_a_step_that_has_no_place_in_a_program_is_refused_by_name(bad, reason):
    with pytest.raises(ProgramRefused) as caught:
        compile_program([step("first"), bad], IDS, ())
    assert caught.value.step == "a"
    assert reason in caught.value.reason


def test_an_action_that_the_bridge_does_not_offer_is_refused():
    with pytest.raises(ProgramRefused, match=r"does not offer system\.echo"):
        compile_program([step()], {}, ())


def test_steps_of_two_groups_are_refused():
    with pytest.raises(ProgramRefused, match="its group"):
        compile_program([step("x/a", parent="x"), step("b")], IDS, ())


def test_steps_out_of_order_are_refused():
    with pytest.raises(ProgramRefused, match="before step 'b'"):
        compile_program([step("a", None, "b"), step("b")], IDS, ())


def test_a_step_that_may_be_tried_again_stops_the_program_although_it_can_fail():
    retried = step(can_fail=True, retry=RetryPolicy(max_retries=1))
    assert flags_of(compile_program([step(can_fail=True)], IDS, {"a"})) == 3
    assert flags_of(compile_program([retried], IDS, ())) == 0


def test_values_are_no_part_of_a_program_and_structure_is():
    def digest(*steps, wanted=()):
        return compile_program(steps, IDS, wanted).digest

    base = digest(step(payload={"x": 1}))
    assert digest(step(payload=["another", b"value"])) == base
    assert digest(step(payload={"x": 1}), wanted={"a"}) != base
    assert digest(step(payload={"x": 1}, timeout_s=1.0)) != base
    assert digest(step(payload={"x": Ref("inputs", "y")})) != base
    assert digest(step(payload={"x": Ref("inputs", "z")})) != digest(
        step(payload={"x": Ref("inputs", "y")})
    )


def test_both_forms_of_a_reference_are_the_same_structure():
    one, _ = structure_of([step(payload=[Ref("inputs", "a/b", default=None)])], ())
    two, _ = structure_of([step(payload=[{"$ref": "inputs#/a/b", "default": None}])], ())
    assert one == two
    assert hash(one) == hash(two)


def test_a_run_carries_inputs_then_outputs_of_steps_outside_then_literals():
    program = compile_program([step("a", [1, Ref("out", "x"), "b"], "out", "gone")], IDS, ())
    assert program.outers == ("out", "gone")
    body = encode_run(program, {"k": 1}, {"out": {"x": 2}})
    lengths = struct.unpack_from("<8I", body)
    assert lengths == (0x4E524454, 5, 4, 4, 0, 1, 2, 0)
    assert body[32:] == b"".join(map(encode, [{"k": 1}, {"x": 2}, 1, "b"]))


def test_outcomes_are_read_with_their_reasons():
    program = compile_program([step("a"), step("b", None, "a"), step("c"), step("d")], IDS, {"a"})
    deep = 7
    for _ in range(31):
        deep = [deep]
    body = encode(
        [5, 9, 1, [
            [0, 1, 2, {"x": 1}], [4, 3, 0, None, None, None, [2, 0, 0]],
            [1, 3, 4, None, "ValueError", "no"], [5],
        ]]
    )  # fmt: skip
    rows = decode_outcomes(program, body)
    assert [row.outcome for row in rows] == [
        Outcome.SUCCEEDED, Outcome.SKIPPED, Outcome.FAILED, Outcome.NOT_STARTED,
    ]  # fmt: skip
    assert (rows[0].output, rows[0].started_ns, rows[0].elapsed_ns) == ({"x": 1}, 1, 2)
    assert rows[1].reason(program) == "it refers to step 'a', which gave no output"
    assert rows[2].failure == Failure("ValueError", "no")
    single = compile_program([step("a")], IDS, {"a"})
    assert decode_outcomes(single, encode([5, 9, 0, [[6, 1, 2, encode(deep)]]]))[0].output == deep


@pytest.mark.parametrize("value", [None, [], [1, 2, 0, []], [1, 2, 0, [[9]]], [1, 2, 0, [["x"]]]])
def test_a_body_that_is_no_completion_is_refused(value):
    with pytest.raises(CodecError):
        decode_outcomes(compile_program([step()], IDS, ()), encode(value))


def test_after_a_death_steps_before_the_mark_are_unknown_and_the_rest_not_started():
    program = compile_program([step("a"), step("b"), step("c")], IDS, ())
    rows = lost_outcomes(program, 1)
    assert [row.outcome for row in rows] == [
        Outcome.UNKNOWN, Outcome.NOT_STARTED, Outcome.NOT_STARTED,
    ]  # fmt: skip
    assert [row.outcome for row in lost_outcomes(program, 99)] == [Outcome.UNKNOWN] * 3
