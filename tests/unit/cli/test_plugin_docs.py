"""The page about plugins names each hook and limit, and its examples run."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.plugins import HOOKS, PLUGINS_MAX
from tandem_orchestrator.settings import KEYS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "plugins.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_names_each_hook_and_the_bounds_as_they_are() -> None:
    for hook in HOOKS:
        assert f"| `{hook}(" in PAGE
    assert f"at most {PLUGINS_MAX}." in PAGE
    assert f"({KEYS['orchestrator.plugin_timeout_s'].default:g} s)" in PAGE


async def test_the_examples_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TANDEM_JOURNAL", str(tmp_path / "journal.db"))
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    names: dict[str, Any] = {"__name__": "__page__"}
    assert len(BLOCKS) == 3
    for block in BLOCKS:
        code = compile(block, "docs/plugins.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = eval(code, names)
        if inspect.isawaitable(value):
            await value
