"""The page about comparison runs, and names every tolerance and bound with its value."""

import re
from pathlib import Path
from typing import Any

from tandem_orchestrator.model import comparing
from tandem_orchestrator.model.comparing import CompareRules, Tolerance
from tandem_orchestrator.twins import buffers, compare, differences, showing, unordered

PAGE = (Path(__file__).parents[3] / "docs" / "comparison.md").read_text("utf-8")


def test_each_tolerance_and_rule_is_on_the_page():
    words = set(re.findall(r"\w+", PAGE))
    assert {*Tolerance.__struct_fields__, *CompareRules.__struct_fields__} <= words


def test_each_bound_has_the_value_the_page_gives():
    bounds = dict(re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+)", PAGE, re.MULTILINE))
    homes = (comparing, buffers, compare, showing, unordered)
    for name, value in bounds.items():
        (known,) = {getattr(home, name) for home in homes if hasattr(home, name)}
        assert known == int(value.replace(",", "")), name
    assert len(bounds) == 5


def test_the_example_runs_and_means_what_the_page_says():
    names: dict[str, Any] = {}
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(block, names)
    rules = names["shop"].actions["quote"].entry.compare
    left = {"total": 12.5, "lines": [{"x": 1.0, "seen_at": 1}, {"x": 2.0, "seen_at": 2}]}
    right = {"total": 12.504, "lines": [{"x": 2.0 + 1e-10, "seen_at": 3}, {"x": 1.0}]}
    assert differences(left, right, rules) == []
    assert [d.path for d in differences(left, {**right, "total": 12.51}, rules)] == ["/total"]
    assert rules.failure_kind("KeyError") == rules.failure_kind("ENOENT") == "no_such_item"
