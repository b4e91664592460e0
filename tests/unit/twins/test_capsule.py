"""A capsule keeps a conflict whole, within its size, without secrets."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.errors import CapsuleError
from tandem_orchestrator.twins import (
    DEFAULT_HOOKS,
    REDACTED,
    Capsule,
    Environment,
    Named,
    make_capsule,
)
from tandem_orchestrator.twins.capsule import CAPSULE_BYTES_MIN
from tandem_orchestrator.twins.pointers import escape
from tandem_orchestrator.twins.redaction import is_secret_name

SECRET = "hunter2-is-not-a-good-one"


def outcome(name: str, output: Any, **more: Any) -> dict[str, Any]:
    return {
        "implementation": name, "outcome": "succeeded", "output": output, "failure": None,
        "seconds": 0.5,
    } | more  # fmt: skip


def capsule(payload: Any = 1, left: Any = 1, right: Any = 2, **more: Any) -> Capsule:
    given: dict[str, Any] = {
        "id": "r.c1", "run": "r", "step": "s", "agent": "money", "action": "round",
        "payload": payload,
        "outcomes": [outcome("python", left), outcome("c", right)],
        "fields": [{"path": "", "left": left, "right": right}],
    }  # fmt: skip
    return make_capsule(**given | more)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text("abxy/~", max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(VALUES, VALUES, VALUES)
def test_what_has_no_secret_and_fits_comes_back_as_it_was(payload, left, right):
    made = capsule(payload, left, right, hooks=())
    read = Capsule.from_value(msgspec.msgpack.decode(msgspec.msgpack.encode(made.to_value())))

    assert read == made
    assert read.payload == payload
    assert [each["output"] for each in read.outcomes] == [left, right]
    assert (read.redacted, read.truncated, read.is_replayable) == ((), (), True)


@given(VALUES, VALUES, st.integers(CAPSULE_BYTES_MIN, 20_000), st.integers(0, 40_000))
def test_a_capsule_is_never_larger_than_its_cap(payload, output, bytes_max, filling):
    made = capsule(
        {"all": payload, "fill": "x" * filling}, [output, "y" * filling], output,
        bytes_max=bytes_max, inputs={"before": ["z" * filling]},
    )  # fmt: skip

    assert len(msgspec.msgpack.encode(made.to_value())) <= bytes_max
    assert made.truncated or made.payload == {"all": payload, "fill": "x" * filling}


def test_what_is_huge_everywhere_still_fits():
    big = {f"k{i}": "v" * 1000 for i in range(1000)}
    fields = [{"path": "/" + "p" * 3000, "left": big, "right": big}] * 200
    made = capsule(
        big, big, big, fields=fields, inputs=big, rules=big, environment={"builds": big},
        bytes_max=CAPSULE_BYTES_MIN,
    )  # fmt: skip

    assert len(msgspec.msgpack.encode(made.to_value())) <= CAPSULE_BYTES_MIN
    assert made.fields_total == 200
    assert len(made.fields) <= 100
    assert made.implementations == ("python", "c")


def test_outputs_are_cut_before_the_input_and_leave_it_replayable():
    made = capsule("x" * 3000, "y" * 9000, "z" * 9000, bytes_max=8000)

    assert made.payload == "x" * 3000
    assert {"/outcomes/0/output", "/outcomes/1/output"} <= set(made.truncated)
    made.check_replayable()


def test_a_capsule_whose_input_was_cut_refuses_to_be_run_and_says_why():
    made = capsule("x" * 9000, bytes_max=CAPSULE_BYTES_MIN)

    assert "/payload" in made.truncated
    assert made.payload["cut"]["bytes"] > 9000
    with pytest.raises(CapsuleError, match=r"r\.c1 .*/payload.*limits\.capsule_bytes_max"):
        made.check_replayable()


def test_a_cap_without_room_for_a_name_is_refused():
    with pytest.raises(ValueError, match="bytes_max=100"):
        capsule(bytes_max=100)


def test_what_is_no_value_leaves_its_types_name():
    made = capsule(left=object(), right=2**70)

    assert made.outcomes[0]["output"] == "<not kept: object>"
    assert "/outcomes/0/output" in made.truncated
    assert made.is_replayable


def test_data_that_is_no_capsule_is_refused_with_the_place():
    value = capsule().to_value()
    del value["step"]

    with pytest.raises(CapsuleError, match="step"):
        Capsule.from_value(value)


def test_an_environment_is_kept_as_plain_data():
    made = capsule(environment=Environment(builds={"agent_bridge": "ab"}, locale="C"))

    assert made.environment == {"builds": {"agent_bridge": "ab"}, "locale": "C"}


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "passwd", "userPassword", "token", "access_token", "X-Auth-Token",
     "authToken", "secret", "client_secret", "clientSecret", "Authorization", "apiKey", "api_key",
     "API-KEY", "private_key", "credentials", "Cookie", "set-cookie", "passphrase"],
)  # fmt: skip
def test_a_secrets_name_is_known(name):
    made = capsule({"outer": [{name: SECRET}]})

    assert made.payload == {"outer": [{name: REDACTED}]}
    assert made.redacted == (f"/payload/outer/0/{name}",)


@pytest.mark.parametrize(
    "name", ["tokenizer", "key", "keys", "author", "pass", "monkey", "compass", "path", "amount"]
)
def test_another_name_is_no_secrets(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text", ["basic understanding", "a bearer bond", "http://host/a@b", "high-keyed", "eyJust"]
)
def test_another_text_stays(text):
    assert capsule({"note": text}).payload == {"note": text}


def test_a_number_of_tokens_is_no_token():
    assert capsule({"token": 512, "tokens": 3}).payload == {"token": 512, "tokens": 3}


@pytest.mark.parametrize(
    "text",
    ["Bearer abcdefgh12345678", "basic dXNlcjpwYXNzd29yZA==", "postgres://me:pw@host/db",
     "-----BEGIN RSA PRIVATE KEY-----\nMII", "AKIAABCDEFGHIJKLMNOP",
     "ghp_abcdefghijklmnopqrst", "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl"],
)  # fmt: skip
@pytest.mark.parametrize("kind", [str, str.encode])
def test_what_looks_like_a_secret_goes_whatever_its_name(text, kind):
    assert capsule({"note": kind(text)}).payload == {"note": REDACTED}


class SecretText:
    """As libraries have them."""


def test_an_object_of_a_secret_type_is_redacted():
    assert capsule(left={"x": SecretText()}).outcomes[0]["output"] == {
        "x": "<not kept: SecretText>"
    }


@given(st.text(st.characters(codec="utf-8"), min_size=4, max_size=30))
def test_a_secret_found_once_is_taken_from_everywhere(secret):
    secret = f"s3cr{secret}"
    failure = {"type": "E", "message": f"cannot log in with {secret}!", "traceback": secret}
    made = capsule(
        {"password": secret},
        {"said": f"<<{secret}>>", secret: 1},
        {"raw": b"a" + secret.encode() + b"b"},
        outcomes=[
            outcome("python", {"said": f"<<{secret}>>", secret: 1}),
            outcome("c", {"raw": b"a" + secret.encode() + b"b"}, failure=failure),
        ],
        fields=[{"path": f"/{escape(secret)}", "left": 1, "right": secret}],
        inputs={"login": [secret, f"x{secret}x"]},
    )
    kept = msgspec.msgpack.encode(made.to_value())

    assert secret.encode() not in kept


def test_a_secret_of_an_input_that_was_cut_is_taken_from_the_rest_as_well():
    failure = {"type": "E", "message": f"no login with {SECRET}", "traceback": None}
    made = capsule(
        {"password": SECRET, "rest": "x" * 9000},
        outcomes=[outcome("python", 1), outcome("c", None, failure=failure)],
        bytes_max=CAPSULE_BYTES_MIN,
    )

    assert "/payload" in made.truncated
    assert SECRET.encode() not in msgspec.msgpack.encode(made.to_value())


def test_what_nests_without_end_is_kept_as_far_as_a_value_may_nest():
    nest: Any = 1
    for _ in range(5000):
        nest = [nest]

    made = capsule(left=nest)

    assert made.truncated
    assert len(msgspec.msgpack.encode(made.to_value())) < 4096


def test_a_field_under_a_secrets_name_is_redacted_on_both_sides():
    made = capsule(
        outcomes=[outcome("python", {"token": "aaaa1"}), outcome("c", {"token": "bbbb2"})],
        fields=[{"path": "/token", "left": "aaaa1", "right": "bbbb2"}],
    )
    kept = msgspec.msgpack.encode(made.to_value())

    assert made.fields[0] == {"path": "/token", "left": REDACTED, "right": REDACTED}
    assert b"aaaa1" not in kept
    assert b"bbbb2" not in kept


def test_without_hooks_a_secret_stays_so_the_tests_above_can_fail():
    made = capsule({"password": SECRET}, hooks=())

    assert made.payload == {"password": SECRET}


@pytest.mark.parametrize("name", ["iban", "IBAN", "i-ban", "birthDate", "birth_date"])
def test_names_of_ones_own_come_beside_the_usual_ones(name):
    hooks = (*DEFAULT_HOOKS, Named(["iban", "birth_date"]))
    made = capsule({name: "DE02 1203", "password": SECRET, "date": 1}, hooks=hooks)

    assert made.payload == {name: REDACTED, "password": REDACTED, "date": 1}


def test_a_hook_of_ones_own_is_asked_about_every_part():
    made = capsule({"iban": "DE02", "n": 1}, hooks=[lambda path, part: path.endswith("/iban")])

    assert made.payload == {"iban": REDACTED, "n": 1}
