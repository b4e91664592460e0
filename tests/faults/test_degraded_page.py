"""The page on troubleshooting quotes what is really said: each message stands in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tandem_orchestrator
from tandem_orchestrator.settings import KEYS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
SYSTEM = {"Connection refused", "No such file or directory", "Protocol wrong type for socket"}
"""What the operating system says (strerror)."""
NATIVE = {"no bridge at", "agent_bridge"}
"""What the extension says, and the name of its file."""
LETTERS_MIN = 6
"""Shorter pieces between two gaps say nothing."""


def texts() -> Iterator[str]:
    """Give every text in the package, as the compiler joins it."""
    for module in Path(tandem_orchestrator.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield " ".join(node.value.split())


def quoted() -> list[str]:
    """Give the messages on the page: code spans of several words in the tables' rows."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    spans = [span for row in rows for span in re.findall(r"`([^`]+)`", row)]
    return [span for span in spans if " " in span and "=" not in span and "chmod" not in span]


@pytest.fixture(scope="module")
def said() -> str:
    return "\n".join(texts())


def test_the_page_quotes_many_messages() -> None:
    assert len(quoted()) > 30


@pytest.mark.parametrize("message", quoted())
def test_each_message_on_the_page_is_one_that_is_said(message: str, said: str) -> None:
    # Numbers, names and '…' stand where the code puts values, and it joins sentences as it needs.
    values = r"\d{4}|SPEED_CRITICAL|python|c|died|restarted|gave up|here"
    pieces = re.split(rf"…|'|: |; |\b(?:{values})\b", message)
    for piece in (piece.strip(" :;,.`/") for piece in pieces):
        if len(piece) < LETTERS_MIN or piece in SYSTEM or piece in NATIVE:
            continue
        assert piece in said, f"{piece!r} of {message!r}"


def test_each_setting_on_the_page_exists() -> None:
    sections = {path.partition(".")[0] for path in KEYS}
    named = re.findall(r"`?\b(\w+)\.(\w+)\b", PAGE.read_text())
    settings = {f"{section}.{key}" for section, key in named if section in sections}
    objects = ("orchestrator.config", "orchestrator.get_metrics", "orchestrator.journal_health")
    assert len(settings) > 12
    pages = {f"{section}.md" for section in sections}
    assert settings <= {*KEYS, *objects, *pages, "journal.check"}
