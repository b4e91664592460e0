"""Signatures of C functions: Python reads the golden table as C does (signature_test.c)."""

from pathlib import Path

import pytest

from tandem_orchestrator.layers.libraries import BadSignature, parse_signature

TABLE = Path(__file__).parents[2] / "protocol" / "golden" / "signatures.tsv"
ROWS = [
    line.split("\t") for line in TABLE.read_text().splitlines() if line and not line.startswith("#")
]


def test_the_table_is_there() -> None:
    assert len(ROWS) >= 80
    assert {row[0] for row in ROWS} == {"ok", "no"}


@pytest.mark.parametrize(("verdict", "text", "expected"), ROWS)
def test_a_signature_is_read_or_refused_as_the_table_says(
    verdict: str, text: str, expected: str
) -> None:
    text = text.replace("\\t", "\t").replace("\\0", "\0")

    if verdict == "ok":
        assert str(parse_signature(text)) == expected
    else:
        with pytest.raises(BadSignature) as caught:
            parse_signature(text)
        assert str(caught.value) == expected
