"""A dead bridge starts again after a growing wait, and not at all while the breaker is open."""

import pytest

from tandem_orchestrator.layers.native.restarts import RestartLimits, RestartPolicy

LIMITS = RestartLimits(
    first_delay_s=0.1, delay_max_s=0.5, deaths_max=4, window_s=60.0, cooldown_s=30.0
)


def test_the_wait_doubles_up_to_its_cap():
    policy = RestartPolicy(LIMITS)
    delays = [policy.note_death(float(now)).delay_s for now in range(4)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.5])
    assert not policy.breaker_open


def test_one_death_too_many_within_the_window_opens_the_breaker():
    policy = RestartPolicy(LIMITS)
    for now in range(4):
        assert not policy.note_death(float(now)).breaker_open
    decision = policy.note_death(4.0)
    assert (decision.breaker_open, decision.delay_s) == (True, 30.0)
    assert policy.breaker_open


def test_deaths_far_apart_never_open_it():
    policy = RestartPolicy(LIMITS)
    for now in range(0, 100 * 16, 16):  # at most four within any 60 s
        assert not policy.note_death(float(now)).breaker_open
    assert policy.deaths_total == 100


def test_the_trial_start_of_an_open_breaker_that_dies_opens_it_again():
    policy = RestartPolicy(LIMITS)
    for now in range(5):
        policy.note_death(float(now))
    assert policy.note_death(500.0).breaker_open  # the window has long passed


def test_a_steady_bridge_closes_the_breaker_and_forgets():
    policy = RestartPolicy(LIMITS)
    for now in range(5):
        policy.note_death(float(now))
    policy.note_steady()
    assert not policy.breaker_open
    assert policy.note_death(6.0).delay_s == pytest.approx(0.1)
    assert policy.deaths_total == 6


@pytest.mark.parametrize(
    "wrong",
    [{"first_delay_s": 0.0}, {"first_delay_s": 9.0}, {"deaths_max": 0}, {"window_s": 0.0}],
)
def test_limits_out_of_range_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RestartLimits(**wrong)
