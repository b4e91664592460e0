"""Calling a handler: what it gets, and how what it raised is told."""

import traceback
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tandem_orchestrator.layers.python.calling import (
    MESSAGE_CHARS_MAX,
    call_handler,
    describe_error,
)
from tandem_orchestrator.layers.python.context import Context, make_log
from tandem_orchestrator.layers.python.handler import describe_handler


@dataclass
class Size:
    width: int
    height: int = 1


def context() -> Context:
    log = make_log("r1", "s1", 1)
    return Context("r1", "s1", 1, "key", {}, None, lambda: False, lambda done, total: None, log)


def call(handler: Any, payload: Any) -> Any:
    return call_handler(describe_handler("python", handler, None, "native"), payload, context())


def raised(function: Any) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


def test_a_handler_gets_as_much_as_it_takes() -> None:
    assert call(lambda: "none", 1) == "none"
    assert call(lambda payload: payload, 1) == 1
    assert call(lambda payload, ctx: (payload, ctx.run_id, ctx.attempt), 1) == (1, "r1", 1)


def test_a_payload_becomes_the_annotated_record() -> None:
    def area(size: Size) -> int:
        return size.width * size.height

    assert call(area, {"width": 3, "height": 2}) == 6
    assert call(area, {"width": 3}) == 3


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"width": "wide"}, "Expected `int`, got `str` - at `$.width`"),
        ({}, "missing required field `width`"),
        (7, "Expected `object`, got `int`"),
    ],
)
def test_a_payload_of_another_shape_is_a_value_error_that_says_where(
    payload: Any, told: str
) -> None:
    def area(size: Size) -> int:
        raise AssertionError("the handler must not run")

    with pytest.raises(msgspec.ValidationError, match=r"Expected|missing") as refused:
        call(area, payload)

    assert isinstance(refused.value, ValueError)
    assert told in str(refused.value)


# --- types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "names", "type"),
    [
        (KeyError("k"), {}, "KeyError"),
        (KeyError("k"), {KeyError: "NotFound"}, "NotFound"),
        (KeyError("k"), {"KeyError": "NotFound"}, "NotFound"),
        (KeyError("k"), {LookupError: "Gone"}, "Gone"),
        (KeyError("k"), {LookupError: "Gone", KeyError: "NotFound"}, "NotFound"),
        (KeyError("k"), {Exception: "Any", "LookupError": "Gone"}, "Gone"),
        (KeyError("k"), {ValueError: "Bad"}, "KeyError"),
        (SystemExit(1), {Exception: "Any"}, "SystemExit"),
    ],
)
def test_the_nearest_declared_class_gives_the_type(
    error: BaseException, names: dict[Any, str], type: str
) -> None:
    assert describe_error(error, names).type == type


# --- texts ---------------------------------------------------------------------------------------


def test_a_long_message_is_cut_and_says_so() -> None:
    message = describe_error(ValueError("x" * 2 * MESSAGE_CHARS_MAX)).message

    assert len(message) == MESSAGE_CHARS_MAX
    assert message == "x" * (MESSAGE_CHARS_MAX - 1) + "…"
    fits = "x" * MESSAGE_CHARS_MAX
    assert describe_error(ValueError(fits)).message == fits


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


def test_an_error_whose_text_raises_is_told_all_the_same() -> None:
    failure = describe_error(Unprintable())

    assert failure.type == "Unprintable"
    assert failure.message == "its text cannot be shown (RuntimeError)"
    assert failure.traceback is not None and "Unprintable" in failure.traceback


def test_text_that_is_no_utf_8_is_written_out() -> None:
    failure = describe_error(raised(lambda: open("/\udc80")))  # noqa: PTH123, SIM115

    assert "\\udc80" in failure.message
    failure.message.encode()
    assert failure.traceback is not None
    failure.traceback.encode()


def user_code() -> None:
    raise ValueError("deep inside")


def test_a_traceback_begins_with_the_users_code_and_names_no_frame_of_ours() -> None:
    error = raised(lambda: call(lambda payload: user_code(), None))
    whole = "".join(traceback.format_exception(error))
    assert "/calling.py" in whole

    # What the layer catches begins in its own room: drop this file's two frames.
    frames = error.__traceback__
    while frames is not None and not frames.tb_frame.f_code.co_filename.endswith("/calling.py"):
        frames = frames.tb_next
    text = describe_error(error.with_traceback(frames)).traceback

    assert text is not None
    assert "/calling.py" not in text
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in user_code" in text
    assert text.endswith("ValueError: deep inside\n")


def test_a_traceback_that_is_all_ours_is_kept_whole() -> None:
    def area(size: Size) -> int:
        return 0

    error = raised(lambda: call(area, 7))
    while (
        frames := error.__traceback__
    ) and "/calling.py" not in frames.tb_frame.f_code.co_filename:
        error = error.with_traceback(frames.tb_next)

    assert "/calling.py" in (describe_error(error).traceback or "")


def test_a_cause_is_told_too() -> None:
    def chained() -> None:
        try:
            user_code()
        except ValueError as error:
            raise RuntimeError("on top") from error

    text = describe_error(raised(chained)).traceback or ""

    assert text.index("deep inside") < text.index("direct cause") < text.index("on top")


@pytest.mark.parametrize("chars", [10, 100])
def test_of_a_long_traceback_the_end_is_kept(chars: int) -> None:
    error = raised(user_code)
    whole = describe_error(error).traceback or ""

    text = describe_error(error, traceback_chars_max=chars).traceback

    assert text == whole[-chars:]
    assert describe_error(error, traceback_chars_max=0).traceback is None
