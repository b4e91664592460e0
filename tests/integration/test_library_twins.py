"""Plain C functions as twins: every type, every refusal, crashes, hosts and messages."""

import array
import asyncio
import importlib.resources
import logging
import math
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    ActionFailed,
    Agent,
    CommandSet,
    CommandStep,
    LayerUnavailable,
    Ref,
    TandemOrchestrator,
    TwinError,
)

pytestmark = pytest.mark.native
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))
WAIT_S = 20.0


def compile_library(source: Path, made: Path, *options: str) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    subprocess.run(
        ["cc", "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", f"-I{NATIVE / 'include'}",
         *options, str(source), "-o", str(made)],
        check=True,
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = ROOT / "tests" / "fixtures" / "library" / "plain.c"
    return compile_library(source, tmp_path_factory.mktemp("plain") / "libplain.so")


@pytest.fixture
async def tandem() -> AsyncIterator[TandemOrchestrator]:
    config = {"journal": {"path": ":memory:"}, "c_layer": {"host_grace_ms": 100}}
    async with TandemOrchestrator(config) as made:
        yield made


Ask = Callable[..., Any]


@pytest.fixture
def ask(tandem: TandemOrchestrator, plain: Path) -> Ask:
    """Call a function of the library: ``await ask("i32(i32 x)", "same_i32", x=5)``."""
    agent = tandem.register_agent("plain")
    known: set[str] = set()

    async def call(signature: str, symbol: str, /, **payload: Any) -> Any:
        name = f"a{abs(hash((signature, symbol)))}"
        if name not in known:
            known.add(name)
            handle = agent.action(name, effects="none")(lambda payload: "python")
            handle.twin("c", library=plain, symbol=symbol, signature=signature)
        return await tandem.send("plain", name, payload, implementation="c")

    return call


async def refusal(call: Any) -> tuple[str, str]:
    with pytest.raises(ActionFailed) as caught:
        await call
    return caught.value.type, caught.value.message


async def test_numbers_go_and_come_as_they_are_up_to_their_limits(ask: Ask) -> None:
    limits = {
        "i32": (-(2**31), 2**31 - 1),
        "i64": (-(2**63), 2**63 - 1),
        "u32": (0, 2**32 - 1),
        "u64": (0, 2**64 - 1),
    }
    for kind, (least, most) in limits.items():
        for number in (least, 0, 1, most - 1, most):
            assert await ask(f"{kind}({kind} x)", f"same_{kind}", x=number) == number
        for number in (least - 1, most + 1):
            if not -(2**63) <= number < 2**64:
                continue  # no value at all
            assert await refusal(ask(f"{kind}({kind} x)", f"same_{kind}", x=number)) == (
                "OverflowError",
                f"argument 'x': {number} is out of range for {kind}",
            )


async def test_floats_are_rounded_as_struct_rounds_them(ask: Ask) -> None:
    for number in (0.0, -0.0, 0.1, 1e-46, 3.4028234663852886e38, 16777217.0, math.inf, -math.inf):
        [rounded] = struct.unpack("<f", struct.pack("<f", number))
        came = await ask("f32(f32 x)", "same_f32", x=number)
        assert struct.pack("<d", came) == struct.pack("<d", rounded)
        came = await ask("f64(f64 x)", "same_f64", x=number)
        assert struct.pack("<d", came) == struct.pack("<d", number)
    assert math.isnan(await ask("f32(f32 x)", "same_f32", x=math.nan))
    assert await ask("f64(f64 x)", "same_f64", x=2**63) == 2.0**63
    for number in (3.4028235677973366e38, -1e300):
        with pytest.raises(OverflowError):
            struct.pack("<f", number)
        kind, text = await refusal(ask("f32(f32 x)", "same_f32", x=number))
        assert (kind, "is out of range for f32" in text) == ("OverflowError", True)


async def test_text_is_utf8_without_a_zero(ask: Ask) -> None:
    for text in ("", "abc", "žluťoučký 🐴", "x" * 100_000):
        assert await ask("str(str s)", "same_str", s=text) == text
    assert await ask("str()", "no_str") is None
    assert await refusal(ask("str(str s)", "same_str", s="a\0b")) == (
        "ValueError",
        "argument 's': embedded null character",
    )
    kind, _ = await refusal(ask("str()", "bad_str"))
    assert kind == "UnicodeDecodeError"


async def test_arguments_of_all_kinds_arrive_in_their_places(ask: Ask) -> None:
    payload: dict[str, Any] = {
        "j": 1.5, "a": -3, "b": 2.25, "c": 2**40, "d": 0.5, "s": "é!", "data": b"\x01\x02\xff",
        "e": True, "f": -(2**33), "g": -7.125, "h": 2**31, "i": 1e6,
    }  # fmt: skip
    signature = (
        "f64(i32 a, f64 b, u64 c, f32 d, str s, bytes data, bool e, i64 f, f64 g, u32 h, f64 i, "
        "f32 j)"
    )
    expected = (
        payload["a"] + 2 * payload["b"] + 3 * payload["c"] + 4 * payload["d"] + 5 * 3 + 6 * 3
        + 258 + 7 + 8 * payload["f"] + 9 * payload["g"] + 10 * payload["h"] + 11 * payload["i"]
        + 12 * payload["j"]
    )  # fmt: skip
    assert await ask(signature, "mixed", **payload) == expected
    assert await ask("bool(bool b)", "negate", b=True) is False
    assert await ask("bool(bool b)", "negate", b=False) is True
    assert await ask("void()", "nothing") is None


async def test_buffers_come_as_lists_bytes_arrays_and_are_aligned(ask: Ask) -> None:
    numbers = [1.5, -2.25, 4.0, 1e300]
    mean = sum(numbers) / 4
    assert await ask("f64(buf<f64> x)", "mean", x=numbers) == mean
    assert await ask("f64(buf<f64> x)", "mean", x=array.array("d", numbers)) == mean
    assert await ask("f64(buf<f64> x)", "mean", x=memoryview(array.array("d", numbers))) == mean
    assert await ask("f64(buf<f64> x)", "mean", x=[]) == 0.0
    assert await ask("i64(buf<i16> x)", "sum_i16", x=[-(2**15), 2**15 - 1, 5]) == 4
    for text in (b"", b"\x00\x01\xff", bytes(range(256)) * 300):
        assert await ask("u64(bytes data)", "sum_bytes", data=text) == sum(text)
        assert await ask("u64(buf<u8> data)", "sum_bytes", data=text) == sum(text)
    assert await ask("u64(bytes data)", "sum_bytes", data=array.array("B", b"\x05\x06")) == 11
    for pad in range(9):  # wherever the body puts them
        payload = {"p": "x" * pad, "x": array.array("d", numbers)}
        assert await ask("bool(buf<f64> x, str p)", "is_aligned", **payload) is True


async def test_numpy_arrays_of_any_shape_are_buffers_and_come_back_as_numpy(ask: Ask) -> None:
    numpy = pytest.importorskip("numpy")
    x = numpy.arange(6, dtype="f8").reshape(2, 3)
    assert await ask("f64(buf<f64> x)", "mean", x=x) == 2.5
    answer = await ask("void(buf<f64> x, f64 by, out buf<f64>[len(x)] y)", "scale", x=x, by=0.5)
    assert isinstance(answer["y"], numpy.ndarray)
    assert answer["y"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    kind, text = await refusal(ask("f64(buf<f64> x)", "mean", x=x.astype("f4")))
    assert (kind, text) == ("TypeError", "argument 'x': a buffer of f32, expected f64")


async def test_out_buffers_come_back_in_the_form_of_what_went_in(ask: Ask) -> None:
    scale = "void(buf<f64> x, f64 by, out buf<f64>[len(x)] y)"
    assert await ask(scale, "scale", x=[1.0, 2.5], by=2) == {"y": [2.0, 5.0], "return": None}
    answer = await ask(scale, "scale", x=array.array("d", [1.0, 2.5]), by=2)
    assert answer == {"y": array.array("d", [2.0, 5.0]), "return": None}
    assert isinstance(answer["y"], array.array)
    squares = "err(i32 n, out buf<i64>[n] out)"
    assert await ask(squares, "squares", n=4) == {"out": [0, 1, 4, 9], "return": 0}
    assert await ask(squares, "squares", n=0) == {"out": [], "return": 0}
    reverse = "void(bytes data, out buf<u8>[len(data)] out)"
    assert await ask(reverse, "reverse", data=b"abc") == {"out": b"cba", "return": None}
    split = "i32(buf<i32> x, out buf<f32>[len(x)] halves, out buf<u8>[2*len(x)-len(x)] odd)"
    assert await ask(split, "split", x=[1, 2, -3]) == {
        "halves": [0.5, 1.0, -1.5], "odd": [1, 0, 1], "return": 3,
    }  # fmt: skip


async def test_an_error_code_is_a_failure_and_zero_is_none(ask: Ask) -> None:
    assert await ask("err(i32 x)", "code", x=0) == 0
    assert await refusal(ask("err(i32 x)", "code", x=-5)) == ("ErrorCode", "it returned -5")
    assert await refusal(ask("err(i32 n, out buf<i64>[n] out)", "squares", n=1001)) == (
        "ErrorCode",
        "it returned 34",
    )


@pytest.mark.parametrize(
    ("signature", "symbol", "payload", "expected"),
    [
        ("f64(f64 w, f64 h)", "area", {"w": 1.0}, ("TypeError", "missing argument 'h' (f64)")),
        ("f64(f64 w, f64 h)", "area", {}, ("TypeError", "missing argument 'w' (f64)")),
        ("f64(f64 w, f64 h)", "area", {"w": 1.0, "h": 2.0, "d": 3},
         ("TypeError", "unexpected argument 'd'")),
        ("f64(f64 w, f64 h)", "area", {"w": "1", "h": 2.0},
         ("TypeError", "argument 'w': str, expected f64")),
        ("f64(f64 w, f64 h)", "area", {"w": None, "h": 2.0},
         ("TypeError", "argument 'w': None, expected f64")),
        ("f64(f64 w, f64 h)", "area", {"w": True, "h": 2.0},
         ("TypeError", "argument 'w': bool, expected f64")),
        ("i32(i32 x)", "same_i32", {"x": 1.0}, ("TypeError", "argument 'x': float, expected i32")),
        ("i32(i32 x)", "same_i32", {"x": True}, ("TypeError", "argument 'x': bool, expected i32")),
        ("bool(bool b)", "negate", {"b": 1}, ("TypeError", "argument 'b': int, expected bool")),
        ("str(str s)", "same_str", {"s": b"x"}, ("TypeError", "argument 's': bytes, expected str")),
        ("u64(bytes data)", "sum_bytes", {"data": "x"},
         ("TypeError", "argument 'data': str, expected bytes")),
        ("u64(bytes data)", "sum_bytes", {"data": [1, 2]},
         ("TypeError", "argument 'data': list, expected bytes")),
        ("f64(buf<f64> x)", "mean", {"x": 1.0},
         ("TypeError", "argument 'x': float, expected a buffer or list of f64")),
        ("f64(buf<f64> x)", "mean", {"x": b"12345678"},
         ("TypeError", "argument 'x': bytes, expected a buffer or list of f64")),
        ("f64(buf<f64> x)", "mean", {"x": [1.0, "2"]},
         ("TypeError", "argument 'x'[1]: str, expected f64")),
        ("f64(buf<f64> x)", "mean", {"x": [[1.0]]},
         ("TypeError", "argument 'x'[0]: list, expected f64")),
        ("i64(buf<i16> x)", "sum_i16", {"x": [0, 2**15]},
         ("OverflowError", "argument 'x'[1]: 32768 is out of range for i16")),
        ("f64(buf<f64> x)", "mean", {"x": {"$buffer": {"dtype": "f64", "shape": [2], "data": b"8" * 8}}},
         ("ValueError", "argument 'x': $buffer: its data has not the length of its shape")),
        ("f64(buf<f64> x)", "mean", {"x": {"$buffer": {"dtype": "f64", "shape": [1], "data": b"8" * 7}}},
         ("ValueError", "argument 'x': $buffer: its data has not the length of its shape")),
        ("f64(buf<f64> x)", "mean", {"x": {"$buffer": {"dtype": "f64"}}},
         ("ValueError", "argument 'x': $buffer: expected dtype, shape and data")),
        ("err(i32 n, out buf<i64>[n] out)", "squares", {"n": 1, "out": [1]},
         ("TypeError", "unexpected argument 'out'")),
        ("err(i32 n, out buf<i64>[n] out)", "squares", {"n": -1},
         ("ValueError", "out-buffer 'out' would have -1 items")),
        ("err(i32 n, out buf<i64>[1/n] out)", "squares", {"n": 0},
         ("ZeroDivisionError", "the size of out-buffer 'out' divides by zero")),
        ("err(i32 n, out buf<i64>[n] out)", "squares", {"n": 2**31 - 1},
         ("TooLarge", "out-buffer 'out' is too large: at most 67108864 bytes for all")),
        ("err(i32 n, out buf<i64>[n*n*n*n*n] out)", "squares", {"n": 2**31 - 1},
         ("TooLarge", "out-buffer 'out' is too large: at most 67108864 bytes for all")),
    ],
)  # fmt: skip
async def test_what_does_not_fit_the_signature_fails_the_attempt_and_names_the_argument(
    ask: Ask, signature: str, symbol: str, payload: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert await refusal(ask(signature, symbol, **payload)) == expected


async def test_a_payload_that_is_no_dict_is_refused(
    tandem: TandemOrchestrator, plain: Path
) -> None:
    agent = tandem.register_agent("plain")
    area = agent.action("area", effects="none")(lambda payload: 0)
    area.twin("c", library=plain, symbol="area", signature="f64(f64 w, f64 h)")
    kind, text = await refusal(tandem.send("plain", "area", [1.0, 2.0], implementation="c"))
    assert (kind, text) == (
        "TypeError", "the payload is list, expected a dict of arguments by name",
    )  # fmt: skip


def step(agent: str, action: str, payload: Any = None, **fields: Any) -> CommandStep:
    return CommandStep(agent=agent, action=action, payload=payload, **fields)


async def test_a_planted_difference_is_found_and_equal_outputs_are_not_flagged(
    tandem: TandemOrchestrator, plain: Path
) -> None:
    agent = tandem.register_agent("shapes")

    @agent.action("area", effects="none")
    def area(payload: dict[str, float]) -> float:
        return payload["w"] * payload["h"]

    area.twin("c", library=plain, symbol="planted", signature="f64(f64 w, f64 h)")
    sides = [1.0, 99.5, 100.0, 250.0]
    steps = [step("shapes", "area", {"w": w, "h": 3.0}) for w in sides]
    result = await tandem.execute_command_set(
        CommandSet(name="areas", mode="redundant", steps=steps)
    )

    assert result["status"] == "completed"
    conflicts = sorted(result["conflicts"], key=lambda conflict: str(conflict["step"]))
    assert [c["step"] for c in conflicts] == ["s3", "s4"]
    assert [(f["left"], f["right"]) for c in conflicts for f in c["fields"]] == [
        (300.0, 301.0), (750.0, 751.0),
    ]  # fmt: skip
    assert result["results"] == {f"s{i + 1}": w * 3.0 for i, w in enumerate(sides)}


async def test_any_two_implementations_are_compared_and_any_can_be_named(
    tandem: TandemOrchestrator, plain: Path
) -> None:
    agent = tandem.register_agent("shapes")

    @agent.action("area", effects="none")
    def area(payload: dict[str, float]) -> float:
        return payload["w"] * payload["h"]

    @area.twin("old")
    def old_area(payload: dict[str, float]) -> float:
        return round(payload["w"] * payload["h"], 1)

    area.twin("plain-c", library=plain, symbol="area", signature="f64(f64 w, f64 h)")
    payload = {"w": 1.5, "h": 1.5}
    for names, agreed in [(["python", "plain-c"], True), (["old", "plain-c"], False)]:
        result = await tandem.execute_command_set(
            CommandSet(
                name="pair",
                mode="redundant",
                steps=[step("shapes", "area", payload, implementations=names)],
            )
        )
        assert result["consensus_achieved"] is agreed
        assert result["steps"]["s1"]["implementation"] in names
    for name, layer in [("python", "python"), ("old", "python"), ("plain-c", "c")]:
        result = await tandem.execute_command_set(
            CommandSet(name="one", steps=[step("shapes", "area", payload, implementations=[name])])
        )
        row = result["steps"]["s1"]
        assert (row["implementation"], row["layer"]) == (name, layer)


async def test_the_router_leaves_a_library_alone_and_speed_critical_takes_it(
    tandem: TandemOrchestrator, plain: Path
) -> None:
    agent = tandem.register_agent("shapes")
    area = agent.action("area", effects="none")(lambda payload: "python")
    area.twin("c", library=plain, symbol="area", signature="f64(f64 w, f64 h)")
    payload = {"w": 2.0, "h": 3.0}

    results = {
        mode: await tandem.execute_command_set(
            CommandSet(name=mode, mode=mode, steps=[step("shapes", "area", payload)])
        )
        for mode in ("intelligent", "speed_critical")
    }

    assert results["intelligent"]["results"]["s1"] == "python"
    assert results["speed_critical"]["results"]["s1"] == 6.0
    assert "its rung 'shadow' is overridden" in results["speed_critical"]["steps"]["s1"]["reason"]


async def test_a_crash_costs_its_attempt_names_the_signal_and_the_signature(
    tandem: TandemOrchestrator, plain: Path
) -> None:
    agent = tandem.register_agent("bad")
    for name, symbol, signature in [
        ("crash", "crash", "void()"),
        ("abort", "give_up", "void()"),
        ("wrong", "deref", "i64(i64 x)"),
        ("good", "area", "f64(f64 w, f64 h)"),
    ]:
        handle = agent.action(name, effects="external")(lambda payload: "python")
        handle.twin("c", library=plain, symbol=symbol, signature=signature)

    async def failure(action: str, payload: Any) -> str:
        result = await tandem.execute_command_set(
            CommandSet(name=action, steps=[step("bad", action, payload, implementations=["c"])])
        )
        assert result["status"] == "failed"
        return str(result["error"])

    text = await failure("crash", {})
    assert "AgentCrashed" in text
    assert "the host of libplain.so" in text
    assert "SIGSEGV" in text
    assert "is crash really 'void()'?" in text
    assert "SIGABRT" in await failure("abort", {})
    assert "is deref really 'i64(i64 x)'?" in await failure("wrong", {"x": 5})
    good = await tandem.execute_command_set(
        CommandSet(
            name="good",
            steps=[step("bad", "good", {"w": 2.0, "h": 3.0}, implementations=["c"])],
        )
    )
    assert good["results"]["s1"] == 6.0


async def test_inputs_that_crash_cost_their_own_attempts_and_nobody_elses(
    tandem: TandemOrchestrator, tmp_path: Path
) -> None:
    source = tmp_path / "fifth.c"
    source.write_text("int fifth(int x) { if (x % 5 == 0) *(volatile int *)8 = 1; return x; }\n")
    made = compile_library(source, tmp_path / "libfifth.so")
    agent = tandem.register_agent("numbers")
    fifth = agent.action("fifth", effects="none")(lambda payload: payload["x"])
    fifth.twin("c", library=made, symbol="fifth", signature="i32(i32 x)")
    items = CommandStep(
        agent="numbers", action="fifth", payload={"x": Ref("item")}, for_each=list(range(40)),
        implementations=["c"], on_item_failure="collect",
    )  # fmt: skip
    result = await tandem.execute_command_set(CommandSet(name="fifths", steps=[items]))

    assert result["results"]["s1"] == [None if x % 5 == 0 else x for x in range(40)]
    assert result["steps"]["s1"]["failed_items"] == list(range(0, 40, 5))

    pair = step("numbers", "fifth", {"x": 10})
    result = await tandem.execute_command_set(
        CommandSet(name="pair", mode="redundant", steps=[pair])
    )
    assert result["results"]["s1"] == 10
    assert len(result["conflicts"]) == 1


async def test_three_implementations_vote_whatever_they_are_made_of(plain: Path) -> None:
    config = {"journal": {"path": ":memory:"}, "redundancy": {"conflict_resolution": "vote"}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("shapes")

        @agent.action("area", effects="none")
        def area(payload: dict[str, float]) -> float:
            return payload["w"] * payload["h"]

        @area.twin("v1")
        def old_area(payload: dict[str, float]) -> float:
            return payload["h"] * payload["w"]

        area.twin("c", library=plain, symbol="planted", signature="f64(f64 w, f64 h)")
        three = step(
            "shapes", "area", {"w": 200.0, "h": 2.0}, implementations=["c", "python", "v1"]
        )
        result = await tandem.execute_command_set(
            CommandSet(name="three", mode="redundant", steps=[three])
        )
    assert result["results"]["s1"] == 400.0
    [conflict] = result["conflicts"]
    assert conflict["winner"] in ("python", "v1")
    assert conflict["implementations"] == ["c", "python", "v1"]


async def test_a_function_that_never_returns_is_ended_with_its_host(
    tandem: TandemOrchestrator, plain: Path
) -> None:
    agent = tandem.register_agent("bad")
    loop = agent.action("loop", effects="external")(lambda payload: "python")
    loop.twin("c", library=plain, symbol="loop", signature="void()")
    before = time.monotonic()
    result = await tandem.execute_command_set(
        CommandSet(name="l", steps=[step("bad", "loop", {}, implementations=["c"], timeout=0.3)])
    )
    assert result["status"] == "failed"
    assert result["steps"]["s1"]["outcome"] == "unknown"  # external: it may have had its effect
    assert "did not stop within its grace" in result["error"]
    assert "really" not in result["error"]
    assert time.monotonic() - before < WAIT_S


async def test_one_library_has_one_host_that_starts_at_the_first_use(
    tandem: TandemOrchestrator, plain: Path
) -> None:
    agent = tandem.register_agent("shapes")
    first = agent.action("first", effects="none")(lambda payload: 0)
    first.twin("c", library=plain, symbol="area", signature="f64(f64 w, f64 h)")
    second = agent.action("second", effects="none")(lambda payload: 0)
    second.twin("c", library=plain, symbol="same_i32", signature="i32(i32 x)")

    def hosts() -> dict[str, Any]:
        return dict(tandem.layer_health()["c"].details["libraries"])

    assert hosts() == {}
    assert await tandem.send("shapes", "first", {"w": 2, "h": 3}, implementation="c") == 6.0
    assert await tandem.send("shapes", "second", {"x": 3}, implementation="c") == 3
    assert list(hosts()) == [str(plain)]
    late = agent.action("late", effects="none")(lambda payload: 0)
    late.twin("c", library=plain, symbol="code", signature="i32(i32 x)")
    assert await tandem.send("shapes", "late", {"x": 4}, implementation="c") == 4
    assert len(hosts()) == 2
    assert not [a for a in tandem.catalogue().agents if a.startswith("@")]


async def test_messages_go_to_a_library_in_every_form(
    tandem: TandemOrchestrator, plain: Path
) -> None:
    agent = tandem.register_agent("shapes")
    area = agent.action("area", effects="none")(lambda payload: "python")
    area.twin("c", library=plain, symbol="area", signature="f64(f64 w, f64 h)")
    payloads = [{"w": float(i), "h": 2.0} for i in range(100)]

    assert await tandem.send("shapes", "area", payloads[3]) == "python"
    many = await tandem.send_many("shapes", "area", [*payloads, {}], implementation="c")
    assert many[:-1] == [2.0 * i for i in range(100)]
    assert isinstance(many[-1], ActionFailed)
    answer = await asyncio.to_thread(
        lambda: tandem.call_sync("shapes", "area", payloads[4], implementation="c")
    )
    assert answer == 8.0
    assert tandem.get_metrics()["c_msgs_processed"] >= 102


async def test_a_library_that_does_not_load_says_why(
    tandem: TandemOrchestrator, tmp_path: Path
) -> None:
    source = tmp_path / "lost.c"
    source.write_text("int missing(void);\nint lost(void) { return missing(); }\n")
    made = compile_library(source, tmp_path / "liblost.so")
    agent = tandem.register_agent("lost")
    lost = agent.action("lost", effects="none")(lambda payload: 0)
    lost.twin("c", library=made, symbol="lost", signature="i32()")

    with pytest.raises(LayerUnavailable, match=r"liblost\.so' does not load: .*missing"):
        await tandem.send("lost", "lost", {}, implementation="c")


async def test_an_action_in_c_needs_no_signature(
    tandem: TandemOrchestrator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "rate.c"
    source.write_text(
        '#include "tandem/agent.h"\n'
        "td_status rate_v1(td_call *call)\n{\n"
        "    td_view payload = td_payload(call);\n"
        "    td_reader in = td_reader_of(payload.data, payload.bytes), at;\n"
        "    double amount;\n"
        '    if (td_map_find(in, "amount", &at) != TD_OK || td_read_number(&at, &amount) != TD_OK)\n'
        '        return td_fail(call, "KeyError", "amount");\n'
        '    td_log(call, 20, "rated");\n'
        "    return td_write_float(td_output(call), amount * 1.25);\n}\n"
    )
    made = compile_library(source, tmp_path / "librate.so")
    agent = tandem.register_agent("quotes")

    @agent.action("rate", effects="none")
    def rate(payload: dict[str, Any]) -> float:
        return float(payload["amount"]) * 1.25

    rate.twin("c", library=made, symbol="rate_v1")
    with caplog.at_level(logging.INFO):
        result = await tandem.execute_command_set(
            CommandSet(
                name="r",
                mode="consensus",
                steps=[
                    step("quotes", "rate", {"amount": 3}),
                    step("quotes", "rate", {"amount": 4}),
                ],
            )
        )
    assert result["results"] == {"s1": 3.75, "s2": 5.0}
    assert result["consensus_achieved"] is True
    assert any(record.name == "tandem.agent.quotes" for record in caplog.records)


def test_twins_are_checked_where_they_are_named_without_an_orchestrator(plain: Path) -> None:
    agent = Agent("shapes")
    area = agent.action("area", effects="none")(lambda payload: 0)

    for name, options, reason in [
        ("c", {}, r"shapes\.area: twin 'c' is in C: name its library="),
        ("x", {"symbol": "area"}, "need a library="),
        ("c", {"library": "libgone.so", "symbol": "area"}, r"libgone\.so.*No such file"),
        ("c", {"library": plain, "symbol": "counter"}, "is data, expected a function"),
        ("c", {"library": plain, "symbol": "areas"}, "no function 'areas'; it has: area"),
        ("c", {"library": plain, "symbol": "area", "signature": "f64(f64)"}, "at 7: expected"),
        ("python", {"library": plain, "symbol": "area"}, "'python' is taken already"),
        ("a b", {"library": plain, "symbol": "area"}, "expected letters"),
        ("c", {"library": plain, "symbol": "area", "cpu": "process"}, "has no cpu="),
    ]:
        with pytest.raises(TwinError, match=reason):
            area.twin(name, **options)
    area.twin("c", library=plain, symbol="area", signature="f64(f64 w, f64 h)")
    with pytest.raises(TwinError, match="'c' is taken already"):
        area.twin("c", library=plain, symbol="area")
    [entry] = agent.catalogue_entries()
    assert [(i.name, i.layer, i.rung) for i in entry.implementations] == [
        ("python", "python", "native"), ("c", "c", "shadow"),
    ]  # fmt: skip


def test_a_path_is_relative_to_the_file_that_calls(plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(plain, folder / "libgeo.so")
    (folder / "shapes.py").write_text(
        "from tandem_orchestrator import Agent\n"
        "area = Agent('shapes').action('area', effects='none')(lambda payload: 0)\n"
        "print(area.twin('c', library='libgeo.so', symbol='area').library.path)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", str(folder / "shapes.py")],
        cwd="/", env={**os.environ}, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str((folder / "libgeo.so").resolve())


async def test_without_the_c_layer_a_library_is_refused_by_name(plain: Path) -> None:
    config = {"journal": {"path": ":memory:"}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("shapes")
        area = agent.action("area", effects="none")(lambda payload: "python")
        area.twin("c", library=plain, symbol="area", signature="f64(f64 w, f64 h)")
        sets = {
            name: CommandSet(name=name, **fields)
            for name, fields in {
                "pair": {"mode": "redundant", "steps": [step("shapes", "area", {})]},
                "named": {"steps": [step("shapes", "area", {}, implementations=["c"])]},
            }.items()
        }
        for command_set in sets.values():
            with pytest.raises(LayerUnavailable, match="switched off"):
                await tandem.execute_command_set(command_set)
        routed = await tandem.execute_command_set(
            CommandSet(name="routed", steps=[step("shapes", "area", {})])
        )
        assert routed["results"]["s1"] == "python"


async def test_hosts_leave_with_the_orchestrator(plain: Path) -> None:
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        agent = tandem.register_agent("shapes")
        area = agent.action("area", effects="none")(lambda payload: "python")
        area.twin("c", library=plain, symbol="area", signature="f64(f64 w, f64 h)")
        await tandem.send("shapes", "area", {"w": 1, "h": 1}, implementation="c")
        [host] = tandem.layer_health()["c"].details["libraries"].values()
        pid = host["pid"]
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
