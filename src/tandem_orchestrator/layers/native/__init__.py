"""The C layer, as Python sees it: one supervised bridge and the attempts that run in it.

This room knows processes, sockets, sessions and what a native status means, and alone imports
``_native``. It never knows plans, retries or modes, and never decides what to do about lost work.
It hands on ``NativeLayer`` (an implementation of ``layers.Layer``), ``probe_bridge`` for
health checks, ``Quarantine`` (inputs that crash), ``find_native_files`` for ``tandem doctor``, and ``read_topology`` for placement.
"""

from tandem_orchestrator.layers.native.binary import NativeFiles, find_native_files
from tandem_orchestrator.layers.native.body import encode_body, plain_encoder
from tandem_orchestrator.layers.native.bridge_probe import BridgeProbe, probe_bridge
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.codec import decode as decode_strict
from tandem_orchestrator.layers.native.entries import CONNECTED
from tandem_orchestrator.layers.native.layer import NativeLayer
from tandem_orchestrator.layers.native.limits import NativeLimits
from tandem_orchestrator.layers.native.quarantine import Quarantine, Suspect
from tandem_orchestrator.layers.native.restarts import RestartLimits
from tandem_orchestrator.layers.native.session import SPIN_NS, Session
from tandem_orchestrator.layers.native.supervisor import SupervisorLimits
from tandem_orchestrator.layers.native.sync_pool import SyncPool
from tandem_orchestrator.layers.native.topology import TopologySources, read_topology

__all__ = [
    "CONNECTED",
    "SPIN_NS",
    "BridgeProbe",
    "CodecError",
    "NativeFiles",
    "NativeLayer",
    "NativeLimits",
    "Quarantine",
    "RestartLimits",
    "Session",
    "SupervisorLimits",
    "Suspect",
    "SyncPool",
    "TopologySources",
    "decode_strict",
    "encode_body",
    "find_native_files",
    "plain_encoder",
    "probe_bridge",
    "read_topology",
]
