"""What the command line prints: tables that fit, text that is safe, durations that read well."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.cli import output
from tandem_orchestrator.cli.output import print_table, show_seconds, to_json, visible
from tandem_orchestrator.cli.run_table import print_result

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@given(CELLS)
def test_visible_text_is_printable_and_what_was_printable_stays(text: str) -> None:
    assert visible(text).isprintable()
    if text.isprintable():
        assert visible(text) == text


@pytest.mark.parametrize("width", [60, 80, 120, 160])
@settings(max_examples=30)
@given(names=st.lists(CELLS, min_size=1, max_size=5), reason=CELLS)
def test_a_table_never_exceeds_the_line_and_cuts_nothing_off(
    width: int, names: list[str], reason: str
) -> None:
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        real = output.console
        patch.setattr(output, "console", lambda **options: _at(real(**options), width))
        patch.setattr(output, "print_text", printed.append)
        print_table(
            ("name", "status", "reason"),
            [(n, "done", reason) for n in names],
            folds=("name", "reason"),
        )
    from rich.cells import cell_len

    [text] = printed
    assert max(cell_len(line) for line in text.splitlines()) <= width
    expected = Counter("".join(visible("".join([*names, reason])).split()))
    assert expected <= Counter(text)


def _at(console: object, width: int) -> object:
    console.width = width  # type: ignore[attr-defined]
    return console


def test_columns_that_may_go_go_one_by_one_where_the_line_is_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []
    real = output.console
    for width in (200, 70, 40):
        monkeypatch.setattr(
            output, "console", lambda width=width, **options: _at(real(**options), width)
        )
        print_table(
            ("id", "mode", "time", "what"),
            [("x" * 20, "intelligent", "a while", "words " * 20)],
            may_go=("mode", "time"),
        )
        heads.append(lines(capsys)[0].split())

    assert heads == [["id", "mode", "time", "what"], ["id", "time", "what"], ["id", "what"]]


STEP = {
    "outcome": "succeeded",
    "layer": "c",
    "implementation": "c",
    "attempts": 1,
    "seconds": 0.5,
    "reason": "a native implementation is trusted and its layer is there",
    "cached": False,
    "stopped": True,
    "failed_items": [],
    "error": None,
    "error_type": None,
}


@pytest.mark.parametrize("width", [80, 120])
def test_a_result_shows_each_steps_layer_time_and_reason_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = output.console
    monkeypatch.setattr(output, "console", lambda **options: _at(real(**options), width))
    failed = STEP | {
        "outcome": "failed",
        "error_type": "ValueError",
        "error": "no",
        "stopped": False,
    }
    result = {
        "status": "failed",
        "results": {},
        "error": "step 'two' failed",
        "run_id": "01m",
        "name": "Two",
        "durability": "group",
        "duration": 1.25,
        "steps": {"one": STEP, "two": failed, "three" * 12: STEP},
        "notes": ["a note"],
    }

    print_result(result, last=())

    shown = lines(capsys)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert "ValueError: no (still running)" in text
    assert "500.0 ms" in text
    joined = "".join("".join(shown).split())
    assert "note:anote" in joined and "Twofailedin1.25s:step'two'failed" in joined
    if width == 80:
        assert text.count("a native implementation is trusted and its layer is there") == 1
        assert "  reason 1: a native implementation" in text


@pytest.mark.parametrize(
    ("seconds", "attempts", "within_s", "shown"),
    [
        (352.0, 4000, 6.06, "88.0 ms each"),  # side by side
        (0.6, 3, 0.7, "600.0 ms"),  # one after the other
        (0.6, 3, None, "600.0 ms"),  # not ended: nothing to hold it against
        (1.2, 1, 1.0, "1.20 s"),  # a clock's whim is no second attempt
        (None, 0, 1.0, ""),
    ],
)
def test_what_ran_side_by_side_is_not_shown_as_if_it_had_taken_its_sum(
    seconds: float | None, attempts: int, within_s: float | None, shown: str
) -> None:
    assert output.show_took(seconds, attempts, within_s) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.0, "0 µs"),
        (0.000_003, "3 µs"),
        (0.012_34, "12.3 ms"),
        (1.0, "1.00 s"),
        (75.5, "75.50 s"),
    ],
)
def test_durations_are_in_the_unit_that_reads_best(seconds: float | None, shown: str) -> None:
    assert show_seconds(seconds) == shown


def test_json_has_a_form_for_every_value() -> None:
    shown = to_json(
        {"bytes": b"\x00\xff", "nan": float("nan"), "odd": object, "view": memoryview(b"x")}
    )

    assert json.loads(shown) == {"bytes": "AP8=", "nan": None, "odd": repr(object), "view": "eA=="}
