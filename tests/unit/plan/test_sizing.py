"""How large a payload is on the wire, told when its step is planned."""

from typing import Any

import msgspec
import pytest

from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.model.routing import UNSIZED, bucket_of
from tandem_orchestrator.plan.sizing import size_of


@pytest.mark.parametrize("value", [None, {}, {"a": [1, 2.5, "x" * 300]}, b"x" * 5000, [1] * 70_000])
def test_a_plain_payload_has_the_size_that_the_wire_gives_it(value: Any) -> None:
    size = len(msgspec.msgpack.encode(value))

    assert size_of(value) == (size, bucket_of(size))


@pytest.mark.parametrize(
    "value",
    [
        Ref("scan"),
        {"files": Ref("scan", "files")},
        [{"deep": [Ref("scan", "files", default=3)]}],
        {"files": {"$ref": "scan#/files"}},
        {"files": {"$ref": "scan#/files", "default": None}},
    ],
)
def test_one_that_refers_to_others_has_a_bucket_of_its_own(value: Any) -> None:
    assert size_of(value)[1] == UNSIZED


def test_what_only_looks_like_a_reference_has_a_size() -> None:
    value = {"step": "a", "path": [], "default": "$ref is a word"}

    assert size_of(value)[1] == bucket_of(len(msgspec.msgpack.encode(value)))


def test_what_cannot_be_encoded_has_no_size() -> None:
    assert size_of({"big": 2**70}) == (0, UNSIZED)
