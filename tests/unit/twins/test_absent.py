"""A key that only one side has is not the text that stands for it."""

from tandem_orchestrator.cli.capsule_view import side_words
from tandem_orchestrator.twins import differences
from tandem_orchestrator.twins.compare import ABSENT
from tandem_orchestrator.twins.kinds import is_same_kind, kinds_of


def fields(left: object, right: object) -> list[dict[str, object]]:
    return [found.to_value() for found in differences(left, right)]


def test_nothing_and_the_text_that_stands_for_it_are_told_apart() -> None:
    (gone,) = fields({"a": 1}, {})
    (text,) = fields({"a": 1}, {"a": ABSENT})
    assert gone == {"path": "/a", "left": 1, "right": ABSENT, "absent": "right"}
    assert text == {"path": "/a", "left": 1, "right": ABSENT}
    assert fields([], [5]) == [{"path": "/0", "left": ABSENT, "right": 5, "absent": "left"}]
    assert (side_words(gone, "right", 20), side_words(text, "right", 20)) == (
        "<absent>",
        '"<absent>"',
    )


def test_they_are_differences_of_two_kinds() -> None:
    ends = [{"implementation": name, "outcome": "succeeded"} for name in ("python", "c")]
    gone, text = fields({"a": 1}, {}), fields({"a": 1}, {"a": ABSENT})
    assert not is_same_kind(kinds_of(ends, gone), kinds_of(ends, text))
