"""SPEC's ``binary_bridge.test_connection``: a real round trip, also before ``initialize``."""

import pytest

from tandem_orchestrator import TandemOrchestrator

MEMORY = {"journal": {"path": ":memory:"}}


@pytest.mark.native
async def test_the_probe_asks_the_bridge_that_runs():
    async with TandemOrchestrator(MEMORY) as tandem:
        probe = tandem.binary_bridge.test_connection(timeout=10.0)
        pid = tandem.layer_health()["c"].details["pid"]
    assert probe
    assert not probe.started and probe.bridge_pid == pid
    assert probe.round_trip_s > 0


@pytest.mark.native
def test_before_initialize_the_probe_starts_a_bridge_of_its_own_and_ends_it():
    probe = TandemOrchestrator(MEMORY).binary_bridge.test_connection(timeout=10.0)
    assert probe and probe.started


def test_a_socket_that_is_not_there_is_a_reason_and_no_exception(tmp_path):
    config = {**MEMORY, "c_layer": {"socket": str(tmp_path / "none.sock")}}
    probe = TandemOrchestrator(config).binary_bridge.test_connection(timeout=5.0)
    assert not probe and probe.reason
