"""References: their two forms, their walk, and how payloads are filled in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.model.refs import Missing, Ref, as_ref, find_refs, substitute

TOKENS = st.lists(st.text(max_size=5), max_size=4)


@given(st.text(st.characters(exclude_characters="#"), min_size=1), TOKENS)
def test_text_and_object_say_the_same(step, tokens):
    ref = Ref(step, tuple(tokens))
    assert Ref.parse(str(ref)) == ref


@given(TOKENS, st.integers())
def test_the_walk_follows_keys_whatever_they_hold(tokens, leaf):
    value = leaf
    for token in reversed(tokens):
        value = {token: value}
    assert Ref("s", tuple(tokens)).walk(value) == leaf


def test_a_path_as_text_is_a_json_pointer():
    assert Ref("s", "a/b~1c/0").path == ("a", "b/c", "0")
    assert Ref("s", "/a") == Ref("s", "a") == Ref("s", ("a",))
    assert Ref("s", 3).path == ("3",)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", {}),
        ("0", []),
        ("-1", [1]),
        ("1", [1]),
        ("x", [1]),
        ("a", 5),
        ("a", None),
        ("a", "abc"),
    ],
)
def test_what_is_not_there_is_missing_and_named(path, value):
    with pytest.raises(Missing) as caught:
        Ref("s", path).walk(value)
    assert caught.value.args[0] == f"s#/{path}"


def test_a_default_of_none_is_a_default():
    assert Ref("s", default=None).has_default
    assert not Ref("s").has_default
    assert as_ref({"$ref": "s", "default": None}) == Ref("s", default=None)


@pytest.mark.parametrize("bad", [{"$ref": 5}, {"$ref": ""}, {"$ref": "#/x"}, {"$ref": "s#x"}])
def test_a_malformed_reference_is_refused(bad):
    with pytest.raises(ValueError, match="reference"):
        as_ref(bad)


def test_a_dict_with_more_keys_is_no_reference():
    assert as_ref({"$ref": "s", "other": 1}) is None


def test_every_reference_is_found_with_its_path_and_literals_are_left_alone():
    payload = {
        "a": {"$ref": "x#/1"},
        "b": [1, {"c": {"$ref": "y"}}],
        "d": {"$literal": {"$ref": "hidden"}},
    }
    assert list(find_refs(payload, "p")) == [("p.a", Ref("x", "1")), ("p.b[1].c", Ref("y"))]


def test_what_is_put_in_is_not_searched_again():
    payload = {"a": {"$ref": "x"}, "b": {"$literal": {"$ref": "x"}}}
    filled = substitute(payload, lambda ref: {"$ref": "looks like one"})
    assert filled == {"a": {"$ref": "looks like one"}, "b": {"$ref": "x"}}


def test_filling_in_copies():
    payload = {"list": [1, {"x": 2}]}
    filled = substitute(payload, lambda ref: None)
    filled["list"][1]["x"] = 9
    assert payload == {"list": [1, {"x": 2}]}
