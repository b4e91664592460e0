"""A native process sees an allow-list of the environment, and nothing else."""

import pytest

from tandem_orchestrator.layers.native.environment import VALUE_CHARS_MAX, child_environment


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "PYTHONHOME",
        "TANDEM_TOKEN",
        "TANDEM_C_BUFFER_SIZE",
        "GCONV_PATH",
        "MALLOC_PERTURB_",
        "AWS_SECRET_ACCESS_KEY",
        "lc_all",
    ],
)
def test_what_is_not_listed_is_dropped(name: str):
    assert child_environment({name: "x", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_what_is_listed_passes_unchanged():
    wanted = {"HOME": "/h", "LANG": "de_DE.UTF-8", "LC_TIME": "C", "TZ": "UTC", "PATH": "/bin"}
    assert child_environment(wanted) == wanted


def test_an_endless_value_is_dropped():
    fits = "x" * VALUE_CHARS_MAX
    assert child_environment({"HOME": fits}) == {"HOME": fits}
    assert child_environment({"HOME": fits + "x"}) == {}
