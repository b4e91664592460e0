"""The page about the Python interface names everything public, and its examples run."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import tandem_orchestrator
from tandem_orchestrator import ActionHandle, Context, Policy, Run, TandemOrchestrator, sync
from tandem_orchestrator.orchestrator.prepared import PreparedPlan

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "python-api.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CODE = set(
    re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", PAGE))))
)
"""Every word that stands in code in the page's text, examples left out."""


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_each_public_name_is_on_the_page() -> None:
    assert set(tandem_orchestrator.__all__) - CODE == set()


@pytest.mark.parametrize("kind", [TandemOrchestrator, Run, PreparedPlan, Context, Policy, sync.Run])
def test_each_public_method_is_on_the_page(kind: type) -> None:
    assert public(kind) - CODE == set()


@pytest.mark.parametrize(
    "function",
    [
        tandem_orchestrator.Agent,
        tandem_orchestrator.Agent.action,
        Policy,
        TandemOrchestrator.register_agent,
        tandem_orchestrator.Fault,
        tandem_orchestrator.RouteQuestion,
    ],
    ids=lambda function: function.__qualname__,
)
def test_each_parameter_is_on_the_page(function: Any) -> None:
    assert set(inspect.signature(function).parameters) - {"self"} - CODE == set()


def test_the_blocking_class_lacks_nothing() -> None:
    assert public(TandemOrchestrator) - public(sync.TandemOrchestrator) == set()


def test_a_handle_can_be_called_and_takes_twins_as_the_page_says() -> None:
    assert callable(ActionHandle.__call__) and "twin" in public(ActionHandle)
    assert "`@action.twin(name)`" in PAGE


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / target).exists(), target
    assert "(python-api.md)" in (DOCS / "index.md").read_text("utf-8")


async def test_the_examples_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_JOURNAL", str(tmp_path / "journal.db"))
    monkeypatch.setenv("TANDEM_C_LAYER__ENABLED", "false")
    names: dict[str, Any] = {"__name__": "__page__"}
    assert len(BLOCKS) >= 6 and all("assert" in block for block in BLOCKS)

    try:
        for block in BLOCKS:
            line = PAGE[: PAGE.index(block)].count("\n")
            code = compile(
                "\n" * line + block,
                str(DOCS / "python-api.md"),
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )
            value = eval(code, names)
            if inspect.isawaitable(value):
                await value
    finally:
        await names["tandem"].close()
