"""CPU lists, as Linux writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.model.cpu_lists import (
    CPUS_MAX,
    has_high_cpus,
    parse_cpu_list,
    show_cpu_list,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()), ("\n", set()), ("0", {0}), ("0-3,8\n", {0, 1, 2, 3, 8}), ("5,1-1,5", {1, 5}),
        (" 007 ", {7}), ("4095-99999999999999", {4095}), ("4096", set()),
    ],
)  # fmt: skip
def test_lists_are_read(text, expected):
    assert parse_cpu_list(text) == expected


@pytest.mark.parametrize(
    "text",
    ["a", "1,", ",1", "3-1", "1-", "-1", "1--2", "1 2", "1, 2", "0x1", "+1", "1-2-3", "\x001",
     "9" * 19, "٣", "1\v", "0-7:2/4"],
)  # fmt: skip
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ValueError, match="cpu list"):
        parse_cpu_list(text)


@given(st.sets(st.integers(0, CPUS_MAX - 1)))
def test_a_list_that_is_written_is_read_back(cpus):
    text = show_cpu_list(cpus)
    assert parse_cpu_list(text) == cpus
    assert not has_high_cpus(text)
    entries = text.split(",")
    assert len(entries) == len({c for c in cpus if c - 1 not in cpus} or {0})


def test_high_numbers_are_noticed():
    assert has_high_cpus("0-4096") and not has_high_cpus("0-4095")
